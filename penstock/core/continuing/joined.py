"""Two answers as one stream: the events of a continuation, told to a client that has the beginning."""

from __future__ import annotations

from msgspec.structs import replace

from penstock.core.continuing.seam import Seam
from penstock.core.continuing.told import Told
from penstock.core.dialects.base import StreamEncoder
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Citation,
    Close,
    Delta,
    End,
    Event,
    Logprobs,
    Loss,
    Open,
    Start,
    Stop,
    Text,
    Thinking,
    Usage,
    added,
)


class Joined:
    """A ``StreamEncoder`` that goes on where another stream broke off.

    ``encoder``: the client's, in the state in which it would be if it had told what is out (``Dialect.resume``).
    ``told``: that. ``seam``: for the text that goes on. ``used``: by the answers before.

    There is no second start. The first text goes on in the open one; other blocks come after it. Thoughts of the second
    answer behind a text are left out: they are of an answer that the client does not see from its beginning."""

    def __init__(self, encoder: StreamEncoder, told: Told, seam: Seam, used: Usage | None) -> None:
        self.losses: list[Loss] = encoder.losses
        self._encoder = encoder
        self._open = told.open  # the text that goes on; -1 when it is closed, or there is none
        self._base = told.next
        self._size = len(told.text)
        self._seam = seam
        self._used = used
        self._text = -1  # the second answer's own index of the text that goes on
        self._left_out = -1  # and of a thought

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            return self._delta(event)
        if isinstance(event, Open):
            return self._opened(event)
        if isinstance(event, Close):
            return self._closed(event.index)
        if isinstance(event, (Start, Logprobs)):
            return b""
        if isinstance(event, Stop):
            return self._shut() + self._encoder.feed(event)
        if isinstance(event, End):
            used = event.usage
            if used is not None and self._used is not None:
                used = added(self._used, used)
            return self._shut() + self._encoder.feed(End(used))
        return self._encoder.feed(event)

    def fail(self, error: GatewayError) -> bytes:
        return self._encoder.fail(error)

    def ping(self) -> bytes:
        return self._encoder.ping()

    def _opened(self, event: Open) -> bytes:
        block = event.block
        if self._open >= 0 and event.choice == 0:
            if isinstance(block, Text) and self._text < 0:
                self._text = event.index
                return b""
            if isinstance(block, Thinking) and self._text < 0:
                self._left_out = event.index
                self.losses.append(Loss(f"blocks.{event.index}", "a thought behind the text that it continues"))
                return b""
        return self._shut() + self._encoder.feed(replace(event, index=self._base + event.index))

    def _delta(self, event: Delta) -> bytes:
        index = event.index
        if index == self._left_out:
            return b""
        if index != self._text:
            return self._encoder.feed(replace(event, index=self._base + index))
        out = b""
        if event.text:
            text = self._seam.feed(event.text)
            out = self._encoder.feed(Delta(self._open, text)) if text else b""
        if event.citation is not None:
            out += self._flush()
            out += self._encoder.feed(Delta(self._open, citation=self._moved(event.citation)))
        return out

    def _closed(self, index: int) -> bytes:
        if index == self._left_out:
            self._left_out = -1
            return b""
        if index == self._text:
            return self._shut()
        return self._encoder.feed(Close(self._base + index))

    def _flush(self) -> bytes:
        rest = self._seam.close()
        return self._encoder.feed(Delta(self._open, rest)) if rest else b""

    def _shut(self) -> bytes:
        """Close the text that goes on, if it is open."""
        if self._open < 0:
            return b""
        out = self._flush() + self._encoder.feed(Close(self._open))
        self._open = self._text = -1
        return out

    def _moved(self, citation: Citation) -> Citation:
        """Count a citation's place from where the text began."""
        if citation.start < 0:
            return citation
        by = self._size - self._seam.cut
        return replace(citation, start=citation.start + by, end=citation.end + by)
