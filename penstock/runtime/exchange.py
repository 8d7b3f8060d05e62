"""One request and the way to answer it, the same for every door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from penstock.core.errors import GatewayError
    from penstock.runtime.call import Call
    from penstock.runtime.http import Driven
    from penstock.runtime.ops.upload import Upload


class Source(Protocol):
    """What feeds a streamed answer: told to hold back while the client does not read."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Exchange:
    """What a door hands to the gateway. ``headers``: lower-case names; a name that came twice has its values joined by
    ", " (RFC 9110, 5.3), so a doubled Host or Authorization is never one of the two. ``path`` is percent-decoded.

    Answer with ``whole``, or with ``start``, ``write``* and ``finish``. ``headers`` of an answer are finished lines,
    each ended by CRLF; the door adds framing (content-length or chunked, connection). ``abort`` cuts the connection:
    the client must see that the answer is not complete. The door cancels the gateway's task when the client leaves.
    """

    __slots__ = (
        "body",
        "bytes_out",
        "call",
        "client",
        "ending",
        "gone",
        "headers",
        "method",
        "path",
        "query",
        "responded",
        "started",
        "task",
    )

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes  # of an upload that is passed on as it comes: the ``Upload``, of which only the length is of use
    client: str
    responded: bool  # a status line was sent
    bytes_out: int  # body bytes
    gone: bool  # the client left
    call: Call | None  # the engine's view of it, once there is one
    task: asyncio.Task[None] | Driven | None  # the gateway's work on it
    ending: GatewayError | None  # why the task was cancelled, when the client did not leave
    started: float  # the loop's clock when the request's last byte had come; of an upload, when its head had
    upload: Upload | None = None  # a form that is still on its way

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        raise TypeError("a door answers")

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        """``framing``: a finished content-length line where the length is known, b"" where there is no body (HEAD, 204,
        304); None: the door frames, chunked."""
        raise TypeError("a door answers")

    def raw_path(self) -> bytes:
        """The path as the client sent it, percent-encoded."""
        return quote(self.path).encode()

    def write(self, data: bytes) -> None:
        raise TypeError("a door answers")

    def finish(self, close: bool = False) -> None:
        raise TypeError("a door answers")

    def abort(self) -> None:
        raise TypeError("a door answers")

    def feed_from(self, source: Source | None) -> None:
        """Who to hold back while the client reads slower than the upstream writes; None when it is over."""
        raise TypeError("a door answers")
