"""Every URL as clients write it: a slash too many, HEAD for GET, OPTIONS, a wrong method, a path that is nearly right."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.server.mounts import MOUNTS
from penstock.server.paths import nearest, tidied
from penstock.server.surfaces import SURFACES
from tests.door import HELLO, open_door
from tests.doors import each_door
from tests.server.tables import ROUTES
from tests.server.test_routes import MASTER, every_row

KEY = {"authorization": f"Bearer {MASTER}", "content-type": "application/json"}
ANY = re.compile(r"\{[a-z_]+\}")
VALUES = {"{name:path}": "m", "{model:path}": "m", "{id:path}": "m", "{id}": "resp_x"}


def rows() -> dict[str, tuple[str, ...]]:
    """Path to ask -> the methods that its rows name."""
    found: dict[str, list[str]] = {}
    for method, path in every_row():
        for parameter, value in VALUES.items():
            path = path.replace(parameter, value)
        path = ANY.sub("x", path)
        found.setdefault(path, []).append(method)
    # Without a version in the query these are OpenAI's own, passed through.
    return {path: tuple(methods) for path, methods in found.items() if not path.startswith("/openai/responses")}


ROWS = rows()


def spellings(path: str) -> list[str]:
    """The same path, as a base URL that ends in a slash makes it, and a client that ends in one."""
    if path == "/":
        return ["//", "///"]
    first, _, rest = path[1:].partition("/")
    return [path + "/", "/" + path, f"/{first}//{rest}" if rest else path + "//", f"///{path[1:]}//"]


async def told(door, method: str, path: str, body: bytes = b""):
    status, headers, data = await door.ask(method, path, body, KEY)
    try:
        data = json.loads(data)
    except ValueError:
        return status, headers.get("allow"), data[:20]
    error = data.get("error") if isinstance(data, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return status, headers.get("allow"), message or (sorted(data) if isinstance(data, dict) else type(data))


@each_door
async def test_a_slash_too_many_changes_nothing_on_any_route(tmp_path, opened):
    async with opened(tmp_path, master_key=MASTER) as door:
        for path, methods in ROWS.items():
            for method in methods:
                plain = await told(door, method, path, b"{}" if method == "POST" else b"")
                assert "There is nothing at" not in str(plain[2]), path
                for spelled in spellings(path):
                    assert await told(door, method, spelled, b"{}" if method == "POST" else b"") == plain, (
                        method,
                        spelled,
                    )
        await door.settle()


@each_door
async def test_a_chat_is_answered_whatever_the_base_url_ends_in(tmp_path, opened):
    forms = ["/olla/litellm/v1/chat/completions", "/api/v1/chat/completions", "/openai/deployments/m/chat/completions"]
    async with opened(tmp_path) as door:
        for path in ("/v1/chat/completions", "/chat/completions", *forms):
            for spelled in spellings(path):
                status, _, body = await door.post(HELLO, spelled)
                assert status == 200 and json.loads(body)["model"] == "m", spelled
        assert {record.path for record in door.records} >= {"//v1/chat/completions"}  # as it came


@each_door
async def test_head_is_get_without_its_body_and_a_wrong_method_names_the_right_ones(tmp_path, opened):
    async with opened(tmp_path, master_key=MASTER) as door:
        for path, methods in ROWS.items():
            assert ("GET" in methods) == ("HEAD" in methods), path
            if "GET" in methods:
                got, _, body = await door.ask("GET", path, b"", KEY)
                status, headers, none = await door.ask("HEAD", path, b"", KEY)
                assert (status, none) == (got, b""), path
                assert abs(int(headers["content-length"]) - len(body)) < 20, path
            status, headers, body = await door.ask("TRACE", path, b"", KEY)
            assert status == 405 and set(headers["allow"].split(", ")) == set(methods), path
            assert all(method in str(json.loads(body)) for method in methods)
            status, headers, body = await door.ask("OPTIONS", path, b"", KEY)
            assert (status, body) == (200, b"") and set(headers["allow"].split(", ")) == {*methods, "OPTIONS"}, path
            status, headers, _ = await door.ask("OPTIONS", path)
            assert status in (200, 401) and ("allow" in headers) == (status == 200)
        await door.settle()


@given(st.text(alphabet="/ab.%", max_size=12))
def test_tidying_is_done_once_and_takes_nothing_but_slashes(path):
    tidy = tidied("/" + path)
    assert tidied(tidy) == tidy and "//" not in tidy and (tidy == "/" or tidy[-1] != "/")
    assert [part for part in path.split("/") if part] == [part for part in tidy.split("/") if part]


# Hints ----------------------------------------------------------------------------------------------------------------

PATHS = [*SURFACES, *dict.fromkeys(route.path for route in ROUTES)]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v1/chat", "/v1/chat/completions"),
        ("/v2/chat/completions", "/v1/chat/completions"),
        ("/opnai/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/Chat/Completions", "/v1/chat/completions"),
        ("/v1/message", "/v1/messages"),
        ("/v1/response/resp_1", "/v1/responses/{id}"),
        ("/v1beta/model", "/v1beta/models"),
        ("/healthz", "/health"),
        ("/model/infos", "/model/info"),
        ("/key/generat", "/key/generate"),
        *((path, "") for path in "/ /v1 /login /v1/fine_tuning /api/foo /foo/bar".split()),
        *((path, "") for path in "/favicon.ico /v1/assistants /x/y/models /no/such/path /mcp".split()),
        ("/v1/" + "chat/" * 200 + "completion", ""),
        ("/" + "c" * 5000, ""),
    ],
)
def test_a_hint_is_really_near(path, meant):
    assert nearest(path, PATHS) == meant


@given(st.sampled_from(PATHS), st.data())
def test_one_slip_in_a_long_word_is_understood(path, data):
    words = [part for part in path.split("/") if len(part) > 6 and "{" not in part]
    if words:
        word = data.draw(st.sampled_from(words))
        at = data.draw(st.integers(1, len(word) - 1))
        slipped = path.replace(word, word[:at] + "x" + word[at + 1 :])
        assert nearest(slipped, PATHS) in PATHS


@pytest.mark.parametrize("mount", [mount for mount in MOUNTS if not mount.parameter], ids=lambda mount: mount.prefix)
async def test_below_a_mount_every_error_names_paths_as_they_are_there(tmp_path, mount):
    models = f"GET {mount.prefix}{'/v1/models'.removeprefix(mount.base)}"
    chat = mount.prefix + "/v1/chat/completions".removeprefix(mount.base)
    async with open_door(tmp_path) as door:
        status, _, body = await door.post({**HELLO, "model": "nobody"}, chat)
        assert status == 400 and models in json.loads(body)["error"]["message"]
        status, _, body = await door.ask("GET", chat + "s")
        message = json.loads(body)["error"]["message"]
        assert status == 404 and f"GET {chat}s." in message and message.endswith(f"Did you mean {chat}?"), message
        status, _, body = await door.ask("GET", chat)
        assert status == 405 and f"for {chat};" in json.loads(body)["error"]["message"]
        for rest in mount.own:  # what is only there is near, too
            _, _, body = await door.ask("GET", mount.prefix + rest + "x")
            assert json.loads(body)["error"]["message"].endswith(f"Did you mean {mount.prefix}{rest}?")
        status, _, body = await door.post({"model": "nobody", "messages": HELLO["messages"]}, "/v1/chat/completions")
        assert "See GET /v1/models." in json.loads(body)["error"]["message"]
