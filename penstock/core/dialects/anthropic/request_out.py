"""The neutral ``Request`` as a Messages request body.

Source: https://docs.anthropic.com/en/api/messages. What the API has no field for is a ``Loss``; what it has under
another name or unit (effort and budget, user and ``metadata.user_id``) is none.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects import guided, structured
from penstock.core.dialects.anthropic import wire
from penstock.core.dialects.anthropic.blocks_out import Writer, cache_out
from penstock.core.dialects.anthropic.turns import POLICY, build_turns, write_system, write_turn
from penstock.core.dialects.base import Rendered, Wire
from penstock.core.dialects.lacking import lose_lacking, put_back
from penstock.core.dialects.turns import split_system
from penstock.core.ir import Loss, OutputFormat, Reasoning, Request, Tool

_OBJECT = Decoder(dict[str, Raw])
_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
_INNER = ("output_config.", "metadata.", "thinking.", "tool_choice.")
_HAS = frozenset(("user",))
# https://docs.anthropic.com/en/api/messages and the betas that LiteLLM's documentation shows in a Chat body.
_TAKEN = frozenset("cache_control container context_management inference_geo mcp_servers speed".split())
_SIZELESS = ("adaptive", "disabled")  # thinking that needs no budget
_TIERS = {"auto": "auto", "standard_only": "standard_only", "default": "standard_only"}


def render_request(request: Request, wire_: Wire) -> Rendered:
    """Render the body for ``wire_``, and tell what it could not carry."""
    losses: list[Loss] = []
    own = request.dialect == wire.NAME
    forced = structured.plan(request, wire_.native_schema)
    format_ = None if forced is not None else request.output
    if forced is not None:
        request = structured.force(request, forced)
    family = wire_.family or (wire.FAMILY if wire_.official else "")
    writer = Writer(family, own, wire_.replay_reasoning and not wire_.official, losses)
    body: dict[str, Any] = {"model": wire_.model}
    _prompt(request, writer, body)
    tools = _tools(request.tools, writer)
    if tools:
        body["tools"] = tools
    _choice(request, bool(tools), writer, body)
    _thinking(request, wire_, writer, body)
    _sampling(request, body)
    _output(format_, writer, body)
    _account(request, writer, body)
    put_back(request, writer, body, wire.NAME, _INNER, _TAKEN)
    return Rendered({key: Raw(encode(value)) for key, value in body.items()}, tuple(losses))


def _prompt(request: Request, writer: Writer, body: dict[str, Any]) -> None:
    system, start = split_system(request.messages, writer, POLICY)
    written = write_system(system, writer)
    if written is not None:
        body["system"] = written
    turns = build_turns(request.messages, start, writer)
    messages = [write_turn(turn, writer) for turn in turns]
    body["messages"] = [message for message in messages if message is not None]


# Tools ----------------------------------------------------------------------------------------------------------------


def _tools(tools: tuple[Tool, ...], writer: Writer) -> list[Any]:
    out: list[Any] = []
    for number, tool in enumerate(tools):
        if tool.opaque is not None and tool.opaque.dialect == wire.NAME:
            out.append(Raw(tool.opaque.raw))
        elif tool.kind != "function":
            writer.lose(f"tools.{number}", f"a tool of kind {tool.kind} is not known here")
        else:
            if tool.opaque is not None and tool.opaque.raw:
                writer.lose(f"tools.{number}.opaque", f"fields that only {tool.opaque.dialect} knows")
            out.append(_function(tool, writer.own))
    return out


def _function(tool: Tool, own: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"name": tool.name}
    if tool.description:
        out["description"] = tool.description
    out["input_schema"] = _schema(tool.schema, own)
    if tool.strict is not None:
        out["strict"] = tool.strict
    if tool.cache is not None:
        out["cache_control"] = cache_out(tool.cache)
    return out


def _schema(schema: bytes, own: bool) -> Raw:
    """Return the parameters. The API insists on ``type`` at the top, which OpenAI's clients may leave out."""
    if not schema:
        return _NO_PARAMETERS
    if own or schema.startswith((b'{"type":"object"', b'{"type": "object"')):
        return Raw(schema)
    fields = _OBJECT.decode(schema)
    if "type" in fields:
        return Raw(schema)
    return Raw(encode({"type": "object", **fields}))


