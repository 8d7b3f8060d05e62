"""A Converse body to the neutral ``Request``. Nothing is lost: what has no neutral place becomes ``extra``, keyed by
its path ("guardrailConfig", "additionalModelRequestFields.anthropic_beta"). The model stands in the URL; the surface
puts it into the body's fields. Sources as in ``wire``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from penstock.core.dialects.bedrock.blocks_in import read_blocks, read_mark
from penstock.core.dialects.bedrock.wire import NAME
from penstock.core.dialects.openai_chat.reading import (
    absent,
    flag,
    integer,
    items,
    json_object,
    mapping,
    needed,
    number,
    optional_flag,
    optional_text,
    present,
    text,
    texts,
    wrong,
)
from penstock.core.ir import Message, Opaque, OutputFormat, Reasoning, Request, Role, Tool, ToolChoice

_MORE = "additionalModelRequestFields"
_READ = frozenset(("model", "modelId", "stream", "messages", "system", "inferenceConfig", "toolConfig", _MORE))
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


def parse_request(fields: Mapping[str, Raw]) -> Request:
    """Read the body's top level as a ``Request``. Raises ``GatewayError("bad_request")`` with ``param``."""
    extra: list[Opaque] = []
    out: dict[str, Any] = {"dialect": NAME, "model": optional_text(fields, "model", "")}
    out["model"] = out["model"] or optional_text(fields, "modelId", "")
    out["messages"] = _messages(fields)
    if (raw := present(fields, "inferenceConfig")) is not None:
        _limits(mapping(raw, "inferenceConfig"), out, extra)
    if (raw := present(fields, "toolConfig")) is not None:
        _tools(mapping(raw, "toolConfig"), out, extra)
    if (raw := present(fields, _MORE)) is not None:
        _more(mapping(raw, _MORE), out, extra)
    if (raw := present(fields, "stream")) is not None:
        out["stream"] = flag(raw, "stream")
    for key, value in fields.items():
        if key in _READ or absent(value) or (key in _TOP and _TOP[key](value, out)):
            continue
        extra.append(Opaque(NAME, key, bytes(value)))
    return Request(**out, extra=tuple(extra))


def _messages(fields: Mapping[str, Raw]) -> tuple[Message, ...]:
    out: list[Message] = []
    if (raw := present(fields, "system")) is not None:
        out.append(Message("system", read_blocks(raw, "system")))
    for at, item in enumerate(items(needed(fields, "messages", "", "an array of messages"), "messages")):
        path = f"messages.{at}"
        turn = mapping(item, path)
        word = text(needed(turn, "role", path, "user or assistant"), f"{path}.role")
        role = _ROLES.get(word)
        if role is None:
            raise wrong(f"{path}.role", turn["role"], "user or assistant")
        out.append(Message(role, read_blocks(needed(turn, "content", path, "an array of blocks"), f"{path}.content")))
    return tuple(out)


def _limits(fields: dict[str, Raw], out: dict[str, Any], extra: list[Opaque]) -> None:
    for key, raw in fields.items():
        at = f"inferenceConfig.{key}"
        if absent(raw):
            continue
        if key == "maxTokens":
            out["max_tokens"] = integer(raw, at)
        elif key == "temperature":
            out["temperature"] = number(raw, at)
        elif key == "topP":
            out["top_p"] = number(raw, at)
        elif key == "stopSequences":
            out["stop"] = tuple(texts(raw, at))
        else:
            extra.append(Opaque(NAME, at, bytes(raw)))


# Tools ----------------------------------------------------------------------------------------------------------------


def _tools(fields: dict[str, Raw], out: dict[str, Any], extra: list[Opaque]) -> None:
    tools: list[Tool] = []
    raw = present(fields, "tools")
    for at, item in enumerate(() if raw is None else items(raw, "toolConfig.tools")):
        path = f"toolConfig.tools.{at}"
        held = mapping(item, path)
        mark = read_mark(held["cachePoint"], path) if held.keys() == {"cachePoint"} else None
        if mark is not None and tools and tools[-1].cache is None and tools[-1].kind == "function":
            tools[-1] = replace(tools[-1], cache=mark)
        elif held.keys() == {"toolSpec"}:
            tools.append(_tool(mapping(held["toolSpec"], f"{path}.toolSpec"), f"{path}.toolSpec", item))
        else:
            kind = next(iter(held), "")
            tools.append(Tool("", kind=kind, opaque=Opaque(NAME, kind, bytes(item))))
    out["tools"] = tuple(tools)
    if (raw := present(fields, "toolChoice")) is not None:
        out["tool_choice"] = _choice(raw)


def _tool(spec: dict[str, Raw], at: str, item: Raw) -> Tool:
    raw = present(spec, "inputSchema")
    schema = {} if raw is None else mapping(raw, f"{at}.inputSchema")
    known = spec.keys() <= {"name", "description", "inputSchema", "strict"} and schema.keys() <= {"json"}
    return Tool(
        text(needed(spec, "name", at, "the tool's name"), f"{at}.name"),
        optional_text(spec, "description", at),
        json_object(schema["json"], f"{at}.inputSchema.json") if "json" in schema else b"",
        optional_flag(spec, "strict", at),
        opaque=None if known else Opaque(NAME, "toolSpec", bytes(item)),
    )


