"""What goes over the wire in a benchmark run: requests of a given size, and the mock upstream's answers.

Everything is built once, at import. The answers have the shape of the real APIs (OpenAI Chat Completions, Anthropic
Messages), with a fixed text, so that a relayed answer can be compared with what the upstream said.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

CHUNKS = 64
UPSTREAM_MODEL = "gpt-4o-mini-2024-07-18"
ALIAS = "bench-model"
CREATED = 1_763_600_000
WHOLE_BYTES = 700

_PROSE = (
    "A penstock is the sluice that lets water into a mill race : it opens a little , a lot , or not at all , and the "
    "wheel never sees the river . The gate in front of a language model has the same three duties , and the same one "
    "virtue : nobody should notice that it is there until the day it has to close . "
)
_WORDS = _PROSE.split()

CONTENT_PIECES = [(" " if i else "") + _WORDS[i % len(_WORDS)] for i in range(CHUNKS - 3)]
STREAM_TEXT = "".join(CONTENT_PIECES)
USAGE: dict[str, Any] = {
    "prompt_tokens": 41,
    "completion_tokens": 61,
    "total_tokens": 102,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
TOOL_CALLS = (
    ("call_mock0001", "get_weather", {"city": "Utrecht", "unit": "celsius", "days": [1, 2, 3]}),
    ("call_mock0002", "read_gauge", {"river": "Vecht", "since": "2026-11-01T00:00:00Z", "detail": {"hourly": True}}),
)
TOOL_TEXT_PIECES = 20
TOOL_TEXT = "".join(CONTENT_PIECES[:TOOL_TEXT_PIECES])


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _whole(message: dict[str, Any], finish: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-mock000000000000000000000000",
        "object": "chat.completion",
        "created": CREATED,
        "model": UPSTREAM_MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }


def _whole_text() -> str:
    """The text that makes the whole answer exactly WHOLE_BYTES long."""
    empty = len(dumps(_whole({"role": "assistant", "content": "", "refusal": None, "annotations": []}, "stop")))
    return (STREAM_TEXT * 3)[: WHOLE_BYTES - empty]


WHOLE_TEXT = _whole_text()
CHAT_WHOLE = dumps(_whole({"role": "assistant", "content": WHOLE_TEXT, "refusal": None, "annotations": []}, "stop"))
CHAT_TOOLS_WHOLE = dumps(
    _whole(
        {
            "role": "assistant",
            "content": TOOL_TEXT,
            "refusal": None,
            "tool_calls": [
                {"id": i, "type": "function", "function": {"name": n, "arguments": dumps(a).decode()}}
                for i, n, a in TOOL_CALLS
            ],
        },
        "tool_calls",
    )
)


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-mock000000000000000000000000",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": UPSTREAM_MODEL,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
    }


def _usage_chunk() -> dict[str, Any]:
    return {**_chunk({}), "choices": [], "usage": USAGE}


def _text_chunks() -> list[dict[str, Any]]:
    """Role, 61 pieces of text, finish reason, usage: 64 chunks."""
    out = [_chunk({"role": "assistant", "content": "", "refusal": None})]
    out += [_chunk({"content": piece}) for piece in CONTENT_PIECES]
    return [*out, _chunk({}, "stop"), _usage_chunk()]


def _cut(text: str, parts: int) -> list[str]:
    """`text` in exactly `parts` non-empty pieces."""
    edges = [len(text) * i // parts for i in range(parts + 1)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


def _tool_chunks() -> list[dict[str, Any]]:
    """Role, text, two parallel tool calls with arguments in pieces, finish reason, usage: 64 chunks."""
    out = [_chunk({"role": "assistant", "content": "", "refusal": None})]
    out += [_chunk({"content": piece}) for piece in CONTENT_PIECES[:TOOL_TEXT_PIECES]]
    room = CHUNKS - len(out) - 2 - len(TOOL_CALLS)
    for index, (call_id, name, arguments) in enumerate(TOOL_CALLS):
        function = {"name": name, "arguments": ""}
        out.append(_chunk({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]}))
        pieces = room // 2 + (room % 2 if index == 0 else 0)
        for piece in _cut(dumps(arguments).decode(), pieces):
            out.append(_chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    return [*out, _chunk({}, "tool_calls"), _usage_chunk()]


CHAT_STREAM = [b"data: " + dumps(c) + b"\n\n" for c in _text_chunks()]
CHAT_TOOLS_STREAM = [b"data: " + dumps(c) + b"\n\n" for c in _tool_chunks()]
CHAT_DONE = b"data: [DONE]\n\n"

ANTHROPIC_MODEL = "claude-sonnet-4-5-20250929"
_ANTHROPIC_USAGE = {
    "input_tokens": 41,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 61,
    "service_tier": "standard",
}
MESSAGES_WHOLE = dumps(
    {
        "id": "msg_mock0000000000000000000",
        "type": "message",
        "role": "assistant",
        "model": ANTHROPIC_MODEL,
        "content": [{"type": "text", "text": WHOLE_TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _ANTHROPIC_USAGE,
    }
)


def _event(name: str, **fields: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + dumps({"type": name, **fields}) + b"\n\n"


def _messages_stream() -> list[bytes]:
    start = json.loads(MESSAGES_WHOLE) | {"content": [], "stop_reason": None}
    start["usage"] = _ANTHROPIC_USAGE | {"output_tokens": 1}
    deltas = [
        _event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece}) for piece in CONTENT_PIECES
    ]
    return [
        _event("message_start", message=start),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _event("ping"),
        *deltas,
        _event("content_block_stop", index=0),
        _event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 61}),
        _event("message_stop"),
    ]


MESSAGES_STREAM = _messages_stream()

MODELS = dumps(
    {
        "object": "list",
        "data": [{"id": m, "object": "model", "created": CREATED, "owned_by": "mock"} for m in (UPSTREAM_MODEL, ALIAS)],
    }
)

_SYSTEM = "You are the assistant of a mill museum. Answer briefly and never invent a date."
_QUESTION = "What does a penstock do, and why would a gateway be named after it?"
_OPENAI_TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Mock tool {name} of the benchmark.",
            "parameters": {
                "type": "object",
                "properties": {key: {"type": "string", "description": f"The {key}."} for key in arguments},
                "required": list(arguments)[:1],
            },
        },
    }
    for _, name, arguments in TOOL_CALLS
]


def _fill(size: int, render: Any) -> bytes:
    """Grow a conversation turn by turn until `render(turns)` is exactly `size` bytes."""
    turns: list[tuple[str, str]] = [("user", _QUESTION)]
    paragraph = " ".join(_WORDS) + " "
    while len(dumps(render([*turns, ("assistant", ""), ("user", _QUESTION)]))) + 200 < size:
        spare = size - len(dumps(render([*turns, ("assistant", ""), ("user", _QUESTION)])))
        turns += [("assistant", (paragraph * 5)[: min(spare, 1500)]), ("user", _QUESTION)]
    missing = size - len(dumps(render(turns)))
    if missing < 0:
        raise ValueError(f"size {size}: the smallest request is {size - missing} bytes")
    turns[0] = ("user", (paragraph * (missing // len(paragraph) + 1))[:missing] + _QUESTION)
    return dumps(render(turns))


def chat_body(model: str, size: int = 0, *, stream: bool = False) -> bytes:
    """A Chat Completions request of `size` bytes exactly (0: a short one of about 330 bytes)."""

    def render(turns: list[tuple[str, str]]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": "system", "content": _SYSTEM},
                *({"role": role, "content": text} for role, text in turns),
            ],
            "temperature": 0.7,
            "max_tokens": 256,
        }
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    return _fill(size, render) if size else dumps(render([("user", _QUESTION)]))


def messages_body(model: str, *, stream: bool, tools: bool) -> bytes:
    """An Anthropic Messages request; `tools` adds the two tools that the mock upstream then calls."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": 256,
        "system": _SYSTEM,
        "messages": [{"role": "user", "content": _QUESTION}],
        "temperature": 0.7,
    }
    if tools:
        body["tools"] = [
            {"name": f["name"], "description": f["description"], "input_schema": f["parameters"]}
            for f in (tool["function"] for tool in _OPENAI_TOOLS)
        ]
    if stream:
        body["stream"] = True
    return dumps(body)


def chat_tools_body(model: str, *, stream: bool) -> bytes:
    """The Chat Completions form of `messages_body(tools=True)`."""
    body = json.loads(chat_body(model, stream=stream))
    return dumps(body | {"tools": _OPENAI_TOOLS})
