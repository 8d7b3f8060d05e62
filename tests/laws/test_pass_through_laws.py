"""Laws of pass-through paths: whatever a client sends, the request stays at the provider's host, below its base."""

from __future__ import annotations

import json
import posixpath
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.core.errors import GatewayError
from penstock.core.providers import PROVIDERS
from penstock.core.providers.pass_through import (
    CREDENTIALS,
    answer_headers,
    query_for,
    request_headers,
    rest_of,
)
from penstock.core.providers.urls import passed_url
from penstock.core.seen import TAIL, WHOLE, Seen

PIECES = ["/", "//", "..", ".", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", "%25", "%252e", "@", ":", "http:", "evil.example", "v1", "v1beta",
          "upload", "models", ";", "#", "?", "&", "=", " ", "%00", "%0d%0a", "\r\n", "\x7f", "ä", "locations", "projects", "p",
          "us-central1", "evil.example%23", "[", "]", "%", "%zz", "~", "+", "$"]  # fmt: skip
PATHS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=14).map("".join)
ENV = {
    "VERTEXAI_PROJECT": "p",
    "AWS_REGION": "us-east-1",
    "AZURE_API_BASE": "https://r.openai.azure.com/openai",
    "SNOWFLAKE_ACCOUNT_ID": "a",
    "CLOUDFLARE_ACCOUNT_ID": "a",
    "WATSONX_REGION": "eu-de",
    "OCI_REGION": "x",
}
BASES = [None, "https://proxy.example/tenant-a/v1", "http://127.0.0.1:8000", "https://proxy.example/t/"]


def flat(path: str) -> str:
    """The path as the most careless server would take it: decoded as often as it can be, backslashes too, resolved."""
    data = path.encode()
    while (again := unquote_to_bytes(data)) != data:
        data = again
    text = data.decode("latin-1").replace("\\", "/")
    return posixpath.normpath("/" + "/".join(part.partition(";")[0] for part in text.split("/")).lstrip("/"))


@given(PATHS, st.sampled_from(sorted(PROVIDERS)), st.sampled_from(BASES))
@example("/v1/%2e%2e/x", "openai", BASES[1])
@example("//evil.example/x", "anthropic", None)
@example("v1/..%2f..%2fx", "anthropic", BASES[1])
@example("@evil.example/", "gemini", None)
@example("v1/projects/p/locations/evil.example#/x", "vertex_ai", None)
@example("v1/projects/p/locations/evil.example%23/x", "vertex_ai", None)
def test_a_path_never_leaves_the_providers_host_or_base(path: str, name: str, base: str | None) -> None:
    provider = PROVIDERS[name]
    try:
        rest = rest_of(f"/{name}/{path}".encode("utf-8", "surrogatepass"))
        url = passed_url(provider, base, ENV, rest)
        home = passed_url(provider, base, ENV, "/v1/x")
    except (GatewayError, LookupError):
        return
    assert url.isascii() and url.isprintable() and " " not in url
    here, there = urlsplit(url), urlsplit(home)
    assert here.scheme == there.scheme and here.username is None and not here.fragment
    if name.startswith("vertex_ai") and base is None:
        assert here.netloc.endswith(("-aiplatform.googleapis.com", ".rep.googleapis.com")) or here.netloc == "aiplatform.googleapis.com"
        assert here.netloc.count(".") <= 4
    else:
        assert here.netloc == there.netloc
    if base is not None and not name.startswith(("vertex_ai", "azure")):
        root = urlsplit(base).path.removesuffix("/v1").rstrip("/")
        assert (flat(here.path) + "/").startswith(root + "/")
    assert not here.path.startswith("//")
    assert rest.rstrip("/") in here.path or here.path.endswith(rest) or name.startswith("vertex_ai")  # as it was sent


@given(st.binary(max_size=60))
def test_any_bytes_are_a_path_or_refused(raw: bytes) -> None:
    try:
        rest = rest_of(raw)
    except GatewayError as error:
        assert error.status == 400
    else:
        assert raw.endswith(rest.encode()) and rest.startswith("/")


@given(st.dictionaries(st.sampled_from([*sorted(CREDENTIALS), b"cookie", b"x-own", b"connection", b"host", b"x-forwarded-for",
                                        b"content-length", b"openai-beta"]), st.sampled_from([b"sk-gw", b"x-own", b"close, x-own"])))  # fmt: skip
def test_no_credential_of_the_gateway_goes_on(headers: dict[bytes, bytes]) -> None:
    sent = dict(request_headers(headers))
    assert not set(sent) & (CREDENTIALS | {b"cookie", b"connection", b"host", b"x-forwarded-for", b"content-length"})
    named = b"x-own" in headers.get(b"connection", b"")
    assert (b"x-own" in sent) == (b"x-own" in headers and not named)
    assert sent.get(b"openai-beta") == headers.get(b"openai-beta")


