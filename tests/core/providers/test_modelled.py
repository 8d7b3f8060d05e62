"""Rules of a model in the same lane, and a choice of tools for servers that are held to no certain one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.core.models import facts
from penstock.core.providers import PROVIDERS
from penstock.core.providers.apply import apply_quirks
from penstock.core.providers.choosing import offer_chosen
from penstock.core.providers.fitting import plain_effort
from penstock.core.providers.modelled import with_model
from penstock.core.providers.quirks import LLAMA_CPP, MAX_TOKENS
from penstock.core.providers.spec import NO_QUIRKS, Quirks

DIALECTS = ("openai_chat", "openai_responses", "anthropic", "gemini", "bedrock", "cohere", "ollama", "sap")


def edited(fields: dict[str, Any], quirks: Quirks, drop: bool) -> tuple[dict[str, Any], list[str]]:
    body = {key: Raw(json.dumps(value).encode()) for key, value in fields.items()}
    losses = apply_quirks(body, quirks, drop)
    return json.loads(msgspec.json.encode(body)), [loss.path for loss in losses]


@pytest.mark.parametrize("model", ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "mistral-large", "a-tuned-model"])
def test_a_model_without_such_rules_costs_nothing(model: str) -> None:
    for dialect in DIALECTS:
        if (model, dialect) in (("claude-sonnet-4-5", "openai_chat"), ("claude-sonnet-4-5", "sap")):
            continue  # which has one, see below
        assert with_model(NO_QUIRKS, facts(model), dialect) is NO_QUIRKS


@pytest.mark.parametrize("model", ["claude-opus-4-7", "anthropic/claude-opus-4.8", "us.anthropic.claude-sonnet-5-v1:0"])
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "openai_responses", "sap"])
@pytest.mark.parametrize(("name", "value"), [("temperature", 0.2), ("top_p", 0.5), ("top_k", 3)])
def test_sampling_of_models_that_take_none(model: str, dialect: str, name: str, value: float) -> None:
    quirks = with_model(NO_QUIRKS, facts(model), dialect)
    assert edited({"model": "m", name: value}, quirks, True) == ({"model": "m"}, [name])
    with pytest.raises(GatewayError) as caught:
        edited({"model": "m", name: value}, quirks, False)
    assert caught.value.kind == "unsupported" and caught.value.param == name
    usual: dict[str, Any] = {"model": "m", "temperature": 1, "top_p": None}
    assert edited(usual, quirks, False) == (usual, [])
    assert edited({name: value}, quirks.allowing(frozenset((name,))), True) == ({name: value}, [])


@pytest.mark.parametrize("field", [{"reasoning_effort": "low"}, {"reasoning": {"effort": "high"}},
                                   {"thinking": {"type": "enabled", "budget_tokens": 2000}}])  # fmt: skip
def test_a_claude_behind_an_openai_door(field: dict[str, Any]) -> None:
    quirks = with_model(PROVIDERS["openrouter"].quirks, facts("anthropic/claude-sonnet-4.5"), "openai_chat")
    forced = {"tools": [], "tool_choice": "required"}
    assert edited({**field, **forced}, quirks, True) == (forced, list(field))
    sampled = {"temperature": 0.2, "top_p": 0.5, "top_k": 3}
    assert edited({**field, **sampled}, quirks, True) == (field, list(sampled))
    for kept in ({**field, **forced}, {**field, **sampled}):
        assert edited(kept, quirks, False) == (kept, [])
    off: dict[str, Any] = {"reasoning_effort": "none", **forced, **sampled}
    assert edited(off, quirks, True) == (off, [])


def test_a_reasoning_model_behind_any_chat() -> None:
    quirks = with_model(NO_QUIRKS, facts("o3"), "openai_chat")
    assert edited({"max_tokens": 5, "stop": ["a"], "top_p": 0.5}, quirks, True) == (
        {"max_completion_tokens": 5},
        ["stop", "top_p"],
    )
    assert edited({"top_p": 0.5}, quirks, False) == ({"top_p": 0.5}, [])
    assert "stop" not in with_model(NO_QUIRKS, facts("o1"), "openai_chat").unsupported
    assert with_model(MAX_TOKENS, facts("gpt-5"), "openai_chat").rename == MAX_TOKENS.rename


# Forced tools ---------------------------------------------------------------------------------------------------------

FORCED_ALONE = [row.name for row in PROVIDERS.values() if not row.quirks.named_choice]
names = st.lists(st.sampled_from(["f", "g", "h", "größe"]), min_size=1, max_size=4, unique=True)


def tool(name: str, kind: str = "function") -> dict[str, Any]:
    return {"type": kind, kind: {"name": name, "description": "d", "x": 0.10}}


def test_which_rows_are_held_to_a_call_only() -> None:
    assert FORCED_ALONE == ["llama_cpp", "llamafile", "lm_studio", "docker_model_runner", "lemonade"]


@given(names, st.data(), st.sampled_from(["function", "custom"]))
def test_a_named_tool_is_offered_alone(offered: list[str], data: st.DataObject, kind: str) -> None:
    wanted = data.draw(st.sampled_from(offered))
    fields = {"tools": [tool(name, kind) for name in offered], "tool_choice": {"type": kind, kind: {"name": wanted}}}
    made, losses = edited(fields, LLAMA_CPP, False)
    assert made == {"tools": [tool(wanted, kind)], "tool_choice": "required"} and losses == []


@given(names, st.data(), st.sampled_from(["auto", "required"]))
def test_of_allowed_tools_the_others_are_not_offered(offered: list[str], data: st.DataObject, mode: str) -> None:
    wanted = data.draw(st.lists(st.sampled_from(offered), min_size=1, unique=True))
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [tool(name) for name in wanted]}}
    made, _ = edited({"tools": [tool(name) for name in offered], "tool_choice": choice}, LLAMA_CPP, False)
    assert made["tools"] == [tool(name) for name in offered if name in wanted] and made["tool_choice"] == mode


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [tool("f")], "tool_choice": "auto"},
        {"tools": [tool("f")], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        {
            "tools": [tool("f")],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [tool("f"), tool("g")]}},
        },
        {"tool_choice": {"type": "function", "function": {"name": "g"}}},
        {"tools": "f", "tool_choice": {"type": "function"}},
    ],
)
def test_what_cannot_be_narrowed_is_left_for_the_upstream_to_refuse(fields: dict[str, Any]) -> None:
    assert edited(fields, LLAMA_CPP, False) == (fields, [])


def test_the_bytes_of_a_tool_stay() -> None:
    raw = b'{"type":"function", "function":{"name":"f","parameters":{"n":0.10}}}'
    fields = {"tools": Raw(b"[" + raw + b',{"type":"function","function":{"name":"g"}}]')}
    fields["tool_choice"] = Raw(b'{"type":"function","function":{"name":"f"}}')
    offer_chosen(fields)
    assert bytes(fields["tools"]) == b"[" + raw + b"]"


@pytest.mark.parametrize(
    ("told", "left", "lost"),
    [
        ({"effort": "low"}, {"reasoning_effort": "low"}, []),
        ({"effort": "low", "summary": "auto"}, {"reasoning_effort": "low"}, ["reasoning_effort.summary"]),
        ({"summary": "auto"}, {}, ["reasoning_effort.summary"]),
        ("low", {"reasoning_effort": "low"}, []),
    ],
)
def test_an_effort_may_be_an_object(told: Any, left: dict[str, Any], lost: list[str]) -> None:
    fields = {"reasoning_effort": Raw(json.dumps(told).encode())}
    assert [loss.path for loss in plain_effort(fields)] == lost
    assert json.loads(msgspec.json.encode(fields)) == left
