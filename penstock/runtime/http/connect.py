"""Opening a connection: name, TCP (happy eyeballs), proxy, TLS. Foreign errors are translated here, `from exc`."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic
from typing import TYPE_CHECKING

from penstock.runtime.http.descriptors import out_of_files
from penstock.runtime.http.errors import (
    ConnectError,
    ConnectTimeout,
    LocalLimit,
    Phase,
    ProxyError,
    TlsError,
    TotalTimeout,
    TransportError,
)
from penstock.runtime.http.names import Addresses, Names
from penstock.runtime.http.options import Tls
from penstock.runtime.http.tunnel import Refused, Tunnel

if TYPE_CHECKING:
    import ssl

    from penstock.runtime.http.connection import Connection
    from penstock.runtime.http.proxies import Proxy
    from penstock.runtime.http.tls import Contexts
    from penstock.runtime.http.websocket import WebSocket

# RFC 8305: the delay before the next address is tried beside the first.
EYEBALLS_DELAY = 0.25
# Long answers may be silent for minutes; NAT boxes and load balancers forget silent connections after 60 to 350 s.
_KEEPALIVE_IDLE = 45
# How long a TLS connection that we close waits for the peer's close_notify.
_GOODBYE = 1.0


class Dial:
    """One attempt to open the connection that ``conn`` is the protocol of."""

    __slots__ = ("_conn", "_contexts", "_loop", "_names", "_phase", "_proxy", "_tls")

    def __init__(
        self, conn: Connection | WebSocket, proxy: Proxy | None, tls: Tls, contexts: Contexts, names: Names
    ) -> None:
        self._loop = conn.loop
        self._conn = conn
        self._proxy = proxy
        self._tls = tls
        self._contexts = contexts
        self._names = names
        self._phase: Phase = "connect"

    async def run(self, connect: float | None, total_deadline: float) -> None:
        """Open the connection; return when ``conn`` is ready. ``connect``: seconds that this may take, None: no limit;
        ``total_deadline``: a time of the monotonic clock. Raises ConnectError or one of its kinds, or TotalTimeout; a
        cancel closes the socket."""
        began = monotonic()
        deadline = began + connect if connect is not None else float("inf")
        at = min(deadline, total_deadline)
        limit = None if at == float("inf") else max(0.0, at - began)
        try:
            async with asyncio.timeout(limit) as timeout:
                await self._open()
        except TimeoutError as exc:
            if not timeout.expired():  # the kernel's ETIMEDOUT
                exc.__traceback__ = None
                raise self._translate(exc) from exc
            if total_deadline <= deadline:
                raise self._error(TotalTimeout, "the total timeout passed while connecting") from exc
            raise self._error(ConnectTimeout, f"not connected within {connect:g} s ({self._phase})") from exc
        except (OSError, RuntimeError, ValueError) as exc:  # RuntimeError: uvloop's own
            exc.__traceback__ = None  # a frame of aiohappyeyeballs holds it
            raise self._translate(exc) from exc
        if self._conn.transport.is_closing():
            raise self._error(ConnectError, "the upstream closed the connection as soon as it was open")
        self._conn.connect_ms = (monotonic() - began) * 1000.0

    async def _open(self) -> None:
        origin, conn, loop = self._conn.origin, self._conn, self._loop
        proxy = self._proxy
        if proxy is None:
            context = self._context()
            sock = await self._tcp(origin.host, origin.port)
            self._phase = "tls" if context is not None else "connect"
            await _create(loop, conn, sock, context, self._tls.server_name or origin.host)
            return
        if proxy.problem is not None:
            raise self._error(ProxyError, proxy.problem)
        context = self._context()
        outer = self._contexts.get(Tls()) if proxy.scheme == "https" else None
        sock = await self._tcp(proxy.host, proxy.port)
        self._phase = "proxy"
        if context is None:
            await _create(loop, conn, sock, outer, proxy.host)
            return
        tunnel = Tunnel(loop)
        transport = await _create(loop, tunnel, sock, outer, proxy.host)
        try:
            await tunnel.connect(transport, origin.host, origin.port, proxy.authorization)
            self._phase = "tls"
            name = self._tls.server_name or origin.host
            upgraded = await loop.start_tls(
                transport, conn, context, server_hostname=name, ssl_shutdown_timeout=_GOODBYE
            )
            if upgraded is None:
                raise ConnectionResetError("the connection was closed during the TLS handshake")
            conn.connection_made(upgraded)
        except BaseException:
            transport.abort()
            raise

    def _context(self) -> ssl.SSLContext | None:
        if self._conn.origin.scheme == "http":
            return None
        try:
            return self._contexts.get(self._tls)
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            if text := out_of_files(exc):
                raise self._error(LocalLimit, text) from exc
            self._phase = "tls"
            message = f"the TLS settings ({_about_files(self._tls)}) cannot be used: {_reason(exc)}"
            raise self._error(TlsError, message) from exc

    async def _tcp(self, host: str, port: int) -> socket.socket:
        from aiohappyeyeballs import start_connection

        addresses = _literal(host, port) or await self._names.find(self._loop, host, port)
        sock = await start_connection(addresses, happy_eyeballs_delay=EYEBALLS_DELAY, loop=self._loop)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))  # the latter: macOS
        if idle is not None:
            sock.setsockopt(socket.IPPROTO_TCP, idle, _KEEPALIVE_IDLE)
        return sock

    def _error(self, kind: type[TransportError], message: str) -> TransportError:
        return kind(message, phase=self._phase, origin=self._conn.origin)

    def _translate(self, exc: Exception) -> TransportError:
        via = "" if self._proxy is None else f" by way of the proxy {self._proxy.host}:{self._proxy.port}"
        if isinstance(exc, OSError) and (text := out_of_files(exc)):
            return LocalLimit(text, phase=self._phase)  # it is about us, so nobody's address belongs into it
        if isinstance(exc, Refused):
            return self._error(ProxyError, f"{exc}{via}")
        if self._phase == "tls":
            return self._error(TlsError, f"TLS handshake failed{via}: {_reason(exc)}")
        if self._phase == "proxy":
            return self._error(ProxyError, f"cannot talk to the proxy{via}: {_reason(exc)}")
        if isinstance(exc, socket.gaierror):
            host = self._conn.origin.host if self._proxy is None else self._proxy.host
            return self._error(ConnectError, f"cannot resolve {host!r}: {exc.strerror or exc}")
        kind = ConnectError if self._proxy is None else ProxyError
        return self._error(kind, f"cannot connect{via}: {_reason(exc)}")


async def _create(
    loop: asyncio.AbstractEventLoop,
    protocol: asyncio.BaseProtocol,
    sock: socket.socket,
    context: ssl.SSLContext | None,
    name: str,
) -> asyncio.Transport:
    # From here on the loop owns the socket, also when this fails: closing it here, too, could close somebody else's.
    if context is None:
        transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
    else:
        transport, _ = await loop.create_connection(
            lambda: protocol, sock=sock, ssl=context, server_hostname=name, ssl_shutdown_timeout=_GOODBYE
        )
    return transport


def _literal(host: str, port: int) -> Addresses | None:
    """Return the address when ``host`` is one itself: no resolver, no thread."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        address: tuple[str, int] | tuple[str, int, int, int]
        address = (host, port) if family == socket.AF_INET else (host, port, 0, 0)
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]
    return None


def _about_files(tls: Tls) -> str:
    """Name the files of a TLS setting: OpenSSL does not say which one it could not read."""
    names = ("ca_file", "ca_dir", "client_cert", "client_key")
    return ", ".join(f"{name}={getattr(tls, name)!r}" for name in names if getattr(tls, name) is not None)


def _reason(exc: Exception) -> str:
    message = getattr(exc, "verify_message", None) or getattr(exc, "reason", None) or str(exc)
    return str(message) or type(exc).__name__
