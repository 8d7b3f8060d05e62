"""A Responses request body to a ``Request``. Nothing is lost: what has no neutral place becomes ``extra``, keyed by its
path ("truncation", "reasoning.context", "text.format.x").

The reference: platform.openai.com/docs/api-reference/responses/create and the ``openai`` client's
``ResponseCreateParams``; sampling fields that engines add (``top_k``, ``seed``, ``stop``) and ``guided_*`` are read
where they have a neutral meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Raw

from penstock.core.dialects import guided
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
from penstock.core.dialects.openai_responses.items_in import read_input
from penstock.core.dialects.openai_responses.names import LOGPROBS, NAME
from penstock.core.errors import GatewayError
from penstock.core.ir import Message, Opaque, OutputFormat, Reasoning, Request, Text, Tool, ToolChoice

SIMPLE: dict[str, tuple[str, Callable[[Raw, str], Any]]] = {
    "model": ("model", text),
    "parallel_tool_calls": ("parallel_tools", flag),
    "max_output_tokens": ("max_tokens", integer),
    "temperature": ("temperature", number),
    "top_p": ("top_p", number),
    "top_logprobs": ("top_logprobs", integer),
    "metadata": ("metadata", json_object),
    "user": ("user", text),
    "service_tier": ("service_tier", text),
    "store": ("store", flag),
    "prompt_cache_key": ("cache_key", text),
    "previous_response_id": ("previous_id", text),
    "stream": ("stream", flag),
    # Engines' own: the vendor has none of these.
    "top_k": ("top_k", integer),
    "seed": ("seed", integer),
    "n": ("n", integer),
    "presence_penalty": ("presence_penalty", number),
    "frequency_penalty": ("frequency_penalty", number),
    "logit_bias": ("logit_bias", json_object),
}
# Where the conversation may come from when there is no ``input``.
_ELSEWHERE = ("previous_response_id", "prompt", "conversation")


def parse_request(fields: Mapping[str, Raw]) -> Request:
    """Read the body's top level as a ``Request``. A null is an absent field; what nobody knows is in ``extra``."""
    text(needed(fields, "model", "", "the name of a model"), "model")
    if not any(present(fields, key) is not None for key in ("input", *_ELSEWHERE)):
        needed(fields, "input", "", "a string or an array of items")
    out: dict[str, Any] = {"messages": _messages(fields)}
    extra: list[Opaque] = []
    for key, raw in fields.items():
        if absent(raw) or key in ("input", "instructions"):
            continue
        simple = SIMPLE.get(key)
        if simple is not None:
            out[simple[0]] = simple[1](raw, key)
            continue
        shaped = _SHAPED.get(key)
        if shaped is None:
            extra.append(Opaque(NAME, key, bytes(raw)))
        else:
            shaped(raw, out, extra)
    if out.pop("guided", False) and "output" not in out:  # an explicit format wins
        out["output"] = guided.read(fields)
    return Request(dialect=NAME, extra=tuple(extra), **out)


def _messages(fields: Mapping[str, Raw]) -> tuple[Message, ...]:
    raw = present(fields, "input")
    turns = () if raw is None else read_input(raw)
    instructions = optional_text(fields, "instructions", "")
    return (Message("system", (Text(instructions),)), *turns) if instructions else turns


def _rest(inner: Mapping[str, Raw], path: str, known: set[str], extra: list[Opaque]) -> None:
    """Keep in ``extra`` the fields of a known object that have no neutral place."""
    for key, raw in inner.items():
        if key not in known and not absent(raw):
            extra.append(Opaque(NAME, f"{path}.{key}", bytes(raw)))


_Out = dict[str, Any]


def _include(raw: Raw, out: _Out, extra: list[Opaque]) -> None:
    found = texts(raw, "include")
    if LOGPROBS in found:
        out["logprobs"] = True
    out["include"] = tuple(name for name in found if name != LOGPROBS)


def _stop(raw: Raw, out: _Out, extra: list[Opaque]) -> None:
    out["stop"] = (text(raw, "stop"),) if opens(raw, '"') else tuple(texts(raw, "stop"))


def _reasoning(raw: Raw, out: _Out, extra: list[Opaque]) -> None:
    fields = mapping(raw, "reasoning")
    summary = optional_text(fields, "summary", "reasoning") or optional_text(fields, "generate_summary", "reasoning")
    found = Reasoning(effort=optional_text(fields, "effort", "reasoning"), summary=summary)
    if found != Reasoning():
        out["reasoning"] = found
    _rest(fields, "reasoning", {"effort", "summary", "generate_summary"}, extra)


def _text(raw: Raw, out: _Out, extra: list[Opaque]) -> None:
    fields = mapping(raw, "text")
    out["verbosity"] = optional_text(fields, "verbosity", "text")
    wanted = present(fields, "format")
    if wanted is not None:
        _format(wanted, out, extra)
    _rest(fields, "text", {"format", "verbosity"}, extra)


