"""What a call asks, as a digest; of chats in one of two ways.

As long as all clients of a process speak one dialect, a chat is digested by its own words: canonical JSON, 2 us for 600
bytes. By its meaning it takes 9, and then a Chat request shares its answer with a Messages request. That begins with
the first client of a second dialect, and what was kept before is moved to where all find it (``Early``). In a place
that processes share nobody knows what the others' clients speak: there it is the meaning from the start.

Whoever sends the very bytes that were sent before is known by them, and nothing long is read anew.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.core import cachekey
from penstock.core.dialects import DIALECTS
from penstock.core.errors import GatewayError, shed
from penstock.core.ops import forms
from penstock.runtime.apart import is_long
from penstock.runtime.call import GATEWAY_FIELDS

if TYPE_CHECKING:
    from penstock.core.ir import Request
    from penstock.runtime.call import Call
    from penstock.runtime.keeping import Keeping

MOST_BYTES = 8 * 1024 * 1024  # of bodies whose digest is known
SHORT = 2048  # bytes of a body that is read anew each time: to remember it costs as much
MOST_EARLY = 4 * 1024 * 1024  # bytes of early questions, which are read in one step
# Fields by which an answer depends on more than the request.
_ELSEWHERE = frozenset(("conversation", "thread", "background", "container"))
_BETA = b"-beta"  # headers that change what an API does
NEUTRAL = frozenset(("completion", "responses"))  # kinds whose questions have a neutral form
_FORM = "transcription"
Name = Callable[[bytes], str]


class Questions:
    """What the bodies digest to that came last. ``sharing``: chats are digested by their meaning."""

    def __init__(self) -> None:
        self.sharing = False
        self._known: dict[tuple[object, ...], bytes] = {}
        self._size = 0

    def share(self) -> None:
        """Digest chats by their meaning from now on."""
        self.sharing = True
        self._known.clear()
        self._size = 0

    def digest(self, call: Call, kind: str) -> bytes | None:
        """Digest what a call asks; None for what has no part in the cache: what would take long to read, what no other
        request can mean."""
        fields, body = call.fields, call.exchange.body
        if not _ELSEWHERE.isdisjoint(fields):
            return None
        if kind == _FORM:
            return _digest_form(call)
        if is_long(body):
            return None
        surface = call.surface
        assert surface is not None
        if len(body) < SHORT:
            return self._read(call, kind, beside_of(call))
        beside = beside_of(call)
        known = (surface.dialect.name, kind, call.asked, beside, body)
        found = self._known.get(known)
        if found is None:
            found = self._read(call, kind, beside)
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
        return cachekey.digest_body(surface.dialect.name, call.exchange.body, GATEWAY_FIELDS, *beside)

    def _remember(self, known: tuple[object, ...], digest: bytes, size: int) -> None:
        self._known[known] = digest
        self._size += size + 300
        while self._size > MOST_BYTES:
            oldest = next(iter(self._known))
            del self._known[oldest]
            body = oldest[-1]
            assert isinstance(body, bytes)
            self._size -= len(body) + 300


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


class Early:
    """Questions of the only dialect that there is yet, whose answers are kept by its words."""

    def __init__(self) -> None:
        self._asked: deque[tuple[Keeping, Name, str, Mapping[str, Raw], tuple[bytes, ...], int]] = deque()
        self._size = 0

    def add(self, keeping: Keeping, name: Name, call: Call) -> None:
        """Note a question whose answer is going to be kept; ``name``: what names entries for such callers."""
        assert call.surface is not None
        size = len(call.exchange.body) + 500
        self._asked.append((keeping, name, call.surface.dialect.name, call.fields, beside_of(call), size))
        self._size += size
        while self._size > MOST_EARLY:
            self._size -= self._asked.popleft()[-1]

    def renamed(self) -> Iterator[tuple[Keeping, str]]:
        """Yield each with the key by which all dialects find its answer; forget all of them."""
        asked, self._asked, self._size = self._asked, deque(), 0
        for keeping, name, dialect, fields, beside, _ in asked:
            plain = {key: raw for key, raw in fields.items() if key != "validate"}
            digest = digest_meaning(partial(DIALECTS[dialect].parse_request, plain), beside)
            if digest is not None:
                yield keeping, name(digest)
