"""The table of pages and management URLs: rows, ready to be looked up.

The rows stand in ``pages``; their type is ``runtime.route``, so that rooms below may have rows, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from penstock.runtime.gate import PUBLIC
from penstock.runtime.route import JSON, READ, Page, Route

__all__ = ["JSON", "READ", "Page", "Route", "Routes"]


class Routes:
    """The rows, ready to be looked up. Patterns are asked in their order, after the exact paths."""

    def __init__(self, rows: Iterable[Route]) -> None:
        self.rows = tuple(rows)
        self._exact: dict[str, list[Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], list[Route]]] = []
        by_path: dict[str, list[Route]] = {}
        for row in self.rows:
            by_path.setdefault(row.path, []).append(row)
        for path, same in by_path.items():
            if "{" in path:
                self._patterns.append((_compiled(path), same))
            else:
                self._exact[path] = same

    def find(self, path: str, method: str) -> tuple[Route, Mapping[str, str]] | None:
        """Find the row of a path; where none has the method, one that names those that would do."""
        same = self._exact.get(path)
        if same is not None:
            return _of(same, method), {}
        for pattern, rows in self._patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                return _of(rows, method), found.groupdict()
        return None

    def paths(self) -> list[str]:
        """List the paths, for those who mistyped one."""
        return list(dict.fromkeys(row.path for row in self.rows))


def _compiled(path: str) -> re.Pattern[str]:
    def group(found: re.Match[str]) -> str:
        name, _, rest = found[1].partition(":")
        return f"(?P<{name}>{'.+' if rest == 'path' else '[^/]+'})"

    parts = re.split(r"(\{[a-z_:]+\})", path)
    # Whatever stands encoded in a path is a value's: a line break, too.
    made = (re.sub(r"\{([a-z_:]+)\}", group, p) if p[:1] == "{" else re.escape(p) for p in parts)
    return re.compile("".join(made), re.DOTALL)


def _of(rows: list[Route], method: str) -> Route:
    for row in rows:
        if method in row.methods:
            return row
    # Who may ask none but a public row of the path does not learn of the others.
    closed = next((row for row in rows if row.role != PUBLIC), rows[0])
    return closed._replace(methods=tuple(dict.fromkeys(name for row in rows for name in row.methods)))