@given(st.lists(st.tuples(st.sampled_from([b"content-type", b"set-cookie", b"x-a", b"connection", b"etag"]), st.sampled_from([b"x-a", b"1"]))))
def test_headers_of_an_answer_keep_their_order_and_doubles(headers: list[tuple[bytes, bytes]]) -> None:
    hop = any(name == b"connection" and value == b"x-a" for name, value in headers)
    wanted = [pair for pair in headers if pair[0] not in (b"set-cookie", b"connection") and not (hop and pair[0] == b"x-a")]
    assert answer_headers(headers) == wanted


@pytest.mark.parametrize(
    ("query", "kept"),
    [(b"key=K&alt=sse", "alt=sse"), (b"alt=sse&key=K", "alt=sse"), (b"%6bey=K", ""), (b"monkey=1", "monkey=1"), (b"key", ""), (b"", "")],
)
def test_googles_key_is_taken_out_of_the_query(query: bytes, kept: str) -> None:
    assert query_for(PROVIDERS["gemini"], query) == kept
    assert query_for(PROVIDERS["openai"], query) == query.decode()


# What is read on the way ----------------------------------------------------------------------------------------------

CHAT = b'data: {"model":"m","choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\ndata: [DONE]\n\n'
CLAUDE = (
    b'event: message_start\ndata: {"type":"message_start","message":{"model":"c","usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}}}\r\n\r\n'
    b'data: {"type":"message_delta","usage":{"output_tokens":5}}\n\n'
)
RESPONSES = b'data: {"type":"response.completed","response":{"model":"r","usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":2},"output_tokens":3,"total_tokens":10}}}\n\n'
GEMINI = b'data: {"usageMetadata":{"promptTokenCount":7}}\n\ndata: {"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":3},"modelVersion":"g"}\n\n'
COHERE = b'data: {"type":"message-end","delta":{"usage":{"billed_units":{"input_tokens":7,"output_tokens":3}}}}\n\n'
BEDROCK = b'\x00\x00\x01{"metrics":{"latencyMs":1},"usage":{"inputTokens":7,"outputTokens":3,"totalTokens":10}}\x00\n\xff'
OLLAMA = b'{"model":"o","message":{},"done":false}\n{"model":"o","done":true,"prompt_eval_count":7,"eval_count":3}\n'
STREAMS = [(CHAT, b"text/event-stream"), (CLAUDE, b"text/event-stream"), (RESPONSES, b"text/event-stream"), (GEMINI, b"text/event-stream"),
           (COHERE, b"text/event-stream"), (OLLAMA, b"application/x-ndjson"), (BEDROCK, b"application/vnd.amazon.eventstream"),
           (b'{"model":"e","data":[],"usage":{"prompt_tokens":7,"total_tokens":7}}', b"application/json"),
           (b'[{"usageMetadata":{"promptTokenCount":7}},\n{"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":3}}]', b"application/json")]  # fmt: skip


def told(seen: Seen) -> tuple[int, int]:
    assert seen.usage is not None
    return seen.usage.input, seen.usage.output


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 400), max_size=8))
def test_any_cut_of_an_answer_tells_the_same_use(stream: tuple[bytes, bytes], cuts: list[int]) -> None:
    data, kind = stream
    whole = Seen(kind)
    whole.feed(data)
    whole.close()
    cut = Seen(kind)
    edges = sorted({0, len(data), *(at for at in cuts if at < len(data))})
    for start, end in zip(edges, edges[1:], strict=False):
        cut.feed(data[start:end])
    cut.close()
    assert (told(cut), cut.chunks, cut.usage) == (told(whole), whole.chunks, whole.usage)
    expected = (13, 5) if data is CLAUDE else (7, 0) if b"prompt_tokens\":7,\"total" in data else (7, 3)
    assert told(whole) == expected


@given(st.binary(max_size=300), st.sampled_from([b"application/json", b"text/event-stream", b"application/vnd.amazon.eventstream", b"audio/wav"]))
@example(b'{"usage":{"prompt_tokens":NaN}}', b"application/json")
@example(b'{"usage":{"input_tokens":"x","output_tokens":[]}}', b"application/json")
@example(b'data: {"usage":' + b"[" * 200, b"text/event-stream")
def test_no_answer_is_too_odd(data: bytes, kind: bytes) -> None:
    seen = Seen(kind)
    seen.feed(data)
    seen.close()
    assert seen.usage is None or seen.usage.input >= 0


@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
def test_a_long_answer_is_known_by_its_end_and_not_kept(kind: bytes) -> None:
    seen = Seen(kind)
    seen.feed(b'data: {"model":"m","data":["' if b"event" in kind else b'{"model":"m","data":["')
    most = 0
    for _ in range(400):
        seen.feed(b"x" * 10_000)
        most = max(most, sum(map(len, seen._parts)))
    seen.feed(b'"],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n')
    seen.close()
    assert most <= WHOLE + 10_000 and told(seen) == (7, 3)
    assert sum(map(len, seen._parts)) <= 2 * TAIL


def test_searches_are_counted() -> None:
    seen = Seen(b"application/json")
    seen.feed(json.dumps({"results": [], "meta": {"billed_units": {"search_units": 2}}}).encode())
    seen.close()
    assert seen.usage is None and seen.units is not None and seen.units.queries == 2
