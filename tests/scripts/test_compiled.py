"""What makes sources ready for the compiler keeps their meaning, and the build refuses what it cannot vouch for."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec import Struct

from scripts.compiled import build, rewrite
from scripts.compiled.shapes import plain, shape_of
from tests.rules.repo import ROOT

HARD = '''"""A module."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Struct


class Value(Struct, frozen=True, gc=False):
    """A value: é."""

    first: int | None = None  # a union
    second: (
        dict[str,
             list[int]]
        | None
    ) = None


class Named(msgspec.Struct, kw_only=True, eq=False):
    later: int = 1
    sooner: Missing


class More(Value, frozen=True, omit_defaults=True):
    more: tuple[Value, ...] = ()


class Pair(NamedTuple):
    left: Missing | None
    right: int = 2


LINE = "here"
'''


def load(name: str, text: str, folder: Path) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_words(text: str) -> str:
    """Do to classes what the compiler does: leave their words out, and take annotations for values."""
    tree = ast.parse(text.replace("from __future__ import annotations; ", ""))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            node.keywords = []
    return ast.unparse(tree)


def test_classes_keep_their_words_and_types_without_the_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, words = rewrite.make_ready(HARD, "hard.py")
    made = load("made_words", rewrite.words_module(words), tmp_path)
    monkeypatch.setitem(sys.modules, rewrite.WORDS_MODULE, made)
    pure, compiled = load("hard", HARD, tmp_path), load("hard_ready", without_words(ready), tmp_path)
    for name in ("Value", "Named", "More", "Pair"):
        assert shape_of(getattr(pure, name)) == shape_of(getattr(compiled, name)), name
    assert len(words) == 3
    with pytest.raises(TypeError):
        compiled.Named(1, sooner=2)


def test_a_lost_word_type_or_default_shows_in_the_shape() -> None:
    shapes = [json.dumps(shape_of(make(base, note, default)), default=str)
              for base in (Struct, Frozen) for note in ("int", "int | None") for default in (1, 2)]  # fmt: skip
    assert len(set(shapes)) == 8


class Frozen(Struct, frozen=True):
    pass


def make(base: Any, note: str, default: int) -> type:
    return type(base)("Same", (base,), {"__annotations__": {"field": note}, "field": default, "__module__": __name__})


def test_lines_stay_where_they_are() -> None:
    ready, _ = rewrite.make_ready(HARD, "hard.py")
    before, after = HARD.split("\n"), ready.split("\n")
    assert len(before) == len(after)
    assert before.index('LINE = "here"') == after.index('LINE = "here"')


class Plain(ast.NodeTransformer):
    """Undoes what makes a module ready: annotations of classes are no strings, and where words stand, no struct is a
    base."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.annotation, ast.Constant):
                part.annotation = ast.parse(plain(str(part.annotation.value)), mode="eval").body
        if node.keywords:
            bases = [base for base in node.bases if not ast.unparse(base).startswith("_Words")]
            node.bases = [base for base in bases if ast.unparse(base) not in ("Struct", "msgspec.Struct")]
        node.decorator_list = [each for each in node.decorator_list if "mypyc_attr" not in ast.unparse(each)]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if node.module == rewrite.WORDS_MODULE else node


def test_the_listed_modules_say_the_same_when_ready() -> None:
    for path in build.wanted().modules:
        text = (ROOT / path).read_text(encoding="utf-8")
        ready, _ = rewrite.make_ready(text, path, build.wanted().subclassed)
        assert ready.count("\n") == text.count("\n"), path
        assert ast.dump(Plain().visit(ast.parse(ready))) == ast.dump(Plain().visit(ast.parse(text))), path


@pytest.mark.parametrize(
    "text, why",
    [
        ("class A(Struct, **words):\n    pass\n", "not constants"),
        ("class A(Struct, frozen=YES):\n    pass\n", "not constants"),
        ("class A(frozen=True):\n    pass\n", "no base"),
        ("class A:\n    field: int\n", "annotations are values"),
    ],
)
def test_what_cannot_be_made_ready_is_told(text: str, why: str) -> None:
    with pytest.raises(rewrite.Unready, match=why):
        rewrite.make_ready(text, "a.py")


def test_the_listed_modules_exist_once_and_are_sorted() -> None:
    modules = build.wanted().modules
    assert [name for name in modules if not (ROOT / name).is_file()] == []
    assert modules == sorted(set(modules))
