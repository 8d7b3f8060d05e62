"""The place where answers are kept, as requests meet it: it never fails one, and none waits for it long."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from penstock.core.kept import Entry, read_entry, write_entry
from penstock.runtime.http import in_task
from penstock.stores.answers_memory import MemoryAnswers
from penstock.stores.base import CannotCompare

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.runtime.means import Means
    from penstock.stores.base import Answers, Near, NearAnswers

log = logging.getLogger("penstock")
LOOK = 0.1  # seconds that a request waits for a look-up
SEARCH = 1.0  # the same, for a search by likeness
WRITE = 10.0  # seconds of a write, for which nobody waits
_REST, _LONGEST_REST = 1.0, 30.0  # seconds that a place which failed is not asked, at first and at most
MOST_WRITES = 256  # under way at once; what would be one more is not kept
T = TypeVar("T")


class Opener(NamedTuple):
    """What a kind of place is opened with: a function of settings, environment and means, in a module that is imported
    at the first need."""

    module: str
    function: str


OPENERS: Mapping[str, Opener] = {
    "local": Opener("penstock.runtime.cache_places", "open_memory"),
    "disk": Opener("penstock.runtime.cache_places", "open_disk"),
    "redis": Opener("penstock.runtime.cache_places", "open_redis"),
    "local-semantic": Opener("penstock.runtime.cache_places", "open_memory_vectors"),
    "redis-semantic": Opener("penstock.runtime.cache_places", "open_redis_vectors"),
    "valkey-semantic": Opener("penstock.runtime.cache_places", "open_redis_vectors"),
    "qdrant-semantic": Opener("penstock.runtime.cloud.qdrant", "open_qdrant"),
    "azure-blob": Opener("penstock.runtime.cloud.azure_blob", "open_azure_blob"),
    "s3": Opener("penstock.runtime.cloud.buckets", "open_s3"),
    "gcs": Opener("penstock.runtime.cloud.buckets", "open_gcs"),
}


class Outage:
    """What is known of something that requests can go on without. ``trouble``: why it is not used now, "" while it is.
    Both that it fails and that it works again are said once, by its ``name``."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.trouble = ""
        self._clock = clock
        self._rest = 0.0
        self._until = 0.0

    @property
    def rests(self) -> bool:
        """Tell whether it has failed and is not to be asked yet."""
        return bool(self.trouble) and self._clock() < self._until

    def failed(self, why: str) -> None:
        """Note that it failed; it is not to be asked for a while."""
        if not self.trouble:
            log.warning("%s is not usable, and requests go on without it: %s", self.name, why)
        self.trouble = why
        self._rest = min(self._rest * 2 or _REST, _LONGEST_REST)
        self._until = self._clock() + self._rest

    def worked(self) -> None:
        """Note that it works."""
        if self.trouble:
            log.warning("%s is usable again", self.name)
            self.trouble, self._rest = "", 0.0


