"""The OpenAPI document: every URL that the tables name, in one description.

It is made of the rows alone, so that it tells what is there and no more. Of a mount it tells what is only there, for
all the rest is there, too. HEAD stands nowhere beside its GET: it is the same but for the body.

Source: https://spec.openapis.org/oas/v3.1.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock import __version__
from penstock.core.admit.access import MANAGEMENT
from penstock.core.providers.pass_through import METHODS
from penstock.runtime.gate import KEY, PUBLIC
from penstock.runtime.ops import read_either
from penstock.runtime.route import READ
from penstock.runtime.surface import About
from penstock.server.surfaces import dialect_of

if TYPE_CHECKING:
    from penstock.runtime.surface import Surface
    from penstock.server.inpath import Pattern
    from penstock.server.mounts import Mount
    from penstock.server.routes import Route

JSON, FORM, ANY = "application/json", "multipart/form-data", "*/*"
Schema = dict[str, Any]
_WITH_BODY = ("POST", "PUT", "PATCH")

# Families: a surface's row names its own; of a page it is the first segment that tells something, or what that means.
_VERSIONS = frozenset({"v1", "v1alpha", "v1beta", "v2", "api"})
_FAMILIES = {
    "": "gateway",
    "openapi.json": "gateway",
    "docs": "gateway",
    "responses": "chat",
    "version": "health",
    "cost": "spend",
    **dict.fromkeys(("model", "model_group", "capabilities", "providers", "tags", "ps"), "models"),
    **dict.fromkeys(("key", "user"), "keys"),
    **dict.fromkeys(("customer", "end_user"), "customers"),
}
_TAGS = {
    "chat": "What a model says to a conversation, in the words of each client.",
    "operations": "Embeddings, ranking, images, audio and the other small operations.",
    "models": "Which models there are and what they can do.",
    "spend": "What answers cost.",
    "keys": "Virtual keys and the users who have them. Who may do what is told by the caller's role.",
    "customers": "The end users whom requests name, and their budgets.",
    "health": "Whether requests are taken. Nothing here asks an upstream.",
    "gateway": "The gateway itself.",
    "pass-through": "Providers' own APIs, with the provider's key lent to those who hold the gateway's.",
}

# Whose shape an error has, by dialect; that of OpenAI for every other.
_SHAPES = {"anthropic": "anthropic", "gemini": "google", "ollama": "ollama", "ollama_generate": "ollama"}
_TEXT: Schema = {"type": "string"}


def _object(fields: Mapping[str, Schema], *optional: str) -> Schema:
    return {"type": "object", "properties": dict(fields), "required": [name for name in fields if name not in optional]}


ERRORS: Mapping[str, Schema] = {
    "openai": _object(
        {
            "error": _object(
                {
                    "message": _TEXT,
                    "type": _TEXT,
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "integer"], "description": "The status; a number below /olla/litellm."},
                }
            )
        }
    ),
    "anthropic": _object(
        {
            "type": {"const": "error"},
            "error": _object({"type": _TEXT, "message": _TEXT, "details": {"type": "object"}}, "details"),
        }
    ),
    "google": _object(
        {
            "error": _object(
                {"code": {"type": "integer"}, "message": _TEXT, "status": _TEXT, "details": {"type": "array"}},
                "details",
            )
        }
    ),
    "ollama": _object({"error": _TEXT}),
    "provider": {"type": "object", "description": "In the shape of the provider's own API."},
}
"""Shape -> its schema. ``tests/server/test_openapi.py`` holds them against what the dialects render."""
_STATUSES = {
    "400": "Something in the request is wrong.",
    "401": "There is no key, or a wrong one; or the provider took ours for one.",
    "403": "The key may not do this: it, its team or its owner's role are not allowed to.",
    "404": "There is no such thing, here or at the provider.",
    "409": "Somebody else has changed it meanwhile; ask again.",
    "413": "The body is too large.",
    "415": "The body is of another type, or compressed in a way that is not known.",
    "422": "A field is missing, or has a value that it cannot have; or a budget is spent.",
    "429": "Too many requests; `retry-after` says when to come again.",
    "4XX": "The provider refused the request.",
    "5XX": "The gateway or the provider failed, or what is asked for is not set up.",
}

# A key may stand in any of these. The list behind a scheme's name is the role that the key must have.
_KEYS: Mapping[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    **{name: {"type": "apiKey", "in": "header", "name": name} for name in ("x-api-key", "api-key", "x-goog-api-key")},
    "x-litellm-api-key": {"type": "apiKey", "in": "header", "name": "x-litellm-api-key"},
}
_QUERY_KEY: Schema = {"type": "apiKey", "in": "query", "name": "key"}


_FILE = _object({"purpose": _TEXT, "file": {"type": "string", "contentMediaType": "application/octet-stream"}})


class _Made(NamedTuple):
    """One operation. ``path``: as a route's row has it. ``body``: media type -> schema. ``answer``: media types.
    ``asks``: it asks an upstream, whose status may be any. ``status``: of an answer that went well. ``judges``: who
    asks is judged, although nobody needs a key for it."""

    path: str
    method: str
    summary: str
    family: str
    role: str
    shape: str
    body: Mapping[str, Schema]
    answer: tuple[str, ...]
    key_in_query: bool = False
    asks: bool = False
    status: int = 200
    judges: bool = False


_PEOPLE = "/ui"  # pages for people: no program is told of them


def document(
    surfaces: Mapping[str, Surface],
    patterns: Iterable[Pattern],
    routes: Iterable[Route],
    mounts: Iterable[Mount],
    prefixes: Iterable[str],
) -> dict[str, Any]:
    """Make the document of these tables. ``prefixes``: those of the providers that are passed through to."""
    mounts, routes = list(mounts), [route for route in routes if not route.path.startswith(_PEOPLE)]
    paths: dict[str, dict[str, Any]] = {}
    families: dict[str, None] = {}
    for made in _operations(surfaces, patterns, routes, mounts):
        families[made.family] = None
        paths.setdefault(plain(made.path), {})[made.method.lower()] = _operation(made)
    passed = _passed(list(prefixes))
    families["pass-through"] = None
    paths.update(passed)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Penstock", "version": __version__, "description": _description(mounts)},
        "tags": [{"name": name} | _described(_TAGS.get(name)) for name in families],
        "paths": paths,
        "components": {
            "schemas": {_error_name(shape): schema for shape, schema in ERRORS.items()} | _forms(routes)[1],
            "responses": {
                f"{shape}_{status}": {"description": text, "content": {JSON: {"schema": schema}}}
                for shape, schema in ((shape, _ref("schemas", _error_name(shape))) for shape in ERRORS)
                for status, text in _STATUSES.items()
            },
            "securitySchemes": {**_KEYS, "key": _QUERY_KEY},
        },
    }


def _forms(routes: Iterable[Route]) -> tuple[dict[type, Schema], dict[str, Schema]]:
    """Describe the forms of bodies: what stands for each, and what that means."""
    forms = list(dict.fromkeys(route.body for route in routes if route.body is not None))
    refs, schemas = msgspec.json.schema_components(forms, ref_template="#/components/schemas/{name}")
    return dict(zip(forms, refs, strict=True)), schemas


def plain(path: str) -> str:
    """Write a row's path as OpenAPI does, which has no way to say that a value may hold slashes."""
    return re.sub(r"\{([a-z_]+):path\}", r"{\1}", path)


