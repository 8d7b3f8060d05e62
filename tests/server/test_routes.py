"""The table of routes: which row a request finds, and that every row is closed unless it is listed here as public."""

from __future__ import annotations

import json
import re

import pytest

from penstock.runtime.gate import KEY, PUBLIC
from penstock.runtime.surface import Surface
from penstock.server.mounts import MOUNTS
from penstock.server.routes import JSON, Page, Route, Routes
from penstock.server.site import Site
from penstock.server.surfaces import PATTERNS, SURFACES
from tests.door import open_door
from tests.server.tables import ROUTES

MASTER = "sk-routes-key-1234567"
# What anyone may ask, as it is asked. Whoever adds to it has thought about it.
OPEN = {"/", "/health", "/health/liveliness", "/health/liveness", "/health/readiness", "/api/v1/health"}
INVITED = {"/onboarding/get_token", "/onboarding/claim_token"}  # who comes there brings the link of an invitation


def page(name: str):
    def handler(gateway, call):
        """Tell who was asked, and for what."""
        return Page(200, JSON, json.dumps([name, dict(call.params)]).encode())

    return handler


EXACT, READ, WRITE, ONE, REST, INNER = (page(name) for name in ("exact", "read", "write", "one", "rest", "inner"))
TABLE = Routes(
    [
        Route("/things/{id}", ONE),
        Route("/things/{id}", WRITE, methods=("PUT", "PATCH")),
        Route("/things/{id}", WRITE, methods=("DELETE", "PATCH")),
        Route("/things/{id}/inner", INNER, methods=("POST",)),
        Route("/things/all", EXACT),
        Route("/list", READ),
        Route("/list", WRITE, methods=("POST",), role=PUBLIC),
        Route("/open", WRITE, methods=("POST",), role=PUBLIC),
        Route("/open", READ),
        Route("/files/{name:path}/inner", INNER),
        Route("/files/{name:path}", REST),
        Route("/a.b+c", EXACT),
        Route("/v{id}/x", ONE),
    ]
)


def found(path: str, method: str = "GET"):
    """Whose row it is, and the values of its path."""
    row = TABLE.find(path, method)
    return row and (row[0].handler, dict(row[1]))


# Which row ------------------------------------------------------------------------------------------------------------


def test_an_exact_path_goes_before_a_pattern_that_stands_above_it():
    assert found("/things/all") == (EXACT, {})
    assert found("/things/every") == (ONE, {"id": "every"})
    # Also with a method that only the pattern has: a path is one thing, not two.
    row, params = TABLE.find("/things/all", "DELETE")
    assert (row.handler, row.methods, params) == (EXACT, ("GET", "HEAD"), {})


def test_patterns_are_asked_in_their_order():
    assert found("/files/a/inner") == (INNER, {"name": "a"})
    assert found("/files/a/inner/b") == (REST, {"name": "a/inner/b"})


def test_rows_on_one_path_are_told_apart_by_method():
    assert found("/list", "GET") == found("/list", "HEAD") == (READ, {})
    assert found("/list", "POST") == (WRITE, {})
    assert found("/things/x", "PUT") == found("/things/x", "DELETE") == (WRITE, {"id": "x"})
    assert TABLE.find("/things/x", "PATCH")[0].methods == ("PUT", "PATCH")  # the first that has it


def test_where_no_row_has_the_method_all_that_would_do_are_named():
    assert TABLE.find("/list", "DELETE")[0].methods == ("GET", "HEAD", "POST")
    assert TABLE.find("/things/x", "POST")[0].methods == ("GET", "HEAD", "PUT", "PATCH", "DELETE")


def test_a_public_row_opens_nothing_but_itself():
    """Who may not ask the other rows of its path does not learn of their methods either."""
    for path in ("/list", "/open"):
        assert TABLE.find(path, "POST")[0].role == PUBLIC
        assert TABLE.find(path, "DELETE")[0].role == KEY
    assert TABLE.find("/open", "DELETE")[0].methods == ("POST", "GET", "HEAD")


@pytest.mark.parametrize(
    "path",
    ["/thing/x", "/things", "/things/", "/things//", "/things/a/b", "/things/a/inner/", "/x/things/a", "/THINGS/a"]
    + ["", "things/a", "/files/", "/files", "/aXb+c", "/a.bbc", "/lists", "/list/", "/v/x", "/va/bx", "/things/a\n/inner/"],
)
def test_what_is_near_is_not_there(path):
    assert found(path) is None


def test_values_are_taken_as_they_are():
    for value in ("a b", "ä", "{id}", "a%2Fb", ".", "..", "a:b", "a?b", "\x00", "'; --"):
        assert found(f"/things/{value}") == (ONE, {"id": value})
        assert found(f"/files/{value}/x") == (REST, {"name": f"{value}/x"})
    assert found("/a.b+c") == (EXACT, {}) and found("/v1/x") == (ONE, {"id": "1"})


def test_a_row_is_for_who_holds_a_key_unless_it_says_otherwise():
    row = Route("/x", READ)
    assert (row.role, row.methods, row.json, row.key_in_query) == (KEY, ("GET", "HEAD"), True, False)
    assert Surface._field_defaults["role"] == KEY


def test_paths_are_listed_once_each():
    paths = TABLE.paths()
    assert len(paths) == len(set(paths)) == 9 and paths[0] == "/things/{id}"


