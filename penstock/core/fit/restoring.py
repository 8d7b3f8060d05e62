"""Calls of functions given back as calls of the tools that they stand in for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.json import encode
from msgspec.structs import replace

from penstock.core.dialects.openai_responses.names import ITEM_FIELDS, NAME
from penstock.core.fit.builtin import BUILTIN
from penstock.core.fit.freeform import InputReader, to_text
from penstock.core.ir import Block, Close, Delta, Event, Opaque, Open, Response, ToolUse

SPACE = f"{ITEM_FIELDS}namespace"


class Form(Struct, frozen=True):
    """What a function stands in for. ``kind``: function, custom, or a row of ``builtin``. ``space``: the namespace that
    the tool is in, "" for none."""

    kind: str
    space: str
    name: str


class Restored(Struct, frozen=True):
    """Undoes ``forms.fit_forms``. ``forms``: what the functions stand in for, by their names."""

    forms: Mapping[str, Form]

    def response(self, response: Response) -> Response:
        choices = tuple(replace(choice, blocks=self._blocks(choice.blocks)) for choice in response.choices)
        return replace(response, choices=choices)

    def _blocks(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        out: list[Block] = []
        for block in blocks:
            form = self.forms.get(block.name) if isinstance(block, ToolUse) else None
            if form is None:
                out.append(block)
            else:
                assert isinstance(block, ToolUse)
                out.extend(_restored(block, form))
        return tuple(out)

    def filter(self) -> _Filter:
        return _Filter(self.forms)


def _restored(call: ToolUse, form: Form) -> list[Block]:
    if form.kind in BUILTIN:
        return [_item(call, form)]
    args = to_text(call.args) if form.kind == "custom" else call.args
    named = replace(call, name=form.name, kind=form.kind, args=args)
    return [_space(form), named] if form.space else [named]


def _space(form: Form) -> Opaque:
    return Opaque(NAME, SPACE, encode({"namespace": form.space}))


def _item(call: ToolUse, form: Form) -> Block:
    """Make the item of a built-in tool's call; a call whose arguments nobody can read stays a function's."""
    row = BUILTIN[form.kind]
    made = row.item(call.id, call.args)
    return Opaque(NAME, row.call, made) if made is not None else replace(call, name=form.name)


class _Held(Struct):
    """A call that is told at its end. ``index``: that of its block, as the client's side counts."""

    index: int
    call: ToolUse
    form: Form
    choice: int
    pieces: list[str]


class _Filter:
    """Restores a stream's calls. Blocks are counted anew, since a namespace is a block before its call's."""

    __slots__ = ("_forms", "_held", "_inputs", "_more", "_places")

    def __init__(self, forms: Mapping[str, Form]) -> None:
        self._forms = forms
        self._more = 0  # blocks that were added
        self._places: dict[int, int] = {}  # of the blocks that are open: index there -> index here
        self._inputs: dict[int, InputReader] = {}
        self._held: dict[int, _Held] = {}

    def feed(self, event: Event) -> Iterable[Event]:
        if type(event) is Open:
            return self._opened(event)
        if type(event) is Delta:
            return self._delta(event)
        if type(event) is Close:
            return self._closed(event)
        return (event,)

    def _opened(self, event: Open) -> Iterable[Event]:
        block = event.block
        form = self._forms.get(block.name) if isinstance(block, ToolUse) else None
        out: list[Event] = []
        if form is not None and form.space:
            at = event.index + self._more
            out = [Open(at, _space(form), event.choice), Close(at)]
            self._more += 1
        at = self._places[event.index] = event.index + self._more
        if form is None:
            return (replace(event, index=at),) if self._more else (event,)
        assert isinstance(block, ToolUse)
        if form.kind in BUILTIN:
            self._held[event.index] = _Held(at, block, form, event.choice, [block.args])
            return ()
        if form.kind == "custom":
            self._inputs[event.index] = InputReader()
        out.append(Open(at, replace(block, name=form.name, kind=form.kind), event.choice))
        return out

    def _delta(self, event: Delta) -> Iterable[Event]:
        held = self._held.get(event.index)
        if held is not None:
            held.pieces.append(event.text)
            return ()
        reader = self._inputs.get(event.index)
        text = event.text if reader is None else reader.feed(event.text)
        if reader is not None and not text and event.seal is None:
            return ()
        return (replace(event, index=self._places.get(event.index, event.index), text=text),)

    def _closed(self, event: Close) -> Iterable[Event]:
        at = self._places.pop(event.index, event.index)
        held = self._held.pop(event.index, None)
        if held is not None:
            call = replace(held.call, args="".join(held.pieces))
            made = _item(call, held.form)
            if not isinstance(made, ToolUse):
                return (Open(at, made, held.choice), Close(at))
            return (Open(at, replace(made, args=""), held.choice), Delta(at, made.args), Close(at))
        reader = self._inputs.pop(event.index, None)
        rest = reader.close() if reader is not None else ""
        return (Delta(at, rest), Close(at)) if rest else (Close(at),)
