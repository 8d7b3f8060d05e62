"""A ``chat.completion.chunk`` as typed values, and the repair of chunks that compatible servers spell differently."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.openai_chat.reading import opens
from penstock.core.dialects.openai_chat.usage import WireUsage
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError

NOTHING = Raw()


class Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class Custom(Struct, gc=False):
    name: str | None = None
    input: str | None = None


class Call(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: Function | None = None
    custom: Custom | None = None
    extra_content: Raw = NOTHING


class Thought(Struct, gc=False):
    index: int | None = None
    type: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class Part(Struct, gc=False):
    """A ``delta``. Of the fields that a chat model's delta can have only ``role`` is of no interest."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    thinking_blocks: list[Thought] | None = None
    annotations: list[dict[str, Raw]] | None = None
    audio: Raw = NOTHING


class Piece(Struct, gc=False):
    """An element of ``choices``. ``message``: some servers send the whole message with the last chunk."""

    index: int | None = None
    delta: Part | None = None
    message: Part | None = None
    finish_reason: str | None = None
    logprobs: Raw = NOTHING
    usage: WireUsage | None = None
    error: Raw = NOTHING
    stop_reason: Raw = NOTHING
    matched_stop: Raw = NOTHING


class Groq(Struct, gc=False):
    usage: WireUsage | None = None


class Chunk(Struct, gc=False):
    id: str | None = None
    model: str | None = None
    created: Raw = NOTHING
    object: str | None = None
    service_tier: str | None = None
    choices: list[Piece] | None = None
    usage: WireUsage | None = None
    error: Raw = NOTHING
    x_groq: Groq | None = None


_CHUNK = Decoder(Chunk).decode
_LENIENT = Decoder(Chunk, strict=False).decode
_FIELDS = Decoder(dict[str, Raw]).decode
_LIST = Decoder(list[dict[str, Raw]]).decode


def read_chunk(data: bytes) -> Chunk:
    """Parse a chunk. Raises ``GatewayError("broken_stream")`` for what is none."""
    try:
        return _CHUNK(data)
    except msgspec.ValidationError:
        pass
    except BAD_JSON as error:
        raise _broken(str(error)) from None
    try:
        return _LENIENT(encode(_repaired(_FIELDS(data))))
    except BAD_JSON as error:
        raise _broken(str(error)) from None


def _broken(why: str) -> GatewayError:
    return GatewayError("broken_stream", f"The upstream's stream holds something that is not a chat chunk: {why}.")


def _repaired(fields: dict[str, Raw]) -> dict[str, Any]:
    """Repair what was seen in the wild: numbers for ids, arguments as an object, content as an array of parts, odd
    usage."""
    out: dict[str, Any] = dict(fields)
    for key in ("id", "model", "service_tier", "object"):
        if key in out:
            out[key] = _word(fields[key])
    if "usage" in out:
        out["usage"] = _usage(fields["usage"])
    out.pop("x_groq", None)
    raw = fields.get("choices")
    if raw is not None and opens(raw, "["):
        out["choices"] = [_piece(piece) for piece in _LIST(raw)]
    return out


def _word(raw: Raw) -> str | None:
    value = msgspec.json.decode(raw)
    return str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None


_USAGE = Decoder(WireUsage, strict=False).decode


def _usage(raw: Raw) -> WireUsage | None:
    try:
        return _USAGE(raw)
    except BAD_JSON:
        return None


def _piece(piece: dict[str, Raw]) -> dict[str, Any]:
    out: dict[str, Any] = dict(piece)
    if "finish_reason" in out:
        out["finish_reason"] = _word(piece["finish_reason"])
    if "usage" in out:
        out["usage"] = _usage(piece["usage"])
    for key in ("delta", "message"):
        raw = piece.get(key)
        if raw is not None:
            out[key] = _part(_FIELDS(raw)) if opens(raw, "{") else None
    return out


def _part(part: dict[str, Raw]) -> dict[str, Any]:
    out: dict[str, Any] = dict(part)
    raw = part.get("content")
    if raw is not None and opens(raw, "["):  # Mistral's reasoning models
        text, thought = _split(_LIST(raw))
        out["content"] = text
        if thought:
            out["reasoning_content"] = thought
    for key in ("reasoning", "reasoning_content", "refusal"):
        raw = out.get(key)
        if isinstance(raw, Raw) and not opens(raw, '"'):
            out[key] = None
    raw = part.get("tool_calls")
    if raw is not None and opens(raw, "["):
        out["tool_calls"] = [_call(call) for call in _LIST(raw)]
    raw = part.get("function_call")
    if raw is not None and opens(raw, "{"):
        out["function_call"] = _function(_FIELDS(raw))
    return out


def _split(parts: list[dict[str, Raw]]) -> tuple[str, str]:
    text: list[str] = []
    thought: list[str] = []
    for part in parts:
        for key, into in (("text", text), ("thinking", thought)):
            raw = part.get(key)
            if raw is None:
                continue
            if opens(raw, "["):
                into.extend(_split(_LIST(raw)))
            elif (value := _word(raw)) is not None:
                into.append(value)
    return "".join(text), "".join(thought)


def _call(call: dict[str, Raw]) -> dict[str, Any]:
    out: dict[str, Any] = dict(call)
    if "id" in out:
        out["id"] = _word(call["id"])
    raw = call.get("function")
    if raw is not None and opens(raw, "{"):
        out["function"] = _function(_FIELDS(raw))
    return out


def _function(function: dict[str, Raw]) -> dict[str, Any]:
    out: dict[str, Any] = dict(function)
    raw = function.get("arguments")
    if raw is not None and opens(raw, "{"):
        out["arguments"] = bytes(raw).decode()  # its own spelling, as text
    return out
