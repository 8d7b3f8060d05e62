"""One face over three SDK dialects: the same question to the official Python clients, the same kind of answer back.

A face builds what its SDK wants (messages, tools, media, schemas), asks whole or through the SDK's own stream helper,
and reads the SDK's final object. Nothing here knows the gateway: what an SDK cannot do, a face cannot ask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
from pydantic import BaseModel

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjEKMSAwIG9iajw8L1R5cGUvQ2F0YWxvZz4+ZW5kb2JqCnRyYWlsZXI8PC9Sb290IDEgMCBSPj4KJSVFT0YK"


@dataclass(frozen=True)
class Image:
    """``url``: a public one; without it the one-pixel PNG goes along as base64."""

    url: str = ""


@dataclass(frozen=True)
class Pdf:
    name: str = "paper.pdf"


@dataclass(frozen=True)
class Tool:
    name: str
    description: str
    properties: Mapping[str, Any]

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": dict(self.properties),
            "required": list(self.properties),
            "additionalProperties": False,
        }


WEATHER = Tool("get_weather", "The weather of a city", {"city": {"type": "string"}})
CLOCK = Tool("get_time", "The time of a zone", {"zone": {"type": "string"}, "hours": {"type": "integer"}})


@dataclass(frozen=True)
class Called:
    id: str
    name: str
    args: Any


@dataclass
class Got:
    """An answer in nobody's words. ``stop``: end, length, tool, stop_sequence, refusal, filter. ``turn``: the answer as
    the client would send it back in its next request."""

    text: str
    stop: str
    model: str
    native: Any
    turn: list[Any]
    calls: list[Called] = field(default_factory=list)
    thinking: str = ""
    parsed: Any = None
    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    deltas: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def lane(self) -> str:
        return self.headers.get("x-penstock-lane", "")

    @property
    def dropped(self) -> list[str]:
        told = self.headers.get("x-penstock-dropped", "")
        return told.split(",") if told else []


class Face:
    """``dialect``: the client's. ``can_stop``: its API has stop sequences."""

    dialect = ""
    can_stop = True
    errors: Any = None

    def __init__(self, url: str, key: str, **options: Any) -> None:
        self.statuses: list[int] = []
        self.headers: Mapping[str, str] = {}
        self.client = self.open(url, key, {"max_retries": 0, "timeout": 30, **options})

    def open(self, url: str, key: str, options: dict[str, Any]) -> Any:
        raise AssertionError("a face opens its own client")

    def saw(self, response: Any) -> None:
        self.statuses.append(response.status_code)
        self.headers = dict(response.headers)

    def close(self) -> None:
        self.client.close()

    def user(self, text: str, *media: Image | Pdf) -> Any:
        raise AssertionError

    def results(self, answers: Sequence[tuple[Called, str]]) -> list[Any]:
        raise AssertionError

    def ask(self, messages: str | list[Any], **more: Any) -> Got:
        """``model``, ``stream``, ``system``, ``tools``, ``choice`` (auto, required, none or a tool's name),
        ``parallel``,
        ``max_tokens``, ``stop`` (a list), ``think`` (an effort), ``schema`` (a pydantic model); ``native``: fields as
        they are."""
        told = messages if isinstance(messages, list) else [self.user(messages)]
        got = self._ask(told, **more)
        got.headers = self.headers
        return got

    def _ask(self, messages: list[Any], **more: Any) -> Got:
        raise AssertionError


