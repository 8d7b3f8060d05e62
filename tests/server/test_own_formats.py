"""Providers with formats of their own, each behind the three big clients: one conversation, whole and streamed.

A row of ``ROWS`` is all that a new provider needs. The same request goes to each: a system prompt, a text and a picture, a
tool, a token limit. Back come a text and a tool call in one answer; then the call's result goes up, and a text comes
back. The vendors' own SDKs ask and read.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from penstock.mock import Step
from tests.door import Door, open_door

KEY = "sk-upstream-own-formats-31"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SYSTEM, ASKED, RESULT = "Answer like a sailor.", "The weather there?", "clear and cold"
ARGS = {"city": "Oslo", "days": 3}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
LIMIT = 4321
ANSWER = Step(text="Let me look.", tool_calls=({"name": "weather", "arguments": ARGS},))


@dataclass(frozen=True)
class Row:
    """``model``: as in a config; ``params``: what its deployment needs to reach the mock at ``{mock}``. ``dropped``:
    by client dialect, what `x-penstock-dropped` says of the request and the answer ("*": every client). ``cannot``:
    what does not arrive there: image, system, limit."""

    model: str
    params: dict[str, Any] = field(default_factory=lambda: {"api_base": "{mock}", "api_key": KEY})
    dropped: dict[str, set[str]] = field(default_factory=dict)
    cannot: frozenset[str] = frozenset()
    needs: str = ""  # a package without which its requests cannot be signed


# The SDKs' helpers of OpenAI insist on `strict`, which is OpenAI's alone.
STRICT = {"openai_chat": {"tools.0.strict"}, "openai_responses": {"tools.0.strict"}}
VERTEX = {"api_base": "{mock}", "api_key": KEY, "vertex_project": "p", "vertex_location": "europe-west4"}
DATED = {"api_base": "{mock}", "api_key": KEY, "api_version": "2025-02-01-preview"}
AWS = {"api_base": "{mock}", "api_key": KEY, "aws_region_name": "us-east-1"}
WATSONX = {"api_base": "{mock}", "token": KEY, "project_id": "p-1"}
SAP_HEADERS = {"authorization": f"Bearer {KEY}", "ai-resource-group": "default"}
SAP = {"api_base": "{mock}", "deployment_id": "d1", "extra_headers": SAP_HEADERS}
ROWS = [
    Row("anthropic/claude-sonnet-4-5"),
    Row("azure/my-deployment", DATED),
    Row("azure_ai/claude-sonnet-4-5", {"api_base": "{mock}/anthropic", "api_key": KEY}),
    Row("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", AWS),
    Row("bedrock/amazon.nova-pro-v1:0", AWS, dropped=STRICT),
    Row("cohere_chat/command-a-vision-07-2025", dropped={"openai_responses": {"store"}}),
    Row("gemini/gemini-2.5-flash", dropped=STRICT),
    Row("gemini/gemini-3-pro-preview", dropped=STRICT),
    Row("ollama/llama3.2", dropped=STRICT),
    Row("ollama_chat/llama3.2", dropped=STRICT),
    Row("sap/gpt-4o", SAP),
    Row("vertex_ai/claude-sonnet-4-5@20250929", VERTEX, needs="google.auth"),
    Row("vertex_ai/gemini-2.5-flash", VERTEX, dropped=STRICT, needs="google.auth"),
    Row("watsonx/meta-llama/llama-4-maverick-17b-128e-instruct-fp8", WATSONX),
]
CLIENTS = ("openai_chat", "openai_responses", "anthropic")


@dataclass
class Got:
    """An answer in nobody's words. ``turn``: the answer as it goes back up."""

    text: str
    calls: list[tuple[str, Any, str]]
    stop: str
    usage: tuple[int, int]
    model: str
    turn: list[Any]


class Client:
    """One conversation through an SDK. ``headers``: of the latest answer."""

    def __init__(self, url: str, stream: bool) -> None:
        self.stream = stream
        self.headers: dict[str, str] = {}
        self.turns: list[Any] = []
        self.sdk = self.open(url)

    def open(self, url: str) -> Any:
        raise NotImplementedError

    async def saw(self, response: Any) -> None:
        self.headers = dict(response.headers)

    async def ask(self) -> Got:
        raise NotImplementedError

    def answer(self, call_id: str) -> Any:
        """The turn that carries the tool's result."""
        raise NotImplementedError


class Chat(Client):
    def open(self, url: str) -> Any:
        hooks = openai.DefaultAsyncHttpxClient(event_hooks={"response": [self.saw]})
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
        self.turns = [{"role": "system", "content": SYSTEM},
                      {"role": "user", "content": [{"type": "text", "text": ASKED}, image]}]  # fmt: skip
        return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=20, http_client=hooks)

    async def ask(self) -> Got:
        tool = {"name": "weather", "description": "The weather", "parameters": SCHEMA, "strict": True}
        body: dict[str, Any] = {"model": "m", "messages": self.turns, "max_tokens": LIMIT}
        body["tools"] = [{"type": "function", "function": tool}]
        if self.stream:
            async with self.sdk.chat.completions.stream(**body, stream_options={"include_usage": True}) as events:
                made = await events.get_final_completion()
        else:
            made = await self.sdk.chat.completions.create(**body)
        (choice,) = made.choices
        message = choice.message
        calls = [(c.function.name, json.loads(c.function.arguments), c.id) for c in message.tool_calls or []]
        stop = {"tool_calls": "tool", "stop": "end"}[choice.finish_reason]
        usage = (made.usage.prompt_tokens, made.usage.completion_tokens)
        return Got(message.content or "", calls, stop, usage, made.model, [turn_of(message)])

    def answer(self, call_id: str) -> Any:
        return {"role": "tool", "tool_call_id": call_id, "content": RESULT}


