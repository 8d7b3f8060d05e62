"""The OpenAPI document: valid, complete, and true of a gateway that runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import jsonschema_rs
import pytest
from msgspec import Raw

from penstock import __version__
from penstock.admin.keyforms import NewKey
from penstock.core.dialects import DIALECTS
from penstock.core.errors import TABLE, GatewayError
from penstock.core.providers.pass_through import METHODS, prefixes, provider_at
from penstock.runtime.gate import ADMIN, KEY, PUBLIC
from penstock.runtime.surface import Surface
from penstock.server import openapi
from penstock.server.mounts import MOUNTS
from penstock.server.pages import ROUTES
from penstock.server.routes import JSON, Page, Route
from penstock.server.site import Site
from penstock.server.surfaces import PATTERNS, SURFACES
from tests.door import open_door

MASTER = "sk-openapi-key-1234567"
DOCUMENT = json.loads(Site().openapi)
VERBS = "get head post put patch delete options trace".split()
OPERATIONS = [
    (method.upper(), path, told)
    for path, item in DOCUMENT["paths"].items()
    for method, told in item.items()
    if method in VERBS
]
NAMES = [f"{method} {path}" for method, path, _ in OPERATIONS]
# With what a summary may begin. A new one is added by someone who read it.
FIRST = set(
    """Add Answer Ask Block Calculate Cancel Change Compact Complete Count Delete Describe Embed Estimate Forget Generate Give Judge List Make
    Pass Rank Read Report Send Set Show Speak Stream Tell Unblock Write""".split()
)

# What the specification asks of what we use of it; of all else it is written here that it must not occur.
REF = {"type": "object", "required": ["$ref"], "properties": {"$ref": {"pattern": "^#/components/"}}, "additionalProperties": False}
CONTENT = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": r"^[a-z*]+/[a-z*.+-]+$"},
    "additionalProperties": {"type": "object", "properties": {"schema": {"type": "object"}}, "additionalProperties": False},
}
PARAMETERS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "in", "required", "schema"],
        "properties": {
            "name": {"type": "string"},
            "in": {"const": "path"},
            "required": {"const": True},
            "schema": {"type": "object"},
            "description": {"type": "string"},
        },
        "additionalProperties": False,
    },
}
OPERATION = {
    "type": "object",
    "required": ["operationId", "summary", "tags", "security", "responses"],
    "properties": {
        "operationId": {"pattern": "^[a-z]+_[A-Za-z0-9_]+$"},
        "summary": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "security": {"type": "array", "items": {"type": "object", "minProperties": 1, "maxProperties": 1}},
        "parameters": PARAMETERS,
        "requestBody": {
            "type": "object",
            "required": ["content"],
            "properties": {"content": CONTENT, "required": {"type": "boolean"}},
            "additionalProperties": False,
        },
        "responses": {
            "type": "object",
            "required": ["400", "404", "5XX"],
            "propertyNames": {"pattern": "^([1-5][0-9]{2}|[1-5]XX)$"},
            "additionalProperties": {
                "anyOf": [
                    REF,
                    {
                        "type": "object",
                        "required": ["description"],
                        "properties": {"description": {"type": "string"}, "content": CONTENT},
                        "additionalProperties": False,
                    },
                ]
            },
        },
    },
    "additionalProperties": False,
}
STRUCTURE = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components", "tags"],
    "properties": {
        "openapi": {"pattern": r"^3\.1\.\d+$"},
        "info": {
            "type": "object",
            "required": ["title", "version"],
            "properties": {name: {"type": "string"} for name in ("title", "version", "description")},
            "additionalProperties": False,
        },
        "tags": {"type": "array", "uniqueItems": True, "items": {"type": "object", "required": ["name"]}},
        "paths": {
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "type": "object",
                "properties": {"parameters": PARAMETERS, **dict.fromkeys(VERBS, OPERATION)},
                "additionalProperties": False,
            },
        },
        "components": {
            "type": "object",
            "properties": {
                name: {"type": "object", "propertyNames": {"pattern": r"^[a-zA-Z0-9._-]+$"}}
                for name in ("schemas", "responses", "securitySchemes")
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


def walk(node):
    """Every object of the document."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


# A valid document -----------------------------------------------------------------------------------------------------