def _choice(request: Request, has_tools: bool, writer: Writer, body: dict[str, Any]) -> None:
    choice, single = request.tool_choice, request.parallel_tools
    if not has_tools and not writer.own:
        if choice is not None and choice.mode not in ("auto", "none"):
            writer.lose("tool_choice", "no tools are left to choose from")
        return
    if choice is None:
        if single is False and has_tools:
            body["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
        return
    mode = choice.mode
    if mode == "allowed":
        writer.lose("tool_choice.names", "the choice cannot be narrowed to some tools")
        mode = "required" if choice.required else "auto"
    out: dict[str, Any] = {"type": {"required": "any", "named": "tool"}.get(mode, mode)}
    if mode == "named":
        out["name"] = choice.names[0]
    if single is not None and mode != "none":
        out["disable_parallel_tool_use"] = not single
    body["tool_choice"] = out


# Reasoning and limits -------------------------------------------------------------------------------------------------


def _thinking(request: Request, wire_: Wire, writer: Writer, body: dict[str, Any]) -> None:
    reasoning = request.reasoning
    limit = request.max_tokens if request.max_tokens is not None else wire_.max_tokens
    body["max_tokens"] = limit
    if reasoning is None:
        return
    if reasoning.summary in ("concise", "detailed"):
        writer.lose("reasoning.summary", "summaries have no length here")
    if reasoning.mode in _SIZELESS or (writer.own and (reasoning.mode or reasoning.budget is None)):
        _as_given(reasoning, limit, writer, body)
    elif wire_.adaptive and not reasoning.mode:
        _as_given(_adaptive(reasoning), limit, writer, body)
    else:
        _by_budget(reasoning, request.max_tokens, limit, writer, body)
    thinking = body.get("thinking")
    display = reasoning.display or ("summarized" if reasoning.summary else "")
    if display and thinking is None and reasoning.effort:
        writer.lose("reasoning.display", "an effort alone has no display")
    elif display and thinking is not None and thinking["type"] != "disabled":
        thinking["display"] = display


def _as_given(reasoning: Reasoning, limit: int, writer: Writer, body: dict[str, Any]) -> None:
    """Set thinking in the API's own words: a mode, and the effort beside it."""
    effort = reasoning.effort
    if effort == "none":
        effort = ""
        if not reasoning.mode:
            body["thinking"] = {"type": "disabled"}
    elif effort:
        body["output_config"] = {"effort": _word(effort, writer)}
    if reasoning.mode == "enabled":
        budget = reasoning.budget if reasoning.budget is not None else wire.BUDGETS.get(effort, wire.BUDGETS["medium"])
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    elif reasoning.mode:
        body["thinking"] = {"type": reasoning.mode}
        if reasoning.budget is not None:
            writer.lose("reasoning.budget", f"{reasoning.mode} thinking has no budget")


def _word(effort: str, writer: Writer) -> str:
    if effort != "minimal":
        return effort
    writer.lose("reasoning.effort", "the least effort here is low")
    return "low"


def _adaptive(reasoning: Reasoning) -> Reasoning:
    """Restate thinking for models that choose their budget themselves."""
    effort = reasoning.effort or ("" if reasoning.budget is None else wire.effort_of(reasoning.budget))
    mode = "disabled" if effort == "none" else "adaptive"
    return Reasoning(effort="" if effort == "none" else effort, mode=mode, display=reasoning.display)


def _by_budget(reasoning: Reasoning, asked: int | None, limit: int, writer: Writer, body: dict[str, Any]) -> None:
    """Set the budget for an effort word. The answer's limit counts thinking too and must be greater: a limit of the
    client's own cuts the budget, and only where it is under the least budget is it raised."""
    effort = reasoning.effort
    if effort == "none" and not reasoning.mode:
        body["thinking"] = {"type": "disabled"}
        return
    if not effort and reasoning.budget is None and not reasoning.mode:
        return
    effort = "" if effort == "none" else effort
    budget = reasoning.budget if reasoning.budget is not None else wire.BUDGETS.get(effort, wire.BUDGETS["medium"])
    if effort and wire.effort_of(budget) != effort:
        writer.lose("reasoning.effort", f"carried as a budget of {budget} tokens")
    wanted = budget
    if asked is None:
        body["max_tokens"] = max(limit, budget + wire.BUDGETS["medium"])
    elif asked <= wire.LEAST_BUDGET:
        budget = wire.LEAST_BUDGET
        body["max_tokens"] = asked + budget
        writer.lose("max_tokens", f"raised by {budget}, the least budget for thinking")
    elif asked <= budget:
        budget = max(wire.LEAST_BUDGET, asked * 3 // 4)
    if budget != wanted:
        writer.lose("reasoning.effort", f"cut to a budget of {budget} tokens to fit under max_tokens")
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _sampling(request: Request, body: dict[str, Any]) -> None:
    settings = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
    body.update({key: value for key, value in settings.items() if value is not None})
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.stream:
        body["stream"] = True


def _output(format_: OutputFormat | None, writer: Writer, body: dict[str, Any]) -> None:
    if format_ is None or format_.kind == "text":
        return
    if format_.kind in guided.CONSTRAINTS:
        writer.lose(f"output.{format_.kind}", "there is no such constraint here")
        return
    if format_.description:
        writer.lose("output.description", "formats have no description here")
    config = body.setdefault("output_config", {})
    config["format"] = {"type": "json_schema", "schema": Raw(format_.schema)}


# The rest -------------------------------------------------------------------------------------------------------------


def _account(request: Request, writer: Writer, body: dict[str, Any]) -> None:
    """Set who pays, and report the settings that this API has not."""
    if request.user:
        body["metadata"] = {"user_id": request.user}
    if request.service_tier:
        tier = _TIERS.get(request.service_tier)
        if tier is None:
            writer.lose("service_tier", f"{request.service_tier} is not offered here")
        else:
            body["service_tier"] = tier
    lose_lacking(request, writer, _HAS)
