"""What a call has to do with the cache: how it was answered, and what is kept of its answer when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from penstock.core.errors import GatewayError, shed
from penstock.core.kept import Entry
from penstock.runtime.cache_give import CHATS, give
from penstock.runtime.cache_ripen import ripen

if TYPE_CHECKING:
    from penstock.core.ir import Request, Usage
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.cache_place import Place
    from penstock.runtime.cache_question import Question
    from penstock.runtime.call import Call

MISS, HIT, SHARED = b"miss", b"hit", b"shared"
_TELLS_MISS = b"x-penstock-cache: miss\r\n"
Entries = Mapping[str, Entry]


class Flight:
    """An answer that is on its way and that others wait for. ``key``: of its entry."""

    __slots__ = ("key", "waiting")

    def __init__(self, key: str) -> None:
        self.key = key
        self.waiting: list[asyncio.Future[Entries]] = []

    async def wait(self) -> Entries:
        """Return what became of it; nothing where it failed, or is not to be given to anybody else."""
        waits = asyncio.get_running_loop().create_future()
        self.waiting.append(waits)
        return await waits

    def land(self, entries: Entries) -> None:
        for waits in self.waiting:
            if not waits.done():  # whoever left is cancelled
                waits.set_result(entries)
        self.waiting.clear()


class Keeping(Struct, eq=False):
    """One call's part in the cache. ``writes``: its answer may be kept, for ``ttl`` seconds; of at most ``limit``
    bytes. ``how`` it was answered: MISS, HIT, or SHARED (by the answer to another's request at the same time)."""

    kind: str
    dialect: str  # of its answer
    model: str  # the name in it
    place: Place
    ttl: float
    limit: int
    writes: bool
    key: str  # "" while it has a ``question`` instead
    mark: int = 0
    question: Question | None = None  # from which its key can be made, see ``cache_marks``
    how: bytes = MISS
    age: int = 0
    usage: Usage | None = None  # of the answer, once that is kept, or given again
    dropped: tuple[str, ...] = ()  # names of what of a request its answer does not heed, likewise
    at: float = 0.0  # since when the answer is kept
    checked: bool = False  # it has the form that was asked for
    body: bytes | None = None
    content_type: bytes = b""
    parts: list[bytes] | None = None  # of a stream
    size: int = 0
    flight: Flight | None = None  # in which others wait for it
    goes_on: bool = False  # the call is over, and its answer is still being looked at

    # What the outlet tells. -------------------------------------------------------------------------------------------

    def lines(self) -> bytes:
        """Render the header lines that tell how the cache was used."""
        if self.how is MISS:
            return _TELLS_MISS
        key = self.key.encode("ascii", "replace")
        told = b"x-penstock-cache: %b\r\nx-litellm-cache-key: %b\r\nage: %d\r\n" % (self.how, key, self.age)
        if self.dropped:
            names = ",".join(dict.fromkeys(self.dropped)).encode("ascii", "replace")
            told += b"x-penstock-dropped: %b\r\n" % names[:4096]
        return told

    def whole(self, attempt: Attempt, body: bytes, content_type: bytes) -> bytes:
        """Note a whole answer that goes out; return it as it is to go."""
        if len(body) <= self.limit:
            self.body, self.content_type, self.size = body, content_type, len(body)
        return body

    def part(self, data: bytes) -> None:
        """Note the next bytes of a streamed answer that goes out."""
        self.size += len(data)
        if self.size > self.limit:
            self.parts = None
        elif self.parts is not None:
            self.parts.append(data)
        elif self.size == len(data):
            self.parts = [data]

    # When others have the answer. -------------------------------------------------------------------------------------

    async def look_up(self, call: Call, youngest: float | None) -> bool:
        """Answer a call by what is kept, if that is there and no older than ``youngest`` seconds."""
        entry = await self.place.get(self.key)
        if entry is None:
            return False
        if youngest is not None and time.time() - entry.at > youngest:
            return False
        if entry.raw:
            ripe = await ripen(entry, asked(call, self.kind))
            if ripe is None:
                await self.place.forget(self.key)
                return False
            await self.place.put(self.key, ripe)
            entry = ripe
        return await self._give(call, entry, HIT)

    async def take(self, call: Call, entries: Entries) -> bool:
        """Answer a call by what another was answered."""
        entry = next(iter(entries.values()), None)  # there is but one, whatever it is called by now
        return entry is not None and await self._give(call, entry, SHARED)

    async def _give(self, call: Call, entry: Entry, how: bytes) -> bool:
        self.how, self.age = how, max(0, int(time.time() - entry.at))
        self.usage, self.dropped = entry.usage, entry.dropped
        if await give(call, self, entry):
            return True
        self.how, self.usage, self.dropped = MISS, None, ()
        return False

    # When the call is over. -------------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Tell whether all of an answer was seen that may be worth keeping."""
        if not self.writes or self.how is not MISS:
            return False
        return self.body is not None or (self.parts is not None and self.kind in CHATS)

    def entry_of(self, attempt: Attempt) -> Entry:
        """Make an entry of an answer that nobody waits for: ``note`` and ``entry`` in one, for most calls end so."""
        now, body, losses = time.time(), self.body, attempt.losses
        return Entry(
            now,
            now + self.ttl,
            self.dialect,
            self.model,
            b"".join(self.parts or ()) if body is None else body,
            attempt.usage,
            self.content_type.decode("latin-1") if self.content_type else "",
            tuple([loss.path for loss in losses]) if losses else (),
            self.kind in CHATS,
            body is None,
            attempt.form is not None and attempt.form.check is not None,
        )

    def note(self, attempt: Attempt) -> None:
        """Take down what there is to know of an answer that is going to be kept."""
        self.at, self.usage = time.time(), attempt.usage
        if attempt.losses:
            self.dropped = tuple([loss.path for loss in attempt.losses])
        if attempt.form is not None:
            self.checked = attempt.form.check is not None

    def entries(self) -> Entries:
        """Make what is kept of an answer that was taken down."""
        return {self.key: self.entry()}

    def entry(self) -> Entry:
        """Make an entry of an answer as it went out."""
        return Entry(
            self.at,
            self.at + self.ttl,
            self.dialect,
            self.model,
            b"".join(self.parts or ()) if self.body is None else self.body,
            self.usage,
            self.content_type.decode("latin-1"),
            self.dropped,
            self.kind in CHATS,
            self.body is None,
            self.checked,
        )

    async def keep(self, entries: Entries) -> None:
        """Keep what may be given of a call's answer, in a place that takes its time."""
        for key, entry in entries.items():
            await self.place.put(key, entry)

    def over(self, flights: dict[str, Flight], entries: Entries) -> None:
        """Tell those who wait, once."""
        flight, self.flight = self.flight, None
        if flight is not None:
            if flights.get(flight.key) is flight:
                del flights[flight.key]
            flight.land(entries)


async def ripened(entries: Entries, request: Request | None) -> Entries:
    """Return those of some entries that may be given."""
    found = {}
    for key, entry in entries.items():
        ripe = await ripen(entry, request)
        if ripe is not None:
            found[key] = ripe
    return found


def asked(call: Call, kind: str) -> Request | None:
    """Read what a call asks, in the neutral form; None where that is not known."""
    if kind not in CHATS:
        return None
    try:
        return call.parsed()
    except GatewayError as error:  # a completion of several prompts at once
        shed(error)
        return None
