"""What a call asked and was answered, for the ledger and for sinks: taken down as it is, and made fit to be kept in a
thread, where nobody waits for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core import sse
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import View
from penstock.core.errors import GatewayError
from penstock.core.kept_texts import MOST_ANSWER, MOST_REQUEST, kept_json, too_large
from penstock.runtime.cross import collect_stream
from penstock.runtime.ids import mint
from penstock.stores.base import KeptTexts, Spent, SpentTexts

if TYPE_CHECKING:
    from penstock.core.mask import Mask
    from penstock.runtime.call import Call
    from penstock.runtime.surface import Surface

STREAMED = " stream"


class Texts:
    """The answer of one call as it goes out, as far as there is room."""

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def part(self, data: bytes) -> None:
        """Note the next bytes of the answer."""
        self._size += len(data)
        if self._size <= MOST_ANSWER:
            self._parts.append(data)

    def lay_down(self, call: Call, entry: Spent) -> SpentTexts:
        """Return an entry with the texts of its call, as they are."""
        values: tuple[Any, ...] = (
            *msgspec.structs.astuple(entry),
            asked_of(call),
            self.answer(),
            self.form(call.surface, call.stream),
        )
        return SpentTexts(*values)

    @property
    def size(self) -> int:
        """Return how many bytes are held."""
        return min(self._size, MOST_ANSWER)

    def answer(self) -> bytes:
        """Return the answer as it went out; of a larger one, how large it was."""
        return b"".join(self._parts) if self._size <= MOST_ANSWER else too_large(self._size)

    def form(self, surface: Surface | None, stream: bool) -> str:
        """Tell in which form the answer is, see ``whole_answer``."""
        form = "" if surface is None else surface.dialect.name
        return form + STREAMED if stream and self._size <= MOST_ANSWER else form


def asked_of(call: Call) -> bytes:
    """Return the body of a request; of a larger one, how large it was."""
    body = call.exchange.body
    request = body if isinstance(body, bytes) else b""
    return request if len(request) <= MOST_REQUEST else too_large(len(request))


def fit_texts(entry: SpentTexts, mask: Mask) -> KeptTexts:
    """Return the texts of an entry as they are kept: whole answers in JSON, cut, and without secrets."""
    names = (entry.model, entry.target)
    answer = whole_answer(entry.response, entry.form, entry.model)

    def clean(text: str) -> str:
        return mask.clean(text, names)

    return KeptTexts(entry.call_id, kept_json(entry.request, clean), kept_json(answer, clean))


def whole_answer(answer: bytes, form: str, model: str) -> bytes:
    """Return an answer whole, also one that was streamed. ``form``: its dialect, and whether it was."""
    return _collected(answer, form.removesuffix(STREAMED), model) if form.endswith(STREAMED) else answer


def _collected(stream: bytes, form: str, model: str) -> bytes:
    """Put a streamed answer together; b"" where it cannot be read."""
    dialect = DIALECTS.get(form)
    if dialect is None or not stream:
        return b""
    try:
        response = collect_stream(stream, dialect)
        view = View(model=model, request=None, now=response.created or int(time.time()), mint=mint)
        return dialect.render_response(response, view).body
    except (GatewayError, sse.TooLong):
        return b""
