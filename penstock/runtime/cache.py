"""The answer cache in a request's life: looked up before anybody is asked, filled when the answer is out.

A request that asks what another asks at this very moment waits for that one's answer. Nothing here fails a request: a
place that is down, an entry of no use, an answer that is not kept: the request goes its way as if there was no cache.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock.core import cachekey, sse
from penstock.core.errors import GatewayError, shed
from penstock.runtime.apart import is_long
from penstock.runtime.aside import in_thread
from penstock.runtime.cache_form import check_of, has_form
from penstock.runtime.cache_give import CHATS
from penstock.runtime.cache_items import KIND, ItemsKeeping, name_items, split_items
from penstock.runtime.cache_place import Place, open_place
from penstock.runtime.cache_question import Questions
from penstock.runtime.cache_wish import ANYTHING, Wish, read_wish
from penstock.runtime.keeping import Flight, Keeping, Material, read_answer

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.runtime.call import Call
    from penstock.runtime.means import Means
    from penstock.runtime.schema_check import Check
    from penstock.runtime.state import State

log = logging.getLogger("penstock")
SMALL = 32 * 1024  # bytes of an answer that is looked at on the spot
Name = Callable[[bytes], str]


class AnswerCache:
    """The cache of one process. ``place``: where answers are kept, opened when a request first wants it; it outlives a
    reload that changes nothing about it."""

    def __init__(self, means: Callable[[], Means]) -> None:
        self.place: Place | None = None
        self.flights: dict[str, Flight] = {}
        self._means = means
        self._questions = Questions()
        self._settings: CacheSettings | None = None  # with which the place was opened, or could not be
        self._cannot = ""

    # When a call comes. -----------------------------------------------------------------------------------------------

    async def answer(self, call: Call, state: State) -> bool:
        """Answer a call by what is kept, or by the answer that another call is about to get. False where it must go
        its way; it then notes what becomes of it. Raises "bad_request" for a wish that is not understood."""
        settings, surface = state.caching, call.surface
        assert settings is not None and surface is not None
        if surface.cached not in settings.kinds:
            return False
        raw = call.fields.get("cache")
        wish = ANYTHING if raw is None else read_wish(raw)
        if not (settings.default_on or wish.use) or not (wish.read or wish.write):
            return False
        keeping = self._keeping(call, state, settings, wish)
        if keeping is None:
            return False
        call.caching = keeping
        if not wish.read:
            return False
        if await keeping.look_up(call, wish.youngest):
            return True
        if not keeping.writes:
            return False
        flight = self.flights.get(keeping.key)
        if flight is not None:
            return await keeping.take(call, await flight.wait())
        self.flights[keeping.key] = Flight()
        keeping.flights = self.flights
        return False

    def _keeping(self, call: Call, state: State, settings: CacheSettings, wish: Wish) -> Keeping | None:
        """Make a call's part in the cache; None where it has none."""
        surface = call.surface
        assert surface is not None
        name = _naming(call, state, settings, wish)
        digest = None if name is None else self._questions.digest(call, surface.cached)
        place = None if digest is None else self.open(state)
        if name is None or digest is None or place is None:
            return None
        ttl = settings.ttl if wish.ttl is None else wish.ttl
        writes = wish.write and ttl > 0
        if surface.cached == KIND and (inputs := split_items(call, place)) is not None:
            names = name_items(call, inputs, name)
            return ItemsKeeping(name(digest), place, ttl, settings.max_entry, writes, inputs, names)
        return Keeping(surface.cached, name(digest), place, ttl, settings.max_entry, writes)

    # When it is over. -------------------------------------------------------------------------------------------------

    async def end(self, call: Call) -> None:
        """Keep the answer of a call that went well. Nobody waits for it, but for what takes no time."""
        keeping, attempt, surface = call.caching, call.attempt, call.surface
        assert keeping is not None
        if attempt is None or surface is None or not keeping.complete:
            return
        try:
            request = call.parsed() if keeping.kind in CHATS else None
        except GatewayError as error:  # a completion of several prompts at once
            shed(error)
            request = None
        material = Material(
            kind=keeping.kind,
            dialect=surface.dialect.name,
            asked=call.asked,
            body=b"".join(keeping.parts) if keeping.body is None else keeping.body,
            streamed=keeping.body is None,
            content_type=keeping.content_type.decode("latin-1"),
            usage=attempt.usage,
            dropped=tuple([loss.path for loss in attempt.losses]),
            request=request,
        )
        was_checked = attempt.form is not None and attempt.form.check is not None
        check = None if was_checked or request is None else check_of(request)
        if keeping.place.at_once and check is None and not material.streamed and len(material.body) < SMALL:
            await _keep(keeping, material, None)
            return
        keeping.goes_on = True
        self._begin(_keep(keeping, material, check))

    # The place. -------------------------------------------------------------------------------------------------------

    def open(self, state: State) -> Place | None:
        """Return the place of a config's settings; None where it cannot be opened, which is said once."""
        settings = state.caching
        if settings is None or settings is self._settings:
            return self.place if settings is not None else None
        before, self._settings = self._settings, settings
        if before is not None and self.place is not None and settings.place == before.place:
            return self.place
        place, self.place, self._cannot = self.place, None, ""
        if place is not None:
            self._begin(place.close())
        try:
            self.place = open_place(settings, state.env, self._means())
        except GatewayError as error:
            shed(error)
            self._cannot = error.message
            log.warning("Answers are not cached: %s", error.message)
        return self.place

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


def _naming(call: Call, state: State, settings: CacheSettings, wish: Wish) -> Name | None:
    """Return what names the entries of a call; None for a model that nobody serves."""
    found = state.catalog.find(call.model)
    if found is None:
        return None
    group = call.model if found.stars or settings.by_name else found.group
    if not settings.by_name:
        group = settings.groups.get(group, group)
    tenant = "" if settings.shared else f"key {call.caller.alias}"
    namespace = wish.namespace or settings.namespace
    return partial(cachekey.name_entry, group=group, tenant=tenant, namespace=namespace)


async def _keep(keeping: Keeping, material: Material, check: Check | None) -> None:
    """Keep an answer, if it may be given again, and tell those who wait for it."""
    try:
        response = None
        if keeping.kind in CHATS:
            if is_long(material.body):
                response = await in_thread(partial(read_answer, material))
            else:
                response = read_answer(material)
            if response is None or (check is not None and not await has_form(check, response)):
                return
        entries = keeping.entries(material, response)
        keeping.over(entries)
        for key, entry in entries.items():
            await keeping.place.put(key, entry, keeping.ttl)
    except (GatewayError, sse.TooLong) as error:  # the client had it as it was; nobody else is to
        log.debug("An answer is not kept: %s", error)
    finally:
        keeping.over({})