class Place(Outage):
    """One place. ``answers``: whoever asks there himself must expect an ``OSError``. ``memory``: the same, where it is
    this process's memory, in which nothing waits."""

    def __init__(self, kind: str, answers: Answers, clock: Callable[[], float]) -> None:
        super().__init__(f"The cache ({kind})", clock)
        self.kind = kind
        self.answers = answers
        self.memory = answers if answers.at_once and isinstance(answers, MemoryAnswers) else None
        self._writes = 0

    @property
    def at_once(self) -> bool:
        """Tell whether nothing of it ever waits."""
        return self.memory is not None

    @property
    def is_full(self) -> bool:
        """Tell whether nothing more is to be written there now."""
        return self.rests or self._writes >= MOST_WRITES

    async def get(self, key: str) -> Entry | None:
        """Return what is kept under a key; None also where that cannot be told in time."""
        if self.memory is not None:
            found = self.memory.look(key)
            return None if found is None else read_entry(found)
        if self.rests:
            return None
        await in_task()
        try:
            async with asyncio.timeout(LOOK):
                data = await self.answers.get(key)
        except TimeoutError:
            self.failed(f"it does not answer within {LOOK:g} s")
            return None
        except OSError as error:
            self.failed(str(error))
            return None
        self.worked()
        return None if data is None else read_entry(data)

    async def forget(self, key: str) -> None:
        """Forget an entry, if that can be."""
        try:
            await self.answers.delete([key])
        except OSError as error:
            self.failed(str(error))

    async def put(self, key: str, entry: Entry) -> None:
        """Keep an entry until it ends, if that can be."""
        ttl = entry.ends - time.time()
        if ttl <= 0:
            return
        if self.memory is not None:
            self.keep(key, entry)
        elif not self.is_full:
            await self.written(self.answers.put(key, write_entry(entry), ttl))

    async def written(self, work: Awaitable[None]) -> None:
        """Wait for a write, not for ever."""
        self._writes += 1
        try:
            async with asyncio.timeout(WRITE):
                await work
        except TimeoutError:
            self.failed(f"it does not take an answer within {WRITE:g} s")
        except OSError as error:
            self.failed(str(error))
        else:
            self.worked()
        finally:
            self._writes -= 1

    def keep(self, key: str, entry: Entry) -> None:
        """Keep an entry in this process's memory until it ends."""
        ttl = entry.ends - time.time()
        if ttl > 0 and self.memory is not None:
            self.memory.keep(key, write_entry(entry), ttl)

    async def close(self) -> None:
        try:
            await self.answers.close()
        except OSError as error:
            log.debug("The cache (%s) could not be closed: %s", self.kind, error)


class NearPlace(Place):
    """A place that finds answers by questions like theirs, too. ``search``: what is known of that part of it."""

    def __init__(self, kind: str, answers: NearAnswers, clock: Callable[[], float]) -> None:
        super().__init__(kind, answers, clock)
        self.near = answers
        self.search = Outage(f"The search of the cache ({kind})", clock)

    async def nearest(self, scope: str, vector: Sequence[float]) -> list[Near]:
        """List the answers of a scope that are nearest to a vector; none where that cannot be told in time."""
        if self.rests or self.search.rests:
            return []
        await in_task()
        return await self._searched(self.near.nearest(scope, vector)) or []

    async def put_near(self, key: str, entry: Entry, scope: str, vector: Sequence[float]) -> None:
        """Keep an entry with the vector of its question, if that can be; else without."""
        ttl = entry.ends - time.time()
        if ttl > 0 and not self.is_full:
            await self.written(self._put_near(key, write_entry(entry), ttl, scope, vector))

    async def _put_near(self, key: str, value: bytes, ttl: float, scope: str, vector: Sequence[float]) -> None:
        try:
            await self.near.put_near(key, value, ttl, scope, vector)
        except CannotCompare as error:
            self.search.failed(str(error))
            await self.near.put(key, value, ttl)

    async def check(self) -> None:
        """Look whether it can search, so that it is said before somebody wonders why there are no hits."""
        await self._searched(self.near.search_ready())

    async def _searched(self, work: Awaitable[T]) -> T | None:
        """Wait for a search, not for ever; None where it failed."""
        try:
            async with asyncio.timeout(SEARCH):
                found = await work
        except TimeoutError:
            self.search.failed(f"it does not answer within {SEARCH:g} s")
        except CannotCompare as error:
            self.search.failed(str(error))
        except OSError as error:
            self.failed(str(error))
        else:
            self.search.worked()
            self.worked()
            return found
        return None


def open_place(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Place:
    """Open the place that settings name. Raises ``GatewayError`` where a package or a credential for it is missing."""
    opener = OPENERS[settings.kind]
    answers: Any = getattr(import_module(opener.module), opener.function)(settings, env, means)
    if settings.comparing is not None:
        return NearPlace(settings.kind, answers, means.clock)
    return Place(settings.kind, answers, means.clock)
