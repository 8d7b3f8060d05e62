"""Where the continuation of a text meets the text: white space that is there already, and words that are said again."""

from __future__ import annotations

FARTHEST = 200  # characters from the end of a text within which a repetition begins, unless it is of the whole text
_LETTERS = {True: 12, False: 3}  # by ``begun``: letters and digits that make a repetition


class Seam:
    """A filter of the text that continues ``text``.

    ``begun``: the text stood in the request as an answer that has begun. A model that goes on by itself repeats nothing
    by mistake, though Mistral's API gives the whole beginning back; one that was asked to go on may begin its sentence
    anew. So a short repetition counts as one only there. Nothing is cut whose like stands before it in the text: in
    "10, 10, 10," the next "10," is no mistake. ``trimmed``: it stood there without the white space at its end.

    What may still be a repetition is held back. ``cut``: characters of the continuation that were left out."""

    __slots__ = ("_at", "_decided", "_gap", "_held", "_keeps", "_pieces", "_repeated", "_said", "_tails", "cut")

    def __init__(self, text: str, begun: bool, trimmed: bool) -> None:
        self._said = said = text.rstrip()
        self._gap = text[len(said) :]
        self._keeps = not trimmed  # the white space that a continuation begins with
        self._tails = _tails(said, _LETTERS[begun])
        self._held = ""
        self._at = 0  # so much of the whole text is said again, which is too long to be looked at anew each time
        self._pieces: list[str] = []  # of that, behind what is held
        self._repeated = False
        self._decided = not text
        self.cut = 0

    def feed(self, text: str) -> str:
        """Return what of the continuation is known to be new, with its next piece."""
        if self._decided:
            return text
        if self._at:
            return self._echo(text)
        self._held += text
        body = self._held.lstrip()
        if not self._repeated:
            if not body or any(len(body) < len(tail) and tail.startswith(body) for tail in self._tails):
                if len(body) > FARTHEST:
                    self._at = len(body)
                return "" if len(self._held) < len(body) + FARTHEST else self.close()
            self._cut_repetition(body)
        return self._past_gap()

    def close(self) -> str:
        """Return what is held back: nothing more comes."""
        held = self._held + "".join(self._pieces)
        self._held, self._at = "", 0
        self._pieces.clear()
        if not self._decided:
            self._decided = True
            if (self._repeated or not self._keeps) and self._gap:
                rest = self._without_gap(held)
                self.cut += len(held) - len(rest)
                return rest
        return held

    def _past_gap(self) -> str:
        if (self._repeated or not self._keeps) and self._gap and not self._held.strip():
            return ""  # white space, of which some is there already
        return self.close()

    def _echo(self, text: str) -> str:
        """Take the next piece of what has been the whole text again so far."""
        size = min(len(text), len(self._said) - self._at)
        self._pieces.append(text)
        if not self._said.startswith(text[:size], self._at):
            return self.close()
        self._at += size
        if self._at < len(self._said):
            return ""
        rest = text[size:]
        self.cut += len(self._held) + sum(map(len, self._pieces)) - len(rest)
        self._held, self._at, self._repeated = rest, 0, True
        self._pieces.clear()
        return self._past_gap()

    def _cut_repetition(self, body: str) -> None:
        for tail in self._tails:  # the longest first
            if body.startswith(tail):
                rest = body[len(tail) :]
                self.cut += len(self._held) - len(rest)
                self._held, self._repeated = rest, True
                return

    def _without_gap(self, text: str) -> str:
        """Leave out the white space at the beginning that stands at the end of what was said; all of it, where it is
        another."""
        same = 0
        while same < min(len(text), len(self._gap)) and text[same] == self._gap[same]:
            same += 1
        return text[same:] if same else text.lstrip()


def _tails(said: str, least: int) -> list[str]:
    """List the ends of a text that would be a repetition, the longest first: the whole, and from its last words on."""
    first = max(0, len(said) - FARTHEST)
    places = [at for at in range(max(1, first), len(said)) if said[at].isalnum() and not said[at - 1].isalnum()]
    found = [said[at:] for at in places if not _is_usual(said, at)]
    if said and said.find(said[: max(1, len(said) // 2)], 1) < 0:
        found.insert(0, said)
    return [tail for tail in found if sum(map(str.isalnum, tail[: FARTHEST * 2])) >= least]


def _is_usual(said: str, at: int) -> bool:
    """Tell whether the end of a text from a place on stands a little before, too."""
    tail = said[at:]
    return said.find(tail, max(0, at - len(tail) - 8), len(said) - 1) >= 0
