"""Value types of `router_settings` that only it has: policies by class of error, budgets, hedging."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from penstock.config.problems import KeyPath, Problems
from penstock.config.tree import Node

CLASSES: Mapping[str, str] = {
    "BadRequestError": "BadRequestError",
    "AuthenticationError": "AuthenticationError",
    "TimeoutError": "Timeout",
    "RateLimitError": "RateLimitError",
    "ContentPolicyViolationError": "ContentPolicyViolationError",
    "InternalServerError": "InternalServerError",
    "ServiceUnavailableError": "ServiceUnavailableError",
    "NotFoundError": "NotFoundError",
    "PermissionDeniedError": "PermissionDeniedError",
    "APIConnectionError": "APIConnectionError",
    "BadGatewayError": "BadGatewayError",
    "Default": "",
}
"""What a policy's keys begin with -> LiteLLM's class of the error; "" for every other class."""
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?", re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}

_BUDGET = {"budget_limit": "limit", "max_budget": "limit", "time_period": "period", "budget_duration": "period"}
_PERIOD = re.compile(r"(\d{1,6})\s*(s|m|h|d|w|mo)")
_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "mo": 2592000.0}

Convert = Callable[[str, Node, KeyPath, Problems], Any]
"""``spec.convert``, which calls what is here."""


def read_policy(node: Node, end: str, path: KeyPath, problems: Problems, convert: Convert) -> dict[str, int] | None:
    """Read `{RateLimitErrorRetries: 3}` as class -> count; ``end``: what its keys end with. None for no mapping."""
    if not isinstance(node.value, dict):
        return None
    keys = [name + end for name in CLASSES]
    found = {}
    for key, item in node.value.items():
        where = (*path, key)
        if key not in keys:
            problems.warn(item.file, item.line, where, f"is no class of errors{problems.hint(key, keys)}; ignored")
            continue
        count = convert("count", item, where, problems)
        if isinstance(count, int):
            found[CLASSES[key.removesuffix(end)]] = count
    return found


def read_policies(
    node: Node, end: str, path: KeyPath, problems: Problems, convert: Convert
) -> dict[str, dict[str, int]] | None:
    """Read a policy for each group."""
    if not isinstance(node.value, dict):
        return None
    found = {}
    for group, item in node.value.items():
        policy = convert(f"policy:{end}", item, (*path, group), problems)
        if isinstance(policy, dict):
            found[group] = policy
    return found


def read_budgets(
    node: Node, path: KeyPath, problems: Problems, convert: Convert
) -> dict[str, tuple[float, float]] | None:
    """Read `{openai: {budget_limit: 10, time_period: 1d}}` as provider -> (US dollars, seconds)."""
    if not isinstance(node.value, dict):
        return None
    found = {}
    for provider, item in node.value.items():
        where = (*path, provider)
        if not isinstance(item.value, dict):
            problems.error(item.file, item.line, where, "expected a mapping with `budget_limit` and `time_period`")
            continue
        parts: dict[str, Any] = {}
        for key, inner in item.value.items():
            name = _BUDGET.get(key)
            if name is None:
                hint = problems.hint(key, _BUDGET)
                problems.warn(inner.file, inner.line, (*where, key), f"is no key of a budget{hint}; ignored")
                continue
            if name == "limit":
                parts[name] = convert("amount", inner, (*where, key), problems)
                continue
            parts[name] = read_period(inner.text if isinstance(inner.value, str) else "")
            if parts[name] is None:
                problems.error(inner.file, inner.line, (*where, key), "expected a period such as 30s, 1h, 1d or 1mo")
        if isinstance(parts.get("limit"), float) and parts.get("period"):
            found[provider] = parts["limit"], parts["period"]
        elif len(parts) < 2:
            problems.error(item.file, item.line, where, "expected a mapping with `budget_limit` and `time_period`")
    return found


def read_period(text: str) -> float | None:
    """Read a period as seconds: `30s`, `15m`, `1h`, `1d`, `1w`, `1mo` (30 days); None for anything else."""
    found = _PERIOD.fullmatch(text.strip().lower())
    seconds = float(found[1]) * _PERIODS[found[2]] if found is not None else 0.0
    return seconds or None


def read_hedge(node: Node) -> float | None:
    """Read a time as seconds: `800ms`, `1.5s`, `2`; 0.0 for `p95`. None for anything else."""
    if isinstance(node.value, dict | list | bool):
        return None
    text = node.text.strip().lower()
    if text == "p95":
        return 0.0
    found = _SPAN.fullmatch(text)
    seconds = float(found[1]) * _UNITS[found[2] or "s"] if found is not None else 0.0
    return seconds if 0.0 < seconds < 3600.0 else None
