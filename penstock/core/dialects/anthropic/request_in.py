"""A Messages request body to the neutral ``Request``. Nothing is lost: what has no neutral place becomes ``extra``,
keyed by its path ("context_management", "output_config.task_budget", "metadata.team").

Source: https://docs.anthropic.com/en/api/messages and the ``anthropic`` client's ``MessageCreateParams``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects import guided
from penstock.core.dialects.anthropic import wire
from penstock.core.dialects.anthropic.blocks_in import (
    TURN,
    bad,
    beside,
    fields_of,
    from_wire,
    items,
    mark,
    present,
    read_content,
    string,
    text_block,
    unsealed,
)
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Request,
    Role,
    Text,
    Tool,
    ToolChoice,
)

KNOWN = frozenset(
    (
        "model",
        "messages",
        "system",
        "max_tokens",
        "metadata",
        "stop_sequences",
        "stream",
        "temperature",
        "top_k",
        "top_p",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "service_tier",
        *guided.FIELDS,
    )
)
ROLES = ("user", "assistant", "system")
_NO_THREADS = b'{"error_code":"thread_unsupported_request"}'


class _Turn(Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[wire.Block]


class _Function(Struct, forbid_unknown_fields=True):
    name: str
    input_schema: Raw
    description: str = ""
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: wire.Cache | None = None


_TURNS = Decoder(list[_Turn])
_TURN = Decoder(_Turn)
_TEXTS = Decoder(list[wire.TextBlock])
_TOOLS = Decoder(list[_Function])
_TOOL = Decoder(_Function)
_INT = Decoder(int)
_FLOAT = Decoder(float)
_BOOL = Decoder(bool)
_STRINGS = Decoder(list[str])


def parse_request(fields: Mapping[str, Raw]) -> Request:
    """Read the body's top level as a ``Request``. Raises ``GatewayError("bad_request")`` with ``param`` for a missing
    ``model``, ``messages`` or ``max_tokens`` and for values of a wrong type, and "unsupported" for a ``thread``."""
    if present(fields, "thread") is not None:
        # The vendor keeps the conversation, and a turn holds only what is new: without it the answer would be to a
        # fragment. By these details the vendor's client sends the whole conversation again (anthropic 2.10,
        # lib/threads).
        text = "'thread' is kept by Anthropic only: send the whole conversation without 'thread'."
        raise GatewayError("unsupported", text, param="thread", details=_NO_THREADS)
    most = _typed(fields, "max_tokens", _INT, "a whole number of tokens")
    if most is None:
        bad("max_tokens", None, "a whole number of tokens")
    if most < 0:
        bad("max_tokens", fields["max_tokens"], "0 or more")
    return parse_prompt(fields, most)


def parse_prompt(fields: Mapping[str, Raw], max_tokens: int | None = None) -> Request:
    """Read a body as ``parse_request`` does, for those without ``max_tokens`` (``count_tokens``)."""
    extra = [Opaque(wire.NAME, key, bytes(raw)) for key, raw in fields.items() if key not in KNOWN]
    choice, parallel = _tool_choice(fields, extra)
    reasoning, output = _output(fields, extra)
    return Request(
        model=string(fields, "model", ""),
        messages=_system(fields) + _messages(fields),
        dialect=wire.NAME,
        tools=_tools(fields),
        tool_choice=choice,
        parallel_tools=parallel,
        max_tokens=max_tokens,
        temperature=_typed(fields, "temperature", _FLOAT, "a number"),
        top_p=_typed(fields, "top_p", _FLOAT, "a number"),
        top_k=_typed(fields, "top_k", _INT, "a whole number"),
        stop=tuple(_typed(fields, "stop_sequences", _STRINGS, "an array of strings") or ()),
        reasoning=reasoning,
        output=output,
        user=_user(fields, extra),
        service_tier=string(fields, "service_tier", "", ""),
        stream=bool(_typed(fields, "stream", _BOOL, "true or false")),
        extra=tuple(extra),
    )


def _typed(fields: Mapping[str, Raw], key: str, decoder: Decoder[Any], want: str, at: str = "") -> Any:
    value = present(fields, key)
    if value is None:
        return None
    try:
        return decoder.decode(value)
    except msgspec.ValidationError:
        bad(at + key, value, want)


# Turns ----------------------------------------------------------------------------------------------------------------


def _system(fields: Mapping[str, Raw]) -> tuple[Message, ...]:
    value = present(fields, "system")
    if value is None:
        return ()
    blocks: tuple[Block, ...]
    try:
        if bytes(memoryview(value)[:1]) == b"[":
            blocks = tuple([text_block(block) for block in _TEXTS.decode(value)])
        else:
            blocks = read_content(value, "system")
    except msgspec.ValidationError:
        blocks = read_content(value, "system")
    if blocks == (Text(""),):
        blocks = ()
    return (Message("system", blocks),) if blocks else ()


def _messages(fields: Mapping[str, Raw]) -> tuple[Message, ...]:
    value = present(fields, "messages")
    if value is None:
        bad("messages", None, "an array of messages")
    try:
        return tuple([_message(turn) for turn in _TURNS.decode(value)])
    except msgspec.ValidationError:
        turns = items(value, "messages", "an array of messages")
        return tuple([_read_message(raw, f"messages.{number}") for number, raw in enumerate(turns)])


def _message(turn: _Turn) -> Message:
    content = turn.content
    if isinstance(content, str):
        return Message(turn.role, (Text(content),))
    return Message(turn.role, unsealed(tuple([from_wire(block) for block in content])))


def _read_message(raw: Raw, at: str) -> Message:
    """Read one message of whatever shape: strictly if it can be, else block by block."""
    try:
        return _message(_TURN.decode(raw))
    except msgspec.ValidationError:
        pass
    fields = fields_of(raw, at, "an object with role and content")
    role = string(fields, "role", f"{at}.")
    if role not in ROLES:
        bad(f"{at}.role", fields["role"], "user, assistant or system")
    content = present(fields, "content")
    if content is None and role != "system":
        bad(f"{at}.content", None, "a string or an array of content blocks")
    blocks = () if content is None else unsealed(read_content(content, f"{at}.content"))
    rest = {key: fields[key] for key in fields if key not in ("role", "content") and present(fields, key) is not None}
    if rest:
        blocks = (beside(TURN, rest), *blocks)
    named: Role = role  # type: ignore[assignment]
    return Message(named, blocks)


# Tools ----------------------------------------------------------------------------------------------------------------


def _tools(fields: Mapping[str, Raw]) -> tuple[Tool, ...]:
    value = present(fields, "tools")
    if value is None:
        return ()
    try:
        return tuple([_function(tool) for tool in _TOOLS.decode(value)])
    except msgspec.ValidationError:
        tools = items(value, "tools", "an array of tools")
        return tuple([_read_tool(raw, f"tools.{number}") for number, raw in enumerate(tools)])


def _function(tool: _Function, opaque: Opaque | None = None) -> Tool:
    schema = bytes(tool.input_schema)
    cache = mark(tool.cache_control)
    return Tool(tool.name, tool.description, schema, tool.strict, cache=cache, opaque=opaque)


_PLAIN = frozenset(("name", "input_schema", "description", "type", "strict", "cache_control"))


def _read_tool(raw: Raw, at: str) -> Tool:
    """Read a tool of whatever shape. A function with fields the neutral form lacks (``eager_input_streaming``,
    ``defer_loading``, ``input_examples``, ``allowed_callers``) keeps all of itself in ``opaque`` as well."""
    try:
        return _function(_TOOL.decode(raw))
    except msgspec.ValidationError:
        pass
    fields = fields_of(raw, at)
    kind = string(fields, "type", f"{at}.", "custom")
    whole = Opaque(wire.NAME, kind, bytes(raw))
    if kind != "custom":
        return Tool(string(fields, "name", f"{at}.", ""), kind=kind, opaque=whole)
    schema = present(fields, "input_schema")
    if schema is None:
        bad(f"{at}.input_schema", None, "a JSON schema object")
    fields_of(schema, f"{at}.input_schema", "a JSON schema object")
    kept = {key: fields[key] for key in _PLAIN & set(fields) if present(fields, key) is not None}
    cache = present(fields, "cache_control")
    if cache is not None:
        ttl = string(fields_of(cache, f"{at}.cache_control"), "ttl", f"{at}.cache_control.", "")
        kept["cache_control"] = Raw(encode(wire.Cache(ttl or None)))
    string(fields, "name", f"{at}.")
    try:
        return _function(_TOOL.decode(encode(kept)), whole)
    except msgspec.ValidationError as error:
        bad(at, raw, f"a tool ({error})")


def _tool_choice(fields: Mapping[str, Raw], extra: list[Opaque]) -> tuple[ToolChoice | None, bool | None]:
    value = present(fields, "tool_choice")
    if value is None:
        return None, None
    inner = fields_of(value, "tool_choice", 'an object such as {"type": "auto"}')
    kind = string(inner, "type", "tool_choice.")
    modes = {"auto": "auto", "any": "required", "none": "none", "tool": "named"}
    if kind not in modes:
        bad("tool_choice.type", inner["type"], "auto, any, tool or none")
    names = (string(inner, "name", "tool_choice."),) if kind == "tool" else ()
    single = present(inner, "disable_parallel_tool_use")
    if single is not None and bytes(single) not in (b"true", b"false"):
        bad("tool_choice.disable_parallel_tool_use", single, "true or false")
    _rest(inner, "tool_choice", {"type", "name", "disable_parallel_tool_use"}, extra)
    return ToolChoice(modes[kind], names), None if single is None else bytes(single) == b"false"


def _rest(inner: Mapping[str, Raw], at: str, known: set[str], extra: list[Opaque]) -> None:
    """Keep in ``extra`` the fields of a known object that have no neutral place."""
    for key, raw in inner.items():
        if key not in known and present(inner, key) is not None:
            extra.append(Opaque(wire.NAME, f"{at}.{key}", bytes(raw)))


# Reasoning, output, user ----------------------------------------------------------------------------------------------


def _output(fields: Mapping[str, Raw], extra: list[Opaque]) -> tuple[Reasoning | None, OutputFormat | None]:
    effort = ""
    output: OutputFormat | None = None
    wanted: Raw | None = None
    config = present(fields, "output_config")
    if config is not None:
        inner = fields_of(config, "output_config")
        effort = string(inner, "effort", "output_config.", "")
        wanted = present(inner, "format")
        _rest(inner, "output_config", {"effort", "format"}, extra)
    old = present(fields, "output_format")  # the beta's spelling of output_config.format
    if wanted is not None:
        output = _format(wanted, "output_config.format", extra)
    elif old is not None:
        output = _format(old, "output_format", extra)
    else:  # vLLM's fields; an explicit format wins
        output = guided.read(fields)
    return _thinking(fields, effort, extra), output


def _format(value: Raw, at: str, extra: list[Opaque]) -> OutputFormat | None:
    inner = fields_of(value, at)
    kind = string(inner, "type", f"{at}.")
    schema = present(inner, "schema")
    if kind != "json_schema":
        extra.append(Opaque(wire.NAME, at, bytes(value)))
        return None
    if schema is None:
        bad(f"{at}.schema", None, "a JSON schema object")
    fields_of(schema, f"{at}.schema", "a JSON schema object")
    _rest(inner, "output_config.format", {"type", "schema"}, extra)
    return OutputFormat("json_schema", schema=bytes(schema))


def _thinking(fields: Mapping[str, Raw], effort: str, extra: list[Opaque]) -> Reasoning | None:
    value = present(fields, "thinking")
    if value is None:
        return Reasoning(effort=effort) if effort else None
    inner = fields_of(value, "thinking", 'an object such as {"type": "adaptive"}')
    mode = string(inner, "type", "thinking.")
    if mode not in ("enabled", "adaptive", "disabled"):
        extra.append(Opaque(wire.NAME, "thinking", bytes(value)))
        return Reasoning(effort=effort) if effort else None
    budget: int | None = None
    if mode == "enabled":
        budget = _typed(inner, "budget_tokens", _INT, "a whole number of tokens", "thinking.")
        if budget is None:
            bad("thinking.budget_tokens", None, "a whole number of tokens, 1024 or more")
    display = string(inner, "display", "thinking.", "")
    _rest(inner, "thinking", {"type", "budget_tokens", "display"}, extra)
    return Reasoning(effort=effort, budget=budget, mode=mode, display=display)


def _user(fields: Mapping[str, Raw], extra: list[Opaque]) -> str:
    value = present(fields, "metadata")
    if value is None:
        return ""
    inner = fields_of(value, "metadata")
    _rest(inner, "metadata", {"user_id"}, extra)
    return string(inner, "user_id", "metadata.", "")