def test_the_structure_is_that_of_openapi_3_1():
    errors = [f"{error.instance_path}: {error.message}" for error in jsonschema_rs.Draft202012Validator(STRUCTURE).iter_errors(DOCUMENT)]
    assert errors == []
    assert DOCUMENT["info"]["version"] == __version__


def test_every_schema_is_one():
    found = [node["schema"] for node in walk(DOCUMENT["paths"]) if isinstance(node.get("schema"), dict)]
    found += DOCUMENT["components"]["schemas"].values()
    assert len(found) > 100
    for schema in found:
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_reference_leads_somewhere():
    for node in walk(DOCUMENT):
        if "$ref" in node:
            at = DOCUMENT
            for part in node["$ref"].removeprefix("#/").split("/"):
                at = at[part]


def test_every_parameter_of_a_path_is_told_and_no_other():
    for path, item in DOCUMENT["paths"].items():
        named = re.findall(r"\{([^{}]+)\}", path)
        assert len(named) == len(set(named)), path
        for method in item.keys() & set(VERBS):
            told = [one["name"] for one in [*item.get("parameters", ()), *item[method].get("parameters", ())]]
            assert sorted(told) == sorted(named), path


def test_no_two_paths_differ_only_in_the_names_of_their_parameters():
    shapes = [re.sub(r"\{[^{}]+\}", "{}", path) for path in DOCUMENT["paths"]]
    assert len(shapes) == len(set(shapes))


def test_ids_are_unique_and_stable():
    ids = [told["operationId"] for _, _, told in OPERATIONS]
    assert len(ids) == len(set(ids))
    assert {"post_v1_chat_completions", "get_v1_models_name", "get_root", "post_models_model_generateContent"} < set(ids)
    assert Site().openapi == Site().openapi


def test_tags_and_security_are_declared():
    declared = {tag["name"] for tag in DOCUMENT["tags"]}
    assert {tag for _, _, told in OPERATIONS for tag in told["tags"]} == declared
    assert {"chat", "operations", "models", "spend", "health", "gateway", "pass-through"} <= declared
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {name for _, _, told in OPERATIONS for way in told["security"] for name in way} == set(schemes)


@pytest.mark.parametrize(("method", "path", "told"), OPERATIONS, ids=NAMES)
def test_a_summary_is_a_verb_and_its_object(method, path, told):
    summary = told["summary"]
    assert summary.split()[0] in FIRST, summary
    assert len(summary.split()) > 1 and len(summary) <= 100
    assert not summary.endswith((".", ":", ",", ";")) and "``" not in summary and ". " not in summary


# All that there is, and no more ---------------------------------------------------------------------------------------


def rows():
    """Every row of every table as (method, path, role), read here anew."""
    for path, surface in SURFACES.items():
        yield from ((method, path, surface.role) for method in surface.methods)
    for pattern in PATTERNS:
        for path in pattern.templates:
            yield from ((method, path, pattern.surface.role) for method in pattern.surface.methods)
    for prefix, routes in [("", [row for row in ROUTES if not row.path.startswith("/ui")]), *((mount.prefix, mount.routes.rows) for mount in MOUNTS)]:
        for route in routes:
            yield from ((m, prefix + route.path, route.role) for m in route.methods if m != "HEAD" or "GET" not in route.methods)
    for mount in MOUNTS:
        for rest in mount.own:
            yield from ((method, mount.prefix + rest, mount.surfaces[rest].role) for method in mount.surfaces[rest].methods)
        for rest, visit in mount.visits.items():
            yield from ((method, mount.prefix + rest, visit.entry.role) for method in visit.entry.methods)
    yield from ((method, "/{provider}/{path:path}", KEY) for method in METHODS)


def test_every_row_is_in_it_and_nothing_else():
    expected = {(method, path.replace(":path}", "}")): role for method, path, role in rows()}
    assert {(method, path) for method, path, _ in OPERATIONS} == set(expected)
    for method, path, told in OPERATIONS:
        roles = {role for way in told["security"] for named in way.values() for role in named}
        assert roles == (set() if expected[method, path] == PUBLIC else {expected[method, path]}), path
        # Who claims an invitation needs no key, and may be refused; so may who reads metrics, by a token or a key.
        judged = bool(roles) or path.startswith("/onboarding/") or path == "/metrics"
        assert ("401" in told["responses"]) == judged
        assert ("403" in told["responses"]) == judged
        [good] = [status for status in told["responses"] if status[0] == "2"]
        assert ("content" in told["responses"][good]) == (good != "204")


