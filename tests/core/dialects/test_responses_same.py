"""The same-dialect lane of Responses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects.openai_responses import same
from penstock.core.errors import GatewayError
from tests.core.dialects.responses_helpers import (
    CREATED,
    finished,
)

# The same lane --------------------------------------------------------------------------------------------------------


def test_the_same_lane_reads_no_json_of_deltas() -> None:
    broken = b'{"type":"response.output_text.delta","delta":"x", not json'
    out = same.Stream(Raw(b'"m"'), True).feed(sse.Event(b"response.output_text.delta", broken))
    assert out == b"event: response.output_text.delta\ndata: " + broken + b"\n\n"


def test_the_same_lane_tells_a_text_about_responses_from_a_response() -> None:
    data = json.dumps({"type": "response.output_text.delta", "delta": '"response":{"model":"x"}'}).encode()
    assert data in same.Stream(Raw(b'"m"'), True).feed(sse.Event(b"", data))
    data = json.dumps({"type": "response.output_text.delta", "delta": "response"}).encode()
    assert data in same.Stream(Raw(b'"m"'), True).feed(sse.Event(b"", data))


def test_the_same_lane_ends_in_an_error_when_the_upstream_breaks_off() -> None:
    lane = same.Stream(Raw(b'"m"'), True)
    lane.feed(sse.Event(b"response.created", json.dumps(CREATED).encode()))
    assert lane.started
    with pytest.raises(GatewayError) as caught:
        lane.close()
    assert caught.value.kind == "broken_stream"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow"},
        {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "slow"}}},
    ],
)
def test_the_same_lane_raises_errors_before_it_starts(event: dict[str, Any]) -> None:
    lane = same.Stream(Raw(b'"m"'), True)
    with pytest.raises(GatewayError, match="slow") as caught:
        lane.feed(sse.Event(event["type"].encode(), json.dumps(event).encode()))
    assert caught.value.kind == "upstream_rate_limit" and not lane.started


def test_the_same_lane_swallows_done_and_refuses_what_is_not_json() -> None:
    lane = same.Stream(Raw(b'"m"'), True)
    assert lane.feed(sse.Event(b"", b"[DONE]")) == b""
    with pytest.raises(GatewayError, match="not of this dialect"):
        lane.feed(sse.Event(b"", b"<html>"))


def test_whole_answers_in_the_same_lane() -> None:
    body = json.dumps(
        finished(model="x", output=[], usage={"input_tokens": 3, "output_tokens": 4})["response"]
    ).encode()
    out, usage = same.answer(body, Raw(b'"asked"'))
    assert json.loads(out) == {**json.loads(body), "model": "asked"}
    assert usage is not None and (usage.fresh, usage.output) == (3, 4)
    with pytest.raises(GatewayError, match="boom"):
        same.answer(b'{"status":"failed","error":{"code":"server_error","message":"boom"}}', Raw(b'"m"'))
    with pytest.raises(GatewayError, match="not a JSON object"):
        same.answer(b"<html>", Raw(b'"m"'))