# The rows -------------------------------------------------------------------------------------------------------------


def _operations(
    surfaces: Mapping[str, Surface], patterns: Iterable[Pattern], routes: Iterable[Route], mounts: Iterable[Mount]
) -> Iterator[_Made]:
    for path, surface in surfaces.items():
        yield from _of_surface(path, surface)
    for row in patterns:
        for path in row.templates:
            yield from _of_surface(path, row.surface)
    routes = list(routes)
    forms = _forms(routes)[0]
    for route in routes:
        yield from _of_route(route.path, route, body=forms.get(route.body) if route.body else None)
    for mount in mounts:
        for rest, surface in mount.own.items():
            yield from _of_surface(mount.prefix + rest, surface)
        for rest, batch in mount.batches.items():
            visit = mount.visits[rest]
            many = {"type": "array", "minItems": 1, "maxItems": batch.most}
            body = {JSON: {"anyOf": [_object({"requests": many}), many]}}
            for method in visit.entry.methods:
                summary = _summary(visit.answer)
                yield _Made(
                    mount.prefix + rest, method, summary, "chat", visit.entry.role, "openai", body, (JSON,), asks=True
                )
        for route in mount.routes.rows:
            yield from _of_route(mount.prefix + route.path, route, mount.base + route.path)


def _of_surface(path: str, surface: Surface) -> Iterator[_Made]:
    about = surface.about or About(_summary(surface.attempt))
    answer = [about.answer]
    if about.streams:
        answer.append(surface.stream_type.partition(b";")[0].decode())
    shape = _SHAPES.get(surface.dialect.name, "openai")
    schema = _fields(about, "{model" not in path, about.streams and shape != "google")  # there the path says it
    body = {JSON: schema} if not surface.upload or surface.read is read_either else {}
    if surface.upload:
        file = {about.file: {"type": "string", "contentMediaType": "application/octet-stream"}}
        body[FORM] = schema | {"properties": schema["properties"] | file}
    for method in surface.methods:
        yield _Made(
            path,
            method,
            about.summary,
            about.family,
            surface.role,
            shape,
            body,
            tuple(answer),
            surface.key_in_query,
            asks=True,
        )


