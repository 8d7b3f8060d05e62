"""Finds circles among modules and among packages, and which of the edges that a list excuses still close one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from tests.rules.imports import Import, Tree, module_name, package_of

Graph = Mapping[str, Set[str]]
Edge = tuple[str, str]
Name = tuple[str, str]


def edges(files: Tree) -> dict[Edge, list[tuple[str, Import]]]:
    """Build the graph of modules: (importer, imported) -> the importer's path and each of its imports.
    That a module's packages are loaded before it is no edge: nobody wrote it."""
    modules = {module_name(path) for path in files}
    found: dict[Edge, list[tuple[str, Import]]] = {}
    for path, names in files.items():
        here = module_name(path)
        for one in names:
            there = _module_of(one.name, modules)
            # Every module loads the outermost package: an edge to it would say nothing.
            if there not in ("", "penstock", here):
                found.setdefault((here, there), []).append((path, one))
    return found


def _module_of(name: str, modules: Set[str]) -> str:
    """Cut what is imported from a module off, until a module is left; "" for other people's."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def between_packages(files: Tree) -> dict[Name, Edge]:
    """Build the graph of packages: (module, package that it imports from) -> (package, package). A package and its own
    subpackages are one house: its loose files are what these stand on, or put them together."""
    home = {module_name(path): package_of(path) for path in files}
    pairs = [(start, home[start], home[end]) for start, end in edges(files)]
    return {(start, there): (here, there) for start, here, there in pairs if not _one_house(here, there)}


def _one_house(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def inside_packages(files: Tree) -> dict[Name, Edge]:
    """Build the graphs of modules in one package each; an edge is its own name."""
    home = {module_name(path): package_of(path) for path in files}
    return {edge: edge for edge in edges(files) if home[edge[0]] == home[edge[1]]}


def graph(pairs: Iterable[Edge]) -> dict[str, set[str]]:
    """Gather edges by where they begin."""
    out: dict[str, set[str]] = {}
    for start, end in pairs:
        out.setdefault(start, set()).add(end)
        out.setdefault(end, set())
    return out


def reaches(there: Graph, start: str, end: str) -> bool:
    """Tell whether a way of edges leads from `start` to `end`."""
    seen, ahead = {start}, [start]
    while ahead:
        here = ahead.pop()
        if here == end:
            return True
        new = there.get(here, set()) - seen
        seen |= new
        ahead += new
    return False


def in_circles(there: Graph) -> list[Edge]:
    """List the edges that lie on a circle."""
    return sorted((start, end) for start, ends in there.items() for end in ends if reaches(there, end, start))


def judge(named: Mapping[Name, Edge], excused: Iterable[Name]) -> tuple[list[Name], list[Name]]:
    """Compare the circles of a graph with a list that excuses some of its edges, each known by a name: (edges on
    circles that remain without the excused ones; excused edges that are gone or close no circle any more)."""
    listed = set(excused)
    rest = graph(edge for name, edge in named.items() if name not in listed)
    circles = set(in_circles(rest))
    left = [name for name, edge in named.items() if name not in listed and edge in circles]
    idle = [name for name in listed if name not in named or not reaches(rest, *reversed(named[name]))]
    return sorted(left), sorted(idle)
