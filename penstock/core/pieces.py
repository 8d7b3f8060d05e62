"""Text or bytes that come in pieces and are needed whole at the end."""

from __future__ import annotations

from typing import AnyStr, Generic

_MOST = 512  # pieces before they are put together: each takes up to 60 bytes beside its text


class Pieces(Generic[AnyStr]):
    """The pieces of a whole. ``size``: its length so far. Each piece is put together with its neighbours once: joined
    with all that stands before it, a long text in short pieces would cost its square."""

    __slots__ = ("_empty", "_joined", "_last", "size")

    def __init__(self, empty: AnyStr) -> None:
        self._empty: AnyStr = empty
        self._joined: list[AnyStr] = []
        self._last: list[AnyStr] = []
        self.size = 0

    def add(self, piece: AnyStr) -> None:
        """Keep one more piece."""
        last = self._last
        last.append(piece)
        self.size += len(piece)
        if len(last) > _MOST:
            self._joined.append(self._empty.join(last))
            last.clear()

    def take(self) -> AnyStr:
        """Return the whole, and begin anew."""
        whole: AnyStr = self._empty.join(self._joined + self._last if self._joined else self._last)
        self._joined, self._last, self.size = [], [], 0
        return whole
