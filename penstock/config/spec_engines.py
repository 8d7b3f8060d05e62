"""Value types of `engines`: spans of time, amounts of memory, words of a command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from penstock.config.tree import Node

_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(?:([kmgt])(i?)b?|b)", re.IGNORECASE)
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Type(NamedTuple):
    """A type of values. ``read``: gives None for what is none. ``expected``: completes "expected ..."; ``meaning``: how
    the documentation names it."""

    read: Callable[[Node], Any]
    expected: str
    meaning: str


def read_span(node: Node) -> float | None:
    """Read a span of time as seconds: `90`, `90s`, `15m`, `1h`, `1d`; 0 for `0`. None for anything else."""
    if isinstance(node.value, dict | list | bool):
        return None
    found = _SPAN.fullmatch(node.text.strip())
    return None if found is None else float(found[1]) * _SECONDS[(found[2] or "s").lower()]


def _read_some_span(node: Node) -> float | None:
    return read_span(node) or None


def read_bytes(node: Node) -> int | None:
    """Read an amount of memory as bytes: `24GB` and `24G` by thousands, `24GiB` by 1024. None for anything else, a bare
    number included: nobody can tell what it counts."""
    if isinstance(node.value, dict | list | bool):
        return None
    found = _BYTES.fullmatch(node.text.strip())
    if found is None:
        return None
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWER.get((found[2] or "").lower(), 0))


def read_words(node: Node) -> tuple[str, ...] | None:
    """Read a command line: a text as a shell would part it, or a list of words."""
    if isinstance(node.value, list):
        return _texts(node.value)
    if isinstance(node.value, dict | bool):
        return None
    import shlex  # few configs have such

    try:
        return tuple(shlex.split(node.text, comments=True))
    except ValueError:  # a quotation that does not end
        return None


def read_options(node: Node) -> Mapping[str, Any] | tuple[str, ...] | None:
    """Read the options of a program: a mapping of their names to values, or what `read_words` takes."""
    if not isinstance(node.value, dict):
        return read_words(node)
    values = [
        item for child in node.value.values() for item in (child.value if isinstance(child.value, list) else [child])
    ]
    if any(isinstance(item.value, dict | list) for item in values):
        return None
    found: dict[str, Any] = node.plain()
    return found


def read_variables(node: Node) -> Mapping[str, str] | None:
    """Read a mapping of environment variables to texts; null leaves one out."""
    if not isinstance(node.value, dict):
        return None
    given = {name: child for name, child in node.value.items() if child.value is not None}
    texts = _texts(list(given.values()))
    if texts is None or not all(_VARIABLE.fullmatch(name) for name in given) or any("\0" in text for text in texts):
        return None
    return dict(zip(given, texts, strict=True))


def _texts(nodes: list[Node]) -> tuple[str, ...] | None:
    if any(isinstance(node.value, dict | list | bool) or node.value is None for node in nodes):
        return None
    return tuple(node.text for node in nodes)


TYPES: Mapping[str, Type] = {
    "span": Type(_read_some_span, "a span of time above 0, such as 90s, 15m or 1h", "span such as `90s`, `15m`"),
    "pause": Type(read_span, "a span of time such as 0, 90s, 15m or 1h", "span such as `90s`, `15m`, or 0"),
    "bytes": Type(read_bytes, "an amount of memory such as 24GB, 800MB or 24GiB", "memory such as `24GB`"),
    "words": Type(read_words, "a command line, as text or as a list of words", "text or list of words"),
    "options": Type(read_options, "a mapping of options to values, or a list of words", "mapping or list of words"),
    "variables": Type(read_variables, "a mapping of environment variables to texts", "mapping of texts"),
}
