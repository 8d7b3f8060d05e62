"""A Chat request body to a ``Request``. The reference: platform.openai.com/docs/api-reference/chat/create, and the
fields that LiteLLM, OpenRouter and vLLM add (``guided_*``, ``reasoning``, ``thinking``, ``top_k``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Raw

from penstock.core.dialects import guided
from penstock.core.dialects.openai_chat.messages_in import read_turns
from penstock.core.dialects.openai_chat.names import LEGACY, NAME
from penstock.core.dialects.openai_chat.parts import cache_mark
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
    "model": ("model", text),
    "messages": ("messages", lambda raw, path: read_turns(raw)),
    "user": ("user", text),
    "service_tier": ("service_tier", text),
    "verbosity": ("verbosity", text),
    "prompt_cache_key": ("cache_key", text),
    "seed": ("seed", integer),
    "n": ("n", integer),
    "top_logprobs": ("top_logprobs", integer),
    "top_k": ("top_k", integer),
    "temperature": ("temperature", number),
    "top_p": ("top_p", number),
    "presence_penalty": ("presence_penalty", number),
    "frequency_penalty": ("frequency_penalty", number),
    "logprobs": ("logprobs", flag),
    "store": ("store", flag),
    "stream": ("stream", flag),
    "parallel_tool_calls": ("parallel_tools", flag),
    "logit_bias": ("logit_bias", json_object),
    "metadata": ("metadata", json_object),
}


def parse_request(fields: Mapping[str, Raw]) -> Request:
    """Read the body's top level as a ``Request``. A null is an absent field; what nobody knows is in ``extra``."""
    text(needed(fields, "model", "", "the name of a model"), "model")
    needed(fields, "messages", "", "an array of messages")
    out: dict[str, Any] = {}
    extra: list[Opaque] = []
    for key, raw in fields.items():
        if absent(raw):
            continue
        simple = _SIMPLE.get(key)
        if simple is not None:
            out[simple[0]] = simple[1](raw, key)
            continue
        shaped = _SHAPED.get(key)
        if shaped is None or not shaped(raw, out):
            extra.append(Opaque(NAME, key, bytes(raw)))
    _settle(fields, out)
    return Request(dialect=NAME, extra=tuple(extra), **out)


def _settle(fields: Mapping[str, Raw], out: dict[str, Any]) -> None:
    """Choose between old and new spellings of one thing: the new one wins, and an explicit format wins over
    ``guided_*``."""
    new = out.pop("max_completion_tokens", None)
    if new is not None:
        out["max_tokens"] = new
    old = out.pop("functions", None)
    if old and "tools" not in out:
        out["tools"] = old
    choice = out.pop("function_call", None)
    if choice is not None and "tool_choice" not in out:
        out["tool_choice"] = choice
    if out.pop("guided", False) and absent(fields.get("response_format")):
        out["output"] = guided.read(fields)


# The fields with a shape: each reads into ``out`` and says whether it understood all of it. ------------------------


def _max_tokens(raw: Raw, out: dict[str, Any]) -> bool:
    out["max_tokens"] = integer(raw, "max_tokens")
    return True


def _max_completion_tokens(raw: Raw, out: dict[str, Any]) -> bool:
    out["max_completion_tokens"] = integer(raw, "max_completion_tokens")
    return True


def _stop(raw: Raw, out: dict[str, Any]) -> bool:
    if opens(raw, '"'):
        out["stop"] = (text(raw, "stop"),)
    elif opens(raw, "["):
        out["stop"] = tuple(texts(raw, "stop"))
    else:
        raise wrong("stop", raw, "a string or an array of strings")
    return True


def _stream_options(raw: Raw, out: dict[str, Any]) -> bool:
    options = mapping(raw, "stream_options")
    out["stream_usage"] = optional_flag(options, "include_usage", "stream_options")
    return options.keys() <= {"include_usage"}


def _reasoning_effort(raw: Raw, out: dict[str, Any]) -> bool:
    """Read a word, or LiteLLM's object of an effort and a summary."""
    if not opens(raw, "{"):
        _reason(out, effort=text(raw, "reasoning_effort"))
        return True
    fields = mapping(raw, "reasoning_effort")
    effort, summary = (optional_text(fields, key, "reasoning_effort") for key in ("effort", "summary"))
    _reason(out, effort=effort, summary=summary)
    return fields.keys() <= {"effort", "summary"}


def _reason(out: dict[str, Any], **found: Any) -> None:
    """Merge one field's finding into ``reasoning``; a value that is there stays."""
    had: Reasoning = out.get("reasoning") or Reasoning()
    merged = {key: getattr(had, key) or found.get(key, getattr(had, key)) for key in Reasoning.__struct_fields__}
    out["reasoning"] = Reasoning(**merged)


