"""How hard to think, in the words of each generation of models.

Sources: https://ai.google.dev/gemini-api/docs/thinking (budgets to 2.5, levels from 3 on; both at once are refused) and
https://ai.google.dev/gemini-api/docs/openai#thinking, the vendor's own table from effort words to budgets.
"""

from __future__ import annotations

from typing import Any

from penstock.core.dialects.gemini.parts_out import Writer
from penstock.core.ir import Reasoning
from penstock.core.models import is_pro

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH", "max": "HIGH"}
LEAST_OF_PRO = 128  # 2.5 Pro cannot be told not to think


def effort_of(budget: int) -> str:
    """Return the effort word for a thinking budget in tokens."""
    if budget >= 16384:
        return "high"
    if budget >= 4096:
        return "medium"
    return "low" if budget >= 1024 else "minimal"


def thinking_config(reasoning: Reasoning, model: str, version: float, writer: Writer) -> dict[str, Any]:
    """Make the ``thinkingConfig`` for a model; empty when nothing is asked for. Thoughts are shown when thinking is
    asked for and the client did not say that it wants none: they are the only sight of it that any client gets."""
    if reasoning.summary in ("concise", "detailed"):
        writer.lose("reasoning.summary", "summaries have no length here")
    if writer.own:
        return _as_given(reasoning)
    if version < 2.5:
        writer.lose("reasoning", "this model does not think")
        return {}
    off = reasoning.mode == "disabled" or (not reasoning.mode and reasoning.effort == "none")
    if off:
        return _off(model, version, writer)
    if version >= 3:
        out = _by_level(reasoning, writer)
    else:
        out = _by_budget(reasoning, writer)
    if reasoning.display == "omitted":
        out["includeThoughts"] = False
    elif out or reasoning.display or reasoning.summary:
        out["includeThoughts"] = True
    return out


def _as_given(reasoning: Reasoning) -> dict[str, Any]:
    """Repeat the client's own words, whatever the model makes of them."""
    out: dict[str, Any] = {}
    if reasoning.effort:
        out["thinkingLevel"] = reasoning.effort.upper()
    budget = {"disabled": 0, "adaptive": -1}.get(reasoning.mode, reasoning.budget)
    if budget is not None:
        out["thinkingBudget"] = budget
    if reasoning.display:
        out["includeThoughts"] = reasoning.display == "summarized"
    return out


def _off(model: str, version: float, writer: Writer) -> dict[str, Any]:
    if version >= 3:
        level = "LOW" if is_pro(model) else "MINIMAL"
        writer.lose("reasoning.effort", f"this model always thinks: sent as the least level, {level}")
        return {"thinkingLevel": level, "includeThoughts": False}
    if is_pro(model):
        writer.lose("reasoning.effort", "this model always thinks: sent as the least budget")
        return {"thinkingBudget": LEAST_OF_PRO, "includeThoughts": False}
    return {"thinkingBudget": 0}


def _by_level(reasoning: Reasoning, writer: Writer) -> dict[str, Any]:
    """Choose a level, the word of these models; a budget alone is still taken."""
    effort = "" if reasoning.effort == "none" else reasoning.effort
    if not effort:
        if reasoning.budget is not None:
            return {"thinkingBudget": reasoning.budget}
        return {"thinkingBudget": -1} if reasoning.mode else {}
    if reasoning.budget is not None and effort_of(reasoning.budget) != effort:
        writer.lose("reasoning.budget", "a level and a budget exclude each other")
    level = LEVELS.get(effort, "HIGH")
    if level.lower() != effort:
        writer.lose("reasoning.effort", f"the nearest level is {level}")
    return {"thinkingLevel": level}


def _by_budget(reasoning: Reasoning, writer: Writer) -> dict[str, Any]:
    effort = "" if reasoning.effort == "none" else reasoning.effort
    budget = reasoning.budget
    if budget is None:
        if not effort:
            return {"thinkingBudget": -1} if reasoning.mode else {}
        budget = BUDGETS.get(effort, BUDGETS["high"])
    if effort and effort_of(budget) != effort:
        writer.lose("reasoning.effort", f"carried as a budget of {budget} tokens")
    return {"thinkingBudget": budget}
