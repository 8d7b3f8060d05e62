"""Sources as mypyc needs them. The meaning of a module stays, and so does the line that each thing stands on.

Two things of a class body are lost when mypyc compiles a class that it leaves to its metaclass (a ``Struct``, a
``NamedTuple``): the words behind the bases (``frozen=True``), and annotations, which it takes for values: a union
becomes ``type``, and a name that only type checkers import is a null pointer at the module's top. So each annotation is
quoted, which is what ``from __future__ import annotations`` makes of it anyway (``A | B`` as ``Union[A, B]``, for bars
become ``type`` even in quotes), and a class inherits its words. Classes that interpreted ones build on say so.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator

WORDS_MODULE = "penstock._words"
UNION = "_Union"
_FUTURE = "from __future__ import annotations"
_KEYWORD_ONLY = '''class _KeywordOnly(StructMeta):
    """Makes fields keywords, which no struct inherits."""

    def __new__(mcls, name, bases, namespace, **words):
        return super().__new__(mcls, name, bases, namespace, **{"kw_only": True, **words})
'''

_IMPORTS = """from typing import TYPE_CHECKING, Union

from msgspec import Struct, StructMeta

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:
    mypyc_attr = None  # only the compiler reads it
"""
_SUBCLASSED = "mypyc_attr(allow_interpreted_subclasses=True)"

Words = tuple[tuple[str, object], ...]
Edit = tuple[int, int, int, int, str]  # from line and byte, to line and byte, what stands there instead


class Unready(Exception):
    """A module cannot be made ready; the text says where and why."""


def make_ready(source: str, path: str, subclassed: Collection[str] = ()) -> tuple[str, set[Words]]:
    """Return a module's text for the compiler, and the words that its classes inherit in it. ``subclassed``: names of
    classes that others may build on which are not compiled."""
    edits: list[Edit] = []
    found: set[Words] = set()
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            edits += map(_quoted, _annotations(node))
            words = _words_of(node, path)
            if words:
                found.add(words)
                edits.append(_inheriting(node, words, path))
            if node.name in subclassed:
                if lines[node.lineno - 2]:
                    raise Unready(f"{path}:{node.lineno}: the line above {node.name} is not empty")
                edits.append((node.lineno - 1, 0, node.lineno - 1, 0, f"@{_SUBCLASSED}"))
    if edits and _FUTURE not in lines:
        raise Unready(f"{path}: its annotations are values; it needs `{_FUTURE}`")
    text = _edited(lines, edits)
    names = sorted(map(name_of, found))
    names += [f"Union as {UNION}"] if f"{UNION}[" in text else []
    names += ["mypyc_attr"] if f"@{_SUBCLASSED}" in text else []
    if names:
        text = text.replace(_FUTURE, f"{_FUTURE}; from {WORDS_MODULE} import {', '.join(names)}", 1)
    return text, found


def words_module(found: Iterable[Words]) -> str:
    """Return the module of the structs that others inherit their words from."""
    parts = ['"""Structs that bring the words of a compiled class."""\n', _IMPORTS]
    parts.append(_KEYWORD_ONLY)
    for words in sorted(found, key=name_of):
        said = [f"{key}={value!r}" for key, value in words if key != "kw_only"]
        metaclass = ["metaclass=_KeywordOnly"] if ("kw_only", True) in words else []
        parts.append(f"class {name_of(words)}({', '.join(['Struct', *metaclass, *said])}):\n    pass\n")
    return "\n\n".join(parts)


def name_of(words: Words) -> str:
    """Return the name of the struct that brings these words."""
    return "_Words" + "".join(f"_{key}_{value}" for key, value in words)


def _annotations(node: ast.ClassDef) -> Iterator[ast.expr]:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and not isinstance(statement.annotation, ast.Constant):
            yield statement.annotation


def _words_of(node: ast.ClassDef, path: str) -> Words:
    words = []
    for keyword in node.keywords:
        if keyword.arg == "metaclass":
            continue
        if keyword.arg is None or not isinstance(keyword.value, ast.Constant):
            raise Unready(f"{path}:{node.lineno}: the words of {node.name} are not constants")
        words.append((keyword.arg, keyword.value.value))
    return tuple(sorted(words))


def _quoted(node: ast.expr) -> Edit:
    line, end = node.lineno, node.end_lineno or node.lineno
    text = repr(f"{UNION}[{', '.join(map(ast.unparse, parts))}]" if (parts := _parts(node)) else ast.unparse(node))
    if end > line:
        text = f"({text}" + "\n" * (end - line) + ")"
    return line, node.col_offset, end, node.end_col_offset or 0, text


def _parts(node: ast.expr) -> list[ast.expr]:
    """Return the parts of a union; nothing of another type."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)):
        return []
    return [part for side in (node.left, node.right) for part in (_parts(side) or [side])]


def _inheriting(node: ast.ClassDef, words: Words, path: str) -> Edit:
    if not node.bases:
        raise Unready(f"{path}:{node.lineno}: {node.name} has words and no base")
    last = node.bases[-1]
    place = (last.end_lineno or last.lineno, last.end_col_offset or 0)
    if ast.unparse(last) in ("Struct", "msgspec.Struct"):
        return last.lineno, last.col_offset, *place, name_of(words)
    return *place, *place, f", {name_of(words)}"


def _edited(lines: list[str], edits: list[Edit]) -> str:
    """Return the lines with all edits made, the last first: so the places of the others stay. Places are in bytes."""
    whole = [line.encode() for line in lines]
    for line, start, end_line, end, text in sorted(edits, reverse=True):
        joined = whole[line - 1][:start] + text.encode() + whole[end_line - 1][end:]
        whole[line - 1 : end_line] = joined.split(b"\n")
    return b"\n".join(whole).decode()
