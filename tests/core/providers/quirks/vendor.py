"""One vendor behind a gateway: the mock stands in for it, and says what the vendor's API says where a test scripts it.

`chat` and `messages` ask as a Chat and as a Messages client do; what they give back knows the request on the wire and
the answer in the client's own dialect, whole or streamed.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.mock import Mock, Step
from tests.door import Door, open_door

TOOL = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}
CHAT_TOOLS = [{"type": "function", "function": TOOL}]
MESSAGES_TOOLS = [{"name": "look", "description": "Looks.", "input_schema": TOOL["parameters"]}]


class Asked:
    """A finished exchange. `wire`: the JSON that the vendor got. `events`: of a streamed answer, each as JSON."""

    def __init__(self, wire: Any, path: str, status: int, headers: dict[str, str], raw: bytes) -> None:
        self.wire, self.path, self.status, self.headers, self.raw = wire, path, status, headers, raw
        self.streamed = "event-stream" in headers.get("content-type", "")
        lines = [line[6:] for line in raw.decode().split("\n") if line.startswith("data: ")]
        self.done = "[DONE]" in lines
        self.events = [json.loads(line) for line in lines if line != "[DONE]"] if self.streamed else []
        self.body = {} if self.streamed else json.loads(raw)

    @property
    def dropped(self) -> list[str]:
        """What the gateway says it left out."""
        told = self.headers.get("x-penstock-dropped", "")
        return told.split(",") if told else []

    def deltas(self, key: str) -> list[Any]:
        """What a Chat stream's deltas carry under `key`, empty ones left out."""
        choices = [choice for event in self.events for choice in event.get("choices", [])]
        return [choice["delta"][key] for choice in choices if choice.get("delta", {}).get(key)]

    def message_deltas(self, kind: str) -> str:
        """The text of a Messages stream's deltas of one kind: text, thinking, partial_json."""
        deltas = [event["delta"] for event in self.events if event.get("type") == "content_block_delta"]
        return "".join(delta[kind] for delta in deltas if kind in delta)

    @property
    def blocks(self) -> dict[str, Any]:
        """A Messages answer's content blocks by type (the last of each)."""
        return {block["type"]: block for block in self.body["content"]}

    @property
    def message(self) -> Any:
        """A Chat answer's first message."""
        return self.body["choices"][0]["message"]


class Vendor:
    def __init__(self, door: Door) -> None:
        self.door = door

    @property
    def mock(self) -> Mock:
        return self.door.mock

    def answers(self, *steps: Step) -> None:
        """What the vendor says to the next requests."""
        self.mock.queue(list(steps))

    async def chat(self, text: str = "hi", **fields: Any) -> Asked:
        """A Chat request. `messages` replaces the one of the user that `text` makes."""
        return await self._ask("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **fields})

    async def messages(self, text: str = "hi", **fields: Any) -> Asked:
        """A Messages request."""
        body = {"max_tokens": 5000, "messages": [{"role": "user", "content": text}], **fields}
        return await self._ask("/v1/messages", body, anthropic_version="2023-06-01")

    async def _ask(self, path: str, body: dict[str, Any], **headers: str) -> Asked:
        before = len(self.mock.received)
        status, answered, raw = await self.door.post({"model": "m", **body}, path, **headers)
        seen = self.mock.received[-1] if len(self.mock.received) > before else None
        return Asked(seen.json if seen else None, seen.path if seen else "", status, answered, raw)


@asynccontextmanager
async def vendor(tmp_path: Path, model: str, **params: Any):
    """A deployment `m` of `model`, e.g. `groq/llama-3.3-70b-versatile`; `params` go into its litellm_params."""
    own = {"model": model, "api_base": "{mock}/v1", "api_key": "sk-of-the-vendor", **params}
    yaml = json.dumps(
        {"model_list": [{"model_name": "m", "litellm_params": own}], "router_settings": {"num_retries": 0}}
    )
    async with open_door(tmp_path, yaml) as door:
        yield Vendor(door)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A Chat chunk with one choice; `more` stands beside the choices."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    made = {"id": "c-1", "object": "chat.completion.chunk", "created": 1767225600, "model": "real-model"}
    return {**made, "choices": [choice], **more}


def stream(*events: Any, done: bool = True, **step: Any) -> Step:
    """A vendor's stream: chunks as JSON, comments and anything else as text."""
    lines = [event if isinstance(event, str) else f"data: {json.dumps(event, separators=(',', ':'))}" for event in events]
    body = "".join(f"{line}\n\n" for line in [*lines, *(["data: [DONE]"] if done else [])])
    return Step(body=body, headers={"content-type": "text/event-stream"}, **step)


def whole(message: dict[str, Any], finish: str = "stop", choice: dict[str, Any] | None = None, **more: Any) -> Step:
    """A vendor's whole answer with one choice."""
    own = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **(choice or {})}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    made = {"id": "c-1", "object": "chat.completion", "created": 1767225600, "model": "real-model"}
    return Step(body={**made, "choices": [own], "usage": usage, **more})


def called(id: str, result: str = "seen", **more: Any) -> list[dict[str, Any]]:
    """A Chat history in which the model called the tool `look` and got a result; `more` stands on its message."""
    call = {"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": None, "tool_calls": [call], **more},
        {"role": "tool", "tool_call_id": id, "content": result},
    ]