def _choice(raw: Raw) -> ToolChoice:
    at = "toolConfig.toolChoice"
    fields = mapping(raw, at)
    if fields.keys() == {"auto"}:
        return ToolChoice("auto")
    if fields.keys() == {"any"}:
        return ToolChoice("required")
    if fields.keys() != {"tool"}:
        raise wrong(at, raw, "an object with auto, any or tool")
    inner = mapping(fields["tool"], f"{at}.tool")
    return ToolChoice("named", (text(needed(inner, "name", f"{at}.tool", "a tool's name"), f"{at}.tool.name"),))


# The model's own fields -----------------------------------------------------------------------------------------------


def _more(fields: dict[str, Raw], out: dict[str, Any], extra: list[Opaque]) -> None:
    """Read what every family of models calls by another name; the rest stays as it is."""
    rest = {key: raw for key, raw in fields.items() if not absent(raw)}
    for key in ("top_k", "k"):
        if key in rest and "top_k" not in out:
            out["top_k"] = integer(rest.pop(key), f"{_MORE}.{key}")
    own = rest.get("inferenceConfig")
    if own is not None and "top_k" not in out:
        inner = mapping(own, f"{_MORE}.inferenceConfig")
        if inner.keys() == {"topK"}:
            out["top_k"] = integer(inner["topK"], f"{_MORE}.inferenceConfig.topK")
            del rest["inferenceConfig"]
    reasoning = _reasoning(rest)
    if reasoning is not None:
        out["reasoning"] = reasoning
    extra.extend(Opaque(NAME, f"{_MORE}.{key}", bytes(raw)) for key, raw in rest.items())


def _reasoning(rest: dict[str, Raw]) -> Reasoning | None:
    """Take the fields about thinking out of ``rest``, where they say no more than the neutral form does."""
    if (raw := rest.get("reasoning_effort")) is not None:
        del rest["reasoning_effort"]
        return Reasoning(effort=text(raw, f"{_MORE}.reasoning_effort"))
    at = f"{_MORE}.reasoning"
    if (raw := rest.get("reasoning")) is not None:
        inner = mapping(raw, at)
        if inner.keys() != {"effort"}:
            return None
        del rest["reasoning"]
        return Reasoning(effort=text(inner["effort"], f"{at}.effort"))
    at = f"{_MORE}.reasoningConfig"
    if (raw := rest.get("reasoningConfig")) is not None:
        inner = mapping(raw, at)
        if not inner.keys() <= {"type", "maxReasoningEffort"}:
            return None
        del rest["reasoningConfig"]
        mode, effort = optional_text(inner, "type", at), optional_text(inner, "maxReasoningEffort", at)
        return Reasoning(effort=effort, mode="" if effort else mode)
    at = f"{_MORE}.thinking"
    if (raw := rest.get("thinking")) is None:
        return None
    inner = mapping(raw, at)
    if not inner.keys() <= {"type", "budget_tokens", "display"}:
        return None
    del rest["thinking"]
    budget = present(inner, "budget_tokens")
    return Reasoning(
        effort=_effort(rest),
        budget=None if budget is None else integer(budget, f"{at}.budget_tokens"),
        mode=optional_text(inner, "type", at),
        display=optional_text(inner, "display", at),
    )


def _effort(rest: dict[str, Raw]) -> str:
    raw = rest.get("output_config")
    inner = {} if raw is None else mapping(raw, f"{_MORE}.output_config")
    if inner.keys() != {"effort"}:
        return ""
    del rest["output_config"]
    return text(inner["effort"], f"{_MORE}.output_config.effort")


# Top-level fields that the neutral form may hold. Each tells whether it did. ------------------------------------------


def _output(raw: Raw, out: dict[str, Any]) -> bool:
    fields = mapping(raw, "outputConfig")
    if fields.keys() != {"textFormat"}:
        return False
    form = mapping(fields["textFormat"], "outputConfig.textFormat")
    at = "outputConfig.textFormat.structure"
    inner = mapping(form["structure"], at) if "structure" in form else {}
    if optional_text(form, "type", "outputConfig.textFormat") != "json_schema" or inner.keys() != {"jsonSchema"}:
        return False
    made = mapping(inner["jsonSchema"], f"{at}.jsonSchema")
    at = f"{at}.jsonSchema"
    if not made.keys() <= {"schema", "name", "description"}:
        return False
    schema = text(needed(made, "schema", at, "the text of a JSON schema"), f"{at}.schema")
    mapping(Raw(schema.encode()), f"{at}.schema")
    name, description = optional_text(made, "name", at), optional_text(made, "description", at)
    out["output"] = OutputFormat("json_schema", name, schema.encode(), None, description)
    return True


def _tier(raw: Raw, out: dict[str, Any]) -> bool:
    fields = mapping(raw, "serviceTier")
    word = optional_text(fields, "type", "serviceTier")
    if len(fields) != 1 or word not in ("default", "flex", "priority"):
        return False
    out["service_tier"] = word
    return True


_TOP = {"outputConfig": _output, "serviceTier": _tier}
