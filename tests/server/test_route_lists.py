"""What the operator says of routes, over the roles that they have: which there are, need no key, are for admins.

Every route of ``test_roles.py`` is asked as every role again, beneath each of the three lists.
"""

from __future__ import annotations

import json
import re

import pytest

from penstock.config.routes import read_routes
from penstock.core.admit.access import MANAGEMENT
from penstock.core.admit.routes import GROUPS, RouteRules, expand
from penstock.runtime.gate import VIEW
from penstock.server.mounts import MOUNTS
from penstock.server.pages import ROUTES
from tests.door import HELLO
from tests.server.keyed import MASTER, key, open_keyed
from tests.server.managed import YAML, open_managed
from tests.server.test_limits import CONFIG
from tests.server.test_roles import ASKED, BY_CONFIG, ENV, REFUSED, ROLES, Callers, fill, let_in

GIVEN: dict[str, list[str]] = {
    "allowed_routes": ["/v1/chat/completions", "/key/*", "LiteLLMRoutes.public_routes", "/user/info", "info_routes"],
    "public_routes": ["/v1/models", "/spend/*", "/key/generate", "/model/{id}/update", "/cache/ping", "/v1/embeddings"],
    "admin_only_routes": ["/key/generate", "/global/*", "/chat/completions", "/key/{key}/regenerate"],
}
NAMED = {
    "allowed_routes": re.compile(r"(/v1)?/chat/completions|/key/.*|/user/info"),
    "public_routes": re.compile(r"/v1/models|/spend/.*|/key/generate|/model/[^/]+/update|/cache/ping|/v1/embeddings"),
    "admin_only_routes": re.compile(r"/key/generate|/global/.*|(/v1)?/chat/completions|/key/[^/]+/regenerate"),
}
# Role and family of the rows, by method and path; what is in none of the tables is a surface, or passed through.
ROWS = {(method, row.path): (row.role, row.family) for row in ROUTES for method in row.methods}
ROWS["GET", "/metrics"] = ROWS["HEAD", "/metrics"] = VIEW, MANAGEMENT  # as it judges by itself
ROWS |= {
    (method, mount.prefix + row.path): (row.role, row.family)
    for mount in MOUNTS
    for row in mount.routes.rows
    for method in row.methods
}


def meant(row: tuple[str, str]) -> str:
    """The path that a row is judged by: as it is asked, and turned where it is below a mount."""
    path = ASKED[row][0].partition("?")[0].replace("{red}", "n") if row in ASKED else row[1]
    path = re.sub(r"\{[a-z_]+(:path)?\}", "n", path)
    for mount in MOUNTS:
        if not mount.parameter and path.startswith(mount.prefix + "/"):
            return mount.base + path[len(mount.prefix) :]
    return path


@pytest.mark.parametrize("who", ["master", "proxy_admin", "viewer", "team_admin", "internal", "alone", *REFUSED])
@pytest.mark.parametrize("name", GIVEN)
async def test_a_list_holds_at_every_route_for_every_role(name, who, tmp_path):
    yaml = YAML + BY_CONFIG.rstrip() + f"\n  {name}: {json.dumps(GIVEN[name])}\n"
    async with open_managed(tmp_path, yaml, env=ENV) as managed:
        await fill(managed)
        gate = managed.door.gateway.gate
        gate.routes = read_routes(managed.door.gateway.state.config.general.values)
        callers, wrong = Callers(managed), []
        for row in sorted(ROLES):
            role, family = ROWS.get(row, ("key", "llm_api_routes"))
            may, named = who in ROLES[row], NAMED[name].fullmatch(meant(row)) is not None
            if name == "allowed_routes" and role != "public":
                may = may and (named or family == "info_routes")
            elif name == "admin_only_routes" and named:
                may = may and who in ("master", "proxy_admin")
            opened = name == "public_routes" and named and role != "admin"
            status, answer = await callers.ask(row, who)
            good = let_in(row, status) == may if not opened else status != 401 and (let_in(row, status) or not may)
            if not good or (status >= 500 and "fault" in answer):
                wrong.append((row, status, answer[:200]))
            if opened and who in REFUSED and row[0] != "GET" and family != "llm_api_routes" and "key" in row[1]:
                assert status in (400, 403, 404), row  # nothing is made or changed for nobody
        assert wrong == []


