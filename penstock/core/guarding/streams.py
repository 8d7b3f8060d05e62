"""A streamed answer on its way through rules: its events are held back, in their order, while a text in them may still
be a part of a match; then they go on, with what was masked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from penstock.core.guarding.deltas import Deltas, Piece
from penstock.core.guarding.masking import RESTORED, Masks
from penstock.core.guarding.rules import BLOCK, FLAG, Rule, Span
from penstock.core.guarding.spots import forget_logprobs, quoted
from penstock.core.guarding.window import Found, Window

MOST_HELD = 256 * 1024  # bytes of events that are held back
MOST_EVENT = 16 * 1024 * 1024  # bytes
MOST_STREAMS = 1000  # texts in one answer
_TAIL = 256  # characters of a text that was over, and goes on
_ERROR = "a text went on that seemed to be over, and what a guard looks for lies across"


class TooMuchHeld(Exception):
    """An answer would have to be held back further than it may be."""


class Blocked(Exception):
    """A rule that blocks found something. ``rule``: which."""

    def __init__(self, rule: Rule, why: str = "") -> None:
        super().__init__(why)
        self.rule = rule


class _Text:
    """One text of the answer. ``offset``: characters of its window that were sent before."""

    __slots__ = ("known", "offset", "over", "parts", "size", "spans", "tail", "window")

    def __init__(self, rules: Sequence[Rule], in_json: bool) -> None:
        self.window = Window(rules, in_json)
        self.spans: list[tuple[Span, str, str]] = []  # with what takes its place, and what is noted of that
        self.offset = self.size = self.known = 0
        self.over = False
        self.tail = ""
        self.parts: list[str] = []  # all of it, where the stream is held


class _Event(Struct, eq=False):
    """An event that is held. ``pieces``: its texts, each with the text that it is a piece of and its place there."""

    raw: bytes
    head: bytes
    body: dict[str, Any] | None
    pieces: list[tuple[Piece, _Text, int, int]]


class Stream:
    """Cuts a stream of a client's dialect into its events. ``tell``: is told of each match; what it returns takes the
    place of a masked one. ``end``: what stands behind each event. ``holds``: nothing goes on before ``put_findings``
    is told what somebody found in ``texts``."""

    def __init__(
        self,
        rules: Sequence[Rule],
        deltas: Deltas,
        masks: Masks,
        tell: Callable[[Rule, str], str],
        end: bytes = b"\n\n",
        most: int = MOST_HELD,
        holds: bool = False,
    ) -> None:
        self._rules, self._deltas, self._masks, self._tell, self._end = rules, deltas, masks, tell, end
        self._most = most
        self._holds = holds
        self._ready: list[tuple[bytes, bytes]] = []  # what goes on: to the client, and as it is noted
        self._all: list[_Text] = []  # in the order they began, where it holds
        self._begun = b""  # an event that is not whole yet
        self._events: deque[_Event] = deque()
        self._texts: dict[Hashable, _Text] = {}
        self._groups: dict[Hashable, set[Hashable]] = {}  # texts that are not over
        self.held = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes of the stream; return those that go on now: to the client, and what is noted of them, where
        values that were put back are not. Raises ``Blocked``, ``TooMuchHeld`` and ``TooMuch``."""
        *events, self._begun = (self._begun + data if self._begun else data).split(self._end)
        for event in events:
            if event:
                self._take(event + self._end)
                self._release()
        if len(self._begun) > MOST_EVENT:
            raise TooMuchHeld(f"one event of the answer is longer than {MOST_EVENT} bytes")
        return self._told()

    def close(self) -> tuple[bytes, bytes]:
        """End the stream: all of its texts are over."""
        if self._begun:
            self._take(self._begun)
            self._begun = b""
        self._finish(None)
        self._release()
        return self._told()

    def raw(self) -> bytes:
        """Give up judging: return what was let go, and all that is held, as it came."""
        data = self._told()[0] + b"".join([event.raw for event in self._events]) + self._begun
        self._events.clear()
        self._begun, self.held = b"", 0
        return data

    @property
    def texts(self) -> list[str]:
        """Return all texts of a stream that is held."""
        return ["".join(text.parts) for text in self._all]

    def put_findings(self, findings: Iterable[tuple[int, int, int, str]]) -> bytes:
        """Let a stream go that was held, with parts of its texts replaced: by the text's number, from where to where,
        and what takes its place."""
        self._holds = False
        for number, start, end, put in findings:
            text = self._all[number]
            start = max([start, *(span.end for span, _, _ in text.spans if span.start <= start)])
            if end > start:
                text.spans.append((Span(start, end, None), put, put))
        self._release()
        return self._told()[0]

    # An event. --------------------------------------------------------------------------------------------------------

    def _take(self, raw: bytes) -> None:
        self.held += len(raw)
        head, body = _opened(raw) if len(self._end) == 2 else (b"", _decoded(raw))
        event = _Event(raw, head, body, [])
        self._events.append(event)
        if body is not None:
            for piece in self._deltas.pieces(body):
                self._judge(event, piece)
            ended = self._deltas.ends(body)
            if ended is None or ended:
                self._finish(ended)

    def _judge(self, event: _Event, piece: Piece) -> None:
        text = piece.spot.text
        if piece.stream is None:
            one = _Text(self._rules, piece.spot.in_json)
            self._note(one, one.window.feed(text, True))
            one.size = one.known = len(text)
            self._keep(one, text)
            event.pieces.append((piece, one, 0, len(text)))
            return
        found = self._texts.get(piece.stream)
        if found is None:
            if len(self._texts) >= MOST_STREAMS:
                raise TooMuchHeld(f"the answer has more than {MOST_STREAMS} texts")
            found = self._texts[piece.stream] = _Text(self._rules, piece.spot.in_json)
        opened = self._groups.setdefault(piece.group, set())
        if piece.stream not in opened:
            for other in opened:
                self._end_text(self._texts[other])
            opened.clear()
            opened.add(piece.stream)
            if found.over:
                self._reopen(found)
        self._keep(found, text)
        begin = found.size
        found.size += len(text)
        found.tail = (found.tail + text)[-_TAIL:]
        self._note(found, found.window.feed(text))
        found.known = found.offset + found.window.known
        event.pieces.append((piece, found, begin, found.size))

    def _keep(self, text: _Text, part: str) -> None:
        if self._holds:
            if not text.parts:
                self._all.append(text)
            text.parts.append(part)

    def _reopen(self, text: _Text) -> None:
        """Go on with a text that seemed to be over: what is sent of it is judged again with what follows."""
        text.over, text.window = False, Window(self._rules)
        text.offset = text.size - len(text.tail)
        text.window.feed(text.tail)

    def _finish(self, groups: tuple[Hashable, ...] | None) -> None:
        for group in list(self._groups) if groups is None else groups:
            for stream in self._groups.pop(group, ()):
                self._end_text(self._texts[stream])

    def _end_text(self, text: _Text) -> None:
        self._note(text, text.window.feed("", True))
        text.known, text.over = text.size, True

    def _note(self, text: _Text, found: Sequence[Found]) -> None:
        for span, value in found:
            if text.offset and span.start + text.offset < text.known:
                if span.end + text.offset <= text.known:
                    continue  # it was found before
                if span.rule.action != FLAG:
                    self._tell(span.rule, value)
                    raise Blocked(span.rule, _ERROR)
            if span.rule.kind == RESTORED:
                put, noted = self._masks.back[value], value
            else:
                put = noted = self._tell(span.rule, value)
                if span.rule.action == BLOCK:
                    raise Blocked(span.rule)
                if span.rule.action == FLAG:
                    continue
            moved = Span(span.start + text.offset, span.end + text.offset, span.rule)
            text.spans.append((moved, put, noted))

    # What goes on. ----------------------------------------------------------------------------------------------------

    def _release(self) -> None:
        events = self._events
        while events and not self._holds:
            event = events[0]
            if any(text.known < end for _, text, _, end in event.pieces):
                break
            events.popleft()
            self.held -= len(event.raw)
            self._ready.append(_rendered(event, self._end))
        if self.held > self._most:
            raise TooMuchHeld(f"over {self._most} bytes of the answer would have to be held back")

    def _told(self) -> tuple[bytes, bytes]:
        ready, self._ready = self._ready, []
        told = b"".join([one for one, _ in ready])
        if all(one is other for one, other in ready):
            return told, told
        return told, b"".join([other for _, other in ready])


