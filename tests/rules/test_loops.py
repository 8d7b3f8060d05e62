"""No global of a module depends on the running loop: tests, workers and the SDK run several loops, one after the other
and side by side, and a task or a lock of one is of no use to the next.

Seen are a global or a class attribute that names a part of asyncio, or a class of ours whose objects hold one, in its
annotation or its value; and every `global` statement. Not seen is what is put into a container of type Any."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.rules.imports import imported, module_name, package_of
from tests.rules.repo import ROOT, python_files, tree

# "file name" -> why it may stay. An entry that no longer matches anything fails, too.
NAMED: dict[str, str] = {
    "penstock/runtime/cloud/tokens.py _SHARED": (
        "an account's token is the process's; the renewal under way (Tokens._task) is compared with the running loop"
    ),
    "penstock/runtime/cloud/vertex.py _SHARED": (
        "the same Tokens, by Google's account: a task of another loop is never awaited, a new one is started"
    ),
    "penstock/runtime/cloud/aws.py _SHARED": (
        "an account's keys are the process's; the renewal under way (Account._task) is compared with the running loop"
    ),
    "penstock/runtime/apart.py CHILDREN": (
        "processes are the process's; each job knows the loop that waits for it, and is told there"
    ),
    "penstock/runtime/schema_check.py CHILDREN": "the same, with children of their own for checks",
    "penstock/sdk/background.py _running": (
        "the SDK's one loop, in a thread of its own: whoever asks, from whichever loop, is answered on it"
    ),
    "penstock/server/las_app.py app": (
        "the application of any server: what it made for the SDK's loop is made anew where that is another one"
    ),
    "penstock/sdk/background.py _left": "after a fork: the parent's loop, kept so that its sockets are not closed here",
    "penstock/sdk/telling.py _services": "queues on the SDK's own loop: of another loop after `close()` there are none",
}
# "file name" -> what a `global` statement writes there.
WRITTEN: dict[str, str] = {
    "penstock/runtime/record_text.py _second": "the text of the last second of the clock; it is the same on every loop",
    "penstock/sdk/background.py _running": "the loop of the SDK starts at the first call, and ends with the program",
    "penstock/sdk/background.py _lock": "a child of a fork begins anew: the parent's lock may be held",
    "penstock/sdk/telling.py _teller": "the same for the thread that tells callbacks",
    "penstock/sdk/telling.py _services": "the same for the queues of services, which live on the SDK's own loop",
}
LIBRARIES = frozenset({"asyncio", "uvloop"})
MAKERS = frozenset({"create_task", "create_future", "call_later", "call_soon", "call_at"})


class Module:
    """One module: its tree, and what its words stand for, as dotted paths."""

    def __init__(self, path: str, source: ast.Module) -> None:
        self.source = source
        self.name = module_name(path)
        self.classes = [node for node in ast.walk(source) if isinstance(node, ast.ClassDef)]
        self.words = {"loop": "asyncio.loop"} | {node.name: f"{self.name}.{node.name}" for node in self.classes}
        for node in ast.walk(source):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name, alias in zip(imported(node, package_of(path)), node.names, strict=True):
                    word = alias.asname or alias.name
                    # `import a.b` gives the word a.
                    self.words[word.split(".")[0]] = name if "." not in word else word.split(".")[0]

    def named(self, node: ast.AST) -> set[str]:
        """Name what an expression speaks of. Who takes or gives an object, a Callable, holds none."""
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Callable"):
            return set()
        if isinstance(node, ast.Name | ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first.isidentifier():
                return {f"{self.words.get(first, first)}.{rest}".rstrip(".")}
        return set().union(*map(self.named, ast.iter_child_nodes(node)))

    def quoted(self, annotation: ast.AST) -> set[str]:
        """Name what the words of an annotation in quotation marks stand for."""
        texts = [inner.value for inner in ast.walk(annotation) if isinstance(inner, ast.Constant)]
        words = {word for text in texts if isinstance(text, str) for word in re.findall(r"\w+", text)}
        return {self.words.get(word, word) for word in words}


class Tree:
    """All modules, and in ``holders`` the classes whose objects hold a part of asyncio or an object of such a class."""

    def __init__(self, sources: dict[str, ast.Module]) -> None:
        self.modules = {path: Module(path, source) for path, source in sources.items()}
        self._named = {module.name: module for module in self.modules.values()}
        self.holders: set[str] = set()
        fields = {(module, node): _fields(node) for module in self.modules.values() for node in module.classes}
        before = -1
        while before != len(self.holders):  # a class may hold one that is found to hold only later
            before = len(self.holders)
            self.holders |= {
                module.words[node.name]
                for (module, node), inner in fields.items()
                if any(self.bound(module, one) for one in inner)
                or any(self._is_loops(name) for base in node.bases for name in module.named(base))
            }

    def bound(self, module: Module, node: ast.AnnAssign | ast.Assign) -> bool:
        """Tell whether what is assigned here lives with a loop."""
        if isinstance(node, ast.AnnAssign):
            annotated = module.named(node.annotation) | module.quoted(node.annotation)
            if any(self._is_loops(name) for name in annotated):
                return True
        # A value that calls nothing is a constant or the name of a type.
        calls = [inner.func for inner in ast.walk(node.value or ast.Pass()) if isinstance(inner, ast.Call)]
        if any(isinstance(made, ast.Attribute) and made.attr in MAKERS for made in calls):
            return True
        return any(self._is_loops(name) for made in calls for name in module.named(made))

    def _is_loops(self, name: str) -> bool:
        """Tell whether a dotted path is a part of asyncio or a class that holds one; names that a package passes on
        are followed to where they come from."""
        for _ in range(5):
            if name.split(".")[0] in LIBRARIES or name in self.holders:
                return True
            module, _, word = name.rpartition(".")
            there = self._named[module].words.get(word, name) if module in self._named else name
            if there == name:
                return False
            name = there
        return False


def _fields(owner: ast.ClassDef) -> list[ast.AnnAssign | ast.Assign]:
    """Find what a class says of its objects' attributes: `x: T` in its body, `self.x = ...` in its methods."""
    declared = [node for node in owner.body if isinstance(node, ast.AnnAssign)]
    assigned = [node for node in ast.walk(owner) if isinstance(node, ast.AnnAssign | ast.Assign)]
    return declared + [node for node in assigned if isinstance(_target(node), ast.Attribute)]