def turn_of(message: Any) -> Any:
    told = message.model_dump(exclude_none=True, exclude={"parsed"})
    for call in told.get("tool_calls", ()):
        call["function"].pop("parsed_arguments", None)
    return told


class Responses(Client):
    def open(self, url: str) -> Any:
        hooks = openai.DefaultAsyncHttpxClient(event_hooks={"response": [self.saw]})
        image = {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG}"}
        self.turns = [{"role": "user", "content": [{"type": "input_text", "text": ASKED}, image]}]
        return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=20, http_client=hooks)

    async def ask(self) -> Got:
        tool = {"type": "function", "name": "weather", "description": "The weather", "parameters": SCHEMA, "strict": True}
        body: dict[str, Any] = {"model": "m", "input": self.turns, "max_output_tokens": LIMIT, "tools": [tool]}
        body |= {"instructions": SYSTEM, "store": False}
        if self.stream:
            async with self.sdk.responses.stream(**body) as events:
                made = await events.get_final_response()
        else:
            made = await self.sdk.responses.create(**body)
        calls = [(i.name, json.loads(i.arguments), i.call_id) for i in made.output if i.type == "function_call"]
        assert made.status == "completed"
        turn = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in made.output]
        for item in turn:
            for part in item.get("content", ()):
                part.pop("parsed", None)
        usage = (made.usage.input_tokens, made.usage.output_tokens)
        return Got(made.output_text, calls, "tool" if calls else "end", usage, made.model, turn)

    def answer(self, call_id: str) -> Any:
        return {"type": "function_call_output", "call_id": call_id, "output": RESULT}


class Messages(Client):
    def open(self, url: str) -> Any:
        hooks = anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [self.saw]})
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
        self.turns = [{"role": "user", "content": [{"type": "text", "text": ASKED}, image]}]
        return anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0, timeout=20, http_client=hooks)

    async def ask(self) -> Got:
        tool = {"name": "weather", "description": "The weather", "input_schema": SCHEMA}
        body: dict[str, Any] = {"model": "m", "system": SYSTEM, "messages": self.turns, "max_tokens": LIMIT, "tools": [tool]}
        if self.stream:
            async with self.sdk.messages.stream(**body) as events:
                made = await events.get_final_message()
        else:
            made = await self.sdk.messages.create(**body)
        text = "".join(block.text for block in made.content if block.type == "text")
        calls = [(block.name, block.input, block.id) for block in made.content if block.type == "tool_use"]
        stop = {"tool_use": "tool", "end_turn": "end"}[made.stop_reason]
        turn = {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in made.content]}
        return Got(text, calls, stop, (made.usage.input_tokens, made.usage.output_tokens), made.model, [turn])

    def answer(self, call_id: str) -> Any:
        return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": RESULT}]}


OPENED: dict[str, Callable[[str, bool], Client]] = dict(zip(CLIENTS, (Chat, Responses, Messages), strict=True))


@asynccontextmanager
async def behind(row: Row, tmp_path: Path) -> AsyncIterator[Door]:
    if row.needs:
        pytest.importorskip(row.needs)
    params = {"model": row.model, **row.params}
    yaml = {"model_list": [{"model_name": "m", "litellm_params": params}], "router_settings": {"num_retries": 0}}
    async with open_door(tmp_path, json.dumps(yaml)) as door:
        yield door


def said(client: Client, row: Row, dialect: str) -> None:
    """What was left out, to the name. A stream's head goes out before its answer is known."""
    # What an answer says of its backend (a fingerprint, a version) has no field elsewhere: of no weight.
    told = {path for path in client.headers.get("x-penstock-dropped", "").split(",") if path}
    expected = row.dropped.get(dialect, set()) | row.dropped.get("*", set())
    if client.stream:
        expected = {path for path in expected if not path.startswith("choices.")}
    assert {path for path in told if not path.startswith("extra.")} == expected


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", CLIENTS)
@pytest.mark.parametrize("row", ROWS, ids=[row.model for row in ROWS])
async def test_a_conversation(row: Row, dialect: str, stream: bool, tmp_path: Path) -> None:
    async with behind(row, tmp_path) as door:
        client = OPENED[dialect](door.url, stream)
        door.mock.queue([ANSWER])
        got = await client.ask()
        (sent,) = [seen for seen in door.mock.received if seen.method == "POST"]
        body = sent.body
        for what, trace in {"image": PNG, "system": SYSTEM, "limit": str(LIMIT)}.items():
            assert (trace.encode() in body) is (what not in row.cannot), f"{what}: {body[:600]!r}"
        assert ASKED.encode() in body and b"weather" in body and b"days" in body
        assert KEY.encode() in str(sent.headers).encode(), "the deployment's key went up"
        name, args, call_id = got.calls[0]
        assert (got.text, [(name, args)], got.stop) == ("Let me look.", [("weather", ARGS)], "tool")
        assert call_id and got.model == "m" and got.usage[0] > 50 and got.usage[1] > 5
        said(client, row, dialect)

        client.turns += [*got.turn, client.answer(call_id)]
        got = await client.ask()
        assert got.text == f"mock/echo: tool weather said: {RESULT}"
        assert (got.calls, got.stop, got.model) == ([], "end", "m")
        record = door.records[-1]
        assert record.usage is not None and not record.usage.estimated and record.lane == client.headers["x-penstock-lane"]
        await client.sdk.close()
