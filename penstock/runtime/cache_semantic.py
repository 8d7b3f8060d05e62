"""Questions that are like others, and have their answers: the part of the answer cache that compares what is asked.

The very same question is looked for first, which takes no vector. Else the text of a chat's last turn is compared with
that of chats that are equal in all else and that the same caller asked of the same group (``core.likeness``): a digest
of all that is the scope in which a place looks for the nearest, so there is no other that it could find.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from penstock.core import count
from penstock.core.cachekey import name_entry
from penstock.core.errors import GatewayError, shed
from penstock.core.likeness import split_question
from penstock.runtime.cache_question import NEUTRAL, Owner, beside_of, digest_meaning
from penstock.runtime.embedder import Behalf, Embedder, Handle, Vector
from penstock.runtime.keeping import HIT, MISS, Entries, Flight, Keeping

if TYPE_CHECKING:
    from penstock.config.cache import Comparing
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.cache_place import NearPlace, Place
    from penstock.runtime.call import Call
    from penstock.runtime.means import Means
    from penstock.runtime.state import State

ROUNDING = 1e-6  # of a likeness: vectors are kept as 32-bit floats, and one is not quite like itself


class Compared(NamedTuple):
    """What of a call is compared: its text, with those of a scope."""

    text: str
    scope: str
    behalf: Behalf


class Likeness:
    """How questions are compared, by the settings of one config, with those whose answers are in a place. ``flights``:
    answers that are on their way, by the names of their entries."""

    def __init__(
        self,
        settings: Comparing,
        place: NearPlace,
        flights: Mapping[str, Flight],
        handle: Handle,
        means: Callable[[], Means],
    ) -> None:
        self.settings = settings
        self.place = place
        self.flights = flights
        self.embedder = Embedder(settings.model, settings.timeout, handle, means)

    @property
    def trouble(self) -> str:
        """Tell why questions are not compared now; "" while they are."""
        return self.place.search.trouble or self.embedder.trouble

    @property
    def told(self) -> Mapping[str, object]:
        """Tell what an operator asks for."""
        told = {"embedding_model": self.settings.model, "similarity_threshold": self.settings.threshold}
        return {"status": "unhealthy", "error": self.trouble, **told} if self.trouble else {"status": "healthy", **told}

    def read(self, call: Call, owner: Owner) -> Compared | None:
        """Read what of a call is compared; None where nothing is."""
        try:
            found = split_question(call.parsed())
        except GatewayError as error:  # its upstream may understand it
            shed(error)
            return None
        if found is None or count.tokens(len(found.text.encode())) > self.settings.most_tokens:
            return None
        state = cast("State", call.known)
        # Vectors of one model say nothing of those of another, whatever both are called here.
        models = sorted({target.model for target in state.targets_of(self.settings.model)})
        user = [found.rest.user] if self.settings.by_user else []
        beside = [part.encode() for part in (self.settings.model, *models, "", *user)]
        digest = digest_meaning(lambda: found.rest, (*beside, *beside_of(call)))
        if digest is None:
            return None
        # A namespace is any text; the name of a scope stands in the query of a search.
        scope = hashlib.blake2b(name_entry(digest, *owner).encode(), digest_size=32).hexdigest()
        exchange = call.exchange
        return Compared(found.text, scope, Behalf(state, call.caller, exchange.client, call.request_id))

    async def vector(self, question: Compared) -> Vector | None:
        """Return the vector of a question, if there is one in time and something to compare it with."""
        if self.place.rests or self.place.search.rests:
            return None
        return await self.embedder.vector(question.text, question.behalf)


class LikeKeeping(Keeping, kw_only=True):
    """The part in the cache of a chat that may be answered as one like it was. ``likeness``: of the one that it was
    answered as; else of the nearest; None while it was not compared."""

    compares: Likeness
    owner: Owner
    likeness: float | None = None
    compared: Compared | None = None  # None also where nothing is, and for who had no vector in time
    vector: Vector | None = None
    was_read: bool = False

    def lines(self) -> bytes:
        """Render the header lines that tell how the cache was used, and how like the nearest question was."""
        told = Keeping.lines(self)
        if self.likeness is None or self.how not in (HIT, MISS):
            return told
        shown = round(self.likeness, 4) + 0.0  # which makes 0 of -0
        return told + b"x-litellm-semantic-similarity: %b\r\n" % str(shown).encode()

    async def look_up(self, call: Call, youngest: float | None) -> bool:
        """Answer a call by what is kept for its question, else for the one that is most like it."""
        if await Keeping.look_up(self, call, youngest):
            return True
        if self.writes and self.key in self.compares.flights:
            return False  # another call is about to get the answer to this very question
        self._read(call)
        if self.compared is None:
            return False
        self.vector = await self.compares.vector(self.compared)
        if self.vector is None:
            self.compared = None  # who had no vector in time is not to ask for it again
            return False
        own, place = self.key, self.compares.place
        found = await place.nearest(self.compared.scope, self.vector)
        self.likeness = found[0].likeness if found else 0.0
        for near in found:
            if near.likeness + ROUNDING < self.compares.settings.threshold:
                break
            entry = await place.get(near.key)
            if entry is None or (youngest is not None and time.time() - entry.at > youngest):
                continue
            best, self.likeness, self.key = self.likeness, near.likeness, near.key
            if await self._give(call, entry, HIT):
                return True
            self.likeness, self.key = best, own
        return False

    def note(self, attempt: Attempt) -> None:
        """Take down what there is to know of an answer that is going to be kept, while its call is there to be read."""
        self._read(attempt.call)
        Keeping.note(self, attempt)

    async def keep(self, entries: Entries) -> None:
        """Keep an answer, with the vector of its question."""
        question, vector = self.compared, self.vector
        if question is None:
            await Keeping.keep(self, entries)
            return
        if vector is None and entries:
            vector = await self.compares.vector(question)
        for key, entry in entries.items():
            if vector is None:
                await self.place.put(key, entry)
            else:
                await self.compares.place.put_near(key, entry, question.scope, vector)

    def _read(self, call: Call) -> None:
        if not self.was_read:
            self.was_read = True
            self.compared = self.compares.read(call, self.owner)


def makers_of(compares: Likeness) -> Mapping[str, Callable[..., Keeping]]:
    """Return what makes a call's part in the cache, by the kinds whose questions are compared."""
    return dict.fromkeys(NEUTRAL, partial(_make, compares))


def _make(
    compares: Likeness, call: Call, owner: Owner, key: str, place: Place, ttl: float, limit: int, writes: bool
) -> Keeping:
    surface = call.surface
    assert surface is not None
    kind, dialect = surface.cached, surface.dialect.name
    return LikeKeeping(kind, dialect, call.asked, place, ttl, limit, writes, key, compares=compares, owner=owner)
