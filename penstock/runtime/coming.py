"""A request's body that is still on its way: read when the gate has let the request in, and not before.

Who is refused by the head alone has cost nothing then; what a door had read together with the head is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.core.errors import GatewayError
    from penstock.runtime.held import Held, Holder
    from penstock.runtime.http.source import Source


class Coming:
    """What a door has of such a body. ``source``: its bytes. ``length``: None when the client sends it chunked.
    ``given_up``: it was asked for, and what came was not good."""

    __slots__ = ("given_up", "length", "source")

    def __init__(self, source: Source, length: int | None) -> None:
        self.source = source
        self.length = length
        self.given_up = False

    async def read(self, holder: Holder, held: Held, limit: int, too_large: Callable[[], GatewayError]) -> bytes:
        """Read the body to its end, for ``holder``. Raises ``too_large`` where more comes than ``limit`` and none
        was announced, what ``Held.take`` does, and what ended the client's sending.

        A length that was announced is taken at once: a body that is read at all is read to its end."""
        source, length = self.source, self.length
        parts: list[bytes] = []
        size = 0
        self.given_up = True
        try:
            if length is not None:
                held.take(holder, length)
            while data := await source.take():
                size += len(data)
                if length is None:
                    if size > limit:
                        raise too_large()
                    held.take(holder, len(data))
                parts.append(data)
        finally:
            source.close()
        self.given_up = False
        return parts[0] if len(parts) == 1 else b"".join(parts)
