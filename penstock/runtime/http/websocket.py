"""One end of a WebSocket (RFC 6455), towards a client or an upstream. The frames are the library's (``websockets``,
without its I/O); here are the connection, whole messages, room, signs of life, and the end.

Extensions are neither offered nor taken: what passes would be compressed and read twice for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from websockets.exceptions import InvalidState
from websockets.frames import BINARY, CLOSE, CONT, PONG, TEXT, Frame
from websockets.http11 import Response
from websockets.protocol import OPEN, SERVER
from websockets.protocol import Protocol as Frames

from penstock.core.errors import shed

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.client import ClientProtocol

    from penstock.runtime.http.origin import Origin

MAX_MESSAGE = 32 * 1024 * 1024  # bytes of one message, in all of its frames; OpenAI's largest are under 16 MB
HIGH, LOW = 256 * 1024, 64 * 1024  # bytes of messages that nobody has taken, from which and to which reading waits
COST = 256  # bytes that a message costs beside its own: very many empty ones are not free
MAX_PONGS = 1024 * 1024  # bytes not yet written, beyond which a peer that pings and does not read is not read either
PING_EVERY = 20.0
DEAD = 60.0  # seconds without a sign of life after which a peer is gone
STALL = 120.0  # seconds that a peer may refuse to read
GOODBYE = 5.0  # seconds for the peer's side of the closing handshake
NORMAL, GOING_AWAY, NOTHING_TOLD, ABNORMAL, NOT_TEXT, FAILED = 1000, 1001, 1005, 1006, 1007, 1011
LONGEST_REASON = 123  # bytes (5.5)
_QUIET = logging.getLogger("penstock.websockets")
_QUIET.setLevel(logging.WARNING)  # its DEBUG lines would show what is said
_QUIET.propagate = False


class Message(NamedTuple):
    """A whole message. ``text``: its bytes are UTF-8, else they are any."""

    data: bytes
    text: bool = True


class SocketClosed(Exception):
    """The socket is closed. ``code`` and ``reason``: the peer's, or 1006 where it said nothing; what is wrong with its
    frames, where that was the end (1002, 1007, 1009)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code}{': ' + reason if reason else ''}")
        self.code, self.reason = code, reason


