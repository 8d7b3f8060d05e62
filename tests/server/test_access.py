"""Who may call: everything that is in the tables of surfaces and pages, with every kind of credential and none."""

from __future__ import annotations

import asyncio
import json
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.admit.access import LLM
from penstock.core.providers import PROVIDERS
from penstock.core.providers.pass_through import dialect_at, provider_at
from penstock.mock import Script
from penstock.runtime.gate import PUBLIC as PUBLIC_ROLE
from penstock.server.mounts import MOUNTS
from penstock.server.surfaces import PATTERNS, SURFACES
from tests.door import HELLO, open_door
from tests.server.tables import ROUTES

KEY = "sk-access-right-key-1f2e3d"
# What anyone may see. A page that becomes public has to be added here, by someone who thought about it.
PUBLIC = {"/", "/health", "/health/liveliness", "/health/liveness", "/health/readiness"}
# The page of metrics judges by itself: a token of its own opens it, too.
JUDGES = {"/metrics"}
INVITED = {"/onboarding/get_token", "/onboarding/claim_token"}  # for who holds the link of an invitation
PAGES = {route.path for route in ROUTES}
CLOSED = [("POST", path) for path in SURFACES]


def asked_as(route) -> str:
    """Return the path at which a route is asked."""
    return re.sub(r"\{[a-z_]+(:path)?\}", "resp_x", re.sub(r"\{name:path\}", "m", route.path))


