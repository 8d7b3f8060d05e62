"""Chat errors: every shape an upstream was seen to use becomes a kind of the table, without any key in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.core.dialects import openai_chat as chat
from penstock.core.dialects.redact import MASK, scrub
from penstock.core.errors import TABLE, GatewayError
from penstock.core.mask import NO_SECRETS, hide

CORPUS = Path(__file__).parents[2] / "corpus" / "openai_chat"


def recorded(name: str) -> GatewayError:
    kept = json.loads((CORPUS / f"llama_error_{name}.json").read_text())
    return chat.parse_error(kept["status"], kept["headers"], kept["body"].encode())


def test_recorded_errors_of_llama_server() -> None:
    assert recorded("401").kind == "upstream_auth" and recorded("401").message == "Invalid API Key"
    context = recorded("context")
    assert (context.kind, context.status, context.upstream_type) == ("context_window", 400, "exceed_context_size_error")
    assert "400015 tokens" in context.message
    assert recorded("bad_request").kind == "upstream_bad_request"


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (
            400,
            b'{"error":{"message":"This model\'s maximum context length is 8192 tokens.",'
            b'"type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}',
            "context_window",
            "This model's maximum context length is 8192 tokens.",
        ),
        (400, b'{"error":{"message":"Bad","param":"temperature"}}', "upstream_bad_request", "Bad"),
        (
            400,
            b'{"error":{"code":"content_filter","message":"The response was filtered due to the prompt triggering"}}',
            "content_policy",
            "The response was filtered due to the prompt triggering",
        ),
        (404, b'{"error":{"message":"no model","code":"model_not_found"}}', "upstream_not_found", "no model"),
        (
            422,
            b'{"detail":[{"loc":["body"],"msg":"field required","type":"missing"}]}',
            "upstream_unprocessable",
            '[{"loc":["body"],"msg":"field required","type":"missing"}]',
        ),
        (429, b'{"error":{"message":"quota","type":"insufficient_quota"}}', "upstream_rate_limit", "quota"),
        (500, b'{"error":"CUDA out of memory"}', "upstream_error", "CUDA out of memory"),
        (500, b'{"message":"oops"}', "upstream_error", "oops"),
        (502, b"<html>Bad Gateway</html>", "upstream_bad_gateway", "<html>Bad Gateway</html>"),
        (503, b"", "upstream_unavailable", "The upstream answered with status 503 and no message."),
        (
            400,
            b'[{"error":{"code":400,"message":"Google says","status":"INVALID_ARGUMENT"}}]',
            "upstream_bad_request",
            "Google says",
        ),
        (403, b'{"object":"error","message":"vLLM says","code":403}', "upstream_forbidden", "vLLM says"),
        (500, b"\xff\xfe", "upstream_error", "\ufffd\ufffd"),
        (418, b"teapot", "upstream_bad_request", "teapot"),
        (529, b'{"error":{"message":"busy"}}', "upstream_overloaded", "busy"),
        (302, b"", "upstream_bad_gateway", "The upstream answered with status 302 instead of an answer."),
        (
            400,
            b'{"error":{"message":"Provider returned error","metadata":{"raw":"the real words"}}}',
            "upstream_bad_request",
            "Provider returned error: the real words",
        ),
    ],
)
def test_shapes(status: int, body: bytes, kind: str, message: str) -> None:
    error = chat.parse_error(status, {}, body)
    assert (error.kind, error.message) == (kind, message)


def test_the_field_at_fault_and_the_vendors_words_are_kept() -> None:
    body = b'{"error":{"message":"m","type":"invalid_request_error","param":"tools[0]","code":"bad_tool"}}'
    error = chat.parse_error(400, {}, body)
    assert (error.param, error.upstream_type, error.upstream_code) == ("tools[0]", "invalid_request_error", "bad_tool")


def test_an_upstreams_own_status_is_kept() -> None:
    assert chat.parse_error(418, {}, b"").status == 418
    assert chat.parse_error(413, {}, b'{"error":{"message":"prompt is too long"}}').status == 400


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:10 GMT", "date": "Fri, 20 Nov 2026 09:00:00 GMT"}, 10.0),
        ({"retry-after": "Fri, 20 Nov 2026 08:00:00 GMT", "date": "Fri, 20 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:10 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert chat.parse_error(429, headers, b"").retry_after == seconds


@pytest.mark.parametrize("kind", sorted(TABLE))
def test_every_kind_is_told_in_the_vendors_shape(kind: str) -> None:
    status, body = chat.render_error(GatewayError(kind, "m", param="p"))
    assert status == TABLE[kind].status
    assert json.loads(body) == {
        "error": {"message": "m", "type": TABLE[kind].openai, "param": "p", "code": str(TABLE[kind].status)}
    }


def test_upstream_errors_are_prefixed_as_litellms_callers_expect() -> None:
    error = chat.parse_error(429, {}, b'{"error":{"message":"slow down"}}')
    error.provider = "openai"
    told = json.loads(chat.render_error(error)[1])["error"]["message"]
    assert told == "litellm.RateLimitError: RateLimitError: OpenAIException - slow down"


KEYS = [
    "sk-proj-abcdefGHIJKL0123456789",
    "sk-ant-api03-AbCdEf_0123-456789",
    "sk-abc***********************wxyz",
    "gsk_0123456789abcdefGHIJ",
    "xai-0123456789abcdefGHIJ",
    "hf_0123456789abcdefGHIJ",
    "AIzaSyA0123456789abcdefGHIJ0123456789abc",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "frame",
    ["Incorrect API key provided: {}. Find yours at x.", "{}", '{{"authorization": "Bearer {}"}}', "?key={}&a=1"],
)
def test_no_key_is_repeated(key: str, frame: str) -> None:
    body = json.dumps({"error": {"message": frame.format(key), "type": key, "code": key, "param": key}}).encode()
    error = chat.parse_error(401, {}, body)
    hide(error, [NO_SECRETS])
    told = chat.render_error(error)[1].decode() + error.upstream_type + error.upstream_code
    assert key not in told and key[4:] not in told and MASK in told
    for raw in (frame.format(key).encode(), body):
        error = chat.parse_error(500, {}, raw)
        hide(error, [NO_SECRETS])
        assert key not in error.message


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 8192 tokens.",
        "Use the token count of task-based models; bearer of bad news.",
        "field 'messages[0].content' is missing",
        "basic understanding of risk-management",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert scrub(text) == text


def test_headers_and_query_fields_lose_their_values() -> None:
    told = scrub("POST https://x.test/v1?key=abc123&alt=sse x-api-key: plain-secret; Authorization: Basic dXNlcjpwYXNz")
    assert "abc123" not in told and "plain-secret" not in told and "dXNlcjpwYXNz" not in told
    assert "alt=sse" in told
