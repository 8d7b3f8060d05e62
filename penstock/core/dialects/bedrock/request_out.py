"""The neutral ``Request`` as a Converse body. The model and the wish for a stream stand in the URL.

Sources as in ``wire``. What the API has no field for is a ``Loss``; what a family of models has under a name of its own
goes to ``additionalModelRequestFields``, and so does, as LiteLLM's users are used to, a field of a Chat request that
nobody here knows.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects import structured
from penstock.core.dialects.base import Rendered, Wire
from penstock.core.dialects.bedrock.blocks_out import Writer, point
from penstock.core.dialects.bedrock.thinking import thinking
from penstock.core.dialects.bedrock.turns import POLICY, build_turns, used_tools, write_turn
from penstock.core.dialects.bedrock.wire import NAME
from penstock.core.dialects.lacking import lose_lacking
from penstock.core.dialects.turns import split_system
from penstock.core.ir import Loss, OutputFormat, Request, Tool, ToolResult, ToolUse
from penstock.core.models import (
    Converse,
    converse,
    takes_schema_on_bedrock,
    takes_strict_on_bedrock,
)

MORE = "additionalModelRequestFields"
LIMITS = "inferenceConfig"
NATIVE = frozenset(
    "guardrailConfig performanceConfig requestMetadata additionalModelResponseFieldPaths promptVariables "
    "serviceTier outputConfig".split()
)
"""Fields of Converse that a client of another dialect may give as they are."""
_OWN_OBJECTS = (MORE, LIMITS)
# What Chat's and Responses' own fields mean is not carried; any other name is the model's business.
_OPENAIS = frozenset(
    "modalities audio prediction web_search_options functions function_call prompt_cache_retention "
    "prompt_cache_options safety_identifier background truncation conversation max_tool_calls prompt moderation "
    "stream_options context_management text instructions store".split()
)
_TIERS = {"auto": "", "default": "default", "standard_only": "default", "flex": "flex", "priority": "priority"}
_OBJECT = Decoder(dict[str, Raw]).decode
_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')


def forced(request: Request, wire: Wire) -> structured.Forced | None:
    """Plan the tool that stands in for a schema, for models that enforce none."""
    return structured.plan(request, wire.native_schema and takes_schema_on_bedrock(wire.model))


def render_request(request: Request, wire: Wire) -> Rendered:
    """Render the body for ``wire``, and tell what it could not carry."""
    losses: list[Loss] = []
    stand_in = forced(request, wire)
    output = None if stand_in is not None else request.output
    alone = request.parallel_tools is False
    if stand_in is not None:
        request = structured.force(request, stand_in)
    takes = converse(wire.model)
    own = request.dialect == NAME
    writer = Writer(wire.family, own, losses, takes.caches, takes.caches)
    body: dict[str, Any] = {}
    _prompt(request, writer, body)
    _tools(request, wire.model, alone, writer, body)
    limits = _limits(request)
    more = thinking(request, wire, limits, writer)
    _sampling(request, takes, more, limits, writer)
    if limits:
        body[LIMITS] = limits
    if more:
        body[MORE] = more
    _output(output, writer, body)
    _account(request, writer, body)
    _unknown(request, writer, body)
    return Rendered({key: Raw(encode(value)) for key, value in body.items()}, tuple(losses))


def _prompt(request: Request, writer: Writer, body: dict[str, Any]) -> None:
    items, start = split_system(request.messages, writer, POLICY)
    system = writer.blocks(items, "system")
    turns = build_turns(request.messages, start, writer)
    written = [write_turn(turn, writer) for turn in turns]
    body["messages"] = [turn for turn in written if turn is not None]
    if system:
        body["system"] = system


# Tools ----------------------------------------------------------------------------------------------------------------


def _tools(request: Request, model: str, alone: bool, writer: Writer, body: dict[str, Any]) -> None:
    spoken = any(isinstance(b, (ToolUse, ToolResult)) for message in request.messages for b in message.blocks)
    choice = request.tool_choice
    if choice is not None and choice.mode == "none" and not spoken:
        return  # there is no such choice here: without tools none is called
    tools: list[Any] = []
    for number, tool in enumerate(request.tools):
        tools += _tool(tool, f"tools.{number}", takes_strict_on_bedrock(model), writer)
    if not tools and not writer.own:
        tools = [_again(name) for name in used_tools(request.messages)]
        if tools:
            writer.lose("tools", "the API wants the tools that were called before to be declared: they may be called")
    if not tools:
        if choice is not None and choice.mode not in ("auto", "none"):
            writer.lose("tool_choice", "no tools are left to choose from")
        return
    config: dict[str, Any] = {"tools": tools}
    picked = _choice(request, converse(model), writer)
    if picked is not None:
        config["toolChoice"] = picked
    if alone:
        writer.lose("parallel_tools", "calls cannot be limited to one here")
    body["toolConfig"] = config


def _tool(tool: Tool, at: str, strict: bool, writer: Writer) -> list[Any]:
    if tool.opaque is not None and tool.opaque.dialect == NAME:
        return [Raw(tool.opaque.raw)]
    if tool.kind != "function":
        writer.lose(at, f"a tool of kind {tool.kind} is not known here")
        return []
    if tool.opaque is not None and tool.opaque.raw:
        writer.lose(f"{at}.opaque", f"fields that only {tool.opaque.dialect} knows")
    spec: dict[str, Any] = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    spec["inputSchema"] = {"json": _schema(tool.schema, writer.own)}
    if tool.strict is not None and writer.own:
        spec["strict"] = tool.strict
    elif tool.strict and strict:
        spec["strict"] = True
    elif tool.strict:
        writer.lose(f"{at}.strict", "this model's tools cannot be strict")
    if tool.cache is None:
        return [{"toolSpec": spec}]
    if not writer.caches:
        writer.lose(f"{at}.cache", "this model takes no cache points")
        return [{"toolSpec": spec}]
    return [{"toolSpec": spec}, point(tool.cache)]


def _schema(schema: bytes, own: bool) -> Raw:
    """Return the parameters, with ``type`` at the top, which OpenAI's clients may leave out."""
    if not schema:
        return _NO_PARAMETERS
    if own or schema.startswith((b'{"type":"object"', b'{"type": "object"')):
        return Raw(schema)
    fields = _OBJECT(schema)
    return Raw(schema) if "type" in fields else Raw(encode({"type": "object", **fields}))


