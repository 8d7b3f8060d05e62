"""What a client has of a streamed answer, and whether it is one that somebody else can go on with."""

from __future__ import annotations

from penstock.core.ir import Close, Delta, Event, Opaque, Open, Other, Start, Text, Thinking

MOST = 1_000_000  # characters that are kept; a longer answer is not continued
_BESIDE = ("message_start.", "candidates.")  # fields beside an answer that say nothing of it (tiers, safety ratings)


class _Begun:
    __slots__ = ("closed", "open", "pieces")

    def __init__(self, open: Open) -> None:
        self.open = open
        self.pieces: list[str] = []
        self.closed = False


class Told:
    """A fold of the events that a client got. ``plain``: there is nothing among them but one text that is not over, and
    thoughts before it that are.

    A call half out cannot be taken back, a seal holds for the thought of one model alone, a choice or a log probability
    has a place that nobody else knows: with any of them an answer is never continued."""

    __slots__ = ("_blocks", "_size", "plain", "start")

    def __init__(self) -> None:
        self.plain = True
        self.start: Start | None = None
        self._blocks: list[_Begun] = []
        self._size = 0

    @property
    def can_go_on(self) -> bool:
        """Tell whether somebody else can go on with the answer."""
        return self.plain and self.start is not None and all(b.closed or b is self._text for b in self._blocks)

    @property
    def _text(self) -> _Begun | None:
        """Return the text that is not over, which is the last block."""
        last = self._blocks[-1] if self._blocks else None
        return last if last is not None and isinstance(last.open.block, Text) else None

    @property
    def open(self) -> int:
        """Return the index of the text that goes on; -1 while none has begun."""
        text = self._text
        return -1 if text is None else text.open.index

    @property
    def next(self) -> int:
        """Return the index of the block after all of these."""
        return max((begun.open.index + 1 for begun in self._blocks), default=0)

    @property
    def text(self) -> str:
        """Return the text so far."""
        text = self._text
        return "" if text is None else "".join(text.pieces)

    def feed(self, event: Event) -> None:
        """Take the next event; one that rules out that anybody goes on clears ``plain``."""
        if isinstance(event, Delta):
            self._add(event)
        elif isinstance(event, Open):
            self._open(event)
        elif isinstance(event, Close):
            self._close(event)
        elif isinstance(event, Start):
            self.start = event
        elif not (isinstance(event, Other) and _is_beside(event.opaque)):
            self.give_up()

    def give_up(self) -> None:
        """Forget the answer: it is not one to be continued."""
        self.plain = False
        self._blocks.clear()

    def events(self) -> list[Event]:
        """Return the events that tell what is out, each text in one piece."""
        out: list[Event] = [self.start or Start("", "")]
        for begun in self._blocks:
            out.append(begun.open)
            text = "".join(begun.pieces)
            if text:
                out.append(Delta(begun.open.index, text))
            if begun.closed:
                out.append(Close(begun.open.index))
        return out

    def _add(self, event: Delta) -> None:
        last = self._blocks[-1] if self._blocks else None
        if last is None or last.open.index != event.index or last.closed:
            self.give_up()
            return
        self._size += len(event.text)
        if event.seal is not None or event.citation is not None or self._size > MOST:
            self.give_up()
        elif event.text:
            last.pieces.append(event.text)

    def _open(self, event: Open) -> None:
        block = event.block
        thought = isinstance(block, Thinking) and not block.redacted and block.seal is None
        if event.choice or self._text is not None or not (thought or isinstance(block, Text)):
            self.give_up()
        else:
            self._blocks.append(_Begun(event))

    def _close(self, event: Close) -> None:
        for begun in self._blocks:
            if begun.open.index == event.index:
                begun.closed = True
                if begun is self._text:  # and what comes after it nobody knows: a call perhaps, or the end
                    self.give_up()
                return


def _is_beside(opaque: Opaque) -> bool:
    return opaque.kind.startswith(_BESIDE)
