"""A board and a store in Redis or Valkey: what several processes, also on several machines, know together.

Each command is one script over one key, so all of it holds in a cluster as well, and whatever is over is over by the
server's own clock. Nothing is left behind: every key has an end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.config.redis import RedisSettings
from penstock.stores.base import KEEP_WINDOWS, NEWS, WINDOW, Mark
from penstock.stores.redis_client import NotInstalled, close, close_channel, connect, open_channel, told
from penstock.stores.shared import Shared

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX = "penstock:"
LONGEST_NAME = 200  # characters of a name, as it is; of a longer one its hash stands
LONGEST_VALUE = 500  # characters of a mark's value
MOST_SECONDS = 30 * 86400.0  # that a mark holds
MOST_MARKS = 10_000  # that are read
LONGEST_MESSAGE = 64 * 1024
PATIENCE = 60.0  # seconds of silence after which the channel is listened to anew: it may be dead at the other end

# KEYS[1]: a hash of ends in ms and values. ARGV: channel, news in ms, then of each mark: field, ms, value, message.
_TELL = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for i = 3, #ARGV, 4 do
  local ends = now + tonumber(ARGV[i + 1])
  local had = redis.call('HGET', KEYS[1], ARGV[i])
  if not had or tonumber(string.match(had, '^%d+') or 0) + tonumber(ARGV[2]) < ends then
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f %s', ends, ARGV[i + 2]))
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[i + 1]) then redis.call('PEXPIRE', KEYS[1], ARGV[i + 1]) end
    redis.call('PUBLISH', ARGV[1], ARGV[i + 3])
  end
end
return 1
"""
# KEYS[1]: the same hash. ARGV: the most to return. Forgets what is over.
_MARKS = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local all, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local ends, value = string.match(all[i + 1], '^(%d+) (.*)$')
  local left = tonumber(ends or 0) - now
  if left <= 0 then
    redis.call('HDEL', KEYS[1], all[i])
  elseif #found < 3 * tonumber(ARGV[1]) then
    found[#found + 1] = all[i]
    found[#found + 1] = value
    found[#found + 1] = left
  end
end
return found
"""
# KEYS[1]: a hash of a window: by process = name what it has counted, by = name what all have. ARGV: process, ms until
# the window is forgotten, then for each name: name, count.
_COUNT = """
local totals, changed = {}, false
for i = 3, #ARGV, 2 do
  local own, all = ARGV[1] .. '=' .. ARGV[i], '=' .. ARGV[i]
  local more = tonumber(ARGV[i + 1]) - tonumber(redis.call('HGET', KEYS[1], own) or 0)
  if more > 0 then
    redis.call('HSET', KEYS[1], own, ARGV[i + 1])
    totals[#totals + 1] = redis.call('HINCRBY', KEYS[1], all, string.format('%.0f', more))
    changed = true
  else
    totals[#totals + 1] = tonumber(redis.call('HGET', KEYS[1], all) or 0)
  end
end
if changed then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return totals
"""


class RedisBoard:
    """A ``stores.base.Board``. It connects when it is first used; without the package redis every use raises
    ``NotInstalled``. ``prefix``: of its keys; who has the same one in the same database shares everything."""

    def __init__(self, settings: RedisSettings, prefix: str = PREFIX) -> None:
        self.where = f"Redis at {settings.place}"
        self.settings = settings
        self._marks = f"{prefix}marks"
        self._counts = f"{prefix}counts:"
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
            await self._run(_TELL, self._marks, words)

    async def marks(self) -> list[Mark]:
        found: list[bytes | int] = await self._run(_MARKS, self._marks, [MOST_MARKS])
        marks = []
        for at in range(0, len(found) - 2, 3):
            field, value, left = found[at : at + 3]
            named = _named(bytes(field)) if isinstance(field, bytes) else None
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

    async def count(self, window: int, process: str, counts: Sequence[tuple[str, int]]) -> list[int]:
        words: list[str | int] = [process, int(KEEP_WINDOWS * WINDOW * 1000)]
        for name, own in counts:
            words += [_short(name), own]
        totals: list[int] = await self._run(_COUNT, f"{self._counts}{window}", words)
        return totals

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


def _named(field: bytes) -> tuple[str, str] | None:
    try:
        return msgspec.json.decode(field, type=tuple[str, str])
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