class Fed(Protocol):
    """Whoever writes much, and can be told to wait."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class WebSocket(asyncio.Protocol):
    """One end. ``receive`` and ``send`` wait for messages and for room; ``push`` does not wait. ``closed`` is set at
    the end, whoever brought it about."""

    def __init__(self, loop: asyncio.AbstractEventLoop, frames: Frames, origin: Origin | None = None) -> None:
        self.loop = loop
        self.origin = cast("Origin", origin)  # of an upstream: whoever connects asks for it
        self.connect_ms = 0.0
        self.transport: asyncio.Transport
        self.closed: SocketClosed | None = None
        self.answer: Response | None = None  # to the handshake of a client
        self.on_end: Callable[[], None] | None = None
        self.heard = monotonic()
        self._frames = frames
        self._messages: deque[Message] = deque()
        self._size = 0
        self._parts = bytearray()
        self._text = True
        self._waiters: set[asyncio.Future[None]] = set()
        self._full = self._held = False
        self._stalled_at = 0.0
        self._fed: Fed | None = None
        self._timer: asyncio.TimerHandle | None = None

    # The transport's side. --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._timer = self.loop.call_later(PING_EVERY, self._tick)

    def data_received(self, data: bytes) -> None:
        self.heard = monotonic()
        if self._frames.reader.eof:
            return
        self._frames.receive_data(data)
        self._flush()
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._take(event)
            elif isinstance(event, Response):
                self.answer = event
        if self._frames.parser_exc is not None and self.closed is None:
            told = self._frames.close_sent
            self._end(SocketClosed(ABNORMAL, "") if told is None else SocketClosed(told.code, told.reason))
            self._part()
        self._hold()
        self._wake()

    def eof_received(self) -> bool:
        self._no_more()
        return False

    def _no_more(self) -> None:
        """Tell the reader of frames that the peer sends nothing more. It keeps the error that this may be, whose
        traceback leads back to here: a circle."""
        self._frames.receive_eof()
        if self._frames.parser_exc is not None:
            shed(self._frames.parser_exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_more()
        if self._timer is not None:
            self._timer.cancel()
        self._end(SocketClosed(ABNORMAL))
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()

    def pause_writing(self) -> None:
        self._full = True
        self._stalled_at = monotonic()
        if self._fed is not None:
            self._fed.pause()

    def resume_writing(self) -> None:
        self._full = False
        if self._fed is not None:
            self._fed.resume()
        self._hold()
        self._wake()

    def _take(self, frame: Frame) -> None:
        if frame.opcode is CLOSE:
            told = self._frames.close_rcvd
            self._end(SocketClosed(ABNORMAL) if told is None else SocketClosed(told.code, told.reason))
            self._part()
        elif frame.opcode in (TEXT, BINARY, CONT):
            if frame.opcode is not CONT:
                self._text = frame.opcode is TEXT
            if not frame.fin or self._parts:
                self._parts += frame.data  # and no list of them: they may be very many, of a byte each
            if frame.fin:
                self._complete(bytes(self._parts or frame.data))
        elif frame.opcode is PONG:
            self.heard = monotonic()

    def _complete(self, data: bytes) -> None:
        self._parts.clear()
        if self._text and not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                self._frames.fail(NOT_TEXT, "a text message that is not UTF-8")
                self._flush()
                self._end(SocketClosed(NOT_TEXT, "a text message that is not UTF-8"))
                self._part()
                return
        self._messages.append(Message(data, self._text))
        self._size += len(data) + COST

    def _hold(self) -> None:
        """Read no more while there is much that nobody takes; go on when there is little."""
        waiting = self.transport.get_write_buffer_size()
        if self.closed is not None or self.transport.is_closing():
            wanted = False  # what still comes is the end
        elif self._held:
            wanted = self._size > LOW or waiting > MAX_PONGS
        else:
            wanted = self._size > HIGH or waiting > MAX_PONGS
        if wanted and not self._held:
            self.transport.pause_reading()
        elif self._held and not wanted and not self.transport.is_closing():
            self.transport.resume_reading()
        self._held = wanted

    def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if self.transport.is_closing():
                return
            if data:
                self.transport.write(data)
            elif self._frames.side is SERVER:
                self.transport.close()  # behind what is written: the server closes first (7.1.1)
            elif self.transport.can_write_eof():
                self.transport.write_eof()

    def _end(self, closed: SocketClosed) -> None:
        if self.closed is None:
            self.closed = closed
            self._parts.clear()
            self._wake()

    def _part(self) -> None:
        """Give the peer a little time to close the connection, then cut it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(GOODBYE, self.transport.abort)

    def _tick(self) -> None:
        now = monotonic()
        if self._held:
            self.heard = now  # we do not listen
        silent = now - self.heard > DEAD
        if silent or (self._full and now - self._stalled_at > STALL):
            self.transport.abort()
            return
        if self._frames.state is OPEN:
            self._frames.send_ping(b"")
            self._flush()
        self._timer = self.loop.call_later(PING_EVERY, self._tick)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _changed(self) -> None:
        """Wait until something happens."""
        waiter = self.loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    # Its user's side. -------------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next message. Raises ``SocketClosed`` behind the last one."""
        while not self._messages:
            if self.closed is not None:
                raise SocketClosed(self.closed.code, self.closed.reason)
            await self._changed()
        message = self._messages.popleft()
        self._size -= len(message.data) + COST
        if self._held:
            self._hold()
        return message

    def push(self, message: Message) -> None:
        """Write a message, whether or not there is room. Raises ``SocketClosed``."""
        if self.closed is not None or self._frames.state is not OPEN:
            raise SocketClosed(ABNORMAL) if self.closed is None else SocketClosed(self.closed.code, self.closed.reason)
        if message.text:
            self._frames.send_text(message.data)
        else:
            self._frames.send_binary(message.data)
        self._flush()

    async def room(self) -> None:
        """Wait until the peer has read enough, or is gone."""
        while self._full and self.closed is None:
            await self._changed()

    async def send(self, message: Message) -> None:
        """Write a message when there is room. Raises ``SocketClosed``."""
        await self.room()
        self.push(message)

    def feed_from(self, fed: Fed | None) -> None:
        """Note who is to wait while the peer does not read; None when it is over."""
        self._fed = fed
        if fed is not None and self._full:
            fed.pause()

    async def ended(self) -> None:
        """Wait until it is closed."""
        while self.closed is None:
            await self._changed()

    async def opened(self) -> None:
        """Wait for the answer to a client's handshake: ``answer`` is set where it came whole. True ends have
        ``closed``."""
        while self.answer is None and self.closed is None and self._frames.handshake_exc is None:
            await self._changed()

    @property
    def failed(self) -> bool:
        """Tell whether a client's handshake was not answered by a good 101."""
        return self._frames.handshake_exc is not None or self._frames.state is not OPEN

    def shake_hands(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a client's handshake, with further headers."""
        frames = cast("ClientProtocol", self._frames)
        request = frames.connect()
        for name, value in headers:
            request.headers[name.decode("latin-1")] = value.decode("latin-1")
        frames.send_request(request)
        self._flush()

    @property
    def subprotocol(self) -> str:
        """Return the subprotocol that was chosen; "" for none."""
        return str(self._frames.subprotocol or "")

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Begin the closing handshake. ``code``: also one that stands for no code, which is not sent as it is. Does
        nothing where the end is near already."""
        if self._frames.state is not OPEN or self.closed is not None:
            return
        if code in (ABNORMAL, NOTHING_TOLD) or not (1000 <= code < 5000):
            code = GOING_AWAY if code == ABNORMAL else NORMAL
        text = reason.encode()[:LONGEST_REASON].decode("utf-8", "ignore")
        try:
            self._frames.send_close(code, text)
        except (InvalidState, ValueError, ArithmeticError):
            self.transport.abort()
            return
        self._flush()
        self._part()

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()
