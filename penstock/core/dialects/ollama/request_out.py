"""A ``Request`` to a /api/chat body, and top-level fields in other dialects' words to where Ollama wants them."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import encode

from penstock.core.dialects import guided
from penstock.core.dialects.base import Rendered, Wire
from penstock.core.dialects.ollama.messages_out import render_turns
from penstock.core.dialects.ollama.names import NAME, OPTION, OPTIONS, TOP
from penstock.core.dialects.openai_chat.request_out import effort_of
from penstock.core.ir import Loss, OutputFormat, Reasoning, Request, Tool

_IN_OPTIONS = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")
_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
# Neutral attributes that Ollama has nothing for.
_NOWHERE = (
    ("logit_bias", "sampling has no bias per token here"),
    ("verbosity", "Ollama has no such field"),
    ("user", "Ollama knows no users"),
    ("metadata", "Ollama keeps no metadata"),
    ("service_tier", "Ollama has no tiers"),
    ("store", "Ollama keeps no answers"),
    ("cache_key", "the engine caches by itself"),
    ("previous_id", "Ollama keeps no conversation"),
    ("include", "Ollama has nothing to include"),
)
# Values that ask for what is so anyway.
_SAYS_NOTHING: dict[str, tuple[object, ...]] = {
    "store": (False,),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
    "metadata": (b"{}",),
    "logit_bias": (b"{}",),
}


def render_request(request: Request, wire: Wire) -> Rendered:
    """Render the body for ``wire``, and tell what it could not carry. A schema goes into ``format``, whose grammar
    enforces it; its name and ``strict`` say nothing more, so they are no losses, nor is ``parallel_tools: true``, which
    is how it is."""
    losses: list[Loss] = []
    fields: dict[str, Any] = {"model": wire.model, "messages": render_turns(request.messages, losses)}
    _tools(request, fields, losses)
    if request.output is not None:
        _format(request.output, fields, losses)
    if request.reasoning is not None:
        _think(request.reasoning, fields, losses)
    if request.logprobs is not None:
        fields["logprobs"] = request.logprobs
    if request.top_logprobs is not None:
        fields["top_logprobs"] = request.top_logprobs
    options = _options(request)
    for attribute, why in _NOWHERE:
        if getattr(request, attribute) not in (None, "", b"", (), *_SAYS_NOTHING.get(attribute, ())):
            losses.append(Loss(attribute, why))
    if request.n is not None and request.n != 1:
        losses.append(Loss("n", "an answer has one choice here"))
    _extra(request, fields, options, losses)
    if options:
        fields["options"] = options
    fields["stream"] = request.stream
    return Rendered({k: v if isinstance(v, Raw) else Raw(encode(v)) for k, v in fields.items()}, tuple(losses))


def _options(request: Request) -> dict[str, Any]:
    options = {key: value for key in _IN_OPTIONS if (value := getattr(request, key)) is not None}
    if request.max_tokens is not None:
        options["num_predict"] = request.max_tokens
    if request.stop:
        options["stop"] = list(request.stop)
    return options


def _tools(request: Request, fields: dict[str, Any], losses: list[Loss]) -> None:
    """Write the tools. Ollama has no ``tool_choice``. None at all is had by offering none; the rest is left to the
    model."""
    choice = request.tool_choice
    if choice is not None and choice.mode != "auto":
        losses.append(Loss("tool_choice", "the model chooses by itself here"))
    if request.parallel_tools is False:
        losses.append(Loss("parallel_tools", "several calls cannot be forbidden here"))
    if choice is not None and choice.mode == "none":
        if request.tools:
            losses.append(Loss("tools", "not offered, for none may be called"))
        return
    tools = [_tool(tool, f"tools.{place}", losses) for place, tool in enumerate(request.tools)]
    if tools := [tool for tool in tools if tool is not None]:
        fields["tools"] = tools


def _tool(tool: Tool, path: str, losses: list[Loss]) -> Any:
    if tool.opaque is not None and tool.opaque.dialect == NAME:
        return Raw(tool.opaque.raw)
    if tool.kind != "function":
        losses.append(Loss(path, f"a tool of type {tool.kind} belongs to its own dialect"))
        return None
    if tool.strict is not None:
        losses.append(Loss(f"{path}.strict", "arguments are not enforced here"))
    if tool.cache is not None:
        losses.append(Loss(f"{path}.cache", "the engine caches by itself"))
    inner: dict[str, Any] = {"name": tool.name, "description": tool.description}
    # Templates of models walk through the properties: a function without parameters says so.
    inner["parameters"] = Raw(tool.schema or b'{"type":"object","properties":{}}')
    return {"type": "function", "function": inner}


def _format(output: OutputFormat, fields: dict[str, Any], losses: list[Loss]) -> None:
    if output.kind == "text":
        return
    if output.kind in guided.CONSTRAINTS:
        losses.append(Loss(f"output.{output.kind}", "there is no such constraint here"))
        return
    fields["format"] = Raw(output.schema) if output.schema else "json"
    if output.description:
        losses.append(Loss("output.description", "a schema stands alone here"))


def _think(reasoning: Reasoning, fields: dict[str, Any], losses: list[Loss]) -> None:
    effort = effort_of(reasoning)
    if effort == "none":
        fields["think"] = False
    elif effort:
        fields["think"] = level = _LEVELS.get(effort, effort)
        if level != effort:
            losses.append(Loss("reasoning.effort", f"the nearest level is {level}"))
        derived = effort_of(Reasoning(budget=reasoning.budget)) if reasoning.budget is not None else effort
        if derived != effort:
            losses.append(Loss("reasoning.budget", "only the level is carried here"))
        if reasoning.mode == "disabled":
            losses.append(Loss("reasoning.mode", "only the level is carried here"))
    elif reasoning.mode:
        fields["think"] = True
    if reasoning.summary:
        losses.append(Loss("reasoning.summary", "Ollama gives no summaries"))
    if reasoning.display:
        losses.append(Loss("reasoning.display", "Ollama has no such choice"))


def _extra(request: Request, fields: dict[str, Any], options: dict[str, Any], losses: list[Loss]) -> None:
    """Put unknown fields back: Ollama's own, and its words from clients of other dialects, too (``num_ctx`` and
    ``keep_alive`` in a Chat body is how LiteLLM's users set them)."""
    for opaque in request.extra:
        kind = opaque.kind
        if opaque.dialect == NAME and kind.startswith(OPTION):
            options[kind[len(OPTION) :]] = Raw(opaque.raw)
        elif opaque.dialect == NAME:
            fields[kind] = Raw(opaque.raw)
        elif kind in OPTIONS:
            options.setdefault(kind, Raw(opaque.raw))
        elif kind in TOP:
            fields.setdefault(kind, Raw(opaque.raw))
        else:
            losses.append(Loss(f"extra.{kind}", f"a field of {opaque.dialect} only"))
