"""An upstream that hears uploads without holding them, and clients that send them as a test wants."""

from __future__ import annotations

import asyncio
import hashlib

from tests.door import Door, parse, read_answers

MIB = 1024 * 1024
BOUNDARY = b"xYzBoundary"
JSON = b'{"text":"heard","usage":{"type":"duration","seconds":7}}'


def answer(status: int = 200, body: bytes = JSON, kind: bytes = b"application/json", more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n"
    return head % (status, kind, len(body), more) + body


ERROR = b'{"error":{"message":"No.","type":"x"}}'


class Heard:
    """One request: its head's lines, how much of its body came, and the body's hash and ends."""

    def __init__(self, head: bytes) -> None:
        self.head = head.lower()
        self.size = 0
        self.hash = hashlib.sha256()
        self.first = self.last = b""
        self.complete = False
        self.gone = asyncio.Event()

    @property
    def length(self) -> int | None:
        _, found, rest = self.head.partition(b"\r\ncontent-length: ")
        return int(rest.split(b"\r\n")[0]) if found else None

    def hear(self, data: bytes) -> None:
        self.size += len(data)
        self.hash.update(data)
        self.first = (self.first + data)[:20_000] if len(self.first) < 20_000 else self.first
        self.last = (self.last + data)[-20_000:]


class Ear:
    """``says``: the answers in turn, the last one again and again. ``early``: answer after so many body bytes and close
    without reading on. ``dies``: hang up after so many. ``deaf``: does not read while set."""

    def __init__(self) -> None:
        self.says: list[bytes] = [answer()]
        self.early: list[int | None] = [None]
        self.dies: int | None = None
        self.deaf = asyncio.Event()
        self.requests: list[Heard] = []
        self.tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> Ear:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=64 * 1024)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, EOFError):
            for one in self.requests:
                if not one.complete:
                    one.gone.set()
        except RuntimeError:
            pass  # uvloop's way to say that the transport is closed
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = Heard(await reader.readuntil(b"\r\n\r\n"))
        number = len(self.requests)
        self.requests.append(heard)
        said = self.says[min(number, len(self.says) - 1)]
        early = self.early[min(number, len(self.early) - 1)]
        left = heard.length
        while left is None or left > 0:
            if early is not None and heard.size >= early:
                writer.write(said)
                await writer.drain()
                raise EOFError
            if self.dies is not None and heard.size >= self.dies:
                raise EOFError
            while self.deaf.is_set():
                await asyncio.sleep(0.005)
            if left is None:
                size = int(await reader.readline(), 16)
                data = await reader.readexactly(size)
                await reader.readexactly(2)
                if not size:
                    break
            else:
                data = await reader.read(min(left, 65536))
                if not data:
                    raise EOFError
                left -= len(data)
            heard.hear(data)
        heard.complete = True
        writer.write(said)
        await writer.drain()


def yaml(*ears: Ear | str, model: str = "openai/whisper-1", retries: int = 0, more: str = "", name: str = "m") -> str:
    """A deployment per ear, each of a group of its own: m, m2, ..., which are the fallbacks of m."""
    lines = ["model_list:"]
    names = [name if not number else f"{name}{number + 1}" for number in range(len(ears))]
    for one, ear in zip(names, ears, strict=True):
        url = ear if isinstance(ear, str) else ear.url
        lines += [
            f"  - model_name: {one}",
            f'    litellm_params: {{model: {model}, api_base: "{url}/v1", api_key: sk-x, timeout: 20{more}}}',
        ]
    falls = f", fallbacks: [{{{name}: [{', '.join(names[1:])}]}}]" if names[1:] else ""
    return "\n".join(lines) + f"\nrouter_settings: {{num_retries: {retries}{falls}}}\n"


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    extra = f'; filename="{filename}"\r\nContent-Type: audio/wav' if filename is not None else ""
    head = f'--{BOUNDARY.decode()}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + value + b"\r\n"


END = b"--%b--\r\n" % BOUNDARY


def head(length: int | None, path: str = "/v1/audio/transcriptions", more: bytes = b"") -> bytes:
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: multipart/form-data; boundary=%b\r\n%b\r\n%b\r\n" % (
        path.encode(),
        BOUNDARY,
        framing,
        more,
    )


def chunked(data: bytes, step: int = 60_000) -> bytes:
    cut = (data[at : at + step] for at in range(0, len(data), step))
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in cut) + b"0\r\n\r\n"


class Sender:
    """A client in the middle of its upload."""

    def __init__(self, door: Door) -> None:
        self.door = door

    async def __aenter__(self) -> Sender:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.door.port)
        self.writer.transport.set_write_buffer_limits(high=64 * 1024)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def send(self, *parts: bytes) -> None:
        for one in parts:
            self.writer.write(one)
            await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        return parse(await read_answers(self.reader, 1))

    async def one(self) -> tuple[int, dict[str, str], bytes]:
        """One answer with a length, and nothing of what follows it."""
        top = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        status, headers, _ = parse(top)
        return status, headers, await self.reader.readexactly(int(headers["content-length"]))


async def upload(door: Door, body: bytes, *, whole: bool = True, **more: str) -> tuple[int, dict[str, str], bytes]:
    """The body in one request; ``whole`` False: chunked."""
    path = more.pop("path", "/v1/audio/transcriptions")
    lines = b"connection: close\r\n" + b"".join(b"%b: %b\r\n" % (k.encode(), v.encode()) for k, v in more.items())
    async with Sender(door) as client:
        await client.send(head(len(body) if whole else None, path, lines))
        sending = asyncio.ensure_future(client.send(body if whole else chunked(body)))
        try:
            return await client.answer()
        finally:
            sending.cancel()
