"""A ``Request`` to a Responses request body.

Two defaults of this API differ from the others' and are written out for their clients: ``store`` is true here unless
said, and a function is held to strict schemas unless said.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import encode

from penstock.core.dialects import guided, structured
from penstock.core.dialects.base import Rendered, Wire
from penstock.core.dialects.openai_chat.names import NAME as CHAT
from penstock.core.dialects.openai_responses.items_out import render_input
from penstock.core.dialects.openai_responses.names import ENCRYPTED, LOGPROBS, NAME, effort_of
from penstock.core.ir import Loss, Opaque, OutputFormat, Reasoning, Request, Tool, ToolChoice

LEAST_OUTPUT = 16  # the vendor refuses a smaller max_output_tokens
FORMAT_NAME = "response"  # a schema must have a name here
_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
_INNER = ("reasoning.", "text.format.", "text.")
_SIMPLE = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_logprobs", "top_logprobs"),
    ("parallel_tools", "parallel_tool_calls"),
    ("service_tier", "service_tier"),
    ("user", "user"),
    ("cache_key", "prompt_cache_key"),
    ("previous_id", "previous_response_id"),
)
# Fields that Chat has in the same words, and those of LiteLLM's users who write this API's in a Chat body.
_SHARED = frozenset(
    "prompt_cache_retention prompt_cache_options safety_identifier truncation max_tool_calls moderation".split()
)
# Fields of engines, which the vendor has not: (attribute, what it says that needs no field).
_FOREIGN: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("top_k", (None,)),
    ("seed", (None,)),
    ("n", (None, 1)),
    ("presence_penalty", (None, 0)),
    ("frequency_penalty", (None, 0)),
    ("stop", ((),)),
    ("logit_bias", (b"", b"{}")),
)


def render_request(request: Request, wire: Wire) -> Rendered:
    """Render the body for ``wire``, and tell what it could not carry. A server that enforces no schema gets a forced
    tool for one (``structured``)."""
    losses: list[Loss] = []
    own = request.dialect == NAME
    if not wire.native_schema:
        forced = structured.plan(request, False)
        if forced is not None:
            request = structured.force(request, forced)
    body: dict[str, Any] = {"model": wire.model}
    instructions, items = render_input(request, wire, losses)
    if instructions:
        body["instructions"] = instructions
    if items or not (own and _elsewhere(request)):
        body["input"] = items
    _tools(request, own, body, losses)
    _sampling(request, wire, own, body, losses)
    _text(request, body, losses)
    if request.reasoning is not None:
        _reasoning(request.reasoning, body, losses)
    _kept(request, own, body)
    if request.stream:
        body["stream"] = True
    _extra(request, body, losses)
    return Rendered({k: v if isinstance(v, Raw) else Raw(encode(v)) for k, v in body.items()}, tuple(losses))


def _elsewhere(request: Request) -> bool:
    """Tell whether the conversation is kept by the vendor: then no input need be given."""
    return bool(request.previous_id) or any(opaque.kind in ("prompt", "conversation") for opaque in request.extra)


def _sampling(request: Request, wire: Wire, own: bool, body: dict[str, Any], losses: list[Loss]) -> None:
    for attribute, key in _SIMPLE:
        value = getattr(request, attribute)
        if value not in (None, ""):
            body[key] = value
    limit = request.max_tokens
    if limit is not None:
        if limit < LEAST_OUTPUT and wire.official and not own:
            losses.append(Loss("max_tokens", f"raised to {LEAST_OUTPUT}, the least the vendor takes"))
            limit = LEAST_OUTPUT
        body["max_output_tokens"] = limit
    for attribute, silent in _FOREIGN:
        value = getattr(request, attribute)
        if value in silent:
            continue
        if own:
            body[attribute] = Raw(value) if isinstance(value, bytes) else value
        else:
            losses.append(Loss(attribute, "there is no such field here"))


def _kept(request: Request, own: bool, body: dict[str, Any]) -> None:
    """Set what the vendor is to keep, and to give back of it."""
    if request.store is not None:
        body["store"] = request.store
    elif not own and not request.previous_id:
        body["store"] = False  # the conversation is the client's; Codex says so too, so every such server takes it
    if request.metadata and request.metadata != b"{}":
        body["metadata"] = Raw(request.metadata)
    include = list(request.include)
    if request.logprobs:
        include.append(LOGPROBS)
    thinks = "reasoning" in body and body["reasoning"].get("effort") != "none"
    if not own and thinks and body.get("store") is False and ENCRYPTED not in include:
        include.append(ENCRYPTED)  # without it a stateless conversation loses its thoughts between tool calls
    if include:
        body["include"] = include


def _text(request: Request, body: dict[str, Any], losses: list[Loss]) -> None:
    text: dict[str, Any] = {}
    if request.output is not None and request.output.kind in guided.CONSTRAINTS:
        losses.append(Loss(f"output.{request.output.kind}", "there is no such constraint here"))
    elif request.output is not None:
        text["format"] = _format(request.output)
    if request.verbosity:
        text["verbosity"] = request.verbosity
    if text:
        body["text"] = text


def _format(output: OutputFormat) -> dict[str, Any]:
    out: dict[str, Any] = {"type": output.kind}
    if output.kind != "json_schema":
        return out
    out["name"] = output.name or FORMAT_NAME
    if output.description:
        out["description"] = output.description
    out["schema"] = Raw(output.schema or b"{}")
    if output.strict is not None:
        out["strict"] = output.strict
    return out


def shown(reasoning: Reasoning) -> bool:
    """Tell whether the thoughts are to be asked for: a Messages client that switched thinking on and said nothing else
    reads them, and here they come on request."""
    return reasoning.mode == "enabled" and not reasoning.display


def _reasoning(reasoning: Reasoning, body: dict[str, Any], losses: list[Loss]) -> None:
    effort = reasoning.effort
    if not effort and reasoning.mode == "disabled":
        effort = "none"
    elif not effort and reasoning.budget is not None:
        effort = effort_of(reasoning.budget)
    if reasoning.budget is not None and effort != effort_of(reasoning.budget):
        losses.append(Loss("reasoning.budget", "only the effort is carried here"))
    if reasoning.mode == "disabled" and effort != "none":
        losses.append(Loss("reasoning.mode", "only the effort is carried here"))
    elif reasoning.mode and not effort:
        losses.append(Loss("reasoning.mode", "reasoning is asked for by effort here"))
    summary = reasoning.summary
    if not summary and (reasoning.display == "summarized" or effort and shown(reasoning)):
        summary = "auto"
    if reasoning.display == "omitted" and summary:
        losses.append(Loss("reasoning.display", "a summary that is asked for is shown"))
    out = {key: value for key, value in (("effort", effort), ("summary", summary)) if value}
    if out:
        body["reasoning"] = out


# Tools ----------------------------------------------------------------------------------------------------------------


def _tools(request: Request, own: bool, body: dict[str, Any], losses: list[Loss]) -> None:
    tools: list[Any] = []
    kinds: dict[str, str] = {}
    for number, tool in enumerate(request.tools):
        if tool.opaque is not None and tool.opaque.dialect == NAME:
            tools.append(Raw(tool.opaque.raw))
        elif tool.kind != "function":
            losses.append(Loss(f"tools.{number}", f"a tool of kind {tool.kind} is not known here"))
            continue
        else:
            if tool.opaque is not None and tool.opaque.raw:
                losses.append(Loss(f"tools.{number}.opaque", f"fields that only {tool.opaque.dialect} knows"))
            if tool.cache is not None:
                losses.append(Loss(f"tools.{number}.cache", "the vendor caches by itself"))
            tools.append(_function(tool, own))
        kinds[tool.name] = tool.kind
    if tools:
        body["tools"] = tools
    choice = request.tool_choice
    if choice is None:
        return
    if not tools and not own and choice.mode not in ("auto", "none"):
        losses.append(Loss("tool_choice", "no tools are left to choose from"))
        return
    body["tool_choice"] = write_choice(choice, kinds)


def _function(tool: Tool, own: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description:
        out["description"] = tool.description
    if tool.schema:
        out["parameters"] = Raw(tool.schema)
    elif not own:
        out["parameters"] = _NO_PARAMETERS
    if tool.strict is not None or not own:
        out["strict"] = bool(tool.strict)
    return out


def write_choice(choice: ToolChoice, kinds: dict[str, str]) -> Any:
    """Write the ``tool_choice`` of a body or an answer. ``kinds``: the kind of each tool by its name."""

    def named(name: str) -> dict[str, str]:
        return {"type": "custom" if kinds.get(name) == "custom" else "function", "name": name}

    if choice.mode == "named":
        return named(choice.names[0])
    if choice.mode == "allowed":
        mode = "required" if choice.required else "auto"
        return {"type": "allowed_tools", "mode": mode, "tools": [named(name) for name in choice.names]}
    return choice.mode


def _extra(request: Request, body: dict[str, Any], losses: list[Loss]) -> None:
    """Put fields that only this dialect knows back to where they stood: a dotted kind is a path."""
    for opaque in request.extra:
        if opaque.dialect == CHAT and opaque.kind in _SHARED:
            body.setdefault(opaque.kind, Raw(opaque.raw))
            continue
        if opaque.dialect != NAME:
            losses.append(Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only"))
            continue
        put_extra(opaque, body)


def put_extra(opaque: Opaque, body: dict[str, Any]) -> None:
    """Set one field of ``extra`` in ``body``."""
    for lead in _INNER:
        if opaque.kind.startswith(lead):
            *steps, last = lead[:-1].split(".") + [opaque.kind[len(lead) :]]
            inner = body
            for step in steps:
                inner = inner.setdefault(step, {})
            inner[last] = Raw(opaque.raw)
            return
    body[opaque.kind] = Raw(opaque.raw)
