"""How hard to think, in the words of each family of models: Converse has none of its own.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html and
claude-messages-adaptive-thinking.html (Claude), https://docs.aws.amazon.com/nova/latest/nova2-userguide/ (Nova 2:
``reasoningConfig``), for ``reasoning_effort`` langchain-ai/docs pull
request 5239, and for OpenAI's newer models, which have ``reasoning.effort``, anomalyco/opencode pull request 48195.
They stand in
``additionalModelRequestFields``.
"""

from __future__ import annotations

from typing import Any

from penstock.core.dialects.base import Wire
from penstock.core.dialects.bedrock.blocks_out import Writer
from penstock.core.ir import Reasoning, Request
from penstock.core.models import converse

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768, "max": 32768}
LEAST = 1024
_STRONG = frozenset(("xhigh", "max"))


def effort_of(budget: int) -> str:
    """Return the effort word for a thinking budget in tokens."""
    for word in ("high", "medium", "low"):
        if budget >= BUDGETS[word]:
            return word
    return "minimal"


def is_off(reasoning: Reasoning) -> bool:
    """Tell whether thinking is asked not to be."""
    asked = reasoning.budget is not None or reasoning.effort not in ("none", "")
    return reasoning.mode == "disabled" or (not reasoning.mode and not asked)


def thinking(request: Request, wire: Wire, limits: dict[str, Any], writer: Writer) -> dict[str, Any]:
    """Return the model's own fields about thinking. ``limits``: the ``inferenceConfig`` so far, whose ``maxTokens`` a
    budget must stay under."""
    reasoning = request.reasoning
    if reasoning is None:
        return {}
    if reasoning.summary in ("concise", "detailed"):
        writer.lose("reasoning.summary", "summaries have no length here")
    field = converse(wire.model).thinks
    if field == "thinking":
        return _claude(reasoning, wire, limits, writer)
    if reasoning.display == "omitted" and not is_off(reasoning):
        writer.lose("reasoning.display", "what is thought cannot be left out here")
    if field == "reasoningConfig":
        return _nova(reasoning, limits, writer)
    if field == "reasoning":
        return _by_words(reasoning, writer)
    if field == "reasoning_effort":
        return _by_effort(reasoning, writer)
    if not is_off(reasoning):
        writer.lose("reasoning", "how this model is told to think is not known")
    return {}


# Claude ---------------------------------------------------------------------------------------------------------------


def _claude(reasoning: Reasoning, wire: Wire, limits: dict[str, Any], writer: Writer) -> dict[str, Any]:
    if is_off(reasoning):
        return {"thinking": {"type": "disabled"}} if wire.adaptive else {}
    mode = reasoning.mode or ("adaptive" if wire.adaptive else "enabled")
    if mode == "adaptive":
        return _adaptive(reasoning, writer)
    if reasoning.display == "omitted":
        writer.lose("reasoning.display", "what is thought cannot be left out here")
    effort = "" if reasoning.effort == "none" else reasoning.effort
    budget = reasoning.budget if reasoning.budget is not None else BUDGETS.get(effort, BUDGETS["medium"])
    if effort and effort_of(budget) != effort:
        writer.lose("reasoning.effort", f"carried as a budget of {budget} tokens")
    fitted = _fit(budget, limits, writer)
    if fitted != budget:
        writer.lose("reasoning.effort", f"cut to a budget of {fitted} tokens to fit under max_tokens")
    return {"thinking": {"type": "enabled", "budget_tokens": fitted}}


def _adaptive(reasoning: Reasoning, writer: Writer) -> dict[str, Any]:
    effort = "" if reasoning.effort == "none" else reasoning.effort
    if reasoning.budget is not None:
        if effort:
            writer.lose("reasoning.budget", "adaptive thinking has no budget")
        effort = effort or effort_of(reasoning.budget)
    if effort == "minimal":
        writer.lose("reasoning.effort", "the least effort here is low")
        effort = "low"
    told: dict[str, Any] = {"type": "adaptive"}
    display = reasoning.display or ("summarized" if reasoning.summary else "")
    if display:
        told["display"] = display
    out: dict[str, Any] = {"thinking": told}
    if effort:
        out["output_config"] = {"effort": effort}
    return out


def _fit(budget: int, limits: dict[str, Any], writer: Writer) -> int:
    """Fit a budget under the answer's limit, which counts thinking too and must be greater: it cuts the budget, and
    only where it is under the least budget is it raised."""
    asked = limits.get("maxTokens")
    if writer.own or asked is None or asked > budget:
        return budget
    if asked <= LEAST:
        limits["maxTokens"] = asked + LEAST
        writer.lose("max_tokens", f"raised by {LEAST}, the least budget for thinking")
        return LEAST
    return max(LEAST, int(asked) * 3 // 4)


# Others ---------------------------------------------------------------------------------------------------------------


def _word(reasoning: Reasoning, writer: Writer) -> str:
    """Choose low, medium or high."""
    effort = "" if reasoning.effort == "none" else reasoning.effort
    if not effort:
        effort = "medium" if reasoning.budget is None else effort_of(reasoning.budget)
    elif reasoning.budget is not None and effort_of(reasoning.budget) != effort:
        writer.lose("reasoning.budget", "an effort is told, and no budget")
    if effort == "minimal" or effort in _STRONG:
        nearest = "low" if effort == "minimal" else "high"
        if reasoning.effort:
            writer.lose("reasoning.effort", f"the nearest level is {nearest}")
        return nearest
    return effort


def _nova(reasoning: Reasoning, limits: dict[str, Any], writer: Writer) -> dict[str, Any]:
    """Return Nova's fields about thinking. Thinking hard sizes the answer itself: the API refuses limits and sampling
    beside it."""
    if is_off(reasoning):
        return {"reasoningConfig": {"type": "disabled"}} if writer.own else {}
    word = _word(reasoning, writer)
    if word == "high" and not writer.own:
        for key, path in (("maxTokens", "max_tokens"), ("temperature", "temperature"), ("topP", "top_p")):
            if limits.pop(key, None) is not None:
                writer.lose(path, "cannot be set at this effort")
    return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": word}}


def _by_words(reasoning: Reasoning, writer: Writer) -> dict[str, Any]:
    """Return the effort for OpenAI's newer models, which know every word but the least."""
    if is_off(reasoning):
        return {"reasoning": {"effort": "none"}}
    word = "" if reasoning.effort == "none" else reasoning.effort
    if word in ("", "minimal") or word not in BUDGETS:
        word = _word(reasoning, writer)
    elif reasoning.budget is not None and effort_of(reasoning.budget) != word:
        writer.lose("reasoning.budget", "an effort is told, and no budget")
    return {"reasoning": {"effort": word}}


def _by_effort(reasoning: Reasoning, writer: Writer) -> dict[str, Any]:
    if is_off(reasoning):
        writer.lose("reasoning", "this model always thinks")
        return {}
    return {"reasoning_effort": _word(reasoning, writer)}
