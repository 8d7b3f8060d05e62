"""Quirks on the wire: what a row names is renamed, dropped or clamped; every other byte passes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.providers import PROVIDERS, fitting
from penstock.core.providers.apply import apply_quirks
from penstock.core.providers.spec import NO_QUIRKS, Quirks

IN_MESSAGES = (
    "flat_text drop_in_messages rename_in_messages roles call_ids calls_think alternate bridge prefill".split()
)
FITTED = {
    fitting.deepseek: ("reasoning_effort", "thinking", "tool_choice"),
    fitting.together: ("reasoning_effort", "reasoning", "stop", "logprobs", "top_logprobs"),
}
open_body = msgspec.json.Decoder(dict[str, Raw])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = """model messages max_tokens max_completion_tokens temperature top_p stop seed user store tools tool_choice
stream stream_options logprobs top_logprobs logit_bias response_format metadata reasoning_effort brand_new"""
request_keys = st.sampled_from(KEYS.split())
bodies = st.dictionaries(request_keys, json_values)
providers = st.sampled_from([p for p in PROVIDERS.values() if p.quirks is not NO_QUIRKS])


def fitted(
    name: str, request: dict[str, Any], *, model: str = "m", drop_params: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    body = open_body.decode(json.dumps(request))
    lost = apply_quirks(body, PROVIDERS[name].quirks.of(model), drop_params)
    return json.loads(msgspec.json.encode(body)), tuple(loss.path for loss in lost)


def named(quirks: Quirks) -> set[str]:
    return {
        *quirks.rename,
        *quirks.rename.values(),
        *quirks.drop,
        *quirks.unsupported,
        *quirks.clamp,
        *quirks.values,
        *quirks.weaken,
        *(() if quirks.stream_usage else ("stream_options",)),
        *(("messages",) if any(getattr(quirks, name) for name in IN_MESSAGES) else ()),
        *(("response_format",) if quirks.no_formats else ()),
        *(() if quirks.named_choice else ("tools", "tool_choice")),
        *FITTED.get(quirks.fit, ()),
    }


@given(bodies, providers, st.booleans())
def test_what_no_quirk_names_passes_byte_for_byte(request: dict[str, Any], provider: Any, drop: bool) -> None:
    before = open_body.decode(json.dumps(request))
    after = dict(before)
    lost = apply_quirks(after, provider.quirks, drop)
    touched = named(provider.quirks)
    assert {k: bytes(v) for k, v in after.items() if k not in touched} == {
        k: bytes(v) for k, v in before.items() if k not in touched
    }
    assert {loss.path.partition(".")[0] for loss in lost} <= touched


@given(bodies, providers, st.booleans())
def test_fitting_twice_changes_nothing_more(request: dict[str, Any], provider: Any, drop: bool) -> None:
    body = open_body.decode(json.dumps(request))
    apply_quirks(body, provider.quirks, drop)
    once = {k: bytes(v) for k, v in body.items()}
    assert apply_quirks(body, provider.quirks, drop) == []
    assert {k: bytes(v) for k, v in body.items()} == once


@given(bodies)
def test_no_quirks_touch_nothing(request: dict[str, Any]) -> None:
    body = open_body.decode(json.dumps(request))
    assert apply_quirks(body, NO_QUIRKS, True) == []
    assert json.loads(msgspec.json.encode(body)) == json.loads(json.dumps(request))


@pytest.mark.parametrize("name", [n for n, p in PROVIDERS.items() if p.quirks.rename])
def test_renamed(name: str) -> None:
    for old, new in PROVIDERS[name].quirks.rename.items():
        assert fitted(name, {old: 5})[0].get(new) == 5
        assert old not in fitted(name, {old: 5})[0]
        assert fitted(name, {old: 5, new: 6})[0][new] == 6


@pytest.mark.parametrize("name", [n for n, p in PROVIDERS.items() if p.quirks.drop or p.quirks.unsupported])
def test_dropped(name: str) -> None:
    quirks = PROVIDERS[name].quirks
    request = dict.fromkeys(sorted(quirks.drop | quirks.unsupported), 1)
    kept, lost = fitted(name, request)
    assert set(kept) == quirks.unsupported and set(lost) == quirks.drop
    kept, lost = fitted(name, request, drop_params=True)
    assert not kept and set(lost) == set(request)


def test_mistral() -> None:
    request = {
        "model": "mistral-large",
        "max_completion_tokens": 9,
        "seed": 1,
        "user": "u",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tool_choice": "required",
        "messages": [
            {"role": "user", "content": "a", "name": "ann"},
            {"role": "assistant", "content": "b", "reasoning_content": "r"},
            {"role": "tool", "content": "c", "tool_call_id": "1", "name": "f"},
        ],
    }
    body, lost = fitted("mistral", request)
    assert body == {
        "model": "mistral-large",
        "max_tokens": 9,
        "random_seed": 1,
        "stream": True,
        "tool_choice": "any",
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "tool", "content": "c", "tool_call_id": "gZsdR2Aw6", "name": "f"},
        ],
    }
    assert lost == ("user", "messages.0.name", "messages.1.reasoning_content")


def test_openai_reasoning_models() -> None:
    request = {"model": "o3-mini", "max_tokens": 5, "temperature": 0.2}
    body, lost = fitted("openai", request, model="o3-mini")
    assert body == {"model": "o3-mini", "max_completion_tokens": 5, "temperature": 0.2} and lost == ()
    body, lost = fitted("openai", request, model="o3-mini", drop_params=True)
    assert body == {"model": "o3-mini", "max_completion_tokens": 5} and lost == ("temperature",)
    assert fitted("openai", request, model="gpt-4o", drop_params=True)[0] == request
    assert fitted("openai", request, model="gpt-5-chat-latest", drop_params=True)[0] == request


def test_quirks_are_about_chat() -> None:
    deepseek = PROVIDERS["deepseek"]
    assert deepseek.quirks_for("deepseek-chat", "openai_chat") is deepseek.quirks
    assert deepseek.quirks_for("deepseek-chat", "anthropic") is NO_QUIRKS
    assert PROVIDERS["openai"].quirks_for("o3", "openai_chat").rename == {"max_tokens": "max_completion_tokens"}


def test_groq_messages() -> None:
    body, lost = fitted("groq", {"messages": [{"role": "user", "name": "x", "content": "q"}], "max_tokens": 2})
    assert body == {"messages": [{"role": "user", "content": "q"}], "max_tokens": 2}
    assert lost == ("messages.0.name",)


def test_text_parts_are_joined_where_content_must_be_a_string() -> None:
    two = [{"type": "text", "text": "a"}, {"type": "text", "text": "\u2028b"}]
    image = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    cached = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
    request = {"messages": [{"role": "user", "content": content} for content in (two, image, cached, "s", None)]}
    body, lost = fitted("deepseek", request)
    assert [message["content"] for message in body["messages"]] == ["a\u2028b", image, cached, "s", None]
    assert lost == ()
    assert fitted("groq", request)[0] == request


def test_clamped_and_exchanged() -> None:
    body, lost = fitted("moonshot", {"temperature": 1.7, "tool_choice": "required"})
    assert body == {"temperature": 1.0, "tool_choice": "auto"} and lost == ("temperature", "tool_choice")
    same = {"temperature": 0.3, "tool_choice": {"type": "function", "function": {"name": "f"}}}
    assert fitted("moonshot", same) == (same, ())
    assert fitted("moonshot", {"temperature": "hot"}) == ({"temperature": "hot"}, ())


def test_streamlake_is_the_other_way_round() -> None:
    assert fitted("streamlake", {"max_tokens": 3})[0] == {"max_completion_tokens": 3}


def test_values_that_are_not_what_the_dialect_says_are_left_to_the_upstream() -> None:
    request = {"messages": 'not a list with "text" and "name"', "tool_choice": 5}
    assert fitted("mistral", request) == (request, ())
    assert fitted("sambanova", request) == (request, ())
