"""A board and a store in Redis or Valkey: what several processes, also on several machines, know together.

Each command is one script (``redis_scripts``) over one key, so all of it holds in a cluster as well.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from penstock.config.redis import RedisSettings
from penstock.core.route.spent import MOST_SPENDERS, Known, Told
from penstock.stores.base import HOLD, KEEP_WINDOWS, NEWS, WINDOW, Figure, Mark, slack_of
from penstock.stores.redis_client import NotInstalled, close, close_channel, connect, open_channel, told
from penstock.stores.redis_scripts import COMPARE, COUNT, MARKS, SPEND, TELL
from penstock.stores.shared import Shared

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")
PREFIX = "penstock:"
LONGEST_NAME = 200  # characters of a name, as it is; of a longer one its hash stands
LONGEST_VALUE = 500  # characters of a mark's value
MOST_SECONDS = 30 * 86400.0  # that a mark holds
MOST_MARKS = 10_000  # that are read
MOST_FIGURES = 10_000
_NO_PROCESS = (b"@", b"=")  # fields of a budget's window
LONGEST_MESSAGE = 64 * 1024
PATIENCE = 60.0  # seconds of silence after which the channel is listened to anew: it may be dead at the other end


class RedisBoard:
    """A ``stores.base.Board``. It connects when it is first used; without the package redis every use raises
    ``NotInstalled``. ``prefix``: of its keys; who has the same one in the same database shares everything."""

    def __init__(self, settings: RedisSettings, prefix: str = PREFIX) -> None:
        self.where = f"Redis at {settings.place}"
        self.settings = settings
        self._marks = f"{prefix}marks"
        self._counts = f"{prefix}counts:"
        self._spent = f"{prefix}spent:"
        self._figures = f"{prefix}latencies"
        # Channels are the same for all databases of a server.
        self._channel = f"{prefix}marks:{settings.db}"
        self._client: Redis | None = None
        with suppress(NotInstalled):
            self._client = connect(settings)  # imports the package: not while requests are served

    @property
    def client(self) -> Redis:
        """Return the client."""
        if self._client is None:
            self._client = connect(self.settings)
        return self._client

    async def tell(self, marks: Sequence[Mark]) -> None:
        words: list[str | int] = [self._channel, int(NEWS * 1000)]
        for mark in marks:
            short = mark._replace(value=mark.value[:LONGEST_VALUE], seconds=min(mark.seconds, MOST_SECONDS))
            field = msgspec.json.encode((mark.kind, mark.key)).decode()
            words += [field, max(1, int(short.seconds * 1000)), short.value, msgspec.json.encode(short).decode()]
        if marks:
            await self._run(TELL, self._marks, words)

    async def marks(self) -> list[Mark]:
        found: list[bytes | int] = await self._run(MARKS, self._marks, [MOST_MARKS])
        marks = []
        for at in range(0, len(found) - 2, 3):
            field, value, left = found[at : at + 3]
            named = _read_as(bytes(field), tuple[str, str]) if isinstance(field, bytes) else None
            if named is not None and isinstance(value, bytes) and isinstance(left, int):
                marks.append(Mark(*named, value.decode("utf-8", "replace"), left / 1000))
        return marks

    async def changes(self) -> AsyncGenerator[Mark | None, None]:
        hears, own = await open_channel(self.client, self.settings, self._channel)
        try:
            while True:
                with told():
                    message: dict[str, Any] | None = await hears.get_message(timeout=PATIENCE)
                if message is None:
                    return
                if message["type"] == "subscribe":
                    yield None
                elif message["type"] == "message" and (mark := _read(message["data"])) is not None:
                    yield mark
        finally:
            await close_channel(hears, own)

    async def count(
        self, window: int, process: str, counts: Sequence[tuple[str, int]], seconds: float = WINDOW
    ) -> list[int]:
        words: list[str | int] = [process, int(KEEP_WINDOWS * seconds * 1000)]
        key = str(window) if seconds == WINDOW else f"{window}:{seconds:g}"
        for name, own in counts:
            words += [_short(name), own]
        totals: list[int] = await self._run(COUNT, f"{self._counts}{key}", words)
        return totals

    async def spend(self, told: Told) -> Known | None:
        words: list[str | int] = [told.period, told.at, told.age, slack_of(told.period)]
        words += [MOST_SPENDERS if told.whole else 0, told.own]
        for name, amount in told.by.items():
            words += [name, amount]
        found: list[Any] = await self._run(SPEND, f"{self._spent}{_short(told.name)}:{told.period}", words)
        if not found:
            return None
        at, age, total, mine, pairs = found
        names = iter(pairs)
        by = {name.decode(): int(amount) for name, amount in zip(names, names, strict=True) if name not in _NO_PROCESS}
        return Known(at, age, total, mine, by or None)

    async def compare(self, figures: Sequence[Figure], age: float) -> list[Figure]:
        words: list[str | int] = [int(HOLD * 1000), int(age * 1000), MOST_FIGURES]
        for figure in figures:
            if len(figure.key) <= LONGEST_NAME:
                field = msgspec.json.encode((figure.key, figure.stream)).decode()
                words += [field, int(figure.age * 1000), repr(figure.value)]
        found: list[Any] = await self._run(COMPARE, self._figures, words)
        return [
            Figure(*named, float(value), age / 1000)
            for field, value, age in zip(found[::3], found[1::3], found[2::3], strict=True)
            if (named := _read_as(field, tuple[str, bool])) is not None
        ]

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await close(client)

    async def _run(self, script: str, key: str, words: Sequence[str | int]) -> Any:
        client: Any = self.client
        with told():
            return await client.eval(script, 1, key, *words)


class RedisStore:
    """A ``stores.base.Store`` in the Redis of a board. ``name``: what its keys begin with, beside those of others."""

    def __init__(self, board: RedisBoard, name: str = "values") -> None:
        self._board = board
        self._prefix = f"{PREFIX}{name}:"

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        place, client = self._prefix + key, self._board.client
        with told():
            if ttl is None:
                await client.set(place, value)
            elif ttl > 0:
                await client.set(place, value, px=max(1, round(ttl * 1000)))
            else:
                await client.delete(place)

    async def get(self, key: str) -> bytes | None:
        client = self._board.client
        with told():
            found: Any = await client.get(self._prefix + key)
        return None if found is None else bytes(found)

    async def delete(self, key: str) -> bool:
        client = self._board.client
        with told():
            return bool(await client.delete(self._prefix + key))

    async def close(self) -> None:
        """Do nothing: the connections are the board's."""


def open_shared(settings: RedisSettings) -> Shared:
    """Make what shares through a Redis; ``start`` begins it."""
    board = RedisBoard(settings)
    return Shared(board, RedisStore(board))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else blake2b(name.encode(), digest_size=16).hexdigest()


def _read_as(field: bytes, type: type[T]) -> T | None:
    try:
        return msgspec.json.decode(field, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _read(message: bytes) -> Mark | None:
    """Read a message of the channel; None for what is no mark of ours: anybody may publish there."""
    if len(message) > LONGEST_MESSAGE:
        return None
    try:
        mark = msgspec.json.decode(message, type=Mark)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return mark if 0 < mark.seconds <= MOST_SECONDS else None
