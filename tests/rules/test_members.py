"""The core asks no object whether it has a member: what is optional is declared with its default."""

from __future__ import annotations

import ast

import pytest

from tests.rules.repo import python_files, tree

CORE = [name for name in python_files("penstock") if name.startswith("penstock/core/")]


def asked(source: ast.Module) -> list[str]:
    """Every `hasattr`, and every `getattr` that names its member or has a default; one over a table of the fields of a
    struct is fine."""
    found = []
    for node in ast.walk(source):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        fixed = len(node.args) > 2 or (len(node.args) > 1 and isinstance(node.args[1], ast.Constant))
        if node.func.id == "hasattr" or (node.func.id == "getattr" and fixed):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("name", CORE)
def test_members_are_declared(name: str) -> None:
    assert asked(tree(name)) == [], name


@pytest.mark.parametrize("line", ["hasattr(x, y)", "getattr(x, 'cache', None)", "getattr(x, name, None)"])
def test_the_check_sees_each_way_of_asking(line: str) -> None:
    assert asked(ast.parse(line)) != []
    assert asked(ast.parse("getattr(request, field)")) == []
