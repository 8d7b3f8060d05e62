"""Public names to groups of targets: exact names, aliases, deployment ids, wildcards, and what is near a wrong name."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from penstock.core.route.stars import fixed, match

T = TypeVar("T")
LONGEST_NAME = 256  # characters of a wrong name that are compared with the right ones


class Member(NamedTuple, Generic[T]):
    """A target under its public name (which may hold ``*``)."""

    name: str
    id: str
    target: T


class Found(NamedTuple, Generic[T]):
    """The group that serves a name. ``stars``: what the wildcards stood for, empty for a plain name."""

    group: str
    targets: Sequence[T]
    stars: tuple[str, ...] = ()


class Catalog(Generic[T]):
    """The public names and the groups that serve them; immutable. ``aliases``: public alias to a group or to a name
    that a wildcard serves; those in ``hidden`` work and are not listed. ``renames``: the same, and they come before
    groups of their name. ``unlisted``: groups that are not listed. ``unions``: names for the targets of several groups
    together, where nothing else has the name. Look-ups of plain names are one dict access."""

    def __init__(
        self,
        members: Iterable[Member[T]],
        aliases: Mapping[str, str] | None = None,
        hidden: Collection[str] = (),
        renames: Mapping[str, str] | None = None,
        unions: Mapping[str, Sequence[T]] | None = None,
        unlisted: Collection[str] = (),
    ) -> None:
        self._groups: dict[str, list[T]] = {}
        ids: dict[str, T] = {}
        for member in members:
            self._groups.setdefault(member.name, []).append(member.target)
            ids[member.id] = member.target
        # The most specific pattern wins: the one with most fixed characters (LiteLLM's rule).
        self._patterns = sorted((name for name in self._groups if "*" in name), key=fixed, reverse=True)
        self._plain: dict[str, Found[T]] = {n: Found(n, tuple(t)) for n, t in self._groups.items() if "*" not in n}
        self._ids = ids
        aliases = aliases or {}
        taken = self._groups.keys() | aliases.keys()
        self.unions = {name: tuple(t) for name, t in (unions or {}).items() if t and name not in taken}
        self._plain |= {name: Found(name, targets) for name, targets in self.unions.items()}
        # An alias of an alias would depend on the order of the file.
        led = {alias: self.find(group) for alias, group in aliases.items()}
        for alias, found in led.items():
            if found is not None:
                self._plain.setdefault(alias, found)
        ways = {name: self.find(group) for name, group in (renames or {}).items()}
        renamed = {name: found for name, found in ways.items() if found is not None and found.group != name}
        self._plain |= renamed
        self.unions = {name: targets for name, targets in self.unions.items() if name not in renamed}
        self._hidden = (frozenset((*hidden, *renamed)) - self._groups.keys()).union(unlisted)

    def knows(self, name: str) -> bool:
        """Tell whether a name stands in the config as it is: one behind a wildcard does not."""
        return name in self._plain or name in self._ids

    def find(self, name: str) -> Found[T] | None:
        """Find the group for a name that a client sent, or None."""
        return self._plain.get(name) or self._of_id(name) or self._match(name)

    def _of_id(self, id_: str) -> Found[T] | None:
        target = self._ids.get(id_)
        return None if target is None else Found(id_, (target,))

    def _match(self, name: str) -> Found[T] | None:
        for pattern in self._patterns:
            stars = match(pattern, name)
            if stars is not None:
                return Found(pattern, tuple(self._groups[pattern]), stars)
        return None

    def names(self) -> list[str]:
        """Return public names and aliases in the order of the config, wildcards included, deployment ids not."""
        return [n for n in self._plain if n not in self._hidden] + self._patterns

    def near(self, name: str, count: int = 5) -> list[str]:
        """Suggest names a client may have meant, nearest first; the first few of all when nothing is near."""
        names = self.names()
        name = name[:LONGEST_NAME]  # comparing costs the square of the length, and a body may hold megabytes of name
        by_lower = {n.lower(): n for n in reversed(names)}
        close = difflib.get_close_matches(name.lower(), list(by_lower), count, 0.5)
        tail = [
            n for n in names if name and (name.lower() in n.lower() or n.lower().rpartition("/")[2] == name.lower())
        ]
        best = dict.fromkeys([by_lower[c] for c in close] + tail)
        return list(best)[:count] or names[:count]

    def __len__(self) -> int:
        return len(self._groups)