def _given(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


_CHAT_STOPS = {"stop": "end", "length": "length", "tool_calls": "tool", "content_filter": "filter"}


class ChatFace(Face):
    dialect = "openai_chat"
    errors = openai

    def open(self, url: str, key: str, options: dict[str, Any]) -> Any:
        hooks = openai.DefaultHttpxClient(event_hooks={"response": [self.saw]})
        return openai.OpenAI(base_url=f"{url}/v1", api_key=key, http_client=hooks, **options)

    def user(self, text: str, *media: Image | Pdf) -> Any:
        if not media:
            return {"role": "user", "content": text}
        parts: list[Any] = [{"type": "text", "text": text}]
        for thing in media:
            if isinstance(thing, Pdf):
                file = {"filename": thing.name, "file_data": f"data:application/pdf;base64,{PDF}"}
                parts.append({"type": "file", "file": file})
            else:
                parts.append({"type": "image_url", "image_url": {"url": thing.url or f"data:image/png;base64,{PNG}"}})
        return {"role": "user", "content": parts}

    def results(self, answers: Sequence[tuple[Called, str]]) -> list[Any]:
        return [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in answers]

    def tool(self, tool: Tool) -> Any:
        inner = {"name": tool.name, "description": tool.description, "parameters": tool.schema, "strict": True}
        return {"type": "function", "function": inner}

    def _ask(
        self,
        messages: list[Any],
        *,
        model: str,
        stream: bool = False,
        system: str | None = None,
        tools: Sequence[Tool] = (),
        choice: str | None = None,
        parallel: bool | None = None,
        max_tokens: int | None = None,
        stop: list[str] | None = None,
        think: str | None = None,
        schema: type[BaseModel] | None = None,
        native: Mapping[str, Any] | None = None,
    ) -> Got:
        told = [*([{"role": "system", "content": system}] if system else []), *messages]
        named = choice not in (None, "auto", "required", "none")
        fields = _given(
            model=model,
            messages=told,
            tools=[self.tool(tool) for tool in tools] or None,
            tool_choice={"type": "function", "function": {"name": choice}} if named else choice,
            parallel_tool_calls=parallel,
            max_completion_tokens=max_tokens,
            stop=stop,
            reasoning_effort=think,
        ) | dict(native or {})
        completions = self.client.chat.completions
        deltas = ""
        if stream and max_tokens is None:
            fields |= _given(response_format=schema, stream_options={"include_usage": True})
            with completions.stream(**fields) as events:
                for event in events:
                    if event.type == "content.delta":
                        deltas += event.delta
                made = events.get_final_completion()
        elif stream:
            # The helper raises for an answer that was cut: the pieces are put together here.
            return self._by_hand(completions.create(stream=True, stream_options={"include_usage": True}, **fields))
        elif schema is not None:
            made = completions.parse(response_format=schema, **fields)
        else:
            made = completions.create(**fields)
        return self._read(made, deltas)

    def _by_hand(self, chunks: Any) -> Got:
        got = Got("", "", "", None, [])
        for chunk in chunks:
            got.model = chunk.model
            if chunk.usage is not None:
                self._usage(got, chunk.usage)
            for choice in chunk.choices:
                got.text += choice.delta.content or ""
                got.stop = _CHAT_STOPS.get(choice.finish_reason or "", got.stop)
        got.deltas = got.text
        return got

    def _read(self, made: Any, deltas: str) -> Got:
        message = made.choices[0].message
        calls = [Called(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or []]
        turn = message.model_dump(exclude_none=True, exclude={"parsed", "annotations", "refusal"})
        for call in turn.get("tool_calls", []):
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        got = Got(
            text=message.content or "",
            stop=_CHAT_STOPS[made.choices[0].finish_reason],
            model=made.model,
            native=made,
            turn=[turn],
            calls=calls,
            thinking=getattr(message, "reasoning_content", None) or "",
            parsed=getattr(message, "parsed", None),
            deltas=deltas,
        )
        self._usage(got, made.usage)
        return got

    def _usage(self, got: Got, usage: Any) -> None:
        got.input, got.output = usage.prompt_tokens, usage.completion_tokens
        assert usage.total_tokens == got.input + got.output
        if usage.prompt_tokens_details is not None:
            got.cached = usage.prompt_tokens_details.cached_tokens or 0
        if usage.completion_tokens_details is not None:
            got.reasoning = usage.completion_tokens_details.reasoning_tokens or 0


class ResponsesFace(Face):
    dialect = "openai_responses"
    can_stop = False
    errors = openai
    open = ChatFace.open

    def user(self, text: str, *media: Image | Pdf) -> Any:
        if not media:
            return {"role": "user", "content": text}
        parts: list[Any] = [{"type": "input_text", "text": text}]
        for thing in media:
            if isinstance(thing, Pdf):
                data = f"data:application/pdf;base64,{PDF}"
                parts.append({"type": "input_file", "filename": thing.name, "file_data": data})
            else:
                url = thing.url or f"data:image/png;base64,{PNG}"
                parts.append({"type": "input_image", "image_url": url, "detail": "auto"})
        return {"role": "user", "content": parts}

    def results(self, answers: Sequence[tuple[Called, str]]) -> list[Any]:
        return [{"type": "function_call_output", "call_id": call.id, "output": text} for call, text in answers]

    def tool(self, tool: Tool) -> Any:
        return {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.schema,
            "strict": True,
        }

    def _ask(
        self,
        messages: list[Any],
        *,
        model: str,
        stream: bool = False,
        system: str | None = None,
        tools: Sequence[Tool] = (),
        choice: str | None = None,
        parallel: bool | None = None,
        max_tokens: int | None = None,
        stop: list[str] | None = None,
        think: str | None = None,
        schema: type[BaseModel] | None = None,
        native: Mapping[str, Any] | None = None,
    ) -> Got:
        assert stop is None, "the Responses API has no stop sequences"
        named = choice not in (None, "auto", "required", "none")
        fields = _given(
            model=model,
            input=messages,
            instructions=system,
            tools=[self.tool(tool) for tool in tools] or None,
            tool_choice={"type": "function", "name": choice} if named else choice,
            parallel_tool_calls=parallel,
            max_output_tokens=max_tokens,
            reasoning={"effort": think, "summary": "auto"} if think else None,
            include=["reasoning.encrypted_content"] if think else None,
            store=False if think else None,
            text_format=schema,
        ) | dict(native or {})
        responses = self.client.responses
        deltas = ""
        if stream:
            with responses.stream(**fields) as events:
                for event in events:
                    if event.type == "response.output_text.delta":
                        deltas += event.delta
                made = events.get_final_response() if event.type == "response.completed" else event.response
        elif schema is not None:
            made = responses.parse(**fields)
        else:
            made = responses.create(**fields)
        return self._read(made, deltas)

    def _read(self, made: Any, deltas: str) -> Got:
        calls = [Called(i.call_id, i.name, json.loads(i.arguments)) for i in made.output if i.type == "function_call"]
        thoughts = [i for i in made.output if i.type == "reasoning"]
        stop = "tool" if calls else "end"
        if made.status == "incomplete":
            stop = {"max_output_tokens": "length", "content_filter": "filter"}[made.incomplete_details.reason]
        turn = [i.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for i in made.output]
        for item in turn:
            for part in item.get("content") or []:
                part.pop("parsed", None)
        return Got(
            text=made.output_text,
            stop=stop,
            model=made.model,
            native=made,
            turn=turn,
            calls=calls,
            thinking="".join(part.text for item in thoughts for part in [*item.summary, *(item.content or [])]),
            parsed=getattr(made, "output_parsed", None),
            input=made.usage.input_tokens,
            cached=made.usage.input_tokens_details.cached_tokens,
            output=made.usage.output_tokens,
            reasoning=made.usage.output_tokens_details.reasoning_tokens,
            deltas=deltas,
        )


_MESSAGE_STOPS = {
    "end_turn": "end",
    "max_tokens": "length",
    "tool_use": "tool",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}


class MessagesFace(Face):
    dialect = "anthropic"
    errors = anthropic

    def open(self, url: str, key: str, options: dict[str, Any]) -> Any:
        hooks = anthropic.DefaultHttpxClient(event_hooks={"response": [self.saw]})
        return anthropic.Anthropic(base_url=url, api_key=key, http_client=hooks, **options)

    def user(self, text: str, *media: Image | Pdf) -> Any:
        if not media:
            return {"role": "user", "content": text}
        blocks: list[Any] = []
        for thing in media:
            if isinstance(thing, Pdf):
                source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
                blocks.append({"type": "document", "source": source, "title": thing.name})
            elif thing.url:
                blocks.append({"type": "image", "source": {"type": "url", "url": thing.url}})
            else:
                source = {"type": "base64", "media_type": "image/png", "data": PNG}
                blocks.append({"type": "image", "source": source})
        return {"role": "user", "content": [*blocks, {"type": "text", "text": text}]}

    def results(self, answers: Sequence[tuple[Called, str]]) -> list[Any]:
        blocks = [{"type": "tool_result", "tool_use_id": call.id, "content": text} for call, text in answers]
        return [{"role": "user", "content": blocks}]

    def tool(self, tool: Tool) -> Any:
        return {"name": tool.name, "description": tool.description, "input_schema": tool.schema}

    def _ask(
        self,
        messages: list[Any],
        *,
        model: str,
        stream: bool = False,
        system: str | None = None,
        tools: Sequence[Tool] = (),
        choice: str | None = None,
        parallel: bool | None = None,
        max_tokens: int | None = None,
        stop: list[str] | None = None,
        think: str | None = None,
        schema: type[BaseModel] | None = None,
        native: Mapping[str, Any] | None = None,
    ) -> Got:
        budgets = {"low": 1024, "medium": 4096, "high": 16384}
        modes = {"required": "any", "auto": "auto", "none": "none"}
        chosen: dict[str, Any] | None = None
        if choice is not None:
            chosen = {"type": modes[choice]} if choice in modes else {"type": "tool", "name": choice}
        if parallel is not None:
            chosen = {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": not parallel}
        fields = _given(
            model=model,
            messages=messages,
            system=system,
            tools=[self.tool(tool) for tool in tools] or None,
            tool_choice=chosen,
            max_tokens=max_tokens or 20000,
            stop_sequences=stop,
            thinking={"type": "enabled", "budget_tokens": budgets[think]} if think else None,
            output_format=schema,
        ) | dict(native or {})
        deltas = ""
        if stream:
            with self.client.messages.stream(**fields) as events:
                for text in events.text_stream:
                    deltas += text
                made = events.get_final_message()
        elif schema is not None:
            made = self.client.messages.parse(**fields)
        else:
            made = self.client.messages.create(**fields)
        return self._read(made, deltas)

    def _read(self, made: Any, deltas: str) -> Got:
        usage = made.usage
        read, wrote = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        details = getattr(usage, "output_tokens_details", None)
        turn = [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in made.content]
        return Got(
            text="".join(block.text for block in made.content if block.type == "text"),
            stop=_MESSAGE_STOPS[made.stop_reason],
            model=made.model,
            native=made,
            turn=[{"role": "assistant", "content": turn}],
            calls=[Called(b.id, b.name, b.input) for b in made.content if b.type == "tool_use"],
            thinking="".join(block.thinking for block in made.content if block.type == "thinking"),
            parsed=getattr(made, "parsed_output", None),
            input=usage.input_tokens + read + wrote,
            cached=read,
            output=usage.output_tokens,
            reasoning=(getattr(details, "thinking_tokens", None) or 0) if details else 0,
            deltas=deltas,
        )


FACES: dict[str, type[Face]] = {face.dialect: face for face in (ChatFace, ResponsesFace, MessagesFace)}
