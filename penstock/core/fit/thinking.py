"""Thinking, as a model takes it: in which form, beside what, and whether at all.

The API's own words, of Claude: "Thinking may not be enabled when tool_choice forces tool use" (usestrix/strix issue
503; the gateway's own tool in the place of a schema is forced, too); a budget excludes an answer that has begun; and
with a budget "a final assistant message must start with a thinking block" while its calls are being answered, which a
client of another dialect cannot have kept (openai/openai-agents-python issue 678).
"""

from __future__ import annotations

from msgspec.structs import replace

from penstock.core.dialects.anthropic.wire import effort_of
from penstock.core.fit.base import Takes, Undo
from penstock.core.ir import Block, Loss, Message, Opaque, Reasoning, Request, Seal, Text, Thinking, ToolUse
from penstock.core.models import ModelFacts

_FORCED = ("required", "named")
_BY_EFFORT = "medium"


def is_off(reasoning: Reasoning) -> bool:
    """Tell whether a request asks for no thinking."""
    asked = reasoning.budget is not None or reasoning.effort not in ("none", "")
    return reasoning.mode == "disabled" or (not reasoning.mode and not asked)


def fit_thinking(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Ask for thinking in the form that the model takes; not where it would refuse the request for it."""
    reasoning = request.reasoning
    if reasoning is None and not takes.model.thinks_unasked:
        return request, None
    own = request.dialect == takes.dialect
    stand_in = takes.model.is_claude and takes.forced(request, takes.wire) is not None
    if own and not stand_in:
        return request, None
    if reasoning is not None and takes.model.thinks is False:
        if not is_off(reasoning):
            losses.append(Loss("reasoning", "this model does not think"))
        return replace(request, reasoning=None), None
    if reasoning is not None and takes.model.adaptive and not own and _is_unsized(reasoning):
        shown = reasoning.display == "summarized" or bool(reasoning.summary)
        reasoning = replace(reasoning, mode="adaptive") if shown else None
        request = replace(request, reasoning=reasoning)
    if reasoning is None or is_off(reasoning):
        return _unasked(request, stand_in, takes), None
    if takes.model.is_claude:
        fitted = reasoning if own else _in_form(reasoning, takes.model)
        against = _against(request, fitted, stand_in, takes)
        if against:
            losses.append(Loss("reasoning", against))
            return _unasked(replace(request, reasoning=None), True, takes), None
    else:
        fitted = reasoning
    if takes.limits.steers and fitted.mode == "enabled" and not fitted.effort and fitted.budget is None:
        fitted = replace(fitted, effort=_BY_EFFORT)  # Ollama's ``think: true``: these APIs have no other word for it
    return (request if fitted is request.reasoning else replace(request, reasoning=fitted)), None


def _is_unsized(reasoning: Reasoning) -> bool:
    """Tell whether nothing is said of how hard to think, only of whether thoughts are shown: who wants to see them from
    a model that sizes its thinking itself wants it to think."""
    return not reasoning.effort and not reasoning.mode and reasoning.budget is None


def _unasked(request: Request, stand_in: bool, takes: Takes) -> Request:
    """Switch off the thinking that nobody asked for where a call is forced, which it excludes."""
    if not takes.model.thinks_unasked or not (stand_in or _is_forced(request)):
        return request
    return replace(request, reasoning=Reasoning(mode="disabled"))


def _is_forced(request: Request) -> bool:
    choice = request.tool_choice
    if choice is None or not request.tools:
        return False
    return choice.mode in _FORCED or (choice.mode == "allowed" and choice.required)


def _in_form(reasoning: Reasoning, model: ModelFacts) -> Reasoning:
    """Restate thinking that is sized in the one way for a Claude that sizes it in the other."""
    if reasoning.mode == "enabled" and not model.takes_budget:
        effort = reasoning.effort or ("" if reasoning.budget is None else effort_of(reasoning.budget))
        return replace(reasoning, mode="adaptive", effort=effort, budget=None)
    if reasoning.mode == "adaptive" and model.thinks and not model.adaptive:
        return replace(reasoning, mode="enabled")
    return reasoning


def _against(request: Request, reasoning: Reasoning, stand_in: bool, takes: Takes) -> str:
    """Tell why Claude would refuse to think in this request; "" when it would not."""
    if stand_in or _is_forced(request):
        return "no thinking while a tool call is forced"
    if reasoning.mode == "adaptive" or (takes.model.adaptive and not reasoning.mode):
        return ""
    turns = [message for message in request.messages if message.blocks]
    if not turns:
        return ""
    if turns[-1].role == "assistant" and not any(isinstance(block, ToolUse) for block in turns[-1].blocks):
        return "no thinking after a prefill"
    said = _last_said(turns)
    if any(isinstance(block, ToolUse) for block in said) and not _begins_with_thought(said, takes):
        return "no thinking amid calls whose turn began without it"
    return ""


def _last_said(turns: list[Message]) -> list[Block]:
    """Return the blocks of the assistant's last turn, which may stand in several messages."""
    end = len(turns)
    while end and turns[end - 1].role != "assistant":
        end -= 1
    start = end
    while start and turns[start - 1].role == "assistant":
        start -= 1
    return [block for turn in turns[start:end] for block in turn.blocks]


def _begins_with_thought(blocks: list[Block], takes: Takes) -> bool:
    """Tell whether the first of what will be written is a thought."""
    for block in blocks:
        if isinstance(block, Thinking):
            if _is_carried(block.seal, takes):
                return True
        elif isinstance(block, Opaque):
            if block.dialect == takes.dialect:
                return False
        elif not isinstance(block, Text) or block.text:
            return False
    return False


def _is_carried(seal: Seal | None, takes: Takes) -> bool:
    """Tell whether a thought goes back to the model, signature and all."""
    wire = takes.wire
    if seal is None or seal.family != wire.family:
        return False
    return not takes.limits.steers or (wire.replay_reasoning and not wire.official)
