"""A client that leaves with the whole of its answer has been answered, whenever the upstream ends its stream."""

from __future__ import annotations

import asyncio

import pytest

from penstock.mock import Script, Step
from tests.door import HELLO, open_door
from tests.server.test_quick import request

CONFIG = """
model_list:
  - {model_name: m, litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-u}}
"""
STREAM = {**HELLO, "stream": True}


@pytest.mark.parametrize(
    ("path", "body", "end"),
    [
        ("/v1/chat/completions", STREAM, b"data: [DONE]\n\n"),
        ("/v1/messages", {**STREAM, "max_tokens": 50}, b"message_stop"),
        ("/v1/responses", {"model": "m", "input": "hello", "stream": True}, b"response.completed"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_who_leaves_with_the_whole_answer_was_answered(tmp_path, path, body, end, whole):
    async with open_door(tmp_path, CONFIG) as door:
        told = (await door.post(STREAM))[2]
        events = told.count(b"data: ")
        door.records.clear()
        # The last event but the end is that of the usage; the connection stays open behind it.
        door.mock.script = Script(default=Step(stall_after_events=events + (1 if whole else -2)))
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request(body, path=path))
        seen = b""
        while (end if whole else b"data: ") not in seen:
            seen += await asyncio.wait_for(reader.read(65536), 5)
        writer.transport.abort()
        for _ in range(200):
            await asyncio.sleep(0.01)
            if door.records:
                break
        assert [record.status for record in door.records] == [200 if whole else 499]
