"""What Messages, Converse and generateContent want of a conversation alike: one logic, a policy for each."""

from __future__ import annotations

import pytest

from penstock.core.dialects.anthropic.turns import POLICY as MESSAGES
from penstock.core.dialects.bedrock.turns import POLICY as CONVERSE
from penstock.core.dialects.gemini.turns import POLICY as CONTENTS
from penstock.core.dialects.turns import Policy, Turn, build_turns, results_by_turn, split_system
from penstock.core.ir import Message, Opaque, Role, Text, ToolResult, ToolUse

POLICIES = {"anthropic": MESSAGES, "bedrock": CONVERSE, "gemini": CONTENTS}


class Lost:
    """A writer that only notes what is lost."""

    def __init__(self, own: bool = False) -> None:
        self.own = own
        self.said: dict[str, str] = {}

    def lose(self, path: str, why: str) -> None:
        self.said[path] = why


def call(id: str, name: str = "f") -> ToolUse:
    return ToolUse(id, name, "{}")


def turn(role: Role, *blocks: Text | ToolUse | ToolResult | Opaque) -> Message:
    return Message(role, blocks)


def plain(turns: list[Turn]) -> list[tuple[str, list[str]]]:
    """Roles, and for each block its id or its text."""
    words = [[getattr(block, "id", None) or getattr(block, "text", block) for _, block in t.items] for t in turns]
    return [(t.role, told) for t, told in zip(turns, words, strict=True)]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_result_stands_behind_its_call_wherever_it_came(policy: Policy) -> None:
    early = turn("user", ToolResult("late", (Text("r"),)))
    said = (early, turn("assistant", call("late"), call("a")), turn("user", Text("so?")), turn("user", ToolResult("a")))
    names: dict[str, str] = {}
    built = build_turns(said, 0, Lost(), policy, names=names)
    assert plain(built) == [("assistant", ["late", "a"]), ("user", ["a", "late", "so?"])]
    assert names == {"messages.0.blocks.0": "f", "messages.3.blocks.0": "f"}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_result_without_a_call_is_text(policy: Policy) -> None:
    lost = Lost()
    built = build_turns((turn("user", ToolResult("x", (Text("r"),))),), 0, lost, policy)
    assert plain(built) == [("user", ["[tool result x]", "r"])]
    assert lost.said == {"messages.0.blocks.0": "a result without its call is told as text"}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_what_stands_beside_a_result_moves_with_it(policy: Policy) -> None:
    beside = Opaque(policy.dialect, policy.block_fields + "x", b"{}")
    said = (turn("user", Text("hi"), beside, ToolResult("a")), turn("assistant", call("a")), turn("user", Text("so?")))
    built = build_turns(said, 0, Lost(own=True), policy)
    assert [[block for _, block in t.items] for t in built] == [
        [Text("hi")],
        [call("a")],
        [beside, ToolResult("a"), Text("so?")],
    ]


def test_a_system_turn_with_something_of_a_dialect_stays_a_turn_where_that_is_the_policy() -> None:
    said = (turn("system", Text("be brief")), turn("system", Opaque("x", "y", b"{}")), turn("user", Text("hi")))
    assert [split_system(said, Lost(), policy)[1] for policy in POLICIES.values()] == [1, 2, 2]


def test_system_turns_alone_keep_their_last_one() -> None:
    for words, want in (("", [1, 1, 1]), (" ", [0, 1, 0]), ("hi", [0, 0, 0])):
        said = (turn("system", Text(words)),)
        assert [split_system(said, Lost(), policy)[1] for policy in POLICIES.values()] == want


def test_results_by_the_turn_of_their_call() -> None:
    said = (turn("assistant", call("a", "f")), turn("user", ToolResult("a"), ToolResult("a"), ToolResult("b")))
    path = "messages.1.blocks.0"
    assert results_by_turn(said) == ({0: [(path, "f", ToolResult("a"))]}, {path})
