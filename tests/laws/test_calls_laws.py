"""Calls as servers stream them: a client of any dialect gets what it would have got of the whole answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core import eventstream, sse
from penstock.core.dialects import DIALECTS, EDITORS
from penstock.core.dialects.arguments import Pieces, Settler, object_of, settle, settle_calls
from penstock.core.dialects.base import View
from penstock.core.ir import Event, Response, ToolUse, collect
from tests.laws.strategies import json_objects
from tests.laws.streams import run_encoder

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new", now=7)
MODEL = Raw(b'"asked"')
ODD = ["", " ", "\n", "null", " null ", '"{\\"a\\":1}"', '"text"', "[1]", "not json", "nul", '"{"']
arguments = st.sampled_from(ODD) | json_objects
OBJECTS = ("anthropic", "bedrock", "gemini", "ollama")
"""Dialects whose calls hold an object: any other text is told as one that holds it."""


def cut(text: str, places: list[int]) -> list[str]:
    marks = sorted({at % (len(text) + 1) for at in places})
    return [text[i:j] for i, j in zip([0, *marks], [*marks, len(text)], strict=True)]


# How Chat's servers stream calls ---------------------------------------------------------------------------------------

Call = tuple[str, str, str]  # id, name, arguments
MANNERS = [
    *("plain", "all_zero", "no_index", "repeated", "all_zero_repeated", "split_name", "late_id", "id_per_piece"),
    *("whole_at_the_end", "no_ids", "object", "all_zero_no_ids"),
]


def piece(index: int | None, id: str | None, name: str | None, args: Any) -> dict[str, Any]:
    inner = {key: value for key, value in (("name", name), ("arguments", args)) if value is not None}
    made: dict[str, Any] = {"function": inner}
    if index is not None:
        made["index"] = index
    if id is not None:
        made |= {"id": id, "type": "function"}
    return made


def pieces_of(manner: str, number: int, call: Call, places: list[int]) -> list[dict[str, Any]]:
    id, name, args = call
    parts = cut(args, places)
    if manner == "object":
        return [piece(number, id, name, json.loads(args))]
    if manner == "split_name":
        return [piece(number, id, name[:2], None), piece(number, None, name[2:], parts[0])] + [
            piece(number, None, None, part) for part in parts[1:]
        ]
    if manner == "late_id":
        return [piece(number, None, name, ""), piece(number, id, None, ""), piece(number, None, None, args)]
    if manner == "id_per_piece":
        later = [piece(number, f"{id}.{n}", None, part) for n, part in enumerate(parts[1:])]
        return [piece(number, id, name, parts[0]), *later]
    if manner in ("repeated", "all_zero_repeated"):
        index = number if manner == "repeated" else 0
        return [piece(index, id, name, part) for part in parts]
    if manner in ("no_ids", "all_zero_no_ids"):
        parts = parts if manner == "no_ids" else [args]
        index = number if manner == "no_ids" else 0
        return [piece(index, None, name, parts[0]), *(piece(index, None, None, part) for part in parts[1:])]
    if manner == "no_index":
        return [piece(None, id, name, parts[0]), *(piece(None, id, None, part) for part in parts[1:])]
    index = 0 if manner == "all_zero" else number
    return [piece(index, id, name, parts[0]), *(piece(index, None, None, part) for part in parts[1:])]


@st.composite
def chats(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """An answer with calls, whole and as a stream."""
    manner = draw(st.sampled_from(MANNERS))
    objects = manner in ("object", "all_zero_no_ids")  # without ids an object tells where a call begins
    made = json_objects.filter(lambda text: text[:1] == "{") if objects else arguments
    calls = [
        (f"id_{n}", draw(st.sampled_from(["read", "list_all"])), draw(made)) for n in range(draw(st.integers(1, 3)))
    ]
    finish = draw(st.sampled_from(["stop", "tool_calls", "length"]))
    told = [{"id": id, "type": "function", "function": {"name": name, "arguments": args}} for id, name, args in calls]
    if manner in ("no_ids", "all_zero_no_ids"):
        for call in told:
            del call["id"]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, "tool_calls": told},
        "finish_reason": finish,
    }
    whole = json.dumps({"id": "c1", "choices": [choice]}).encode()
    deltas: list[Any] = []
    last: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": finish}
    if manner == "whole_at_the_end":
        last["message"] = {"role": "assistant", "content": None, "tool_calls": told}
    else:
        for number, call in enumerate(calls):
            places = draw(st.lists(st.integers(0, 50), max_size=3))
            deltas += [{"tool_calls": [one]} for one in pieces_of(manner, number, call, places)]
    steps = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    chunks = [{"id": "c1", "choices": [one]} for one in [*steps, last]]
    return whole, b"".join(sse.encode(json.dumps(chunk).encode()) for chunk in chunks) + sse.DONE


def calls_of(response: Response) -> tuple[list[tuple[str, str, Any]], str]:
    choice = response.choices[0]
    found = [(b.id, b.name, _meant(b.args)) for b in choice.blocks if isinstance(b, ToolUse)]
    return found, choice.finish


def _meant(args: str) -> Any:
    try:
        return json.loads(args or "{}")
    except ValueError:
        return args


def crossed(response: Response | None, events: list[Event], client: str) -> tuple[Response, Response]:
    """The answer as a client of the cross lane reads it, whole and streamed."""
    spoken = DIALECTS[client]
    assert response is not None
    whole = spoken.parse_response(spoken.render_response(settle_calls(response), VIEW).body)
    settler = Settler()
    stream = run_encoder(spoken.encoder(VIEW), [told for event in events for told in settler.feed(event)])
    decoder, lines = spoken.decoder(), spoken.framer()
    back = [told for event in lines.feed(stream) for told in decoder.feed(event)]
    return whole, collect([*back, *decoder.close()])


CLIENTS = ["openai_chat", "openai_responses", "anthropic", "gemini", "bedrock", "cohere", "ollama"]


def decoded(dialect: str, stream: bytes) -> list[Event]:
    decoder, lines = DIALECTS[dialect].decoder(), DIALECTS[dialect].framer()
    events = [told for event in lines.feed(stream) for told in decoder.feed(event)]
    return [*events, *decoder.close()]


@given(chats())
def test_a_stream_of_calls_is_read_as_the_whole_answer(case: tuple[bytes, bytes]) -> None:
    whole, stream = case
    response, events = DIALECTS["openai_chat"].parse_response(whole), decoded("openai_chat", stream)
    for client in CLIENTS:
        one, other = crossed(response, events, client)
        assert calls_of(one) == calls_of(other), client
        if client in OBJECTS:
            assert all(isinstance(args, dict) for _, _, args in calls_of(other)[0])


@given(chats())
def test_the_same_lane_tells_what_its_client_can_read(case: tuple[bytes, bytes]) -> None:
    whole, stream = case
    lane = EDITORS["openai_chat"].Stream(MODEL, True)
    if b'"message"' in stream:
        return  # all in the last chunk: nothing that the lane reads
    told = b"".join([lane.feed(event) for event in sse.Decoder().feed(stream)]) + lane.close()
    calls: dict[int, dict[str, str]] = {}
    finish = ""
    for event in sse.Decoder().feed(told):
        for choice in json.loads(event.data)["choices"] if event.data != b"[DONE]" else ():
            for call in choice["delta"].get("tool_calls") or ():  # as the ``openai`` client adds them up
                kept = calls.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
                kept["id"] += call.get("id") or ""
                for key in ("name", "arguments"):
                    kept[key] += call["function"].get(key) or ""
            finish = choice["finish_reason"] or finish
    body, _ = EDITORS["openai_chat"].answer(whole, MODEL)
    choice = json.loads(body)["choices"][0]
    expected = [{"id": one["id"], **one["function"]} for one in choice["message"]["tool_calls"]]
    assert sorted(calls) == list(range(len(expected)))
    assert [_with_meant(calls[number]) for number in sorted(calls)] == [_with_meant(one) for one in expected]
    assert finish == choice["finish_reason"] != "stop"
    assert all(call["arguments"].strip() not in ("", "null") for call in calls.values())


def _with_meant(call: dict[str, str]) -> dict[str, Any]:
    return {**call, "arguments": _meant(call["arguments"])}


# The other dialects' streams -------------------------------------------------------------------------------------------


def of_messages(args: list[str]) -> bytes:
    block = {"type": "tool_use", "id": "id_0", "name": "read", "input": {}}
    steps: list[Any] = [{"type": "message_start", "message": {"id": "m", "usage": {}}}]
    steps.append({"type": "content_block_start", "index": 0, "content_block": block})
    for part in args:
        delta = {"type": "input_json_delta", "partial_json": part}
        steps.append({"type": "content_block_delta", "index": 0, "delta": delta})
    steps.append({"type": "content_block_stop", "index": 0})
    steps += [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]
    return b"".join(sse.encode(json.dumps(step).encode()) for step in steps)


def of_responses(args: list[str], closing: bool = False) -> bytes:
    item = {"type": "function_call", "id": "fc_1", "call_id": "id_0", "name": "read", "arguments": ""}
    steps: list[Any] = [{"type": "response.output_item.added", "output_index": 0, "item": item}]
    if not closing:
        for part in args:
            steps.append({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": part})
    done = {**item, "arguments": "".join(args)}
    steps.append({"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "".join(args)})
    steps.append({"type": "response.output_item.done", "output_index": 0, "item": done})
    steps.append({"type": "response.completed", "response": {"status": "completed", "output": [done]}})
    return b"".join(sse.encode(json.dumps(step).encode(), step["type"].encode()) for step in steps)


def of_converse(args: list[str]) -> bytes:
    start = {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "id_0", "name": "read"}}}
    steps: list[Any] = [("messageStart", {"role": "assistant"}), ("contentBlockStart", start)]
    steps += [("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": part}}}) for part in args]
    steps += [("contentBlockStop", {"contentBlockIndex": 0}), ("messageStop", {"stopReason": "tool_use"})]
    return b"".join(eventstream.event(name, json.dumps(fields).encode()) for name, fields in steps)


def of_cohere(args: list[str]) -> bytes:
    call = {"id": "id_0", "type": "function", "function": {"name": "read", "arguments": ""}}
    steps: list[Any] = [{"type": "message-start", "id": "1"}]
    steps.append({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": call}}})
    for part in args:
        inner = {"tool_calls": {"function": {"arguments": part}}}
        steps.append({"type": "tool-call-delta", "index": 0, "delta": {"message": inner}})
    steps.append({"type": "tool-call-end", "index": 0})
    steps.append({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}})
    return b"".join(sse.encode(json.dumps(step).encode()) for step in steps)


STREAMS: dict[str, Any] = {
    "anthropic": of_messages,
    "openai_responses": of_responses,
    "bedrock": of_converse,
    "cohere": of_cohere,
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("target", [*STREAMS, "closing"])
def test_odd_arguments_are_an_object_for_every_client(target: str, client: str) -> None:
    for args in ODD:
        made = of_responses([args], True) if target == "closing" else STREAMS[target](cut(args, [1, 3]))
        dialect = "openai_responses" if target == "closing" else target
        events = decoded(dialect, made)
        whole = Response(id="x", model="m", choices=(collect(events).choices))
        one, other = crossed(whole, events, client)
        (_, name, found), *rest = calls_of(other)[0]
        assert not rest and name == "read" and calls_of(one) == calls_of(other)
        plain = settle(args)
        inside, whole_object = object_of(plain)
        wanted = json.loads(bytes(inside)) if client in OBJECTS else _meant(plain)
        if client == "ollama" and not whole_object:
            wanted = {"input": plain}
        assert found == wanted, (args, found)


@given(arguments, st.lists(st.integers(0, 50), max_size=4))
def test_any_cut_of_arguments_tells_the_same(args: str, places: list[int]) -> None:
    pieces = Pieces()
    told = "".join([pieces.feed(part) for part in cut(args, places)])
    held = pieces.end()
    assert told + held == args and not (told and held)
    assert bool(told) == (args.lstrip()[:1] == "{")
