"""`penstock/core` is pure: no I/O, clock, randomness, environment or logging; it imports stdlib, msgspec and itself."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.rules.imports import imported
from tests.rules.repo import python_files, tree

# Standard modules that reach outside the process, keep time, roll dice or run code beside the caller.
EFFECTFUL = frozenset(
    "asyncio atexit concurrent contextvars ctypes curses dbm faulthandler fcntl fileinput ftplib getpass glob http "
    "imaplib importlib io linecache locale logging mmap multiprocessing os pathlib pdb pickle platform poplib pprint "
    "pty queue random readline resource runpy sched secrets select selectors shelve shutil signal site smtplib socket "
    "socketserver sqlite3 ssl subprocess sys syslog tempfile termios threading time timeit tkinter tracemalloc tty "
    "urllib.request uuid warnings webbrowser zoneinfo".split()
)
# datetime is arithmetic until somebody asks it for the time.
CLOCK_CALLS = frozenset({"now", "utcnow", "today"})
EFFECTFUL_BUILTINS = frozenset({"open", "input", "print", "breakpoint", "exec", "eval", "compile", "__import__"})
THIRD_PARTY = frozenset({"msgspec"})

CORE = [name for name in python_files("penstock") if name.startswith("penstock/core/")]


def _import_fault(name: str) -> str | None:
    top = name.split(".")[0]
    if top == "penstock":
        return None if name == "penstock.core" or name.startswith("penstock.core.") else f"imports {name}"
    if top in THIRD_PARTY or top == "__future__":
        return None
    if top not in sys.stdlib_module_names:
        return f"imports {name}, which is neither stdlib nor msgspec"
    prefixes = {".".join(name.split(".")[:n]) for n in range(1, name.count(".") + 2)}
    return f"imports {name}, which has effects" if prefixes & EFFECTFUL else None


def faults(source: ast.Module, package: str) -> list[str]:
    """What makes one module impure, as `line: what`."""
    found = []
    for node in ast.walk(source):
        for name in imported(node, package):
            if fault := _import_fault(name):
                found.append(f"{node.lineno}: {fault}")
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in EFFECTFUL_BUILTINS:
                found.append(f"{node.lineno}: calls {called.id}()")
            # re.compile and the like are attributes, and fine; only the clock hides behind one.
            if isinstance(called, ast.Attribute) and called.attr in CLOCK_CALLS and "date" in ast.unparse(called.value):
                found.append(f"{node.lineno}: reads the clock with {ast.unparse(called)}()")
    return found


@pytest.mark.parametrize("name", CORE)
def test_core_module_is_pure(name: str) -> None:
    package = name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    if not name.endswith("__init__.py"):
        package = package.rpartition(".")[0]
    assert faults(tree(name), package) == [], name


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "import time as t",
        "from os import environ",
        "from urllib import request",
        "from penstock.runtime import engine",
        "from ..runtime import engine",
        "import httptools",
        "open('x')",
        "datetime.now()",
        "datetime.datetime.utcnow()",
        "def f():\n    import random",
    ],
)
def test_the_check_sees_each_kind_of_effect(line: str) -> None:
    assert faults(ast.parse(line), "penstock.core") != []


@pytest.mark.parametrize(
    "line",
    [
        "import msgspec",
        "from urllib.parse import urlsplit",
        "from . import ir",
        "from ..ir import Request",
        "import penstock.core.sse",
        "import re\nre.compile('x')",
        "from datetime import timedelta",
        "from __future__ import annotations",
    ],
)
def test_the_check_lets_pure_code_pass(line: str) -> None:
    assert faults(ast.parse(line), "penstock.core.dialects") == []
