"""Embeddings in the cache, each input by itself: a batch of which half is known costs half, and comes in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from penstock.core import cachekey
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.core.kept import Entry
from penstock.core.ops.embeddings_kept import inputs_of, join_rows, read_rows, share_tokens
from penstock.runtime.call import GATEWAY_FIELDS
from penstock.runtime.keeping import HIT, SHARED, Entries, Keeping

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.cache_place import Place
    from penstock.runtime.cache_question import Owner
    from penstock.runtime.call import Call

KIND = "embedding"
OPENAI = "openai_chat"  # the dialect in whose form /v1/embeddings is
MOST = 2048  # inputs that are looked up one by one: OpenAI takes no more at once
MOST_ASKED = 128  # the same of a place that is asked over a network, all at once


def split_items(call: Call, place: Place) -> list[Raw] | None:
    """List the inputs of a call that are kept one by one; None where all of the call is one entry: it is not in
    OpenAI's form, or has no such list. One input is a batch of one: it may be in a batch the next time."""
    raw = call.fields.get("input")
    if raw is None or call.surface is None or call.surface.dialect.name != OPENAI:
        return None
    inputs = inputs_of(raw) or [raw]
    return inputs if len(inputs) <= (MOST if place.at_once else MOST_ASKED) else None


def name_items(call: Call, inputs: list[Raw], name: Callable[[bytes], str]) -> list[str]:
    """Name the entries of inputs. What is asked of them beside counts for each."""
    rest = {key: raw for key, raw in call.fields.items() if key != "input"}
    base = cachekey.digest_fields(KIND, rest, GATEWAY_FIELDS)
    return [name(cachekey.digest_fields("input", {"input": one}, (), base)) for one in inputs]


class ItemsKeeping(Keeping, kw_only=True):
    """The part of a batch in the cache. ``names``: of the entries, in order; ``found``: those that were there."""

    inputs: list[Raw]
    names: list[str]
    found: list[Entry | None] = []
    vectors: list[Raw] = []  # of those that were not there
    shares: list[int] = []

    def __post_init__(self) -> None:
        self.found = [None] * len(self.inputs)

    def whole(self, attempt: Attempt, body: bytes, content_type: bytes) -> bytes:
        """Put what was kept among what was asked for. Raises "broken_answer" where the upstream's does not fit."""
        missing = [one for one, entry in zip(self.inputs, self.found, strict=True) if entry is None]
        told = read_rows(body)
        if told is None or len(told.vectors) != len(missing):
            self.writes = False
            if len(missing) == len(self.inputs):
                return body
            text = f"The upstream's answer has not one vector for each of {len(missing)} inputs."
            raise GatewayError("broken_answer", text)
        self.vectors, self.shares = told.vectors, share_tokens(told.tokens, missing)
        self.body = b""  # what is kept are the parts
        if len(missing) == len(self.inputs):
            return body
        old = sum(entry.usage.fresh for entry in self.found if entry is not None and entry.usage is not None)
        fresh = iter(told.vectors)
        vectors = [next(fresh) if entry is None else Raw(entry.body) for entry in self.found]
        return join_rows(vectors, old + told.tokens, attempt.call.model_raw, told.top)

    def entries(self) -> Entries:
        """Make an entry of each vector that is new."""
        now = self.at
        names = [name for name, entry in zip(self.names, self.found, strict=True) if entry is None]
        return {
            name: Entry(now, now + self.ttl, KIND, "", bytes(vector), Usage(fresh=tokens))
            for name, vector, tokens in zip(names, self.vectors, self.shares, strict=True)
        }

    async def look_up(self, call: Call, youngest: float | None) -> bool:
        """Answer a call of which every input is known; else have it ask for those that are not."""
        place = self.place
        if place.at_once:
            entries = [await place.get(name) for name in self.names]
        else:
            entries = await asyncio.gather(*[place.get(name) for name in self.names])
        now = time.time()
        if youngest is not None:
            entries = [None if entry is None or now - entry.at > youngest else entry for entry in entries]
        self.found = list(entries)
        if self._join(call, HIT):
            return True
        missing = [one for one, entry in zip(self.inputs, self.found, strict=True) if entry is None]
        if len(missing) < len(self.inputs):
            call.fields = {**call.fields, "input": Raw(msgspec.json.encode(missing))}
        return False

    async def take(self, call: Call, entries: Entries) -> bool:
        """Answer a call by what another was answered."""
        self.found = [entry or entries.get(name) for name, entry in zip(self.names, self.found, strict=True)]
        return self._join(call, SHARED)

    def _join(self, call: Call, how: bytes) -> bool:
        known = [entry for entry in self.found if entry is not None]
        if len(known) < len(self.found):
            return False
        self.how = how
        self.age = max(0, int(time.time() - min(entry.at for entry in known)))
        tokens = sum(entry.usage.fresh for entry in known if entry.usage is not None)
        self.usage = Usage(fresh=tokens)
        call.outlet.kept(call, join_rows([Raw(entry.body) for entry in known], tokens, call.model_raw))
        return True


def make_items(
    call: Call, owner: Owner, key: str, place: Place, ttl: float, limit: int, writes: bool
) -> ItemsKeeping | None:
    """Make the part of a batch in the cache; None where all of the call is one entry."""
    inputs = split_items(call, place)
    if inputs is None:
        return None
    names = name_items(call, inputs, lambda digest: cachekey.name_entry(digest, *owner))
    return ItemsKeeping(KIND, OPENAI, call.asked, place, ttl, limit, writes, key, inputs=inputs, names=names)