async def ask(door, path: str, who: str = "", body=HELLO, **headers: str):
    if who:
        headers["authorization"] = f"Bearer {who}"
    method = "GET" if body is None else "POST"
    data = b"" if body is None else json.dumps(body).encode()
    sent = {**({"content-type": "application/json"} if data else {}), **headers}
    status, _, answer = await door.ask(method, path, data, sent)
    return status, json.loads(answer) if answer[:1] in (b"{", b"[") else answer


CHAT = "/v1/chat/completions"


async def test_who_shows_a_good_key_at_an_open_route_is_known_by_it(tmp_path) -> None:
    rows = {"key": {"a": {"models": ["n"], "rpm_limit": 1}}}
    async with open_keyed(tmp_path, rows, CONFIG) as door:
        door.gateway.gate.routes = RouteRules(public=(CHAT,))
        assert (await ask(door, CHAT))[0] == (await ask(door, CHAT, "sk-wrong-1234567890"))[0] == 200
        assert (await ask(door, CHAT, key("a")))[0] == 403  # its models
        assert (await ask(door, CHAT, key("a"), {**HELLO, "model": "n"}))[0] == 200
        assert (await ask(door, CHAT, key("a"), {**HELLO, "model": "n"}))[0] == 429  # its limits
        assert (await ask(door, "/chat/completions"))[0] == 401  # another path, of the same route
        assert (await ask(door, CHAT + "/x"))[0] == 401
        assert (await ask(door, "/v1/models", body=None))[0] == 401


async def test_a_route_that_is_open_is_not_when_it_is_for_admins_or_not_there(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG) as door:
        door.gateway.gate.routes = RouteRules(public=("/v1/*",), admin_only=(CHAT,))
        assert (await ask(door, CHAT))[0] == 401 and (await ask(door, CHAT, key("a")))[0] == 403
        assert (await ask(door, CHAT, MASTER))[0] == (await ask(door, "/v1/models", body=None))[0] == 200
        door.gateway.gate.routes = RouteRules(public=("/v1/*",), allowed=(CHAT,))
        status, told = await ask(door, "/v1/models", body=None)
        assert status == 403 and told["error"]["message"].startswith("Access forbidden: Route /v1/models not allowed")
        assert (await ask(door, CHAT))[0] == 200
        door.gateway.gate.routes = RouteRules(allowed=())
        assert (await ask(door, CHAT, MASTER))[0] == 403 and (await ask(door, CHAT))[0] == 401
        assert (await ask(door, "/health/liveliness", body=None))[0] == 200


async def test_a_slash_or_a_mount_is_no_way_around_a_list(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG) as door:
        door.gateway.gate.routes = RouteRules(admin_only=(CHAT, "/openai/*"))
        for path in (CHAT, CHAT + "/", "//v1/chat/completions", "/chat/completions", "/v1/v1/chat/completions"):
            assert (await ask(door, path, key("a")))[0] in (403, 404), path
        for mount in MOUNTS:
            if not mount.parameter and mount.base in ("", "/v1"):
                assert (await ask(door, f"{mount.prefix}/chat/completions", key("a")))[0] in (403, 404), mount.prefix
        assert (await ask(door, "/openai/v1/chat/completions", key("a")))[0] == 403
        assert door.mock.requests == 0


async def test_a_web_page_of_another_site_is_no_caller_of_an_open_route(tmp_path) -> None:
    async with open_keyed(tmp_path, {}, CONFIG) as door:
        door.gateway.gate.routes = RouteRules(public=("/openai/*", CHAT))
        evil = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        assert (await ask(door, "/openai/v1/models", body=None, **evil))[0] == 403


@pytest.mark.parametrize(
    ("entry", "stands_for"),
    [
        ("/key/generate/", ("/key/generate",)),
        ("/", ("/",)),
        ("LiteLLMRoutes.openai_routes", ("llm_api_routes",)),
        ("management_routes", ("management_routes",)),
        ("LiteLLMRoutes.public_routes", ()),
        ("key_management_routes", ("/key/*", "/v2/key/*")),
    ],
)
def test_what_an_entry_stands_for(entry: str, stands_for: tuple[str, ...]) -> None:
    assert expand(entry) == stands_for


def test_every_group_names_something_that_is_there() -> None:
    paths = {row.path for row in ROUTES}
    for name, entries in GROUPS.items():
        for entry in entries:
            assert not entry.startswith("/") or any(path.startswith(entry.rstrip("*")) for path in paths), name
