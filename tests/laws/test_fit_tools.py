"""The laws of the forms of tools: every target gets functions, and the client its own tools back, in every turn.

A request is drawn as Codex sends it: functions, free text, groups of both, what the client runs by a name of the
vendor's, and items that bring tools along. ``called`` answers as a target does that was told of the functions.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Wire
from penstock.core.fit import Takes, fit, freeform, limits_of
from penstock.core.fit.texts import GO_ON
from penstock.core.fit.undo import chain
from penstock.core.ir import (
    Choice,
    Collector,
    Message,
    Opaque,
    Request,
    Response,
    Text,
    ToolResult,
    ToolUse,
    collect,
    explode,
)
from penstock.core.models import facts
from tests.laws.pools import FULL_TEXTS, OBJECTS, TEXTS

OWN = DIALECTS["openai_responses"]
TAKES = {
    name: Takes(dialect=name, wire=Wire(model="m"), model=facts("m"), limits=limits_of(name))
    for name in DIALECTS
    if name != OWN.name
}
_names = st.sampled_from(["js", "exec", "apply_patch", "functions__js", "a__js", "größe", "n" * 80])
_spaces = st.sampled_from(["functions", "a", "mcp__node_repl__", "mcp__" + "s" * 70])
_texts = st.sampled_from(FULL_TEXTS)


def _function(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name, "description": "d", "parameters": {"type": "object", "properties": {}}}


_functions = st.builds(_function, _names)
_customs = st.builds(
    lambda name, grammar: {
        "type": "custom",
        "name": name,
        "description": "c",
        **({"format": grammar} if grammar else {}),
    },
    _names,
    st.sampled_from([None, {"type": "text"}, {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}]),
)
_groups = st.builds(
    lambda name, tools: {"type": "namespace", "name": name, "description": "all of it", "tools": tools},
    _spaces,
    st.lists(_functions | _customs, min_size=1, max_size=3, unique_by=lambda tool: tool["name"]),
)
_builtins = st.sampled_from(
    [
        {"type": "local_shell"},
        {"type": "shell"},
        {"type": "apply_patch"},
        {"type": "tool_search", "execution": "client"},
    ]
)
declared = st.lists(
    _functions | _customs | _groups | _builtins, max_size=4, unique_by=lambda tool: (tool["type"], tool.get("name"))
)
ARGS = {
    "local_shell": {"command": ["ls", "-l"], "timeout_ms": 5},
    "shell": {"commands": ["ls"]},
    "apply_patch": {"type": "update_file", "path": "é", "diff": "+a\n"},
    "tool_search": {"query": "q"},
}


def leaves(tools: list[dict[str, Any]], space: str = "") -> list[tuple[str, str, str]]:
    """Kind, namespace and name of each tool that can be called."""
    out = []
    for tool in tools:
        if tool["type"] == "namespace":
            out += leaves(tool["tools"], tool["name"])
        else:
            out.append((tool["type"], space, tool.get("name", tool["type"])))
    return out


def item(leaf: tuple[str, str, str], number: int, text: str) -> dict[str, Any]:
    """The item of a call, as the client would have got it."""
    kind, space, name = leaf
    id = f"call_{number}"
    within = {"namespace": space} if space else {}
    if kind == "function":
        return {"type": "function_call", "call_id": id, "name": name, "arguments": '{"a":1}', **within}
    if kind == "custom":
        return {"type": "custom_tool_call", "call_id": id, "name": name, "input": text, **within}
    holds = {"apply_patch": "operation", "tool_search": "arguments"}.get(kind, "action")
    inner = {**({"type": "exec", "env": {}} if kind == "local_shell" else {}), **ARGS[kind]}
    more = {"execution": "client"} if kind == "tool_search" else {}
    return {
        "type": f"{kind}_call",
        "id": f"{kind}_call_{id}",
        "call_id": id,
        holds: inner,
        **more,
        "status": "completed",
    }


@st.composite
def sessions(draw: st.DrawFn) -> tuple[Request, list[dict[str, Any]]]:
    """A request, and the items of calls of all its tools. They stand in it as an earlier turn, too."""
    tools, brought = draw(declared), draw(declared)
    body: dict[str, Any] = {"model": "m", "input": [{"role": "user", "content": "hi"}]}
    if tools:
        body["tools"] = tools
    if brought:
        body["input"].insert(0, {"type": "additional_tools", "role": "developer", "tools": brought})
    every = list(dict.fromkeys(leaves(tools) + leaves(brought)))
    items = [item(leaf, number, draw(_texts)) for number, leaf in enumerate(every)]
    body["input"] += items
    if every and draw(st.booleans()):
        kind, _, name = every[0]
        body["tool_choice"] = {"type": kind} if kind in ARGS else {"type": kind, "name": name}
    fields = {key: Raw(json.dumps(value, ensure_ascii=False).encode()) for key, value in body.items()}
    return OWN.parse_request(fields), items


def answered(items: list[dict[str, Any]]) -> tuple[Any, ...]:
    """The blocks of an answer of these items."""
    body = {"id": "r", "model": "m", "status": "completed", "output": items}
    return OWN.parse_response(json.dumps(body).encode()).choices[0].blocks


def calls_of(request: Request) -> tuple[ToolUse, ...]:
    return tuple(block for turn in request.messages for block in turn.blocks if isinstance(block, ToolUse))


def spelled(blocks: tuple[Any, ...]) -> list[Any]:
    """The blocks with their JSON read: its spelling says nothing."""
    return [
        replace(b, raw=json.dumps(json.loads(b.raw), sort_keys=True).encode()) if isinstance(b, Opaque) else b
        for b in blocks
    ]


@given(sessions(), st.integers(1, 9))
def test_the_client_gets_its_own_tools_back(session: tuple[Request, list[dict[str, Any]]], size: int) -> None:
    request, items = session
    wanted = spelled(answered(items))
    for takes in TAKES.values():
        fitted = fit(request, takes)
        undo = chain(fitted.undo)
        assert all(tool.kind == "function" for tool in fitted.request.tools)
        told = [tool.name for tool in fitted.request.tools]
        assert len(set(told)) == len(told)
        calls = calls_of(fitted.request)
        assert {call.name for call in calls} <= set(told)
        assert all(call.kind == "function" and isinstance(json.loads(call.args), dict) for call in calls)
        choice = fitted.request.tool_choice
        assert choice is None or set(choice.names) <= set(told)
        assert not any(isinstance(block, Opaque) for turn in fitted.request.messages for block in turn.blocks)
        # The calls of the earlier turn are what the target says: it was told no others.
        answer = Response(id="r", model="m", choices=(Choice((Text("so"), *calls), "tool_use"),))
        whole = answer if undo is None else undo.response(answer)
        assert spelled(whole.choices[0].blocks[1:]) == wanted
        filter_ = None if undo is None else undo.filter()
        events = [
            told for event in explode(answer, size) for told in ((event,) if filter_ is None else filter_.feed(event))
        ]
        assert spelled(collect(events).choices[0].blocks[1:]) == wanted


@given(sessions())
def test_what_is_flat_stays(session: tuple[Request, list[dict[str, Any]]]) -> None:
    for takes in TAKES.values():
        once = fit(session[0], takes).request
        again = fit(once, takes)
        assert again.request == once
        assert not again.undo and not again.losses


@given(sessions())
def test_a_name_is_the_same_in_the_next_turn(session: tuple[Request, list[dict[str, Any]]]) -> None:
    request, _ = session
    longer = replace(request, messages=(*request.messages, Message("user", (Text("more"),))))
    for takes in TAKES.values():
        assert fit(request, takes).request.tools == fit(longer, takes).request.tools


def _pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in zip(places, places[1:], strict=False)]


_odd = st.sampled_from(
    [
        "",
        " ",
        "plain",
        '{"input": 1}',
        '{"patch":"x"}',
        '{"input":"a\\q\\u00e9\\ud83d\\ude00',
        '{ "input" :\n"\\ud83d"}',
        "{",
    ]
)
_args = st.sampled_from(TEXTS).map(freeform.to_args) | st.text().map(freeform.to_args) | _odd | st.sampled_from(OBJECTS)


@given(_args, st.lists(st.integers(0, 60), max_size=8))
def test_any_cut_of_the_arguments_gives_the_same_text(args: str, cuts: list[int]) -> None:
    reader = freeform.InputReader()
    assert "".join([reader.feed(piece) for piece in _pieces(args, cuts)]) + reader.close() == freeform.to_text(args)


@given(st.text(st.characters(exclude_categories=("Cs",))), st.booleans())
def test_free_text_comes_back_as_it_was(text: str, ascii_: bool) -> None:
    assert freeform.to_text(freeform.to_args(text)) == text
    assert freeform.to_text(json.dumps({"input": text}, ensure_ascii=ascii_)) == text


def test_free_text_is_told_as_it_comes() -> None:
    reader = freeform.InputReader()
    assert reader.feed('{"input": "*** Be') == "*** Be"
    assert reader.feed("gin\\") == "gin"
    assert reader.feed('nPatch"}') == "\nPatch"


def test_chats_custom_tools_are_those_of_responses() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}}
    tool = {"type": "custom", "custom": {"name": "p", "description": "d", "format": grammar}}
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [tool]}
    request = DIALECTS["openai_chat"].parse_request(
        {key: Raw(json.dumps(value).encode()) for key, value in body.items()}
    )
    takes = Takes(dialect=OWN.name, wire=Wire(model="m"), model=facts("m"), limits=limits_of(OWN.name))
    fitted = fit(request, takes)
    assert not fitted.losses
    sent = OWN.render_request(fitted.request, takes.wire).fields["tools"]
    flat = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
    assert json.loads(bytes(sent)) == [{"type": "custom", "name": "p", "description": "d", "format": flat}]


def test_a_broken_call_of_the_clients_own_shell_stays_a_function() -> None:
    fields = {"model": Raw(b'"m"'), "input": Raw(b'"x"'), "tools": Raw(b'[{"type":"local_shell"}]')}
    undo = chain(fit(OWN.parse_request(fields), TAKES["anthropic"]).undo)
    assert undo is not None
    collector, filter_ = Collector(), undo.filter()
    broken = Response(id="r", model="m", choices=(Choice((ToolUse("c", "local_shell", '{"comm'),), "length"),))
    for event in explode(broken):
        for told in filter_.feed(event):
            collector.feed(told)
    assert collector.response().choices == broken.choices == undo.response(broken).choices


def test_a_system_turn_at_the_end_is_told_before_the_question() -> None:
    """Claude Code puts reminders behind the user's words, and Cohere wants the user's or a tool's message last."""
    call, result = ToolUse("c", "f", "{}"), ToolResult("c", (Text("r"),))
    late = Message("system", (Text("late"),))
    asked, calls, told = Message("user", (Text("q"),)), Message("assistant", (call,)), Message("user", (result,))
    said = Message("assistant", (Text("a"),))
    for turns, wanted in (
        ((asked, late), (late, asked)),
        ((asked, calls, told, late, late), (asked, late, late, calls, told)),
        ((asked, calls, late, told), (asked, late, calls, told)),
        ((late,), (late,)),
        ((asked, said, late), (asked, said, late, Message("user", (Text(GO_ON),)))),
        ((late, asked), (late, asked)),
    ):
        fitted = fit(Request(model="m", messages=turns), TAKES["cohere"])
        assert fitted.request.messages == wanted
        assert bool(fitted.losses) == (turns != wanted)
        assert fit(Request(model="m", messages=turns), TAKES["anthropic"]).request.messages == turns
