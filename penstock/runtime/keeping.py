"""What a call has to do with the cache: how it was answered, and what is kept of its answer when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import View
from penstock.core.ir import Request, Response, Usage
from penstock.core.kept import Entry, is_complete
from penstock.runtime.cache_give import give
from penstock.runtime.cross import collect_stream
from penstock.runtime.ids import mint

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.cache_place import Place
    from penstock.runtime.call import Call

MISS, HIT, SHARED = b"miss", b"hit", b"shared"
Entries = Mapping[str, Entry]


class Flight:
    """An answer that is on its way and that others wait for."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[Entries]] = []

    async def wait(self) -> Entries:
        """Return what became of it; nothing where it failed, or is not to be given to anybody else."""
        waits = asyncio.get_running_loop().create_future()
        self._waiting.append(waits)
        return await waits

    def land(self, entries: Entries) -> None:
        for waits in self._waiting:
            if not waits.done():  # whoever left is cancelled
                waits.set_result(entries)
        self._waiting.clear()


class Material(Struct, frozen=True):
    """What an entry is made of, apart from the call it came from. ``request``: in the neutral form, of a chat alone."""

    kind: str
    dialect: str
    asked: str
    body: bytes
    streamed: bool
    content_type: str
    usage: Usage | None
    dropped: tuple[str, ...]
    request: Request | None


class Keeping:
    """One call's part in the cache. ``how`` it was answered: MISS, HIT, or SHARED (by the answer to another's request
    at the same time). ``writes``: its answer may be kept, for ``ttl`` seconds; of at most ``limit`` bytes."""

    __slots__ = (
        "age", "body", "content_type", "dropped", "flights", "goes_on", "how", "key", "kind", "limit", "parts", "place",
        "size", "ttl", "usage", "writes",
    )  # fmt: skip

    def __init__(self, kind: str, key: str, place: Place, ttl: float, limit: int, writes: bool) -> None:
        self.kind, self.key, self.place, self.ttl, self.limit, self.writes = kind, key, place, ttl, limit, writes
        self.how = MISS
        self.age = 0
        self.usage: Usage | None = None  # of the answer that it was given again
        self.dropped: tuple[str, ...] = ()  # names of what of a request its answer does not heed
        self.body: bytes | None = None
        self.content_type = b""
        self.parts: list[bytes] = []
        self.size = 0
        self.flights: dict[str, Flight] | None = None  # the table in which others find this call's flight
        self.goes_on = False  # the call is over, and its answer is still being looked at

    # What the outlet tells. -------------------------------------------------------------------------------------------

    def lines(self) -> bytes:
        """Render the header lines that tell how the cache was used."""
        if self.how is MISS:
            return b"x-penstock-cache: miss\r\n"
        key = self.key.encode("ascii", "replace")
        told = b"x-penstock-cache: %b\r\nx-litellm-cache-key: %b\r\nage: %d\r\n" % (self.how, key, self.age)
        if self.dropped:
            names = ",".join(dict.fromkeys(self.dropped)).encode("ascii", "replace")
            told += b"x-penstock-dropped: %b\r\n" % names[:4096]
        return told

    def whole(self, attempt: Attempt, body: bytes, content_type: bytes) -> bytes:
        """Note a whole answer that goes out; return it as it is to go."""
        if len(body) <= self.limit:
            self.body, self.content_type = body, content_type
        return body

    def part(self, data: bytes) -> None:
        """Note the next bytes of a streamed answer that goes out."""
        self.size += len(data)
        if self.size <= self.limit:
            self.parts.append(data)
        elif self.parts:
            self.parts = []

    # When others have the answer. -------------------------------------------------------------------------------------

    async def look_up(self, call: Call, youngest: float | None) -> bool:
        """Answer a call by what is kept, if that is there and no older than ``youngest`` seconds."""
        entry = await self.place.get(self.key)
        return entry is not None and await self._give(call, entry, HIT, youngest)

    async def take(self, call: Call, entries: Entries) -> bool:
        """Answer a call by what another was answered."""
        entry = entries.get(self.key)
        return entry is not None and await self._give(call, entry, SHARED, None)

    async def _give(self, call: Call, entry: Entry, how: bytes, youngest: float | None) -> bool:
        age = max(0.0, time.time() - entry.at)
        if youngest is not None and age > youngest:
            return False
        self.how, self.age, self.usage, self.dropped = how, int(age), entry.usage, entry.dropped
        if await give(call, self, entry):
            return True
        self.how, self.usage, self.dropped = MISS, None, ()
        return False

    # When it is over. -------------------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Tell whether an answer was seen that may be worth keeping."""
        return self.writes and self.how is MISS and (self.body is not None or 0 < self.size <= self.limit)

    def entries(self, material: Material, response: Response | None) -> Entries:
        """Make what is kept. ``response``: the answer in the neutral form, of a chat alone."""
        return {self.key: make_entry(material, response)}

    def over(self, entries: Entries) -> None:
        """Tell those who wait, once."""
        flights, self.flights = self.flights, None
        if flights is not None:
            flight = flights.pop(self.key, None)
            if flight is not None:
                flight.land(entries)


def read_answer(material: Material) -> Response | None:
    """Read an answer of a chat; None of one that is not to be given again: it was cut off, filtered or refused. Raises
    "broken_answer", "broken_stream" and ``sse.TooLong``."""
    dialect = DIALECTS[material.dialect]
    response = collect_stream(material.body, dialect) if material.streamed else dialect.parse_response(material.body)
    if not is_complete(response):
        return None
    # A client that streams and does not ask for the usage is not told it; the next one may be.
    return replace(response, usage=material.usage) if response.usage is None else response


def make_entry(material: Material, response: Response | None) -> Entry:
    """Make an entry of an answer, whole; of a streamed one out of what it told."""
    body = material.body
    if material.streamed:
        assert response is not None
        now = response.created or int(time.time())
        view = View(model=material.asked, request=material.request, now=now, mint=mint)
        body = DIALECTS[material.dialect].render_response(response, view).body
    return Entry(
        at=time.time(),
        dialect=material.dialect,
        model=material.asked,
        body=body,
        usage=material.usage,
        content_type=material.content_type,
        dropped=material.dropped,
    )
