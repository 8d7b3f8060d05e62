"""Value types of the key table: what is accepted, what it becomes, and what to say when it is something else.

LiteLLM's users write numbers and booleans as text ("60", "True"; environment variables always are), so both are taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from penstock.config.problems import KeyPath, Problems, described, nearest
from penstock.config.redis_address import PORT, SENTINEL_PORT, parse_nodes, parse_url
from penstock.config.secret import Secret
from penstock.config.spec_engines import TYPES
from penstock.config.spec_groups import read_args, read_groups
from penstock.config.spec_router import read_budgets, read_hedge, read_period, read_policies, read_policy
from penstock.config.tree import Node, describe_type

ABSENT: Any = object()
"""What `convert` gives for a value that is null or wrong."""

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_HEADER_NAME = frozenset("!#$%&'*+.^_`|~-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_VARIABLE = r"os\.environ/[A-Z_][A-Z0-9_]*|\$\{[A-Z_][A-Z0-9_]*\}"


class Wrong(Exception):
    """The value has another type. `expected` completes "expected ...", `hint` follows "got ..."; `got`: the value,
    where it can be shown."""

    def __init__(self, expected: str, hint: str = "", got: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint
        self.got = got


def convert(spec: str, node: Node, path: KeyPath, problems: Problems) -> Any:
    """Convert the node's value to the type that `spec` names. ABSENT for null, for empty text (a warning) and for a
    wrong value (an error)."""
    if node.value is None:
        return ABSENT
    name, _, choices = spec.partition(":")
    if isinstance(node.value, str) and name not in _TEXTUAL and not node.value.strip():
        # `timeout: os.environ/T` with T set to nothing, as Compose files do, must not block the start.
        problems.warn(node.file, node.line, path, "is empty; counts as absent")
        return ABSENT
    try:
        if choices:
            return _CHOICES[name](node, tuple(choices.split(",")), path, problems)
        if name in _NESTED:
            return _NESTED[name](node, path, problems)
        return _PLAIN[name](node)
    except Wrong as wrong:
        got = wrong.got or describe(node, secret=name in SECRET_SPECS)
        problems.error(node.file, node.line, path, f"expected {wrong.expected}, got {got}{wrong.hint}")
        return ABSENT


def describe(node: Node, secret: bool = False) -> str:
    """Describe a value for a message, never one that may be a secret. Variables are shown as they were written."""
    value = node.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if secret or value is None or isinstance(value, dict | list):
        return describe_type(node)
    if node.written is not None:
        return repr(node.written) if re.fullmatch(_VARIABLE, node.written) else described(node.written)
    if isinstance(value, int | float) and len(node.text) <= 8:
        return node.text
    return described(node.text if isinstance(value, str) else value)


def _any(node: Node) -> Any:
    return node.plain()


def _text(node: Node) -> str:
    # Numbers keep their text: `api_version: 2024` and a numeric user id mean the text.
    if isinstance(node.value, dict | list | bool):
        raise Wrong("text")
    return node.text


def _secret(node: Node) -> Secret:
    return Secret(_text(node))


def _bool(node: Node) -> bool:
    value = node.value
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int):
        word = node.text.strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    raise Wrong("true or false")


def is_switch(text: str) -> bool:
    """Tell whether a text is a way to write true or false."""
    return text.strip().lower() in _TRUE | _FALSE


def _flag(node: Node, path: KeyPath, problems: Problems) -> Any:
    # LiteLLM takes what is no switch for an unset one, and people write a list where `additional_drop_params` is meant.
    try:
        return _bool(node)
    except Wrong as wrong:
        hint = "; for a list of parameters write additional_drop_params" if isinstance(node.value, list) else ""
        got = f"expected {wrong.expected}, got {describe(node)}"
        problems.warn(node.file, node.line, path, f"{got}; counts as absent{hint}")
        return ABSENT


def _number_in(node: Node, expected: str) -> int | float:
    value = node.value
    if isinstance(value, bool):
        raise Wrong(expected)
    if isinstance(value, str) and len(value) < 60 and value.isascii():
        text = value.strip()
        try:
            value = int(text) if text.lstrip("+-").isdigit() else float(text)
        except ValueError:
            raise Wrong(expected) from None
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    raise Wrong(expected)


def _numeric(node: Node) -> int | float:
    return _number_in(node, "a number")


def _float(expected: str, ok: Callable[[float], bool] = lambda _: True) -> Callable[[Node], float]:
    def check(node: Node) -> float:
        value = float(_number_in(node, expected))
        if not ok(value):
            raise Wrong(expected)
        return value

    return check


def _int(expected: str, ok: Callable[[int], bool]) -> Callable[[Node], int]:
    def check(node: Node) -> int:
        value = _number_in(node, expected)
        if value != int(value) or not ok(int(value)):
            raise Wrong(expected)
        return int(value)

    return check


def _url(node: Node) -> str:
    text = _text(node).strip()
    try:
        parts = urlsplit(text)
        good = parts.scheme.lower() in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = None
    if not good or any(char.isspace() or ord(char) < 32 for char in text):
        raise Wrong("a URL such as http://localhost:8000/v1")
    return text


def _tls(node: Node) -> bool | str:
    try:
        return _bool(node)
    except Wrong:
        if isinstance(node.value, str) and node.text.strip():
            return node.text.strip()
        raise Wrong("true, false or the path of a CA file") from None


def _redis(node: Node) -> Secret:
    text = _text(node)
    try:
        parse_url(text)
    except ValueError as error:
        raise Wrong(str(error)) from None
    return Secret(text.strip())


def _nodes_by(default_port: int) -> Callable[[Node], tuple[tuple[str, int], ...]]:
    def check(node: Node) -> tuple[tuple[str, int], ...]:
        try:
            return parse_nodes(node.plain(), default_port)
        except ValueError as error:
            raise Wrong(str(error)) from None

    return check


def _mapping(node: Node) -> dict[str, Any]:
    if not isinstance(node.value, dict):
        raise Wrong("a mapping")
    plain: dict[str, Any] = node.plain()
    return plain


def _list(node: Node) -> list[Any]:
    if not isinstance(node.value, list):
        raise Wrong("a list")
    plain: list[Any] = node.plain()
    return plain


def _texts(node: Node, path: KeyPath, problems: Problems) -> tuple[str, ...]:
    if not isinstance(node.value, list):
        raise Wrong("a list of texts")
    found = (convert("str", item, (*path, i), problems) for i, item in enumerate(node.value))
    return tuple(item for item in found if item is not ABSENT)


def _names(node: Node, path: KeyPath, problems: Problems) -> tuple[str, ...]:
    return (node.text,) if isinstance(node.value, str) else _texts(node, path, problems)


def _lists(node: Node, path: KeyPath, problems: Problems) -> tuple[tuple[str, ...], ...]:
    if not isinstance(node.value, list):
        raise Wrong("a list of lists of groups, such as [[fast, cheap]]")
    found = (convert("texts", item, (*path, i), problems) for i, item in enumerate(node.value))
    return tuple(item for item in found if item is not ABSENT)


def _headers(node: Node, path: KeyPath, problems: Problems) -> dict[str, str]:
    if not isinstance(node.value, dict):
        raise Wrong("a mapping of header names to texts")
    result: dict[str, str] = {}
    for name, item in node.value.items():
        if item.value is None:
            continue
        where = (*path, name)
        if not name or not _HEADER_NAME.issuperset(name):
            problems.error(item.file, item.line, where, "is not a header name; use letters, digits and -")
        elif isinstance(item.value, dict | list):
            problems.error(item.file, item.line, where, f"expected text, got {describe(item)}")
        elif any(ord(char) < 32 and char != "\t" or ord(char) == 127 for char in item.text):
            problems.error(item.file, item.line, where, "holds a line break or control character, no header may")
        else:
            result[name] = item.text.strip() if isinstance(item.value, str) else item.text
    return result


def _each(spec: str, expected: str) -> Callable[[Node, KeyPath, Problems], dict[str, float]]:
    """Make the type of a mapping whose values are all of the type ``spec``."""

    def read(node: Node, path: KeyPath, problems: Problems) -> dict[str, float]:
        if not isinstance(node.value, dict):
            raise Wrong(expected)
        found = {name: convert(spec, item, (*path, name), problems) for name, item in node.value.items()}
        return {name: value for name, value in found.items() if value is not ABSENT}

    return read


_MARGIN = ("percentage", "fixed_amount")


def _margins(node: Node, path: KeyPath, problems: Problems) -> dict[str, float | dict[str, float]]:
    if not isinstance(node.value, dict):
        raise Wrong("a mapping of providers to fractions (0.1 is 10 %), or to percentage and fixed_amount")
    result: dict[str, float | dict[str, float]] = {}
    for name, item in node.value.items():
        where = (*path, name)
        if not isinstance(item.value, dict):
            share = convert("amount", item, where, problems)
            if share is not ABSENT:
                result[name] = share
            continue
        parts: dict[str, float] = {}
        for key, inner in item.value.items():
            if key not in _MARGIN:
                hint = problems.hint(key, _MARGIN)
                problems.error(inner.file, inner.line, (*where, key), f"is no part of a margin{hint}")
                continue
            amount = convert("amount", inner, (*where, key), problems)
            if amount is not ABSENT:
                parts[key] = amount
        result[name] = parts
    return result


def fallback_pairs(node: Node, path: KeyPath) -> Iterator[tuple[str, Node, KeyPath]]:
    """Yield (group, node of its targets, path) of every pair in a list of `{group: [groups]}`, or in one such
    mapping."""
    items = [(node, path)]
    if isinstance(node.value, list):
        items = [(item, (*path, i)) for i, item in enumerate(node.value) if item.value is not None]
    for item, where in items:
        if not isinstance(item.value, dict):
            raise Wrong("a list of mappings, each `group: [groups]`")
        for group, targets in item.value.items():
            yield group, targets, (*where, group)


def _fallbacks(node: Node, path: KeyPath, problems: Problems) -> dict[str, tuple[str, ...]]:
    result: dict[str, tuple[str, ...]] = {}
    for group, targets, where in fallback_pairs(node, path):
        if group in result:
            problems.warn(targets.file, targets.line, where, "the group has fallbacks above; these are not used")
            continue
        found = convert("names", targets, where, problems)
        if found is not ABSENT and found:
            result[group] = found
    return result


def _aliases(node: Node, path: KeyPath, problems: Problems) -> dict[str, tuple[str, bool]]:
    # {alias: (group, hidden)}
    if not isinstance(node.value, dict):
        raise Wrong("a mapping of aliases to groups")
    result: dict[str, tuple[str, bool]] = {}
    for alias, item in node.value.items():
        where = (*path, alias)
        target, hidden = item, False
        if isinstance(item.value, dict):
            if "model" not in item.value:
                problems.error(item.file, item.line, where, "expected a group, or a mapping with `model`")
                continue
            target, where = item.value["model"], (*where, "model")
            if "hidden" in item.value:
                hidden = convert("bool", item.value["hidden"], (*path, alias, "hidden"), problems) is True
        group = convert("str", target, where, problems)
        if group is not ABSENT:
            result[alias] = (group, hidden)
    return result


def _checks(node: Node, choices: tuple[str, ...], path: KeyPath, problems: Problems) -> tuple[str, ...]:
    spec = f"one:{','.join(choices)}"
    if isinstance(node.value, str):  # one name is a list of one
        found = convert(spec, node, path, problems)
        return () if found is ABSENT else (found,)
    if not isinstance(node.value, list):
        raise Wrong("a list of texts")
    each = (convert(spec, item, (*path, i), problems) for i, item in enumerate(node.value))
    return tuple(item for item in each if item is not ABSENT)


def _one_of(node: Node, choices: tuple[str, ...], path: KeyPath, problems: Problems) -> str:
    text = str(node.text).strip()
    if isinstance(node.value, dict | list | bool) or text not in choices:
        near = None if isinstance(node.value, dict | list) else nearest(text, choices)
        if near:  # a slip of the pen, and no secret
            raise Wrong(f"one of {', '.join(choices)}", f", did you mean {near!r}?", repr(text))
        raise Wrong(f"one of {', '.join(choices)}")
    return text


def _usually(node: Node, choices: tuple[str, ...], path: KeyPath, problems: Problems) -> str:
    # An open set: providers add members, so an unknown one is kept.
    text = _text(node)
    if text not in choices:
        hint = problems.hint(text, choices)
        message = f"unknown value {repr(text) if hint else describe(node)}{hint}; kept as it is"
        problems.warn(node.file, node.line, path, message)
    return text


def _read(found: Any, expected: str) -> Any:
    """Return what another file read, which is None for another kind of value."""
    if found is None:
        raise Wrong(expected)
    return found


def _policy(node: Node, choices: tuple[str, ...], path: KeyPath, problems: Problems) -> Any:
    found = read_policy(node, choices[0], path, problems, convert)
    return _read(found, f"a mapping such as `RateLimitError{choices[0]}: 3`")


def _policies(node: Node, choices: tuple[str, ...], path: KeyPath, problems: Problems) -> Any:
    found = read_policies(node, choices[0], path, problems, convert)
    return _read(found, f"a mapping of groups to mappings such as `RateLimitError{choices[0]}: 3`")


def _groups(node: Node, choices: tuple[str, ...], path: KeyPath, problems: Problems) -> Any:
    found = read_groups(node, choices, path, problems, convert)
    return _read(found, "a list of mappings with `group_name`, `models` and `routing_strategy`")


_BUDGETS = "a mapping of providers to `{budget_limit: 10, time_period: 1d}`"
_PERIOD = "a period such as 30s, 1h, 30d or 1mo"

_PLAIN: Mapping[str, Callable[[Node], Any]] = {
    "any": _any,
    "str": _text,
    "secret": _secret,
    "bool": _bool,
    "count": _int("a whole number, 0 or more", lambda n: n >= 0),
    "positive": _int("a whole number above 0", lambda n: n > 0),
    "integer": _int("a whole number", lambda _: True),
    "numeric": _numeric,
    "number": _float("a number"),
    "amount": _float("a number, 0 or more", lambda n: n >= 0),
    "share": _float("a number from 0 to 1 (0.05 is 5 %)", lambda n: 0 <= n <= 1),
    "size": _float("a number above 0", lambda n: n > 0),
    "seconds": _float("a number of seconds above 0", lambda n: n > 0),
    "wait": _float("a number of seconds, 0 or more", lambda n: n >= 0),
    "port": _int("a port, 1 to 65535", lambda n: 0 < n < 65536),
    "hedge": lambda node: _read(read_hedge(node), "a time such as 800ms, 1.5s or p95"),
    "period": lambda node: _read(read_period(node.text if isinstance(node.value, str) else ""), _PERIOD),
    "url": _url,
    "redis": _redis,
    "nodes": _nodes_by(PORT),
    "sentinels": _nodes_by(SENTINEL_PORT),
    "tls": _tls,
    "mapping": _mapping,
    "connection": _mapping,  # its keys have a table of their own
    "list": _list,
    **{name: partial(lambda row, node: _read(row.read(node), row.expected), row) for name, row in TYPES.items()},
}
_NESTED: Mapping[str, Callable[[Node, KeyPath, Problems], Any]] = {
    "flag": _flag,
    "texts": _texts,
    "names": _names,
    "lists": _lists,
    "headers": _headers,
    "numbers": _each("number", "a mapping of names to numbers"),
    "shares": _each("share", "a mapping of providers to fractions (0.05 is 5 %)"),
    "waits": _each("seconds", "a mapping of names to seconds above 0"),
    "margins": _margins,
    "fallbacks": _fallbacks,
    "aliases": _aliases,
    "budgets": lambda node, path, p: _read(read_budgets(node, path, p, convert), _BUDGETS),
    "strategy": lambda node, path, p: _read(read_args(node, path, p, convert), "a mapping such as `ttl: 600`"),
}
_CHOICES: Mapping[str, Callable[[Node, tuple[str, ...], KeyPath, Problems], Any]] = {
    "one": _one_of,
    "policy": _policy,
    "policies": _policies,
    "groups": _groups,
    "usually": _usually,
    "checks": _checks,
}

_TEXTUAL = frozenset({"any", "str", "secret"})
SECRET_SPECS = frozenset({"secret", "redis", "headers", "variables"})

MEANING: Mapping[str, str] = {
    "any": "any value",
    "str": "text",
    "secret": "secret text",
    "bool": "true or false",
    "flag": "true or false",
    "count": "whole number >= 0",
    "positive": "whole number > 0",
    "integer": "whole number",
    "numeric": "number",
    "number": "number",
    "amount": "number >= 0",
    "share": "number from 0 to 1",
    "size": "number > 0",
    "seconds": "seconds > 0",
    "wait": "seconds >= 0",
    "port": "port",
    "url": "URL",
    "redis": "secret URL",
    "nodes": "list of `{host, port}`",
    "sentinels": "list of `{host, port}`",
    "tls": "true, false or path",
    "mapping": "mapping",
    "connection": "mapping, see its own table",
    "list": "list",
    "texts": "list of texts",
    "names": "text or list of texts",
    "lists": "list of lists of texts",
    "headers": "mapping of texts",
    "numbers": "mapping of numbers",
    "shares": "mapping of numbers from 0 to 1",
    "margins": "mapping of numbers or `{percentage, fixed_amount}`",
    "one": "one of",
    "usually": "usually one of",
    "checks": "list of",
    "fallbacks": "list of `{group: [groups]}`",
    "aliases": "`{alias: group}`",
    "policy": "mapping of counts",
    "policies": "mapping of groups to mappings of counts",
    "groups": "list of `{group_name, models, routing_strategy}`",
    "period": "period such as 30d",
    "waits": "mapping of seconds",
    "strategy": "mapping of arguments",
    "budgets": "mapping of providers to `{budget_limit, time_period}`",
    "hedge": "`800ms`, `1.5s` or `p95`",
    **{name: row.meaning for name, row in TYPES.items()},
}
"""How the documentation names each type."""
