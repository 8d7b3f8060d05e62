"""The gateway behind every door: what a request is, and what becomes of it, whatever happens."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from penstock.core.admit.caller import NOBODY
from penstock.core.errors import GatewayError, shed
from penstock.runtime.call import Call
from penstock.runtime.coming import Coming
from penstock.runtime.custom_keys import NO_HOOKS
from penstock.runtime.gate import Gate
from penstock.runtime.held import RETRY_AFTER
from penstock.runtime.http import Batch, in_task, out_of_files
from penstock.runtime.ledger import Ledger
from penstock.runtime.ops.upload import HELD
from penstock.runtime.surface import Surface
from penstock.runtime.tally import Tally
from penstock.runtime.told import telling
from penstock.runtime.web_pages import is_preflight
from penstock.server.coded import read_coded, room_for
from penstock.server.metrics.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeVar

    from penstock.admin.desk import Desk
    from penstock.admin.registry import Registry
    from penstock.admin.settings import Settings
    from penstock.admin.status import Slow
    from penstock.core.admit.caller import Caller
    from penstock.core.dialects.base import Dialect
    from penstock.runtime.engine import Engine
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.gate import Entry
    from penstock.runtime.http.source import Source
    from penstock.runtime.identity import Identity
    from penstock.runtime.keyring import Keyring
    from penstock.runtime.recent import Recent
    from penstock.runtime.route import Page
    from penstock.runtime.state import State
    from penstock.server.batches.room import BatchRoom
    from penstock.server.books import Books  # circle: books are kept of what a gateway serves
    from penstock.server.callbacks import Callbacks  # circle: it tells what a gateway served
    from penstock.server.metrics.telling import Metrics
    from penstock.server.storage import Storage

    T = TypeVar("T")

log = logging.getLogger("penstock")
SPENT_WITHIN = 10.0  # seconds; after a start what was spent before is asked for first
SPENT_OF_ALL_WITHIN = 60.0
_READS = ("GET", "HEAD")  # what a page looks at leaves no record
DEFAULT_MAX_BODY = 32 * 1024 * 1024
DEFAULT_MAX_UPLOAD = 500 * 1024 * 1024  # of a form that is passed on while it arrives


class Visit(NamedTuple):
    """What a request is that is no call of a surface. ``entry``: what the gate asks of it. ``answer``: answers it once
    it is let in. ``recorded``: it gets a record also when it went well. ``reads``: it wants the request's body; one
    that is compressed as it came, where ``as_sent``."""

    entry: Entry
    answer: Callable[[Gateway, Call], Awaitable[None]]
    recorded: bool = True
    as_sent: bool = False
    reads: bool = True


Refuses = Callable[["Gateway", Call, GatewayError], "Page | None"]
"""Makes the page that tells an error; None for a call that is none of a page's."""
Find = Callable[[Call, "State"], "Surface | Visit"]
"""Tells what a request is. May turn the call to another path. Raises ``GatewayError``."""


class Site(Protocol):
    """What there is at which path. ``surfaces``: by exact path. ``find``: whatever else it is, and also those; it may
    turn the call to another path, and the style of a mount. ``openapi``: the document of all of it."""

    @property
    def surfaces(self) -> Mapping[str, Surface]: ...
    @property
    def openapi(self) -> bytes: ...
    def find(self, call: Call, state: State) -> Surface | Visit: ...
    def dialect_of(self, path: str, headers: Mapping[bytes, bytes]) -> Dialect: ...
    def upload_at(self, path: str) -> bool: ...


