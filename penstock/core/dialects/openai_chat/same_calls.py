"""Calls that a Chat client could not read as they came, mended in the same lane.

A client adds up the pieces of calls by ``index``: calls that are all numbered 0 become one (ollama/ollama#15457), an id
or a name that is repeated is doubled. It parses the arguments as JSON, and goes on with the calls when the finish
reason says that there are some (vercel/ai#12218). What is as OpenAI has it keeps every byte.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.core.dialects.arguments import settle
from penstock.core.dialects.openai_chat.calls import Calls, Slot, add_name
from penstock.core.dialects.openai_chat.names import FINISH_IN
from penstock.core.envelope import BAD_JSON

_ENCODE = msgspec.json.Encoder().encode
_OBJECTS = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_OBJECT = msgspec.json.Decoder(dict[str, Raw]).decode
_TEXT = msgspec.json.Decoder(str).decode
_NULL = Raw(b"null")
_BLANK = Raw(b'""')
_QUOTE = ord('"')
_CALLED = Raw(b'"tool_calls"')


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: Raw = _NULL


class _Call(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Delta(Struct, gc=False):
    tool_calls: list[_Call] | None = None


class _Piece(Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


_PIECES = msgspec.json.Decoder(list[_Piece]).decode


class CallMender:
    """The calls of one stream, choice by choice."""

    __slots__ = ("_count", "_lines")

    def __init__(self) -> None:
        self._lines: dict[int, Calls] = {}
        self._count = 0

    def feed(self, choices: Raw) -> Raw:
        """Return the choices of a chunk, mended where they must be. What is not of this dialect is left as it is."""
        try:
            told = _PIECES(choices)
        except BAD_JSON:
            return choices
        edits: dict[int, dict[str, Any]] = {}
        for place, piece in enumerate(told):
            made: dict[str, Any] = {}
            calls = piece.delta.tool_calls if piece.delta is not None else None
            line = self._lines.get(piece.index)
            if calls:
                if line is None:
                    line = self._lines[piece.index] = Calls()
                written = [self._call(line, call) for call in calls]
                if any(one is not None for one in written):
                    made["calls"] = written
            if piece.finish_reason and line is not None:
                ends = [_last(slot) for slot in line.slots if not slot.custom and not slot.pieces.told]
                if ends:
                    made["ends"] = ends
                if FINISH_IN.get(piece.finish_reason.lower()) == "stop":
                    made["finish"] = True
            if made:
                edits[place] = made
        return _edited(choices, edits) if edits else choices

    def _call(self, line: Calls, call: _Call) -> dict[str, Any] | None:
        """Note a piece of a call; return the fields to change in it, None for one that is as it should be. A call is
        begun when its id is known, or its arguments begin."""
        inner = call.function
        if inner is None:  # a custom tool's, or nothing that is known: it has no arguments to mend
            if call.type == "custom":
                line.find(call.index, call.id or "", "custom", "", True, "")
            return None
        name, (args, spelled) = inner.name or "", _text_of(inner.arguments)
        count = len(line.slots)
        slot = line.find(call.index, call.id or "", name, args, False, f"call_{self._count}")
        self._count += len(line.slots) > count
        fresh, told = add_name(slot, name), slot.pieces.feed(args)
        slot.take_args(args)
        if not slot.shown and not (slot.given or slot.filled):
            return _WITHHELD
        fields: dict[str, Any] = {}
        if not slot.shown:
            fresh = slot.name
            if call.id != slot.id:
                fields |= {"id": slot.id, "type": "function"}
        elif call.id:
            fields["id"] = None
        slot.shown = True
        if call.index != slot.number:
            fields["index"] = slot.number
        if fresh != name:
            fields["name"] = fresh
        if told != args or not spelled:
            fields["arguments"] = told
        return fields or None


_WITHHELD: dict[str, Any] = {"withheld": True}


def _text_of(raw: Raw) -> tuple[str, bool]:
    """Return the text of arguments, and whether it is spelled as one: some servers give the object itself."""
    if memoryview(raw)[0] == _QUOTE:
        return _TEXT(raw), True
    return ("", True) if raw == _NULL else (bytes(raw).decode(), False)


def _last(slot: Slot) -> dict[str, Any]:
    """Write the piece that a call's arguments end with, of which nothing was told yet."""
    told: dict[str, Any] = {"index": slot.number, "function": {"arguments": settle(slot.pieces.end())}}
    if not slot.shown:
        slot.shown = True
        told |= {"id": slot.id, "type": "function", "function": {"name": slot.name, **told["function"]}}
    return told


