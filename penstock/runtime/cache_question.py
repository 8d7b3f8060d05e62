"""What a call asks, as a digest; of chats in one of two ways.

As long as all clients of a process speak one dialect, a chat is digested by its own words: canonical JSON, 2 us for 600
bytes. By its meaning it takes 9, and then a Chat request shares its answer with a Messages request. That begins with
the first client of a second dialect, and what was kept before is moved to where all find it (``Early``). In a place
that processes share nobody knows what the others' clients speak: there it is the meaning from the start. In this
process's memory nothing is digested before somebody may have asked it: see ``cache_marks``.

Whoever sends the very bytes that were sent before is known by them, and nothing long is read anew.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from penstock.core import cachekey
from penstock.core.dialects import DIALECTS
from penstock.core.envelope import open_body, seal
from penstock.core.errors import GatewayError, shed
from penstock.core.ops import forms
from penstock.runtime.apart import is_long
from penstock.runtime.call import GATEWAY_FIELDS

if TYPE_CHECKING:
    from penstock.core.ir import Request
    from penstock.runtime.call import Call

MOST_BYTES = 8 * 1024 * 1024  # of bodies whose digest is known
SHORT = 2048  # bytes of a body that is read anew each time: to remember it costs as much
MOST_EARLY = 4 * 1024 * 1024  # bytes of early questions, which are read in one step
# Fields by which an answer depends on more than the request.
ELSEWHERE = frozenset(("conversation", "thread", "background", "container"))
_BETA = b"-beta"  # headers that change what an API does
NEUTRAL = frozenset(("completion", "responses"))  # kinds whose questions have a neutral form
_FORM = "transcription"
Owner = tuple[str, str, str]  # of an entry: group, tenant, namespace, see ``cachekey.name_entry``


class Questions:
    """What the bodies digest to that came last. ``sharing``: chats are digested by their meaning."""

    def __init__(self) -> None:
        self.sharing = False
        self._known: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._size = 0

    def knows(self, call: Call, kind: str) -> bool:
        """Tell whether the digest of a long body is known."""
        return len(call.exchange.body) >= SHORT and _known_as(call, kind) in self._known

    def share(self) -> None:
        """Digest chats by their meaning from now on."""
        self.sharing = True
        self._known.clear()
        self._size = 0

    def digest(self, call: Call, kind: str) -> bytes | None:
        """Digest what a call asks; None for what has no part in the cache: what would take long to read, what no other
        request can mean."""
        fields, body = call.fields, call.exchange.body
        if not ELSEWHERE.isdisjoint(fields):
            return None
        if kind == _FORM:
            return _digest_form(call)
        if is_long(body):
            return None
        surface = call.surface
        assert surface is not None
        if len(body) < SHORT:
            return self._read(call, kind, beside_of(call))
        known = _known_as(call, kind)
        found = self._known.get(known)
        if found is None:
            found = self._read(call, kind, beside_of(call))
            if found is not None:
                self._remember(known, found, len(body))
        return found

    def _read(self, call: Call, kind: str, beside: tuple[bytes, ...]) -> bytes | None:
        surface = call.surface
        assert surface is not None
        if kind not in NEUTRAL:
            return cachekey.digest_fields(kind, call.fields, GATEWAY_FIELDS, call.asked.encode(), *beside)
        if self.sharing:
            return digest_meaning(call.parsed, beside)
        return cachekey.digest_body(surface.dialect.name, body_of(call), GATEWAY_FIELDS, *beside)

    def _remember(self, known: tuple[object, ...], digest: bytes, size: int) -> None:
        self._known[known] = digest
        self._size += size + 300
        while self._size > MOST_BYTES:
            oldest, _ = self._known.popitem(last=False)
            body = oldest[-1]
            assert isinstance(body, bytes)
            self._size -= len(body) + 300


def _known_as(call: Call, kind: str) -> tuple[object, ...]:
    assert call.surface is not None
    return call.surface.dialect.name, kind, call.asked, beside_of(call), call.exchange.body


def beside_of(call: Call) -> tuple[bytes, ...]:
    """Collect what decides about an answer beside the fields that count."""
    surface, fields = call.surface, call.fields
    assert surface is not None
    if not surface.forward_names and "validate" not in fields:
        return ()
    headers = call.exchange.headers
    betas = [headers[name] for name in surface.forward_names if name.endswith(_BETA) and name in headers]
    return (*betas, bytes(fields["validate"])) if "validate" in fields else tuple(betas)


def digest_meaning(read: Callable[[], Request], beside: tuple[bytes, ...]) -> bytes | None:
    """Digest what a chat means; None for one that cannot be read here, or that asks for no answer."""
    try:
        request = read()
    except GatewayError as error:  # its upstream may understand it
        shed(error)
        return None
    return cachekey.digest_request(request, GATEWAY_FIELDS, beside) if request.messages else None


def _digest_form(call: Call) -> bytes | None:
    """Digest a form with its files: by their content, whatever they are called. None of one that is passed on as it
    comes, or whose answer comes in pieces."""
    exchange = call.exchange
    if call.stream or (exchange.upload is not None and exchange.upload.streams):
        return None
    found = forms.parts(exchange.body, forms.boundary_of(exchange.headers.get(b"content-type")))
    whole = memoryview(exchange.body)
    files = [
        part.name.encode() + b"\n" + hashlib.sha256(whole[part.start : part.end]).digest()
        for part in found
        if part.filename is not None
    ]
    return cachekey.digest_fields(_FORM, call.fields, GATEWAY_FIELDS, call.asked.encode(), *files)


def body_of(call: Call) -> bytes:
    """Return the words of a chat: its body, with what the surface makes of it."""
    surface = call.surface
    assert surface is not None
    return call.exchange.body if surface.adapt is None else seal(call.fields)


class Question(Struct, frozen=True, array_like=True, gc=False):
    """A chat as it was asked, which can be named when that is over."""

    dialect: str
    body: bytes
    beside: tuple[bytes, ...]
    owner: Owner

    @property
    def size(self) -> int:
        """Return about how many bytes it takes."""
        return len(self.body) + 300

    def by_words(self) -> str:
        """Name it by its words."""
        digest = cachekey.digest_body(self.dialect, self.body, GATEWAY_FIELDS, *self.beside)
        return cachekey.name_entry(digest, *self.owner)

    def by_meaning(self) -> str | None:
        """Name it as all dialects do; None where it cannot be read."""
        digest = digest_meaning(self._parsed, self.beside)
        return None if digest is None else cachekey.name_entry(digest, *self.owner)

    def _parsed(self) -> Request:
        fields = {key: raw for key, raw in open_body(self.body).items() if key not in GATEWAY_FIELDS}
        return DIALECTS[self.dialect].parse_request(fields)


def question_of(call: Call, owner: Owner) -> Question:
    """Take down what a call asks."""
    assert call.surface is not None
    return Question(call.surface.dialect.name, body_of(call), beside_of(call), owner)


class Early:
    """Questions of the only dialect that there is yet, whose answers are kept by its words: under which key."""

    def __init__(self) -> None:
        self._asked: deque[tuple[str, Question]] = deque()
        self.size = 0

    def add(self, key: str, question: Question) -> None:
        """Note a question whose answer is kept, or going to be."""
        self._asked.append((key, question))
        self.size += question.size
        while self.size > MOST_EARLY:
            self.size -= self._asked.popleft()[1].size

    def renamed(self) -> Iterator[tuple[str, str, Question]]:
        """Yield the key of each, the one by which all dialects find its answer, and what it is; forget all of them."""
        asked, self._asked, self.size = self._asked, deque(), 0
        for key, question in asked:
            new = question.by_meaning()
            if new is not None:
                yield key, new, question
