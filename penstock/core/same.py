"""The same-dialect lane: an answer's bytes pass as they are, but for its ``model`` and what the meter must see.

Each dialect has a module ``same`` that declares one ``EDITOR`` (``dialects.EDITORS`` is the table).

Edits touch the places of ``model`` only; everything else keeps the upstream's bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.caching import Point
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage

_OBJECT = Decoder(dict[str, Raw]).decode


class Incomplete(GatewayError):
    """The upstream's stream ended before the answer did."""

    def __init__(self, detail: str = "the upstream closed the stream before the answer was complete") -> None:
        super().__init__("broken_stream", f"The answer is incomplete: {detail}.")


def open_answer(body: bytes) -> dict[str, Raw]:
    """Decode the top level of a whole answer. Raises "broken_answer" with its first words for what is no JSON object:
    they tell which proxy's page it is."""
    try:
        return _OBJECT(body)
    except BAD_JSON:
        start = body[:120].decode("utf-8", "replace")
        text = f"The upstream's answer is not a JSON object; it begins {start!r}."
        raise GatewayError("broken_answer", text) from None


def open_part(data: bytes, kind: str) -> dict[str, Raw]:
    """Decode the top level of an answer or of an event of one. Raises ``kind`` for what is no JSON object."""
    try:
        return _OBJECT(data)
    except BAD_JSON:
        start = data[:120].decode("utf-8", "replace")
        raise GatewayError(kind, f"The upstream sent what is not a JSON object; it begins {start!r}.") from None


def in_tier(usage: Usage | None, tier: Raw | None) -> Usage | None:
    """Set the ``service_tier`` that an answer tells on its usage: it decides the price, not the one that was asked for,
    since vendors serve "priority" as "default" when they are short (platform.openai.com, "Priority processing")."""
    if usage is None or tier is None:
        return usage
    text = bytes(tier)
    return replace(usage, tier=text[1:-1].decode("utf-8", "replace")) if text[:1] == b'"' else usage


class SameStream(Protocol):
    """One stream on its way. ``feed``: an event's bytes for the client, b"" when it is for the meter alone. ``close``:
    what is still owed at the upstream's end; raises ``Incomplete``. ``started``: a part of the answer was seen.
    ``chunks``: how many, which counts tokens roughly where usage is never told. ``done``: all of it was, though its
    upstream may not have ended yet."""

    started: bool
    chunks: int
    done: bool

    @property
    def usage(self) -> Usage | None: ...

    def feed(self, event: sse.Event) -> bytes: ...
    def close(self) -> bytes: ...


class Editor(Struct, frozen=True, kw_only=True, eq=False):
    """The functions of a dialect's same-dialect lane, by the names by which everyone calls them.

    ``answer(body, model)``: a whole answer with its ``model`` replaced, and its usage. Raises "broken_answer" when it
    is none, and the upstream's error when it carries one under status 200 (some servers do). ``Stream(model,
    want_usage)``: one stream. ``prepare(fields, stream, ask_usage)``: edits a request's top level for the wire, in
    place. ``wants_usage(fields)``: whether the client asked for usage in the stream. ``mark_cache(fields, points)``:
    marks a request where its prompt is to be cached, in place; None in a dialect without marks.
    """

    answer: Callable[[bytes, Raw], tuple[bytes, Usage | None]]
    Stream: Callable[[Raw, bool], SameStream]
    prepare: Callable[[dict[str, Raw], bool, bool], None]
    wants_usage: Callable[[Mapping[str, Raw]], bool]
    mark_cache: Callable[[dict[str, Raw], tuple[Point, ...]], None] | None = None
