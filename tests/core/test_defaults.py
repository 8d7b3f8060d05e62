"""A deployment's parameters, laid under requests: what is read, what wins, what is left out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from penstock.core.defaults import (
    drop_fields,
    lay_body,
    lay_in,
    lay_under,
    lay_words,
    leave_out,
    losses_of,
    of_said,
    read_said,
)
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Wire
from penstock.core.fit import Takes, limits_of
from penstock.core.ir import Loss, Message, Reasoning, Request, Text
from penstock.core.models import facts
from penstock.core.paths import LONGEST, steps_of

WIRE = Wire(model="m", max_tokens=4096)


def takes(dialect: str, model: str = "m") -> Takes:
    """What a target of a dialect takes, by the rules of its model."""
    known = facts(model)
    return Takes(dialect=dialect, wire=WIRE, model=known, limits=limits_of(dialect, known))


def raws(**fields: Any) -> dict[str, Raw]:
    return {key: Raw(json.dumps(value).encode()) for key, value in fields.items()}


def told(fields: dict[str, Raw]) -> dict[str, Any]:
    return {key: json.loads(bytes(raw)) for key, raw in fields.items()}


def ask(**fields: Any) -> Request:
    return Request(model="m", messages=(Message("user", (Text("hi"),)),), **fields)


def test_what_nobody_can_read_is_left_out_and_told() -> None:
    said, wrong = read_said(raws(temperature="hot", max_tokens=5, tool_choice="some", top_p=None))
    assert said is not None and said.values == {"max_tokens": 5}
    assert sorted(wrong) == ["temperature", "tool_choice"] and "temperature" in wrong["temperature"].message
    assert read_said({}) == (None, {}) and read_said(raws(top_p=None)) == (None, {})


def test_what_the_request_says_itself_wins() -> None:
    said, _ = read_said(raws(max_completion_tokens=9, thinking={"type": "enabled", "budget_tokens": 2000}, seed=1, x=1))
    assert said is not None
    request = lay_under(ask(max_tokens=3, reasoning=Reasoning(effort="low")), said)
    assert (request.max_tokens, request.reasoning, request.seed) == (3, Reasoning(effort="low"), 1)
    assert [(one.kind, one.raw) for one in request.extra] == [("x", b"1")]
    assert lay_under(request, said) is request


def test_words_that_were_not_understood_whole_are_the_request_s_too() -> None:
    """``reasoning`` with a field that nobody knows is kept as it is as well, and must not come back beside the
    client's."""
    said, _ = read_said(raws(reasoning={"effort": "high", "new": 1}))
    assert said is not None and said.request.extra
    assert lay_under(ask(reasoning=Reasoning(effort="low")), said).extra == ()


def test_chat_s_words_are_laid_under_as_they_are() -> None:
    fields = raws(model="m", max_tokens=5, temperature=None, thinking={"type": "disabled"})
    lay_words(fields, raws(max_completion_tokens=9, temperature=0.5, reasoning_effort="high", seed=3))
    assert told(fields) == {
        "model": "m",
        "max_tokens": 5,
        "temperature": 0.5,
        "thinking": {"type": "disabled"},
        "seed": 3,
    }
    prompt = raws(model="m", prompt="x")
    lay_words(prompt, raws(max_completion_tokens=9, tools=[], stop="x"), "completions")
    assert told(prompt) == {"model": "m", "prompt": "x", "max_tokens": 9, "stop": "x"}


def test_the_body_is_laid_under_as_it_is() -> None:
    fields = raws(options={"seed": 1}, response_format={"type": "text"}, top_k=None)
    lay_body(fields, raws(options={"seed": 2, "num_ctx": 4}, response_format={"type": "x", "y": 1}, top_k=3, own=[1]))
    assert told(fields) == {
        "options": {"num_ctx": 4, "seed": 1},
        "response_format": {"type": "text"},
        "top_k": 3,
        "own": [1],
    }


