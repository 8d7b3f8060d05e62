"""What modules of Penstock import, read from their syntax trees: the ground that the rules about imports stand on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.rules.repo import python_files, tree

# The fields in which one statement holds others; expressions hold no import statement, so nobody walks them.
_INNER = ("body", "orelse", "finalbody", "handlers", "cases")


class Import(NamedTuple):
    """One imported name as a full dotted path, and the lines of its statement."""

    name: str
    line: int
    last: int
    top: bool  # read when the module is loaded: in no function


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


def imports(source: ast.AST, package: str, top: bool = True) -> Iterator[Import]:
    """Find every import of a module: in functions, in `try` and under `if TYPE_CHECKING` too."""
    for field in _INNER:
        for node in getattr(source, field, ()):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in imported(node, package):
                    yield Import(name, node.lineno, node.end_lineno or node.lineno, top)
            else:
                yield from imports(node, package, top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def all_imports() -> dict[str, tuple[Import, ...]]:
    """Read the imports of every file of the package, by the file's path."""
    return {path: tuple(imports(tree(path), package_of(path))) for path in python_files("penstock")}


def called(source: ast.AST) -> Iterator[tuple[str, int]]:
    """Find the modules that are imported by a call, `import_module("...")` or `__import__("...")`, with their lines."""
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function, name = ast.unparse(node.func).rpartition(".")[2], node.args[0].value
            if function in ("import_module", "__import__") and isinstance(name, str):
                yield name, node.lineno
