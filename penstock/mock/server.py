"""`Mock`: the listener, and what it received."""

from __future__ import annotations

import asyncio
import fnmatch
import random
import time
import zlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from penstock.mock import (
    bedrock,
    debug,
    gemini,
)
from penstock.mock.journal import Journal
from penstock.mock.paths import (
    KEYS,
    TOO_LARGE,
    error_reply,
    handled,
    headers,
    route,
    told_body,
    told_error,
    told_event,
    unknown_path,
)
from penstock.mock.reply import Exchange, Frame, Memory, Refused, Reply, encode
from penstock.mock.script import NOTHING, Rule, Script, Step
from penstock.mock.wire import Connection

if TYPE_CHECKING:
    from penstock.mock.launch import ThreadMock  # circle: a thread runs a mock, and `Mock.thread` is its short name
    from penstock.mock.sockets import MockSocket

_UNREAD: Any = object()


class Received:
    """One request as it came. `json` is the parsed body (None if it is not JSON), `at` seconds since 1970.

    `closed_early`: the client left before the answer was out. `complete`: the answer (or what the script left of it)
    is out. `cut`: the script had the mock hang up. `sent_bytes` and `sent_events` count the body as far as it went,
    `sum` is its CRC-32 (of what the client reads: without the framing)."""

    __slots__ = (
        "method", "path", "query", "headers", "body", "at", "connection_id", "closed_early", "complete", "cut",
        "status", "sent_bytes", "sent_events", "sum", "number", "messages", "closed", "_json",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: list[tuple[str, str]],
        body: bytes,
        connection_id: int,
        number: int,
    ) -> None:
        self.method, self.path, self.query, self.headers, self.body = method, path, query, headers, body
        self.at = time.time()
        self.connection_id = connection_id
        self.number = number
        self.closed_early = self.complete = self.cut = False
        self.status = self.sent_bytes = self.sent_events = self.sum = 0
        self.messages: list[Any] = []  # of a WebSocket, as JSON
        self.closed: int | None = None  # the code with which its client closed it
        self._json = _UNREAD

    @property
    def json(self) -> Any:
        """Decode the body as JSON; None if it is empty or not JSON."""
        if self._json is _UNREAD:
            try:
                self._json = msgspec.json.decode(self.body)
            except msgspec.DecodeError:
                self._json = None
        return self._json

    def sent(self, data: bytes) -> None:
        """Note a part of the body that goes out."""
        self.sent_bytes += len(data)
        self.sum = zlib.crc32(data, self.sum)

    def header(self, name: str) -> str | None:
        """Return the first value of a header, by its name in any case; None without one."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def __repr__(self) -> str:
        return f"<Received {self.number} {self.method} {self.path} {len(self.body)} bytes -> {self.status}>"


class Mock:
    """A mock upstream on a loopback port: `async with Mock(script=...) as mock`, or `start()` and `stop()`.

    It runs on the caller's event loop. `keep` limits how many requests `received` holds (the oldest go first);
    `debug_urls=False` switches `/__mock__/...` off; `journal` names a file for one line per begin and end of a request.
    Raises OSError from `start()` if the port is taken, and at once if the journal cannot be written."""

    def __init__(
        self,
        script: Script | None = None,
        api_key: str | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keep: int = 100_000,
        debug_urls: bool = True,
        journal: str | None = None,
    ) -> None:
        self.host, self.port, self.api_key, self.keep, self.debug_urls = host, port, api_key, keep, debug_urls
        self.received: list[Received] = []
        self.connections: dict[int, Connection] = {}
        self.memory = Memory()
        self.sockets: set[MockSocket] = set()
        self.requests = self.opened_ever = self.hangups = 0
        self._server: asyncio.Server | None = None
        self._journal = Journal(journal) if journal is not None else None
        self.script = script if script is not None else Script()

    # -- life

    async def start(self) -> Mock:
        """Listen. `port` and `url` are known afterwards."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections.values()):
                connection.transport.abort()
            for socket in list(self.sockets):
                socket.transport.abort()
            await asyncio.sleep(0)
            self._server = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    async def __aenter__(self) -> Mock:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @staticmethod
    def thread(script: Script | None = None, api_key: str | None = None, **options: Any) -> ThreadMock:
        """Make the same mock with its loop in a thread of its own: `with Mock.thread(script=...) as mock`."""
        from penstock.mock.launch import ThreadMock

        return ThreadMock(script, api_key, **options)

    @property
    def url(self) -> str:
        """Return `http://HOST:PORT`; OpenAI's base URL is this plus `/v1`, Anthropic's is this."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    # -- the script

    @property
    def script(self) -> Script:
        """Return what the mock is told to do; assign a new one at any time (rule counters start again)."""
        return self._script

    @script.setter
    def script(self, script: Script) -> None:
        self._script = script
        self._queue = list(script.queue)
        self._counts = [0] * len(script.rules)

    def queue(self, steps: Iterable[Step]) -> None:
        """Add steps for the next requests, in order, before any rule."""
        self._queue.extend(steps)

    def reset(self) -> None:
        """Forget requests, queued steps, rule counters, caches and numbering, as if just started."""
        self.received.clear()
        self.memory = Memory()
        self.requests = self.hangups = 0
        self.script = self._script

    def _step(self, received: Received) -> Step:
        script = self._script
        step = NOTHING
        if self._queue:
            step = self._queue.pop(0)
        else:
            for at, rule in enumerate(script.rules):
                if _fits(rule, received):
                    self._counts[at] += 1
                    if _turn(rule, self._counts[at]):
                        step = rule.step
                        break
            else:
                if script.mix:
                    # one generator per request number: which one goes wrong does not depend on timing
                    draw = random.Random(f"{script.seed}:{self.requests}")
                    step = draw.choices(script.mix, [one.weight for one in script.mix])[0].step
        return step.over(script.default)

    async def wait_for(self, count: int = 1, *, complete: bool = False, timeout: float = 5.0) -> list[Received]:
        """Wait until so many requests came (`complete`: and are over, by answer or hang-up). Raises TimeoutError."""
        end = time.monotonic() + timeout
        while not self._came(count, complete, end):
            await asyncio.sleep(0.005)
        return list(self.received)

    def wait(self, count: int = 1, *, complete: bool = False, timeout: float = 5.0) -> list[Received]:
        """Wait as `wait_for` does, in synchronous tests, when the mock runs in a thread. `timeout` is in seconds.
        Raises TimeoutError."""
        end = time.monotonic() + timeout
        while not self._came(count, complete, end):
            time.sleep(0.005)
        return list(self.received)

    def _came(self, count: int, complete: bool, end: float) -> bool:
        over = [one for one in list(self.received) if not complete or one.complete or one.closed_early]
        if len(over) < count and time.monotonic() > end:
            raise TimeoutError(f"only {len(over)} of {count} requests in time: {self.received}")
        return len(over) >= count

    # -- the connections' side

    def _connect(self) -> Connection:
        self.opened_ever += 1
        return Connection(self, self.opened_ever)

    def opened(self, connection: Connection) -> None:
        """Note that a client connected."""
        self.connections[connection.number] = connection

    def closed(self, connection: Connection) -> None:
        """Note that a connection is gone."""
        self.connections.pop(connection.number, None)
        if connection.current is not None and not connection.current.complete:
            self.hangups += 1

    def record(self, method: str, url: bytes, headers: list[tuple[str, str]], body: bytes, connection: int) -> Received:
        """Keep a request (debug URLs are not kept)."""
        target = url.decode("latin-1")
        if "://" in target:
            target = "/" + target.split("://", 1)[1].partition("/")[2]
        path, _, query = target.partition("?")
        is_debug = self.debug_urls and path.startswith(debug.PREFIX)
        if not is_debug:
            self.requests += 1
        received = Received(method, unquote(path), query, headers, body, connection, self.requests)
        if not is_debug and self.keep:
            self.received.append(received)
            if len(self.received) > self.keep:
                del self.received[0]
        if self._journal is not None and not is_debug:
            self._journal.began(received)
        return received

    def ended(self, received: Received) -> None:
        """Note that a request is over: answered, cut off, or left alone by its client."""
        if self._journal is not None and not (self.debug_urls and received.path.startswith(debug.PREFIX)):
            self._journal.ended(received)

    def respond(self, received: Received, size: int) -> tuple[Step, Reply]:
        """Choose the step that applies, and make the answer. `size` is the body's full length."""
        if self.debug_urls and received.path.startswith(debug.PREFIX):
            return NOTHING, debug.reply(self, received)
        step = self._step(received)
        return step, self._reply(received, step, size)

    def open_socket(self, received: Received) -> tuple[Step, Reply | None]:
        """Choose the step that applies to a WebSocket, and what is answered instead of one."""
        step = self._step(received)
        exchange = self.exchange(received, step)
        try:
            self._check_key(received, "openai_chat")
            if step.status is not None and step.status >= 400:
                raise told_error(step)
        except Refused as exc:
            return step, told_body(error_reply("openai_chat", exchange, exc), step, "openai_chat")
        return step, None

    def _reply(self, received: Received, step: Step, size: int) -> Reply:
        exchange = self.exchange(received, step)
        dialect, handler = route(received, self._script)
        if step.body is not None:
            text = step.body.encode("utf-8", "surrogateescape") if isinstance(step.body, str) else encode(step.body)
            kind = "text/plain" if isinstance(step.body, str) and text[:1] not in (b"{", b"[") else "application/json"
            return Reply(step.status or 200, headers(dialect, exchange), text, kind)
        try:
            self._check_key(received, dialect)
            if size > self._script.max_body_bytes:
                raise Refused(413, TOO_LARGE[dialect])
            if step.status is not None and step.status >= 400:
                raise told_error(step)
            if handler is None:
                raise unknown_path(received, dialect)
            reply = handled(handler, exchange)
        except Refused as exc:
            return told_body(error_reply(dialect, exchange, exc), step, dialect)
        if step.status is not None:
            reply.status = step.status
        return reply

    def exchange(self, received: Received, step: Step) -> Exchange:
        """Turn the request into what the dialects take."""
        return Exchange(
            received.method, received.path, received.query, dict(received.headers), received.body, step, self._script,
            self.memory, received.number,
        )  # fmt: skip

    def _check_key(self, received: Received, dialect: str) -> None:
        if self.api_key is None or received.path == "/":
            return
        given = next(filter(None, map(received.header, KEYS)), None) or _key_in(received.query)
        given = given.removeprefix("Bearer ").strip()
        if given == self.api_key:
            return
        if dialect == "gemini":  # a wrong key is a 400 there, and one that is missing a 403
            if given:
                raise Refused(400, "API key not valid. Please pass a valid API key.", code="API_KEY_INVALID")
            raise Refused(403, "")
        if dialect == "anthropic":
            raise Refused(401, "invalid x-api-key" if given else "x-api-key header is required")
        if not given:
            raise Refused(401, "You didn't provide an API key. (mock)", "invalid_request_error")
        raise Refused(
            401, f"Incorrect API key provided: {_hide(given)}. (mock)", "invalid_request_error", "invalid_api_key"
        )

    def with_error_event(self, source: Iterator[Frame], step: Step, received: Received | None) -> Iterator[Frame]:
        """Yield the events, ended by an error event after `error_event_after` of them."""
        if step.error_event_after is None or received is None:
            yield from source
            return
        sent = 0
        for frame in source:
            if sent >= step.error_event_after:
                break
            yield frame
            sent += 1
        dialect, _ = route(received, self._script)
        yield told_event(dialect, step, sent)


