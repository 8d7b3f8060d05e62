"""What modules of Penstock import, read from their syntax trees: the ground that the rules about imports stand on."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

from tests.rules.repo import ROOT, python_files

# The fields in which one statement holds others; expressions hold no import statement, so nobody walks them.
_INNER = ("body", "orelse", "finalbody", "handlers", "cases")
_CALLS = ("import_module", "__import__")
Kind = Literal["load", "types", "call"]


class Import(NamedTuple):
    """One imported name as a full dotted path, its line and the first one of its statement, and when it is read: as the
    module loads, by the type checker only, or as a function is called."""

    name: str
    line: int
    opens: int
    kind: Kind


def module_name(path: str) -> str:
    """Turn `penstock/core/sse.py` into `penstock.core.sse`; a package is named by its folder."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def package_of(path: str) -> str:
    """Name the package that a file belongs to: its folder."""
    return path.rpartition("/")[0].replace("/", ".")


def imported(node: ast.AST, package: str) -> Iterator[str]:
    """Name what one statement imports, as full dotted paths. `package` is where a relative import begins."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
        # `from urllib import request` imports urllib.request.
        yield from (f"{base}.{alias.name}" for alias in node.names)


def imports(source: ast.AST, package: str, kind: Kind = "load") -> Iterator[Import]:
    """Find every import of a module: in functions, in `try` and under `if TYPE_CHECKING` too."""
    for field in _INNER:
        inner = _kind_inside(source, field, kind)
        for node in getattr(source, field, ()):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name, alias in zip(imported(node, package), node.names, strict=True):
                    yield Import(name, alias.lineno, node.lineno, inner)
            else:
                yield from imports(node, package, inner)


def _kind_inside(node: ast.AST, field: str, kind: Kind) -> Kind:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and kind == "load":
        return "call"
    if isinstance(node, ast.If) and field == "body" and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return "types"
    return kind


Tree = Mapping[str, Sequence[Import]]  # path of a file -> what it imports


@cache
def all_imports() -> Tree:
    """Read the imports of every file of the package, by the file's path."""
    # Not by way of repo.tree: 350 trees that are kept make the collector's rounds cost four times the parsing.
    return read({path: (ROOT / path).read_text(encoding="utf-8") for path in python_files("penstock")})


def read(sources: Mapping[str, str]) -> Tree:
    """Read the imports of files that are given as path -> text."""
    return {path: tuple(_read(text, package_of(path))) for path, text in sources.items()}


def _read(text: str, package: str) -> Iterator[Import]:
    source = ast.parse(text)
    yield from imports(source, package)
    if any(name in text for name in _CALLS):  # a look at every expression takes its time
        yield from called(source)


def called(source: ast.AST) -> Iterator[Import]:
    """Find what is imported by a call with a literal name: `import_module("...")`, `__import__("...")`."""
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function, name = ast.unparse(node.func).rpartition(".")[2], node.args[0].value
            if function in _CALLS and isinstance(name, str):
                yield Import(name, node.lineno, node.lineno, "call")
