"""The same-dialect lane: an event whose JSON came over several data lines leaves on one."""

from __future__ import annotations

import pytest
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects import EDITORS

EVENTS = {
    "openai_chat": b'data: {"id":"c","object":"chat.completion.chunk","model":"x",\ndata: "choices":[]}\n\n',
    "openai_responses": b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",\ndata: "delta":"a"}\n\n',
    "anthropic": b'event: message_start\ndata: {"type":"message_start",\ndata: "message":{"model":"x"}}\n\n',
}


@pytest.mark.parametrize("dialect", EVENTS)
def test_data_of_several_lines_leaves_on_one(dialect: str) -> None:
    stream = EDITORS[dialect].Stream(Raw(b'"m"'), True)
    (event,) = sse.Decoder().feed(EVENTS[dialect])
    assert b"\n" in event[1]
    out = stream.feed(event)
    assert out.endswith(b"\n\n")
    lines = out[:-2].split(b"\n")
    assert [line for line in lines if not line.startswith((b"event: ", b"data: "))] == []
    assert len([line for line in lines if line.startswith(b"data: ")]) == 1
