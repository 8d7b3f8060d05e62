"""The one family of errors that callers of the transport see.

    TransportError
    ├── LocalLimit           this process may have no more of something: it is nobody else's fault
    ├── PoolTimeout          no connection became free in time; nothing was sent
    ├── ConnectError         DNS, refused, unreachable; nothing was sent
    │   ├── ConnectTimeout   the connection (DNS, TCP, proxy, TLS) was not ready in time
    │   ├── TlsError         the handshake failed: certificate, host name, protocol
    │   └── ProxyError       the proxy refused, or its settings cannot be used
    ├── FirstByteTimeout     the request was written, no final response headers in time
    ├── StallTimeout         the body, or our writing, made no progress for too long
    ├── TotalTimeout         the whole exchange took too long, whichever phase it was in
    ├── ProtocolError        the peer does not speak HTTP/1.1 as we accept it
    │   └── Disconnected     the peer closed or reset the connection before its response headers
    ├── BodyTruncated        the connection ended, or was closed, before the body did
    └── TooLarge             the body is over the caller's limit, or a decompression bomb

Foreign exceptions (OSError, ssl.SSLError, httptools errors) are translated with ``from exc`` in `connect.py` and
`connection.py` and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from penstock.runtime.http.origin import Origin

Phase = Literal["pool", "connect", "tls", "proxy", "write", "first_byte", "body"]


class TransportError(Exception):
    """Something went wrong between us and an upstream. ``str()`` says what, without secrets.

    phase: how far the exchange had come. sent: True if any byte of the request may have reached the upstream, so
    that repeating it could do the work twice. origin: whom we were talking to, None when not known.
    """

    def __init__(self, message: str, *, phase: Phase, sent: bool = False, origin: Origin | None = None) -> None:
        super().__init__(message)
        self.phase: Phase = phase
        self.sent = sent
        self.origin = origin

    def __str__(self) -> str:
        message: str = self.args[0]
        return message if self.origin is None else f"{self.origin}: {message}"


class LocalLimit(TransportError):
    """This process has come to a limit of its own: descriptors, or bytes held for answers. The upstream did nothing."""


class PoolTimeout(TransportError):
    """All connections to the origin were busy for longer than ``Timeouts.pool``."""


class ConnectError(TransportError):
    """No connection could be opened. ``sent`` is False."""


class ConnectTimeout(ConnectError):
    """The connection was not ready within ``Timeouts.connect``; ``phase`` says where it hung."""


class TlsError(ConnectError):
    """The TLS handshake failed; the message carries OpenSSL's reason."""


class ProxyError(ConnectError):
    """The proxy refused the tunnel, or its address cannot be used. Never shows the proxy's credentials.

    ``sent`` is True only when a plain ``http://`` request was handed to the proxy and it answered 407.
    """


class FirstByteTimeout(TransportError):
    """No final response headers within ``Timeouts.first_byte`` of the request being written."""


class StallTimeout(TransportError):
    """No progress for ``Timeouts.stall`` seconds, reading the body or writing ours (see ``phase``)."""


class TotalTimeout(TransportError):
    """``Timeouts.total`` seconds have passed since ``send`` was called."""


class ProtocolError(TransportError):
    """The answer is not HTTP/1.1 within our limits: framing, header sizes, chunk sizes, an upgrade nobody asked for."""


class Disconnected(ProtocolError):
    """The connection ended after the request was written and before the response headers were complete. Not ``sent``
    when the peer had closed it before the request's head had come there."""


class BodyTruncated(TransportError):
    """The body ended before its announced length, its last chunk or the end of its compressed stream."""


class TooLarge(TransportError):
    """The body is larger than the caller's limit, or inflates beyond ``Limits.max_inflate_ratio``."""
