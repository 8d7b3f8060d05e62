"""The answer cache in a request's life: looked up before anybody is asked, filled when the answer is out.

A request that asks what another asks at this very moment waits for that one's answer. Nothing here fails a request: a
place that is down, an entry of no use, an answer that is not kept: the request goes its way as if there was no cache.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.core import cachekey
from penstock.core.errors import GatewayError, shed
from penstock.runtime.cache_items import KIND, make_items
from penstock.runtime.cache_marks import Marks
from penstock.runtime.cache_place import NearPlace, Place, open_place
from penstock.runtime.cache_question import MOST_EARLY, NEUTRAL, Early, Owner, Question, Questions, question_of
from penstock.runtime.cache_wish import Wish, read_wish
from penstock.runtime.keeping import Flight, Keeping, asked, ripened

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.core.ir import Request
    from penstock.runtime.cache_semantic import Likeness
    from penstock.runtime.call import Call
    from penstock.runtime.keeping import Entries
    from penstock.runtime.means import Means
    from penstock.runtime.state import State

log = logging.getLogger("penstock")
Maker = Callable[["Call", Owner, str, Place, float, int, bool], Keeping | None]


class AnswerCache:
    """The cache of one process. ``place``: where answers are kept, opened when a request first wants it; it outlives a
    reload that changes nothing about it. ``handle``: answers a call, as the engine does. ``likeness``: how questions
    are compared; None where they are not."""

    def __init__(self, means: Callable[[], Means], handle: Callable[[Call, State], Awaitable[None]]) -> None:
        self.place: Place | None = None
        self.flights: dict[str, Flight] = {}
        self.likeness: Likeness | None = None
        self._means = means
        self._handle = handle
        self._makers: Mapping[str, Maker] = {KIND: make_items}  # of what is kept in a way of its own
        self._questions = Questions()
        self._dialects: set[str] = set()  # of the chats that came
        self._early = Early()
        self.marks: Marks | None = None  # of chats that have no name yet, where there are such
        self._renamed: dict[str, str] = {}
        self._settings: CacheSettings | None = None  # with which the place was opened, or could not be
        self._cannot = ""

    # When a call comes. -----------------------------------------------------------------------------------------------

    def looks(self, call: Call, state: State) -> bool:
        """Tell whether it is worth looking for an answer: not, where nobody can have asked the same."""
        return self.marks is None or not self.marks.begin(call, state)

    async def answer(self, call: Call, state: State) -> bool:
        """Answer a call by what is kept, or by the answer that another call is about to get. False where it must go
        its way; it then notes what becomes of it. Raises "bad_request" for a wish that is not understood."""
        settings, surface = state.caching, call.surface
        assert settings is not None and surface is not None
        kind = surface.cached
        if kind not in settings.kinds:
            return False
        shelf = state.shelf(call.model)
        if shelf is None:
            return False
        wish = shelf.wish
        if "cache" in call.fields and (wish.read or wish.write):
            wish = read_wish(call.fields["cache"], wish)
        if not (settings.default_on or wish.use) or not (wish.read or wish.write):
            return False
        place = self.place if settings is self._settings else self._open(settings, state)
        if place is None:
            return False
        owner = (shelf.group, "" if shelf.shared else call.caller.tenant, wish.namespace or settings.namespace)
        if kind in NEUTRAL:
            if surface.dialect.name not in self._dialects:
                await self._meet(surface.dialect.name, place)
            if self.marks is not None:
                self._name_others(self.marks, call, owner)
        keeping = self._keeping(call, owner, settings, wish, place)
        if keeping is None:
            return False
        call.caching = keeping
        if wish.read and await keeping.look_up(call, wish.youngest):
            return True
        if keeping.writes and kind in NEUTRAL and not self._questions.sharing:
            self._early.add(keeping.key, question_of(call, owner))
        if not (wish.read and keeping.writes):
            return False
        flight = self.flights.get(keeping.key)
        if flight is not None:
            return await keeping.take(call, await flight.wait())
        self._take_off(keeping)
        return False

    def _name_others(self, marks: Marks, call: Call, owner: Owner) -> None:
        """Name what may be the same as what a call asks."""
        for key, question, keeping in marks.name(call, owner):
            if not self._questions.sharing:
                self._early.add(key, question)
            if keeping is not None:
                self._take_off(keeping)

    def _keeping(
        self, call: Call, owner: Owner, settings: CacheSettings, wish: Wish, place: Place
    ) -> Keeping | None:
        """Make a call's part in the cache; None where it has none."""
        surface = call.surface
        assert surface is not None
        kind, dialect = surface.cached, surface.dialect.name
        digest = self._questions.digest(call, kind)
        if digest is None:
            return None
        key = cachekey.name_entry(digest, *owner)
        ttl = settings.ttl if wish.ttl is None else wish.ttl
        writes, limit = wish.write and ttl > 0, settings.max_entry
        make = self._makers.get(kind)
        if make is not None and (keeping := make(call, owner, key, place, ttl, limit, writes)) is not None:
            return keeping
        return Keeping(kind, dialect, call.asked, place, ttl, limit, writes, key)

    def _take_off(self, keeping: Keeping) -> None:
        """Let others wait for the answer to a call."""
        if keeping.key not in self.flights:
            keeping.flight = self.flights[keeping.key] = Flight(keeping.key)

    async def _meet(self, dialect: str, place: Place) -> None:
        """Take note of a dialect that nobody spoke before. With the second one chats are known by their meaning."""
        self._dialects.add(dialect)
        if self.marks is not None:
            self.marks.dialects.add(dialect)
        if self._questions.sharing or (len(self._dialects) < 2 and place.at_once):
            return
        self._questions.share()
        room = MOST_EARLY - self._early.size
        named: list[Question] = []
        for old, new, question in self._early.renamed():
            named.append(question)
            self._renamed[old] = new
            flight = self.flights.pop(old, None)
            if flight is not None:
                flight.key = new
                self.flights[new] = flight
            entry = await place.get(old)
            if entry is not None:
                await place.forget(old)
                await place.put(new, entry)
        for new, what in () if self.marks is None else self.marks.share(named, room):
            if isinstance(what, Keeping):
                self._take_off(what)
            else:
                place.keep(new, what)

    # When it is over. -------------------------------------------------------------------------------------------------

    def end(self, call: Call) -> None:
        """Keep the answer of a call that went well. Nobody waits for it, but for what takes no time."""
        keeping, attempt = call.caching, call.attempt
        if attempt is None or keeping is None:
            return
        question = keeping.question
        if question is not None:
            if self.marks is not None and self.marks.keep(keeping, question, attempt):
                call.caching = None  # there is nothing more to do
            return
        if not keeping.complete:
            return
        keeping.note(attempt)
        place = keeping.place
        keeping.key = self._renamed.get(keeping.key, keeping.key)
        entries, flight = keeping.entries(), keeping.flight
        if place.at_once and not (flight is not None and flight.waiting):
            for key, entry in entries.items():
                place.keep(key, entry)
            return
        keeping.goes_on = True
        self._begin(self._spread(keeping, entries, asked(call, keeping.kind)))

    async def _spread(self, keeping: Keeping, entries: Entries, request: Request | None) -> None:
        """Give what may be given of an answer to those who wait for it, and keep it."""
        try:
            entries = await ripened(entries, request)
            keeping.over(self.flights, entries)
            await keeping.keep(entries)
        finally:
            keeping.over(self.flights, {})

    def over(self, keeping: Keeping) -> None:
        """Let go of those who wait for a call that is over, unless its answer is still looked at."""
        if keeping.question is not None and self.marks is not None:
            self.marks.over(keeping)
        elif not keeping.goes_on:
            keeping.over(self.flights, {})

    # The place. -------------------------------------------------------------------------------------------------------

    def open(self, state: State) -> Place | None:
        """Return the place of a config's settings; None where there is none, or it cannot be opened."""
        if state.caching is None:
            return None
        return self.place if state.caching is self._settings else self._open(state.caching, state)

    def _open(self, settings: CacheSettings, state: State) -> Place | None:
        """Take over settings; open another place where they name one. That it cannot be opened is said once."""
        before, self._settings = self._settings, settings
        if before is not None and self.place is not None and settings.place == before.place:
            if self.marks is not None:
                self.marks.take(settings)
            self._compare(settings)
            return self.place
        place, self.place, self._cannot = self.place, None, ""
        self._early, self.marks, self._renamed = Early(), None, {}
        self._dialects.clear()
        if place is not None:
            self._begin(place.close())
        try:
            opened = self.place = open_place(settings, state.env, self._means())
            if opened.memory is not None:
                self.marks = Marks(opened, opened.memory, settings, self._questions)
        except GatewayError as error:
            shed(error)
            self._cannot = error.message
            log.warning("Answers are not cached: %s", error.message)
        self._compare(settings)
        return self.place

    def _compare(self, settings: CacheSettings) -> None:
        """Take over how questions are compared, where they are."""
        self.likeness, self._makers = None, {KIND: make_items}
        if settings.comparing is None or not isinstance(self.place, NearPlace):
            return
        from penstock.runtime.cache_semantic import Likeness, makers_of  # few configs ask for it

        self.likeness = Likeness(settings.comparing, self.place, self.flights, self._handle, self._means)
        self._makers = {**self._makers, **makers_of(self.likeness)}
        self._begin(self.place.check())

    def keys_now(self, keys: Iterable[str]) -> list[str]:
        """Return the keys under which answers are kept now that clients were told others for."""
        return [self._renamed.get(key, key) for key in keys]

    @property
    def trouble(self) -> str:
        """Tell why the cache is not used now; "" while it is."""
        return self._cannot or ("" if self.place is None else self.place.trouble)

    async def close(self) -> None:
        place, self.place = self.place, None
        if place is not None:
            await place.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin what no request waits for."""
        beside = self._means().beside
        task = asyncio.get_running_loop().create_task(work)
        beside.add(task)
        task.add_done_callback(beside.discard)
