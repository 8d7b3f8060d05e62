"""YAML text -> a tree whose every node knows its file and line.

Built from libyaml's event stream, not from `yaml.load` or `yaml.compose`: PyYAML's C composer recurses without a
limit and a file of 100,000 opening brackets kills the process with a segmentation fault; the event stream is iterative.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, TypeAlias

from penstock.config.problems import KeyPath, Problems

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 60
MAX_NODES = 200_000
"""Limits of one file. `MAX_NODES` counts aliases as often as they are used, which ends the billion-laughs trick."""

Scalar: TypeAlias = str | int | float | bool | None


class Node:
    """A value in the file.

    `value` is a scalar, `dict[str, Node]` or `list[Node]`. `text` is a scalar's text as it stands in the file, or
    after an
    environment variable was put in; `written` is then what stood in the file, else None. `line` counts from 1; the
    line of a mapping's value is the line of its key. `size` is the number of nodes below and including this one.
    """

    __slots__ = ("file", "line", "size", "text", "value", "written")

    value: Any  # Scalar | dict[str, Node] | list[Node]: recursive, so callers narrow it with isinstance

    def __init__(self, value: Any, file: str, line: int, text: str = "", written: str | None = None) -> None:
        self.value = value
        self.file = file
        self.line = line
        self.text = text
        self.written = written
        self.size = 1

    def at(self, line: int) -> Node:
        """Return the same value as seen from another line (an alias)."""
        other = Node(self.value, self.file, line, self.text, self.written)
        other.size = self.size
        return other

    def plain(self) -> Any:
        """Return the value as ordinary dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def describe_type(node: Node) -> str:
    """Name the kind of a value, for messages that need not show it."""
    value = node.value
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "text"
    return "null" if value is None else "true or false" if isinstance(value, bool) else "a number"


class BadYaml(Exception):
    """The text is not YAML that a config may use. Carries the line (from 1) and what to do."""

    def __init__(self, line: int, message: str, path: KeyPath = ()) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.path = path


def read(path: Path, name: str, problems: Problems) -> Node | None:
    """Read the tree of the file at `path`, called `name` in problems. None when unreadable (an error) or empty."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        reason = "no such file" if isinstance(exc, FileNotFoundError) else (exc.strerror or type(exc).__name__).lower()
        problems.error(name, 0, (), f"cannot be read: {reason}")
        return None
    try:
        return parse(decode(data), name, problems)
    except BadYaml as exc:
        problems.error(name, exc.line, exc.path, exc.message)
        return None


def decode(data: bytes) -> str:
    """Decode UTF-8 text, with or without a byte order mark. Raises BadYaml for more than `MAX_BYTES` or other
    encodings."""
    if len(data) > MAX_BYTES:
        raise BadYaml(0, f"is larger than {MAX_BYTES // 1024 // 1024} MB, the limit for one config file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise BadYaml(line, "is not UTF-8 text; save the file as UTF-8") from exc


def parse(text: str, file: str, problems: Problems) -> Node | None:
    """Parse a YAML text into its tree; None when it is empty. Of a key given twice the last one counts, with a warning
    in `problems`. Raises BadYaml for what is not valid."""
    import yaml

    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        loader = loader_class(text)
        try:
            return _Builder(loader, file, problems).run()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise BadYaml(line, "holds a control character that YAML does not allow") from exc
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise BadYaml(mark.line + 1 if mark else 0, f"is not valid YAML: {_scrub(exc)}") from exc
    except yaml.YAMLError as exc:
        raise BadYaml(0, "is not valid YAML") from exc


def _scrub(exc: Any) -> str:
    # PyYAML quotes names from the file ('found undefined alias ...'); an unquoted password may be one of them.
    words = ", ".join(part for part in (exc.context, exc.problem) if part)
    return re.sub(r"'[^']{4,}'", "'...'", words) or "the text ends too early"


class _Builder:
    """Puts one document's events together. Depth, size, aliases and tags are checked on the way."""

    def __init__(self, loader: Any, file: str, problems: Problems) -> None:
        import yaml

        self.file = file
        self.problems = problems
        self.loader = loader
        self.scalar = yaml.ScalarEvent
        self.alias = yaml.AliasEvent
        self.starts = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
        self.ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        self.scalar_node = yaml.ScalarNode
        self.anchors: dict[str, Node | None] = {}

    def run(self) -> Node | None:
        import yaml

        stack: list[_Mapping | _Sequence] = []
        root: Node | None = None
        documents = 0
        while self.loader.check_event():
            event = self.loader.get_event()
            node: Node
            kind = type(event)
            if kind is self.scalar:
                node = self._scalar(event)
            elif kind in self.starts:
                stack.append(self._start(event, stack))
                continue
            elif kind in self.ends:
                node = stack.pop().finish()
            elif kind is self.alias:
                node = self._alias(event)
            else:
                documents += kind is yaml.DocumentStartEvent
                if documents > 1:
                    raise BadYaml(event.start_mark.line + 1, "holds a second document (---); a config is one document")
                continue
            if stack:
                stack[-1].add(node)
                if stack[-1].node.size > MAX_NODES:
                    raise BadYaml(node.line, f"expands to more than {MAX_NODES:,} values; are aliases nested?")
            else:
                root = node
            if isinstance(node, _Fresh) and node.anchor is not None:
                self.anchors[node.anchor] = node
        return root

    def _scalar(self, event: Any) -> _Fresh:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self.loader.resolve(self.scalar_node, event.value, event.implicit) if tag is None else _STR
        line = event.start_mark.line + 1
        value = _scalar_value(tag, event.value, line)
        if event.tag is None and event.implicit[0] and value and isinstance(value, str):
            value = _exponent(value)
        node = _Fresh(value, self.file, line, event.value)
        node.merge = tag == _MERGE
        node.anchor = event.anchor
        return node

    def _start(self, event: Any, stack: list[_Mapping | _Sequence]) -> _Mapping | _Sequence:
        line = event.start_mark.line + 1
        if len(stack) >= MAX_DEPTH:
            raise BadYaml(line, f"is nested deeper than {MAX_DEPTH} levels")
        if event.tag not in (None, "!", f"{_TAG}map", f"{_TAG}seq"):
            raise BadYaml(line, _BAD_TAG)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        kind = _Mapping if type(event) is self.starts[0] else _Sequence
        container = kind(self, line, stack[-1] if stack else None)
        container.node.anchor = event.anchor
        return container

    def _alias(self, event: Any) -> Node:
        line = event.start_mark.line + 1
        if event.anchor not in self.anchors:
            raise BadYaml(
                line, "an alias (*name) without its anchor (&name) above it; put quotes around text that starts with *"
            )
        node = self.anchors[event.anchor]
        if node is None:
            raise BadYaml(line, "an alias (*name) inside the value that it names")
        return node.at(line)


