"""The mock upstream of the benchmark. A mock: its answers are fixed, it understands nothing.

It speaks just enough HTTP/1.1 to be a correct upstream (keep-alive, Content-Length and chunked requests, requests cut
anywhere), answers OpenAI Chat Completions and Anthropic Messages whole and streamed, and is fast enough not to be the
bottleneck. Every streamed chunk is a write of its own, `--interval-us` apart.

    python -m bench.upstream --port 9000 --interval-us 2000

Besides the API it has `GET /_mock/counters` and `PUT /_mock/interval/<us>` for the harness.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from typing import NamedTuple, cast

from bench import payloads

CHUNKED = -1
_HEADS_KEPT = 4096
_JSON_HEAD = (
    b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nserver: penstock-bench-mock\r\n"
    b"x-request-id: req_mock00000000000000000000\r\nopenai-processing-ms: 0\r\ncontent-length: %d\r\n\r\n"
)
_SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nserver: penstock-bench-mock\r\n"
    b"cache-control: no-cache\r\nx-request-id: req_mock00000000000000000000\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _json(status: bytes, body: bytes) -> bytes:
    return _JSON_HEAD % (status, len(body)) + body


def _frame(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _stream(chunks: list[bytes], last: bytes) -> list[bytes]:
    """One entry per write. The answer's head travels with the first chunk, the end marker with `last`."""
    frames = [_frame(c) for c in chunks]
    frames[0] = _SSE_HEAD + frames[0]
    return [*frames, (_frame(last) if last else b"") + b"0\r\n\r\n"]


def _error(status: bytes, message: str) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return _json(status, payloads.dumps({"error": error}))


class Reply(NamedTuple):
    """What a path answers: whole, and streamed, each plain and with tool calls."""

    whole: bytes
    stream: list[bytes]
    tools_whole: bytes
    tools_stream: list[bytes]


_CHAT = Reply(
    _json(b"200 OK", payloads.CHAT_WHOLE),
    _stream(payloads.CHAT_STREAM, payloads.CHAT_DONE),
    _json(b"200 OK", payloads.CHAT_TOOLS_WHOLE),
    _stream(payloads.CHAT_TOOLS_STREAM, payloads.CHAT_DONE),
)
_MESSAGES_WHOLE = _json(b"200 OK", payloads.MESSAGES_WHOLE)
_MESSAGES_STREAM = _stream(payloads.MESSAGES_STREAM, b"")
_MESSAGES = Reply(_MESSAGES_WHOLE, _MESSAGES_STREAM, _MESSAGES_WHOLE, _MESSAGES_STREAM)
_MODELS = _json(b"200 OK", payloads.MODELS)
_REPLIES = {b"/v1/chat/completions": _CHAT, b"/v1/messages": _MESSAGES}


class Head(NamedTuple):
    """A request head, as far as this server reads it. `length` is CHUNKED for a chunked body."""

    method: bytes
    path: bytes
    length: int
    keep_alive: bool


def parse_head(head: bytes) -> Head:
    """Parse a head without its closing blank line. Raises ValueError when it is no HTTP/1.1 request."""
    lines = head.split(b"\r\n")
    method, target, version = lines[0].split(b" ")
    length, keep_alive = 0, version == b"HTTP/1.1"
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip().lower()
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding" and value == b"chunked":
            length = CHUNKED
        elif name == b"connection":
            keep_alive = value != b"close"
    return Head(method, target.partition(b"?")[0], length, keep_alive)


