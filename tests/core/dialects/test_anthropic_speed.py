"""A coding agent's body, about 100 KB with 24 tools, and single stream events: read and written within a budget.

The budgets are several times what was measured on an idle core, so that a busy machine does not fail them and a
quadratic slip does. The body has the shape that Claude Code 2.1 was seen to send, not its words.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from typing import Any

from penstock.core import envelope, sse
from penstock.core.dialects import anthropic as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.ir import CacheMark, Delta, Open, Reasoning, Start, Text, ToolResult, ToolUse

EPHEMERAL = {"type": "ephemeral"}


def words(count: int) -> str:
    return "lorem ipsum dolor sit amet " * (count // 27)


def agent_body(turns: int = 10) -> bytes:
    """System in three blocks, 24 tools, thinking, cache marks, calls and results, a system turn in the middle."""
    properties = {f"p{number}": {"type": "string", "description": words(80)} for number in range(6)}
    schema = {"type": "object", "properties": properties, "required": ["p0"], "additionalProperties": False}
    tools = [{"name": f"Tool{n}", "description": words(1800), "input_schema": schema} for n in range(24)]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": words(500)}, {"type": "text", "text": "Say hi"}]},
        {"role": "system", "content": words(800)},
    ]
    for number in range(turns):
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": "Tool1", "input": {"p0": words(100)}}
        thought = {"type": "thinking", "thinking": words(200), "signature": "Eq" * 100}
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": words(1500)}
        if number == turns - 1:
            result["cache_control"] = EPHEMERAL
        messages.append({"role": "assistant", "content": [thought, {"type": "text", "text": "Now"}, call]})
        messages.append({"role": "user", "content": [result]})
    body = {
        "model": "claude-opus-4-8",
        "messages": messages,
        "system": [
            {"type": "text", "text": words(80)},
            {"type": "text", "text": words(200), "cache_control": EPHEMERAL},
            {"type": "text", "text": words(12000), "cache_control": EPHEMERAL},
        ],
        "tools": tools,
        "metadata": {"user_id": '{"device_id":"0","session_id":"1"}'},
        "max_tokens": 64000,
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": True,
    }
    return json.dumps(body, separators=(",", ":")).encode()


def microseconds(work: Callable[[], object], number: int) -> float:
    return min(timeit.repeat(work, number=number, repeat=5)) / number * 1e6


def test_an_agents_body_is_understood_and_goes_back_as_it_came() -> None:
    raw = agent_body()
    assert 95_000 < len(raw) < 125_000
    request = dialect.parse_request(envelope.open_body(raw))
    assert len(request.tools) == 24 and request.reasoning == Reasoning(effort="high", mode="adaptive")
    assert [message.role for message in request.messages[:3]] == ["system", "user", "system"]
    assert isinstance(request.messages[3].blocks[2], ToolUse)
    result = request.messages[-1].blocks[0]
    assert isinstance(result, ToolResult) and result.cache == CacheMark()
    rendered = dialect.render_request(request, Wire(model=request.model, family="anthropic"))
    assert rendered.losses == () and json.loads(envelope.seal(rendered.fields)) == json.loads(raw)


def test_an_agents_body_is_read_and_written_fast() -> None:
    fields = envelope.open_body(agent_body())
    request = dialect.parse_request(fields)
    wire = Wire(model="m", family="anthropic")
    assert microseconds(lambda: dialect.parse_request(fields), 20) < 1000
    assert microseconds(lambda: dialect.render_request(request, wire), 20) < 1500


def test_a_stream_event_is_read_and_written_fast() -> None:
    decoder = dialect.decoder()
    decoder.feed(sse.Event(b"", b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'))
    step = sse.Event(b"", b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" hello"}}')
    encoder = dialect.encoder(View(model="m"))
    encoder.feed(Start("msg_1", "m"))
    encoder.feed(Open(0, Text("")))
    delta = Delta(0, " hello")
    assert microseconds(lambda: decoder.feed(step), 2000) < 10
    assert microseconds(lambda: encoder.feed(delta), 2000) < 5