def _reasoning(raw: Raw, out: dict[str, Any]) -> bool:
    """Read OpenRouter's field: effort or max_tokens, enabled, exclude; ``summary`` as in Responses."""
    fields = mapping(raw, "reasoning")
    found: dict[str, Any] = {"effort": optional_text(fields, "effort", "reasoning")}
    found["summary"] = optional_text(fields, "summary", "reasoning")
    if (limit := present(fields, "max_tokens")) is not None:
        found["budget"] = integer(limit, "reasoning.max_tokens")
    if (enabled := optional_flag(fields, "enabled", "reasoning")) is not None:
        found["mode"] = "enabled" if enabled else "disabled"
    if optional_flag(fields, "exclude", "reasoning"):
        found["display"] = "omitted"
    _reason(out, **found)
    return fields.keys() <= {"effort", "max_tokens", "enabled", "exclude", "summary"}


def _thinking(raw: Raw, out: dict[str, Any]) -> bool:
    """Read Anthropic's field, which LiteLLM takes on Chat; DeepSeek, GLM and Kimi have ``type`` alone."""
    fields = mapping(raw, "thinking")
    mode = optional_text(fields, "type", "thinking")
    if mode not in ("enabled", "adaptive", "disabled"):
        return False
    found: dict[str, Any] = {"mode": mode, "display": optional_text(fields, "display", "thinking")}
    if (budget := present(fields, "budget_tokens")) is not None:
        found["budget"] = integer(budget, "thinking.budget_tokens")
    _reason(out, **found)
    return fields.keys() <= {"type", "budget_tokens", "display"}


def _response_format(raw: Raw, out: dict[str, Any]) -> bool:
    path = "response_format"
    fields = mapping(raw, path)
    kind = text(needed(fields, "type", path, '"text", "json_object" or "json_schema"'), f"{path}.type")
    schema = optional_object(fields, "schema", path) if kind == "json_object" else b""
    if kind == "json_schema":
        inner = mapping(needed(fields, kind, path, "an object with name and schema"), f"{path}.{kind}")
        path = f"{path}.{kind}"
        out["output"] = OutputFormat(
            kind,
            optional_text(inner, "name", path),
            optional_object(inner, "schema", path),
            optional_flag(inner, "strict", path),
            optional_text(inner, "description", path),
        )
        return len(fields) == 2 and inner.keys() <= {"name", "schema", "strict", "description"}
    if schema:  # llama.cpp, Together, Fireworks
        out["output"] = OutputFormat("json_schema", "", schema)
        return len(fields) == 2
    if kind in ("json_object", "text"):
        out["output"] = OutputFormat(kind)
        return len(fields) == 1
    return False


def _guided(raw: Raw, out: dict[str, Any]) -> bool:
    """Note one of vLLM's constraints: they are read together, see ``guided``."""
    out["guided"] = True
    return True


def _tools(raw: Raw, out: dict[str, Any]) -> bool:
    out["tools"] = tuple(
        _tool(mapping(item, f"tools[{n}]"), f"tools[{n}]", item) for n, item in enumerate(items(raw, "tools"))
    )
    return True


def _tool(fields: dict[str, Raw], path: str, whole: Raw) -> Tool:
    kind = optional_text(fields, "type", path) or "function"
    if "function" not in fields and "type" not in fields and len(fields) == 1:
        kind = next(iter(fields))  # Google's form, {"googleSearch": {}}, which LiteLLM's callers send here
    if kind != "function":
        inner = fields.get(kind)
        named = mapping(inner, f"{path}.{kind}") if inner is not None and opens(inner, "{") else fields
        name = optional_text(named, "name", f"{path}.{kind}")
        description = optional_text(named, "description", f"{path}.{kind}")
        return Tool(name, description, kind=kind, opaque=Opaque(NAME, kind, bytes(whole)))
    inner = needed(fields, "function", path, "an object with name, description and parameters")
    known = fields.keys() <= {"type", "function", "cache_control"}
    tool = _function(mapping(inner, f"{path}.function"), f"{path}.function", whole, known)
    mark = present(fields, "cache_control")
    cache = None if mark is None else cache_mark(mark, f"{path}.cache_control")
    return Tool(tool.name, tool.description, tool.schema, tool.strict, cache=cache, opaque=tool.opaque)


