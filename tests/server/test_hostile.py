"""Every field, parameter and path of what is managed, with what somebody sends who means harm: it is refused or taken,
and never a fault of the gateway. A real database is behind it.

The fields are those of the routes' own forms and the parameters those that handlers look for, so a new one is asked
without a line here.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import penstock
from penstock.core.admit.access import LLM
from penstock.runtime.route import Route
from penstock.server.pages import ROUTES
from tests.served import MASTER, ServedDoor, open_service
from tests.server.managing import CONFIG
from tests.server.test_roles import ASKED

SQL = "'; DROP TABLE keys; --"
RAW: dict[str, bytes] = {
    "NUL": rb'"a\u0000b"',
    "control characters": rb'"\r\n\u001b[2J\u0007"',
    "half a surrogate": rb'"\ud800"',
    "bytes that are no text": b'"\xff\xfe\x80"',
    "unicode": '"ÅÅ \u202eab 🔑 ﷽ İ"'.encode(),
    "SQL": json.dumps(SQL).encode(),
    "SQL wildcards": rb'"%_\\%"',
    "very long": b'"' + b"k" * 1_000_000 + b'"',
    "a slash": b'"a/../b"',
    "empty": b'""',
    "a huge number": b"1" + b"0" * 400,
    "beyond 64 bits": b"9223372036854775808",
    "infinity": b"1e999",
    "less than nothing": b"-1",
    "true": b"true",
    "null": b"null",
    "a list": b'[null, "", {}, -1, "x"]',
    "an object": b'{"": null, "max_budget": "x", "rpm": -1, "a/b": {"c": []}}',
    "deep": b"[" * 3000 + b"]" * 3000,
    "deep objects": b'{"a":' * 400 + b"1" + b"}" * 400,
}
"""Values, as they stand in a body."""
TEXTS = {
    "NUL": "%00",
    "control": "a%0D%0Ab%1B",
    "no text": "%FF%FE",
    "unicode": quote("ÅÅ\u202e🔑"),
    "SQL": quote(SQL, ""),
    "long": "k" * 7000,
    "empty": "",
    "number": "-1",
    "large": "9" * 30,
    "dates": "0000-13-99",
    "list": quote('["a",{}]', ""),
}
"""Values, as they stand in a path or a query."""
# What is asked for is not there: no cache, no Redis, no package.
NOT_SET_UP = (501, 503)


def parameters() -> list[str]:
    """Every parameter that a handler looks for in the query."""
    called = r"(?:(?:query|asked|given)\.get|(?:number|flag|day|text)_of)\((?:[a-z_]+, )?\"([a-z_]+)\""
    folder = Path(penstock.__file__).parent
    files = [file for room in ("admin", "server") for file in (folder / room).glob("*.py")]
    found = {name for file in files for name in re.findall(called, file.read_text())}
    return sorted(found | {"user_id", "team_id", "organization_id", "key", "start_date", "end_date"})


ROWS = [
    (route, method)
    for route in ROUTES
    if route.family != LLM
    for method in route.methods
    if method != "HEAD" and route.path not in ("/openapi.json", "/")
]
NAMES = [f"{method} {route.path}" for route, method in ROWS]


@asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[ServedDoor]:
    yaml = CONFIG.replace("general_settings: {", "litellm_settings: {cache: true}\ngeneral_settings: {")
    async with open_service(folder, yaml, state_dir=folder / "state") as door:
        for path, body in (
            ("/organization/new", {"organization_id": "o", "organization_alias": "o"}),
            ("/team/new", {"team_id": "t", "organization_id": "o"}),
            ("/user/new", {"user_id": "member", "teams": ["t"], "auto_create_key": False}),
            ("/key/generate", {"key": "sk-of-the-member-0123456789", "user_id": "member", "key_alias": "red"}),
        ):
            status, told = await door.call(path, body)
            assert status == 200, told
        yield door


async def ask(door: ServedDoor, method: str, path: str, body: bytes | None, key: str = MASTER) -> tuple[int, bytes]:
    headers = {"authorization": f"Bearer {key}"}
    if body is not None:
        headers["content-type"] = "application/json"
    status, _, answer = await door.ask(method, path, body or b"", headers)
    return status, answer


def base_of(route: Route, method: str) -> dict[str, Any]:
    """What else must stand in a body so that a field of it is looked at."""
    asked = ASKED.get((method, route.path))
    body = asked[1] if asked is not None and isinstance(asked[1], dict) else {}
    return json.loads(json.dumps(body).replace("{red}", "sk-of-the-member-0123456789").replace("{gone}", "member"))


def body_of(fields: dict[str, Any], name: str, value: bytes) -> bytes:
    parts = [json.dumps(key).encode() + b":" + json.dumps(held).encode() for key, held in fields.items() if key != name]
    return b"{" + b",".join([*parts, json.dumps(name).encode() + b":" + value]) + b"}"


def wrong(status: int, answer: bytes) -> bool:
    return not 200 <= status < 600 or (status >= 500 and (status not in NOT_SET_UP or b"fault of" in answer))


async def told_wrong(door: ServedDoor, asked: list[tuple[str, str, str, bytes | None]]) -> list[Any]:
    found = []
    for what, method, path, body in asked:
        status, answer = await ask(door, method, path, body)
        if wrong(status, answer):
            found.append((what, method, path[:100], (body or b"")[:200], status, answer[:300]))
    return found


@pytest.mark.parametrize("part", range(4))
async def test_every_field_of_every_body(part, tmp_path):
    rows = [(route, method) for route, method in ROWS if method in ("POST", "PUT", "PATCH", "DELETE")][part::4]
    async with open_site(tmp_path) as door:
        asked: list[tuple[str, str, str, bytes | None]] = []
        for route, method in rows:
            path = re.sub(r"\{[a-z_]+(:path)?\}", "t", route.path)
            fields = route.body.__struct_fields__ if route.body is not None else ("x",)
            base = base_of(route, method)
            for what, value in RAW.items():
                some = fields if len(value) < 100_000 else fields[:1]  # a body of a megabyte takes its time
                asked += [(what, method, path, body_of(base, name, value)) for name in some]
                asked.append((what, method, path, value))
                everything = b",".join(json.dumps(name).encode() + b":" + value for name in fields[:200])
                if len(everything) < 1_000_000:
                    asked.append((what, method, path, b"{" + everything + b"}"))
        assert len(asked) > 500
        assert await told_wrong(door, asked) == []
        assert (await door.call("/team/info?team_id=t"))[0] in (200, 404)


async def test_every_parameter_and_path(tmp_path):
    async with open_site(tmp_path) as door:
        asked: list[tuple[str, str, str, bytes | None]] = []
        names = parameters()
        assert len(names) > 30
        for route, method in ROWS:
            body = None if method in ("GET", "DELETE") else b"{}"
            for what, value in TEXTS.items():
                if "{" in route.path:
                    path = re.sub(r"\{[a-z_]+(:path)?\}", value or "%20", route.path)
                    asked.append((what, method, path, body))
                path = re.sub(r"\{[a-z_]+(:path)?\}", "t", route.path)
                if method == "GET":
                    asked.append((what, method, f"{path}?{'&'.join(f'{name}={value[:99]}' for name in names)}", None))
            if method == "GET":
                turns = itertools.cycle(TEXTS.items())
                asked += [
                    (what, method, f"{path}?{name}={value}", None)
                    for name, (what, value) in zip(names, turns, strict=False)
                ]
        assert await told_wrong(door, asked) == []


KEYS = [
    b"sk-" + b"k" * 8000,
    b"sk-' OR '1'='1",
    b"sk-\xff\xfe\x80",
    "sk-ключ-🔑".encode(),
    b"sk-a\tb\x7f",
    b"Bearer Bearer sk-x",
    b"",
    b" ",
    b"null",
    MASTER.encode()[:-1],
    MASTER.encode() + b"x",
    MASTER.upper().encode(),
]


async def test_keys_that_are_none(tmp_path):
    async with open_site(tmp_path) as door:
        told = set()
        for key in KEYS:
            for name in (b"authorization: Bearer ", b"x-api-key: ", b"api-key: "):
                answer = await door.raw(b"GET /key/list HTTP/1.1\r\nhost: x\r\n" + name + key + b"\r\n\r\n", answers=1)
                status = int(answer.split(b" ", 2)[1])
                assert status == 401 or (status == 400 and b"\x7f" in key), (name, key[:40], answer[:200])
                if status == 401:
                    told.add(json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"])
        assert told <= {"auth_error", "token_not_found_in_db"}
        # A head of a megabyte ends before anybody looks for a key in it.
        answer = await door.raw(
            b"GET /key/list HTTP/1.1\r\nhost: x\r\nx-api-key: " + b"k" * 1_000_000 + b"\r\n\r\n", answers=1
        )
        assert answer.split(b" ", 2)[1] in (b"400", b"401", b"431"), answer[:200]
        status, answer = await ask(door, "POST", "/key/info", json.dumps({"key": "k" * 900_000}).encode())
        assert status < 500


SECRET_IDS = {
    "team_id": "t-4d1f0a",
    "user_id": "u-4d1f0a",
    "organization_id": "o-4d1f0a",
    "budget_id": "b-4d1f0a",
    "project_id": "p-4d1f0a",
    "tag": "g-4d1f0a",
    "key": "sk-somebody-else-4d1f0a",
}
PLURAL = {
    "user_ids": "user_id",
    "team_ids": "team_id",
    "teams": "team_id",
    "organization_ids": "organization_id",
    "organizations": "organization_id",
    "project_ids": "project_id",
    "budgets": "budget_id",
    "names": "tag",
    "keys": "key",
}
KNOWN = {
    ("/key/generate", "key"): "a key that somebody has cannot be made again",
    ("/key/generate", "budget_id"): "budgets are no tenant's: whoever makes keys may put them under any",
}
SEEN = (
    "/team/list",
    "/organization/list",
    "/budget/list",
    "/tag/list",
    "/project/list",
    f"/v2/user/info?user_id={SECRET_IDS['user_id']}",
    f"/key/info?key={SECRET_IDS['key']}",
)


async def open_strangers(door: ServedDoor) -> str:
    """Make things that somebody has; return the key of somebody else."""
    ids = SECRET_IDS
    for path, body in (
        ("/organization/new", {"organization_id": ids["organization_id"], "organization_alias": "o"}),
        ("/team/new", {"team_id": ids["team_id"], "organization_id": ids["organization_id"]}),
        ("/user/new", {"user_id": ids["user_id"], "teams": [ids["team_id"]], "auto_create_key": False}),
        ("/budget/new", {"budget_id": ids["budget_id"], "max_budget": 1}),
        ("/tag/new", {"name": ids["tag"]}),
        ("/project/new", {"project_id": ids["project_id"], "team_id": ids["team_id"]}),
        ("/key/generate", {"key": ids["key"], "user_id": ids["user_id"], "team_id": ids["team_id"]}),
        ("/user/new", {"user_id": "stranger", "user_role": "internal_user", "auto_create_key": False}),
    ):
        status, told = await door.call(path, body)
        assert status == 200, (path, told)
    return str((await door.call("/key/generate", {"user_id": "stranger"}))[1]["key"])


def shapes_of(route: Route, method: str, name: str, id_: str) -> list[tuple[str, bytes | None]]:
    """The ways in which a route can be asked about something: its path, its query, its body."""
    path = re.sub(r"\{[a-z_]+(:path)?\}", id_, route.path)
    if method == "GET":
        return [(f"{path}?{name}={id_}", None)]
    fields: dict[str, Any] = {name: id_, **{many: [id_] for many, one in PLURAL.items() if one == name}}
    if route.path.startswith("/tag/"):
        fields["name"] = id_
    return [(path, json.dumps(body).encode()) for body in (fields, {**base_of(route, method), **fields})]


async def test_what_is_another_tenants_is_told_like_what_is_not_there(tmp_path):
    async with open_site(tmp_path) as door:
        key = await open_strangers(door)
        before = [await door.call(path) for path in SEEN]
        for route, method in ROWS:
            for name, id_ in SECRET_IDS.items():
                if (route.path, name) in KNOWN or route.path == "/ui/signin":  # which is asked so often, and no more
                    continue
                no_id = id_.replace("4d1f0a", "000000")
                pairs = zip(shapes_of(route, method, name, id_), shapes_of(route, method, name, no_id), strict=True)
                for one, other in pairs:
                    told = await ask(door, method, *one, key)
                    said = await ask(door, method, *other, key)
                    assert told[0] == said[0], (method, one, told, said)
                    if told[0] >= 400:
                        assert told[1].replace(id_.encode(), b"ID") == said[1].replace(no_id.encode(), b"ID"), (
                            one,
                            told,
                        )
                    else:  # what was sent may come back
                        assert told[1].count(b"4d1f0a") == said[1].count(b"000000"), (method, one, told)
        assert [await door.call(path) for path in SEEN] == before