def _again(name: str) -> dict[str, Any]:
    return {"toolSpec": {"name": name, "inputSchema": {"json": _NO_PARAMETERS}}}


def _choice(request: Request, takes: Converse, writer: Writer) -> dict[str, Any] | None:
    choice = request.tool_choice
    if choice is None:
        return None
    mode = choice.mode
    if mode == "none":
        writer.lose("tool_choice", "the tools of earlier calls have to stay, and there is no choice of none")
        return None
    if mode == "allowed":
        writer.lose("tool_choice.names", "the choice cannot be narrowed to some tools")
        mode = "required" if choice.required else "auto"
    if mode == "auto":
        return {"auto": {}} if writer.own else None
    if not takes.chooses and not writer.own:
        writer.lose("tool_choice", "this model takes no choice of tools")
        return None
    return {"tool": {"name": choice.names[0]}} if mode == "named" else {"any": {}}


# Settings -------------------------------------------------------------------------------------------------------------


def _limits(request: Request) -> dict[str, Any]:
    settings = {"maxTokens": request.max_tokens, "temperature": request.temperature, "topP": request.top_p}
    return {key: value for key, value in settings.items() if value is not None}


def _sampling(request: Request, takes: Converse, more: dict[str, Any], limits: dict[str, Any], writer: Writer) -> None:
    top_k = request.top_k
    if top_k is not None and not takes.top_k:
        writer.lose("top_k", "this model takes none")
    elif top_k is not None:
        key, _, inner = takes.top_k.partition(".")
        more[key] = {inner: top_k} if inner else top_k
    if request.stop:
        limits["stopSequences"] = list(request.stop)


def _output(output: OutputFormat | None, writer: Writer, body: dict[str, Any]) -> None:
    if output is None or output.kind == "text":
        return
    made: dict[str, Any] = {"schema": output.schema.decode()}
    if output.name:
        made["name"] = output.name
    if output.description:
        made["description"] = output.description
    body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": made}}}


def _account(request: Request, writer: Writer, body: dict[str, Any]) -> None:
    """Set who pays, and report the settings that this API has not."""
    if request.service_tier:
        tier = _TIERS.get(request.service_tier)
        if tier is None:
            writer.lose("service_tier", f"{request.service_tier} is not offered here")
        elif tier:
            body["serviceTier"] = {"type": tier}
    lose_lacking(request, writer)


def _unknown(request: Request, writer: Writer, body: dict[str, Any]) -> None:
    """Put back the fields that nobody here knows. This dialect's own go to where they stood (a dotted kind is a path);
    Converse's under their own names stand as they are; those of a Chat request are the model's."""
    for opaque in request.extra:
        kind = opaque.kind
        if opaque.dialect == NAME:
            head, _, rest = kind.partition(".")
            if rest and head in _OWN_OBJECTS:
                body.setdefault(head, {})[rest] = Raw(opaque.raw)
            else:
                body[kind] = Raw(opaque.raw)
        elif kind in NATIVE:
            if kind in body:
                writer.lose(f"extra.{kind}", "the request says the same in its own words")
            else:
                body[kind] = Raw(opaque.raw)
        elif kind == MORE and opaque.raw[:1] == b"{":
            body[MORE] = {**_OBJECT(opaque.raw), **body.get(MORE, {})}
        elif kind == "anthropic_beta" or (
            opaque.dialect == "openai_chat" and kind not in _OPENAIS and "." not in kind and kind.isidentifier()
        ):
            body.setdefault(MORE, {}).setdefault(kind, Raw(opaque.raw))
        else:
            writer.lose(f"extra.{kind}", f"a field of {opaque.dialect} only")
