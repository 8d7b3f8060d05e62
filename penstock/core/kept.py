"""An answer as it is kept for those who ask the same again: what is in an entry, and which answers may be given."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from penstock.core.ir import Refusal, Response, Usage

VERSION = 1
# How a complete answer ends. One that was cut off, filtered or refused may be another the next time.
_COMPLETE = frozenset(("stop", "tool_use"))


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """An answer that is kept. ``at``, ``ends``: from when to when, unix time. ``dialect``: whose form the ``body`` has;
    ``model``: the name in it. ``dropped``: what of the request its target did not get.

    ``raw``: nobody has looked yet whether it may be given again; most answers are never asked for again, and looking
    costs more than keeping. ``streamed``: the body is a stream, which a raw entry alone may be. ``checked``: it is
    known to have the form that was asked for."""

    at: float
    ends: float
    dialect: str
    model: str
    body: bytes
    usage: Usage | None = None
    content_type: str = ""
    dropped: tuple[str, ...] = ()
    raw: bool = False
    streamed: bool = False
    checked: bool = False
    version: int = VERSION


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def write_entry(entry: Entry) -> bytes:
    """Write an entry for a store."""
    return _encode(entry)


def read_entry(data: bytes | memoryview) -> Entry | None:
    """Read an entry out of a store; None for one that another version wrote, or nobody here did."""
    try:
        entry = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return entry if entry.version == VERSION else None


def is_complete(response: Response) -> bool:
    """Tell whether an answer may be given again: all of it is there, and none of it was refused. Calls of tools are
    answers like others."""
    return bool(response.choices) and all(
        choice.finish in _COMPLETE and bool(choice.blocks) and not any(isinstance(b, Refusal) for b in choice.blocks)
        for choice in response.choices
    )
