"""The real ``anthropic`` client reads what this dialect writes: whole answers, streams, errors, token counts."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from penstock.core.dialects import anthropic as dialect
from penstock.core.dialects.base import View
from penstock.core.errors import GatewayError
from penstock.core.ir import Choice, Citation, Response, Seal, Text, Thinking, ToolUse, Usage, explode

sdk = pytest.importorskip("anthropic")
httpx = pytest.importorskip("httpx2")

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")
ANSWER = Response(
    id="chatcmpl-9",
    model="upstream",
    choices=(
        Choice(
            (
                Thinking("hm \u2028", Seal("anthropic", "sig")),
                Thinking("", Seal("openai", "enc"), redacted=True),
                Text("See", citations=(Citation(url="https://x.test", title="X", quote="q"),)),
                ToolUse("call_1", "f", '{"a": [1, "\\u00e9"]}'),
                ToolUse("call_2", "g", ""),
            ),
            "tool_use",
        ),
    ),
    usage=Usage(fresh=7, cache_read=2, cache_write=1, cache_write_1h=4, output=5, reasoning=3),
)


def client(answer: Callable[[object], object]) -> object:
    transport = httpx.MockTransport(answer)
    return sdk.Anthropic(
        api_key="k", base_url="http://x.test", max_retries=0, http_client=httpx.Client(transport=transport)
    )


def check(message: object) -> None:
    told = message.model_dump()  # type: ignore[attr-defined]
    thought, hidden, text, first, second = told["content"]
    assert (thought["thinking"], thought["signature"]) == ("hm \u2028", "sig")
    assert hidden["data"] == "penstock.seal.openai.enc"
    assert text["text"] == "See" and text["citations"][0]["url"] == "https://x.test"
    assert (first["id"], first["name"], first["input"]) == ("call_1", "f", {"a": [1, "é"]})
    assert second["input"] == {}
    assert told["stop_reason"] == "tool_use" and told["model"] == "asked" and told["id"] == "msg_new"
    used = told["usage"]
    assert (used["input_tokens"], used["cache_read_input_tokens"], used["output_tokens"]) == (7, 2, 5)
    assert used["cache_creation_input_tokens"] == 5


def test_a_whole_answer() -> None:
    body = dialect.render_response(ANSWER, VIEW).body
    reply = httpx.Response(200, content=body, headers={"content-type": "application/json"})
    check(client(lambda request: reply).messages.create(model="m", max_tokens=9, messages=[]))  # type: ignore[attr-defined]


def test_a_stream_with_pings() -> None:
    encoder = dialect.encoder(VIEW)
    body = encoder.ping() + b"".join(encoder.feed(event) + encoder.ping() for event in explode(ANSWER))
    reply = httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})
    with client(lambda request: reply).messages.stream(model="m", max_tokens=9, messages=[]) as stream:  # type: ignore[attr-defined]
        check(stream.get_final_message())


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("upstream_rate_limit", "RateLimitError"),
        ("unauthorized", "AuthenticationError"),
        ("bad_request", "BadRequestError"),
        ("no_route", "NotFoundError"),
        ("upstream_overloaded", "InternalServerError"),
    ],
)
def test_errors_are_typed(kind: str, error: str) -> None:
    status, body = dialect.render_error(GatewayError(kind, "told"))
    reply = httpx.Response(status, content=body, headers={"content-type": "application/json"})
    with pytest.raises(sdk.APIStatusError) as caught:
        client(lambda request: reply).messages.create(model="m", max_tokens=9, messages=[])  # type: ignore[attr-defined]
    assert error in [cls.__name__ for cls in type(caught.value).__mro__] and "told" in str(caught.value)


def test_an_error_in_the_stream_reaches_the_caller() -> None:
    encoder = dialect.encoder(VIEW)
    events = list(explode(ANSWER))
    body = b"".join(encoder.feed(event) for event in events[:4]) + encoder.fail(
        GatewayError("broken_stream", "cut off")
    )
    reply = httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})
    with (
        pytest.raises(sdk.APIStatusError, match="cut off"),
        client(lambda request: reply).messages.stream(model="m", max_tokens=9, messages=[]) as stream,  # type: ignore[attr-defined]
    ):
        stream.get_final_message()


def test_what_the_client_sends_is_read() -> None:
    seen: list[bytes] = []

    def answer(request: object) -> object:
        seen.append(request.content)  # type: ignore[attr-defined]
        return httpx.Response(200, content=dialect.render_count(3))

    counted = client(answer).messages.count_tokens(  # type: ignore[attr-defined]
        model="m", system="s", messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    )
    from penstock.core import envelope

    assert counted.input_tokens == 3 and json.loads(seen[0])["system"] == "s"
    assert len(dialect.parse_count_request(envelope.open_body(seen[0])).messages) == 2
