"""Every URL of the site, asked as every role: a table says who is let in, and what has no line in it fails.

Lines of what is managed stand in files of their own beside this one, ``roles_*.py``: ``ROLES`` has the roles that get
an answer, by method and path, and ``ASKED`` what is asked there, where an empty body would be refused before anybody
looks at who asks; there a 404 is a refusal, too.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import time
from typing import Any

import pytest

import tests.server
from penstock.core.admit.periods import text_of
from penstock.server.mounts import MOUNTS
from penstock.server.surfaces import PATTERNS, SURFACES
from tests.server.managed import YAML, Managed, open_managed, populate
from tests.server.roles_spend import spending
from tests.server.tables import ROUTES

EVERYBODY = (
    "master proxy_admin manager viewer org_admin team_admin member internal internal_viewer foreign alone"
).split()
BOUND = ["llm_only", "read_only"]  # keys of an internal user that may call some routes only
REFUSED = ("none", "wrong", "expired", "blocked")
# Who is let in: where a model is asked, where something is shown, where everything is managed.
CLASSES: dict[str, set[str]] = {
    "public": {*EVERYBODY, *BOUND, *REFUSED},
    "llm": {*EVERYBODY, "llm_only"} - {"manager"},
    "info": {*EVERYBODY, "read_only"},
    "admins": {"master", "proxy_admin", "manager"},
}
TABLE = {
    ("public", "GET"): """
        / /health /health/liveliness /health/liveness /health/readiness /api/v1/health
    """,
    ("llm", "GET"): """
        /v1/responses/{id} /v1/responses/{id}/input_items /responses/{id} /responses/{id}/input_items /v1/models
        /models /v1beta/models /v1alpha/models /api/tags /api/ps /api/version /v1/models/{name:path}
        /models/{name:path} /v1beta/models/{name:path} /v1alpha/models/{name:path} /api/v1/litellm/models
        /through /anthropic/v1/models
    """,
    ("llm", "DELETE"): """
        /v1/responses/{id} /responses/{id} /through /anthropic/v1/files/x
    """,
    ("llm", "POST"): """
        /v1/responses/{id}/cancel /responses/{id}/cancel /v1/chat/completions /chat/completions /v1/responses
        /responses /v1/messages /v1/messages/count_tokens /api/chat /api/generate /api/embed /api/embeddings
        /api/show /responses/compact /responses/input_tokens /v1/responses/compact /v1/responses/input_tokens
        /completions /embeddings /rerank /moderations /images/generations /images/edits /audio/speech
        /audio/transcriptions /audio/translations /v1/completions /v1/embeddings /v1/rerank /v1/moderations
        /v1/images/generations /v1/images/edits /v1/audio/speech /v1/audio/transcriptions /v1/audio/translations
        /v2/rerank /v1beta/models/{model:path}:generateContent /v1alpha/models/{model:path}:generateContent
        /v1/models/{model:path}:generateContent /models/{model:path}:generateContent
        /v1beta/models/{model:path}:streamGenerateContent /v1alpha/models/{model:path}:streamGenerateContent
        /v1/models/{model:path}:streamGenerateContent /models/{model:path}:streamGenerateContent
        /v1beta/models/{model:path}:countTokens /v1alpha/models/{model:path}:countTokens
        /v1/models/{model:path}:countTokens /models/{model:path}:countTokens
        /v1beta/models/{model:path}:embedContent /v1alpha/models/{model:path}:embedContent
        /v1/models/{model:path}:embedContent /models/{model:path}:embedContent
        /v1beta/models/{model:path}:batchEmbedContents /v1alpha/models/{model:path}:batchEmbedContents
        /v1/models/{model:path}:batchEmbedContents /models/{model:path}:batchEmbedContents
        /openai/deployments/{model:path}/chat/completions /openai/deployments/{model:path}/completions
        /openai/deployments/{model:path}/embeddings /openai/deployments/{model:path}/rerank
        /openai/deployments/{model:path}/moderations /openai/deployments/{model:path}/images/generations
        /openai/deployments/{model:path}/images/edits /openai/deployments/{model:path}/audio/speech
        /openai/deployments/{model:path}/audio/transcriptions
        /openai/deployments/{model:path}/audio/translations /engines/{model:path}/chat/completions
        /engines/{model:path}/completions /engines/{model:path}/embeddings /engines/{model:path}/rerank
        /engines/{model:path}/moderations /engines/{model:path}/images/generations
        /engines/{model:path}/images/edits /engines/{model:path}/audio/speech
        /engines/{model:path}/audio/transcriptions /engines/{model:path}/audio/translations
        /api/v1/litellm/vision /api/v1/vlm/openai /api/v1/batch/chat/completions /api/v1/batch/vlm/completions
        /through /anthropic/v1/messages
    """,
    ("info", "GET"): """
        /openapi.json /docs /v1/capabilities /model/info /v1/model/info /model_group/info /user/available_roles
        /v1/route/explain /spend/calculate /api/v1/litellm/providers /deployments /deployments/{id:path}
    """,
    ("info", "POST"): """
        /v2/key/info /key/health /v1/route/explain /spend/calculate /cost/estimate /api/v1/litellm/cost/estimate
    """,
    ("admins", "GET"): """
        /cache/ping /cache/redis/info
    """,
    ("admins", "POST"): """
        /cache/delete /cache/flushall /model/new /model/update /model/delete
    """,
    ("admins", "PATCH"): """
        /model/{id:path}/update
    """,
}
BY_CONFIG = """
general_settings:
  pass_through_endpoints: [{path: /through, target: "{mock}/v1/models", auth: true}]