def _fields(about: About, model: bool, stream: bool) -> Schema:
    """Describe what a request must have, as far as the gateway insists on it; a model may be configured."""
    fields: dict[str, Schema] = {"model": _TEXT} if model else {}
    for name, kind in about.needs.items():
        fields[name] = {"type": kind if isinstance(kind, str) else list(kind)}
    if stream:
        fields["stream"] = {"type": "boolean"}
    schema: Schema = {"type": "object", "properties": fields}
    if about.needs:
        schema["required"] = list(about.needs)
    if about.one_of:
        schema["anyOf"] = [{"required": [name]} for name in about.one_of]
    return schema


def _of_route(path: str, route: Route, inner: str = "", body: Schema | None = None) -> Iterator[_Made]:
    """Describe a row. ``inner``: the path that it has within a mount. ``body``: what its body is, where that is
    known."""
    shape = _SHAPES.get(dialect_of(inner or path, {}).name, "openai")
    named = [part for part in route.path.strip("/").split("/") if part not in _VERSIONS]
    first = named[0] if named else ""
    family, summary = _FAMILIES.get(first, first), _summary(route.handler)
    for method in route.methods:
        if method != "HEAD" or "GET" not in route.methods:
            takes = route.json and (body is not None or method in _WITH_BODY)  # LiteLLM's DELETEs bring a list of ids
            sent = {JSON: body or {"type": "object"}} if takes else {FORM: _FILE} if route.upload else {}
            answer, query = (route.answer,), route.key_in_query
            more: dict[str, Any] = {"status": route.status, "judges": route.family == MANAGEMENT}
            yield _Made(path, method, summary, family, route.role, shape, sent, answer, query, **more)


def _summary(made: Callable[..., object]) -> str:
    """Take the first sentence of a docstring, without its stop and its marks of code."""
    text = " ".join((getattr(made, "func", made).__doc__ or "").split())
    return re.split(r"\.(?: |$)|: ", text, maxsplit=1)[0].replace("``", "")


# As OpenAPI has it ----------------------------------------------------------------------------------------------------


def _operation(made: _Made) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": _id(made.method, made.path),
        "summary": made.summary,
        "tags": [made.family],
        "security": _security(made.role, made.key_in_query),
    }
    parameters = [_parameter(name, bool(rest)) for name, rest in re.findall(r"\{([a-z_]+)(:path)?\}", made.path)]
    if parameters:
        told["parameters"] = parameters
    if made.body:
        content = {kind: {"schema": schema} for kind, schema in made.body.items()}
        told["requestBody"] = {"required": True, "content": content}
    good: Schema = {"description": "The answer."}
    if made.status != 204:
        good["content"] = {kind: {} for kind in made.answer}
    told["responses"] = {str(made.status): good} | _refusals(made)
    return told


def _id(method: str, path: str) -> str:
    """Name an operation: the same as long as method and path are."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", plain(path)).strip("_")
    return f"{method.lower()}_{words or 'root'}"


def _security(role: str, key_in_query: bool = False) -> list[dict[str, list[str]]]:
    names = [*_KEYS, "key"] if key_in_query else [*_KEYS]
    return [] if role == PUBLIC else [{name: [role]} for name in names]


def _parameter(name: str, slashes: bool) -> Schema:
    told: Schema = {"name": name, "in": "path", "required": True, "schema": _TEXT}
    return told | {"description": "May hold slashes, plain or encoded."} if slashes else told


def _refusals(made: _Made) -> dict[str, Schema]:
    """List the usual ones. A public page asks for no key and counts nobody's requests."""
    left_out = {"401", "403", "422", "429"} if made.role == PUBLIC and not made.judges else set()
    if made.method in READ:
        left_out.add("409")
    if not made.body:
        left_out |= {"413", "415"}
    if not made.asks:
        left_out.add("4XX")
    return {status: _ref("responses", f"{made.shape}_{status}") for status in _STATUSES if status not in left_out}


def _passed(prefixes: list[str]) -> dict[str, dict[str, Any]]:
    """Describe all providers as one path: they differ in nothing that is ours."""
    path = "/{provider}/{path:path}"
    parameters = [_parameter("provider", False) | {"schema": _TEXT | {"enum": prefixes}}, _parameter("path", True)]
    item: dict[str, Any] = {"parameters": parameters}
    for method in METHODS:
        body: Mapping[str, Schema] = {ANY: {}} if method in _WITH_BODY else {}
        summary = "Pass a request through to a provider's own API"
        made = _Made(path, method, summary, "pass-through", KEY, "provider", body, (ANY,), asks=True)
        told = _operation(made)
        del told["parameters"]
        if body:
            told["requestBody"] = {"content": {ANY: {}}}
        item[method.lower()] = told
    return {plain(path): item}


def _description(mounts: Iterable[Mount]) -> str:
    below = ", ".join(f"`{mount.prefix}` (for `{mount.base or '/'}`)" for mount in mounts)
    return (
        "One HTTP door in front of every LLM. Where no key is configured, none is asked for. What is here is also "
        f"below {below}; the document has only what is nowhere else."
    )


def _described(text: str | None) -> dict[str, str]:
    return {"description": text} if text else {}


def _error_name(shape: str) -> str:
    return f"{shape.capitalize()}Error"


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}