# Each row of the table. A path that carries an id is asked with one: what others stored must not be read, deleted or
# cancelled either.
CLOSED += [
    (method, asked_as(route))
    for route in ROUTES
    if route.path not in PUBLIC | INVITED
    for method in route.methods
    if method != "HEAD"
]
CLOSED += [("POST", "/no/such/path"), ("GET", "/v1"), ("GET", "/redoc")]
# Every provider has a pass-through prefix, and every method goes through it.
CLOSED += [("GET", f"/{name}/v1/models") for name in PROVIDERS]
CLOSED += [(method, "/openai/v1/files/x") for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")]
CLOSED += [("POST", f"{mount.prefix}/chat/completions") for mount in MOUNTS if not mount.parameter]
CLOSED += [("GET", f"{mount.prefix}/models") for mount in MOUNTS if not mount.parameter]
# Pages that are no vendor's: their errors have one shape, whoever asks.
OWN = {asked_as(route) for route in ROUTES if route.family != LLM}
MOUNTED = tuple(mount.prefix + "/" for mount in MOUNTS)
SENDERS = {
    "authorization": f"Bearer {KEY}",
    "x-api-key": KEY,
    "api-key": KEY,
    "x-litellm-api-key": KEY,
}


async def ask(door, method: str, path: str, headers: dict[str, str] | None = None):
    # Something of every dialect, so that one body is good enough for all.
    body = (
        json.dumps({**HELLO, "max_tokens": 9, "input": "hello", "prompt": "hello"}).encode()
        if method == "POST"
        else b""
    )
    return await door.ask(method, path, body, {"content-type": "application/json", **(headers or {})})


def test_what_is_public_is_listed_here():
    assert {route.path for route in ROUTES if route.role == PUBLIC_ROLE} == PUBLIC | INVITED | JUDGES
    assert not [path for _, path in CLOSED if "{" in path]
    assert not PUBLIC & set(SURFACES)


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_a_route_is_closed_without_a_key_and_open_with_it(method, path, tmp_path):
    async with open_door(tmp_path, master_key=KEY) as door:
        for headers in ({}, {"authorization": "Bearer sk-access-wrong-key-000000"}, {"x-api-key": KEY[:-1]}):
            for more in ({}, {"anthropic-version": "2023-06-01"}):
                status, told, body = await ask(door, method, path, headers | more)
                assert status == 401 and told["www-authenticate"] == "Bearer"
                check_shape(json.loads(body), shape_of(path, more))
                assert KEY not in body.decode()
        assert door.mock.received == [] and all(record.status == 401 for record in door.records)
        for name, value in SENDERS.items():
            status, _, body = await ask(door, method, path, {name: value})
            if provider_at(path) is not None:  # who is let in learns that the provider is not set up
                assert b"Authentication Error" not in body, (name, body)
                continue
            known = path in SURFACES or path in PAGES or path.endswith("/m") or path.startswith(MOUNTED)
            if status == 501:  # this gateway has no store of models, which who is let in learns
                assert path.startswith("/model/") and b"cannot be changed while it runs" in body
                continue
            if b"Nothing is kept by this gateway" in body or b"Nothing that is spent is kept" in body:  # nor a database
                assert status == 400
                continue
            # A body that is right for one page is wrong for another (415: a form is wanted): what counts is that the
            # request was let in.
            # 503: no cache is configured here.
            assert status in ((200, 400, 415, 422, 503) if known else (404,)) or b"Invalid URL" in body, body
        await door.settle()


def shape_of(path: str, headers: dict[str, str]) -> str:
    """The dialect in which an error about a path is told."""
    if path.startswith("/api/") and not path.startswith("/api/v1/"):
        return "ollama"
    if path.startswith(("/v1beta/", "/v1alpha/")):
        return "gemini"
    if path in SURFACES or (path.startswith(MOUNTED) and path.endswith("/chat/completions")):
        return SURFACES[path].dialect.name if path in SURFACES else "openai_chat"
    if (provider := provider_at(path)) is not None:
        dialect = dialect_at(provider, "/v1/models")
        return dialect if dialect in ("anthropic", "bedrock", "cohere", "gemini", "ollama") else "openai_chat"
    if path.startswith("/v1/messages"):
        return "anthropic"
    return "anthropic" if headers and path not in OWN else "openai_chat"


def check_shape(told: dict, dialect: str) -> None:
    if dialect == "ollama":
        assert set(told) == {"error"} and told["error"].startswith("Authentication Error")
        return
    if dialect in ("bedrock", "cohere"):
        assert told["message"].startswith("Authentication Error") and told.keys() <= {"message", "__type"}
        return
    if dialect == "gemini":
        assert told["error"]["status"] == "UNAUTHENTICATED" and told["error"]["code"] == 401
    elif dialect == "anthropic":
        assert told["type"] == "error" and told["error"]["type"] == "authentication_error"
    else:
        assert set(told) == {"error"} and told["error"]["type"] == "auth_error" and str(told["error"]["code"]) == "401"
    assert told["error"]["message"].startswith("Authentication Error")


async def test_patterns_of_surfaces_are_closed_too(tmp_path):
    """A surface whose path carries the model is in no list of paths: its templates say what fits."""
    async with open_door(tmp_path, master_key=KEY) as door:
        for path in (template.replace("{model:path}", "m") for row in PATTERNS for template in row.templates):
            assert (await ask(door, "POST", path))[0] == 401, path


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_public_pages_say_little_without_a_key(method, tmp_path):
    async with open_door(tmp_path, master_key=KEY) as door:
        for path in PUBLIC:
            status, headers, body = await ask(door, method, path)
            assert status == 200, path
            text = body.decode()
            assert "real-model" not in text and door.mock.url not in text and KEY not in text
            assert (body == b"") == (method == "HEAD")
            assert "access-control-allow-origin" not in headers


WRONG = {
    "basic": {"authorization": f"Basic {KEY}"},
    "bare": {"authorization": KEY},
    "empty bearer": {"authorization": "Bearer "},
    "no blank": {"authorization": f"Bearer{KEY}"},
    "longer": {"authorization": f"Bearer {KEY}x"},
    "shorter": {"authorization": f"Bearer {KEY[:-1]}"},
    "upper case": {"authorization": f"Bearer {KEY.upper()}"},
    "two": {"authorization": f"Bearer {KEY}, Bearer {KEY}"},
    "empty x-api-key": {"x-api-key": ""},
    "not ASCII": {"x-api-key": "ключ".encode().decode("latin-1")},
    "the first counts": {"x-litellm-api-key": "sk-wrong", "authorization": f"Bearer {KEY}"},
    "authorization before x-api-key": {"authorization": "Bearer sk-wrong", "x-api-key": KEY},
    "cookie": {"cookie": f"token={KEY}"},
    "forwarded": {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"},
    "host": {"host": "localhost"},
    "method override": {"x-http-method-override": "GET"},
    "original URL": {"x-original-url": "/health", "x-rewrite-url": "/health"},
}


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_credentials_are_401_however_they_are_dressed(name, tmp_path):
    async with open_door(tmp_path, master_key=KEY) as door:
        for path in ("/v1/chat/completions", f"/v1/chat/completions?api_key={KEY}&key={KEY}"):
            status, _, body = await ask(door, "POST", path, WRONG[name])
            assert status == 401 and json.loads(body)["error"]["code"] == "401"
        assert door.mock.received == []


async def test_a_header_sent_twice_is_neither_of_the_two(tmp_path):
    async with open_door(tmp_path, master_key=KEY) as door:
        for name, good, bad in (("authorization", f"Bearer {KEY}", "Bearer x"), ("x-api-key", KEY, "x")):
            for first, second in ((good, bad), (bad, good), (good, good)):
                lines = f"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{name}: {first}\r\n{name}: {second}\r\n\r\n"
                assert (await door.raw(lines.encode())).startswith(b"HTTP/1.1 401 ")


PIECES = st.sampled_from(
    [
        "/",
        "//",
        "/v1",
        "/models",
        "/chat",
        "/completions",
        "/health",
        "/..",
        "/.",
        "%2f",
        "%2e%2e",
        ";x",
        "?",
        "#",
        "\\",
        "%00",
        "%C3%A4",
        "/V1",
        "/m",
        "models",
        " ",
        "*",
        "http://localhost",
        "@",
        ":80",
        "/messages",
        "&",
    ]
)


async def test_no_spelling_of_a_url_opens_a_closed_door(tmp_path):
    """Law: without a key the only 200s are the public pages' own, and no request reaches an upstream."""
    async with open_door(tmp_path, master_key=KEY) as door:
        loop = asyncio.get_running_loop()
        public = {(await ask(door, "GET", path, {"host": "localhost"}))[2] for path in PUBLIC}

        def law(method: str, pieces: list[str]) -> None:
            path = "".join(pieces).replace(" ", "%20") or "/"
            asked.append((method, path))

        asked: list[tuple[str, str]] = []
        quick = settings(
            max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
        )
        collect = quick(
            given(st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS"]), st.lists(PIECES, min_size=1, max_size=6))(
                law
            )
        )
        await loop.run_in_executor(None, collect)
        for method, path in asked:
            answer = await door.raw(
                f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode(),
                answers=0,
            )
            assert answer == b"" or answer[9:12] in (b"200", b"400", b"401", b"405", b"404"), (method, path, answer)
            if answer[9:12] == b"200":
                if method == "OPTIONS":  # of a public page: what may be asked of it
                    assert b"\r\nallow: GET, HEAD, OPTIONS\r\n" in answer and answer.endswith(b"\r\n\r\n"), path
                    continue
                assert method in ("GET", "HEAD")
                assert method == "HEAD" or answer.partition(b"\r\n\r\n")[2] in public, (path, answer)
        assert len(asked) > 100 and door.mock.received == []


# Without a key, on loopback: web pages must not get in ----------------------------------------------------------------

HERE = [
    "0.0.0.0",
    "0.0.0.0:4000",
    "[::]",
    "localhost",
    "LOCALHOST:4000",
    "localhost.",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.8.9.10:80",
    "[::1]",
    "[::1]:4000",
    "app.localhost:3000",
    "0.0.0.0",
    "0.0.0.0:4000",
    "[::]:4000",
]
ELSEWHERE = [
    "evil.example",
    "evil.example:4000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "localhost@evil.example",
    "evil.example@localhost.x",
    "192.168.1.10",
    "192.168.1.10:4000",
    "[fe80::1]",
    "[2001:db8::1]:4000",
    "0.0.0.0.evil.example",
    "[::2]",
    "evil.example, localhost",
    "localhost, evil.example",
    "localhostx",
    "xlocalhost",
    "127.0.0.1x",
    "::1.evil.example",
    "2130706433.evil.example",
    "evil.example#.localhost.x",
]


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_foreign_hosts_are_refused_on_every_closed_route(host, tmp_path):
    async with open_door(tmp_path) as door:
        for method, path in CLOSED:
            status, headers, body = await ask(door, method, path, {"host": host})
            assert status == 403, path
            whole = json.loads(body)
            told = whole.get("error", whole)  # Bedrock and Cohere tell it at the top
            assert "localhost" in (told if isinstance(told, str) else told["message"])
            refused = "" if isinstance(told, str) else told.get("type") or told.get("status")
            assert refused or told == whole or isinstance(told, str)
            assert not refused or refused in ("permission_error", "PERMISSION_DENIED")
            assert "access-control-allow-origin" not in headers
        assert door.mock.received == []


@pytest.mark.parametrize("host", HERE)
async def test_this_machines_names_are_served(host, tmp_path):
    async with open_door(tmp_path) as door:
        assert (await ask(door, "POST", "/v1/chat/completions", {"host": host}))[0] == 200
        status, _, _ = await ask(door, "GET", "/v1/models", {"host": host, "origin": f"http://{host.lower()}"})
        assert status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://evil.example:4000",
        "null",
        "",
        "file://",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://evil.example/http://localhost",
        "http://192.168.1.10:3000",
        "chrome-extension://abcdefgh",
        "http://localhost, https://evil.example",
        "localhost",
        "evil://evil",
    ],
)
async def test_foreign_pages_are_refused(origin, tmp_path):
    async with open_door(tmp_path) as door:
        for method, path in CLOSED[:4]:
            status, headers, _ = await ask(door, method, path, {"origin": origin})
            assert status == 403 and "access-control-allow-origin" not in headers
        assert door.mock.received == []


