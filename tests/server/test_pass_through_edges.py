"""Pass-through where things go wrong, or are not JSON: nothing changed, nothing held, no false success."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from penstock.runtime import pass_through
from tests.door import open_door, parse
from tests.server.test_pass_through import AUTH, CHAT, KEY, MESSAGES, UPSTREAM, YAML

PLAIN = """
model_list:
  - model_name: m
    litellm_params: {model: openai/gpt-4o-mini, api_base: "{raw}/v1", api_key: sk-upstream-secret, timeout: 3}
"""


class Upstream:
    """Answers every request with the bytes it is given, in parts; keeps what came."""

    def __init__(self, *parts: bytes, pause: float = 0.0, reset: bool = False) -> None:
        self.parts, self.pause, self.reset = parts, pause, reset
        self.got: list[bytes] = []
        self.gone = asyncio.Event()
        self.go = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
        body = await reader.readexactly(int(length[0][16:])) if length else b""
        self.got.append(head + body)
        for part in self.parts:
            if part == b"WAIT":
                await self.go.wait()
                continue
            if part == b"HOLD":
                await reader.read()
                self.gone.set()
                return
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(self.pause)
        if self.reset:
            writer.transport.abort()
        else:
            writer.close()


@asynccontextmanager
async def behind(tmp_path, upstream: Upstream, **options):
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with open_door(
            tmp_path, PLAIN.replace("{raw}", f"http://127.0.0.1:{port}"), master_key=KEY, **options
        ) as door:
            yield door
    finally:
        server.close()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_and_its_body(method, tmp_path):
    upstream = Upstream(OK + b"content-type: audio/mpeg\r\ncontent-length: 3\r\n\r\n" + (b"" if method == "HEAD" else b"\xff\x00\n"))
    body = b"" if method in ("GET", "HEAD", "OPTIONS") else b"\x00binary\xff"
    async with behind(tmp_path, upstream) as door:
        status, headers, answer = await door.ask(
            method, "/openai/v1/files/f%2Fx?q=%20", body, {**AUTH, "content-type": "application/octet-stream"}
        )
        head, _, sent = upstream.got[0].partition(b"\r\n\r\n")
        assert head.startswith(f"{method} /v1/files/f%2Fx?q=%20 HTTP/1.1\r\n".encode()) and sent == body
        assert status == 200 and headers["content-length"] == "3" and headers["content-type"] == "audio/mpeg"
        assert answer == (b"" if method == "HEAD" else b"\xff\x00\n")
        [record] = door.records
        assert record.status == 200 and record.usage is None and record.cost is None and record.method == method


async def test_headers_of_the_answer(tmp_path):
    upstream = Upstream(
        b"HTTP/1.1 429 Slow Down\r\ncontent-type: application/json\r\ncontent-length: 2\r\nretry-after: 7\r\n"
        b"x-request-id: req_1\r\nx-two: a\r\nx-two: b\r\nset-cookie: __cf=1; Domain=x\r\nconnection: x-hop\r\nx-hop: 1\r\n"
        b"strict-transport-security: max-age=9\r\naccess-control-allow-origin: *\r\n\r\n{}"
    )
    async with behind(tmp_path, upstream) as door:
        whole = await door.raw(
            b"GET /openai/v1/models HTTP/1.1\r\nhost: x\r\nconnection: close, x-mine\r\nx-mine: 1\r\n"
            b"x-forwarded-for: 10.0.0.9\r\naccept-encoding: gzip\r\nx-litellm-api-key: " + KEY.encode() + b"\r\n"
            b"openai-beta: assistants=v2\r\n\r\n"
        )
        head = whole.partition(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"http/1.1 429 ") and head.count(b"x-two: ") == 2 and b"x-request-id: req_1" in head
        assert b"retry-after: 7" in head
        for word in (b"set-cookie", b"x-hop", b"strict-transport", b"access-control"):
            assert word not in head, word
        sent = upstream.got[0].lower()
        assert b"openai-beta: assistants=v2" in sent and b"accept-encoding: identity" in sent
        for word in (b"x-mine", b"x-forwarded", b"x-litellm", KEY.encode()):
            assert word not in sent, word
        [record] = door.records
        assert record.status == 429 and record.error == "upstream_rate_limit" and record.fault == "upstream"


async def test_the_providers_key_is_in_no_header_of_an_answer(tmp_path):
    told = b"location: https://x/upload?key=" + UPSTREAM.encode() + b"&id=1\r\nx-goog-upload-url: " + UPSTREAM.encode()
    upstream = Upstream(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n" + told + b"\r\n\r\n")
    async with behind(tmp_path, upstream) as door:
        status, headers, _ = await door.ask("GET", "/openai/v1/x", b"", AUTH)
        assert status == 302 and headers["location"] == "https://x/upload?key=[redacted]&id=1"
        assert UPSTREAM not in repr(headers) and len(upstream.got) == 1  # nothing is followed


async def test_the_gateways_key_goes_on_under_no_name(tmp_path):
    upstream = Upstream(OK + b"content-length: 0\r\n\r\n")
    async with behind(tmp_path, upstream) as door:
        mine = {"x-odd": KEY, "x-pass-authorization": "Bearer x", "x-pass-openai-beta": "b", "x-ok": "1"}
        status, _, _ = await door.ask("GET", f"/openai/v1/x?a=1&token={KEY}&b=2", b"", AUTH | mine)
        sent = upstream.got[0]
        assert status == 200 and KEY.encode() not in sent and sent.startswith(b"GET /v1/x?a=1&b=2 ")
        assert b"openai-beta: b\r\n" in sent and b"x-ok: 1\r\n" in sent and b"Bearer x" not in sent


async def test_a_stream_is_not_held(tmp_path):
    head = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    first, second = b'data: {"a":1}\n\n', b"data: [DONE]\n\n"
    upstream = Upstream(
        head, b"WAIT", b"%x\r\n%b\r\n" % (len(first), first), b"WAIT", b"%x\r\n%b\r\n0\r\n\r\n" % (len(second), second)
    )
    async with behind(tmp_path, upstream) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        body = json.dumps(CHAT).encode()
        writer.write(
            b"POST /openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n" % (KEY.encode(), len(body)) + body
        )
        got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)  # the head, before any byte of the body
        assert got.startswith(b"HTTP/1.1 200 ")
        upstream.go.set()
        rest = await asyncio.wait_for(reader.read(), 3)
        assert parse(got + rest)[2] == first + second
        writer.close()
        [record] = door.records
        assert record.stream and record.ttft_ms is not None and record.usage.estimated  # nothing was told: counted
        await door.settle()


@pytest.mark.parametrize(
    ("framing", "part"),
    [(b"transfer-encoding: chunked", b'5\r\nhello\r\n'), (b"content-length: 100", b"hello")],
)
async def test_a_reset_in_the_middle_is_a_broken_answer(framing, part, tmp_path):
    upstream = Upstream(
        OK + b"content-type: text/event-stream\r\n" + framing + b"\r\n\r\n", part, pause=0.05, reset=True
    )
    async with behind(tmp_path, upstream) as door:
        whole = await door.raw(
            b"GET /openai/v1/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n"
        )
        assert b"hello" in whole and not whole.endswith(b"0\r\n\r\n")
        [record] = door.records
        assert record.error == "broken_stream" and record.status == 502 and record.fault == "upstream"
        await door.settle()


async def test_a_client_that_leaves_ends_the_upstreams_work(tmp_path):
    upstream = Upstream(
        OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n", b"5\r\nhello\r\n", b"HOLD"
    )
    async with behind(tmp_path, upstream) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"GET /openai/v1/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"hello"), 3)
        writer.transport.abort()
        await asyncio.wait_for(upstream.gone.wait(), 3)
        await door.settle()
        [record] = door.records
        assert record.error == "client_gone" and record.status == 499


async def test_an_upstream_that_says_nothing_times_out(tmp_path):
    upstream = Upstream(b"WAIT")
    async with behind(tmp_path, upstream) as door:
        door.gateway.state.config.general.values["pass_through_request_timeout"] = 0.2
        status, _, body = await door.ask("GET", "/openai/v1/x", b"", AUTH)
        assert status == 408 and json.loads(body)["error"]["type"] == "timeout_error"
        upstream.go.set()


async def test_nobody_listens(tmp_path):
    async with open_door(tmp_path, PLAIN.replace("{raw}", "http://127.0.0.1:9"), master_key=KEY) as door:
        status, _, body = await door.ask("GET", "/openai/v1/x", b"", AUTH)
        assert status == 500 and json.loads(body)["error"]["message"].startswith("litellm.APIConnectionError")
        assert UPSTREAM not in body.decode()


async def test_much_sound_is_relayed_and_not_kept(tmp_path, monkeypatch):
    size = 8 * 1024 * 1024
    upstream = Upstream(OK + b"content-type: audio/wav\r\ncontent-length: %d\r\n\r\n" % size, *[b"\x01" * 65536] * (size // 65536))
    made = []
    real = pass_through.Seen
    monkeypatch.setattr(pass_through, "Seen", lambda kind: made.append(real(kind)) or made[-1])
    async with behind(tmp_path, upstream) as door:
        status, _, body = await door.ask("GET", "/openai/v1/audio", b"", AUTH)
        assert status == 200 and len(body) == size
        assert made[0]._parts == [] and door.records[0].bytes_out == size


async def test_a_body_over_the_limit_is_refused(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY, max_body=1000) as door:
        status, _, _ = await door.post(b"x" * 1001, "/openai/v1/files", **AUTH)
        assert status == 413 and door.mock.received == []


@pytest.mark.parametrize(
    ("path", "variable", "shape"),
    [
        ("/openai/v1/models", "OPENAI_API_KEY", "openai"),
        ("/groq/openai/v1/models", "GROQ_API_KEY", "openai"),
        ("/anthropic/v1/messages", "ANTHROPIC_API_KEY", "anthropic"),
        ("/gemini/v1beta/models/x:generateContent", "GEMINI_API_KEY", "gemini"),
        ("/cohere/v2/chat", "COHERE_API_KEY", "any"),
        ("/mistral/v1/chat/completions", "MISTRAL_API_KEY", "openai"),
        ("/azure/openai/deployments/x/chat/completions", "AZURE_API_KEY", "openai"),
    ],
)
async def test_a_missing_key_is_named_in_the_vendors_own_words(path, variable, shape, tmp_path):
    async with open_door(tmp_path, "model_list: []\n", master_key=KEY) as door:
        status, _, body = await door.post(MESSAGES, path, **AUTH)
        told = json.loads(body)
        assert status == 401 and variable in body.decode()
        if shape == "anthropic":
            assert told["type"] == "error" and told["error"]["type"] == "authentication_error"
        elif shape == "gemini":
            assert told["error"]["status"] == "UNAUTHENTICATED"
        elif shape == "openai":
            assert told["error"]["code"] == "401"


async def test_who_is_no_provider_is_nobody(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        for path in ("/nobody/v1/x", "/openai", "/openai%2Fv1/x", "/openai//v1/x", "/OPENAI/v1/x"):
            status, _, _ = await door.ask("GET", path, b"", AUTH)
            assert status in (400, 404), path
        assert door.mock.received == []
        # A base URL that ends in a slash: the first one is doubled by its client, and goes no further.
        await door.ask("GET", "//openai/v1/x/", b"", AUTH)
        assert [seen.path for seen in door.mock.received] == ["/v1/x/"]


@pytest.mark.parametrize(
    "path",
    ["/openai/../x", "/openai/v1/..", "/openai/v1/%2e%2e/x", "/openai/v1/%252e%252e/x", "/openai/v1/..%2fx", "/openai//evil.example/x",
     "/openai/v1//x", "/openai/http://evil.example/", "/openai/v1/a%5C..%5Cb", "/openai/v1/x%00", "/openai/./v1", "/openai/v1/..;/x"],
)  # fmt: skip
async def test_paths_that_mean_another_are_refused(path, tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        status, _, body = await door.ask("GET", path, b"", AUTH)
        assert status in (400, 404), body
        assert door.mock.received == []


async def test_keys_where_the_vendors_clients_put_them(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        path = "/gemini/v1beta/models/gemini-2.5-flash:generateContent"
        body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
        for query, headers in (
            (f"?key={KEY}&alt=json", {}),
            ("?alt=json", {"x-goog-api-key": KEY}),
            ("?alt=json", AUTH),
        ):
            assert (await door.post(body, path + query, **headers))[0] == 200
            got = door.mock.received[-1]
            assert got.query == "alt=json" and got.header("x-goog-api-key") == "AIzaUpstreamSecret0000000000"
            assert KEY not in repr(got.headers) and got.header("authorization") is None
        assert (await door.post(MESSAGES, "/anthropic/v1/messages", **{"x-api-key": KEY, "anthropic-version": "2023-06-01"}))[0] == 200
        got = door.mock.received[-1]
        assert got.header("x-api-key") == UPSTREAM and got.header("anthropic-version") == "2023-06-01"
        # Elsewhere a key in the query is no credential.
        assert (await door.post(CHAT, f"/openai/v1/chat/completions?key={KEY}"))[0] == 401


async def test_without_a_key_web_pages_are_refused(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        path = "/openai/v1/models"
        assert (await door.ask("GET", path))[0] == 200
        assert (await door.ask("GET", path, b"", {"sec-fetch-site": "cross-site"}))[0] == 403
        assert (await door.ask("GET", path, b"", {"origin": "https://evil.example"}))[0] == 403
        assert (await door.ask("GET", path, b"", {"sec-fetch-site": "same-origin"}))[0] == 200
