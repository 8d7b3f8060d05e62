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
from penstock.core.errors import GatewayError, shed
from penstock.core.likeness import split_question
from penstock.runtime.cache_question import NEUTRAL, Name, beside_of, digest_meaning
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


class Question(NamedTuple):
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

    def read(self, call: Call, name: Name) -> Question | None:
        """Read what of a call is compared; None where nothing is. ``name``: what names the entries of its caller."""
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
        scope = hashlib.blake2b(name(digest).encode(), digest_size=32).hexdigest()
        exchange = call.exchange
        return Question(found.text, scope, Behalf(state, call.caller, exchange.client, call.request_id))

    async def vector(self, question: Question) -> Vector | None:
        """Return the vector of a question, if there is one in time and something to compare it with."""
        if self.place.rests or self.place.search.rests:
            return None
        return await self.embedder.vector(question.text, question.behalf)


class LikeKeeping(Keeping):
    """The part in the cache of a chat that may be answered as one like it was. ``likeness``: of the one that it was
    answered as; else of the nearest; None while it was not compared."""

    __slots__ = ("_compares", "_name", "_question", "_vector", "_was_read", "likeness")

    def __init__(
        self, kind: str, key: str, compares: Likeness, ttl: float, limit: int, writes: bool, name: Name
    ) -> None:
        super().__init__(kind, key, compares.place, ttl, limit, writes)
        self.likeness: float | None = None
        self._compares = compares
        self._name = name
        self._question: Question | None = None
        self._vector: Vector | None = None
        self._was_read = False

    def lines(self) -> bytes:
        """Render the header lines that tell how the cache was used, and how like the nearest question was."""
        told = super().lines()
        if self.likeness is None or self.how not in (HIT, MISS):
            return told
        shown = round(self.likeness, 4) + 0.0  # which makes 0 of -0
        return told + b"x-litellm-semantic-similarity: %b\r\n" % str(shown).encode()

    async def look_up(self, call: Call, youngest: float | None) -> bool:
        """Answer a call by what is kept for its question, else for the one that is most like it."""
        if await super().look_up(call, youngest):
            return True
        if self.writes and self.key in self._compares.flights:
            return False  # another call is about to get the answer to this very question
        self._read(call)
        if self._question is None:
            return False
        self._vector = await self._compares.vector(self._question)
        if self._vector is None:
            self._question = None  # who had no vector in time is not to ask for it again
            return False
        own, place = self.key, self._compares.place
        found = await place.nearest(self._question.scope, self._vector)
        self.likeness = found[0].likeness if found else 0.0
        for near in found:
            if near.likeness + ROUNDING < self._compares.settings.threshold:
                break
            entry = await place.get(near.key)
            if entry is None or (youngest is not None and time.time() - entry.at > youngest):
                continue
            best, self.likeness, self.key = self.likeness, near.likeness, near.key
            if await self._give(call, entry, HIT):
                return True
            self.likeness, self.key = best, own
        return False

    def entries(self, call: Call, attempt: Attempt) -> Entries:
        """Make what is kept of a call's answer; note its question while the call is there to be read."""
        self._read(call)
        return super().entries(call, attempt)

    async def keep(self, entries: Entries) -> None:
        """Keep an answer, with the vector of its question."""
        question, vector = self._question, self._vector
        if question is None:
            await super().keep(entries)
            return
        if vector is None and entries:
            vector = await self._compares.vector(question)
        for key, entry in entries.items():
            if vector is None:
                await self.place.put(key, entry)
            else:
                await self._compares.place.put_near(key, entry, question.scope, vector)

    def _read(self, call: Call) -> None:
        if not self._was_read:
            self._was_read = True
            self._question = self._compares.read(call, self._name)


def makers_of(compares: Likeness) -> Mapping[str, Callable[..., Keeping]]:
    """Return what makes a call's part in the cache, by the kinds whose questions are compared."""
    return dict.fromkeys(NEUTRAL, partial(_make, compares))


def _make(
    compares: Likeness, call: Call, key: str, name: Name, place: Place, ttl: float, limit: int, writes: bool
) -> Keeping:
    assert call.surface is not None
    return LikeKeeping(call.surface.cached, key, compares, ttl, limit, writes, name)
