"""`include:` puts several files together. Lists are appended, other values replaced by the included file, as in
LiteLLM."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.config.problems import Problems, shown
from penstock.config.tree import Node, describe_type, read

MAX_FILES = 100


class _Reader:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.seen: dict[Path, None] = {}

    def load(self, path: Path, name: str) -> Node | None:
        self.seen[_identity(path)] = None
        node = read(path, name, self.problems)
        if node is None or node.value is None:
            return None
        if not isinstance(node.value, dict):
            message = f"expected a mapping with model_list and so on, got {describe_type(node)}"
            self.problems.error(name, node.line, (), message)
            return None
        merged = Node(dict(node.value), node.file, node.line)
        include = merged.value.pop("include", None)
        if include is not None and include.value is not None:
            self._include(include, path, merged)
        return merged

    def _include(self, include: Node, path: Path, merged: Node) -> None:
        items = include.value
        if not isinstance(items, list):
            message = f"expected a list of file names, got {describe_type(include)}; write each as `- file.yaml`"
            self.problems.error(include.file, include.line, ("include",), message)
            return
        for i, item in enumerate(items):
            where = (item.file, item.line, ("include", i))
            if not isinstance(item.value, str):
                self.problems.error(*where, f"expected a file name, got {describe_type(item)}")
                continue
            target = path.parent / item.value
            name = os.path.join(os.path.dirname(include.file), item.value)
            if self._seen(target):
                self.problems.warn(*where, f"{shown(item.value)} is included already; skipped here")
            elif len(self.seen) >= MAX_FILES:
                self.problems.error(*where, f"more than {MAX_FILES} files; put some together")
            elif not os.path.isfile(target):
                self.problems.error(*where, f"no file {shown(item.value)} beside {os.path.basename(include.file)!r}")
            else:
                self._merge(merged, self.load(target, name))

    def _seen(self, path: Path) -> bool:
        try:
            return _identity(path) in self.seen
        except ValueError:  # a NUL in the name: no such file either
            return False

    def _merge(self, into: Node, other: Node | None) -> None:
        for key, new in other.value.items() if other else ():
            old = into.value.get(key)
            if old is not None and isinstance(old.value, list) and isinstance(new.value, list):
                joined = Node([*old.value, *new.value], old.file, old.line)
                into.value[key] = joined
                continue
            if old is not None and old.value and old.plain() != new.plain():
                # LiteLLM replaces a whole section here without a word; two halves of one section are a common surprise.
                message = f"is replaced by the one of {new.file}:{new.line}; keep the section in one file"
                self.problems.warn(old.file, old.line, (key,), message)
            into.value[key] = new


def _identity(path: Path) -> Path:
    return Path(os.path.realpath(path))


def load_files(path: Path, problems: Problems) -> tuple[Node | None, tuple[Path, ...]]:
    """Load `path` and everything it includes. Return the merged document, without the key `include`, and the files
    read, in order.

    Files are named in problems as written: `path`, and included files relative to the file that includes them.
    """
    reader = _Reader(problems)
    node = reader.load(path, str(path))
    return node, tuple(reader.seen)
