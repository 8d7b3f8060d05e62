"""Chats in this process's memory that nobody has asked a second time yet: they are known by a mark, and have no name.

To name a chat of 700 bytes takes 6 us, and its entry and all that belongs to it as much again; a mark takes 1. Chats
that are named alike have the same mark, so one whose mark is not there is a miss for certain. Where it is there, both
are named, and the names decide. Most chats are asked once.

While all clients speak one dialect a mark is made of all that the turns say; where dialects share answers, of the last
text of a user's, which they all have.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from penstock.core.cachekey import read_question, read_turns
from penstock.core.envelope import open_body
from penstock.core.kept import Entry
from penstock.runtime.apart import is_long
from penstock.runtime.cache_question import ELSEWHERE, NEUTRAL, SHORT, Question, beside_of, body_of
from penstock.runtime.keeping import Keeping

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.config.cache import CacheSettings
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.cache_place import Place
    from penstock.runtime.cache_question import Owner, Questions
    from penstock.runtime.call import Call
    from penstock.runtime.state import State
    from penstock.stores.answers_memory import MemoryAnswers

MOST_NAMED = 65_536  # marks of what has names that are remembered; of those before them a hit may be missed, once
_write = msgspec.msgpack.Encoder().encode
_read: Callable[[memoryview], tuple[Question, Entry]] = msgspec.msgpack.Decoder(tuple[Question, Entry]).decode
_LOOKED_AT = ELSEWHERE | {"cache", "validate"}  # fields for which a request is looked at more closely


class Marks:
    """The marks of one place. ``dialects``: those that clients speak. ``asked``: the calls under way that have no name.
    ``_named``: the marks of what has one."""

    def __init__(self, place: Place, memory: MemoryAnswers, settings: CacheSettings, questions: Questions) -> None:
        self.dialects: set[str] = set()
        self.asked: dict[int, Keeping] = {}
        self.take(settings)
        self._place = place
        self._memory = memory
        self._questions = questions
        self._named: OrderedDict[int, None] = OrderedDict()
        self._read: Callable[[Mapping[str, Raw]], Hashable] = read_question if questions.sharing else read_turns
        self._met = "", 0  # the call that was found to have a known mark, and that mark

    def take(self, settings: CacheSettings) -> None:
        """Go by other settings from now on."""
        self.settings = settings
        self._kinds = settings.kinds & NEUTRAL

    def begin(self, call: Call, state: State) -> bool:
        """Make the part in the cache of a chat that nobody can have asked before; False for all others."""
        surface, fields, shelf = call.surface, call.fields, state.shelves.get(call.model)
        assert surface is not None
        name = surface.dialect.name
        if shelf is None or not shelf.plain or name not in self.dialects or state.caching is not self.settings:
            return False
        if surface.cached not in self._kinds or not _LOOKED_AT.isdisjoint(fields):
            return False
        body = call.exchange.body
        if len(body) >= SHORT and (is_long(body) or self._questions.knows(call, surface.cached)):
            return False
        said = self._read(fields)
        if said is None:
            return False
        owner = (shelf.group, "" if shelf.shared else call.caller.tenant, shelf.namespace)
        mark = hash((owner, said))
        if mark in self._memory.values or mark in self.asked or mark in self._named:
            self._met = call.call_id, mark
            return False
        if surface.adapt is not None:
            body = body_of(call)
        question = Question(name, body, beside_of(call) if surface.forward_names else (), owner)
        call.caching = self.asked[mark] = Keeping(
            surface.cached, name, call.asked, self._place, shelf.ttl, shelf.limit, True, "", mark, question
        )
        return True

    def name(self, call: Call, owner: Owner) -> Iterator[tuple[str, Question, Keeping | None]]:
        """Note that a chat has a name, and name what else has its mark: yield the key, the question, and the call where
        that is still under way. What is kept is kept under its key from then on."""
        body, surface = call.exchange.body, call.surface
        assert surface is not None
        if len(body) >= SHORT and (is_long(body) or self._questions.knows(call, surface.cached)):
            return
        if self._met[0] == call.call_id:
            mark = self._met[1]
        else:
            said = self._read(call.fields)
            if said is None:
                return
            mark = hash((owner, said))
        self._note_named(mark)
        kept = self._memory.look(mark)
        if kept is not None:
            question, entry = _read(kept)
            self._memory.drop(mark)
            key = self._name(question)
            if key is not None:
                self._place.keep(key, entry)
                yield key, question, None
        keeping = self.asked.pop(mark, None)
        if keeping is not None and keeping.question is not None:
            question = keeping.question
            if self._give_name(keeping, question):
                yield keeping.key, question, keeping

    def _note_named(self, mark: int) -> None:
        self._named[mark] = None
        self._named.move_to_end(mark)
        if len(self._named) > MOST_NAMED:
            self._named.popitem(last=False)

    def _name(self, question: Question) -> str | None:
        return question.by_meaning() if self._questions.sharing else question.by_words()

    def _give_name(self, keeping: Keeping, question: Question) -> bool:
        """Name a call under way; False where that cannot be, and its answer is not kept."""
        key = self._name(question)
        keeping.question = None
        if key is None:
            keeping.writes = False
            return False
        keeping.key = key
        return True

    def keep(self, keeping: Keeping, question: Question, attempt: Attempt) -> bool:
        """Keep the answer of a call that went well and has no name; False where there is nothing to keep."""
        if (keeping.body is None and keeping.parts is None) or self.asked.pop(keeping.mark, None) is not keeping:
            return False
        self._memory.keep(keeping.mark, _write((question, keeping.entry_of(attempt))), keeping.ttl)
        return True

    def over(self, keeping: Keeping) -> None:
        """Forget a call that is over."""
        if self.asked.get(keeping.mark) is keeping:
            del self.asked[keeping.mark]

    def share(self, named: Iterable[Question], room: int) -> Iterator[tuple[str, Keeping | Entry]]:
        """Make marks by which all dialects find the same from now on. Yields all that has no name with its key: calls
        under way, and what is kept, the oldest first. ``named``: what has one. ``room``: bytes of questions that are
        read for that; what is beyond is forgotten, the oldest first."""
        asked, self.asked, self._read = self.asked, {}, read_question
        self._named.clear()
        for question in named:
            self._note_question(question)
        for keeping in asked.values():
            if keeping.question is not None:
                self._note_question(keeping.question)
                if self._give_name(keeping, keeping.question):
                    yield keeping.key, keeping
        found: list[tuple[str, Keeping | Entry]] = []
        for kept in self._memory.take_marked():
            question, entry = _read(kept)
            room -= question.size
            key = self._name(question) if room >= 0 else None
            if key is not None:
                self._note_question(question)
                found.append((key, entry))
        yield from reversed(found)

    def _note_question(self, question: Question) -> None:
        self._note_named(hash((question.owner, read_question(open_body(question.body)))))
