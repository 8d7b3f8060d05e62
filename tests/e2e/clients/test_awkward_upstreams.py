"""Upstreams that bend the rules, through the vendors' SDKs: what the client gets is what was meant, on every pair."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.clients.faces import CLOCK, WEATHER, Face, Got
from tests.e2e.clients.upstreams import Upstream

TWO_CALLS = 'call get_weather {"city": "Rome"} call get_time {"zone": "UTC", "hours": 24}'
TOLD = [("get_weather", {"city": "Rome"}), ("get_time", {"zone": "UTC", "hours": 24})]

# What bends the stream and must not be seen in the answer.
BENDS: dict[str, dict[str, Any]] = {
    "one byte at a time": {"split_bytes": 1},
    "seven bytes at a time": {"split_bytes": 7},
    "until the connection closes": {"framing": "close"},
    "one letter per event": {"chunk_size": 1},
    "CRLF": {"malform": ("crlf",), "split_bytes": 5},
    "CR": {"malform": ("cr",), "split_bytes": 5},
    "no space": {"malform": ("no_space",)},
    "comments": {"malform": ("comments",)},
    "pings": {"malform": ("pings",)},
    "two data lines": {"malform": ("split_data",)},
    "BOM": {"malform": ("bom",)},
    "no role": {"malform": ("no_role",)},
    "empty choices": {"malform": ("empty_choices",)},
    "unknown event": {"malform": ("unknown_event",)},
    "no blank line at the end": {"malform": ("unterminated",)},
    "1xx first": {"interim": (103,)},
    "gzip": {"gzip": True},
}


@pytest.mark.parametrize("bend", BENDS)
def test_text_and_calls_survive(face: Face, upstream: Upstream, bend: str) -> None:
    upstream.always(**BENDS[bend])
    got = face.ask("two words \u2028 🐧", model=upstream.alias, stream=True)
    assert got.text == got.deltas == "mock/echo: two words \u2028 🐧"
    assert got.stop == "end" and got.output > 0
    got = face.ask(TWO_CALLS, model=upstream.alias, stream=True, tools=[WEATHER, CLOCK])
    assert [(call.name, call.args) for call in got.calls] == TOLD and got.stop == "tool"


CALLS: dict[str, dict[str, Any]] = {
    "all at once": {"whole_arguments": True},
    "taking turns": {"interleave_calls": True},
    "one letter per event, taking turns": {"interleave_calls": True, "chunk_size": 1},
    "after text": {"text": "Let me look.", "tool_calls": [{"name": name, "arguments": args} for name, args in TOLD]},
    "after thoughts": {"reasoning": "Hm, both."},
}


@pytest.mark.parametrize("bend", CALLS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_calls_keep_their_arguments(face: Face, upstream: Upstream, bend: str, stream: bool) -> None:
    if "taking turns" in bend and face.dialect == upstream.dialect == "openai_chat" and stream:
        pytest.skip("in its own dialect an answer passes as it is, and the SDK's helper cannot read this one")
    upstream.always(**CALLS[bend])
    got = face.ask(TWO_CALLS, model=upstream.alias, stream=stream, tools=[WEATHER, CLOCK])
    assert [(call.name, call.args) for call in got.calls] == TOLD
    assert got.stop == "tool"
    assert got.text == CALLS[bend].get("text", "")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("usage", ["absent", "zero", "every_chunk"])
def test_usage_is_always_there(face: Face, upstream: Upstream, usage: str, stream: bool) -> None:
    if usage == "absent" and face.dialect == upstream.dialect:
        pytest.skip("in its own dialect an answer passes as it is")
    upstream.always(usage=usage)
    got = face.ask("hello " * 20, model=upstream.alias, stream=stream)
    assert got.text == "mock/echo: " + "hello " * 20
    if usage != "zero":
        assert got.input >= 20 and got.output >= 20


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_refusal_is_not_an_ordinary_end(face: Face, upstream: Upstream, stream: bool) -> None:
    upstream.always(refusal="I must not.")
    if (face.dialect, upstream.dialect, stream) == ("openai_chat", "anthropic", True):
        with pytest.raises(openai.ContentFilterFinishReasonError):  # the helper's way to say it
            face.ask("do it", model=upstream.alias, stream=stream)
        return
    got: Got = face.ask("do it", model=upstream.alias, stream=stream)
    said = got.text + str(got.native.model_dump())
    assert "I must not." in said
    if face.dialect == "anthropic":
        assert got.stop == "refusal"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_redacted_thoughts_go_round(face: Face, upstream: Upstream, stream: bool) -> None:
    if upstream.dialect != "anthropic":
        pytest.skip("only Anthropic redacts")
    upstream.always(redacted=True)
    ask = [face.user('call get_weather {"city": "Rome"}')]
    got = face.ask(ask, model=upstream.alias, stream=stream, tools=[WEATHER], think="low")
    upstream.reset()
    again = [*ask, *got.turn, *face.results([(got.calls[0], "warm")])]
    got = face.ask(again, model=upstream.alias, stream=stream, tools=[WEATHER], think="low")
    assert got.text == "mock/echo: tool get_weather said: warm"
    assert b'"redacted_thinking"' in upstream.last.body


def test_reasoning_under_its_other_name(face: Face, upstreams: dict[str, Upstream]) -> None:
    upstream = upstreams["openai_chat"]
    upstream.always(reasoning="Hm.", reasoning_field="reasoning")
    got = face.ask("hello", model=upstream.alias, stream=True)
    thought = got.thinking or getattr(got.native.choices[0].message, "reasoning", "") if face.dialect == "openai_chat" else got.thinking
    assert thought == "Hm." and got.text == "mock/echo: hello"
