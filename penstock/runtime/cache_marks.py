"""Chats in this process's memory that nobody has asked a second time yet: they are known by a mark, and have no name.

To name a chat of 700 bytes takes 6 us, and its entry and all that belongs to it as much again; a mark takes 1. Chats
that are named alike have the same mark, so one whose mark is not there is a miss for certain. Where it is there, both
are named, and the names decide. Most chats are asked once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from penstock.core.cachekey import read_turns
from penstock.runtime.apart import is_long
from penstock.runtime.cache_question import ELSEWHERE, NEUTRAL, SHORT, Question, beside_of, body_of
from penstock.runtime.keeping import Keeping

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.core.dialects.base import Dialect
    from penstock.core.kept import Entry
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.cache_place import Place
    from penstock.runtime.cache_question import Owner, Questions
    from penstock.runtime.call import Call
    from penstock.runtime.state import State
    from penstock.stores.answers_memory import MemoryAnswers

MOST_NAMED = 65_536  # marks of what has names that are remembered; of those before them a hit may be missed, once
_LOOKED_AT = ELSEWHERE | {"cache", "validate"}  # fields for which a request is looked at more closely


class Marks:
    """The marks of one place, while all clients speak ``dialect``. ``asked``: the calls under way that have no name.
    ``_named``: the marks of what has one."""

    def __init__(self, place: Place, memory: MemoryAnswers, settings: CacheSettings, questions: Questions) -> None:
        self.dialect: Dialect | None = None
        self.asked: dict[int, Keeping] = {}
        self.take(settings)
        self._place = place
        self._memory = memory
        self._questions = questions
        self._named: OrderedDict[int, None] = OrderedDict()
        self._met = "", 0  # the call that was found to have a known mark, and that mark

    def take(self, settings: CacheSettings) -> None:
        """Go by other settings from now on."""
        self.settings = settings
        self._kinds = settings.kinds & NEUTRAL

    def begin(self, call: Call, state: State) -> bool:
        """Make the part in the cache of a chat that nobody can have asked before; False for all others."""
        surface, fields = call.surface, call.fields
        assert surface is not None
        shelf = state.shelves.get(call.model)
        if shelf is None or not shelf.plain or surface.dialect is not self.dialect:
            return False
        if state.caching is not self.settings or surface.cached not in self._kinds or not _LOOKED_AT.isdisjoint(fields):
            return False
        body = call.exchange.body
        if len(body) >= SHORT and (is_long(body) or self._questions.knows(call, surface.cached)):
            return False
        said = read_turns(fields)
        if said is None:
            return False
        owner = (shelf.group, "" if shelf.shared else f"key {call.caller.alias}", shelf.namespace)
        mark = hash((owner, said))
        if mark in self._named or mark in self.asked or mark in self._memory.values:
            self._met = call.call_id, mark
            return False
        if surface.adapt is not None:
            body = body_of(call)
        beside = beside_of(call) if surface.forward_names else ()
        name = surface.dialect.name
        question = Question(name, body, beside, owner)
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
            said = read_turns(call.fields)
            if said is None:
                return
            mark = hash((owner, said))
        self._named[mark] = None
        self._named.move_to_end(mark)
        if len(self._named) > MOST_NAMED:
            self._named.popitem(last=False)
        kept = self._memory.look(mark)
        if kept is not None:
            self._memory.drop(mark)
            key = kept.question.by_words()
            self._place.keep(key, kept.entry())
            yield key, kept.question, None
        keeping = self.asked.pop(mark, None)
        if keeping is not None and keeping.question is not None:
            question, keeping.question = keeping.question, None
            keeping.key = question.by_words()
            yield keeping.key, question, keeping

    def keep(self, keeping: Keeping, question: Question, attempt: Attempt) -> bool:
        """Keep the answer of a call that went well and has no name; False where there is nothing to keep."""
        if (keeping.body is None and keeping.parts is None) or self.asked.pop(keeping.mark, None) is not keeping:
            return False
        keeping.note(attempt)
        self._memory.keep(keeping.mark, keeping, keeping.size + len(question.body) + 400, keeping.ttl)
        return True

    def over(self, keeping: Keeping) -> None:
        """Forget a call that is over."""
        if self.asked.get(keeping.mark) is keeping:
            del self.asked[keeping.mark]

    def end(self, room: int) -> Iterator[tuple[str, Keeping | Entry]]:
        """Yield all that has no name with the key by which all dialects find it: calls under way, and what is kept, the
        oldest first. ``room``: bytes of questions that are read for that; what is beyond is forgotten, the oldest
        first."""
        asked, self.asked = self.asked, {}
        for keeping in asked.values():
            question, keeping.question = keeping.question, None
            key = None if question is None else question.by_meaning()
            if key is None:
                keeping.writes = False
            else:
                keeping.key = key
                yield key, keeping
        found: list[tuple[str, Keeping | Entry]] = []
        for kept in self._memory.take_marked():
            room -= kept.question.size
            key = kept.question.by_meaning() if room >= 0 else None
            if key is not None:
                found.append((key, kept.entry()))
        yield from reversed(found)

