"""One way in, one way out, one way upstream, one record: who else does it has built a second door."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.rules.repo import python_files, tree

# Question -> file -> why it may. A file that no longer does it must leave the list.
JUDGES: Mapping[str, str] = {
    "penstock/runtime/gate.py": "it is the way in",
    "penstock/runtime/identity.py": "it is what the gate asks",
}
WRITERS: Mapping[str, str] = {"penstock/runtime/outlet.py": "it is the way out"}
SENDERS: Mapping[str, str] = {
    "penstock/runtime/post.py": "it is the way to a target",
    "penstock/runtime/pass_through.py": "bytes as they came, any method, and the vendor's own refusals as they are",
    "penstock/runtime/replicate.py": "looks at a prediction that post() has made, at the address that it named",
    "penstock/runtime/upstream_sockets.py": "a WebSocket to a target, of which there is one way, too",
    "penstock/runtime/speaks.py": "an empty question, for nobody's request",
    "penstock/runtime/cloud/oauth.py": "a token, from whoever issues it",
    "penstock/runtime/cloud/line.py": "an answer that is kept on a server, for nobody's request",
    "penstock/sdk/asking.py": "whether a gateway elsewhere lives, and its models, for nobody's request",
    "penstock/runtime/posting.py": "records of requests, to where sinks keep them",
    "penstock/server/checker.py": "a free question, for nobody's request",
    "penstock/server/sources/engines.py": "which models an engine has, for nobody's request",
}
MAKERS: Mapping[str, str] = {"penstock/runtime/record.py": "it is where records are made"}
TRIERS: Mapping[str, str] = {
    "penstock/runtime/engine.py": "it admits what it handles",
    "penstock/runtime/pass_through.py": "what makes one is only asked by the next",
    "penstock/server/pass_through.py": "it admits what it passes on",
}
ADMITS: Mapping[str, str] = {
    "penstock/runtime/engine.py": "calls of surfaces, of batches, of sockets, and live health checks",
    "penstock/server/pass_through.py": "what is passed through",
}
WATCHES: Mapping[str, str] = {
    "penstock/runtime/attempt.py": "it is the stopwatch",
    "penstock/runtime/post.py": "starts it, inline: every request passes there",
    "penstock/runtime/call.py": "begins with a sum of nothing",
    "penstock/runtime/engine.py": "adds up what earlier attempts waited",
}

_JUDGING = {"check", "compare_digest", "presented", "in_query"}
_ANSWERING = {"whole", "start", "upgrade", "write", "finish", "abort", "feed_from"}
_SENDING = {"send", "ask", "open_socket"}


def _receiver(node: ast.expr) -> str:
    """The last name of what a method is called on: `self.call.exchange` -> `exchange`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def judging(source: ast.AST) -> Iterator[int]:
    """Lines that judge who asks."""
    for node in ast.walk(source):
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("identity"):
            if {alias.name for alias in node.names} & _JUDGING:
                yield node.lineno
        elif isinstance(node, ast.Attribute) and node.attr in _JUDGING and "identity" in _receiver(node.value).lower():
            yield node.lineno
        elif isinstance(node, ast.FunctionDef) and node.name in ("presented", "in_query"):
            yield node.lineno


def answering(source: ast.AST) -> Iterator[int]:
    """Lines that write to a client by themselves."""
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute) and node.attr in _ANSWERING and _receiver(node.value).endswith("exchange"):
            yield node.lineno


def sending(source: ast.AST) -> Iterator[int]:
    """Lines that send something through a pool."""
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute) and node.attr in _SENDING and _receiver(node.value).endswith("pool"):
            yield node.lineno


def making(source: ast.AST) -> Iterator[int]:
    """Lines that make a record."""
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and _receiver(node.func) == "Record":
            yield node.lineno


def watching(source: ast.AST) -> Iterator[int]:
    """Lines that set the stopwatch."""
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in ("since", "upstream"):
            yield node.lineno


def trying(source: ast.AST) -> Iterator[int]:
    """Lines that make an attempt at an upstream."""
    for node in ast.walk(source):
        if not isinstance(node, ast.Call):
            continue
        made = _receiver(node.func)
        if made in ("Attempt", "PassThrough"):
            yield node.lineno
        elif made == "of" and isinstance(node.func, ast.Attribute) and _receiver(node.func.value) == "PassThrough":
            yield node.lineno
        elif made == "cls" and isinstance(node.func, ast.Name) and "lane" in {word.arg for word in node.keywords}:
            yield node.lineno


def admitting(source: ast.AST) -> Iterator[int]:
    """Lines that ask whether a call may go on to its model."""
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute) and node.attr in ("admit", "admit_passed"):
            if _receiver(node.value).endswith("admission"):
                yield node.lineno


QUESTIONS = {
    "judge who asks": (judging, JUDGES, ("penstock/mock/",)),
    "write to a client": (answering, WRITERS, ("penstock/mock/", "penstock/server/doors/")),
    "send upstream": (sending, SENDERS, ("penstock/runtime/http/",)),
    "try an upstream": (trying, TRIERS, ()),
    "admit a call": (admitting, ADMITS, ()),
    "make a record": (making, MAKERS, ()),
    "set the stopwatch": (watching, WATCHES, ("penstock/runtime/http/",)),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_one_way_each(question: str) -> None:
    find, named, besides = QUESTIONS[question]
    files = [name for name in python_files("penstock") if not name.startswith(besides)]
    found = {name: lines for name in files if (lines := sorted(set(find(tree(name)))))}
    assert {name: lines for name, lines in found.items() if name not in named} == {}, f"these {question}, too"
    assert set(named) - set(found) == set(), f"these do not {question} any more: take them off the list"


def test_who_tries_an_upstream_admits_what_it_tries() -> None:
    """Who makes an attempt asks first; the file of what is passed through makes them for the one that asks."""
    assert set(TRIERS) - {"penstock/runtime/pass_through.py"} == set(ADMITS)


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (judging, "gateway.identity.check(headers)"),
        (judging, "from penstock.runtime.identity import presented"),
        (answering, "call.exchange.whole(200, b'', b'')"),
        (answering, "write = exchange.write"),
        (sending, "await self.engine.means.pool.send(origin)"),
        (trying, "attempt = Attempt(call, target)"),
        (trying, "PassThrough.of(call, name, model, None)"),
        (trying, "made = cls(call, target, lane=LANE)"),
        (admitting, "self.admission.admit(call, state)"),
        (making, "Record(at=1)"),
        (watching, "attempt.upstream += 1"),
    ],
)
def test_the_rule_sees_it(find, text: str) -> None:
    assert list(find(ast.parse(text)))
