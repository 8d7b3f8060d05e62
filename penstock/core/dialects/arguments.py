"""A call's arguments as the object that an API wants.

Models call a tool without parameters with "", white space or "null" (vllm-project/vllm#43851), and some servers write
the object as a JSON string once too often. Whole or streamed, a client gets the object: ``settle_calls`` mends a whole
answer, ``Settler`` the events of a stream.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Choice, Close, Delta, Event, Open, Response, ToolUse

_OBJECT = Decoder(dict[str, Raw]).decode
_TEXT = Decoder(str).decode
_EMPTY = Raw(b"{}")


def object_of(args: str) -> tuple[Raw, bool]:
    """Return the arguments as an object, and whether they were one.

    They are checked and never pasted: text that is not one whole JSON object could add fields to the body. Anything
    else a model wrote is carried as ``{"arguments": "<text>"}``."""
    if args in ("", "{}"):
        return _EMPTY, True
    try:
        _OBJECT(args)
        return Raw(args.strip().encode()), True
    except (msgspec.DecodeError, RecursionError):
        return (_EMPTY, True) if args.strip() in ("", "null") else (Raw(encode({"arguments": args})), False)


def settle(args: str) -> str:
    """Return the arguments as an object's text where they say that there are none, or hold that text as a string; any
    others as they are."""
    bare = args.strip()
    if bare in ("", "null"):
        return "{}"
    if bare[0] == '"':
        try:
            inner = _TEXT(bare)
            _OBJECT(inner)
        except (*BAD_JSON, RecursionError):
            return args
        return inner
    return args


def settle_calls(response: Response) -> Response:
    """Settle the arguments of a whole answer's calls."""
    for choice in response.choices:
        for block in choice.blocks:
            if type(block) is ToolUse and _is_odd(block):
                return replace(response, choices=tuple(_settled(choice) for choice in response.choices))
    return response


def _is_odd(call: ToolUse) -> bool:
    return call.args[:1] not in ("{", "") and call.kind == "function"


def _settled(choice: Choice) -> Choice:
    blocks = tuple(
        replace(block, args=settle(block.args)) if isinstance(block, ToolUse) and _is_odd(block) else block
        for block in choice.blocks
    )
    return replace(choice, blocks=blocks)


class Pieces:
    """The arguments of one streamed call. They are passed on from the brace on that an object begins with; what begins
    otherwise is held until all of it is there."""

    __slots__ = ("_held", "_plain", "_strange")

    def __init__(self) -> None:
        self._held: list[str] = []
        self._plain = False  # an object has begun
        self._strange = False  # something else has

    def feed(self, text: str) -> str:
        """Return what may be told now."""
        if self._plain:
            return text
        if not self._strange:
            lead = text.lstrip()[:1]
            if lead == "{":
                self._plain = True
                text = "".join(self._held) + text
                self._held = []
                return text
            self._strange = lead != ""
        self._held.append(text)
        return ""

    def end(self) -> str:
        """Return what was held, "" for nothing."""
        held, self._held = "".join(self._held), []
        return held

    @property
    def told(self) -> bool:
        """Tell whether an object has begun."""
        return self._plain


class Settler:
    """A filter of events: see ``settle_calls``."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[int, Pieces] = {}

    def feed(self, event: Event) -> Iterable[Event]:
        if isinstance(event, Delta):
            pieces = self._open.get(event.index) if self._open else None
            if pieces is None or not event.text:
                return (event,)
            text = pieces.feed(event.text)
            if text == event.text:
                return (event,)
            return (replace(event, text=text),) if text or event.seal is not None else ()
        if isinstance(event, Open):
            if isinstance(event.block, ToolUse) and event.block.kind == "function":
                self._open[event.index] = Pieces()
        elif isinstance(event, Close) and event.index in self._open:
            held = self._open.pop(event.index).end()
            if held:
                return (Delta(event.index, settle(held)), event)
        return (event,)
