"""What a call asks, as a digest. Whoever sends the very bytes that were sent before is known by them: then nothing is
read anew, which is what makes a hit cheaper than asking."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from penstock.core import cachekey
from penstock.core.errors import GatewayError, shed
from penstock.core.ops import forms
from penstock.runtime.apart import is_long
from penstock.runtime.call import GATEWAY_FIELDS

if TYPE_CHECKING:
    from penstock.runtime.call import Call

MOST_KNOWN = 20_000  # bodies of which it is known what they digest to
# Fields by which an answer depends on more than the request.
_ELSEWHERE = frozenset(("conversation", "thread", "background", "container"))
_BETA = b"-beta"  # headers that change what an API does
_NEUTRAL = frozenset(("completion", "responses"))  # kinds whose questions are read into the neutral form
_FORM = "transcription"


class Questions:
    """What the bodies digest to that came last."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def digest(self, call: Call, kind: str) -> bytes | None:
        """Digest what a call asks; None for what has no part in the cache: what would take long to read, what no other
        request can mean."""
        if not _ELSEWHERE.isdisjoint(call.fields):
            return None
        if kind == _FORM:
            return _digest_form(call)
        body = call.exchange.body
        if is_long(body):
            return None
        surface = call.surface
        assert surface is not None
        headers = call.exchange.headers
        betas = [headers[name] for name in surface.forward_names if name.endswith(_BETA) and name in headers]
        made = hashlib.sha256(f"{surface.dialect.name}\n{kind}\n{call.asked}\n{betas}\n".encode())
        made.update(body)
        known = made.digest()
        found = self._known.get(known)
        if found is None:
            found = _read(call, kind, betas)
            if found is not None:
                if len(self._known) >= MOST_KNOWN:
                    del self._known[next(iter(self._known))]
                self._known[known] = found
        return found


def _read(call: Call, kind: str, betas: list[bytes]) -> bytes | None:
    """Digest what a call asks, by what it means."""
    fields = call.fields
    beside = [*betas, bytes(fields["validate"])] if "validate" in fields else betas
    if kind not in _NEUTRAL:
        return cachekey.digest_fields(kind, fields, GATEWAY_FIELDS, call.asked.encode(), *beside)
    try:
        request = call.parsed()
    except GatewayError as error:  # the upstream may understand it
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