def _edited(choices: Raw, edits: dict[int, dict[str, Any]]) -> Raw:
    told: list[dict[str, Any]] = [dict(choice) for choice in _OBJECTS(choices)]
    for place, made in edits.items():
        choice = told[place]
        delta: dict[str, Any] = dict(_OBJECT(choice["delta"])) if choice.get("delta") not in (None, _NULL) else {}
        calls: list[Any] = []
        if "calls" in made:
            raws = _OBJECTS(delta["tool_calls"])
            pairs = zip(raws, made["calls"], strict=True)
            calls = [_rewritten(raw, fields) for raw, fields in pairs if fields is not _WITHHELD]
            del delta["tool_calls"]
            choice["delta"] = delta
        elif "ends" in made and delta.get("tool_calls") not in (None, _NULL):
            calls = list(_OBJECTS(delta["tool_calls"]))
        calls += made.get("ends", [])
        if calls:
            delta["tool_calls"] = calls
            choice["delta"] = delta
        if "finish" in made:
            choice["finish_reason"] = _CALLED
    return Raw(_ENCODE(told))


def _rewritten(raw: dict[str, Raw], fields: dict[str, Any] | None) -> dict[str, Any]:
    out: dict[str, Any] = dict(raw)
    if fields is None:
        return out
    for key in ("index", "id", "type"):
        if key in fields:
            out[key] = fields[key]
    if out.get("id", "") is None:
        del out["id"]
    inner: dict[str, Any] = dict(_OBJECT(raw["function"]))
    for key in ("name", "arguments"):
        if key in fields:
            inner[key] = fields[key]
            if key == "name" and not fields[key]:
                del inner[key]
    out["function"] = inner
    return out


def mend_message(choices: Raw) -> Raw:
    """Return the choices of a whole answer, mended where they must be."""
    try:
        told = _OBJECTS(choices)
        changed = [_mended(choice) for choice in told]
    except (*BAD_JSON, KeyError):
        return choices
    return Raw(_ENCODE(told)) if any(changed) else choices


def _mended(choice: dict[str, Raw]) -> bool:
    """Mend one choice in place; tell whether there was something to mend."""
    message = _OBJECT(choice["message"])
    raw = message.get("tool_calls")
    if raw is None or raw == _NULL:
        return False
    calls: list[dict[str, Any]] = [dict(call) for call in _OBJECTS(raw)]
    odd = [_whole(call, number) for number, call in enumerate(calls)]
    if any(odd):
        message["tool_calls"] = Raw(_ENCODE(calls))
        choice["message"] = Raw(_ENCODE(message))
    word = choice.get("finish_reason", _NULL)
    stopped = bool(calls) and FINISH_IN.get(bytes(word).strip(b'"').decode("utf-8", "replace").lower()) == "stop"
    if stopped:
        choice["finish_reason"] = _CALLED
    return any(odd) or stopped


def _whole(call: dict[str, Any], number: int) -> bool:
    """Mend a call in place: one without an id gets one, and arguments that are no object's text become one."""
    changed = False
    if call.get("id") in (None, _NULL, _BLANK) and "function" in call:
        call["id"], changed = f"call_{number}", True
    if "function" not in call:
        return changed
    inner: dict[str, Any] = dict(_OBJECT(call["function"]))
    raw = inner.get("arguments", _NULL)
    args, spelled = _text_of(raw)
    settled = args if args.lstrip()[:1] == "{" else settle(args)
    if settled != args or not spelled or raw == _NULL:
        inner["arguments"] = settled
        call["function"], changed = inner, True
    return changed
