"""The mock's HTTP/1.1 on `asyncio.Protocol` and httptools, and every way it can misbehave there.

A plain answer is written from the callback, each event as its own write, without a task or a sleep. Anything about
time, framing or hanging up runs in one task per answer (`_Performance`), which the client's leaving cancels."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import httptools

from penstock.mock import malform
from penstock.mock.reply import Frame, Reply
from penstock.mock.script import NOTHING, Step

if TYPE_CHECKING:
    from penstock.mock.server import Mock, Received  # circle: a connection tells the server that made it what came

SERVER = "penstock-mock"
RST_AFTER = 0.02  # seconds: lets the kernel deliver what was written before the reset throws the rest away


def reset(transport: asyncio.Transport) -> None:
    """Close with RST. Works on asyncio and uvloop (whose own socket object has no setsockopt)."""
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        twin = socket.socket(fileno=os.dup(raw.fileno()))
        with twin:  # linger lives on the socket that both descriptors share
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def head_bytes(reply: Reply, step: Step, framing: str, length: int, close: bool) -> bytes:
    """Render status line and headers with the step's changes."""
    try:
        reason = HTTPStatus(reply.status).phrase
    except ValueError:
        reason = "Mock"
    status_line = step.status_line or f"HTTP/1.1 {reply.status} {reason}"
    headers: dict[str, str] = {"server": SERVER}
    headers.update((name.lower(), value) for name, value in reply.headers)
    if reply.status not in (204, 304):
        headers["content-type"] = reply.content_type
    if framing == "length":
        headers["content-length"] = str(length + (step.wrong_length or 0))
    elif framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    if step.gzip:
        headers["content-encoding"] = "gzip"
    if close:
        headers["connection"] = "close"
    for number in range(step.header_count or 0):
        headers[f"x-mock-{number}"] = "mock"
    if step.huge_header is not None:
        headers["x-mock-huge"] = "h" * step.huge_header
    for name, value in (step.headers or {}).items():
        headers.pop(name.lower(), None)
        if value is not None:
            headers[name.lower()] = value
    lines = [status_line, *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


class Pending(NamedTuple):
    """A request on its connection: `size` of its body, whether it is the `last` there, and whether it is HTTP/1.0."""

    received: Received
    size: int
    last: bool
    old_http: bool


class Connection(asyncio.Protocol):
    """One client connection. Requests on it are answered in order, pipelined ones wait."""

    def __init__(self, mock: Mock, number: int) -> None:
        self.mock = mock
        self.number = number
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.waiting: deque[Pending] = deque()
        self.current: Received | None = None
        self.task: asyncio.Task[None] | None = None
        self.rest: Iterator[bytes] | None = None  # of a plain stream that waits for the client to read
        self.writable = asyncio.Event()
        self.writable.set()
        self.timer: asyncio.TimerHandle | None = None
        self.requests = 0
        self.keep_alive = True
        self.old_http = False  # HTTP/1.0 knows no chunks
        self.parser: Any = None

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)
        self.mock.opened(self)

    def data_received(self, data: bytes) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request was handed over before this was raised; it gets its 426
        except httptools.HttpParserError as exc:
            body = f"penstock-mock cannot read this request: {exc}\n".encode()
            self.transport.write(
                head_bytes(Reply(400, [], body, "text/plain"), NOTHING, "length", len(body), True) + body
            )
            self.transport.close()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.mock.closed(self)
        if self.timer is not None:
            self.timer.cancel()
        if self.current is not None:
            self.current.closed_early = True
            self.mock.ended(self.current)
        for waiting in self.waiting:
            waiting.received.closed_early = True
        self.rest = None
        self.writable.set()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()
        if self.rest is not None:
            self._pump()

    # -- httptools' side

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []
        self.body: list[bytes] = []
        self.size = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        for name, value in self.headers:
            if name == "expect" and value.lower() == "100-continue":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.size += len(body)
        if self.size <= self.mock.script.max_body_bytes + 1:  # the rest is read and thrown away, then 413
            self.body.append(body)

    def on_message_complete(self) -> None:
        last = not self.parser.should_keep_alive() or self.parser.should_upgrade()
        self.requests += 1
        method = self.parser.get_method().decode()
        received = self.mock.record(method, self.url, self.headers, b"".join(self.body), self.number)
        pending = Pending(received, self.size, last, self.parser.get_http_version() == "1.0")
        if self.current is not None:
            self.waiting.append(pending)
        elif not (self.parser.should_upgrade() and self.mock.script.sockets and self._upgrade(pending)):
            self._answer(pending)

    def _upgrade(self, pending: Pending) -> bool:
        """Hand the connection over to a WebSocket, or refuse it; False where it asks for none that is here."""
        from penstock.mock import sockets  # a base dependency, but few tests open one

        received = pending.received
        kind = sockets.wanted(received)
        if not kind:
            return False
        self.keep_alive = False
        self.current = received
        step, refusal = self.mock.open_socket(received)
        received.status = 101 if refusal is None else refusal.status
        if refusal is not None:
            self._plain(refusal, step, False)
            return True
        self.current = None
        self.mock.closed(self)
        self.transport.write(sockets.accepted(received))
        socket = sockets.MockSocket(self.mock, received, step, kind, self.transport)
        self.mock.sockets.add(socket)
        self.transport.set_protocol(socket)
        return True

    # -- answering

    def _answer(self, pending: Pending) -> None:
        received = self.current = pending.received
        self.keep_alive, self.old_http = not pending.last, pending.old_http
        step, reply = self.mock.respond(received, pending.size)
        received.status = reply.status
        faults = frozenset(step.malform or ())
        if step.body is None:
            malform.whole(reply, faults, step.status)
        if step.plain and reply.frames is None:
            self._plain(reply, step, received.method == "HEAD")
        elif step.plain and step.error_event_after is None and received.method != "HEAD" and not self.old_http:
            self._plain_stream(reply, step, faults)
        else:
            self.task = asyncio.get_running_loop().create_task(_Performance(self, step, reply, faults).run())
            self.task.add_done_callback(self._performed)

    def _plain(self, reply: Reply, step: Step, headless: bool) -> None:
        close = not self.keep_alive
        head = head_bytes(reply, step, "length", len(reply.body), close)
        self.transport.write(head if headless else head + reply.body)
        self._sent(b"" if headless else reply.body)
        self.done(close)

    def _plain_stream(self, reply: Reply, step: Step, faults: frozenset[str]) -> None:
        assert reply.frames is not None
        self.transport.write(head_bytes(reply, step, "chunked", 0, not self.keep_alive))
        source = malform.frames(reply.frames, faults) if faults else reply.frames
        self.rest = self._chunks(source, malform.encoder(reply.content_type, faults))
        self._pump()

    def _chunks(self, source: Iterable[Frame], encode: malform.Encode) -> Iterator[bytes]:
        for frame in source:
            data = encode(frame)
            self._sent(data, 1)
            yield b"%x\r\n%b\r\n" % (len(data), data)
        yield b"0\r\n\r\n"

    def _pump(self) -> None:
        rest = self.rest
        write = self.transport.write
        while rest is not None and self.writable.is_set():
            chunk = next(rest, None)
            if chunk is None:
                self.rest = None
                self.done(not self.keep_alive)
                return
            write(chunk)

    def _sent(self, data: bytes, events: int = 0) -> None:
        if self.current is not None:
            self.current.sent(data)
            self.current.sent_events += events

    def _performed(self, task: asyncio.Task[None]) -> None:
        if self.task is task:  # a pipelined request may already have started the next one
            self.task = None
        if not task.cancelled() and task.exception() is not None:
            self.transport.abort()
            task.result()

    def done(self, close: bool, idle_close_ms: float | None = None) -> None:
        """Note that the answer is out: close, or take the next request."""
        if self.current is not None:
            self.current.complete = True
            self.mock.ended(self.current)
            self.current = None
        if close or self.transport.is_closing():
            self.transport.close()
        elif idle_close_ms is not None:
            self.timer = asyncio.get_running_loop().call_later(idle_close_ms / 1000, self.transport.close)
        elif self.waiting:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self.current is None and self.waiting and not self.transport.is_closing():
            self._answer(self.waiting.popleft())


