"""CONNECT through a proxy: the few lines that are spoken before TLS to the origin starts."""

from __future__ import annotations

import asyncio

_MAX_HEAD = 16384


class Refused(ConnectionError):
    """The proxy did not open the tunnel; the message says what it answered."""


class Tunnel(asyncio.Protocol):
    """The protocol of a connection to a proxy until the tunnel stands; ``loop.start_tls`` takes over from there."""

    __slots__ = ("_answer", "_head")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._head = b""
        self._answer: asyncio.Future[bytes] = loop.create_future()

    async def connect(self, transport: asyncio.Transport, host: str, port: int, authorization: bytes | None) -> None:
        """Ask the proxy for a tunnel to ``host``. Raises Refused when it says anything but 2xx, or hangs up."""
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n" % (name.encode("ascii"), name.encode("ascii"))
        if authorization is not None:
            lines += b"proxy-authorization: %b\r\n" % authorization
        transport.write(lines + b"\r\n")
        head = await self._answer
        status = head.split(b" ", 2)[1:2]
        if not head.startswith(b"HTTP/1.") or not status or not status[0][:3].isdigit():
            raise Refused("the tunnel's answer is not HTTP")
        code = int(status[0][:3])
        if code == 407:
            raise Refused("the tunnel was refused: wrong or missing proxy credentials (407)")
        if not 200 <= code < 300:
            line = head.partition(b"\r\n")[0][9:109].decode("latin-1")
            raise Refused(f"the tunnel was refused: {line!r}")

    def data_received(self, data: bytes) -> None:
        if self._answer.done():
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end >= 0:
            # TLS clients speak first: more bytes than the head are not the origin's.
            surplus = len(self._head) > end + 4 and self._head.split(b" ", 2)[1:2] == [b"200"]
            if surplus:
                self._answer.set_exception(Refused("the tunnel's answer is followed by other data"))
            else:
                self._answer.set_result(self._head[:end])
        elif len(self._head) > _MAX_HEAD:
            self._answer.set_exception(Refused(f"the tunnel's answer is over {_MAX_HEAD} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(Refused("the proxy closed the connection before the tunnel stood"))
            self._answer.exception()  # retrieved: nobody may be waiting any more