def _target(node: ast.AnnAssign | ast.Assign) -> ast.expr:
    return node.targets[0] if isinstance(node, ast.Assign) else node.target


def of_loops(files: Tree) -> Iterator[str]:
    """Name the globals and the values of classes that live with a loop, as `file name`."""
    for path, module in files.modules.items():
        for name, node in _assigned(module.source.body, ""):
            if files.bound(module, node):
                yield f"{path} {name}"


def _assigned(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.AnnAssign | ast.Assign]]:
    """Find the assignments that run when the module is loaded; the fields that a class declares are its objects'."""
    for node in body:
        if isinstance(node, ast.Assign) or (isinstance(node, ast.AnnAssign) and node.value is not None):
            declared = isinstance(node, ast.AnnAssign) and prefix and isinstance(node.value, ast.Constant)
            if not declared:
                yield prefix + ast.unparse(_target(node)), node
        elif isinstance(node, ast.ClassDef):
            yield from _assigned(node.body, f"{prefix}{node.name}.")
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [*getattr(node, "body", ()), *getattr(node, "orelse", ()), *getattr(node, "finalbody", ())]
            yield from _assigned(inner, prefix)


def written(files: Tree) -> Iterator[str]:
    """Name what `global` statements write, as `file name`."""
    for path, module in files.modules.items():
        for node in ast.walk(module.source):
            if isinstance(node, ast.Global):
                yield from (f"{path} {name}" for name in node.names)


@cache
def _tree() -> Tree:
    return Tree({path: tree(path) for path in python_files("penstock")})


