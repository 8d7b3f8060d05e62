"""``multipart/form-data`` (RFC 7578) as it arrives: the parts of a form of which no more than a few bytes are held, and
the form with its model replaced while a file in it is still on its way.

``forms`` does the same to a body that is there as a whole. Both find the same parts, however the bytes are cut; a
parser of our own, because a rewritten form is the client's own bytes but for the fields that change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.core.ops.forms import MAX_FIELD, MAX_HEAD, MAX_PARTS, Part, broken, field, names, plain_fields

MAX_FIELDS = 4 * 1024 * 1024  # bytes of all plain fields together
HEAD_KEPT = 64 * 1024  # bytes of a file's beginning: enough for the head of a WAV file
_LINE = 200  # bytes from a boundary to the end of its line
_START, _AFTER_BOUNDARY, _HEAD, _BODY, _DONE = range(5)


class Opened(NamedTuple):
    """A part begins. ``head``: its bytes from the boundary to the empty line, both included."""

    name: str
    filename: str | None
    head: bytes


class Content(NamedTuple):
    """The next bytes of the part that is open."""

    data: bytes


class Closed(NamedTuple):
    """The part that was open is complete."""


class Ended(NamedTuple):
    """The form is complete; what may follow is nobody's."""


Event = Opened | Content | Closed | Ended


class Reader:
    """Bytes in, events out. ``parts``: every part that is complete, where it was in all the bytes fed.

    ``pending``: bytes fed that no event has told of yet, at the end of what was fed."""

    def __init__(self, boundary: bytes) -> None:
        self.parts: list[Part] = []
        self._mark = b"--" + boundary
        self._delimiter = b"\r\n" + self._mark
        self._state = _START
        self._rest = b""
        self._at = 0  # where ``_rest`` begins in all the bytes fed
        self._fresh = 0  # bytes of ``_rest`` that belong to the head of the part that is open
        self._after = 0  # bytes behind the end
        self._line = 0  # length of what stood between the boundary and its line's end
        self._open: tuple[str, str | None, int, int] | None = None  # name, filename, begin, start

    @property
    def pending(self) -> int:
        if self._state == _DONE:
            return len(self._mark) + 2 + self._after
        waiting = len(self._mark) if self._state in (_AFTER_BOUNDARY, _HEAD) else 0
        return waiting + len(self._rest) - self._fresh

    @property
    def done(self) -> bool:
        return self._state == _DONE

    def feed(self, data: bytes) -> list[Event]:
        """Feed more bytes in, and return the events they complete. Raises "bad_request" as soon as the bytes cannot
        become a form."""
        events: list[Event] = []
        if self._state == _DONE:
            self._after += len(data)
            return events
        self._rest += data
        steps = (self._first, self._boundary, self._head, self._body)
        while self._state != _DONE and steps[self._state](events):
            pass
        return events

    def close(self) -> None:
        """End the form: no more bytes come. Raises "bad_request" for one that is not whole."""
        if self._state == _START:
            raise broken("its boundary is not in it")
        if self._state != _DONE:
            raise broken("it is cut short")

    def _skip(self, count: int) -> None:
        self._rest = self._rest[count:]
        self._at += count

    def _first(self, events: list[Event]) -> bool:
        rest, mark = self._rest, self._mark
        if self._at == 0 and len(rest) < len(mark) and mark.startswith(rest):
            return False
        if self._at == 0 and rest.startswith(mark):
            self._skip(len(mark))
        else:
            at = rest.find(self._delimiter)
            if at < 0:  # a preamble, which nobody reads
                # Never back to 0: a boundary that stands at the very beginning was looked for already.
                self._skip(max(0, len(rest) - len(self._delimiter) + 1))
                return False
            self._skip(at + len(self._delimiter))
        self._state = _AFTER_BOUNDARY
        return True

    def _boundary(self, events: list[Event]) -> bool:
        rest = self._rest
        if rest.startswith(b"--"):
            events.append(Ended())
            self._state = _DONE
            self._after = len(rest) - 2
            self._rest = b""
            return False
        if len(rest) < 2:
            return False
        line = rest.find(b"\r\n", 0, _LINE)
        if line < 0:
            if len(rest) >= _LINE:
                raise broken("a boundary has no end")
            return False
        if rest[:line].strip():
            raise broken("a boundary has no end")
        self._line = line
        self._state = _HEAD
        return True

    def _head(self, events: list[Event]) -> bool:
        rest, line = self._rest, self._line
        end = rest.find(b"\r\n\r\n", line, line + MAX_HEAD)
        if end < 0:
            if len(rest) - line >= MAX_HEAD:
                raise broken(f"the head of a part is over {MAX_HEAD} bytes")
            return False
        if len(self.parts) >= MAX_PARTS:
            raise broken(f"it has over {MAX_PARTS} parts")
        name, filename = names(rest[line + 2 : end])
        self._open = (name, filename, self._at - len(self._mark), self._at + end + 4)
        events.append(Opened(name, filename, self._mark + rest[: end + 4]))
        # A part without content may do without the line break before its boundary.
        self._skip(end + 2)
        self._fresh = 2
        self._state = _BODY
        return True

    def _body(self, events: list[Event]) -> bool:
        rest, fresh = self._rest, self._fresh
        end = rest.find(self._delimiter)
        upto = end if end >= 0 else len(rest) - len(self._delimiter) + 1
        if upto > fresh:
            events.append(Content(rest[fresh:upto]))
        if end < 0:
            if upto > fresh:
                self._fresh = 0
                self._skip(upto)
            return False
        assert self._open is not None
        name, filename, begin, start = self._open
        self.parts.append(Part(name, filename, begin, start, max(self._at + end, start)))
        events.append(Closed())
        self._fresh = 0
        self._skip(end + len(self._delimiter))
        self._state = _AFTER_BOUNDARY
        return True


