"""Checks one mapping of the file against its key table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from penstock.config.keys import Key, Table, elsewhere
from penstock.config.problems import KeyPath, Problems
from penstock.config.spec import ABSENT, convert
from penstock.config.tree import Node, describe_type
from penstock.config.unacted import reason_of

# Some of LiteLLM's own hooks are written as mappings there: one that is not ours keeps no config from being used.
_LENIENT = frozenset(("callbacks", "success_callback", "failure_callback"))


@dataclass(slots=True)
class Section:
    """A mapping after its check: `values` converted by the table, `rest` the keys that the table does not have."""

    values: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, Node] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the converted value, or `default` when the key is absent, null or wrong."""
        return self.values.get(name, default)


def check(table: Table, node: Node | None, path: KeyPath, problems: Problems) -> Section:
    """Convert the section's values by type. Wrong types are errors, keys without effect are warnings, and so is what
    is wrong in one of these or in a request parameter; null is absent."""
    section = Section()
    for name, child in items(node, path, problems):
        where = (*path, name)
        key = table.get(name)
        if key is None:
            section.rest[name] = child
            continue
        if key.status == "acted" and name not in _LENIENT:
            value = convert(key.spec, child, where, problems)
        else:
            with problems.graded("warning"):
                value = convert(key.spec, child, where, problems)
        if value is ABSENT:
            continue
        section.values[name] = value
        if (said := without_effect(key)) and not _asks_nothing(key, value):
            problems.warn(child.file, child.line, where, said)
    return section


def without_effect(key: Key, what: str = "key") -> str:
    """Say that a key has no effect here, and why; "" for one that has."""
    if key.status == "moot":
        return f"has no effect here, and needs none: {key.meaning}"
    if key.status != "known":
        return ""
    if key.meaning.startswith("use "):
        return f"is not read here: {key.meaning}"
    return f"known LiteLLM {what}, not acted on yet ({key.meaning}): {reason_of(key.name)}"


def items(node: Node | None, path: KeyPath, problems: Problems) -> Iterator[tuple[str, Node]]:
    """Yield the pairs of a mapping node; none for null; anything else is an error."""
    if node is None or node.value is None:
        return
    if not isinstance(node.value, dict):
        problems.error(node.file, node.line, path, f"expected a mapping, got {describe_type(node)}")
        return
    yield from node.value.items()


def warn_unknown(table: Table, section: Section, path: KeyPath, problems: Problems) -> None:
    """Warn of each key that the table does not have, with the place or the name that was probably meant."""
    for name, node in section.rest.items():
        meant = _meant(name, table, problems)
        add = problems.slip if meant else problems.warn
        add(node.file, node.line, (*path, name), f"unknown key{meant}; ignored")


def warn_unknown_params(table: Table, section: Section, path: KeyPath, problems: Problems) -> None:
    """Warn of unknown keys in `litellm_params`. They never go upstream: one of them may be somebody's secret."""
    for name, node in section.rest.items():
        if node.value is not None:
            meant = _meant(name, table, problems)
            text = f"unknown key{meant}; not sent upstream. A parameter of the model's own goes into extra_body"
            add = problems.slip if meant else problems.warn
            add(node.file, node.line, (*path, name), text)


def warn_unknown_info(table: Table, section: Section, path: KeyPath, problems: Problems) -> None:
    """Warn of unknown keys in `model_info`, which people use for notes of their own: only what looks like a slip is
    named."""
    for name, node in section.rest.items():
        hint = problems.hint(name, table.names())
        if hint:
            problems.warn(node.file, node.line, (*path, name), f"unknown key{hint}; kept as information")


def _meant(name: str, table: Table, problems: Problems) -> str:
    place = elsewhere(name, table)
    return f", it belongs in {place}" if place else problems.hint(name, table.names())


def _asks_nothing(key: Key, value: Any) -> bool:
    # LiteLLM's own default, written out, does ask for something: `allowed_fails: 3` counts on deployments that rest. A
    # default of 0 does not: `max_budget: 0` is no budget.
    return not value and (not isinstance(value, int | float) or value is False or key.default == 0)