def test_no_row_of_ours_is_behind_another():
    """A row that no request finds is a mistake: same path and method as one before it, or a surface's."""
    for rows in (ROUTES, *(mount.routes.rows for mount in MOUNTS)):
        asked = [(row.path, method) for row in rows for method in row.methods]
        assert len(asked) == len(set(asked))
        table = Routes(rows)
        for row in rows:
            path = row.path.replace("{name:path}", "n").replace("{id:path}", "i").replace("{id}", "i")
            assert all(table.find(path, method)[0] is row for method in row.methods), row.path
    assert not {row.path for row in ROUTES} & set(SURFACES)


# Through a door -------------------------------------------------------------------------------------------------------


async def ask(door, method, path, key=True):
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {MASTER}"} if key else {})
    status, told, body = await door.ask(method, path, b"{}" if method in ("POST", "PUT", "PATCH") else b"", headers)
    return status, told, json.loads(body) if body and told["content-type"] == "application/json" else body


async def test_a_wrong_method_names_all_that_would_do(tmp_path):
    async with open_door(tmp_path, master_key=MASTER) as door:
        status, told, body = await ask(door, "PUT", "/v1/responses/resp_x")
        assert status == 405 and told["allow"] == "GET, HEAD, DELETE"
        assert body["error"]["message"] == "PUT is not allowed for /v1/responses/resp_x; use GET, HEAD, DELETE."
        assert (await ask(door, "PUT", "/spend/calculate"))[1]["allow"] == "GET, HEAD, POST"
        status, told, _ = await ask(door, "PUT", "/v1/responses/resp_x", key=False)
        assert status == 401 and "allow" not in told  # a stranger learns nothing of what is here


async def test_an_encoded_slash_parts_segments_as_a_plain_one_does(tmp_path):
    """The doors decode a path before it is looked up. The row that is found then is the one whose role is asked for, so
    no spelling leads past a key; and a value with a slash is one of a ``:path`` only."""
    async with open_door(tmp_path, master_key=MASTER) as door:
        door.gateway.site = Site(TABLE)
        for path in ("/things/a%2Fb", "/things/a%2fb", "/things/a/b"):
            status, _, body = await ask(door, "GET", path)
            assert status == 404 and "There is nothing at" in body["error"]["message"]
        for path in ("/things/a/inner", "/things/a%2Finner", "/things%2Fa%2Finner"):
            assert (await ask(door, "POST", path))[2] == ["inner", {"id": "a"}]
            assert (await ask(door, "POST", path, key=False))[0] == 401
        assert (await ask(door, "GET", "/things/a%252Fb"))[2] == ["one", {"id": "a%2Fb"}]  # decoded once
        assert (await ask(door, "GET", "/files/a%2Fb"))[2] == ["rest", {"name": "a/b"}]
        assert (await ask(door, "GET", "/things%2Fall"))[2] == ["exact", {}]


async def test_an_id_with_a_slash_is_no_kept_answer(tmp_path):
    async with open_door(tmp_path, master_key=MASTER) as door:
        for method in ("GET", "DELETE"):
            status, _, body = await ask(door, method, "/v1/responses/a%2Fb")
            assert status == 404 and "There is nothing at" in body["error"]["message"]
        # It cannot be made to mean another action of the same name: that has its own method.
        assert (await ask(door, "DELETE", "/v1/responses/a%2Finput_items"))[0] == 405
        assert (await ask(door, "GET", "/v1/responses/a%252Fb"))[2]["error"]["message"] == "Response with id 'a%2Fb' not found."


# Deny by default ------------------------------------------------------------------------------------------------------


def every_row():
    """(method, path to ask) of every row of every table."""
    routes = [("", ROUTES), *((mount.prefix, mount.routes.rows) for mount in MOUNTS)]
    for prefix, rows in routes:
        for row in rows:
            yield from ((method, prefix + row.path) for method in row.methods)
    surfaces = [*SURFACES.items(), *((path, row.surface) for row in PATTERNS for path in row.templates)]
    surfaces += [(mount.prefix + rest, surface) for mount in MOUNTS for rest, surface in mount.surfaces.items()]
    surfaces += [(mount.prefix + path, row.surface) for mount in MOUNTS if not mount.base for row in mount.patterns for path in row.templates]
    surfaces += [(mount.prefix + rest, visit.entry) for mount in MOUNTS for rest, visit in mount.visits.items()]
    for path, surface in surfaces:
        yield from ((method, path) for method in surface.methods)


async def test_every_row_that_is_not_public_refuses_without_a_key(tmp_path):
    asked = sorted(set(every_row()))
    assert len(asked) > 200 and OPEN < {path for _, path in asked}
    async with open_door(tmp_path, master_key=MASTER) as door:
        for method, path in asked:
            path = re.sub(r"\{[a-z_]+(:path)?\}", "n", path)
            if path.startswith("/openai/responses"):
                path += "?api-version=1"  # else it is OpenAI's own
            status, told, body = await ask(door, method, path, key=False)
            if path in INVITED:  # who holds an invitation has no key yet; nothing is kept here, so there is none
                assert status == 400 and (method == "HEAD" or "Nothing is kept" in str(body)), path
            elif path in OPEN:
                assert status == 200, path
            else:
                assert status == 401 and told["www-authenticate"] == "Bearer", (method, path, body)
        assert door.mock.received == []
        await door.settle()
