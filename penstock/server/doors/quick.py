"""The fast door: uvicorn's httptools protocol with our own request cycle.

Every URL is answered here, without ASGI, a framework, or a second copy of the bytes. One queue serves pipelined
requests; one sweep (see ``sweep``) ends connections that are slow on purpose: no timer is made per request.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from penstock.core.errors import GatewayError
from penstock.runtime.exchange import Exchange, Source
from penstock.runtime.http import Driven
from penstock.server.doors.known import LESSONS, KnownHead, remember
from penstock.server.doors.status import STATUS_LINES
from penstock.server.doors.upgrade import joined, not_http, offers_upgrade, wants_websocket, without_upgrade

if TYPE_CHECKING:
    from penstock.server.doors.coming import ComingExchange
    from penstock.server.gateway import Gateway

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
MAX_URL = 16 * 1024
MAX_PIPELINED = 16
MAX_QUEUED = 64 * 1024  # bytes of a request behind which no more is read before its turn
HEAD_TIME = 20.0  # seconds from a request's first byte to the end of its headers
IDLE_TIME = 75.0  # seconds an idle connection is kept (nginx's default)
LINGER = 2.0  # seconds to read on after an error, so that the client gets to see it
MAX_SPILLED = 64 * 1024 * 1024  # bytes that are read on, for the same
CLIENT_STALL = 120.0  # seconds a client may refuse to read a streamed answer
# Requests are driven in batches, without a task each (``driven`` has the gain); PENSTOCK_DRIVEN=0 gives each a task.
DRIVES = os.environ.get("PENSTOCK_DRIVEN") != "0"


class QuickExchange(Exchange):
    """An exchange on a ``QuickProtocol``."""

    chunked: bool
    keep_alive: bool
    __slots__ = ("chunked", "chunks", "error", "keep_alive", "proto", "size", "source", "stalled_at", "url")

    def __init__(self, proto: QuickProtocol) -> None:
        self.proto = proto
        self.responded = self.hushed = False
        self.bytes_out = self.held = 0
        self.gone = False
        self.task = None
        self.ending = None
        self.call = None
        self.coming = None
        self.source: Source | None = None
        self.error: GatewayError | None = None
        self.url = b""
        self.chunks: list[bytes] = []
        self.size = 0
        self.stalled_at = 0.0

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        proto = self.proto
        self.responded = True
        self.bytes_out = len(body)
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        head = b"%bcontent-length: %d\r\n%b" % (STATUS_LINES[status] + headers, len(body), end)
        data = head + body if self.method != "HEAD" else head
        if self.keep_alive and not proto.closing:
            proto.batch.write(proto.transport, data)
        else:  # it is closed behind this
            proto.batch.write_now(proto.transport, data)
        proto.done(self)

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        self.responded = True
        if framing is not None:
            self.chunked = False
        elif not self.chunked:  # HTTP/1.0: the end of the connection is the end of the answer
            self.keep_alive = False
        frame = b"transfer-encoding: chunked\r\n" if self.chunked else framing or b""
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self.proto.transport.write(STATUS_LINES[status] + headers + frame + end)

    def write(self, data: bytes) -> None:
        if data:
            self.bytes_out += len(data)
            self.proto.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def finish(self) -> None:
        if self.chunked:
            self.proto.transport.write(b"0\r\n\r\n")
        self.proto.done(self)

    def abort(self) -> None:
        self.proto.transport.abort()
        self.proto.gateway.end(self)

    def raw_path(self) -> bytes:
        return httptools.parse_url(self.url).path or b"/" if self.url[:1] != b"/" or b"?" in self.url else self.url

    def feed_from(self, source: Source | None) -> None:
        self.source = source
        if source is not None and self.proto.write_paused:
            self.stalled_at = self.stalled_at or self.proto.loop.time()
            source.pause()

    # What is different while the body is still on its way (``ComingExchange``). ---------------------------------------

    cut_short = False  # the answer is out before the body has come
    linger = 0.0  # seconds to read on behind it, beyond ``LINGER``

    def begin(self) -> None:
        self.proto._begin(self)

    def check(self, now: float) -> None:
        """Do nothing: where the body is still on its way, what is too slow ends here. Called about once a second."""

    def drop(self) -> None:
        """Do nothing: the client is gone, and where the body is on its way, the rest of it will not come."""


class QuickProtocol(HttpToolsProtocol):
    """One client connection. ``deadline``: when ``sweep`` ends it, by the loop's clock."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gateway: Gateway = self.app.gateway  # type: ignore[attr-defined]
        self.exchange: QuickExchange | None = None  # being received
        self.active: QuickExchange | None = None  # being answered
        self.queue: deque[QuickExchange] = deque()
        self.head_bytes = 0
        self.in_head = True
        self.deadline = 0.0
        self.write_paused = False
        self.closing = False
        self.coming: ComingExchange | None = None  # begun, or in the queue, while its body is received
        self.spilled = 0  # bytes thrown away behind the last answer
        self.unread = 0  # bytes of whole answers that were written and that the client has not read
        self.pairs: list[tuple[bytes, bytes]] = []
        self.plain = b""  # a head that is to be parsed again, see ``upgrade``
        self.opening: QuickExchange | None = None  # a request for a WebSocket
        self.peer = ""
        self.received = 0  # requests
        self.known: KnownHead | None = None
        self.lessons = LESSONS
        self.batch = self.gateway.batch(self.loop)
        from penstock.server.doors.coming import receive  # which builds on this module

        self.receive = receive

    # The connection ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.connections.add(self)
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        self.deadline = self.loop.time() + HEAD_TIME

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self.closing = True
        for waiting in self.queue:
            waiting.drop()
        self.queue.clear()
        self.exchange = self.coming = None
        self._all_read()
        active, self.active = self.active, None
        if active is not None:
            active.gone = True
            active.drop()
            # A cancelled task keeps its error, and that the frames that hold the exchange.
            task, active.task = active.task, None
            if task is not None:
                task.cancel()
            self.gateway.end(active)  # its task may not have begun, and would then never say so
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.closing:
            self._spill(len(data))
            return
        fresh = self.in_head and not self.head_bytes and self.active is None
        if fresh and self.known is not None and self._again(data, self.known):
            return
        before = self.received
        if self.in_head:
            self.head_bytes += len(data)
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self.plain and not self.closing:
                    data, self.plain = self.plain + data[upgrade.args[0] :], b""
                    self.parser = httptools.HttpRequestParser(self)
                    continue
                from penstock.server.doors.sockets import take_over  # which builds on this module

                take_over(self, data[upgrade.args[0] :])
            except httptools.HttpParserCallbackError as error:
                raise error.__context__ or error from None
            except httptools.HttpParserError as error:
                if not self.closing:
                    self._refuse(not_http(error))
            else:
                if self.in_head and self.head_bytes > MAX_HEAD_BYTES:
                    text = f"The request's head is over {MAX_HEAD_BYTES} bytes."
                    self._refuse(GatewayError("headers_too_large", text))
                elif self.exchange is not None and not self.in_head and not self.closing:
                    self.receive(self, self.exchange)
                elif fresh and self.lessons and self.received == before + 1 and self.active is not None:
                    self.lessons -= 1
                    self.known = remember(data, self.active)
            return

    def _again(self, data: bytes, known: KnownHead) -> bool:
        """Take a whole request whose head is the one before it but for the length of its body, if ``data`` is one."""
        body = known.body(data)
        if body is None or len(body) > self.gateway.max_body:
            return False
        self.lessons = LESSONS
        exchange = QuickExchange(self)
        exchange.url, exchange.path, exchange.query, exchange.method = known.url, known.path, known.query, "POST"
        exchange.headers = {**known.headers, b"content-length": b"%d" % len(body)}
        exchange.chunked = exchange.keep_alive = True
        exchange.client, exchange.hushed = self.peer, known.hushed
        exchange.body = body
        self._begin(exchange)
        return True

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.active is not None:
            self.active.stalled_at = self.loop.time()
            if self.active.source is not None:
                self.active.source.pause()

    def resume_writing(self) -> None:
        self.write_paused = False
        self._all_read()
        if self.active is not None and self.active.source is not None:
            self.active.source.resume()

    def eof_received(self) -> None:
        return None

    def shutdown(self) -> None:
        """Begin to drain, called once by the server: an idle connection is closed, a busy one after its answer."""
        if self.active is None:
            self.transport.close()
        else:
            self.active.keep_alive = False

    # Parsing ----------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.exchange = QuickExchange(self)
        self.pairs = []
        self.in_head = True
        self.deadline = self.loop.time() + HEAD_TIME

    def on_url(self, url: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None
        exchange.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # trailers are ignored: a credential in a trailer is no credential
            self.pairs.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange, parser, pairs = self.exchange, self.parser, self.pairs
        assert exchange is not None
        self.in_head = False
        headers = dict(pairs)
        if len(headers) != len(pairs):
            headers = joined(pairs)
        exchange.headers = headers
        method = parser.get_method()
        if b"upgrade" in headers and offers_upgrade(headers) and not wants_websocket(headers):
            # What the parser says of it is not true: this is where it would end.
            self.plain = without_upgrade(method, exchange.url, parser.get_http_version(), pairs)
            self.exchange, self.in_head = None, True
            return
        exchange.method = "POST" if method == b"POST" else method.decode("ascii")
        version = parser.get_http_version()
        exchange.chunked = version == "1.1"
        exchange.keep_alive = version == "1.1" and parser.should_keep_alive()
        exchange.client = self.peer
        exchange.path = exchange.url.decode("ascii", "replace")
        exchange.query = b""
        exchange.error = self._check_head(exchange, version)
        self.head_bytes = 0
        if exchange.error is not None:
            exchange.keep_alive = False
            self._refuse(exchange.error)

    def _check_head(self, exchange: QuickExchange, version: str) -> GatewayError | None:
        """Tell what is wrong with a request as far as its head shows it. Set ``path`` and ``query``."""
        if version not in ("1.1", "1.0"):
            return GatewayError("bad_request", f"HTTP/{version} is not served here; use HTTP/1.1.")
        url = exchange.url
        if len(url) > MAX_URL:
            return GatewayError("headers_too_large", f"The URL is over {MAX_URL} bytes.")
        if url[:1] == b"/" and b"?" not in url and b"%" not in url and b"#" not in url:
            exchange.path = url.decode("latin-1")
        else:
            try:
                parsed = httptools.parse_url(url)
            except httptools.HttpParserInvalidURLError:
                return GatewayError("bad_request", "The request's URL is not valid.")
            exchange.path = unquote((parsed.path or b"/").decode("latin-1"))
            exchange.query = parsed.query or b""
        headers = exchange.headers
        if self.head_bytes > MAX_HEAD_BYTES and sum(len(n) + len(v) for n, v in self.pairs) > MAX_HEAD_BYTES:
            return GatewayError("headers_too_large", f"The request's head is over {MAX_HEAD_BYTES} bytes.")
        if len(self.pairs) > MAX_HEADERS:
            return GatewayError("headers_too_large", f"The request has over {MAX_HEADERS} headers.")
        coding = headers.get(b"transfer-encoding")
        if coding is not None and coding.strip().lower() != b"chunked":
            return GatewayError("bad_request", "Only the transfer coding 'chunked' is served here.")
        expect = headers.get(b"expect")
        if expect is not None and expect.lower() != b"100-continue":
            return GatewayError("bad_request", "The only expectation that can be met is 100-continue.")
        if version == "1.1" and b"host" not in headers:
            return GatewayError("bad_request", "The Host header is missing (RFC 9112, 3.2).")
        if b"upgrade" in headers and offers_upgrade(headers):  # to WebSocket: ``data_received`` goes on with it
            self.opening, self.exchange = exchange, None
            return None
        length = headers.get(b"content-length")
        if coding is not None or (length is not None and int(length) > self.gateway.look_from):
            from penstock.server.doors.upload import receive  # which builds on this module

            receive(self, exchange)
        return None

    def on_body(self, body: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            if self.coming is not None:
                self.coming.feed(body)
            return
        if exchange.error is not None:
            return
        exchange.size += len(body)
        if exchange.size > self.gateway.max_body:
            exchange.error = self.gateway.body_too_large()
            exchange.keep_alive = False
            exchange.chunks.clear()
            self._refuse(exchange.error)
            return
        exchange.chunks.append(body)

    def on_message_complete(self) -> None:
        exchange = self.exchange
        if exchange is None or self.closing:
            if self.coming is not None and not self.closing:
                coming, self.coming = self.coming.coming, None
                self.in_head = True
                self.head_bytes = 0
                coming.end()
            return
        self.received += 1
        chunks = exchange.chunks
        exchange.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        exchange.chunks = []
        self.in_head = True
        self.head_bytes = 0
        self.exchange = None
        if self.active is None:
            self._begin(exchange)
        else:
            self.queue.append(exchange)
            if len(self.queue) >= MAX_PIPELINED or len(exchange.body) > MAX_QUEUED:
                self.transport.pause_reading()

    # Answering --------------------------------------------------------------------------------------------------------

    def _begin(self, exchange: QuickExchange) -> None:
        self.active = exchange
        exchange.started = self.gateway.clock()
        self.deadline = 0.0
        self.gateway.begin(exchange)
        if exchange.error is not None:
            self.gateway.refuse(exchange, exchange.error)
        elif DRIVES:
            exchange.task = driven = Driven(self.gateway.serve(exchange), self.batch)
            driven.start()
        else:
            exchange.task = self.loop.create_task(self.gateway.serve(exchange))

    def done(self, exchange: QuickExchange) -> None:
        """Go on when the answer is out: to the next request, or the idle wait, or the end of the connection."""
        if self.write_paused:  # what the client has not read is still in memory
            self.unread += exchange.held
            exchange.held = 0
        self.gateway.end(exchange)
        if self.active is not exchange:
            return
        self.active = None
        exchange.source = None
        if not exchange.keep_alive or self.closing:
            self.closing = True
            if exchange.error is not None or exchange.cut_short:
                self._linger(exchange.linger)
            else:
                self._close()
            return
        if self.queue:
            following = self.queue.popleft()
            if len(self.queue) == MAX_PIPELINED - 1 or len(following.body) > MAX_QUEUED:
                self.transport.resume_reading()
            self.loop.call_soon(self._begin_later, following)
            self.active = following
        else:
            self.deadline = self.loop.time() + (IDLE_TIME if self.in_head and not self.head_bytes else HEAD_TIME)

    def _close(self) -> None:
        """Close when the rest of the answer is written, or when the client has refused to read it for long enough: a
        close alone waits for ever."""
        self.closing = True
        self.deadline = self.loop.time() + CLIENT_STALL
        self.transport.close()

    def _linger(self, longer: float) -> None:
        """Close our side and let what the client still sends run out: a close with unread bytes is a reset, and a reset
        can overtake the error that we just wrote (RFC 9112, 9.6)."""
        self.deadline = self.loop.time() + LINGER + longer
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _spill(self, size: int) -> None:
        """Throw away what comes behind the last answer, and the connection with it, if that is much."""
        self.spilled += size
        if self.spilled > MAX_SPILLED:
            self.transport.abort()

    def _all_read(self) -> None:
        """Give back what was held for answers that the client has read now, or never will."""
        self.gateway.held.size -= self.unread
        self.unread = 0

    def _begin_later(self, exchange: QuickExchange) -> None:
        # Not from within done(): a thousand pipelined requests must not nest a thousand calls deep.
        if not self.closing:
            exchange.begin()

    def _refuse(self, error: GatewayError) -> None:
        """End the connection with an error. Behind an answer in progress nothing can be said: it is only closed."""
        if self.closing:
            return
        exchange = self.exchange or QuickExchange(self)
        if self.active is None:
            self.active = exchange
            exchange.keep_alive = False
            exchange.chunked = True
            exchange.started = self.gateway.clock()
            for name, value in (("method", "GET"), ("path", ""), ("query", b""), ("headers", {}), ("body", b"")):
                if not hasattr(exchange, name):
                    setattr(exchange, name, value)
            exchange.client = self.peer
            exchange.error = error
            self.gateway.begin(exchange)
            self.gateway.refuse(exchange, error)
        else:
            self.active.keep_alive = False
            self.queue.clear()
            if self.coming is not None:
                self.coming.coming.fail(error)
        self.closing = True

    def sweep(self, now: float) -> None:
        """End what is past its deadline; called about once a second."""
        active = self.active
        if active is not None:
            active.check(now)
            if self.coming is not None and self.coming is not active:
                self.coming.check(now)
            if self.write_paused and active.stalled_at and now - active.stalled_at > CLIENT_STALL:
                self.transport.abort()
            return
        if self.deadline and now > self.deadline:
            if self.closing:
                self.transport.abort()
            elif not self.in_head or not self.head_bytes:
                self._close()  # idle, or what is left of an answered request: nothing was asked, nothing is said
            else:
                self._refuse(GatewayError("request_timeout", "The request's head did not come in time."))
