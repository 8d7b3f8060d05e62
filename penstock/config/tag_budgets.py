"""Budgets of tags that stand in the config: ``litellm_settings.tag_budget_config``, typed.

A budget that cannot be read is never none: its tag may spend nothing until somebody has put it right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.config.problems import described, shown
from penstock.core.admit import amount
from penstock.core.admit.holders import Cap
from penstock.core.admit.periods import FORMS, parse

KEY = "tag_budget_config"
_NAMES = {"max_budget": "most", "budget_limit": "most", "budget_duration": "period", "time_period": "period"}
_FORM = "{max_budget: 10, budget_duration: 1d}"


def read_tag_budgets(values: Mapping[str, Any], problems: list[str]) -> Mapping[str, tuple[Cap, ...]]:
    """Read what each tag may spend; add a sentence for each part that cannot be used to ``problems``."""
    found: dict[str, tuple[Cap, ...]] = {}
    for tag, said in (values.get(KEY) or {}).items():
        place = f"litellm_settings.{KEY}: {shown(str(tag))}"
        if not isinstance(said, Mapping):
            problems.append(f"{place} must be as {_FORM}; until then the tag may spend nothing.")
            found[str(tag)] = (Cap(0),)
            continue
        if said.keys() - _NAMES.keys():
            problems.append(f"{place} has a key that is not used: a budget is as {_FORM}.")
        parts = {_NAMES[name]: value for name, value in said.items() if name in _NAMES and value is not None}
        if "most" not in parts:
            problems.append(f"{place} has no max_budget, and so is none.")
            continue
        most = amount.read(parts["most"])
        if most is None:
            text = f"{place}: max_budget is no amount of US dollars; until then the tag may spend nothing"
            problems.append(f"{text}; got {described(parts['most'])}.")
        found[str(tag)] = (Cap(most or 0, _read_period(parts.get("period"), place, problems)),)
    return found


def _read_period(value: Any, place: str, problems: list[str]) -> str:
    if value is None:
        return ""
    try:
        parse(str(value))
    except ValueError:
        text = f"{place}: budget_duration is not {FORMS}; until then its budget is for all of time"
        problems.append(f"{text}; got {described(value)}.")
        return ""
    return str(value).strip().lower()