def read_chunked(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The body that starts at `at` and the offset behind it, or None while it is incomplete."""
    parts: list[bytes] = []
    while True:
        eol = data.find(b"\r\n", at)
        if eol < 0:
            return None
        size = int(data[at:eol].partition(b";")[0], 16)
        end = eol + 2 + size + 2
        if len(data) < end:
            return None
        if size == 0:
            return b"".join(parts), end
        parts.append(data[eol + 2 : end - 2])
        at = end


def is_true(body: bytes, key: bytes) -> bool:
    """Whether a quoted JSON key is followed by `true`. Quotes inside strings are escaped, so no text can match."""
    at = body.find(key)
    while at >= 0:
        at += len(key)
        if body[at : at + 8].replace(b" ", b"").startswith(b":true"):
            return True
        at = body.find(key, at)
    return False


class Counters:
    """What the mock saw, for the harness."""

    __slots__ = ("interval_s", "streams", "streams_cut", "unexpected", "whole")

    def __init__(self, interval_us: int = 0) -> None:
        self.whole = 0
        self.streams = 0
        self.streams_cut = 0
        self.unexpected = 0
        self.interval_s = interval_us / 1e6

    def as_json(self) -> bytes:
        return payloads.dumps({k: getattr(self, k) for k in self.__slots__})


class MockUpstream(asyncio.Protocol):
    """One connection."""

    __slots__ = ("_at", "_counters", "_frames", "_have", "_heads", "_loop", "_need", "_parts", "_timer", "_transport")

    def __init__(self, counters: Counters, heads: dict[bytes, Head], loop: asyncio.AbstractEventLoop) -> None:
        self._counters = counters
        self._heads = heads
        self._loop = loop
        self._parts: list[bytes] = []
        self._have = self._need = 0
        self._frames: list[bytes] | None = None
        self._at = 0
        self._timer: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio.Transport, so this cannot be an isinstance check.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._counters.streams_cut += 1

    def data_received(self, data: bytes) -> None:
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        while data:
            if self._frames is not None:  # a pipelined request waits for the stream before it
                return self._wait(data, len(data) + (1 << 62))
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return self._wait(data, len(data) + 1)
            raw = data[:end]
            head = self._heads.get(raw) or self._new_head(raw)
            at = end + 4
            if head.length == CHUNKED:
                found = read_chunked(data, at)
                if found is None:
                    return self._wait(data, len(data) + 1)
                body, after = found
            else:
                after = at + head.length
                if len(data) < after:
                    return self._wait(data, after)
                body = data[at:after]
            self._answer(head, body)
            data = data[after:]

    def _wait(self, data: bytes, need: int) -> None:
        self._parts.append(data)
        self._have, self._need = len(data), need

    def _new_head(self, raw: bytes) -> Head:
        """Load generators and gateways repeat their heads byte for byte, so each is parsed once."""
        head = parse_head(raw)
        if len(self._heads) < _HEADS_KEPT:
            self._heads[raw] = head
        return head

    def _answer(self, head: Head, body: bytes) -> None:
        reply = _REPLIES.get(head.path)
        if reply is None or head.method != b"POST":
            self._transport.write(self._other(head))
        else:
            tools = b'"tools"' in body
            if is_true(body, b'"stream"'):
                self._counters.streams += 1
                self._frames = reply.tools_stream if tools else reply.stream
                self._at = 0
                self._pump()
                return
            self._counters.whole += 1
            self._transport.write(reply.tools_whole if tools else reply.whole)
        if not head.keep_alive:
            self._transport.close()

    def _other(self, head: Head) -> bytes:
        if head.method == b"GET" and head.path == b"/v1/models":
            return _MODELS
        if head.method == b"GET" and head.path == b"/_mock/counters":
            return _json(b"200 OK", self._counters.as_json())
        if head.method == b"PUT" and head.path.startswith(b"/_mock/interval/"):
            self._counters.interval_s = int(head.path.rpartition(b"/")[2]) / 1e6
            return _json(b"200 OK", b"{}")
        self._counters.unexpected += 1
        return _error(b"404 Not Found", f"the mock has no {head.method.decode()} {head.path.decode()}")

    def _pump(self) -> None:
        """Write one chunk and come back for the next: uvloop joins the writes of one loop turn into one."""
        frames = self._frames
        assert frames is not None
        self._transport.write(frames[self._at])
        self._at += 1
        if self._at < len(frames):
            pause = self._counters.interval_s
            # The end marker follows the last chunk at once, as real servers send it.
            again = pause and self._at < len(frames) - 1
            self._timer = self._loop.call_later(pause, self._pump) if again else self._loop.call_soon(self._pump)
            return
        self._timer = self._frames = None
        if self._parts:
            self._need = 0
            waiting, self._parts = b"".join(self._parts), []
            self.data_received(waiting)


async def start(port: int, interval_us: int = 0) -> tuple[asyncio.Server, int]:
    """Listen on 127.0.0.1. Port 0 takes a free one; the second value is the port."""
    loop = asyncio.get_running_loop()
    counters = Counters(interval_us)
    heads: dict[bytes, Head] = {}
    server = await loop.create_server(lambda: MockUpstream(counters, heads, loop), "127.0.0.1", port, backlog=4096)
    return server, int(server.sockets[0].getsockname()[1])


async def _serve(port: int, interval_us: int) -> None:
    server, bound = await start(port, interval_us)
    print(json.dumps({"mock": "penstock-bench-mock", "port": bound}), flush=True)
    async with server:
        await server.serve_forever()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it exists, else asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def main() -> None:
    parser = argparse.ArgumentParser(description="Mock upstream of the benchmark (a mock: fixed answers).")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one and prints it")
    parser.add_argument("--interval-us", type=int, default=0, help="pause between streamed chunks, rounded to ms")
    args = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            runner.run(_serve(args.port, args.interval_us))
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