class _Fresh(Node):
    """A node that is still being read."""

    __slots__ = ("anchor", "merge")

    def __init__(self, value: Any, file: str, line: int, text: str = "") -> None:
        super().__init__(value, file, line, text)
        self.anchor: str | None = None
        self.merge = False


class _Sequence:
    __slots__ = ("node", "parent")

    def __init__(self, builder: _Builder, line: int, parent: _Mapping | _Sequence | None) -> None:
        self.node = _Fresh([], builder.file, line)
        self.parent = parent

    def path(self) -> KeyPath:
        """Return the path of the value that comes next."""
        return (*(self.parent.path() if self.parent else ()), len(self.node.value))

    def add(self, node: Node) -> None:
        self.node.value.append(node)
        self.node.size += node.size

    def finish(self) -> _Fresh:
        return self.node


class _Mapping:
    __slots__ = ("builder", "key", "merges", "node", "parent")

    def __init__(self, builder: _Builder, line: int, parent: _Mapping | _Sequence | None) -> None:
        self.builder = builder
        self.node = _Fresh({}, builder.file, line)
        self.parent = parent
        self.key: Node | None = None
        self.merges: list[Node] = []

    def path(self) -> KeyPath:
        """Return the path of the value that comes next."""
        above = self.parent.path() if self.parent else ()
        return (*above, self.key.text) if self.key else above

    def add(self, node: Node) -> None:
        key = self.key
        if key is None:
            if isinstance(node.value, dict | list):
                raise BadYaml(node.line, "a key must be plain text; put quotes around text that starts with { or [")
            self.key = node
            return
        self.node.size += node.size
        if isinstance(key, _Fresh) and key.merge:
            self._merge(node)
        elif key.text in self.node.value:
            # PyYAML takes the last one, and so does LiteLLM.
            first = self.node.value[key.text].line
            message = f"the key is given twice in one mapping, first in line {first}; this one counts, remove the other"
            self.builder.problems.warn(self.builder.file, key.line, self.path(), message)
            self._set(key, node)
        else:
            self._set(key, node)
        self.key = None

    def _set(self, key: Node, node: Node) -> None:
        if isinstance(node, _Fresh):
            node.line = key.line
        else:
            node = node.at(key.line)
        self.node.value[key.text] = node

    def _merge(self, node: Node) -> None:
        sources = node.value if isinstance(node.value, list) else [node]
        for source in sources:
            if not isinstance(source.value, dict):
                message = "<< takes a mapping or a list of mappings, such as *defaults"
                raise BadYaml(node.line, message, self.path())
        self.merges.extend(sources)

    def finish(self) -> _Fresh:
        for source in self.merges:
            for name, value in source.value.items():
                self.node.value.setdefault(name, value)
        return self.node


_TAG = "tag:yaml.org,2002:"
_STR = f"{_TAG}str"
_MERGE = f"{_TAG}merge"
_BAD_TAG = "a YAML tag (!name) that a config cannot use; put quotes around text that starts with !"
_TRUE = frozenset({"yes", "true", "on"})
_EXPONENT = r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d{1,3}"
_SEXAGESIMAL = re.compile(r"[-+]?\d+(:\d+)+(\.\d*)?\Z")


def _scalar_value(tag: str, text: str, line: int) -> Scalar:
    """Convert a scalar as PyYAML's safe loader would, but dates and base-60 numbers stay text.

    `api_version: 2024-10-21` is meant as text; LiteLLM receives a date object there.
    """
    kind = tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in _TRUE
    try:
        if kind == "int" and not _SEXAGESIMAL.match(text):
            return _whole(text.replace("_", ""))
        if kind == "float" and not _SEXAGESIMAL.match(text):
            plain = text.replace("_", "").lower()
            return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    if kind in ("str", "int", "float", "timestamp", "merge", "value"):
        return text
    raise BadYaml(line, _BAD_TAG)


def _exponent(text: str) -> str | float:
    # YAML 1.1 takes 1e-6 for text, so a JSON file would load differently and prices would be texts; YAML 1.2 does not.
    if text[0] in "+-.0123456789" and text[-1] in "0123456789" and re.fullmatch(_EXPONENT, text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _whole(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    for prefix, base in (("0x", 16), ("0b", 2), ("0", 8)):
        if digits.lower().startswith(prefix) and len(digits) > len(prefix):
            return sign * int(digits[len(prefix) :], base)
    return sign * int(digits)
