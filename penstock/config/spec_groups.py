"""`router_settings.routing_groups`: groups of models with a strategy of their own, which requests may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.config.problems import KeyPath, Problems, shown
from penstock.config.tree import Node
from penstock.core.route.confidence import Levels

PRIORITY = "priority"
"""The strategy that only routing groups have: `model_priorities` says which models come first."""
RESERVED = "default"
"""LiteLLM's name for all models that are in no group."""

_KEYS = {
    "group_name": "str",
    "models": "names",
    "routing_strategy": "one",
    "routing_strategy_args": "strategy",
    "model_priorities": "mapping",
}

_ARGS = {
    "ttl": "seconds",
    "lowest_latency_buffer": "amount",
    "confidence_threshold_low": "number",
    "confidence_threshold_medium": "number",
    "confidence_threshold_high": "number",
    "max_latency_list_size": "any",  # latencies fade here; none are listed
}

Convert = Callable[[str, Node, KeyPath, Problems], Any]
"""``spec.convert``, which calls what is here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingGroup:
    """A row of `routing_groups`. `strategy` is "" where the router's own holds. `priorities`, of the strategy
    `priority`, has all of `models`: lower goes first."""

    name: str
    models: tuple[str, ...]
    strategy: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    priorities: Mapping[str, int] = field(default_factory=dict)

    @property
    def routes_members(self) -> bool:
        """Tell whether its strategy also holds for requests that name one of its models."""
        return self.strategy != PRIORITY


def read_groups(
    node: Node, strategies: tuple[str, ...], path: KeyPath, problems: Problems, convert: Convert
) -> tuple[RoutingGroup, ...] | None:
    """Read the list; None for anything else. A row that does not hold is an error, and left out."""
    if not isinstance(node.value, list):
        return None
    found: dict[str, RoutingGroup] = {}
    owners: dict[str, str] = {}  # a model's group
    for number, row in enumerate(node.value):
        where = (*path, number)
        group = _read_group(row, strategies, where, problems, convert)
        if group is None:
            continue
        if group.name in found:
            problems.error(row.file, row.line, where, f"there is a group named {shown(group.name)} already; left out")
            continue
        found[group.name] = group
        for model in group.models if group.routes_members else ():
            owner = owners.setdefault(model, group.name)
            if owner != group.name:
                text = f"{shown(model)} is in the group {shown(owner)} already, whose strategy holds for it"
                problems.error(row.file, row.line, (*where, "models"), text)
    return tuple(found.values())


def _read_group(
    row: Node, strategies: tuple[str, ...], path: KeyPath, problems: Problems, convert: Convert
) -> RoutingGroup | None:
    if not isinstance(row.value, dict) or not {"group_name", "models"} <= row.value.keys():
        text = "expected a mapping with `group_name`, `models` and `routing_strategy`"
        problems.error(row.file, row.line, path, text)
        return None
    made: dict[str, Any] = {}
    for key, item in row.value.items():
        spec = _KEYS.get(key)
        if spec is None:
            text = f"is no key of a routing group{problems.hint(key, _KEYS)}; ignored"
            problems.warn(item.file, item.line, (*path, key), text)
            continue
        before = problems.errors
        value = convert(f"one:{','.join(strategies)}" if spec == "one" else spec, item, (*path, key), problems)
        if isinstance(value, (str, tuple, dict)):
            made[key] = value
        elif problems.errors > before and key in ("routing_strategy", "model_priorities"):
            return None  # another strategy than the one that was meant is worse than none
    name, models = made.get("group_name", ""), tuple(dict.fromkeys(made.get("models", ())))
    wrong = _fault(name, models, made)
    if wrong:
        problems.error(row.file, row.line, path, wrong)
        return None
    return RoutingGroup(
        name=name,
        models=models,
        strategy=made.get("routing_strategy", ""),
        args=made.get("routing_strategy_args", {}),
        priorities=made.get("model_priorities", {}),
    )


def read_args(node: Node, path: KeyPath, problems: Problems, convert: Convert) -> dict[str, Any] | None:
    """Read `routing_strategy_args`; None for no mapping. What is wrong is an error, and counts as absent."""
    if not isinstance(node.value, dict):
        return None
    made: dict[str, Any] = {}
    for key, item in node.value.items():
        if key not in _ARGS:
            text = f"no strategy has this argument here{problems.hint(key, _ARGS)}; ignored"
            problems.warn(item.file, item.line, (*path, key), text)
        elif isinstance(value := convert(_ARGS[key], item, (*path, key), problems), int | float):
            made[key] = value
    if not levels_of(made).hold:
        text = "confidence thresholds must rise from low to medium to high, above 0 and below 1; they count as absent"
        problems.error(node.file, node.line, path, text)
        made = {key: value for key, value in made.items() if not key.startswith("confidence")}
    return made


def levels_of(args: Mapping[str, Any]) -> Levels:
    """Return the confidences of the strategy `lar1`, out of its arguments."""
    given = {name: args.get(f"confidence_threshold_{name}") for name in Levels._fields}
    return Levels()._replace(**{name: value for name, value in given.items() if value is not None})


def _fault(name: str, models: tuple[str, ...], made: Mapping[str, Any]) -> str:
    """Tell what does not hold in a group, by LiteLLM's rules; "" where all of it does."""
    if not name or not models:
        return "a routing group needs a `group_name`, and at least one model in `models`"
    if name == RESERVED:
        return f"`group_name: {RESERVED}` is reserved for the models that are in no group; choose another"
    priorities = made.get("model_priorities")
    if made.get("routing_strategy") != PRIORITY:
        return "`model_priorities` goes with `routing_strategy: priority` only" if priorities else ""
    if made.get("routing_strategy_args"):
        return "a group by priority has `model_priorities`, and no `routing_strategy_args`"
    if priorities is None or priorities.keys() != set(models):
        return "a group by priority needs `model_priorities` with each of its models, such as `{fast: 1, spare: 2}`"
    if any(type(number) is not int or number < 1 for number in priorities.values()):
        return "`model_priorities` are whole numbers from 1; the lowest goes first"
    return ""