class _Stop(Exception):
    """The performance ends early; the connection is already closed or soon will be."""


class _Performance:
    """One answer with delays, faults of framing, or a hang-up."""

    def __init__(self, connection: Connection, step: Step, reply: Reply, faults: frozenset[str]) -> None:
        self.at = connection
        self.step = step
        self.reply = reply
        self.faults = faults
        self.headless = bool(connection.current and connection.current.method == "HEAD")
        streamed = reply.frames is not None
        self.framing = step.framing or ("chunked" if streamed else "length")
        if streamed and self.framing == "length":
            self.framing = "chunked"
        if self.framing == "chunked" and connection.old_http:
            self.framing = "close"
        self.close = not connection.keep_alive or step.keep_alive is False or self.framing == "close"
        self.packer = zlib.compressobj(wbits=31) if step.gzip else None
        self.body_sent = self.events_sent = self.chunks_sent = 0

    async def run(self) -> None:
        try:
            await self._run()
        except _Stop:
            self.at.done(False)

    async def _run(self) -> None:
        step = self.step
        await _sleep(step.latency_ms)
        if step.hangup == "before_answer":
            await self._end(step.cut or "rst")
        for status in step.interim or ():
            self._write(f"HTTP/1.1 {status} Mock\r\nlink: </mock>; rel=preload\r\n\r\n".encode())
        body = self._packed_body()
        head = head_bytes(self.reply, step, self.framing, len(body), self.close)
        if step.hangup == "in_headers":
            self._write(head[: len(head) // 2])
            await self._end(step.cut or "rst")
        await self._drip(head, step.header_drip_ms)
        if step.hangup == "after_headers":
            await self._end(step.cut or "rst")
        await _sleep(step.ttft_ms)
        if not self.headless:
            if self.reply.frames is None:
                if step.tokens_per_second:
                    await asyncio.sleep(self.reply.tokens / step.tokens_per_second)
                await self._body(body, flush=True)
            else:
                await self._events(self.reply.frames)
        self._finish()

    def _packed_body(self) -> bytes:
        body = self.reply.body if self.reply.frames is None else b""
        if self.packer is not None and self.reply.frames is None:
            body = self.packer.compress(body) + self.packer.flush()
        return body

    async def _drip(self, data: bytes, pause_ms: float | None) -> None:
        if pause_ms is None:
            self._write(data)
            return
        for at in range(len(data)):
            self._write(data[at : at + 1])
            await asyncio.sleep(pause_ms / 1000)

    async def _events(self, source: Iterable[Frame]) -> None:
        step, loop = self.step, asyncio.get_running_loop()
        start, tokens = loop.time(), 0
        encode = malform.encoder(self.reply.content_type, self.faults)
        frames = malform.frames(source, self.faults)
        for frame in self.at.mock.with_error_event(frames, step, self.at.current):
            if self.events_sent == step.stall_after_events:
                await self._stall()
            if self.events_sent == step.cut_after_events:
                await self._end(step.cut or "close")
            if step.tokens_per_second and frame.tokens:
                tokens += frame.tokens
                await asyncio.sleep(max(0.0, start + tokens / step.tokens_per_second - loop.time()))
            data = encode(frame)
            if self.packer is not None:
                data = self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH)
            self.events_sent += 1
            if self.at.current is not None:
                self.at.current.sent_events += 1
            await self._body(data)
        if self.packer is not None:
            await self._body(self.packer.flush())
        if self.events_sent == step.cut_after_events:
            await self._end(step.cut or "close")

    async def _body(self, data: bytes, flush: bool = False) -> None:
        """Send body bytes, in portions; stalls and cuts fall where they were asked for, within a portion too."""
        step = self.step
        marks = [mark - self.body_sent for mark in (step.stall_after_bytes, step.cut_after_bytes) if mark is not None]
        at = 0
        while True:
            if step.stall_after_bytes == self.body_sent:
                await self._stall()
            if step.cut_after_bytes == self.body_sent:
                await self._end(step.cut or "close")
            if at >= len(data):
                return
            limit = min([len(data), *(mark for mark in marks if mark > at)])
            limit = min(limit, at + step.split_bytes) if step.split_bytes else limit
            await self._portion(data[at:limit])
            self.body_sent += limit - at
            if self.at.current is not None:
                self.at.current.sent(data[at:limit])
            at = limit

    async def _portion(self, data: bytes) -> None:
        if self.framing == "chunked":
            size = b"ZZ" if self.step.bad_chunk and self.chunks_sent == 1 else b"%x" % len(data)
            data = size + b"\r\n" + data + b"\r\n"
        self.chunks_sent += 1
        await self._drip(data, self.step.body_drip_ms)
        if self.step.split_bytes:
            await asyncio.sleep(0)  # uvloop joins the writes of one turn of the loop; split ones must leave apart
        await self.at.writable.wait()

    def _finish(self) -> None:
        if self.framing == "chunked" and not self.headless:
            self._write(b"0\r\n\r\n")
        if self.step.extra_bytes is not None:
            self._write(self.step.extra_bytes.encode("utf-8", "surrogateescape"))
        self.at.done(self.close, self.step.idle_close_ms)

    async def _stall(self) -> None:
        await asyncio.sleep(31_536_000 if self.step.stall_ms is None else self.step.stall_ms / 1000)

    async def _end(self, how: str) -> None:
        if self.at.current is not None:
            self.at.current.complete = self.at.current.cut = True  # the mock hung up, not the client
        if how == "end":
            if self.framing == "chunked":
                self._write(b"0\r\n\r\n")
            if self.close or self.framing != "chunked":
                self.at.transport.close()
        elif how == "close":
            self.at.transport.close()
        else:
            await asyncio.sleep(RST_AFTER)
            reset(self.at.transport)
        raise _Stop

    def _write(self, data: bytes) -> None:
        if not self.at.transport.is_closing():
            self.at.transport.write(data)


async def _sleep(milliseconds: float | None) -> None:
    if milliseconds:
        await asyncio.sleep(milliseconds / 1000)