def test_every_provider_and_spelling_is_a_prefix():
    provider = DOCUMENT["paths"]["/{provider}/{path}"]["parameters"][0]["schema"]["enum"]
    assert provider == prefixes() and {"openai", "vertex-ai", "vllm"} < set(provider)
    assert [name for name in provider if provider_at(f"/{name}/x") is None] == []


@pytest.mark.parametrize("row", PATTERNS, ids=lambda row: row.templates[0])
def test_a_pattern_takes_its_templates(row):
    for template in row.templates:
        assert template.count("{model:path}") == 1
        for model in ("m", "openai/gpt-4o", "a:b"):
            found = row.pattern.fullmatch(template.replace("{model:path}", model))
            assert found is not None and found["model"] == model
        assert row.pattern.fullmatch("/x" + template) is None


async def _delete(gateway, call):
    """Delete a ``thing``: for good. No one gets it back."""
    return Page(200, JSON, b"{}")


def _unsaid(gateway, call):
    return Page(200, JSON, b"{}")


def test_a_new_row_is_told_by_itself():
    made = openapi.document({}, [], [Route("/thing/{id}/{rest:path}", _delete, methods=("DELETE", "PATCH"), role=ADMIN)], [], ["x"])
    item = made["paths"]["/thing/{id}/{rest}"]
    assert [tag["name"] for tag in made["tags"]] == ["thing", "pass-through"]
    assert item["delete"]["summary"] == "Delete a thing" and "requestBody" not in item["delete"]
    assert item["patch"]["requestBody"]["content"] == {"application/json": {"schema": {"type": "object"}}}
    assert {"bearer": ["admin"]} in item["delete"]["security"] and "403" in item["delete"]["responses"]
    assert [one["name"] for one in item["delete"]["parameters"]] == ["id", "rest"]
    # A row that says nothing has no summary, which the test above finds.
    assert openapi.document({}, [], [Route("/y", _unsaid)], [], [])["paths"]["/y"]["get"]["summary"] == ""


def test_a_surface_without_words_is_told_by_its_attempt():
    surface = SURFACES["/v1/rerank"]._replace(about=None)
    made = openapi.document({"/x": surface}, [], [], [], [])["paths"]["/x"]["post"]
    assert made["summary"] == "Make one try at /rerank" and made["tags"] == ["chat"]


