"""Answers in a file on this machine: SQLite, shared by the processes that name the same folder, kept over restarts.

One thread per process works on it: a disk may be slow, and the event loop never waits for one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

MAX_BYTES = 1024 * 1024 * 1024
_FILE = "answers.sqlite3"
_BUSY = 2.0  # seconds that one process waits for another's write
_SCHEMA = """
create table if not exists answers (key text primary key, value blob not null, ends real, used real not null);
create index if not exists answers_used on answers (used);
create table if not exists held (one integer primary key check (one = 1), bytes integer not null);
insert or ignore into held values (1, 0);
create trigger if not exists answers_in after insert on answers
  begin update held set bytes = bytes + length(new.value); end;
create trigger if not exists answers_out after delete on answers
  begin update held set bytes = bytes - length(old.value); end;
"""
_OLDEST = "delete from answers where key in (select key from answers order by used limit 16)"
_USED_EVERY = 60.0  # seconds: that an answer was asked for is written down no more often than that
T = TypeVar("T")


class DiskAnswers:
    """A ``stores.base.Answers`` in SQLite below ``folder``. ``clock``: seconds since 1970."""

    at_once = False

    def __init__(self, folder: str, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(folder).expanduser() / _FILE
        self._max = max_bytes
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="penstock-answers")
        self._base: sqlite3.Connection | None = None

    async def get(self, key: str) -> bytes | None:
        return await self._do(lambda base: self._get(base, key))

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        await self._do(lambda base: self._put(base, key, value, ttl))

    async def delete(self, keys: Sequence[str]) -> int:
        return await self._do(lambda base: self._delete(base, keys))

    async def flush(self) -> None:
        await self._do(lambda base: base.execute("delete from answers"))

    async def ping(self) -> None:
        await self._do(lambda base: base.execute("select 1").fetchone())

    async def info(self) -> Mapping[str, object]:
        def read(base: sqlite3.Connection) -> Mapping[str, object]:
            (entries,) = base.execute("select count(*) from answers").fetchone()
            (held,) = base.execute("select bytes from held").fetchone()
            return {"entries": entries, "bytes": held, "max_bytes": self._max}

        return await self._do(read)

    async def close(self) -> None:
        def shut() -> None:
            if self._base is not None:
                self._base.close()
                self._base = None

        await asyncio.get_running_loop().run_in_executor(self._thread, shut)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Work on the file in its thread. Raises ``OSError``."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._try, work)

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._base is None:
                self._base = self._open()
            with self._base:
                return work(self._base)
        except sqlite3.Error as error:
            raise OSError(f"{self._path}: {error}") from None

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # answers are nobody else's affair
        base = sqlite3.connect(self._path, timeout=_BUSY)
        self._path.chmod(0o600)
        base.execute("pragma journal_mode = wal")
        base.execute("pragma synchronous = off")  # what a power cut takes is asked for again
        base.executescript(_SCHEMA)
        return base

    def _get(self, base: sqlite3.Connection, key: str) -> bytes | None:
        now = self._clock()
        found = base.execute("select value, ends, used from answers where key = ?", (key,)).fetchone()
        if found is None:
            return None
        value, ends, used = found
        if ends is not None and now >= ends:
            base.execute("delete from answers where key = ?", (key,))
            return None
        if now - used >= _USED_EVERY:
            base.execute("update answers set used = ? where key = ?", (now, key))
        return bytes(value)

    def _put(self, base: sqlite3.Connection, key: str, value: bytes, ttl: float | None) -> None:
        now = self._clock()
        base.execute("delete from answers where key = ?", (key,))
        if len(value) > self._max:
            return
        row = (key, value, None if ttl is None else now + ttl, now)
        base.execute("insert into answers values (?, ?, ?, ?)", row)
        if base.execute("select bytes from held").fetchone()[0] > self._max:
            base.execute("delete from answers where ends <= ?", (now,))
        while base.execute("select bytes from held").fetchone()[0] > self._max:
            base.execute(_OLDEST)

    def _delete(self, base: sqlite3.Connection, keys: Sequence[str]) -> int:
        now, count = self._clock(), 0
        for key in keys:
            held = base.execute("delete from answers where key = ? returning ends", (key,)).fetchone()
            count += held is not None and (held[0] is None or now < held[0])
        return count