def _format(raw: Raw, out: _Out, extra: list[Opaque]) -> None:
    path = "text.format"
    fields = mapping(raw, path)
    kind = text(needed(fields, "type", path, '"text", "json_object" or "json_schema"'), f"{path}.type")
    if kind in ("text", "json_object"):
        out["output"] = OutputFormat(kind)
        _rest(fields, path, {"type"}, extra)
    elif kind == "json_schema":
        inner = fields
        if "schema" not in fields and "json_schema" in fields:  # Chat's nesting, carried along by ported clients
            inner = mapping(fields["json_schema"], f"{path}.json_schema")
        needed(inner, "schema", path, "a JSON schema object")
        out["output"] = OutputFormat(
            kind,
            optional_text(inner, "name", path),
            optional_object(inner, "schema", path),
            optional_flag(inner, "strict", path),
            optional_text(inner, "description", path),
        )
        _rest(inner, path, {"type", "name", "schema", "strict", "description"}, extra)
    else:
        extra.append(Opaque(NAME, path, bytes(raw)))


def _guided(raw: Raw, out: _Out, extra: list[Opaque]) -> None:
    """Note one of vLLM's constraints: they are read together, see ``guided``."""
    out["guided"] = True


# Tools ----------------------------------------------------------------------------------------------------------------

_TOOL = {"type", "name", "description", "parameters", "strict"}


def _tools(raw: Raw, out: _Out, extra: list[Opaque]) -> None:
    out["tools"] = tuple(read_tool(one, f"tools[{n}]") for n, one in enumerate(items(raw, "tools")))


def read_tool(raw: Raw, path: str) -> Tool:
    """Read one tool; any but a function is kept whole."""
    fields = mapping(raw, path)
    kind = text(needed(fields, "type", path, '"function", "custom", "web_search", ...'), f"{path}.type")
    if kind != "function":
        name, description = optional_text(fields, "name", path), ""
        if kind in ("custom", "namespace"):
            description = optional_text(fields, "description", path)
        return Tool(name, description, kind=kind, opaque=Opaque(NAME, kind, bytes(raw)))
    inner = fields
    if "name" not in fields and not absent(fields.get("function")):  # Chat's nesting, which LiteLLM's callers send
        inner = mapping(fields["function"], f"{path}.function")
    plain = inner is fields and all(key in _TOOL or absent(value) for key, value in fields.items())
    return Tool(
        text(needed(inner, "name", path, "the function's name"), f"{path}.name"),
        optional_text(inner, "description", path),
        optional_object(inner, "parameters", path),
        optional_flag(inner, "strict", path),
        opaque=None if plain or inner is not fields else Opaque(NAME, kind, bytes(raw)),
    )


_MODES = {"auto": "auto", "none": "none", "required": "required"}
_NAMED = ("function", "custom")


def _tool_choice(raw: Raw, out: _Out, extra: list[Opaque]) -> None:
    path = "tool_choice"
    if opens(raw, '"'):
        word = text(raw, path)
        if word not in _MODES:
            message = f'\'{path}\' is {word!r}; it must be "none", "auto", "required" or an object naming a tool.'
            raise GatewayError("bad_request", message, param=path)
        out[path] = ToolChoice(_MODES[word])
        return
    if not opens(raw, "{"):
        raise wrong(path, raw, '"none", "auto", "required" or an object naming a tool')
    fields = mapping(raw, path)
    kind = text(needed(fields, "type", path, '"function", "custom" or "allowed_tools"'), f"{path}.type")
    choice: ToolChoice | None = None
    if kind in _NAMED:
        inner = fields
        if "name" not in fields and not absent(fields.get(kind)):  # Chat's nesting
            inner = mapping(fields[kind], f"{path}.{kind}")
        choice = ToolChoice("named", (text(needed(inner, "name", path, "the name of a tool"), f"{path}.name"),))
    elif kind == "allowed_tools":
        choice = _allowed(fields, path)
    if choice is None:  # a server tool's: of this dialect only
        extra.append(Opaque(NAME, path, bytes(raw)))
    else:
        out[path] = choice


def _allowed(fields: Mapping[str, Raw], path: str) -> ToolChoice | None:
    mode = text(needed(fields, "mode", path, '"auto" or "required"'), f"{path}.mode")
    names = []
    for place, raw in enumerate(items(needed(fields, "tools", path, "an array of tools"), f"{path}.tools")):
        tool = mapping(raw, f"{path}.tools[{place}]")
        name = optional_text(tool, "name", path)
        if optional_text(tool, "type", path) not in _NAMED or not name:
            return None
        names.append(name)
    return ToolChoice("allowed", tuple(names), mode == "required")


_SHAPED: dict[str, Callable[[Raw, _Out, list[Opaque]], None]] = {
    "include": _include,
    "stop": _stop,
    "reasoning": _reasoning,
    "text": _text,
    **dict.fromkeys(guided.FIELDS, _guided),
    "tools": _tools,
    "tool_choice": _tool_choice,
}