async def test_a_page_cannot_send_a_form_or_ask_for_permission(tmp_path):
    """The requests that a browser sends without asking: forms, beacons, and the question itself."""
    async with open_door(tmp_path) as door:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            status, _, _ = await door.ask(
                "POST", "/v1/chat/completions", json.dumps(HELLO).encode(), {"content-type": kind}
            )
            assert status == 415
        asking = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        status, headers, _ = await door.ask("OPTIONS", "/v1/chat/completions", b"", asking)
        assert status in (403, 405) and not any(name.startswith("access-control") for name in headers)
        assert door.mock.received == []


async def test_foreign_hosts_learn_nothing_from_public_pages(tmp_path):
    async with open_door(tmp_path) as door:
        for path in PUBLIC:
            for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
                _, _, body = await ask(door, "GET", path, headers)
                text = body.decode()
                assert "real-model" not in text and door.mock.url not in text and '"model": "m"' not in text, path


async def test_with_a_key_names_and_pages_do_not_matter(tmp_path):
    async with open_door(tmp_path, master_key=KEY) as door:
        told = {
            "host": "llm.company.example",
            "origin": "https://app.company.example",
            "authorization": f"Bearer {KEY}",
        }
        assert (await ask(door, "POST", "/v1/chat/completions", told))[0] == 200


