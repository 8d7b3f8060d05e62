"""Imports point down: which room may import which, and no circle among packages. A type-only import is an import."""

from __future__ import annotations

from functools import cache

import pytest

from tests.rules.circles import Name, between_packages, edges, inside_packages, judge
from tests.rules.imports import Tree, all_imports, read
from tests.rules.repo import ROOT

# From the top down. A room sees itself and what stands in the rows below its own, never its neighbours in the row.
ROWS = (
    "__main__",
    "cli",
    "compat",
    "server sdk",
    "admin mock",
    "runtime",
    "engines",
    "guards sinks stores",
    "config",
    "core",
    "data",
)
ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms.split()}
NEIGHBOURS = {("server", "sdk")}  # the LAS routes are a face of the SDK's service
FREE = {"penstock.__version__", "penstock.version_text"}

# What stands in the tree today and should not. The three lists only shrink: an entry that occurs no more fails the test,
# too, and nothing new comes in.

# Module -> packages that it closes a circle with.
NOT_YET_PACKAGES: dict[str, str] = {}

# Module -> modules of the same package; each closes a circle and has no comment that says why it must.
NOT_YET_MODULES: dict[str, str] = {}


def wrong(files: Tree) -> list[str]:
    """List the imports that point up or sideways, as `importing file -> imported name`."""
    return sorted({f"{path} -> {one.name}" for path, names in files.items() for one in names if _wrong(path, one.name)})


def _wrong(path: str, name: str) -> bool:
    here, (outer, *inner) = _room(path), name.split(".")
    # The outermost package is above all rooms: what it offers, it may import.
    if outer != "penstock" or here == "__init__" or name in FREE:
        return False
    there = inner[0] if inner else ""
    if here not in ROW or there not in ROW:
        return True  # a room without a row, or `import penstock`, which says not what it wants
    return here != there and ROW[there] <= ROW[here] and (here, there) not in NEIGHBOURS


def _room(path: str) -> str:
    return path.split("/")[1].removesuffix(".py")


def excused(files: Tree) -> set[Name]:
    """Read which imports have a comment with the word `circle:` beside them or above them."""
    places = ((edge, path, one) for edge, found in edges(files).items() for path, one in found)
    return {edge for edge, path, one in places if any(line in _comments(path) for line in (one.line, one.opens))}


@cache
def _comments(path: str) -> frozenset[int]:
    """Number the lines that have such a comment; one that stands alone is for the line below."""
    text = (ROOT / path).read_text(encoding="utf-8")
    lines = enumerate(text.split("\n"), 1) if "circle:" in text else ()
    named = [(number, *line.partition("#")) for number, line in lines]
    return frozenset(number if code.strip() else number + 1 for number, code, _, words in named if "circle:" in words)


def pairs(listed: dict[str, str]) -> set[Name]:
    """Take the lines of a list apart: importer -> what it imports, one or many."""
    return {(start, end) for start, ends in listed.items() for end in ends.split()}


# The tree ---------------------------------------------------------------------------------------------------------


def test_every_import_points_down() -> None:
    assert wrong(all_imports()) == [], "move what both need to the lower room, or pass it in"


def test_no_circle_joins_two_packages() -> None:
    left, idle = judge(between_packages(all_imports()), pairs(NOT_YET_PACKAGES))
    assert left == [], "these imports (module, package) lie on a circle of packages"
    assert idle == [], "these entries of NOT_YET_PACKAGES close no circle any more: take them out"


def test_a_circle_in_a_package_has_a_comment() -> None:
    files = all_imports()
    named, listed = excused(files), pairs(NOT_YET_MODULES)
    left, idle = judge(inside_packages(files), named | listed)
    assert left == [], (
        "these modules import each other: part them, or write `# circle: why` beside the import that closes it"
    )
    assert [edge for edge in idle if edge in listed] == [], "these entries of NOT_YET_MODULES are to be taken out"
    assert [edge for edge in idle if edge in named] == [], "these comments name a circle that is none"
    assert named & listed == set(), "these are excused twice"


