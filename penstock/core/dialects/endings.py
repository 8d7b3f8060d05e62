"""How an answer may end: the words of each dialect, and what is made of a word that says it did not succeed.

A vendor's failure must never arrive as a success (BerriAI/litellm#21744: Gemini's MALFORMED_FUNCTION_CALL came out as
"stop"). So each dialect has one table of the words that it is known to end with, and of those by which it fails; any
other word is no success either.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from penstock.core.dialects.redact import scrub
from penstock.core.errors import GatewayError

OTHER = "other:"
"""Begins the neutral reason of an answer that ended with a word nobody here knows; the word follows. Every dialect
tells it as an answer that is not complete."""
_SUCCESS = frozenset(("stop", "tool_use", "pause"))
_LONGEST = 300  # characters of a vendor's own explanation
_WORD = 80  # and of its word: it is a name, or it is nothing that a client should read


class Words(Struct, frozen=True):
    """The words of a dialect's ``field``. ``ends``: word -> neutral reason, for answers that are as they should be, or
    that say plainly why not. ``fails``: word -> kind of error, for answers that are none. ``at_once``:
    such words of a service that has nothing to recover from: the same may be asked again without a pause."""

    field: str
    ends: Mapping[str, str]
    fails: Mapping[str, str]
    at_once: frozenset[str] = frozenset()

    def read(self, word: str, said: bool, why: str = "") -> str:
        """Return the neutral reason for ``word``. ``said``: the answer holds something; ``why``: the vendor's own
        explanation. Raises the error that a failure is, and one for an unknown word, or for none, with nothing said:
        another target may still answer."""
        reason = self.ends.get(word)
        if reason is not None:
            return reason
        if not word and said:
            return "stop"  # some servers leave it out
        if not word:
            raise GatewayError("broken_answer", f"The upstream's answer is empty, and has no {self.field}.")
        kind = self.fails.get(word)
        if kind is None and said:
            return OTHER + word
        error = failure(self.field, word, why, kind or "upstream_error")
        if word in self.at_once:
            error.retry_after = 0.0
        raise error


def failure(field: str, word: str, why: str = "", kind: str = "upstream_error") -> GatewayError:
    """Make the error of an answer that ended with a word of failure."""
    told = f": {scrub(why.strip())[:_LONGEST]}" if why.strip() else "."
    return GatewayError(kind, f'The upstream ended the answer with {field} "{word[:_WORD]}"{told}', upstream_code=word)


def is_other(reason: str) -> bool:
    """Tell whether a neutral reason is a vendor's word that nobody here knows."""
    return reason.startswith(OTHER)


def own_word(reason: str, words: Words) -> str:
    """Return the vendor's word in an unknown reason, "" where it would be one of success in this dialect."""
    word = reason[len(OTHER) :] if is_other(reason) else ""
    return "" if words.ends.get(word) in _SUCCESS else word
