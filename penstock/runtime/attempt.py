"""One try of a call at one target: everything that does not hold for the next try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from penstock.core.count import estimate
from penstock.core.defaults import R, lay_under, leave_out
from penstock.core.ir import Usage

if TYPE_CHECKING:
    from decimal import Decimal

    from msgspec import Raw

    from penstock.core import sse
    from penstock.core.admit.estimate import Dearest
    from penstock.core.dialects.base import Dialect, StreamEncoder
    from penstock.core.fit import Undo
    from penstock.core.ir import Loss, Request
    from penstock.core.price import Units
    from penstock.runtime.call import Call  # circle: an attempt is of a call, which holds the one that counts
    from penstock.runtime.continuing import SoFar  # circle: it reads what attempts give their clients
    from penstock.runtime.http import Timeouts
    from penstock.runtime.live import Live
    from penstock.runtime.schema_check import AnswerForm
    from penstock.runtime.targets import Target


class Translator(Protocol):
    """An upstream's stream to the client's bytes. ``close`` raises when the stream ended too early. ``started``: a part
    of the answer was seen; ``chunks``: how many. ``done``: all of it was; its upstream may not have ended yet."""

    started: bool
    chunks: int
    done: bool

    @property
    def usage(self) -> Usage | None: ...

    def feed(self, event: sse.Event) -> bytes: ...
    def close(self) -> bytes: ...


class Attempt(Struct, eq=False):
    """One try. Made fresh by the engine, and never writes to its call: two attempts of one call may run at the same
    time, and the engine adopts the one that wins.

    The stopwatch: ``start`` when something is sent upstream, ``stop`` when the answer is there, or its first byte;
    ``upstream`` is the sum in seconds; ``since``: the clock when it was started, 0 while it stands. ``first_at``: the
    clock when the first byte of the answer went out."""

    call: Call
    target: Target
    group: str
    live: Live
    client: Dialect  # what the call's client speaks
    number: int  # of the call's tries, from 1
    fields: dict[str, Raw]  # those that are sent: the call's; a change makes a dict of its own
    stream: bool
    lane: str = ""
    long: bool = False  # its request is translated apart, see ``apart``
    request: Request | None = None  # ``fields`` in the neutral form, where it is not the call's own, or ``long``
    translator: Translator | None = None
    encoder: StreamEncoder | None = None  # the client's, where the lane has one
    undo: Undo | None = None  # what gives the client its own words back, where the request had to be said otherwise
    form: AnswerForm | None = None  # a form to enforce or to check
    so_far: SoFar | None = None  # where streams may go on: what the client has of its answer
    previous: str = ""  # id of the kept answer whose items stand in ``fields``
    losses: tuple[Loss, ...] = ()
    notes: bytes = b""  # header lines beside the usual ones
    tail: bytes = b""  # the answer's body, or the last events of its stream
    signed: bytes = b""  # header lines with a token that was fetched, which no answer may repeat
    binary: bool = False  # a streamed answer in which nothing can be said: an error cuts it off
    repairs: int = 0  # requests beyond the first, for the same answer
    usage: Usage | None = None
    spent: Usage | None = None  # of an earlier request for the same answer, beside ``usage``
    units: Units | None = None  # what is billed beside tokens: images, seconds, characters, queries
    cost: Decimal | None = None  # US dollars; None while the answer goes on, and where it is not known
    price_version: str | None = None  # None until it is settled, "" for a cost that is not known
    upstream: float = 0.0
    since: float = 0.0
    first_at: float | None = None

    @property
    def named(self) -> tuple[str, str, str, str] | None:
        """Return model, label, provider and id of the target for a record, where the target itself does not say
        them."""
        return None

    @property
    def goes_on(self) -> bool:
        """Tell whether it is asked for the rest of an answer that is out in part; ``encoder`` then joins both."""
        return self.so_far is not None and self.so_far.broken

    @property
    def provider(self) -> str:
        """Return the name of the provider that is asked."""
        named = self.named
        return self.target.provider.name if named is None else named[2]

    def timeouts(self, stream: bool) -> Timeouts:
        """Return how long its target is waited for, in an answer that is a stream or in a whole one."""
        wishes = self.call.wishes
        if wishes is None:
            return self.target.stream_timeouts if stream else self.target.timeouts
        return wishes.timeouts(self.target, stream)

    # The stopwatch.

    def start(self) -> None:
        """Start the watch, unless it runs: several requests at once are one wait."""
        if not self.since:
            self.since = self.call.means.clock()

    def stop(self) -> None:
        """Stop the watch, if it runs."""
        if self.since:
            self.upstream += self.call.means.clock() - self.since
            self.since = 0.0

    def waited(self, seconds: float) -> None:
        """Note seconds that it waited for what is no work of the gateway's, and nothing was sent upstream yet."""
        self.upstream += seconds

    def begun(self, now: float) -> None:
        """Note that the first byte of the answer goes out at ``now``: from here on there is no other target."""
        self.first_at = now
        if self.since:
            self.upstream += now - self.since
            self.since = 0.0

    # The request.

    def parsed(self) -> Request:
        """Return the request of ``fields`` in the neutral form, parsed once, with the deployment's parameters under
        it."""
        if self.request is None:
            own = self.call.parsed() if self.fields is self.call.fields else self.call.parse(self.fields)
            self.request = self.laid(own)
        return self.request

    def laid(self, request: R) -> R:
        """Lay the deployment's parameters under a request, and leave out what the deployment always leaves out."""
        target = self.target
        if target.said is not None:
            request = lay_under(request, target.said)
        return leave_out(request, target.drop) if target.drop else request

    def send_fields(self, fields: dict[str, Raw]) -> None:
        """Take other fields in the place of the call's, for this try alone."""
        self.fields, self.request = fields, None

    def usage_seen(self) -> Usage | None:
        """Return what a streamed answer used so far: told by the upstream, else counted. Also of one that was cut
        off."""
        translator = self.translator
        if translator is None:
            return self.usage
        if translator.usage is not None:
            return translator.usage
        return estimate(self.fields, translator.chunks) if translator.started else self.usage

    def usage_left(self) -> Usage | None:
        """Return what an answer used that nobody waits for any more. A prompt that was sent is billed, also where
        nothing of an answer has come; that of a try which has failed already is not: its upstream may be dead, and
        whoever leaves before the next one would pay for what nobody has read."""
        used = self.usage_seen()
        if used is None and self.units is None and self.since:
            return estimate(self.fields, 0)
        return used

    def dearest(self) -> Dearest:
        """Return the dearest that a request of it may be."""
        return self.target.dearest
