"""OpenAI's own client on WebSockets through Penstock: Realtime, and Responses, with targets of every dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("websockets")

from openai import AsyncOpenAI

from tests.door import Door, open_door

KEY = "sk-openai-socket-5d21"
YAML = """
model_list:
  - model_name: voice
    litellm_params: {model: openai/gpt-realtime, api_base: "{mock}/v1", api_key: sk-upstream}
  - model_name: gpt
    litellm_params: {model: openai/gpt-5.2, api_base: "{mock}/v1", api_key: sk-upstream}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: sk-upstream}
  - model_name: gemini
    litellm_params: {model: gemini/gemini-2.5-flash, api_base: "{mock}", api_key: AIza-upstream}
  - model_name: llama
    litellm_params: {model: ollama/llama3, api_base: "{mock}"}
router_settings: {num_retries: 0}
"""


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path, YAML, master_key=KEY) as opened:
        yield opened


@pytest.fixture
async def client(door: Door) -> AsyncIterator[Any]:
    async with AsyncOpenAI(base_url=f"{door.url}/v1", api_key=KEY) as made:
        yield made


async def test_a_realtime_session(door: Door, client: Any) -> None:
    async with client.realtime.connect(model="voice") as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
        )
        await connection.response.create()
        text = ""
        async for event in connection:
            if event.type == "session.created":
                assert event.session.model == "voice"
            elif event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.done":
                assert event.response.usage.total_tokens == 30
                break
        assert text.strip() == "Hello from the mock."
    assert [message["type"] for message in door.mock.received[0].messages] == [
        "session.update",
        "conversation.item.create",
        "response.create",
    ]


@pytest.mark.parametrize("model", ["gpt", "claude", "gemini", "llama"])
async def test_responses(door: Door, client: Any, model: str) -> None:
    async with client.responses.connect() as connection:
        previous: dict[str, Any] = {}
        for turn in ("one", "two"):
            await connection.response.create(model=model, store=False, input=turn, **previous)
            kinds = []
            async for event in connection:
                kinds.append(event.type)
                if event.type in ("response.completed", "error"):
                    break
            assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
            assert "response.output_text.delta" in kinds and event.response.model == model
            previous = {"previous_response_id": event.response.id}
