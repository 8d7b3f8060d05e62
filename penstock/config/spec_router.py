"""Value types of `router_settings` that only it has: policies by class of error, groups with a strategy, hedging."""

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
_GROUP = ("group_name", "models", "routing_strategy", "routing_strategy_args")

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


def read_groups(
    node: Node, strategies: tuple[str, ...], path: KeyPath, problems: Problems, convert: Convert
) -> list[dict[str, Any]] | None:
    """Read `routing_groups`: a list of `{group_name, models, routing_strategy, routing_strategy_args}`."""
    if not isinstance(node.value, list):
        return None
    found = []
    for number, row in enumerate(node.value):
        where = (*path, number)
        if not isinstance(row.value, dict) or "models" not in row.value:
            problems.error(row.file, row.line, where, "expected a mapping with `models` and `routing_strategy`")
            continue
        made: dict[str, Any] = {}
        for key, item in row.value.items():
            spec = {"models": "names", "routing_strategy": f"one:{','.join(strategies)}", "group_name": "str"}.get(key)
            if spec is None and key != "routing_strategy_args":
                hint = problems.hint(key, _GROUP)
                problems.warn(item.file, item.line, (*where, key), f"is no key of a routing group{hint}; ignored")
                continue
            value = convert(spec or "mapping", item, (*where, key), problems)
            if isinstance(value, (str, tuple, dict)):
                made[key] = value
        found.append(made)
    return found


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
