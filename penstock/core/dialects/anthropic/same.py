"""Messages in, Messages out: see ``penstock.core.same`` for the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects.anthropic.caching import mark_cache
from penstock.core.dialects.anthropic.errors import stream_error
from penstock.core.dialects.anthropic.usage import Meter, read
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.core.same import Editor, Incomplete, open_answer

_DECODE = msgspec.json.Decoder(dict[str, Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
_ERROR = Raw(b'"error"')
_REASON = re.compile(rb'"stop_reason"[ \t]*:[ \t]*"[^"]')
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_PARTS = frozenset(
    (b"content_block_start", b"content_block_delta", b"content_block_stop", b"message_delta", b"message_stop")
)


def answer(body: bytes, model: Raw) -> tuple[bytes, Usage | None]:
    """Replace the ``model`` of a whole answer, and read its usage."""
    fields = open_answer(body)
    if fields.get("type") == _ERROR or ("error" in fields and "content" not in fields):
        raise stream_error(body)
    fields["model"] = model
    meter = Meter()
    if "usage" in fields:
        _meter(meter, fields["usage"])
    return _ENCODE(fields), _told(meter)


class Stream:
    """Message events. ``message_start`` gets the client's model name; all others pass as they are."""

    __slots__ = ("done", "_meter", "_model", "_reason", "_told", "chunks", "started")

    def __init__(self, model: Raw, want_usage: bool) -> None:
        self._model = model
        self._meter = Meter()
        self.done = False
        self._reason = False
        self._told = False  # the output's count, which comes with the stop reason
        self.started = False
        self.chunks = 0

    @property
    def usage(self) -> Usage | None:
        """Return the usage told so far. ``message_start`` tells an output of 1 or so: of a stream that is cut off, the
        count of what passed is nearer."""
        usage = _told(self._meter)
        if usage is None or self._told:
            return usage
        return replace(usage, output=max(usage.output, self.chunks), estimated=True)

    def feed(self, event: sse.Event) -> bytes:
        name, data = event
        if sse.LF in data:  # JSON over several data lines: between tokens a space is as good, and an event has one line
            data = data.replace(b"\n", b" ")
        name = name or _type(data)
        if name == b"message_start":
            data = self._start(data)
        elif name == b"error":
            raise stream_error(data)
        elif name in _PARTS:
            if not self.started:
                # Without it a client has no message to add to; and before it another target can still answer.
                raise Incomplete(f"the upstream sent {name.decode()} before message_start")
            self._part(name, data)
        return b"event: " + name + b"\ndata: " + data + b"\n\n"

    def _part(self, name: bytes, data: bytes) -> None:
        try:
            fields = _DECODE(data)
        except BAD_JSON:
            raise _unreadable(data) from None
        if name == b"content_block_delta":
            self.chunks += 1
        elif name == b"message_delta":
            if "usage" in fields:
                self._told = _meter(self._meter, fields["usage"]) or self._told
            self._reason = self._reason or _REASON.search(bytes(fields.get("delta", b""))) is not None
        elif name == b"message_stop":
            self.done = True

    def _start(self, data: bytes) -> bytes:
        try:
            fields = _DECODE(data)
            message = _DECODE(fields["message"])
        except (*BAD_JSON, KeyError):
            raise _unreadable(data) from None
        self.started = True
        if "usage" in message:
            _meter(self._meter, message["usage"])
        message["model"] = self._model
        fields["message"] = Raw(_ENCODE(message))
        return _ENCODE(fields)

    def close(self) -> bytes:
        """Return the bytes still owed at the upstream's end. A stop reason without ``message_stop`` is a complete
        answer whose last line was forgotten."""
        if self.done:
            return b""
        if self._reason:
            return _STOP
        raise Incomplete()


def _told(meter: Meter) -> Usage | None:
    usage = meter.usage()
    return replace(usage, tier=meter.tier) if usage is not None and meter.tier else usage


def _meter(meter: Meter, raw: Raw) -> bool:
    """Count what a ``usage`` tells; return whether the output's count was told."""
    try:
        counts = read(raw)
    except msgspec.DecodeError:
        return False  # usage in a shape nobody knows: the answer matters more than its count
    meter.feed(counts)
    return counts.output_tokens is not None


def _type(data: bytes) -> bytes:
    """Read the event's name from its data, where a server sends data lines only."""
    try:
        name = msgspec.json.decode(_DECODE(data)["type"])
    except (*BAD_JSON, KeyError):
        raise _unreadable(data) from None
    return str(name).encode()


def _unreadable(data: bytes) -> GatewayError:
    start = data[:80].decode("utf-8", "replace")
    return GatewayError("broken_stream", f"The upstream sent an event that is not of this dialect: {start!r}.")


def prepare(fields: dict[str, Raw], stream: bool, ask_usage: bool) -> None:
    """Change nothing: usage always comes, and ``metadata`` is a field of this API."""


def wants_usage(fields: Mapping[str, Raw]) -> bool:
    """Return True: Messages streams always carry usage."""
    return True


EDITOR = Editor(
    answer=answer, Stream=Stream, prepare=prepare, wants_usage=wants_usage, mark_cache=mark_cache
)