def test_the_form_of_a_body_is_told_with_its_fields():
    sent = DOCUMENT["paths"]["/key/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    form = DOCUMENT["components"]["schemas"][sent["$ref"].rpartition("/")[2]]
    assert form["properties"].keys() == set(NewKey.__struct_fields__) and not form["required"]
    for route in ROUTES:
        if route.path.startswith("/ui"):
            continue  # a page, for people
        told = DOCUMENT["paths"][openapi.plain(route.path)]
        for method in route.methods if route.body is not None else ():
            assert told[method.lower()]["requestBody"]["content"]["application/json"]["schema"]["$ref"]


# What it says of bodies and answers is so -----------------------------------------------------------------------------

TOLD = [*SURFACES.items(), *((row.templates[0], row.surface) for row in PATTERNS)]
GOOD = {
    "messages": [{"role": "user", "content": "x"}],
    "documents": ["x"],
    "contents": [{"parts": [{"text": "x"}]}],
    "content": {"parts": [{"text": "x"}]},
    "requests": [{"content": {"parts": [{"text": "x"}]}}],
    "generateContentRequest": {},
    "generate_content_request": {},
}


def refusal(surface: Surface, fields: dict[str, object]) -> str | None:
    """The field that is missing."""
    try:
        surface.check({name: Raw(json.dumps(value).encode()) for name, value in fields.items()})
    except GatewayError as error:
        return error.param
    return None


@pytest.mark.parametrize(("path", "surface"), TOLD, ids=[path for path, _ in TOLD])
def test_what_is_required_is_what_check_insists_on(path, surface):
    assert surface.about is not None
    needs, one_of = surface.about.needs, surface.about.one_of
    good = {name: GOOD.get(name, "x") for name in needs}
    for choice in one_of or [None]:
        whole = good | ({choice: GOOD.get(choice, "x")} if choice else {})
        assert refusal(surface, whole) is None
        for name in whole:
            assert refusal(surface, {key: value for key, value in whole.items() if key != name}) in (name, *one_of)
    told = DOCUMENT["paths"][path.replace(":path}", "}")]["post"]["requestBody"]["content"]
    for content in told.values():
        assert content["schema"].get("required", []) == list(needs)
        assert jsonschema_rs.is_valid(content["schema"], good | ({one_of[0]: GOOD.get(one_of[0], "x")} if one_of else {}))
        assert jsonschema_rs.is_valid(content["schema"], {}) == (not needs and not one_of)


def test_forms_are_told_as_forms():
    paths = DOCUMENT["paths"]
    bodies = {path: list(item["post"].get("requestBody", {}).get("content", ())) for path, item in paths.items() if "post" in item}
    assert bodies["/v1/audio/transcriptions"] == ["multipart/form-data"]
    assert bodies["/v1/images/edits"] == ["application/json", "multipart/form-data"]
    assert bodies["/v1/chat/completions"] == bodies["/spend/calculate"] == ["application/json"]
    assert bodies["/v1/responses/{id}/cancel"] == []
    assert list(paths["/"]["get"]["responses"]["200"]["content"]) == ["text/html"]
    assert "text/event-stream" in paths["/v1/messages"]["post"]["responses"]["200"]["content"]
    assert "application/x-ndjson" in paths["/api/chat"]["post"]["responses"]["200"]["content"]


@pytest.mark.parametrize("name", sorted({surface.dialect.name for _, surface in TOLD}))
def test_errors_have_the_shape_that_is_told(name):
    [path] = [path for path, surface in TOLD if surface.dialect.name == name][:1]
    ref = DOCUMENT["paths"][path.replace(":path}", "}")]["post"]["responses"]["400"]["$ref"]
    schema = DOCUMENT["components"]["responses"][ref.rpartition("/")[2]]["content"]["application/json"]["schema"]
    schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    strict = json.loads(re.sub(r'("type": "object", "properties")', r'"additionalProperties": false, \1', json.dumps(schema)))
    for kind in TABLE:
        error = GatewayError(kind, "Why.", param="x", retry_after=2, provider="openai", details=b'{"a":1}')
        _, body = DIALECTS[name].render_error(error)
        assert jsonschema_rs.is_valid(strict, json.loads(body)), body


# A gateway that runs --------------------------------------------------------------------------------------------------


def filled(path: str) -> str:
    for name, value in (("provider", "openai"), ("path", "v1/models"), ("model", "m"), ("name", "m"), ("id", "resp_x")):
        path = path.replace(f"{{{name}}}", value)
    return re.sub(r"\{[a-z_]+\}", "x", path)


def body_of(told) -> tuple[bytes, dict[str, str]]:
    content = told.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        form = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--x--\r\n'
        return form, {"content-type": "multipart/form-data; boundary=x"}
    return (b"{}", {"content-type": "application/json"}) if content else (b"", {})


@pytest.mark.parametrize("key", [True, False])
async def test_every_operation_is_there_for_who_holds_a_key(key, tmp_path):
    async with open_door(tmp_path, master_key=MASTER) as door:
        for method, path, told in OPERATIONS:
            body, headers = body_of(told)
            if key:
                headers["authorization"] = f"Bearer {MASTER}"
            status, _, answer = await door.ask(method, filled(path), body, headers)
            refused = b"Authentication Error" in answer or (method == "HEAD" and not key)
            if (told["security"] or path == "/metrics") and not key:
                assert status == 401 and refused, (method, path, answer)
            else:
                assert status != 405 and not refused and b"There is nothing at" not in answer, (method, path, answer)
                assert status == 200 or told["security"] or "401" in told["responses"], (method, path, answer)
        if not key:
            assert door.mock.received == []
        await door.settle()


async def test_the_document_is_served_to_who_holds_a_key(tmp_path):
    async with open_door(tmp_path, master_key=MASTER) as door:
        assert (await door.ask("GET", "/openapi.json"))[0] == 401
        status, headers, body = await door.ask("GET", "/openapi.json", headers={"x-api-key": MASTER})
        assert status == 200 and headers["content-type"] == "application/json" and json.loads(body) == DOCUMENT
        assert door.gateway.site.openapi is door.gateway.site.openapi
    async with open_door(tmp_path) as door:
        assert (await door.ask("GET", "/openapi.json"))[0] == 200


def test_nobody_pays_for_it_who_does_not_ask():
    code = "import sys, penstock.server.service, penstock.server.site; print('penstock.server.openapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