def _opened(raw: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """Take a server-sent event apart: what stands before its data, and that."""
    at = 0 if raw.startswith(b"data:") else raw.find(b"\ndata:") + 1
    if not at and not raw.startswith(b"data:"):
        return b"", None
    return raw[:at], _decoded(raw[at + 5 :])


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(data.replace(b"\ndata:", b"\n"))
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _rendered(event: _Event, end: bytes) -> tuple[bytes, bytes]:
    """Write an event with what takes the place of what was found in it; for the client, and for notes."""
    changed, put_back = False, False
    edits: list[tuple[Piece, str, str]] = []
    for piece, text, begin, finish in event.pieces:
        if text.spans and (edit := _edited(piece, text, begin, finish)) is not None:
            edits.append((piece, *edit))
            changed = True
            put_back = put_back or edit[0] != edit[1]
    if not changed or event.body is None:
        return event.raw, event.raw
    prefix = event.head + b"data: " if len(end) == 2 else b""
    told = []
    forget_logprobs(event.body)
    for which in (1, 2) if put_back else (1,):
        for change in edits:
            change[0].spot.holder[change[0].spot.key] = change[which]
        told.append(prefix + msgspec.json.encode(event.body) + end)
    return told[0], told[-1]


def _edited(piece: Piece, text: _Text, begin: int, end: int) -> tuple[str, str] | None:
    """Return what becomes of a piece from ``begin`` to ``end`` of its text; None where nothing of it changes. What
    takes the place of a match stands in the piece in which that begins."""
    found = [one for one in text.spans if one[0].start < end and one[0].end > begin]
    if not found:
        return None
    own, at = piece.spot.text, begin
    told: list[str] = []
    noted: list[str] = []
    for span, put, note in sorted(found, key=_place):
        before = own[at - begin : max(at, span.start) - begin]
        first = span.start >= begin
        told += (before, (quoted(put) if piece.spot.in_json else put) if first else "")
        noted += (before, note if first else "")
        at = max(at, span.end)
    rest = own[max(0, at - begin) :]
    text.spans = [one for one in text.spans if one[0].end > begin - _TAIL]
    return "".join(told) + rest, "".join(noted) + rest


def _place(found: tuple[Span, str, str]) -> int:
    return found[0].start
