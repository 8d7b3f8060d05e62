"""The place where answers are kept, as requests meet it: it never fails one, and none waits for it long."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from penstock.core.kept import Entry, read_entry, write_entry
from penstock.runtime.http import in_task
from penstock.stores.answers_memory import MemoryAnswers

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.runtime.means import Means
    from penstock.stores.base import Answers

log = logging.getLogger("penstock")
LOOK = 0.1  # seconds that a request waits for a look-up
WRITE = 10.0  # seconds of a write, for which nobody waits
_REST, _LONGEST_REST = 1.0, 30.0  # seconds that a place which failed is not asked, at first and at most
MOST_WRITES = 256  # under way at once; what would be one more is not kept


class Opener(NamedTuple):
    """What a kind of place is opened with: a function of settings, environment and means, in a module that is imported
    at the first need."""

    module: str
    function: str


OPENERS: Mapping[str, Opener] = {
    "local": Opener("penstock.runtime.cache_places", "open_memory"),
    "disk": Opener("penstock.runtime.cache_places", "open_disk"),
    "redis": Opener("penstock.runtime.cache_places", "open_redis"),
    "s3": Opener("penstock.runtime.cloud.buckets", "open_s3"),
    "gcs": Opener("penstock.runtime.cloud.buckets", "open_gcs"),
}


class Place:
    """One place. ``trouble``: why it is not used now, "" while it is. ``answers``: whoever asks there himself must
    expect an ``OSError``. ``memory``: the same, where it is this process's memory, in which nothing waits."""

    def __init__(self, kind: str, answers: Answers, clock: Callable[[], float]) -> None:
        self.kind = kind
        self.answers = answers
        self.memory = answers if answers.at_once and isinstance(answers, MemoryAnswers) else None
        self.trouble = ""
        self._clock = clock
        self._rest = 0.0
        self._until = 0.0
        self._writes = 0

    @property
    def at_once(self) -> bool:
        """Tell whether nothing of it ever waits."""
        return self.memory is not None

    @property
    def rests(self) -> bool:
        """Tell whether it has failed and is not to be asked yet."""
        return bool(self.trouble) and self._clock() < self._until

    async def get(self, key: str) -> Entry | None:
        """Return what is kept under a key; None also where that cannot be told in time."""
        if self.memory is not None:
            data = self.memory.look(key)
            return None if data is None else read_entry(data)
        if self.rests:
            return None
        await in_task()
        try:
            async with asyncio.timeout(LOOK):
                data = await self.answers.get(key)
        except TimeoutError:
            self._failed(f"it does not answer within {LOOK:g} s")
            return None
        except OSError as error:
            self._failed(str(error))
            return None
        self._worked()
        return None if data is None else read_entry(data)

    async def forget(self, key: str) -> None:
        """Forget an entry, if that can be."""
        try:
            await self.answers.delete([key])
        except OSError as error:
            self._failed(str(error))

    async def put(self, key: str, entry: Entry) -> None:
        """Keep an entry until it ends, if that can be."""
        ttl = entry.ends - time.time()
        if ttl <= 0 or self.rests or self._writes >= MOST_WRITES:
            return
        if self.memory is not None:
            self.keep(key, entry)
            return
        self._writes += 1
        try:
            async with asyncio.timeout(WRITE):
                await self.answers.put(key, write_entry(entry), ttl)
        except TimeoutError:
            self._failed(f"it does not take an answer within {WRITE:g} s")
        except OSError as error:
            self._failed(str(error))
        else:
            self._worked()
        finally:
            self._writes -= 1

    def keep(self, key: str, entry: Entry) -> None:
        """Keep an entry in this process's memory until it ends."""
        ttl = entry.ends - time.time()
        if ttl > 0 and self.memory is not None:
            data = write_entry(entry)
            self.memory.keep(key, data, len(key) + len(data), ttl)

    async def close(self) -> None:
        try:
            await self.answers.close()
        except OSError as error:
            log.debug("The cache (%s) could not be closed: %s", self.kind, error)

    def _failed(self, why: str) -> None:
        if not self.trouble:
            log.warning("The cache (%s) is not usable, and requests go on without it: %s", self.kind, why)
        self.trouble = why
        self._rest = min(self._rest * 2 or _REST, _LONGEST_REST)
        self._until = self._clock() + self._rest

    def _worked(self) -> None:
        if self.trouble:
            log.warning("The cache (%s) is usable again", self.kind)
            self.trouble, self._rest = "", 0.0


def open_place(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Place:
    """Open the place that settings name. Raises ``GatewayError`` where a package or a credential for it is missing."""
    opener = OPENERS[settings.kind]
    answers: Answers = getattr(import_module(opener.module), opener.function)(settings, env, means)
    return Place(settings.kind, answers, means.clock)
