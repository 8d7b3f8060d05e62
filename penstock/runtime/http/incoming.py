"""Parsing one response at a time, within limits. No socket here: bytes in, fields set.

httptools (llhttp) is strict about syntax, refuses content-length with transfer-encoding, and bounds nothing. So heads,
status lines and chunk overhead are counted here, by what was fed against what came out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from httptools import HttpParserCallbackError, HttpResponseParser

from penstock.runtime.http.errors import Phase, ProtocolError, TransportError
from penstock.runtime.http.options import Limits
from penstock.runtime.http.origin import Origin

_NOTED = frozenset((b"content-length", b"transfer-encoding", b"content-encoding", b"keep-alive"))
_KEEP_ALIVE = re.compile(rb"(?:^|[,;\s])timeout=(\d{1,6})", re.ASCII | re.IGNORECASE)


class Stop(Exception):
    """Ends the parser from within a callback; ``Incoming.broken`` says why, None means surplus data."""


class Incoming:
    """The response being received. Feed with ``feed_data``; then look at ``status``, ``parts`` and ``complete``.

    status: 0 until the final (not 1xx) headers are complete. parts: body pieces since the last clear. complete: the
    message has ended. keep_alive: its framing allows another. until_eof: the body ends with the connection.
    idle_hint: seconds of silence after which the peer may close (its Keep-Alive header, less 2 s: a request that
    crosses the close on the wire cannot always be repeated). Its ``max`` needs no counting: who counts requests says
    ``connection: close`` with the last answer (Apache, llama.cpp).
    """

    __slots__ = (
        "_excess", "_head_bytes", "_interim", "_line_bytes", "_line_open", "_renew", "broken", "chunked", "coding",
        "complete", "content_length", "feed_data", "headers", "idle_hint", "is_head", "keep_alive", "limits", "on_body",
        "origin", "parser", "parts", "status", "until_eof",
    )  # fmt: skip

    def __init__(self, limits: Limits, origin: Origin) -> None:
        self.limits = limits
        self.origin = origin
        self.parts: list[bytes] = []
        self.on_body = self.parts.append  # the parser looks it up once: a C function, no Python frame per piece
        self.idle_hint = float("inf")
        self._renew = True
        self.expect(False)

    def expect(self, is_head: bool) -> None:
        """Prepare for the response to the next request."""
        if self._renew:
            self.parser = HttpResponseParser(self)
            self.feed_data: Callable[[bytes], None] = self.parser.feed_data
            self._renew = False
        self.is_head = is_head
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.coding = b""
        self.content_length = self.chunked = self.complete = self.until_eof = self._interim = False
        self.broken: TransportError | None = None
        self._head_bytes = self._line_bytes = self._excess = 0
        self._line_open = True

    def discard_parser(self) -> None:
        """Break the cycle with the parser's callbacks: a closed connection goes without the garbage collector."""
        self.parser, self.feed_data = cast(HttpResponseParser, None), cast(Callable[[bytes], None], None)

    # -- parser callbacks

    def on_message_begin(self) -> None:
        if self.complete:
            raise Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:
            return  # a trailer
        name = name.lower()
        value = value.rstrip()  # llhttp leaves the optional white space behind a value
        if name in _NOTED:
            self._note(name, value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self.parser
        status = parser.get_status_code()
        if status < 200:
            if status == 101:
                self._stop("the upstream switches protocols (101), which was not asked for")
            self._interim = True
            return
        if len(self.headers) > self.limits.max_header_count:
            self._stop(f"more than {self.limits.max_header_count} response headers")
        version = parser.get_http_version()
        if version != "1.1" and version != "1.0":
            self._stop(f"HTTP version {version} instead of 1.1")
        self.keep_alive = parser.should_keep_alive()
        if self.is_head:
            # llhttp cannot be told that a length without a body follows, so this parser is not used again.
            self.complete = self._renew = True
        elif status != 204 and status != 304:
            self.until_eof = not (self.chunked or self.content_length)
        self.status = status

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self.headers = []
            self.coding = b""
            self.content_length = self.chunked = False
        else:
            self.complete = True

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-encoding":
            self.coding = self.coding + b"," + value if self.coding else value
        elif name == b"content-length":
            self.content_length = True
        elif name == b"keep-alive":
            hint = _KEEP_ALIVE.search(value)
            if hint:
                told = int(hint[1])
                self.idle_hint = max(told - 2.0, told / 3.0)
        elif self.chunked:
            self._stop("two transfer-encoding headers")
        elif value.lower() != b"chunked":
            self._stop("a transfer-encoding other than chunked")
        else:
            self.chunked = True

    def _stop(self, message: str) -> None:
        self.broken = self.protocol_error(message)
        raise Stop

    # -- limits

    def parse_error(self, exc: Exception) -> TransportError | None:
        """Turn a parser's exception into a transport error. None for surplus data after a complete message: only no
        reuse."""
        if self.complete:
            self.broken = self.broken or self.protocol_error("data after the end of the response")
            return None
        if isinstance(exc, HttpParserCallbackError) and self.broken is not None:
            return self.broken
        error = self.protocol_error(f"not a valid HTTP/1.1 response: {exc}")
        exc.__traceback__ = exc.__context__ = None  # whose frames hold the error
        error.__cause__ = exc
        return error

    def count_head(self, data: bytes) -> TransportError | None:
        """Check the sizes of the head after feeding ``data``, while it is incomplete or has just become complete.
        Return the error when it is too large, else None."""
        size = self._head_bytes + len(data)
        limits = self.limits
        if self._line_open and (size > limits.max_status_line or not self.status):
            end = data.find(b"\n")
            self._line_bytes += len(data) if end < 0 else end
            self._line_open = end < 0
            if self._line_bytes > limits.max_status_line:
                return self.protocol_error(f"the status line is over {limits.max_status_line} bytes")
        if size > limits.max_header_bytes:
            if self.status:  # part of ``data`` is body
                size = self._head_bytes + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > limits.max_header_bytes:
                return self.protocol_error(f"the response headers are over {limits.max_header_bytes} bytes")
        self._head_bytes = size
        return None

    def count_overhead(self, fed: int, body: int, pieces: int) -> TransportError | None:
        """Count the bytes of a chunked body that are not data, after feeding a batch of it; return the error when they
        are too many. Chunk lines may cost 32 bytes each and twice their data, as in Go's rule."""
        excess = self._excess + fed - 3 * body - 32 * pieces
        if excess <= 0:
            self._excess = 0
            return None
        self._excess = excess
        if excess <= self.limits.max_chunk_extension:
            return None
        return self.protocol_error(f"chunk extensions or trailers of over {self.limits.max_chunk_extension} bytes")

    def protocol_error(self, message: str) -> TransportError:
        phase: Phase = "body" if self.status else "first_byte"
        return ProtocolError(message, phase=phase, sent=True, origin=self.origin)