class Form:
    """What is known of a form so far: its plain fields (bounded), and of the file ``watched`` its first bytes and its
    length. ``file_open``: the last part that began is a file."""

    def __init__(self, boundary: bytes, watched: str = "file") -> None:
        self.reader = Reader(boundary)
        self.file_open = False
        self.file_head = b""
        self.file_size = 0
        self.names: set[str] = set()  # of complete plain fields
        self._watched = watched
        self._watching = False
        self._values: list[tuple[str, str | None, bytes]] = []
        self._value: list[bytes] = []
        self._size = self._total = 0
        self._part: Opened | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Feed more bytes in, and return the events they complete. Raises "bad_request" for what is no form, and for
        plain fields that are too long."""
        events = self.reader.feed(data)
        for event in events:
            if isinstance(event, Content):
                self._content(event.data)
            elif isinstance(event, Opened):
                self._part = event
                self.file_open = event.filename is not None
                self._watching = self.file_open and event.name == self._watched and not self.file_size
            elif isinstance(event, Closed):
                self._close_part()
        return events

    def fields(self) -> dict[str, Raw]:
        """Return the complete plain fields as ``forms.fields_of`` has them."""
        return plain_fields(self._values)

    def _content(self, data: bytes) -> None:
        assert self._part is not None
        if self.file_open:
            if self._watching:
                self.file_size += len(data)
                if len(self.file_head) < HEAD_KEPT:
                    self.file_head += data[: HEAD_KEPT - len(self.file_head)]
            return
        self._value.append(data)
        self._size += len(data)
        self._total += len(data)
        if self._size > MAX_FIELD:
            raise field(self._part.name, f"is over {MAX_FIELD} bytes long")
        if self._total > MAX_FIELDS:
            text = f"The plain fields of the form are over {MAX_FIELDS} bytes in all; a file has a file name."
            raise GatewayError("bad_request", text)

    def _close_part(self) -> None:
        assert self._part is not None
        name, filename, _ = self._part
        self._values.append((name, filename, b"".join(self._value)))
        if filename is None:
            self.names.add(name)
        self._value = []
        self._size = 0
        self._watching = False


class Rewriter:
    """A form with the fields of ``changes`` replaced, those of ``leave`` left out, and those of ``adds`` put behind the
    others where the client sends none of that name. Files pass as they come."""

    def __init__(
        self, boundary: bytes, changes: Mapping[str, bytes], adds: Mapping[str, bytes], leave: frozenset[str]
    ) -> None:
        self.form = Form(boundary)
        self._mark = b"--" + boundary
        self._changes = changes
        self._adds = dict(adds)
        self._leave = leave
        self._fed = self._out = 0
        self._dropping = self._skipping = False

    def feed(self, data: bytes) -> bytes:
        """Feed more bytes in, and return what can be passed on now."""
        self._fed += len(data)
        out: list[bytes] = []
        for event in self.form.feed(data):
            if isinstance(event, Content):
                if not self._skipping:
                    out.append(event.data)
            elif isinstance(event, Opened):
                self._open(event, out)
            elif isinstance(event, Closed):
                if not self._dropping:
                    out.append(b"\r\n")
        whole = out[0] if len(out) == 1 else b"".join(out)
        self._out += len(whole)
        return whole

    def _open(self, part: Opened, out: list[bytes]) -> None:
        name = part.name if part.filename is None else ""
        self._dropping = bool(name) and name in self._leave
        self._skipping = self._dropping
        self._adds.pop(name, None)
        if self._dropping:
            return
        out.append(part.head)
        if name and name in self._changes:
            self._skipping = True
            out.append(self._changes[name])

    def size(self, length: int) -> int:
        """Return how long the new form is when the client's has ``length`` bytes: asked for when all fields that are to
        be replaced have passed. What is left out or not added later is made up for behind the last boundary, where
        nobody reads (RFC 2046, 5.1.1): so the length can be told before the file has come."""
        return length + self._out - (self._fed - self.form.reader.pending) + len(self._added())

    def finish(self, size: int | None) -> bytes:
        """Return the end of the form. ``size``: what ``size`` told. Raises "bad_request" for a form that is not whole,
        and for fields that contradict each other."""
        self.form.reader.close()
        self.form.fields()
        end = self._added() + self._mark + b"--"
        if size is None:
            return end + b"\r\n"
        room = size - self._out - len(end)
        return end + (b"\r\n" + b" " * room)[: max(0, room)]

    def _added(self) -> bytes:
        head = b'%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        return b"".join(head % (self._mark, name.encode(), value) for name, value in self._adds.items())
