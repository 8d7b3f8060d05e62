"""Streams that go on: ``router_settings.continue_streams``. A stream that breaks off in the middle of a text is gone on
with by another deployment, in the same stream to the client.

Only where that is configured does an attempt have a ``SoFar``. It reads along what its client gets, in the client's own
dialect, so that both lanes know alike what is out. When the stream breaks, the engine asks it whether somebody else can
go on; the next attempt then asks for the rest (``lanes``), and its events are joined to what is out
(``core.continuing``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from penstock.core.continuing.asking import ask_on, may_be_continued, shorten
from penstock.core.continuing.joined import Joined
from penstock.core.continuing.seam import Seam
from penstock.core.continuing.told import Told
from penstock.core.errors import GatewayError, shed
from penstock.core.ir import added
from penstock.core.providers.prefills import prefill_of, thinks
from penstock.core.sse import TooLong
from penstock.runtime import apart
from penstock.runtime.cross import view

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.core.dialects.base import Dialect, StreamEncoder, View
    from penstock.core.ir import Usage
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.endpoint import Endpoint

Emit = Callable[[bytes, GatewayError | None], None]
COMMENT = b": penstock continued on another deployment\n\n"


class SoFar:
    """What a client has of a streamed answer, over all attempts that gave some of it.

    ``broken``: a stream of it broke off, and whoever is asked now goes on with it. ``joins``: how many did.
    ``first_at``: the clock when its first byte went out."""

    __slots__ = ("_asked", "_client", "_decoder", "_framer", "_last", "_told", "_used", "_view", "first_at", "joins")

    def __init__(self, client: Dialect) -> None:
        self._client = client
        self._framer, self._decoder = client.framer(), client.decoder()
        self._told = Told()
        self._last = b""  # data of the last event
        self._view: View | None = None  # of the client, once there is something to go on with
        self._used: Usage | None = None  # by the attempts that broke off
        self._asked: tuple[int, dict[str, Raw]] = (0, {})  # the attempt that is asked, and its fields before that
        self.first_at: float | None = None
        self.joins = 0

    @property
    def broken(self) -> bool:
        """Tell whether a stream of it broke off with which somebody may go on."""
        return self._view is not None

    def reading(self, attempt: Attempt, emit: Emit) -> Emit:
        """Wrap what sends an attempt's stream to the client so that it is read along."""
        return partial(self._read, attempt, emit)

    def _read(self, attempt: Attempt, emit: Emit, data: bytes, error: GatewayError | None) -> None:
        if data and self._told.plain and (error is None or attempt.first_at is not None):
            self._add(data)
        emit(data, error)

    def _add(self, data: bytes) -> None:
        if len(data) >= apart.LARGE:  # it would hold up everybody; no text comes in such pieces
            self._told.give_up()
            return
        try:
            for event in self._framer.feed(data):
                self._last = event.data
                for step in self._decoder.feed(event):
                    self._told.feed(step)
        except (GatewayError, TooLong) as error:
            if isinstance(error, GatewayError):
                shed(error)
            self._told.give_up()

    def begin(self, attempt: Attempt, data: bytes) -> bytes:
        """Return the first bytes of an attempt, behind a comment that tells of the change where it is not the first."""
        if self.first_at is None:
            self.first_at = attempt.first_at
        if not self.broken:
            return data
        self.joins += 1
        return COMMENT + data if self._client.comments else data

    def end(self, attempt: Attempt) -> None:
        """Note what was left out of the rest of an answer."""
        if self.broken and attempt.encoder is not None:
            attempt.losses += tuple(dict.fromkeys(attempt.encoder.losses))

    async def can_go_on(self, attempt: Attempt, error: GatewayError) -> bool:
        """Tell whether another deployment may go on behind an attempt that failed; it may then be asked to."""
        if attempt.first_at is None:
            return self.broken  # nothing is new
        if error.row.fault != "upstream" or not self._told.can_go_on or attempt.form is not None:
            return False
        try:
            if self._view is None:
                if not may_be_continued(await apart.parsed(attempt), self._client.name):
                    return False
                self._view = view(attempt)
            self._encoder()
        except GatewayError as refused:
            shed(refused)
            self._view = None
            return False
        used = attempt.usage_seen()
        if used is not None:
            self._used = added(self._used, used)
        attempt.call.outlet.hand_over()
        return True

    def follow(self, attempt: Attempt) -> None:
        """Make an attempt the next one of this answer. Raises "unsupported" where its target gives whole answers
        only."""
        attempt.so_far = self
        attempt.encoder = self._encoder()
        if attempt.target.attempt is not None:
            raise GatewayError("unsupported", f"{attempt.target.label} cannot go on with an answer of another's.")

    def ask_on(self, attempt: Attempt, endpoint: Endpoint, dialect: str) -> bytes:
        """Make an attempt's request one for the rest of the answer. Return what its body begins with, in the place of
        its brace. A second request of the same attempt's, in another dialect perhaps, asks anew."""
        if self._asked[0] != attempt.number:
            self._asked = attempt.number, attempt.fields
        given = self._asked[1]
        target, said = attempt.target, self._told.text
        model = target.takes_for(dialect).model
        head = prefill_of(dialect, model, endpoint.quirks, target.guides, endpoint.url)
        prompt = self._client.name == "completions"  # the text stands behind it, whoever is asked
        asked = self._view.request if self._view is not None else None
        thinking = asked is not None and thinks(asked.reasoning)
        begun = prompt or (head is not None and not thinking)
        fields = ask_on(given, self._client.name, said, begun)
        if fields is None:
            text = "The request has no conversation behind which the text so far could stand."
            raise GatewayError("unsupported", text)
        if self._used is not None and not thinking:  # thoughts count, too, and are thought anew
            fields = shorten(fields, self._client.name, self._used.output)
        attempt.send_fields(fields)
        attempt.encoder = Joined(self._encoder(), self._told, Seam(said, begun, begun and not prompt), self._used)
        return head if begun and head is not None and said.strip() and not prompt else b"{"

    def _encoder(self) -> StreamEncoder:
        """Make an encoder that has told what is out. Raises "broken_stream" where none can."""
        assert self._view is not None
        made = self._client.encoder(self._view)
        for event in self._told.events():
            made.feed(event)
        if not self._client.resume(made, self._last):
            raise GatewayError("broken_stream", "The answer broke off where nobody else can go on with it.")
        return made


def watch(attempt: Attempt, before: Attempt | None) -> None:
    """Read along what an attempt gives its client; ``before``: it goes on with that one's answer."""
    if before is not None and before.so_far is not None:
        before.so_far.follow(attempt)
    else:
        attempt.so_far = SoFar(attempt.client)
