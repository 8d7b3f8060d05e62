"""What clients ask and how they read the answers, in each dialect; the gateway's own readers are judged, not used.

A lane is a client's dialect and an upstream's: `chat>messages` asks in OpenAI Chat for a target that speaks Messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

MARK_SIZE = 8  # of all marks, so that all requests have as many tokens
PREFIX = "mock/echo: "  # what the mock puts before its user's words
decode = msgspec.json.decode


def words(mark: str) -> str:
    """What the user says: the mark, and enough for a dozen events."""
    return f"{mark} one two three four five six seven eight nine ten"


class Read(NamedTuple):
    """An answer as its client understands it. ``done``: it says of itself that it is whole."""

    text: str = ""
    done: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    error: str = ""


class Dialect(NamedTuple):
    """How a client speaks. ``error`` reads the message of a refusal."""

    path: str
    body: Callable[[str, str, bool], dict[str, Any]]
    whole: Callable[[Any], Read]
    stream: Callable[[list[tuple[str, Any]]], Read]


def events(body: bytes) -> Iterator[tuple[str, Any]]:
    """The events of a stream: name and data (JSON, or the text where it is none)."""
    for block in body.split(b"\n\n"):
        name, data = "", b""
        for line in block.split(b"\n"):
            if line.startswith(b"data: "):
                data += line[6:]
            elif line.startswith(b"event: "):
                name = line[7:].decode()
        if data:
            yield name, decode(data) if data[:1] == b"{" else data.decode()


def _said(error: Any) -> str:
    return str(error.get("message") or error) if isinstance(error, Mapping) else str(error)


# Chat -----------------------------------------------------------------------------------------------------------------


def _chat_body(model: str, mark: str, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": words(mark)}]}
    return body | {"stream": True, "stream_options": {"include_usage": True}} if stream else body


def _chat_whole(data: Any) -> Read:
    if "error" in data:
        return Read(error=_said(data["error"]))
    [choice], usage = data["choices"], data["usage"]
    done = choice["finish_reason"] == "stop"
    return Read(choice["message"]["content"], done, usage["prompt_tokens"], usage["completion_tokens"])


def _chat_stream(told: list[tuple[str, Any]]) -> Read:
    text, finish, ended, usage, error = "", "", False, {}, ""
    for _, data in told:
        if data == "[DONE]":
            ended = True
            continue
        if "error" in data:
            error = _said(data["error"])
            continue
        usage = data.get("usage") or usage
        for choice in data["choices"]:
            text += choice["delta"].get("content") or ""
            finish = choice["finish_reason"] or finish
    done = ended and finish == "stop"
    return Read(text, done, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0), error)


# Messages -------------------------------------------------------------------------------------------------------------


def _messages_body(model: str, mark: str, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": words(mark)}]}
    return body | {"stream": True} if stream else body


def _messages_whole(data: Any) -> Read:
    if data["type"] == "error":
        return Read(error=_said(data["error"]))
    text = "".join(block["text"] for block in data["content"])
    return Read(text, data["stop_reason"] == "end_turn", data["usage"]["input_tokens"], data["usage"]["output_tokens"])


def _messages_stream(told: list[tuple[str, Any]]) -> Read:
    text, stop, ended, usage, error = "", "", False, {}, ""
    for _, data in told:
        kind = data["type"]
        if kind == "message_start":
            usage |= data["message"]["usage"]
        elif kind == "content_block_delta":
            text += data["delta"]["text"]
        elif kind == "message_delta":
            usage |= data["usage"]
            stop = data["delta"]["stop_reason"] or ""
        elif kind == "message_stop":
            ended = True
        elif kind == "error":
            error = _said(data["error"])
    done = ended and stop == "end_turn"
    return Read(text, done, usage.get("input_tokens", 0), usage.get("output_tokens", 0), error)


# Responses ------------------------------------------------------------------------------------------------------------


def _responses_body(model: str, mark: str, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "input": words(mark), "store": False}
    return body | {"stream": True} if stream else body


def _responses_whole(data: Any) -> Read:
    if data.get("error"):
        return Read(error=_said(data["error"]))
    text = "".join(part["text"] for item in data["output"] if item["type"] == "message" for part in item["content"])
    usage = data.get("usage") or {}
    return Read(text, data["status"] == "completed", usage.get("input_tokens", 0), usage.get("output_tokens", 0))


def _responses_stream(told: list[tuple[str, Any]]) -> Read:
    text, last, error = "", Read(), ""
    for _, data in told:
        kind = data["type"]
        if kind == "response.output_text.delta":
            text += data["delta"]
        elif kind == "response.completed":
            last = _responses_whole(data["response"])
        elif kind == "response.failed":
            error = _said(data["response"]["error"])
        elif kind == "error":
            error = _said(data.get("error") or data)
    return Read(text, last.done and last.text == text, last.tokens_in, last.tokens_out, error)


CLIENTS: Mapping[str, Dialect] = {
    "chat": Dialect("/v1/chat/completions", _chat_body, _chat_whole, _chat_stream),
    "messages": Dialect("/v1/messages", _messages_body, _messages_whole, _messages_stream),
    "responses": Dialect("/v1/responses", _responses_body, _responses_whole, _responses_stream),
}
# An upstream's dialect: the provider by which the config names it, and what its address ends with.
UPSTREAMS: Mapping[str, tuple[str, str]] = {
    "chat": ("openai", "/v1"),
    "messages": ("anthropic", ""),
    "gemini": ("gemini", ""),
    "ollama": ("ollama_chat", ""),
}


class Lane(NamedTuple):
    """Which client asks which upstream, and how. ``same``: the answer's bytes pass as they are."""

    client: str
    upstream: str
    stream: bool

    @property
    def same(self) -> bool:
        return self.client == self.upstream

    def request(self, model: str, mark: str, host: str, key: str) -> bytes:
        """The whole request, head and body."""
        dialect = CLIENTS[self.client]
        body = json.dumps(dialect.body(model, mark, self.stream)).encode()
        head = (
            f"POST {dialect.path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {key}\r\nanthropic-version: 2023-06-01\r\nx-request-id: {mark}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def read(self, status: int, body: bytes) -> Read:
        """What the client understands; an answer that is none of its dialect is a ``Read`` with that as its error."""
        dialect = CLIENTS[self.client]
        try:
            if self.stream and status == 200:
                return dialect.stream(list(events(body)))
            return dialect.whole(decode(body))
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            return Read(error=f"NOT READABLE ({type(exc).__name__}: {exc}): {body[:200]!r}")


LANES = tuple(
    Lane(client, upstream, stream)
    for client, upstream in (
        ("chat", "chat"), ("messages", "messages"), ("chat", "messages"), ("messages", "chat"), ("responses", "chat"),
        ("chat", "gemini"), ("messages", "ollama"),
    )
    for stream in (False, True)
)  # fmt: skip
