"""Caps that several processes share, in Redis or Valkey: see ``stores.base.Pot``.

A cap in a window is a hash: what each process has been granted (``h:PROCESS``), what of it that had spent
(``s:PROCESS``), and what was spent before anybody shared it (``base``). All keys have one hash tag, for a question asks
about several caps in one step. Amounts are nanodollars there, rounded up: Lua has 53 bits, and so nine million dollars.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.stores.base import Answered, Got, Want
from penstock.stores.redis_client import told

if TYPE_CHECKING:
    from penstock.stores.redis_board import RedisBoard

_PREFIX = "penstock:{budgets}:"
_NANO = 1000  # picodollars
_KEEP = 86_400.0  # seconds that a window is kept behind its end: late entries of dead processes
_LONGEST = 400 * 86_400.0  # seconds for one that has no end, after its last use

# KEYS[1]: a hash of the process: of each cap it was granted something of, the mark; KEYS[2..]: caps. ARGV:
# process, mark, then of each cap: ms to live, cap, base, granted, spent; then of each question: how many wants, and of
# each: number of the cap, need, more. Returns of each question: 1 or 0, and (granted, used, processes) of each want.
_TAKE = """
local p, at, caps = ARGV[1], 3, {}
for i = 2, #KEYS do
  local key = KEYS[i]
  redis.call('HSETNX', key, 'base', ARGV[at + 2])
  redis.call('HSET', key, 'h:' .. p, ARGV[at + 3], 's:' .. p, ARGV[at + 4])
  redis.call('PEXPIRE', key, ARGV[at])
  redis.call('HSET', KEYS[1], key, ARGV[2])
  local used, count, all = 0, 0, redis.call('HGETALL', key)
  for j = 1, #all, 2 do
    local kind = string.sub(all[j], 1, 2)
    if kind == 'h:' or kind == 'ba' then used = used + tonumber(all[j + 1]) end
    if kind == 'h:' then count = count + 1 end
  end
  caps[i - 1] = {key = key, cap = tonumber(ARGV[at + 1]), own = tonumber(ARGV[at + 3]), used = used, count = count}
  at = at + 5
end
redis.call('PEXPIRE', KEYS[1], LONGEST)
local out = {}
while at <= #ARGV do
  local n, fits = tonumber(ARGV[at]), true
  at = at + 1
  for i = 0, n - 1 do
    local c = caps[tonumber(ARGV[at + 3 * i])]
    if c.used + tonumber(ARGV[at + 3 * i + 1]) > c.cap then fits = false end
  end
  out[#out + 1] = fits and 1 or 0
  for i = 0, n - 1 do
    local c = caps[tonumber(ARGV[at + 3 * i])]
    if fits then
      local need, more = tonumber(ARGV[at + 3 * i + 1]), tonumber(ARGV[at + 3 * i + 2])
      local extra = math.max(0, math.min(more, math.floor((c.cap - c.used - need) / 4)))
      c.own, c.used = c.own + need + extra, c.used + need + extra
      redis.call('HSET', c.key, 'h:' .. p, string.format('%.0f', c.own))
    end
    out[#out + 1] = string.format('%.0f', c.own)
    out[#out + 1] = string.format('%.0f', c.used)
    out[#out + 1] = c.count
  end
  at = at + 3 * n
end
return out
""".replace("LONGEST", str(int(_LONGEST * 1000)))
# KEYS[1]: the hash of the process, KEYS[2..]: its caps. ARGV: process, then for each cap what it paid behind its mark.
_BURY = """
for i = 2, #KEYS do
  local s = redis.call('HGET', KEYS[i], 's:' .. ARGV[1])
  if s then
    local paid = string.format('%.0f', tonumber(s) + tonumber(ARGV[i]))
    redis.call('HSET', KEYS[i], 'h:' .. ARGV[1], paid, 's:' .. ARGV[1], paid)
  end
end
redis.call('DEL', KEYS[1])
return 1
"""


class RedisPot:
    """A ``stores.base.Pot`` in the Redis of a board."""

    def __init__(self, board: RedisBoard, prefix: str = _PREFIX) -> None:
        self._board, self._prefix = board, prefix

    async def take(self, process: str, mark: str, questions: Sequence[Sequence[Want]]) -> list[Answered]:
        numbers: dict[tuple[str, str, float], int] = {}
        keys, words, asked = [self._process(process)], [process, mark], list[str]()
        now = time.time()
        for question in questions:
            asked.append(str(len(question)))
            for want in question:
                name = want.account, want.period, want.start
                if name not in numbers:
                    numbers[name] = len(numbers) + 1
                    keys.append(self._cap(name))
                    life = _LONGEST if math.isinf(want.until) else max(0.0, want.until - now) + _KEEP
                    amounts = (want.cap // _NANO, _up(want.base), _up(want.granted), _up(want.spent))
                    words += [str(int(life * 1000)), *map(str, amounts)]
                asked += [str(numbers[name]), str(_up(want.need)), str(_up(want.more))]
        found = await self._run(_TAKE, keys, [*words, *asked])
        return list(_answers(found, questions))

    async def marks_of(self, process: str) -> Mapping[tuple[str, str, float], str]:
        client: Any = self._board.client
        with told():
            found = await client.hgetall(self._process(process))
        marks = {}
        for key, mark in found.items():
            period, start, account = bytes(key).decode().removeprefix(f"{self._prefix}cap:").split(":", 2)
            marks[account, period, float(start)] = bytes(mark).decode()
        return marks

    async def bury(self, process: str, paid: Mapping[tuple[str, str, float], int]) -> None:
        client: Any = self._board.client
        of_process = self._process(process)
        with told():
            caps = [bytes(key).decode() for key in await client.hkeys(of_process)]
        amounts = {self._cap(name): _up(amount) for name, amount in paid.items()}
        await self._run(_BURY, [of_process, *caps], [process, *(str(amounts.get(cap, 0)) for cap in caps)])

    def _process(self, process: str) -> str:
        return f"{self._prefix}process:{process}"

    def _cap(self, name: tuple[str, str, float]) -> str:
        account, period, start = name
        return f"{self._prefix}cap:{period}:{start:.0f}:{account}"

    async def _run(self, script: str, keys: Sequence[str], words: Sequence[str]) -> Any:
        client: Any = self._board.client
        with told():
            return await client.eval(script, len(keys), *keys, *words)


def _answers(found: list[Any], questions: Sequence[Sequence[Want]]) -> Iterator[Answered]:
    at = 0
    for question in questions:
        fits, rows = int(found[at]), found[at + 1 : at + 1 + 3 * len(question)]
        at += 1 + 3 * len(question)
        caps = [Got(int(rows[i]) * _NANO, int(rows[i + 1]) * _NANO, int(rows[i + 2])) for i in range(0, len(rows), 3)]
        yield Answered(bool(fits), caps)


def _up(amount: int) -> int:
    return -(-amount // _NANO)