def _function(fields: dict[str, Raw], path: str, whole: Raw, known: bool) -> Tool:
    """Read a function's definition. One with fields that nobody knows is also kept ``whole``."""
    known = known and fields.keys() <= {"name", "description", "parameters", "strict"}
    return Tool(
        text(needed(fields, "name", path, "the function's name"), f"{path}.name"),
        optional_text(fields, "description", path),
        optional_object(fields, "parameters", path),
        optional_flag(fields, "strict", path),
        opaque=None if known else Opaque(NAME, "function", bytes(whole)),
    )


def _functions(raw: Raw, out: dict[str, Any]) -> bool:
    tools = []
    for place, item in enumerate(items(raw, "functions")):
        path = f"functions[{place}]"
        tool = _function(mapping(item, path), path, item, True)
        rest = b"" if tool.opaque is None else bytes(item)  # the form alone is no field that another dialect would lose
        tools.append(Tool(tool.name, tool.description, tool.schema, tool.strict, opaque=Opaque(NAME, LEGACY, rest)))
    out["functions"] = tuple(tools)
    return True


_MODES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}  # "any" is Mistral's


def _function_call(raw: Raw, out: dict[str, Any]) -> bool:
    if opens(raw, '"'):
        mode = _MODES.get(text(raw, "function_call"))
        if mode is None:
            raise wrong("function_call", raw, '"auto", "none" or an object with a name')
        out["function_call"] = ToolChoice(mode)
    else:
        fields = mapping(raw, "function_call")
        name = text(needed(fields, "name", "function_call", "the name of a function"), "function_call.name")
        out["function_call"] = ToolChoice("named", (name,))
    return True


def _tool_choice(raw: Raw, out: dict[str, Any]) -> bool:
    path = "tool_choice"
    if opens(raw, '"'):
        word = text(raw, path)
        if word not in _MODES:
            message = f'\'{path}\' is {word!r}; it must be "none", "auto", "required" or an object naming a tool.'
            raise GatewayError("bad_request", message, param=path)
        out[path] = ToolChoice(_MODES[word])
        return True
    fields = mapping(raw, path)
    kind = text(needed(fields, "type", path, '"function", "custom" or "allowed_tools"'), f"{path}.type")
    if kind in _MODES:  # Anthropic's form, which LiteLLM's callers send here
        out[path] = ToolChoice(_MODES[kind])
        return len(fields) == 1
    inner = fields.get(kind)
    if kind in ("function", "custom"):
        inner = needed(fields, kind, path, "an object with the tool's name")
        name = text(needed(mapping(inner, f"{path}.{kind}"), "name", f"{path}.{kind}", "a name"), f"{path}.{kind}.name")
        out[path] = ToolChoice("named", (name,))
        return True
    if kind == "allowed_tools":
        inner = needed(fields, kind, path, "an object with mode and tools")
        return _allowed(mapping(inner, f"{path}.{kind}"), f"{path}.{kind}", out)
    return False


def _allowed(fields: dict[str, Raw], path: str, out: dict[str, Any]) -> bool:
    mode = text(needed(fields, "mode", path, '"auto" or "required"'), f"{path}.mode")
    names = []
    for place, raw in enumerate(items(needed(fields, "tools", path, "an array of tools"), f"{path}.tools")):
        tool = mapping(raw, f"{path}.tools[{place}]")
        inner = tool.get(optional_text(tool, "type", path))
        if inner is None:
            return False
        names.append(optional_text(mapping(inner, f"{path}.tools[{place}]"), "name", path))
    out["tool_choice"] = ToolChoice("allowed", tuple(names), mode == "required")
    return True


_SHAPED: dict[str, Callable[[Raw, dict[str, Any]], bool]] = {
    "max_tokens": _max_tokens,
    "max_completion_tokens": _max_completion_tokens,
    "stop": _stop,
    "stream_options": _stream_options,
    "reasoning_effort": _reasoning_effort,
    "reasoning": _reasoning,
    "thinking": _thinking,
    "response_format": _response_format,
    **dict.fromkeys(guided.FIELDS, _guided),
    "tools": _tools,
    "tool_choice": _tool_choice,
    "functions": _functions,
    "function_call": _function_call,
}

ATTRIBUTES: Mapping[str, str] = {
    **{key: attribute for key, (attribute, _) in _SIMPLE.items() if key not in ("model", "messages", "stream")},
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "stop": "stop",
    "stream_options": "stream_usage",
    **dict.fromkeys(("reasoning_effort", "reasoning", "thinking"), "reasoning"),
    **dict.fromkeys(("response_format", *guided.FIELDS), "output"),
    **dict.fromkeys(("tools", "functions"), "tools"),
    **dict.fromkeys(("tool_choice", "function_call"), "tool_choice"),
}
"""Parameter -> the attribute of ``Request`` that it is read into."""