def _key_in(query: str) -> str:
    return next((part[4:] for part in query.split("&") if part.startswith("key=")), "")


def _hide(key: str) -> str:
    return f"{'*' * 8}{key[-4:]}" if len(key) > 8 else "*" * 8


def _fits(rule: Rule, received: Received) -> bool:
    if rule.method is not None and rule.method.upper() != received.method:
        return False
    if rule.path is not None and not fnmatch.fnmatchcase(received.path, rule.path):
        return False
    if rule.contains is not None and rule.contains.encode() not in received.body:
        return False
    for name, glob in (rule.header or {}).items():
        value = received.header(name)
        if (value is None) != (glob is None) or (glob is not None and not fnmatch.fnmatchcase(value or "", glob)):
            return False
    if rule.model is None and rule.stream is None:
        return True
    body = received.json if isinstance(received.json, dict) else {}
    if gemini.handler(received.path) is not None:  # both stand in the path
        body = {"model": gemini.model_in(received.path), "stream": "stream" in received.path.rpartition(":")[2], **body}
    elif bedrock.handler(received.path) is not None:
        body = {"model": bedrock.model_in(received.path), "stream": received.path.endswith("-stream"), **body}
    if rule.model is not None and not fnmatch.fnmatchcase(str(body.get("model")), rule.model):
        return False
    return rule.stream is None or bool(body.get("stream")) == rule.stream


def _turn(rule: Rule, count: int) -> bool:
    if rule.nth is not None and count not in rule.nth:
        return False
    return rule.every is None or count % rule.every == 0