"""


def read_tables() -> tuple[dict[tuple[str, str], set[str]], dict[tuple[str, str], tuple[str, Any]]]:
    roles = {(method, path): CLASSES[who] for (who, method), paths in TABLE.items() for path in paths.split()}
    asked: dict[tuple[str, str], tuple[str, Any]] = {}
    for found in pkgutil.iter_modules(tests.server.__path__):
        if found.name.startswith("roles_"):
            module = importlib.import_module(f"tests.server.{found.name}")
            assert not roles.keys() & module.ROLES.keys(), "a route has two lines"
            roles |= module.ROLES
            asked |= getattr(module, "ASKED", {})
    return roles, asked


ROLES, ASKED = read_tables()


def all_rows() -> set[tuple[str, str]]:
    """Method and path of every row of every table; HEAD is GET. Pages are opened by sessions: ``tests/ui`` asks them."""
    tables = [("", ROUTES)]
    tables += [(mount.prefix, mount.routes.rows) for mount in MOUNTS]
    rows = {(method, prefix + row.path) for prefix, table in tables for row in table for method in row.methods}
    surfaces = [*SURFACES.items(), *((path, row.surface) for row in PATTERNS for path in row.templates)]
    surfaces += [(mount.prefix + rest, mount.surfaces[rest]) for mount in MOUNTS for rest in mount.own]
    surfaces += [(mount.prefix + rest, visit.entry) for mount in MOUNTS for rest, visit in mount.visits.items()]
    rows |= {(method, path) for path, surface in surfaces for method in surface.methods}
    return {row for row in rows if row[0] != "HEAD"}


def test_every_route_has_a_line_and_every_line_a_route():
    passed = {row for row in ROLES if row[1].startswith(("/through", "/anthropic/"))}
    assert all_rows() - ROLES.keys() == set(), "who may call these? Say it in this file, or in a roles_*.py"
    assert ROLES.keys() - all_rows() == passed
    assert ASKED.keys() <= ROLES.keys()


class Callers:
    """Asks as somebody, with fresh objects where something is done to them."""

    def __init__(self, managed: Managed) -> None:
        self.managed, self.made = managed, 0

    async def target(self, text: str) -> dict[str, str]:
        """What stands for the names in a path or body."""
        self.made += 1
        managed, names = self.managed, {}
        if "{red}" in text:
            key = await managed.good("/key/generate", {"team_id": "t", "user_id": "member"})
            names["red"] = key["token_id"]
        if "{gone}" in text:
            user = names["gone"] = f"gone{self.made}"
            await managed.put("user", user, user_id=user, user_role="internal_user")
            place = {"organization_id": "o", "user_id": user, "user_role": "internal_user"}
            await managed.put("organization_member", f"o/{user}", **place)
        return names

    async def ask(self, row: tuple[str, str], who: str, below: str = "") -> tuple[int, str]:
        method, path = row
        body: Any = {} if method in ("POST", "PATCH") else None
        if row in ASKED:
            path, body = ASKED[row]
            text = json.dumps([path, body])
            for name, value in (await self.target(text)).items():
                text = text.replace(f"{{{name}}}", value)
            path, body = json.loads(text)
        path = re.sub(r"\{[a-z_]+(:path)?\}", "n", path)
        key = {"none": "", "wrong": "sk-wrong-0123456789abcdef"}.get(who, who)
        status, _, answer = await self.managed.door.ask(method, below + path, *self.sent(body, key))
        return status, answer.decode("utf-8", "replace")

    def sent(self, body: Any, key: str) -> tuple[bytes, dict[str, str]]:
        headers = {"content-type": "application/json"} if body is not None else {}
        headers |= {"authorization": f"Bearer {self.managed.keys.get(key, key)}"} if key else {}
        return (b"" if body is None else json.dumps(body).encode()), headers


async def fill(managed: Managed) -> None:
    await populate(managed)
    managed.door.gateway.storage = spending()  # type: ignore[assignment]
    await managed.key("manager", user_id="proxy_admin", key_type="management")
    await managed.key("llm_only", user_id="internal", key_type="llm_api")
    await managed.key("read_only", user_id="internal", key_type="read_only")
    await managed.key("expired", user_id="proxy_admin", expires=text_of(time.time() - 5))
    await managed.key("blocked", user_id="proxy_admin", blocked=True)


def let_in(row: tuple[str, str], status: int) -> bool:
    return status not in ((401, 403, 404) if row in ASKED or row == ("GET", "/user/info") else (401, 403))


ENV = {"ANTHROPIC_API_KEY": "sk-ant-upstream", "ANTHROPIC_API_BASE": "{mock}"}


@pytest.mark.parametrize("who", [*EVERYBODY, *BOUND, *REFUSED])
async def test_who_is_let_in(who, tmp_path):
    async with open_managed(tmp_path, YAML + BY_CONFIG, env=ENV) as managed:
        await fill(managed)
        callers, wrong = Callers(managed), []
        for row in sorted(ROLES):
            status, answer = await callers.ask(row, who)
            if let_in(row, status) != (who in ROLES[row]) or status >= 500 and "fault" in answer:
                wrong.append((row, status, answer[:200]))
            if who in REFUSED and who not in ROLES[row]:
                assert status == 401, row
        assert wrong == []


@pytest.mark.parametrize("prefix", [mount.prefix for mount in MOUNTS if not mount.parameter and not mount.base])
async def test_below_a_mount_it_is_the_same(prefix, tmp_path):
    async with open_managed(tmp_path) as managed:
        await fill(managed)
        callers = Callers(managed)
        for row in sorted(row for row in ROLES if re.match(r"/(key|user|customer)/|/v2/(key|user)", row[1])):
            for who in ("internal", "llm_only", "none", "expired"):
                status, _ = await callers.ask(row, who, prefix)
                assert let_in(row, status) == (who in ROLES[row]), (row, who, status)


async def test_keys_that_are_none_are_told_alike(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        near = managed.keys["proxy_admin"][:-1] + "_"
        told = [await managed.bad("/v1/models", key=key) for key in (near, "sk-" + "x" * 900, "sk-' OR 1=1 --00000")]
        assert {status for status, _, _ in told} == {401}
        assert {text.partition(":")[0] for _, text, _ in told} == {"Authentication Error, no such key here"}
