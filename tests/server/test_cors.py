"""Web pages: with a key any page may ask, as LiteLLM has it; without one only pages of this machine, and named ones."""

from __future__ import annotations

import json

import pytest

from penstock.config import load
from penstock.core.providers.resolve import resolve
from penstock.mock import Script, Step
from penstock.runtime.identity import Identity
from penstock.runtime.record_text import as_text
from penstock.runtime.records import LogSink
from penstock.runtime.web_pages import WebPages
from penstock.server.effect import InEffect
from penstock.server.options import ServeOptions
from tests.door import HELLO
from tests.doors import each_door
from tests.server.test_spellings import KEY, MASTER, ROWS

APP = "https://app.company.example"
FOREIGN = [
    APP,
    "app://obsidian.md",
    "null",
    "file://",
    "chrome-extension://abcdefgh",
    "http://192.168.1.10:3000",
    "evil://evil",
]
LOCAL = [
    "http://localhost:3000",
    "https://127.0.0.1",
    "http://[::1]:5173",
    "http://app.localhost",
    "http://0.0.0.0:4000",
]
ASKS = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}
STREAM = {**HELLO, "stream": True}


def use(door, origins: str = "", credentials: str = "", key: str | None = None) -> None:
    """Have the door's gateway judge web pages as these variables say."""
    pages = WebPages.of({"LITELLM_CORS_ORIGINS": origins, "LITELLM_CORS_ALLOW_CREDENTIALS": credentials})
    door.gateway.gate.web_pages = pages
    door.gateway.identity = Identity(key, True, pages=pages.named)


def cors(headers: dict[str, str]) -> dict[str, str]:
    return {
        name.removeprefix("access-control-"): headers[name] for name in headers if name.startswith("access-control-")
    }


@each_door
async def test_a_preflight_needs_no_key_on_any_route(tmp_path, opened):
    async with opened(tmp_path, master_key=MASTER) as door:
        for path in [*ROWS, "/v1/files/x", "/openai/v1/files", "/no/such/path", "/v1/chat/completions/"]:
            status, headers, body = await door.ask("OPTIONS", path, b"", {"origin": APP, **ASKS})
            told = cors(headers)
            assert status == 200 and body == b"OK" and told["allow-origin"] == "*", path
            assert {"GET", "POST", "DELETE", "PUT", "PATCH"} <= set(told["allow-methods"].split(", "))
            assert told["allow-headers"] == ASKS["access-control-request-headers"]
            assert told["max-age"] == "600" and "allow-credentials" not in told
        assert door.mock.received == [] and door.records == []
        await door.settle()


@each_door
@pytest.mark.parametrize("origin", FOREIGN + LOCAL)
async def test_with_a_key_every_page_gets_answers_streams_and_errors(tmp_path, opened, origin):
    async with opened(tmp_path, master_key=MASTER, max_body=5000) as door:
        page = {"origin": origin}
        asked = [
            (200, "POST", "/v1/chat/completions", HELLO, KEY),
            (200, "POST", "/v1/chat/completions", STREAM, KEY),
            (401, "POST", "/v1/chat/completions", HELLO, {"content-type": "application/json"}),
            (401, "GET", "/v1/models", None, {}),
            (400, "POST", "/v1/messages", {}, KEY),
            (404, "GET", "/nothing", None, KEY),
            (405, "GET", "/v1/chat/completions", None, KEY),
            (413, "POST", "/v1/chat/completions", {**HELLO, "pad": "x" * 6000}, KEY),
            (415, "POST", "/v1/chat/completions", HELLO, KEY | {"content-type": "text/plain"}),
            (401, "GET", "/cohere/v2/models", None, KEY),  # passed through, and not set up
            (200, "GET", "/health", None, {}),
            (200, "GET", "/olla/litellm/health", None, {}),
        ]
        for status, method, path, body, headers in asked:
            data = b"" if body is None else json.dumps(body).encode()
            got, told, _ = await door.ask(method, path, data, headers | page)
            assert got == status, path
            assert told["access-control-allow-origin"] == "*" and "access-control-allow-credentials" not in told
            assert "*" in told["access-control-expose-headers"].split(", ")
            got, told, _ = await door.ask(method, path, data, headers)
            assert got == status and cors(told) == {}, "nothing is said to who is no page"
        await door.settle()


@each_door
async def test_what_is_passed_through_has_our_word_and_not_the_upstreams(tmp_path, opened):
    yaml = 'model_list:\n  - {model_name: m, litellm_params: {model: openai/m, api_base: "{mock}/v1", api_key: sk-up-secret-1}}'
    script = Script(default=Step(headers={"access-control-allow-origin": "https://evil.example"}))
    async with opened(tmp_path, yaml=yaml, master_key=MASTER, script=script) as door:
        status, told, _ = await door.post(HELLO, "/openai/v1/chat/completions", origin=APP, **KEY)
        assert status == 200 and told["access-control-allow-origin"] == "*"
        status, told, _ = await door.post(HELLO, "/openai/v1/chat/completions", **KEY)
        assert status == 200 and cors(told) == {}