def test_every_global_of_a_loop_is_named_here() -> None:
    found = set(of_loops(_tree()))
    assert sorted(found - NAMED.keys()) == [], "give it to the object that lives as long as the loop"
    assert sorted(NAMED.keys() - found) == [], "these entries of NAMED match nothing any more"


def test_every_global_statement_is_named_here() -> None:
    found = set(written(_tree()))
    assert sorted(found - WRITTEN.keys()) == [], "a global that changes is shared by all loops: name it with its reason"
    assert sorted(WRITTEN.keys() - found) == [], "these entries of WRITTEN match nothing any more"
    assert [key for key, why in {**NAMED, **WRITTEN}.items() if len(why.split()) < 4] == [], "no real reason"


def seen(**sources: str) -> list[str]:
    files = Tree({f"penstock/{name}.py": ast.parse(text) for name, text in sources.items()})
    return [place.removeprefix("penstock/") for place in [*of_loops(files), *written(files)]]


def test_the_check_sees_each_spelling() -> None:
    assert seen(m="import asyncio\na: set[asyncio.Task[None]] = set()") == ["m.py a"]
    assert seen(m="from asyncio import Lock as L\na = L()") == ["m.py a"]
    assert seen(m="import asyncio as aio\nif x:\n    a = [aio.Event()]") == ["m.py a"]
    assert seen(m="import asyncio.locks\na = asyncio.locks.Event()") == ["m.py a"]
    assert seen(m="import asyncio\nclass A:\n    class B:\n        a = asyncio.Queue()") == ["m.py A.B.a"]
    assert seen(m="import asyncio\ntry:\n    a: 'dict[str, asyncio.Future[int]]' = {}\nfinally:\n    pass") == [
        "m.py a"
    ]
    assert seen(m="a = make(get().create_task(x))") == ["m.py a"]
    assert seen(m="a = None\ndef f():\n    global a\n    a = 1") == ["m.py a"]


def test_the_check_sees_what_classes_hold() -> None:
    tokens = "import asyncio\nclass Tokens:\n    def __init__(self):\n        self._task: asyncio.Task | None = None"
    passed = "from penstock.tokens import Tokens"
    account = "from penstock import passed as p\nclass Account(Struct):\n    tokens: p.Tokens"
    globals_ = "from .account import Account as A\nfrom .passed import Tokens\nALL: dict[str, A] = {}\nONE = Tokens()"
    assert seen(tokens=tokens, passed=passed, account=account, m=globals_) == ["m.py ALL", "m.py ONE"]
    kind = "from penstock import tokens\nclass Tokens(tokens.Tokens):\n    pass\nALL: dict[str, Tokens] = {}"
    assert seen(tokens=tokens, m=kind) == ["m.py ALL"]
    late = "class Late:\n    def start(self):\n        self.job = get().create_task(x())\nONE = [Late()]"
    assert seen(m=late) == ["m.py ONE"]


def test_the_check_lets_types_and_constants_pass() -> None:
    tokens = "import asyncio\nclass Tokens:\n    task: asyncio.Task | None = None"
    row = "from penstock.tokens import Tokens\nclass Row(NamedTuple):\n    run: Callable[[Tokens], None]\nROW = Row(f)"
    assert seen(tokens=tokens, m=f"{row}\nMake = Callable[[Tokens], None]\nA: dict[str, int] = {{}}") == []
    assert seen(tokens=tokens, m="class Tokens:\n    pass\nA = Tokens()") == []
    assert seen(m="import asyncio\nErrors = (asyncio.TimeoutError, OSError)\ndef f():\n    a = asyncio.Event()") == []


def test_nobody_waits_with_wait_for() -> None:
    """On Python 3.11 ``asyncio.wait_for`` loses a cancellation that comes when what it waits for is there: the keeper of
    a batch's lease went on for ever, and the batch with it. ``asyncio.timeout`` loses none."""
    found = [name for name in python_files("penstock") if "asyncio.wait_for(" in (ROOT / name).read_text(encoding="utf-8")]
    assert found == []
