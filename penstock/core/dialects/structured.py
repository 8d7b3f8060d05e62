"""Structured output by a forced tool, for targets that enforce no JSON schema themselves.

The request renderer adds one tool whose parameters are the schema and makes the model call it; on the way back the
call's arguments are the answer's text. Both sides ask ``plan`` and so agree without telling each other::

    forced = structured.plan(request, native_schema)
    if forced is not None:
        events = structured.unforce(events, forced)          # or Unforcer(forced).feed(event), step by step
        response = structured.unforce_response(response, forced)

Works on neutral values only: any dialect's answer can be turned back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.envelope import BAD_JSON
from penstock.core.ir import (
    Block,
    Choice,
    Close,
    Delta,
    Event,
    Open,
    OutputFormat,
    Request,
    Response,
    Stop,
    Text,
    Tool,
    ToolChoice,
    ToolUse,
)

TOOL_NAME = "json_output"
KEY = "value"  # where a schema that is not an object stands inside the tool's parameters
_ANY_OBJECT = b'{"type":"object"}'
_OBJECT = Decoder(dict[str, Raw])


class Forced(Struct, frozen=True, gc=False):
    """The forced tool: its ``name``, its parameters' ``schema`` (raw JSON), and whether the wanted value is
    ``wrapped`` in an object under ``KEY``."""

    name: str
    schema: bytes
    description: str
    wrapped: bool = False


def plan(request: Request, native_schema: bool) -> Forced | None:
    """Plan the forced tool that stands in for ``request.output``; None when none is needed.

    ``native_schema``: the target's dialect enforces a JSON schema itself. JSON without a schema always needs the tool
    in a dialect that knows schemas only."""
    output = request.output
    if output is None or output.kind not in ("json_schema", "json_object") or (native_schema and output.schema):
        return None
    taken = {tool.name for tool in request.tools}
    name = TOOL_NAME
    while name in taken:
        name += "_"
    schema, wrapped = _parameters(output)
    description = output.description or "Give the answer to the user by calling this tool. Its input is the answer."
    return Forced(name, schema, description, wrapped)


def _parameters(output: OutputFormat) -> tuple[bytes, bool]:
    """Return the tool's parameters, which are an object; a schema of anything else is wrapped in one."""
    if not output.schema:
        return _ANY_OBJECT, False
    fields = _OBJECT.decode(output.schema)
    kind = bytes(fields["type"]) if "type" in fields else b""
    if kind == b'"object"':
        return output.schema, False
    if not kind and "$ref" not in fields and ("properties" in fields or not _COMBINED & set(fields)):
        return encode({"type": "object", **fields}), False
    properties = {KEY: Raw(output.schema)}
    shared = {key: fields[key] for key in ("$defs", "definitions") if key in fields}
    return encode({"type": "object", "properties": properties, "required": [KEY], **shared}), True


_COMBINED = frozenset(("anyOf", "oneOf", "allOf", "enum", "const", "items"))


def force(request: Request, forced: Forced) -> Request:
    """Add the tool to the request, and make the model call it.

    With tools of the client's own the model must call some tool, so that it may still use those; a choice that the
    client named itself stands."""
    tool = Tool(forced.name, forced.description, forced.schema)
    choice = request.tool_choice
    if not request.tools or choice is None or choice.mode in ("auto", "none", "required"):
        free = bool(request.tools) and (choice is None or choice.mode != "none")
        choice = ToolChoice("required") if free else ToolChoice("named", (forced.name,))
    tools = (*request.tools, tool)
    return replace(request, tools=tools, tool_choice=choice, output=None, parallel_tools=False)


def text_of(args: str, forced: Forced) -> str:
    """Return the JSON text that the forced call carried."""
    if not forced.wrapped:
        return args
    try:
        inner = _OBJECT.decode(args).get(KEY)
    except BAD_JSON:
        return args
    return args if inner is None else bytes(inner).decode()


class Unforcer:
    """A filter of events: the forced tool's call becomes text, and a stop for that call an ordinary one."""

    __slots__ = ("_buffers", "_calls", "_forced", "_others")

    def __init__(self, forced: Forced) -> None:
        self._forced = forced
        self._buffers: dict[int, list[str]] = {}  # open forced blocks whose value is wrapped: only whole can it be told
        self._calls: dict[int, int] = {}  # choice -> forced calls seen
        self._others: set[int] = set()  # choices that called another tool

    def feed(self, event: Event) -> Iterator[Event]:
        if isinstance(event, Open) and isinstance(event.block, ToolUse):
            if event.block.name != self._forced.name:
                self._others.add(event.choice)
                yield event
                return
            self._calls[event.choice] = self._calls.get(event.choice, 0) + 1
            if self._forced.wrapped:
                self._buffers[event.index] = []
            yield Open(event.index, Text(""), event.choice)
        elif isinstance(event, Delta) and event.index in self._buffers:
            self._buffers[event.index].append(event.text)
        elif isinstance(event, Close) and event.index in self._buffers:
            yield Delta(event.index, text_of("".join(self._buffers.pop(event.index)), self._forced))
            yield event
        elif isinstance(event, Stop):
            own = event.reason == "tool_use" and event.choice in self._calls and event.choice not in self._others
            yield replace(event, reason="stop") if own else event
        else:
            yield event


def unforce(events: Iterable[Event], forced: Forced) -> Iterator[Event]:
    """Turn the forced calls of a whole stream back into text, by an ``Unforcer``."""
    unforcer = Unforcer(forced)
    for event in events:
        yield from unforcer.feed(event)


def unforce_response(response: Response, forced: Forced) -> Response:
    """Turn the forced calls of a whole answer back into text."""
    return replace(response, choices=tuple(_choice(choice, forced) for choice in response.choices))


def _choice(choice: Choice, forced: Forced) -> Choice:
    blocks: list[Block] = []
    calls = others = 0
    for block in choice.blocks:
        if isinstance(block, ToolUse) and block.name == forced.name:
            calls += 1
            blocks.append(Text(text_of(block.args, forced)))
        else:
            others += isinstance(block, ToolUse)
            blocks.append(block)
    finish = "stop" if choice.finish == "tool_use" and calls and not others else choice.finish
    return replace(choice, blocks=tuple(blocks), finish=finish)