async def test_any_credential_is_welcome_where_none_is_needed(tmp_path):
    async with open_door(tmp_path) as door:
        for headers in ({}, {"authorization": "Bearer dummy"}, {"authorization": "Basic eDp5"}, {"x-api-key": "any"}):
            assert (await ask(door, "POST", "/v1/chat/completions", headers))[0] == 200


# Health (C-01 to C-04 of the seeds) -----------------------------------------------------------------------------------


async def test_health_has_all_keys_and_asks_no_upstream(tmp_path):
    async with open_door(tmp_path) as door:
        status, headers, body = await ask(door, "GET", "/health")
        assert status == 200 and headers["content-type"] == "application/json"
        assert json.loads(body) == {
            "status": "healthy",
            "models": 1,
            "providers": ["openai"],
            "healthy_endpoints": [
                {
                    "model": "openai/real-model",
                    "model_name": "m",
                    "model_id": door.gateway.state.targets[0].id,
                    "api_base": f"{door.mock.url}/v1",
                }
            ],
            "unhealthy_endpoints": [],
            "healthy_count": 1,
            "unhealthy_count": 0,
        }
        for path in ("/health/liveliness", "/health/liveness", "/health/readiness"):
            assert (await ask(door, "GET", path))[0] == 200
        assert door.mock.received == [] and door.records == []


async def test_health_details_need_the_key_and_the_status_does_not(tmp_path):
    async with open_door(tmp_path, master_key=KEY) as door:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            status, _, body = await ask(door, "GET", "/health", headers)
            assert status == 200 and json.loads(body) == {"status": "healthy", "models": 1, "providers": ["openai"]}
        _, _, body = await ask(door, "GET", "/health", {"authorization": f"Bearer {KEY}"})
        assert json.loads(body)["healthy_count"] == 1


@pytest.mark.serial
async def test_a_dead_and_a_hanging_upstream_do_not_slow_health(tmp_path):
    async with open_door(tmp_path) as door:
        door.mock.script = Script.always(latency_ms=30_000)
        call = asyncio.ensure_future(ask(door, "POST", "/v1/chat/completions"))
        await door.mock.wait_for(1)
        began = time.monotonic()
        assert (await ask(door, "GET", "/health"))[0] == 200
        assert time.monotonic() - began < 0.2
        await door.mock.stop()
        assert (await call)[0] >= 500
        began = time.monotonic()
        status, _, body = await ask(door, "GET", "/health")
        assert time.monotonic() - began < 0.2
        told = json.loads(body)
        assert status == 200 and told["status"] == "healthy"
        assert told["unhealthy_count"] == 1 and told["healthy_count"] == 0 and told["unhealthy_endpoints"][0]["error"]
        assert (await ask(door, "GET", "/health/readiness"))[0] == 503
        assert (await ask(door, "GET", "/health/liveliness"))[0] == 200
        assert len(door.mock.received) == 1
