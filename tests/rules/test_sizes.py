"""Files below 500 lines, functions below 60: one reason to open each file, one screen for each function."""

from __future__ import annotations

import ast

import pytest

from tests.rules.repo import ROOT, python_files, tree

FILE_LINES = 500
FUNCTION_LINES = 60


@pytest.mark.parametrize("name", python_files())
def test_file_size(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").count("\n")
    assert lines < FILE_LINES, f"{name} has {lines} lines: find the second subject in it and give that its own file"


@pytest.mark.parametrize("name", python_files("penstock", "bench", "scripts"))
def test_function_size(name: str) -> None:
    long = [
        f"{name}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 >= FUNCTION_LINES
    ]
    assert long == []
