"""``cache_control_injection_points``: where a deployment has its prompts cached."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.caching import MOST, _marks, mark_points, read_points, usual_points
from penstock.core.dialects import DIALECTS, EDITORS
from penstock.core.dialects.base import Wire
from penstock.core.ir import Message, Request, Text, Thinking, Tool
from penstock.runtime.same import same_request
from tests.laws.strategies import requests
from tests.runtime.made import attempt_of, call_of, target_of

TALK = (
    Message("system", (Text("a"), Text("b"))),
    Message("user", (Text("c"),)),
    Message("assistant", (Text("d"), Thinking("e"))),
    Message("user", (Text("f"),)),
)


def marked(points: list[Any], **fields: Any) -> list[str]:
    request = mark_points(Request(model="m", messages=TALK, **fields), read_points(points))
    found = [
        b.text + (b.cache.ttl if b.cache else "")
        for m in request.messages
        for b in m.blocks
        if getattr(b, "cache", None)
    ]
    return found + [tool.name for tool in request.tools if tool.cache]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([{"location": "message", "role": "system"}], ["b"]),
        ([{"location": "message", "role": "user"}], ["c", "f"]),
        ([{"location": "message", "index": -1}], ["f"]),
        ([{"location": "message", "index": "-2"}], ["d"]),
        ([{"location": "message", "index": 1, "control": {"type": "ephemeral", "ttl": "1h"}}], ["c1h"]),
        ([{"location": "message", "index": 9}, {"location": "message", "index": -9}], []),
        ([{"location": "tool_config"}], ["g"]),
        (["nonsense", {}, {"role": 5}, {"index": "x"}, {"control": 1, "role": "system"}], ["b"]),
    ],
)
def test_the_points(points: list[Any], expected: list[str]) -> None:
    assert marked(points, tools=(Tool("f"), Tool("g"))) == expected


@given(requests())
def test_never_more_than_the_vendor_takes_and_nothing_but_marks(request: Request) -> None:
    points = read_points([{"role": role} for role in ("system", "user", "assistant")] + [{"location": "tool_config"}])
    made = mark_points(request, points)
    assert _marks(made) <= max(MOST, _marks(request)) and _marks(made) >= _marks(request)
    assert mark_points(made, points) == made or _marks(made) < MOST
    assert len(made.messages) == len(request.messages) and made.model == request.model


def test_they_reach_claude_and_nobody_who_would_refuse_them(tmp_path: Any) -> None:
    from penstock.core.dialects import DIALECTS
    from penstock.core.providers.spec import NO_QUIRKS
    from penstock.runtime.cross import cross_request

    points = [{"location": "message", "role": "system"}]
    body = {"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]}
    claude = target_of(
        tmp_path, model="anthropic/claude-sonnet-4-5", api_key="k", cache_control_injection_points=points
    )
    sent = json.loads(cross_request(attempt_of(call_of(body), claude), NO_QUIRKS, DIALECTS["anthropic"]))
    assert sent["system"] == [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]
    other = target_of(tmp_path, model="gemini/gemini-3-pro", api_key="k", cache_control_injection_points=points)
    attempt = attempt_of(call_of(body), other)
    assert b"cache" not in cross_request(attempt, NO_QUIRKS, DIALECTS["gemini"]) and attempt.losses == ()


# In one dialect -------------------------------------------------------------------------------------------------------

POINT = st.one_of(
    st.builds(lambda role: {"location": "message", "role": role}, st.sampled_from(["system", "user", "assistant"])),
    st.builds(lambda index: {"location": "message", "index": index}, st.integers(-4, 4)),
    st.just({"location": "tool_config"}),
)
POINTS = st.lists(
    st.builds(lambda one, ttl: {**one, "control": {"ttl": ttl}}, POINT, st.sampled_from(["", "1h"])), max_size=3
)
WIRES = {
    "anthropic": Wire(model="m", family="anthropic", official=True),
    "openai_chat": Wire(model="m", cache_marks=True),
}


@pytest.mark.parametrize("dialect", WIRES)
@given(request=requests(wild=False, opaque=()), given_points=POINTS, shy=st.booleans())
def test_marking_a_request_s_own_fields_is_marking_what_they_mean(dialect, request, given_points, shy):
    """One rule in both lanes: what goes out marked reads as the neutral request that is marked."""
    spoken = DIALECTS[dialect]
    points = usual_points("1h") if shy else read_points(given_points)
    fields = spoken.render_request(request, WIRES[dialect]).fields
    assume(json.loads(bytes(fields["messages"])))
    before = spoken.parse_request(fields)
    if before.messages and before.messages[0].role == "system" and not before.messages[0].blocks:
        return
    marked = dict(fields)
    mark_cache = EDITORS[dialect].mark_cache
    assert mark_cache is not None
    mark_cache(marked, points)
    assert spoken.parse_request(marked) == mark_points(before, points)
    assert marked.keys() == fields.keys()
    touched = {key for key in fields if marked[key] is not fields[key]}
    assert touched <= {"system", "messages", "tools"}


@pytest.mark.parametrize("dialect", WIRES)
@pytest.mark.parametrize(
    "fields",
    [
        {}, {"messages": "hi"}, {"messages": [1]}, {"messages": [{}]}, {"messages": [{"role": 1, "content": "x"}]},
        {"messages": [{"role": "user"}]}, {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, {"messages": [], "tools": 5},
        {"messages": [{"role": "user", "content": " "}]}, {"messages": [{"role": "user", "content": [[]]}]},
    ],
)  # fmt: skip
def test_what_is_not_of_the_dialect_is_left_for_the_vendor_to_refuse(dialect, fields):
    raw = {key: Raw(json.dumps(value).encode()) for key, value in fields.items()}
    before = dict(raw)
    mark_cache = EDITORS[dialect].mark_cache
    assert mark_cache is not None
    mark_cache(raw, read_points([{"role": "user"}, {"role": "system"}, {"index": 0}, {"location": "tool_config"}]))
    assert raw == before


def test_a_mark_of_the_client_s_stays_and_counts():
    mark_cache = EDITORS["anthropic"].mark_cache
    assert mark_cache is not None
    own = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body: dict[str, Any] = {"system": [own], "messages": [{"role": "user", "content": [own]} for _ in range(3)]}
    raw = {key: Raw(json.dumps(value).encode()) for key, value in body.items()}
    raw["messages"] = Raw(bytes(raw["messages"])[:-1] + b',{"role":"user","content":"last"}]')
    mark_cache(raw, read_points([{"index": -1}]))
    assert bytes(raw["messages"]).count(b"cache_control") == 3, "four are there already"
    short = {"messages": Raw(b'[{"role":"user","content":"x"}]'), "cache_control": Raw(b'{"type":"ephemeral"}')}
    mark_cache(short, usual_points(""))
    assert b"cache_control" not in bytes(short["messages"]), "the client lets the vendor choose the place"


LANES = [
    ("anthropic/claude-sonnet-4-5", {}, True),
    ("openrouter/anthropic/claude-sonnet-4.5", {}, True),
    ("openai/gpt-4o", {}, False),
    ("hosted_vllm/qwen", {"api_base": "http://127.0.0.1:9"}, False),
]


@pytest.mark.parametrize(("model", "params", "takes"), LANES)
def test_the_lane_of_one_dialect_marks_where_the_target_takes_marks(model, params, takes, tmp_path):
    points = [{"location": "message", "role": "system"}, {"location": "message", "index": -1}]
    target = target_of(tmp_path, model=model, api_key="k", cache_control_injection_points=points, **params)
    dialect = target.dialects[0]
    body: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    if dialect == "anthropic":
        body["system"] = "s"
    else:
        body["messages"].insert(0, {"role": "system", "content": "s"})
    call = call_of(body)
    attempt = attempt_of(call, target)
    sent = same_request(attempt, call.fields, target.endpoint(dialect).quirks, dialect)
    assert sent.count(b'"cache_control":{"type":"ephemeral"}') == (2 if takes else 0)
    assert b"cache_control" not in msgspec.json.encode(call.fields), "the client's request is for other targets, too"


@pytest.mark.parametrize(
    ("settings", "model", "marks"),
    [
        ("enable_anthropic_prompt_caching: true", "anthropic/claude-sonnet-4-5", ["", ""]),
        (
            "enable_anthropic_prompt_caching: true, anthropic_prompt_caching_ttl: 1h",
            "bedrock/anthropic.claude-3",
            ["1h", "1h"],
        ),
        ("enable_anthropic_prompt_caching: true", "openai/gpt-4o", []),
        ("enable_anthropic_prompt_caching: false", "anthropic/claude-sonnet-4-5", []),
        ("drop_params: true", "anthropic/claude-sonnet-4-5", []),
    ],
)
def test_all_of_claude_s_prompts_are_cached_where_the_config_says_so(settings, model, marks, tmp_path):
    target = target_of(tmp_path, settings=f"litellm_settings: {{{settings}}}", model=model, api_key="k")
    assert [point.mark.ttl for point in target.cache_points] == marks
    assert all(point.shy for point in target.cache_points)
    own = [{"location": "tool_config"}]
    other = target_of(
        tmp_path, settings=f"litellm_settings: {{{settings}}}", model=model, cache_control_injection_points=own
    )
    assert other.cache_points == read_points(own)
