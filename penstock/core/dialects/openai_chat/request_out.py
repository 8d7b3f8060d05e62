"""A ``Request`` to a Chat request body."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects import guided, structured
from penstock.core.dialects.base import Rendered, Wire
from penstock.core.dialects.openai_chat.messages_out import render_turns
from penstock.core.dialects.openai_chat.names import LEGACY, NAME
from penstock.core.dialects.openai_chat.parts import NO_MARKS, cache_control
from penstock.core.ir import Loss, Opaque, OutputFormat, Reasoning, Request, Tool, ToolChoice

# Neutral attributes that are one field here, value and all.
_SIMPLE = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("seed", "seed"),
    ("n", "n"),
    ("logprobs", "logprobs"),
    ("top_logprobs", "top_logprobs"),
    ("store", "store"),
)
_TEXTS = (
    ("verbosity", "verbosity"),
    ("user", "user"),
    ("service_tier", "service_tier"),
    ("cache_key", "prompt_cache_key"),
)
FORMAT_NAME = "response"  # a schema must have a name here


def render_request(request: Request, wire: Wire) -> Rendered:
    """Render the body for ``wire``, and tell what it could not carry. The vendor's own API gets the vendor's own fields
    only; a compatible server also those that such servers share (``top_k``, ``max_tokens``). Where a schema is not
    enforced, a forced tool stands in (see ``structured``)."""
    losses: list[Loss] = []
    if request.output is not None and request.output.schema and not wire.native_schema:
        forced = structured.plan(request, native_schema=False)
        request = request if forced is None else structured.force(request, forced)
    fields: dict[str, Any] = {"model": wire.model, "messages": render_turns(request.messages, wire, losses)}
    _tools(request, wire, fields, losses)
    for attribute, key in _SIMPLE:
        value = getattr(request, attribute)
        if value is not None:
            fields[key] = value
    for attribute, key in _TEXTS:
        if value := getattr(request, attribute):
            fields[key] = value
    if request.max_tokens is not None:
        fields["max_completion_tokens" if wire.official else "max_tokens"] = request.max_tokens
    if request.top_k is not None:
        if wire.official:
            losses.append(Loss("top_k", "the vendor has no such field"))
        else:
            fields["top_k"] = request.top_k
    if request.stop:
        fields["stop"] = list(request.stop)
    if request.logit_bias:
        fields["logit_bias"] = Raw(request.logit_bias)
    if request.metadata:
        fields["metadata"] = Raw(request.metadata)
    if request.reasoning is not None:
        _reasoning(request.reasoning, fields, losses)
    if request.output is not None and request.output.kind in guided.CONSTRAINTS:
        losses.append(Loss(f"output.{request.output.kind}", "engines have fields of their own for it"))
    elif request.output is not None:
        fields["response_format"] = _format(request.output)
    if request.previous_id:
        losses.append(Loss("previous_id", "Chat keeps no conversation"))
    if request.include:
        losses.append(Loss("include", "Chat has nothing to include"))
    _extra(request, fields, losses)
    _stream(request, wire, fields)
    return Rendered({k: v if isinstance(v, Raw) else Raw(encode(v)) for k, v in fields.items()}, tuple(losses))


def effort_of(reasoning: Reasoning) -> str:
    """Return the effort that says what ``reasoning`` says; "" when it says nothing of it."""
    if reasoning.effort:
        return reasoning.effort
    if reasoning.mode == "disabled":
        return "none"
    budget = reasoning.budget
    if budget is None:
        return ""
    return "high" if budget >= 16384 else "medium" if budget >= 4096 else "low" if budget >= 1024 else "minimal"


def _reasoning(reasoning: Reasoning, fields: dict[str, Any], losses: list[Loss]) -> None:
    effort = effort_of(reasoning)
    if effort:
        fields["reasoning_effort"] = effort
        derived = effort_of(Reasoning(budget=reasoning.budget)) if reasoning.budget is not None else effort
        if derived != effort:
            losses.append(Loss("reasoning.budget", "only the effort is carried here"))
        if reasoning.mode == "disabled" and effort != "none":
            losses.append(Loss("reasoning.mode", "only the effort is carried here"))
    elif reasoning.mode:
        losses.append(Loss("reasoning.mode", "reasoning is asked for by effort here"))
    if reasoning.summary:
        losses.append(Loss("reasoning.summary", "Chat gives no summaries"))
    if reasoning.display:
        losses.append(Loss("reasoning.display", "Chat has no such choice"))


def _format(output: OutputFormat) -> dict[str, Any]:
    if output.kind != "json_schema":
        return {"type": output.kind}
    inner: dict[str, Any] = {"name": output.name or FORMAT_NAME}
    if output.description:
        inner["description"] = output.description
    if output.schema:
        inner["schema"] = Raw(output.schema)
    if output.strict is not None:
        inner["strict"] = output.strict
    return {"type": "json_schema", "json_schema": inner}


def _tools(request: Request, wire: Wire, fields: dict[str, Any], losses: list[Loss]) -> None:
    tools: list[Any] = []
    kinds: dict[str, str] = {}
    for place, tool in enumerate(request.tools):
        rendered = _tool(tool, f"tools.{place}", wire, losses)
        if rendered is not None:
            tools.append(rendered)
            kinds[tool.name] = tool.kind
    choice = request.tool_choice
    if tools:
        fields["tools"] = tools
        if choice is not None:
            fields["tool_choice"] = _choice(choice, kinds)
        if request.parallel_tools is not None:
            fields["parallel_tool_calls"] = request.parallel_tools
        return
    # The vendor refuses both fields where there are no tools.
    if choice is not None:
        losses.append(Loss("tool_choice", "there are no tools to choose from"))
    if request.parallel_tools is not None:
        losses.append(Loss("parallel_tools", "there are no tools to call"))


def _tool(tool: Tool, path: str, wire: Wire, losses: list[Loss]) -> Any:
    opaque = tool.opaque
    if opaque is not None and opaque.dialect == NAME and opaque.kind != LEGACY:
        return Raw(opaque.raw)
    if tool.kind != "function":
        losses.append(Loss(path, f"a tool of type {tool.kind} belongs to its own dialect"))
        return None
    if opaque is not None and opaque.raw:
        losses.append(Loss(f"{path}.opaque", f"fields that only {opaque.dialect} knows"))
    inner: dict[str, Any] = {"name": tool.name}
    if tool.description:
        inner["description"] = tool.description
    if tool.schema:
        inner["parameters"] = Raw(tool.schema)
    if tool.strict is not None:
        inner["strict"] = tool.strict
    out: dict[str, Any] = {"type": "function", "function": inner}
    if tool.cache is not None:
        if not wire.cache_marks:
            losses.append(Loss(f"{path}.cache", NO_MARKS))
        else:
            out["cache_control"] = cache_control(tool.cache)
    return out


def _choice(choice: ToolChoice, kinds: dict[str, str]) -> Any:
    def named(name: str) -> dict[str, Any]:
        kind = "custom" if kinds.get(name) == "custom" else "function"
        return {"type": kind, kind: {"name": name}}

    if choice.mode == "named":
        return named(choice.names[0])
    if choice.mode == "allowed":
        mode = "required" if choice.required else "auto"
        tools = [named(name) for name in choice.names]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
    return choice.mode


def _extra(request: Request, fields: dict[str, Any], losses: list[Loss]) -> None:
    """Put fields that nobody knew on the way in back to this dialect, where they win over what was understood of
    them."""
    for opaque in request.extra:
        if opaque.dialect == NAME:
            fields[opaque.kind] = Raw(opaque.raw)
        else:
            losses.append(_lost(opaque))


def _lost(opaque: Opaque) -> Loss:
    return Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only")


_OPTIONS = Decoder(dict[str, Raw]).decode


def _stream(request: Request, wire: Wire, fields: dict[str, Any]) -> None:
    """Ask for usage in a stream, always: the meter needs it; whether the client sees it is the encoder's business."""
    if not request.stream:
        return
    fields["stream"] = True
    if not wire.stream_usage:
        return
    had = fields.get("stream_options")
    options: dict[str, Any] = dict(_OPTIONS(had)) if isinstance(had, Raw) else {}
    options["include_usage"] = True
    fields["stream_options"] = options
