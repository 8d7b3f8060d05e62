"""The mock is the independent witness: a mistake of the gateway's must not be the mock's too, so it shares no code."""

from __future__ import annotations

import pytest

from tests.rules.imports import Tree, all_imports, read

WITNESS = "penstock.mock"
# Not judged by the mock: who we are.
FREE = frozenset({"penstock.__version__"})


def shared(files: Tree) -> list[str]:
    """List what modules of the mock share with the gateway, as `file:line: name`."""
    return [f"{path}:{one.line}: {one.name}" for path, names in files.items() for one in names if _is_ours(one.name)]


def _is_ours(name: str) -> bool:
    if name in FREE or name == WITNESS or name.startswith(WITNESS + "."):
        return False
    # A call of import_module(".x") is relative to who knows what.
    return name.split(".")[0] in ("penstock", "")


def test_the_mock_imports_only_itself() -> None:
    files = {path: names for path, names in all_imports().items() if path.startswith("penstock/mock/")}
    assert len(files) > 20 and shared(files) == [], "the mock has its own code for what it judges"


@pytest.mark.parametrize(
    "source",
    [
        "import penstock",
        "import penstock.core.eventstream as frames",
        "from penstock import core",
        "from penstock import *",
        "from penstock.cli.mock import mock",
        "from ..core import sse",
        "from .. import core",
        "def f():\n    from penstock.core import sse",
        "if TYPE_CHECKING:\n    from penstock.runtime.call import Call",
        "try:\n    x()\nexcept OSError:\n    import penstock.core",
        "match x:\n    case 1:\n        import penstock.core",
        "class A:\n    async def f(self):\n        with x:\n            import penstock.core",
        "importlib.import_module('penstock.core.sse')",
        "x = __import__('penstock')",
    ],
)
def test_the_check_sees_each_way_to_share(source: str) -> None:
    assert len(shared(read({"penstock/mock/a.py": source}))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from penstock.mock import brain",
        "from penstock.mock.reply import Frame",
        "from . import brain",
        "from .reply import Frame",
        "from penstock import __version__",
        "import json\nimport penstockish",
    ],
)
def test_the_check_lets_the_mocks_own_code_pass(source: str) -> None:
    assert shared(read({"penstock/mock/a.py": source})) == []
