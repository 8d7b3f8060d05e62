"""A ``/v2/chat`` body to a ``Request``. Sources as in ``names``; what nobody knows is kept in ``extra``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Raw

from penstock.core.dialects.cohere.messages_in import read_turns
from penstock.core.dialects.cohere.names import NAME
from penstock.core.dialects.openai_chat.reading import (
    absent,
    flag,
    integer,
    items,
    json_object,
    mapping,
    needed,
    number,
    opens,
    optional_flag,
    optional_object,
    optional_text,
    present,
    text,
    texts,
    wrong,
)
from penstock.core.errors import GatewayError
from penstock.core.ir import Opaque, OutputFormat, Reasoning, Request, Tool, ToolChoice

_SIMPLE: dict[str, tuple[str, Callable[[Raw, str], Any]]] = {
    "max_tokens": ("max_tokens", integer),
    "temperature": ("temperature", number),
    "p": ("top_p", number),
    "k": ("top_k", integer),
    "seed": ("seed", integer),
    "frequency_penalty": ("frequency_penalty", number),
    "presence_penalty": ("presence_penalty", number),
    "logprobs": ("logprobs", flag),
    "stream": ("stream", flag),
}
_READ = frozenset(_SIMPLE) | frozenset(
    "model messages tools strict_tools tool_choice stop_sequences thinking response_format guided_json".split()
)
_CHOICES = {"REQUIRED": "required", "NONE": "none"}


def parse_request(fields: Mapping[str, Raw]) -> Request:
    """Read the body's top level as a ``Request``. A null is an absent field."""
    extra = [
        Opaque(NAME, key, bytes(raw)) for key, raw in fields.items() if key not in _READ and not absent(raw)
    ]
    out: dict[str, Any] = {
        "dialect": NAME,
        "model": text(needed(fields, "model", "", "the name of a model"), "model"),
        "messages": read_turns(needed(fields, "messages", "", "an array of messages")),
    }
    for key, (attribute, read) in _SIMPLE.items():
        if (raw := present(fields, key)) is not None:
            out[attribute] = read(raw, key)
    if (raw := present(fields, "stop_sequences")) is not None:
        out["stop"] = tuple(texts(raw, "stop_sequences"))
    strict = optional_flag(fields, "strict_tools", "")
    if (raw := present(fields, "tools")) is not None:
        rows = enumerate(items(raw, "tools"))
        out["tools"] = tuple(_tool(mapping(item, f"tools[{n}]"), f"tools[{n}]", item, strict) for n, item in rows)
    if not out.get("tools") and strict is not None:
        extra.append(Opaque(NAME, "strict_tools", bytes(fields["strict_tools"])))
    if (raw := present(fields, "tool_choice")) is not None:
        out["tool_choice"] = _choice(raw)
    if (raw := present(fields, "thinking")) is not None:
        out["reasoning"] = _thinking(mapping(raw, "thinking"), extra)
    out["output"] = _output(present(fields, "response_format"), present(fields, "guided_json"), extra)
    return Request(**out, extra=tuple(extra))


def _choice(raw: Raw) -> ToolChoice:
    word = text(raw, "tool_choice")
    if word.upper() not in _CHOICES:
        message = f"'tool_choice' is {word!r}; it must be \"REQUIRED\" or \"NONE\", or left out."
        raise GatewayError("bad_request", message, param="tool_choice")
    return ToolChoice(_CHOICES[word.upper()])


def _tool(fields: dict[str, Raw], path: str, whole: Raw, strict: bool | None) -> Tool:
    """Read a function. One with fields that the neutral form lacks is also kept whole."""
    kind = optional_text(fields, "type", path) or "function"
    if kind != "function":
        return Tool(optional_text(fields, "name", path), kind=kind, opaque=Opaque(NAME, kind, bytes(whole)))
    inner = mapping(needed(fields, "function", path, "an object with a name"), f"{path}.function")
    path = f"{path}.function"
    known = fields.keys() <= {"type", "function"} and inner.keys() <= {"name", "description", "parameters"}
    return Tool(
        text(needed(inner, "name", path, "the function's name"), f"{path}.name"),
        optional_text(inner, "description", path),
        optional_object(inner, "parameters", path),
        strict,
        opaque=None if known else Opaque(NAME, "function", bytes(whole)),
    )


def _thinking(fields: dict[str, Raw], extra: list[Opaque]) -> Reasoning:
    """Read a ``thinking``: ``{"type": "enabled" | "disabled", "token_budget"}``."""
    word = text(needed(fields, "type", "thinking", '"enabled" or "disabled"'), "thinking.type")
    if word not in ("enabled", "disabled"):
        message = f"'thinking.type' is {word!r}; it must be \"enabled\" or \"disabled\"."
        raise GatewayError("bad_request", message, param="thinking.type")
    raw = present(fields, "token_budget")
    for key, value in fields.items():
        if key not in ("type", "token_budget") and not absent(value):
            extra.append(Opaque(NAME, f"thinking.{key}", bytes(value)))
    return Reasoning(mode=word, budget=None if raw is None else integer(raw, "thinking.token_budget"))


def _output(raw: Raw | None, guided: Raw | None, extra: list[Opaque]) -> OutputFormat | None:
    """Read a ``response_format``: ``{"type": "text" | "json_object", "json_schema"}``; v1's and the client's older name
    of the last is ``schema``. ``guided_json`` is the bare schema of vLLM's users."""
    if raw is not None:
        fields = mapping(raw, "response_format")
        word = optional_text(fields, "type", "response_format") or "text"
        if word not in ("text", "json_object"):
            extra.append(Opaque(NAME, "response_format", bytes(raw)))
            return None
        key = "json_schema" if present(fields, "json_schema") is not None else "schema"
        schema = optional_object(fields, key, "response_format")
        return OutputFormat("json_schema", schema=schema) if schema else OutputFormat(word)
    if guided is None:
        return None
    if opens(guided, '"'):
        guided = Raw(text(guided, "guided_json").encode())
    if not opens(guided, "{"):
        raise wrong("guided_json", guided, "a JSON schema, an object")
    return OutputFormat("json_schema", "guided_json", json_object(guided, "guided_json"))
