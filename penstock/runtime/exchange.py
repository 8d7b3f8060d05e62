"""One request as a door hands it in, and the way to answer it: the same for every door, and for the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from penstock.core.errors import GatewayError
    from penstock.runtime.coming import Coming
    from penstock.runtime.http import Driven
    from penstock.runtime.http.source import Source as BodySource
    from penstock.runtime.http.websocket import Message, SocketClosed
    from penstock.runtime.ops.upload import Upload


class Source(Protocol):
    """What feeds a streamed answer: told to hold back while the client does not read."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class ClientSocket(Protocol):
    """The client's end of a WebSocket; ``runtime.http.websocket`` says what each does."""

    @property
    def closed(self) -> SocketClosed | None: ...
    async def receive(self) -> Message: ...
    async def send(self, message: Message) -> None: ...
    async def room(self) -> None: ...
    async def ended(self) -> None: ...
    def push(self, message: Message) -> None: ...
    def feed_from(self, fed: Source | None) -> None: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...


class AnsweredCall(Protocol):
    """What an exchange knows of the call that it became: enough for signs of life and for its end."""

    call_id: str


class Exchange:
    """What a door hands in. ``headers``: lower-case names; a name that came twice has its values joined by ", "
    (RFC 9110, 5.3), so a doubled Host or Authorization is never one of the two. ``path`` is percent-decoded.

    Its life: made by a door when the request is there (or its head, see ``coming``); becomes a ``Call``; is answered by
    that call's ``Outlet`` and nobody else, with ``whole``, or with ``start``, ``write``* and ``finish``, or cut off
    with ``abort``; is over then. ``headers`` of an answer are finished lines, each ended by CRLF; the door adds framing
    (content-length or chunked, connection). ``abort`` cuts the connection: the client must see that the answer is not
    complete. The door cancels the gateway's work when the client leaves.

    A door that makes very many may set the fields by itself, all of them.
    """

    __slots__ = (
        "body", "bytes_out", "call", "client", "coming", "ending", "gone", "headers", "held", "hushed", "method",
        "path", "query", "responded", "started", "task",
    )  # fmt: skip

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes  # nothing, of an upload that is passed on as it comes
    held: int  # bytes of ``runtime.held.Held`` that are taken for it: of its body, and of whole answers to it
    client: str
    hushed: bool  # it is known that no header says anything about routing
    responded: bool  # a status line was sent
    bytes_out: int  # body bytes
    gone: bool  # the client left
    call: AnsweredCall | None  # what became of it, until the answer is out
    task: asyncio.Task[None] | Driven | None  # the gateway's work on it
    ending: GatewayError | None  # why the task was cancelled, when the client did not leave
    started: float  # the loop's clock when the request's last byte had come; of an upload, when its head had
    coming: Coming | BodySource | None  # the body, where it was not there with its head
    upload: Upload | None = None  # a form that is passed on as it comes
    copied = False  # it is a copy of another request, see ``mirror``
    inner = False  # the gateway itself asks, for another request
    flushes = False  # whoever asks flushes the engine as soon as it is answered, because the record is waited for
    winds_down: Callable[[], None] | None = None  # of a WebSocket: ends it as soon as nothing is being answered on it

    @property
    def bytes_in(self) -> int:
        """Count the bytes of the body: of an upload, those that have come."""
        return len(self.body) if self.upload is None else len(self.upload)

    def __init__(
        self,
        method: str = "POST",
        path: str = "/",
        headers: Mapping[bytes, bytes] | None = None,
        body: bytes = b"",
        *,
        query: bytes = b"",
        client: str = "",
        started: float = 0.0,
    ) -> None:
        self.method, self.path, self.query, self.body = method, path, query, body
        self.headers = dict(headers or {})
        self.client, self.started = client, started
        self.responded = self.gone = self.hushed = False
        self.bytes_out = self.held = 0
        self.call = self.task = self.ending = self.coming = None

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        raise TypeError("a door answers")

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        """Begin an answer. ``framing``: a finished content-length line where the length is known, b"" where there is no
        body (HEAD, 204, 304); None: the door frames, chunked."""
        raise TypeError("a door answers")

    def raw_path(self) -> bytes:
        """Return the path as the client sent it, percent-encoded."""
        return quote(self.path).encode()

    def upgrade(self, headers: bytes, subprotocol: str) -> ClientSocket:
        """Answer a request for a WebSocket with the socket that it asks for. ``headers``: finished lines."""
        raise TypeError("a door answers")

    def ends_by(self, winds_down: Callable[[], None] | None) -> None:
        """Note what ends a WebSocket, see ``winds_down``; None when it is over."""
        raise TypeError("a door answers")

    def write(self, data: bytes) -> None:
        raise TypeError("a door answers")

    def finish(self) -> None:
        raise TypeError("a door answers")

    def abort(self) -> None:
        raise TypeError("a door answers")

    def feed_from(self, source: Source | None) -> None:
        """Note whom to hold back while the client reads slower than the upstream writes; None when it is over."""
        raise TypeError("a door answers")


class CollectedExchange(Exchange):
    """An exchange without a wire: it keeps its answer, for callers in the same process. ``finished``: the answer is
    complete; an aborted one never is."""

    __slots__ = ("aborted", "answer", "finished", "head", "status")

    def __init__(
        self,
        method: str = "POST",
        path: str = "/",
        headers: Mapping[bytes, bytes] | None = None,
        body: bytes = b"",
        *,
        query: bytes = b"",
        client: str = "",
        started: float = 0.0,
    ) -> None:
        super().__init__(method, path, headers, body, query=query, client=client, started=started)
        self.status = 0
        self.head = b""
        self.answer = b""
        self.finished = self.aborted = False

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        self.start(status, headers)
        self.write(body)
        self.finish()

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        self.responded = True
        self.status, self.head = status, headers

    def write(self, data: bytes) -> None:
        self.answer += data
        self.bytes_out += len(data)

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    def feed_from(self, source: Source | None) -> None:
        return None
