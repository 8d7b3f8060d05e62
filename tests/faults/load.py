"""The client: many connections, one request after the other on each, and nothing taken on trust.

Raw sockets, so that a head or a chunk that is cut off is seen as that, and no library asks twice by itself.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, cast

from tests.faults.lanes import Lane, Read

AT_ONCE = 48
PATIENCE = 60.0  # seconds without any answer after which what is open counts as lost


class Asked(NamedTuple):
    """A request that is to be sent. ``mark`` is its own."""

    mark: str
    fault: str
    lane: Lane
    data: bytes


@dataclass(slots=True)
class Answer:
    """What became of a request. ``end``: ``whole``; ``cut`` (the connection ended in the middle of the answer);
    ``none`` (it ended before); ``lost`` (nothing came in all the time). ``bytes`` and ``sum`` (CRC-32): the body's."""

    asked: Asked
    end: str = "lost"
    status: int = 0
    head: bytes = b""
    bytes: int = 0
    sum: int = 0
    ms: float = 0.0
    read: Read = Read()

    def header(self, name: bytes) -> bytes:
        """A header of the answer, by its name in lower case; b"" without one."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return value.strip()
        return b""


def chunks(raw: bytes, at: int) -> tuple[bytes, bool]:
    """The body of a chunked answer, and whether it came to its end."""
    parts: list[bytes] = []
    while (line := raw.find(b"\r\n", at)) >= 0:
        try:
            size = int(raw[at:line], 16)
        except ValueError:
            break
        if size == 0:
            return b"".join(parts), raw[line : line + 4] == b"\r\n\r\n" and len(raw) == line + 4
        parts.append(raw[line + 2 : line + 2 + size])
        at = line + 4 + size
        if raw[at - 2 : at] != b"\r\n":
            break
    return b"".join(parts), False


class Load:
    """Sends all that is asked and keeps what became of it, in ``answers``."""

    def __init__(self, port: int, asked: Iterator[Asked], at_once: int = AT_ONCE) -> None:
        self.port, self.asked, self.at_once = port, asked, at_once
        self.answers: list[Answer] = []
        self.open: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.over = asyncio.Event()
        self.began = self.took = 0.0

    async def run(self) -> list[Answer]:
        """Send everything; return when each request has its end."""
        self.began = perf_counter()
        for _ in range(self.at_once):
            self.connect()
        seen = -1
        while not self.over.is_set():
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.over.wait()
            except TimeoutError:
                if seen == len(self.answers):
                    break
                seen = len(self.answers)
        self.took = perf_counter() - self.began
        for connection in list(self.open):
            connection.give_up()
        for task in list(self.tasks):
            task.cancel()
        return self.answers

    def connect(self) -> None:
        """Open one more connection, if anything is left to ask."""
        following = next(self.asked, None)
        if following is None:
            if not self.open and not self.tasks:
                self.over.set()
            return
        task = asyncio.get_running_loop().create_task(self._connect(following))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _connect(self, first: Asked) -> None:
        connection = Connection(self, first)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", self.port)
        except OSError:
            self.answers.append(Answer(first, end="none"))
            await asyncio.sleep(0.01)
            self.tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            self.connect()

    def closed(self, connection: Connection) -> None:
        """Open another connection in the place of one that is gone."""
        self.open.discard(connection)
        self.connect()


class Connection(asyncio.Protocol):
    """One connection to the gateway."""

    def __init__(self, load: Load, first: Asked) -> None:
        self.load = load
        self.now: Asked | None = first
        self.raw = bytearray()
        self.body_at = self.length = self.status = 0
        self.chunked = self.closes = False
        self.at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.load.open.add(self)
        self.send()

    def send(self) -> None:
        assert self.now is not None
        self.raw.clear()
        self.body_at = self.status = 0
        self.at = perf_counter()
        self.transport.write(self.now.data)

    def data_received(self, data: bytes) -> None:
        raw = self.raw
        raw += data
        if not self.body_at:
            end = raw.find(b"\r\n\r\n")
            if end < 0:
                return
            self._read_head(bytes(raw[:end]).lower(), end + 4)
        if self.chunked:
            if raw.endswith(b"\r\n0\r\n\r\n") or raw[self.body_at :] == b"0\r\n\r\n":
                self._ended("whole")
        elif len(raw) >= self.body_at + self.length:
            self._ended("whole")

    def _read_head(self, head: bytes, body_at: int) -> None:
        self.body_at, self.status = body_at, int(head[9:12])
        self.chunked = b"\r\ntransfer-encoding: chunked" in head
        self.closes = b"\r\nconnection: close" in head
        length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        self.length = int(length or 0)

    def _ended(self, end: str) -> None:
        asked, raw = self.now, bytes(self.raw)
        assert asked is not None
        answer = Answer(asked, end, self.status, raw[: self.body_at], ms=(perf_counter() - self.at) * 1000)
        if self.body_at:
            body, whole = raw[self.body_at :], True
            if self.chunked:
                body, whole = chunks(raw, self.body_at)
            elif len(body) != self.length:
                whole = False
            if end == "whole" and not whole:
                answer.end = "cut"
            answer.bytes, answer.sum = len(body), zlib.crc32(body)
            answer.read = asked.lane.read(self.status, body)
        self.load.answers.append(answer)
        self.now = None
        if end != "whole":
            return
        if self.closes or answer.end != "whole":
            self.transport.close()
            return
        self.now = next(self.load.asked, None)
        if self.now is None:
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.now is not None:
            self._ended("cut" if self.raw else "none")
        self.load.closed(self)

    def give_up(self) -> None:
        """Note that nothing came."""
        if self.now is not None:
            self.load.answers.append(Answer(self.now))
            self.now = None
        self.transport.abort()
