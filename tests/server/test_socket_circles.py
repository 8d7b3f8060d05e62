"""No way in which a WebSocket can end leaves a circle of references."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.door import open_door
from tests.server.test_circles import left_by, nothing_else_is_looked_at
from tests.server.test_responses_sockets import ask
from tests.server.test_sockets import KEY, dial, hear

__all__ = ["nothing_else_is_looked_at"]
YAML = """
model_list:
  - model_name: voice
    litellm_params: {model: openai/gpt-realtime, api_base: "{mock}/v1", api_key: sk-upstream-secret}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: sk-upstream-secret}
router_settings: {num_retries: 0}
"""
Way = Callable[[Any], Awaitable[None]]


def realtime(*sent: dict[str, Any], drop: bool = False) -> Way:
    async def way(door: Any) -> None:
        async with dial(door) as client:
            await hear(client, "session.created")
            for message in sent:
                await client.send(json.dumps(message))
                if message["type"] == "response.create":
                    await hear(client, "response.done")
            if drop:
                client.transport.abort()
            elif sent and sent[-1]["type"].startswith("mock."):
                with suppress(ConnectionClosed):
                    while True:
                        await asyncio.wait_for(client.recv(), 5)
        await door.settle()

    return way


def refused(path: str, key: str = KEY) -> Way:
    async def way(door: Any) -> None:
        with suppress(InvalidStatus):
            async with dial(door, path, key):
                raise AssertionError
        await door.settle()

    return way


def responses(model: str, drop: bool = False) -> Way:
    async def way(door: Any) -> None:
        async with dial(door, "/v1/responses") as client:
            await ask(client, model=model, input="hello")
            if drop:
                await client.send(json.dumps({"type": "response.create", "model": model, "input": "hello"}))
                client.transport.abort()
        await door.settle()

    return way


WAYS = {
    "a session that its client closes": realtime({"type": "response.create"}),
    "a session that its upstream closes": realtime({"type": "mock.close"}),
    "a session that its upstream drops": realtime({"type": "mock.drop"}),
    "a session that its client drops": realtime(drop=True),
    "a wrong key": refused("/v1/realtime?model=voice", "sk-wrong-0123456789"),
    "no such socket": refused("/v1/other"),
    "a model without one": refused("/v1/realtime?model=claude"),
    "responses over a socket": responses("voice"),
    "responses over HTTP": responses("claude"),
    "responses whose client leaves": responses("claude", drop=True),
}


@pytest.mark.parametrize("name", WAYS)
async def test_nothing_is_left_for_the_collector(name, tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        await left_by(WAYS[name], door)
        gc.disable()
        try:
            left = await left_by(WAYS[name], door)
        finally:
            gc.enable()
        assert not {kind: count for kind, count in left.items() if kind != "MockSocket"}, left