def test_in_one_dialect_the_client_s_bytes_stay() -> None:
    said, _ = read_said(raws(temperature=0.5, stop="X", parallel_tool_calls=False, user="u"))
    assert said is not None
    claude = DIALECTS["anthropic"]
    tool = {"name": "f", "input_schema": {"type": "object"}, "own": 1}
    fields = raws(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}], system="s", tools=[tool, tool], new=[1]
    )
    before = told(fields)
    assert lay_in(fields, said, claude, takes("anthropic")) == ()
    assert told(fields) == {
        **before,
        "temperature": 0.5,
        "stop_sequences": ["X"],
        "metadata": {"user_id": "u"},
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    }


def test_what_cannot_stand_beside_the_client_s_own_is_told_and_not_sent() -> None:
    """Anthropic refuses a temperature beside thinking: a default would make every such request of Claude Code's a
    400."""
    said, _ = read_said(raws(temperature=0.5))
    assert said is not None
    thinking = {"type": "enabled", "budget_tokens": 1024}
    fields = raws(model="m", max_tokens=4000, messages=[{"role": "user", "content": "x"}], thinking=thinking)
    [lost] = lay_in(fields, said, DIALECTS["anthropic"], takes("anthropic", "claude-sonnet-4-5"))
    assert lost.path == "temperature" and "temperature" not in fields and told(fields)["thinking"] == thinking


def test_settings_that_stand_together_are_laid_one_by_one() -> None:
    said, _ = read_said(raws(max_tokens=50, temperature=0.5))
    assert said is not None
    fields = raws(
        contents=[{"parts": [{"text": "x"}]}], generation_config={"temperature": 0.1, "mediaResolution": "LOW"}
    )
    lay_in(fields, said, DIALECTS["gemini"], takes("gemini"))
    assert told(fields)["generation_config"] == {"temperature": 0.1, "mediaResolution": "LOW", "maxOutputTokens": 50}
    assert "generationConfig" not in fields


def test_what_can_never_be_carried() -> None:
    said, _ = read_said(raws(logit_bias={"1": 2}, tool_choice="auto", seed=3))
    assert said is not None
    assert [loss.path for loss in losses_of(said, DIALECTS["anthropic"], takes("anthropic"))] == ["seed", "logit_bias"]
    assert [loss.path for loss in losses_of(said, DIALECTS["completions"], takes("completions"))] == ["tool_choice"]
    merged = lay_under(ask(), said)
    assert of_said(Loss("seed", ""), merged, said) and not of_said(Loss("seed", ""), lay_under(ask(seed=9), said), said)
    assert not of_said(Loss("messages.0", ""), merged, said)
    odd, _ = read_said(raws(x=1))
    assert odd is not None and of_said(Loss("extra.x", ""), lay_under(ask(), odd), odd)
    assert not of_said(Loss("extra.x", ""), ask(), odd)


def test_what_is_left_out_always() -> None:
    request = ask(max_tokens=3, reasoning=Reasoning(effort="low", budget=5), temperature=1.0)
    assert leave_out(request, ("max_completion_tokens", "no_such")).max_tokens is None
    assert leave_out(request, ("reasoning_effort",)).reasoning == Reasoning(budget=5)
    assert leave_out(request, ("thinking", "reasoning_effort")).reasoning is None
    assert leave_out(request, ("seed",)) == request
    fields = raws(a=1, b={"c": [1, 2], "d": 1}, tools=[{"x": 1, "y": 2}, {"x": 3}])
    drop_fields(fields, ("a", "b.c", "tools[*].x", "tools[9].y", "nope.x"))
    assert told(fields) == {"b": {"d": 1}, "tools": [{"y": 2}, {}]}


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("a", ["a"]),
        ("a.b", ["a", "b"]),
        ("a[0].b", ["a", 0, "b"]),
        ("a[*]", ["a", -1]),
        ("", None),
        ("a[", None),
        (".a", None),
        ("a]b", None),
        ("x" * (LONGEST + 1), None),
        (".".join("a" * 30), None),
    ],
)
def test_paths(path: str, steps: list[str | int] | None) -> None:
    assert steps_of(path) == steps
