"""``cache_control_injection_points``: where a deployment has its prompts cached."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from penstock.core.caching import MOST, _marks, mark_points, read_points
from penstock.core.ir import Message, Request, Text, Thinking, Tool
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