class Gateway:
    """Serves exchanges. ``state`` and ``identity`` may be replaced between two requests (a reload). ``registry``: of
    deployments that may be changed over HTTP; None where they may not. ``storage``: the database, None for none;
    ``desk`` and ``keyring``: where what it has is changed, and looked up; ``settings``: those that it has."""

    def __init__(
        self, engine: Engine, state: State, identity: Identity, site: Site, max_body: int = 0, max_upload: int = 0
    ) -> None:
        self.engine = engine
        self.state = state
        self.gate = Gate(identity)
        self.site = site
        self.active: set[Exchange] = set()
        self.clock = engine.means.clock
        self.held = engine.means.held
        self.started_at = time.time()
        self.registry: Registry | None = None
        self.storage: Storage | None = None
        self.desk: Desk | None = None
        self.settings: Settings | None = None
        self.keyring: Keyring | None = None
        self.books: Books | None = None
        self._batches: BatchRoom | None = None
        self.several = False  # processes serve, which know nothing of each other where there is no database
        self.callbacks: Callbacks | None = None
        self.pages: Refuses | None = None  # how pages tell what went wrong; None where there are none
        self.key_hooks = NO_HOOKS  # who else says which virtual keys there may be
        self.tally = engine.tally = Tally(lambda name: self.state.catalog.knows(name), site.surfaces)
        self.pulse = Pulse()
        self.recent: Recent | None = None  # the last requests, for pages where no database keeps them
        self.tells_others: Callable[[], None] | None = None  # workers, of what stands here
        self.looked: Slow | None = None  # what needs attention, as it was found the last time
        self.metrics: Metrics | None = None  # made when somebody asks for them
        self.limit(max_body, max_upload)

    def limit(self, max_body: int, max_upload: int) -> None:
        """Set the largest bodies that are taken, in bytes; 0: the default."""
        self.max_body = max_body or DEFAULT_MAX_BODY
        # Who lowers the limit of all requests means uploads, too, unless they have one of their own.
        self.max_upload = max_upload or max_body or DEFAULT_MAX_UPLOAD
        # Bytes of a body that a door looks at before it comes.
        self.look_from = min(HELD, self.max_body, self.max_upload)

    @property
    def identity(self) -> Identity:
        """Return who may call; the gate's."""
        return self.gate.identity

    @identity.setter
    def identity(self, identity: Identity) -> None:
        self.gate.identity = identity

    @property
    def draining(self) -> bool:
        """Tell whether the gateway shuts down: no new work; the gate's."""
        return self.gate.draining

    @draining.setter
    def draining(self, draining: bool) -> None:
        self.gate.draining = draining

    @property
    def batches(self) -> BatchRoom:
        """Return where files and batches are: in the database, or made when somebody asks, and gone with the
        process."""
        if self._batches is None:
            from penstock.server.batches.room import BatchRoom  # few ask for it: not at every start

            self._batches = BatchRoom.passing(self)
        return self._batches

    @batches.setter
    def batches(self, batches: BatchRoom) -> None:
        self._batches = batches

    async def close_batches(self) -> None:
        """Let go of the batches that run."""
        if self._batches is not None:
            await self._batches.stop()

    def names_for(self, call: Call) -> list[str]:
        """List the public names of models that a call's caller may ask for, wildcards included."""
        admission = self.engine.admission
        return self.state.catalog.names() if admission is None else admission.visible(call.caller, self.state)

    async def spent(self, account: str) -> int:
        """Return the picodollars that an account has spent in the window of its first budget; 0, where no books are
        kept. Raises "no_database" where nobody who knows answers."""
        ledger = None if self.engine.admission is None else self.engine.admission.budgets
        if not isinstance(ledger, Ledger):
            return 0
        return await _within(ledger.spent_of(account, ledger.accounts.main_period(account)))

    async def spent_of_all(self, accounts: Sequence[str]) -> list[int]:
        """Return what many accounts have spent, see ``spent``."""
        ledger = None if self.engine.admission is None else self.engine.admission.budgets
        if not isinstance(ledger, Ledger):
            return [0] * len(accounts)
        return await _within(ledger.spent_of_all(accounts), SPENT_OF_ALL_WITHIN)

    def in_use(self, account: str) -> tuple[int, int, int, int]:
        """Return what counts of an account's limits now: requests and tokens of the last minute, requests under way,
        tokens of the last day."""
        admission = self.engine.admission
        return (0, 0, 0, 0) if admission is None else admission.in_use(account)

    def check_spend(self) -> Ledger:
        """Return the books, in which what somebody has spent may be set. Raises "not_installed" where none are kept,
        and where several processes share budgets: each has a part of them."""
        ledger = None if self.engine.admission is None else self.engine.admission.budgets
        if not isinstance(ledger, Ledger):
            text = "spend: nothing is counted by this gateway, so nothing can be set."
            raise GatewayError("not_installed", text, param="spend")
        if ledger.sharing is not None:
            text = "spend: it is not set by hand where several processes share budgets; raise max_budget instead."
            raise GatewayError("not_installed", text, param="spend")
        return ledger

    async def put_right(self, account: str, amount: int, who: str) -> None:
        """Set what an account has spent, to so many picodollars. Raises "not_installed", "no_ledger"."""
        await self.check_spend().put_right(account, amount, who)

    def may_see(self, call: Call, model: str) -> bool:
        """Tell whether a call's caller may ask for a model."""
        admission = self.engine.admission
        return admission is None or admission.access(self.state).may(call.caller, model)

    def batch(self, loop: asyncio.AbstractEventLoop) -> Batch:
        """Return the batch of requests that an event loop drives: with the connections to their upstreams."""
        batch = self.engine.means.pool.batch(loop)
        batch.active = self.active
        return batch

    # A door calls begin, then serve or refuse, and end when the answer is out. --------------------------------------

    def begin(self, exchange: Exchange) -> None:
        self.active.add(exchange)

    def end(self, exchange: Exchange) -> None:
        """Let go of an exchange that is over. May be called again."""
        self.active.discard(exchange)
        if self.gate.inside:
            self.gate.leave(exchange)
        self.held.size -= exchange.held  # ``held.free``, where every request passes
        exchange.held = 0
        # The call holds its exchange: apart, both are freed at once, and the collector has nothing to find. As a circle
        # per request they made it stop the loop for 5 ms now and then, which was the whole of the slowest percent.
        exchange.call = None

    async def serve(self, exchange: Exchange, find: Find | None = None) -> None:
        """Answer one request, whatever it is. Raises nothing but the cancellation of a client that left. ``find``: what
        it is, instead of what the site has there."""
        call = Call(exchange, self.engine.means, NOBODY)
        exchange.call = call
        try:
            try:
                if b"origin" in exchange.headers and self._tell_pages(call):
                    return
                site, state = self.site, self.state
                found: Surface | Visit | None = site.surfaces.get(exchange.path) if find is None else find(call, state)
                if found is None or (state.pass_through_endpoints and find is None):
                    found = site.find(call, state)
                if isinstance(found, Surface):
                    call.surface = found
                    coming = exchange.coming
                    if coming is not None:
                        self._check_length(exchange, coming)
                    waits = self.gate.admit(call, found)
                    if waits is not None:
                        await waits
                    if coming is not None:
                        await self._arrive(call, coming)
                    else:  # ``held.take``, where every request passes
                        held, size = self.held, len(exchange.body)
                        if held.size + size > held.limit:
                            raise held.refusal(size)
                        held.size += size
                        exchange.held = size
                    if b"content-encoding" in exchange.headers:
                        await self._decode(call)
                    await self.engine.handle(call, state)
                else:
                    await self._visit(call, found)
            except GatewayError as error:
                shed(error)
                self._refuse(call, error)
        except asyncio.CancelledError as left:
            shed(left)  # its task keeps it
            self.end(exchange)
            raise
        except Exception as error:  # boundary: a bug of ours must cost one request and be told as such
            said = out_of_files(error) if isinstance(error, OSError) else ""
            if said and not exchange.responded:  # a file, a process: whatever it was to be opened for
                self._refuse(call, GatewayError("overloaded", f"The gateway has {said}.", retry_after=RETRY_AFTER))
                return
            log.exception("A request failed through a fault of the gateway (call %s)", call.call_id)
            self._bug(exchange, call, error)

    async def serve_as(self, exchange: Exchange, caller: Caller) -> None:
        """Answer a request of the gateway's own as somebody who was let in before: what a page asks for. Its key is not
        asked for, what its caller may do is."""
        call = Call(exchange, self.engine.means, caller)
        exchange.call = call
        self.begin(exchange)
        try:
            state = self.state
            found = self.site.find(call, state)
            surface = found if isinstance(found, Surface) else None
            call.surface = surface
            waits = self.gate.admit(call, found if isinstance(found, Surface) else found.entry, caller)
            if waits is not None:
                await waits
            self.held.take(exchange, len(exchange.body))
            if isinstance(found, Surface):
                await self.engine.handle(call, state)
                return
            await found.answer(self, call)
            if found.recorded and exchange.method not in _READS:
                self.engine.record(call, None)
        except GatewayError as error:
            shed(error)
            self._refuse(call, error)
        finally:
            self.end(exchange)

    def _tell_pages(self, call: Call) -> bool:
        """Note what the answer tells a browser of web pages. Return True where that is all of it: it asked whether a
        page may send a request (a preflight, which brings no key). Raises "forbidden"."""
        exchange, gate = call.exchange, self.gate
        call.outlet.call_lines = gate.page_lines(exchange.headers)
        if not is_preflight(exchange.method, exchange.headers):
            return False
        call.outlet.page(call, 200, b"text/plain\r\n" + gate.permission(exchange).removesuffix(b"\r\n"), b"OK")
        return True

    async def _visit(self, call: Call, visit: Visit) -> None:
        await in_task()  # pages are free to use what they like
        coming = call.exchange.coming
        if coming is not None:
            self._check_length(call.exchange, coming)
        waits = self.gate.admit(call, visit.entry)
        if waits is not None:
            await waits
        if coming is None:
            self.held.take(call.exchange, len(call.exchange.body))
        elif visit.reads:
            await self._arrive(call, coming)
        if b"content-encoding" in call.exchange.headers and not visit.as_sent:
            await self._decode(call)
        try:
            await visit.answer(self, call)
        except asyncio.CancelledError:
            self._left(call)
            raise
        if visit.recorded:
            self.engine.record(call, None)

    async def _decode(self, call: Call) -> None:
        """Undo the compression of a call's body. Raises what ``read_coded`` does, and "overloaded"."""
        exchange, held = call.exchange, self.held
        coded = len(exchange.body)
        room = room_for(coded, self.max_body)
        held.take(exchange, room)
        try:
            await read_coded(exchange, self.max_body)
        except asyncio.CancelledError:
            self._left(call)
            raise
        held.take(exchange, len(exchange.body) - coded - room)

    def _check_length(self, exchange: Exchange, coming: Coming | Source) -> None:
        """Refuse a body that says itself that it is over the limit; "too_large"."""
        if coming.length is None:
            return
        upload = exchange.upload is not None
        if coming.length > (self.max_upload if upload else self.max_body):
            coming.given_up = True
            raise self.upload_too_large() if upload else self.body_too_large()

    async def _arrive(self, call: Call, coming: Coming | Source) -> None:
        """Wait for a body that is still on its way, now that its request is let in. A form that is passed on as it
        comes is left to its surface. Raises "too_large", "overloaded", and what ended the client's sending."""
        exchange = call.exchange
        if not isinstance(coming, Coming):
            self.held.take(exchange, HELD if coming.length is None else min(coming.length, HELD))
            return
        told = telling(call)
        if told is not None:
            told.let_in(call, self.clock())
        try:
            exchange.body = await coming.read(exchange, self.held, self.max_body, self.body_too_large)
        except asyncio.CancelledError:
            self._left(call)
            raise
        exchange.started = call.outlet.silent_since = self.clock()
        if told is not None:
            told.arrived(exchange.started)

    def _left(self, call: Call) -> None:
        """Record a call that was cancelled because its client left; raise why it was ended, where it was not that."""
        ending = call.exchange.ending
        if ending is not None:
            raise ending from None
        self.engine.record(call, GatewayError("client_gone", "The client closed the connection."))

    def tick(self) -> None:
        """Give streams that say nothing a sign of life, and count what is over. Called about once a second."""
        now = self.clock()
        self.pulse.beat(now)
        self.tally.tick(time.time())
        if self.tells_others is not None:
            self.tells_others()
        for exchange in self.active:
            call, coming = exchange.call, exchange.coming
            if isinstance(call, Call) and call.surface is not None and (coming is None or coming.complete):
                if call.stream or (call.attempt is not None and call.attempt.stream):
                    call.outlet.keep_alive(call, now, self.state.keep_alive)

    def wind_down(self) -> None:
        """End WebSockets on which nothing is being answered; the others end behind what is."""
        for exchange in list(self.active):
            if exchange.winds_down is not None:
                exchange.winds_down()

    def cut_off(self, exchange: Exchange, error: GatewayError) -> None:
        """End a request that takes longer than the grace period: its client is told so."""
        exchange.ending = error
        if exchange.task is not None:
            exchange.task.cancel()

    def refuse(self, exchange: Exchange, error: GatewayError) -> None:
        """Answer a request that a door refuses, in the shape that its path's dialect wants, and record it."""
        call = Call(exchange, self.engine.means, NOBODY)
        if b"origin" in exchange.headers:
            call.outlet.call_lines = self.gate.page_lines(exchange.headers)
        self._refuse(call, error)

    def _refuse(self, call: Call, error: GatewayError) -> None:
        if call.surface is None and self.pages is not None and not call.exchange.responded:
            page = self.pages(self, call, error)
            if page is not None:
                call.outlet.page(call, page.status, page.content_type, page.body)
                return
        if error.kind == "method" and call.exchange.method == "OPTIONS":  # the refusal is the answer (RFC 9110, 9.3.7)
            call.outlet.page(call, 200, b"text/plain\r\nallow: %b, OPTIONS" % error.upstream_type.encode(), b"")
            self.engine.record(call, None)
            return
        dialect = None
        if call.surface is None:
            dialect = self.site.dialect_of(call.path, call.exchange.headers)
        call.outlet.refuse(call, error, dialect)
        self.engine.record(call, error)

    def _bug(self, exchange: Exchange, call: Call, error: Exception) -> None:
        text = f"The gateway failed on this request ({type(error).__name__}). Its log has more under this call id."
        told = GatewayError("gateway_bug", text)
        try:
            if not exchange.responded:
                self._refuse(call, told)
                return
            self.engine.record(call, told)
        except Exception:  # boundary: not even the error could be told; the connection must not hang
            log.exception("The error could not be told (call %s)", call.call_id)
        call.outlet.abort()
        self.end(exchange)

    def body_too_large(self) -> GatewayError:
        text = f"The request body is over {self.max_body} bytes, the limit here (general_settings.max_request_size_mb)."
        return GatewayError("too_large", text)

    def upload_too_large(self) -> GatewayError:
        text = f"The upload is over {self.max_upload} bytes, the limit here (general_settings.max_file_size_mb)."
        return GatewayError("too_large", text)


async def _within(asked: Awaitable[T], seconds: float = SPENT_WITHIN) -> T:
    """Wait for what the ledger knows. Raises "no_database" where the store does not answer."""
    try:
        async with asyncio.timeout(seconds):
            return await asked
    except TimeoutError:
        text = "The database does not say what was spent."
    except OSError as error:
        text = f"The database does not say what was spent: {error.strerror or error}."
    raise GatewayError("no_database", text, retry_after=5)