@each_door
@pytest.mark.parametrize("origin", FOREIGN)
async def test_without_a_key_a_foreign_page_may_ask_nothing_and_read_nothing(tmp_path, opened, origin):
    async with opened(tmp_path) as door:
        for origins in ("", "*", "https://another.example", "https://app.company.example.evil.example"):
            use(door, origins)
            for path in ("/v1/chat/completions", "/v1/models", "/openai/v1/models", "/health", "/nothing"):
                status, told, _ = await door.ask("OPTIONS", path, b"", {"origin": origin, **ASKS})
                assert status == 403 and cors(told) == {}, (path, origins)
            for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/openai/v1/models")):
                body = json.dumps(HELLO).encode() if method == "POST" else b""
                status, told, _ = await door.ask(
                    method, path, body, {"origin": origin, "content-type": "application/json"}
                )
                assert status == 403 and cors(told) == {}
            for path in ("/health", "/"):  # public, and still not for the page to read
                status, told, _ = await door.ask("GET", path, b"", {"origin": origin})
                assert status == 200 and cors(told) == {}
        assert door.mock.received == []


@each_door
@pytest.mark.parametrize("origin", LOCAL)
async def test_without_a_key_pages_of_this_machine_may(tmp_path, opened, origin):
    async with opened(tmp_path) as door:
        status, told, _ = await door.ask("OPTIONS", "/v1/chat/completions", b"", {"origin": origin, **ASKS})
        assert status == 200 and told["access-control-allow-origin"] == origin and told["vary"] == "Origin"
        for body in (HELLO, STREAM):
            status, told, _ = await door.post(body, origin=origin)
            assert status == 200 and told["access-control-allow-origin"] == origin and told["vary"] == "Origin"
        # The host is judged as ever: a name that was made to point here is foreign.
        status, told, _ = await door.ask(
            "OPTIONS", "/v1/models", b"", {"origin": origin, "host": "evil.example", **ASKS}
        )
        assert status == 403


@each_door
async def test_a_named_page_may_also_without_a_key(tmp_path, opened):
    async with opened(tmp_path) as door:
        use(door, f" {APP}/ , https://two.example,*")
        for origin in (APP, "https://two.example"):
            status, told, _ = await door.post(HELLO, origin=origin, sec_fetch_site="cross-site")
            assert status == 200 and told["access-control-allow-origin"] == origin
            status, told, _ = await door.ask("OPTIONS", "/v1/models", b"", {"origin": origin, **ASKS})
            assert status == 200 and told["access-control-allow-origin"] == origin
            # Also where pages of other sites may not: what is passed through.
            status, told, _ = await door.ask(
                "GET", "/cohere/v2/x", b"", {"origin": origin, "sec-fetch-site": "cross-site"}
            )
            assert status == 401 and told["access-control-allow-origin"] == origin
        status, _, body = await door.ask("GET", "/v1/models", b"", {"origin": "https://three.example"})
        assert status == 403 and "LITELLM_CORS_ORIGINS" in json.loads(body)["error"]["message"]


@each_door
async def test_named_pages_and_no_others_with_a_key(tmp_path, opened):
    async with opened(tmp_path, master_key=MASTER) as door:
        use(door, APP, key=MASTER)
        for headers in (KEY, {"content-type": "application/json"}):
            _, told, _ = await door.ask(
                "POST", "/v1/chat/completions", json.dumps(HELLO).encode(), headers | {"origin": APP}
            )
            assert told["access-control-allow-origin"] == APP and told["access-control-allow-credentials"] == "true"
            assert told["vary"] == "Origin"
        status, told, _ = await door.ask(
            "POST", "/v1/chat/completions", json.dumps(HELLO).encode(), KEY | {"origin": LOCAL[0]}
        )
        assert status == 200 and cors(told) == {}  # who has the key is served; the browser keeps it from the page
        status, told, body = await door.ask("OPTIONS", "/v1/models", b"", {"origin": LOCAL[0], **ASKS})
        assert status == 403 and cors(told) == {} and "LITELLM_CORS_ORIGINS" in json.loads(body)["error"]["message"]
        use(door, APP, "false", MASTER)
        _, told, _ = await door.ask("GET", "/v1/models", b"", KEY | {"origin": APP})
        assert told["access-control-allow-origin"] == APP and "access-control-allow-credentials" not in told
        use(door, "*", "true", MASTER)  # cookies and a star do not go together, so the page is named
        _, told, _ = await door.ask("GET", "/v1/models", b"", KEY | {"origin": LOCAL[0]})
        assert told["access-control-allow-origin"] == LOCAL[0] and told["access-control-allow-credentials"] == "true"


@each_door
async def test_what_a_page_sends_breaks_no_header(tmp_path, opened):
    async with opened(tmp_path, master_key=MASTER) as door:
        odd = {"origin": "https://\xe4\xff.example", **ASKS, "access-control-request-headers": "x-\xe4," + "a" * 9000}
        for origins in ("", "*"):
            use(door, origins, "true", MASTER)
            status, told, _ = await door.ask("OPTIONS", "/v1/models", b"", odd)
            assert status == 200 and told["access-control-allow-headers"].startswith("x-??,a")
            assert len(told["access-control-allow-headers"]) <= 4096
            assert told["access-control-allow-origin"] == "https://????.example"


async def test_a_reload_puts_the_variables_into_effect(tmp_path):
    from tests.door import open_door

    async with open_door(tmp_path) as door:
        effect = InEffect(ServeOptions(), door.gateway, LogSink(as_text))
        for origins in ("https://one.example", "", "https://two.example"):
            loaded = load(tmp_path / "config.yaml", {"LITELLM_CORS_ORIGINS": origins}, resolve=resolve)
            assert loaded.config is not None and effect.put(loaded.config) == []
            for origin in ("https://one.example", "https://two.example"):
                status, told, _ = await door.ask("GET", "/v1/models", b"", {"origin": origin})
                assert (status == 200) == (origin == origins) == ("access-control-allow-origin" in told)
