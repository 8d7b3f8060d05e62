"""A ``Request`` as a ``/v2/chat`` body, and top-level fields in OpenAI's words as Cohere's. Sources as in ``names``.

A JSON schema is enforced by ``response_format``, which the API refuses beside tools: there a forced tool stands in
(see ``structured``). A tool is chosen by offering no other one and requiring a call.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.dialects import structured
from penstock.core.dialects.base import Rendered, Wire
from penstock.core.dialects.cohere.messages_out import render_turns
from penstock.core.dialects.cohere.names import NAME, TOP, thinks
from penstock.core.dialects.openai_chat.request_out import effort_of
from penstock.core.ir import Loss, OutputFormat, Reasoning, Request, Tool

_SIMPLE = ("max_tokens", "temperature", "seed", "logprobs")
# Neutral attribute -> (field, lowest, highest): https://docs.cohere.com/reference/chat.
_BOUND: dict[str, tuple[str, float, float]] = {
    "top_p": ("p", 0.01, 0.99),
    "top_k": ("k", 0, 500),
    "frequency_penalty": ("frequency_penalty", 0.0, 1.0),
    "presence_penalty": ("presence_penalty", 0.0, 1.0),
}
_NOWHERE = (
    ("top_logprobs", "only the chosen tokens are told here"),
    ("logit_bias", "sampling has no bias per token here"),
    ("verbosity", "Cohere has no such field"),
    ("user", "Cohere has no such field"),
    ("metadata", "Cohere keeps no metadata"),
    ("service_tier", "Cohere has no tiers"),
    ("store", "Cohere keeps no answers"),
    ("cache_key", "the vendor caches by itself"),
    ("previous_id", "Cohere keeps no conversation"),
    ("include", "Cohere has nothing to include"),
)
_SCHEMA = Decoder(dict[str, Raw]).decode
_NO_PARAMETERS = b'{"type":"object","properties":{}}'


def forced(request: Request, wire: Wire) -> structured.Forced | None:
    """Plan the tool that stands in for a schema: beside tools of the client's own, and for what is no object
    (https://docs.cohere.com/docs/structured-outputs: the schema's top is an object)."""
    output = request.output
    if output is None or output.kind == "text":
        return None
    free = not request.tools and (not output.schema or _is_object(output.schema))
    return None if free else structured.plan(request, native_schema=False)


def _is_object(schema: bytes) -> bool:
    try:
        return bytes(_SCHEMA(schema).get("type", b"")) == b'"object"'
    except msgspec.DecodeError:
        return True  # what it is, the vendor says


def render_request(request: Request, wire: Wire) -> Rendered:
    """Render the body for ``wire``, and tell what it could not carry. The name of a schema and its ``strict`` say
    nothing more here, so they are no losses."""
    losses: list[Loss] = []
    stand_in = forced(request, wire)
    if stand_in is not None:
        request = structured.force(request, stand_in)
        request = replace(request, parallel_tools=None)
    fields: dict[str, Any] = {"model": wire.model, "messages": render_turns(request.messages, wire, losses)}
    _tools(request, fields, losses)
    for attribute in _SIMPLE:
        if (value := getattr(request, attribute)) is not None:
            fields[attribute] = value
    for attribute, (key, low, high) in _BOUND.items():
        if (value := getattr(request, attribute)) is not None:
            fields[key] = min(max(value, low), high)
            if fields[key] != value:
                losses.append(Loss(attribute, f"clamped to {low}..{high}"))
    if request.stop:
        fields["stop_sequences"] = list(request.stop)
    if request.output is not None:
        _format(request.output, fields, losses)
    if request.reasoning is not None:
        _thinking(request.reasoning, wire.model, fields, losses)
    for attribute, why in _NOWHERE:
        if getattr(request, attribute) not in (None, "", b"", ()):
            losses.append(Loss(attribute, why))
    if request.n is not None and request.n != 1:
        losses.append(Loss("n", "an answer has one choice here"))
    _extra(request, fields, losses)
    if request.stream:
        fields["stream"] = True
    return Rendered({k: v if isinstance(v, Raw) else Raw(encode(v)) for k, v in fields.items()}, tuple(losses))


# Tools ----------------------------------------------------------------------------------------------------------------


def _tools(request: Request, fields: dict[str, Any], losses: list[Loss]) -> None:
    kept = _offered(request, fields, losses)
    if request.parallel_tools is False:
        losses.append(Loss("parallel_tools", "several calls cannot be forbidden here"))
    strict = _strict(kept, losses)
    tools = [tool for place, one in kept if (tool := _tool(one, f"tools.{place}", losses)) is not None]
    if tools:
        fields["tools"] = tools
        if strict is not None:
            fields["strict_tools"] = strict
    elif "tool_choice" in fields:
        del fields["tool_choice"]
        losses.append(Loss("tool_choice", "there are no tools to choose from"))


def _offered(request: Request, fields: dict[str, Any], losses: list[Loss]) -> list[tuple[int, Tool]]:
    """Choose the tools to offer, with their places. A choice of some of them is made by leaving out the others."""
    every = list(enumerate(request.tools))
    choice = request.tool_choice
    if choice is None or choice.mode == "auto":
        return every
    if choice.mode in ("none", "required"):
        fields["tool_choice"] = choice.mode.upper()
        return every
    names = frozenset(choice.names)
    kept = [(place, tool) for place, tool in every if tool.name in names]
    if choice.mode == "named" or choice.required:
        fields["tool_choice"] = "REQUIRED"
    if len(kept) != len(every) or choice.mode == "allowed":
        losses.append(Loss("tool_choice", "carried by offering no other tools"))
    return kept


def _strict(kept: list[tuple[int, Tool]], losses: list[Loss]) -> bool | None:
    """Return the ``strict_tools`` of a request: it is about all tools at once, and each must have a required parameter
    then (https://docs.cohere.com/docs/tool-use-parameter-types)."""
    wanted = [tool.strict for _, tool in kept if tool.kind == "function"]
    if not any(wanted):
        return False if False in wanted else None
    if all(wanted) and all(_has_required(tool) for _, tool in kept):
        return True
    for place, tool in kept:
        if tool.strict:
            losses.append(Loss(f"tools.{place}.strict", "only for all tools at once, each with a required parameter"))
    return None


def _has_required(tool: Tool) -> bool:
    try:
        return b'"' in bytes(_SCHEMA(tool.schema or b"{}").get("required", b""))
    except msgspec.DecodeError:
        return False


def _tool(tool: Tool, path: str, losses: list[Loss]) -> Any:
    if tool.opaque is not None and tool.opaque.dialect == NAME:
        return Raw(tool.opaque.raw)
    if tool.kind != "function":
        losses.append(Loss(path, f"a tool of type {tool.kind} belongs to its own dialect"))
        return None
    if tool.opaque is not None and tool.opaque.raw:
        losses.append(Loss(f"{path}.opaque", f"fields that only {tool.opaque.dialect} knows"))
    if tool.cache is not None:
        losses.append(Loss(f"{path}.cache", "the vendor caches by itself"))
    inner: dict[str, Any] = {"name": tool.name}
    if tool.description:
        inner["description"] = tool.description
    inner["parameters"] = Raw(tool.schema or _NO_PARAMETERS)  # the field is required
    return {"type": "function", "function": inner}


# Output, reasoning, the rest ------------------------------------------------------------------------------------------


def _format(output: OutputFormat, fields: dict[str, Any], losses: list[Loss]) -> None:
    if output.kind != "text":
        told: dict[str, Any] = {"type": "json_object"}
        if output.schema:
            told["json_schema"] = Raw(output.schema)
        fields["response_format"] = told
    if output.description:
        losses.append(Loss("output.description", "a schema stands alone here"))


def _thinking(reasoning: Reasoning, model: str, fields: dict[str, Any], losses: list[Loss]) -> None:
    """Set thinking on or off, with a budget of tokens. "high" is what the vendor's own table makes of on, and "none" of
    off: https://docs.cohere.com/docs/compatibility-api ("reasoning_effort")."""
    if reasoning.summary:
        losses.append(Loss("reasoning.summary", "Cohere gives no summaries"))
    if reasoning.display:
        losses.append(Loss("reasoning.display", "Cohere has no such choice"))
    off = reasoning.mode == "disabled" or (reasoning.effort == "none" and not reasoning.mode)
    if not (off or reasoning.mode or reasoning.effort or reasoning.budget is not None):
        return
    if not thinks(model):
        if not off:
            losses.append(Loss("reasoning", "this model does not think"))
        return
    if off:
        fields["thinking"] = {"type": "disabled"}
        if reasoning.budget is not None:
            losses.append(Loss("reasoning.budget", "thinking is off"))
        if reasoning.effort not in ("", "none"):
            losses.append(Loss("reasoning.effort", "thinking is off"))
        return
    fields["thinking"] = told = {"type": "enabled"}
    if reasoning.budget is not None:
        told["token_budget"] = reasoning.budget  # type: ignore[assignment]
    if reasoning.effort not in ("", effort_of(Reasoning(budget=reasoning.budget)) or "high"):
        losses.append(Loss("reasoning.effort", "thinking is on or off here, with a budget of tokens"))


def _extra(request: Request, fields: dict[str, Any], losses: list[Loss]) -> None:
    for opaque in request.extra:
        if opaque.dialect == NAME and opaque.kind.startswith("thinking."):
            held = fields.setdefault("thinking", {"type": "enabled"})
            held[opaque.kind.removeprefix("thinking.")] = Raw(opaque.raw)
        elif opaque.dialect == NAME:
            fields[opaque.kind] = Raw(opaque.raw)
        elif opaque.kind in TOP:
            fields.setdefault(opaque.kind, Raw(opaque.raw))
        else:
            losses.append(Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only"))