# The rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("penstock/core/a.py", "import penstock.runtime.call"),
        ("penstock/core/a.py", "from penstock import runtime"),
        ("penstock/core/a.py", "from penstock import __version__, server as s"),
        ("penstock/core/ir/a.py", "from ...runtime import call"),
        ("penstock/core/__init__.py", "from .. import cli"),
        ("penstock/core/ir/__init__.py", "from ...config import load"),
        ("penstock/runtime/a.py", "if TYPE_CHECKING:\n    from penstock.server.exchange import Exchange"),
        ("penstock/runtime/a.py", "if typing.TYPE_CHECKING:\n    pass\nelse:\n    import penstock.cli"),
        (
            "penstock/config/a.py",
            "def f():\n    class A:\n        async def g(self):\n            import penstock.sinks",
        ),
        ("penstock/data/a.py", "try:\n    pass\nfinally:\n    import penstock.core"),
        ("penstock/sdk/a.py", "from penstock.server import gateway"),
        ("penstock/stores/a.py", "import penstock.sinks.base"),
        ("penstock/admin/a.py", "import penstock.mock"),
        ("penstock/server/a.py", "from penstock.compat import x"),
        ("penstock/cli/a.py", "import penstock.__main__"),
        ("penstock/cli/a.py", "import penstock"),
        ("penstock/cli/a.py", "from penstock import *"),
        ("penstock/novel/a.py", "import penstock.core"),
        ("penstock/cli/a.py", "import penstock.novel"),
        ("penstock/novel.py", "import penstock.core"),
        ("penstock/core/a.py", "import_module('penstock.server.gateway')"),
    ],
)
def test_the_rule_sees_a_wrong_import(path: str, source: str) -> None:
    assert len(wrong(read({path: source}))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("penstock/__main__.py", "from penstock.cli.main import main"),
        ("penstock/__init__.py", "def __getattr__(name):\n    from penstock import sdk"),
        ("penstock/cli/a.py", "from penstock import __version__"),
        ("penstock/compat/a.py", "import penstock.server, penstock.sdk, penstock.data"),
        ("penstock/server/a.py", "from penstock import sdk, mock, core"),
        ("penstock/core/ir/a.py", "from .. import errors\nfrom . import b\nfrom ..dialects.base import Dialect"),
        ("penstock/mock/a.py", "import penstockish.cli, json"),
    ],
)
def test_the_rule_lets_what_points_down_pass(path: str, source: str) -> None:
    assert wrong(read({path: source})) == []


RING = {
    "penstock/runtime/http/__init__.py": "",
    "penstock/runtime/http/pool.py": "def f():\n    from penstock.runtime.ops import ask",
    "penstock/runtime/ops/__init__.py": "",
    "penstock/runtime/ops/ask.py": "from penstock.runtime.cloud.aws import Account",
    "penstock/runtime/cloud/__init__.py": "",
    "penstock/runtime/cloud/aws.py": "if TYPE_CHECKING:\n    from ..http.pool import Pool",
}


def test_the_rule_sees_a_circle_of_packages_and_an_entry_that_is_idle() -> None:
    ring = between_packages(read(RING))
    assert len(judge(ring, ())[0]) == 3
    closing = ("penstock.runtime.cloud.aws", "penstock.runtime.http")
    assert judge(ring, {closing}) == ([], [])
    cut = between_packages(read({**RING, "penstock/runtime/cloud/aws.py": ""}))
    assert judge(cut, {closing}) == ([], [closing])
    gone = ("penstock.runtime.ops.ask", "penstock.runtime.cloud")
    assert judge(cut, {gone}) == ([], [gone])


def test_the_rule_sees_a_circle_of_modules_and_its_comment(tmp_path, monkeypatch) -> None:
    files = {
        "penstock/core/a.py": "from penstock.core import (\n    b,  # circle: each holds the other\n)",
        "penstock/core/b.py": "from . import (\n    c,\n    d,\n)",
        "penstock/core/c.py": "def f():\n    # circle: asks back\n    from penstock.core.a import x",
        "penstock/core/d.py": 'from penstock.core.a import y\nX = "circle:"',
    }
    monkeypatch.setattr("tests.rules.test_layers.ROOT", tmp_path)
    _comments.cache_clear()
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = read(files)
    named = excused(found)
    assert named == {("penstock.core.a", "penstock.core.b"), ("penstock.core.c", "penstock.core.a")}
    assert len(judge(inside_packages(found), ())[0]) == 5
    assert judge(inside_packages(found), {("penstock.core.a", "penstock.core.b")}) == ([], [])
    assert judge(inside_packages(found), named)[1] != [], "two comments for one circle"
