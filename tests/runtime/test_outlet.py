"""The way out: header lines that nobody can break, and signs of life when they are due and not before."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import GatewayError
from penstock.core.forwarding import STAYS
from penstock.core.ir import Loss
from penstock.runtime.call import Way
from penstock.runtime.endpoint import Endpoint
from penstock.runtime.http import Origin
from penstock.runtime.outlet import AlreadyAnswered, safe
from penstock.runtime.post import forwarded_headers
from penstock.runtime.timeouts import of_whole
from tests.runtime.made import attempt_of, call_of, target_of

TEXT = st.text(max_size=40) | st.sampled_from(
    ["a\r\nset-cookie: x", "\n\n", "\x00", "é漢", "a\tb", "\x7f", "\x85", "\u2028"]
)


def headers_of(head: bytes) -> dict[str, str]:
    """Strict: each line is ``name: value`` in printable ASCII, each name once."""
    lines = head.split(b"\r\n")
    assert lines[-1] == b""
    pairs = [line.split(b": ", 1) for line in lines[:-1]]
    for name, value in pairs:
        assert name and name.islower() and all(31 < c < 127 for c in name + value)
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names)
    return {name.decode(): value.decode() for name, value in pairs}


@given(TEXT)
def test_any_text_is_one_header_value(text):
    value = safe(text)
    assert all(31 < c < 127 for c in value)
    if text.isascii() and text.isprintable():
        assert value == text.encode()


@given(TEXT, st.lists(TEXT, max_size=5), st.sampled_from(["", "same", "cross"]), st.floats(0, 1e4) | st.none())
def test_no_text_of_a_client_s_or_a_config_s_breaks_an_answer_s_head(group, paths, lane, wait):
    call = call_of()
    attempt = attempt_of(call, group=group)
    call.tries = 2
    attempt.target.timeouts = of_whole(7)
    attempt.lane = lane
    call.request_id = safe(group) or b"x"
    attempt.losses = tuple(Loss(path, "why") for path in paths)
    call.outlet.refuse(call, GatewayError("upstream_rate_limit", group, retry_after=wait))
    told = headers_of(call.exchange.head)
    assert told["x-litellm-call-id"] == call.call_id
    assert told["content-type"] == "application/json" and float(told["x-penstock-overhead-ms"]) >= 0
    assert "x-litellm-model-group" in told and told["x-litellm-timeout"] == "7.0"
    assert ("x-penstock-dropped" in told) == bool(paths)
    if wait is not None:
        assert int(told["retry-after"]) >= max(1, wait), "nobody comes back too early"
    assert call.exchange.status == 429 and json.loads(call.exchange.out)["error"]["message"] == group


@given(st.binary(max_size=30) | st.sampled_from([b"1\r\nx-api-key: stolen", b"a\nb", b"\x00"]))
def test_headers_that_pass_upstream_stay_one_line(value):
    call = call_of({"model": "m", "messages": [{}], "max_tokens": 1}, "/v1/messages")
    call.exchange.headers = {b"anthropic-beta": value, b"cookie": b"c", b"x-api-key": b"k"}
    attempt = attempt_of(call)
    attempt.lane, attempt.target = "same", SimpleNamespace(stays=None)
    origin = Origin("http", "h", 1)
    endpoint = Endpoint(origin, b"", "", None, ((b"anthropic-version", b"2023-06-01"),))
    sent = forwarded_headers(attempt, endpoint)
    lines = sent.split(b"\r\n")
    assert (
        len(lines) == 3
        and lines[0].startswith(b"anthropic-beta: ")
        and lines[1:] == [b"anthropic-version: 2023-06-01", b""]
    )
    assert b"\n" not in sent.replace(b"\r\n", b"") and b"\r" not in sent.replace(b"\r\n", b"") and b"\0" not in sent
    if not any(c in value for c in b"\r\n\0"):
        assert lines[0] == b"anthropic-beta: " + value
    attempt.lane = "cross"
    assert forwarded_headers(attempt, endpoint) == b"anthropic-version: 2023-06-01\r\n"
    attempt.target = SimpleNamespace(stays=STAYS)  # the config lets the client's own go on
    assert forwarded_headers(attempt, endpoint) == sent


def test_headers_of_an_answer(tmp_path):
    call = call_of(clock=lambda: 0.5)
    attempt = attempt_of(call, target_of(tmp_path, api_key="k"), "other")
    attempt.lane, call.tries, call.upstream, attempt.upstream = "cross", 5, 0.3, 0.1
    call.way = Way("other", fallbacks=1, before=2, most=3)
    attempt.losses = (Loss("seed", ""), Loss("n", ""), Loss("seed", ""))
    call.outlet.whole(attempt, b"{}")
    told = headers_of(call.exchange.head)
    assert told["x-litellm-model-id"] == attempt.target.id and told["x-litellm-model-name"] == "openai/gpt-4o"
    assert told["x-penstock-overhead-ms"] == "100.000"
    assert told["x-litellm-attempted-retries"] == "2" and told["x-litellm-attempted-fallbacks"] == "1"
    assert told["x-litellm-max-retries"] == "3" and told["x-litellm-model-group"] == "other"
    assert told["x-penstock-dropped"] == "seed,n" and told["x-penstock-lane"] == "cross"
    assert attempt.tail == b"{}" and attempt.first_at == 0.5 and call.exchange.finished


def test_a_stream_s_head():
    call = call_of({"model": "m", "messages": [{}], "stream": True})
    call.outlet.begin(call)
    told = headers_of(call.exchange.head)
    assert told["content-type"] == "text/event-stream; charset=utf-8"
    assert told["cache-control"] == "no-cache" and told["x-accel-buffering"] == "no"


def test_signs_of_life_come_after_silence_and_not_before():
    call = call_of({"model": "m", "messages": [{}], "stream": True})
    sent = call.exchange
    for now in (1.0, 5.0, 9.9):
        call.outlet.keep_alive(call, now, 10.0)
    assert not sent.responded
    call.outlet.keep_alive(call, 10.0, 10.0)
    assert sent.responded and sent.status == 200 and sent.out.startswith(b":")
    one = len(sent.out)
    for now in (11.0, 19.9):
        call.outlet.keep_alive(call, now, 10.0)
    assert len(sent.out) == one
    call.outlet.keep_alive(call, 20.0, 10.0)
    assert len(sent.out) == 2 * one
    sent.write(b"data: {}\n\n")  # a word of the answer: silence begins anew
    call.outlet.keep_alive(call, 29.0, 10.0)
    call.outlet.keep_alive(call, 38.0, 10.0)
    assert len(sent.out) == 2 * one + 10
    call.outlet.keep_alive(call, 39.0, 10.0)
    assert len(sent.out) == 3 * one + 10


def test_no_signs_of_life_when_switched_off_or_over():
    call = call_of({"model": "m", "messages": [{}], "stream": True})
    call.outlet.keep_alive(call, 1e6, 0.0)
    assert not call.exchange.responded
    call.outlet.refuse(call, GatewayError("timeout", "x"))
    call.outlet.keep_alive(call, 2e6, 1.0)
    assert call.exchange.status == 408 and b": " not in call.exchange.out[:1]


def test_an_error_after_a_sign_of_life_is_told_in_band_and_closes():
    call = call_of({"model": "m", "messages": [{}], "stream": True})
    call.outlet.keep_alive(call, 10.0, 10.0)
    call.outlet.refuse(call, GatewayError("upstream_error", "their words", provider="openai"))
    sent = call.exchange
    assert sent.finished and not sent.aborted and sent.status == 200
    assert b"their words" in sent.out and b"[DONE]" not in sent.out


def test_the_first_attempt_that_answers_has_the_outlet_and_no_other_gets_a_byte_in():
    call = call_of({"model": "m", "messages": [{}], "stream": True})
    one, two = attempt_of(call), attempt_of(call)
    call.outlet.stream(one, b": ping\n\n", answer=False)
    assert one.first_at is None and call.outlet.owner == 0, "a ping is no answer: another may still give it"
    call.outlet.stream(two, b"data: 1\n\n")
    with pytest.raises(AlreadyAnswered):
        call.outlet.stream(one, b": ping\n\n", answer=False)
    with pytest.raises(AlreadyAnswered):
        call.outlet.stream(one, b"data: other\n\n")
    with pytest.raises(AlreadyAnswered):
        call.outlet.whole(one, b"{}")
    call.outlet.stream(two, b"data: 2\n\n")
    call.outlet.finish()
    assert call.exchange.out == b": ping\n\ndata: 1\n\ndata: 2\n\n" and one.first_at is None and two.first_at is not None
