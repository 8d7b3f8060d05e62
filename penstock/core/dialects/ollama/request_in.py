"""A /api/chat request body to a ``Request``. The reference: docs.ollama.com/api/chat and ollama/ollama api/types.go
(``ChatRequest``). Streaming is the default here, so an absent ``stream`` means true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Raw

from penstock.core.dialects import guided
from penstock.core.dialects.ollama.messages_in import read_turns
from penstock.core.dialects.ollama.names import NAME, OPTION
from penstock.core.dialects.openai_chat.reading import (
    absent,
    flag,
    integer,
    items,
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
from penstock.core.ir import Opaque, OutputFormat, Reasoning, Request, Tool

_OPTIONS: dict[str, tuple[str, Callable[[Raw, str], Any]]] = {
    "temperature": ("temperature", number),
    "top_p": ("top_p", number),
    "top_k": ("top_k", integer),
    "seed": ("seed", integer),
    "presence_penalty": ("presence_penalty", number),
    "frequency_penalty": ("frequency_penalty", number),
}
LEVELS = ("low", "medium", "high", "max")
_READ = frozenset(("model", "messages", "tools", "stream", "format", "options", "think", "logprobs", "top_logprobs"))


def parse_request(fields: Mapping[str, Raw]) -> Request:
    """Read the body's top level as a ``Request``. A null is an absent field; what nobody knows is in ``extra``."""
    raw = present(fields, "messages")
    out = shared(fields, NAME, _READ)
    out["messages"] = () if raw is None else read_turns(raw)
    if (raw := present(fields, "tools")) is not None:
        out["tools"] = tuple(
            _tool(mapping(item, f"tools[{n}]"), f"tools[{n}]", item) for n, item in enumerate(items(raw, "tools"))
        )
    return Request(**out)


def shared(fields: Mapping[str, Raw], dialect: str, read: frozenset[str]) -> dict[str, Any]:
    """Read what /api/chat and /api/generate have in common; fields that are not in ``read`` become ``extra``."""
    out: dict[str, Any] = {
        "dialect": dialect,
        "model": text(needed(fields, "model", "", "the name of a model"), "model"),
    }
    extra = [
        Opaque(dialect, key, bytes(raw))
        for key, raw in fields.items()
        if key not in read and key not in guided.FIELDS and not absent(raw)
    ]
    raw = present(fields, "stream")
    out["stream"] = raw is None or flag(raw, "stream")
    if (raw := present(fields, "options")) is not None:
        _options(mapping(raw, "options"), dialect, out, extra)
    if (raw := present(fields, "think")) is not None:
        think = _think(raw)
        if think is None:
            extra.append(Opaque(dialect, "think", bytes(raw)))
        else:
            out["reasoning"] = think
    out["output"] = _format(present(fields, "format"), fields)
    if (raw := present(fields, "logprobs")) is not None:
        out["logprobs"] = flag(raw, "logprobs")
    if (raw := present(fields, "top_logprobs")) is not None:
        out["top_logprobs"] = integer(raw, "top_logprobs")
    out["extra"] = tuple(extra)
    return out


def _options(options: dict[str, Raw], dialect: str, out: dict[str, Any], extra: list[Opaque]) -> None:
    for key, raw in options.items():
        if absent(raw):
            continue
        path = f"options.{key}"
        known = _OPTIONS.get(key)
        if known is not None:
            out[known[0]] = known[1](raw, path)
        elif key == "stop":
            out["stop"] = (text(raw, path),) if opens(raw, '"') else tuple(texts(raw, path))
        elif key == "num_predict" and (limit := integer(raw, path)) > 0:
            out["max_tokens"] = limit  # -1 and -2 mean no limit, which is what absence says elsewhere
        else:
            extra.append(Opaque(dialect, OPTION + key, bytes(raw)))


def _think(raw: Raw) -> Reasoning | None:
    if opens(raw, "t") or opens(raw, "f"):
        return Reasoning(mode="enabled" if flag(raw, "think") else "disabled")
    word = text(raw, "think")
    return Reasoning(effort=word) if word in LEVELS else None


def _format(raw: Raw | None, fields: Mapping[str, Raw]) -> OutputFormat | None:
    """Read ``format``: "json", a schema, or "" for none; else what vLLM's fields say."""
    if raw is not None and opens(raw, "{"):
        return OutputFormat("json_schema", "", bytes(raw))
    if raw is not None:
        word = text(raw, "format")
        if word not in ("", "json"):
            raise wrong("format", raw, '"json" or a JSON schema')
        if word:
            return OutputFormat("json_object")
    return guided.read(fields)


def _tool(fields: dict[str, Raw], path: str, whole: Raw) -> Tool:
    kind = optional_text(fields, "type", path) or "function"
    if kind != "function":
        return Tool(optional_text(fields, "name", path), kind=kind, opaque=Opaque(NAME, kind, bytes(whole)))
    path = f"{path}.function"
    inner = mapping(needed(fields, "function", path.removesuffix(".function"), "an object with a name"), path)
    known = fields.keys() <= {"type", "function"} and inner.keys() <= {"name", "description", "parameters", "strict"}
    return Tool(
        text(needed(inner, "name", path, "the function's name"), f"{path}.name"),
        optional_text(inner, "description", path),
        optional_object(inner, "parameters", path),
        optional_flag(inner, "strict", path),
        opaque=None if known else Opaque(NAME, "function", bytes(whole)),
    )
