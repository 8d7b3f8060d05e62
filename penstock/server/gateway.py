"""The gateway behind every door: who asks for what, and what becomes of a request that is nobody's work."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.runtime import outlet
from penstock.runtime.call import Call, new_id
from penstock.runtime.engine import Engine
from penstock.runtime.http import Batch, in_task
from penstock.runtime.ops.upload import HELD
from penstock.runtime.outlet import safe
from penstock.runtime.records import Record
from penstock.server import pages, passing
from penstock.server.refusals import check_type, wrong_method
from penstock.server.surfaces import dialect_of, find

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.identity import Identity
    from penstock.runtime.records import Records
    from penstock.runtime.state import State
    from penstock.runtime.surface import Surface

log = logging.getLogger("penstock")
DEFAULT_MAX_BODY = 32 * 1024 * 1024
DEFAULT_MAX_UPLOAD = 500 * 1024 * 1024  # of a form that is passed on while it arrives
_JSON = b"content-type: application/json\r\n"


class Gateway:
    """Serves exchanges. ``state`` and ``identity`` may be replaced between two requests (a reload)."""

    def __init__(
        self,
        engine: Engine,
        records: Records,
        state: State,
        identity: Identity,
        max_body: int = 0,
        max_upload: int = 0,
    ) -> None:
        self.engine = engine
        self.records = records
        self.state = state
        self.identity = identity
        self.max_body = max_body or DEFAULT_MAX_BODY
        # Who lowers the limit of all requests means uploads, too, unless they have one of their own.
        self.max_upload = max_upload or max_body or DEFAULT_MAX_UPLOAD
        # Bytes of a body that a door looks at before it comes.
        self.look_from = min(HELD, self.max_body, self.max_upload)
        self.draining = False
        self.active: set[Exchange] = set()
        self.clock: Callable[[], float] = time.monotonic
        self.started_at = time.time()

    def batch(self, loop: asyncio.AbstractEventLoop) -> Batch:
        """Return where requests are driven: with the connections to their upstreams."""
        batch = self.engine.pool.batch(loop)
        batch.active = self.active
        return batch

    # A door calls begin, then serve or refuse, and end when the answer is out. --------------------------------------

    def begin(self, exchange: Exchange) -> None:
        self.active.add(exchange)

    def end(self, exchange: Exchange) -> None:
        self.active.discard(exchange)
        # The call holds its exchange: apart, both are freed at once, and the collector has nothing to find. As a circle
        # per request they made it stop the loop for 5 ms now and then, which was the whole of the slowest percent.
        exchange.call = None

    async def serve(self, exchange: Exchange) -> None:
        """Answers one request, whatever it is. Raises nothing but the cancellation of a client that left."""
        try:
            try:
                call = self._enter(exchange)
                if call is None:
                    await in_task()  # pages are free to use what they like
                    await pages.serve(self, exchange)
                else:
                    await self.engine.handle(call, self.state)
            except GatewayError as error:
                self.refuse(exchange, error)
        except asyncio.CancelledError:
            self.end(exchange)
            raise
        except Exception as error:  # boundary: a bug of ours must cost one request and be told as such
            call_id = exchange.call.call_id if exchange.call is not None else new_id()
            log.exception("A request failed through a fault of the gateway (call %s)", call_id)
            self._bug(exchange, call_id, error)

    def _enter(self, exchange: Exchange) -> Call | None:
        """The call that a request is, None for a page. Raises ``GatewayError`` for who may not enter."""
        surface = find(exchange.path)
        if surface is None or (self.state.passages and passing.passage_at(self.state, exchange.path) is not None):
            return None
        return self.admit(exchange, surface)

    def admit(self, exchange: Exchange, surface: Surface) -> Call:
        """The call that a request to a surface is. Raises ``GatewayError`` for who may not enter."""
        caller = self.identity.check(exchange.headers, exchange.query if surface.key_in_query else b"")
        if exchange.method != "POST":
            raise wrong_method(exchange, ("POST",))
        if self.draining:
            raise GatewayError("draining", "The gateway is shutting down; send the request again.", retry_after=1)
        if surface.read is None:
            check_type(exchange.headers.get(b"content-type"))
        given = exchange.headers.get(b"x-request-id")
        request_id = b"" if given is None else safe(given.decode("latin-1"))[:256]
        exchange.call = Call(surface, exchange, caller, request_id, self.clock, self.engine.store)
        return exchange.call

    def tick(self) -> None:
        """Called about once a second: streams that say nothing get a sign of life."""
        now = self.clock()
        for exchange in self.active:
            upload = exchange.upload
            if exchange.call is not None and exchange.call.stream and (upload is None or upload.source.complete):
                outlet.keep_alive(exchange.call, now, self.state.keep_alive)

    def cut_off(self, exchange: Exchange, error: GatewayError) -> None:
        """Ends a request that takes longer than the grace period: its client is told so."""
        exchange.ending = error
        if exchange.task is not None:
            exchange.task.cancel()

    def _bug(self, exchange: Exchange, call_id: str, error: Exception) -> None:
        text = f"The gateway failed on this request ({type(error).__name__}). Its log has more under this call id."
        told = GatewayError("gateway_bug", text)
        try:
            if exchange.responded:
                self.record(exchange, told.status, call_id, told)
            elif exchange.call is None:
                self.refuse(exchange, told, call_id)
                return
            else:
                outlet.refuse(exchange.call, told)
                self.record(exchange, told.status, call_id, told)
                return
        except Exception:  # boundary: not even the error could be told; the connection must not hang
            log.exception("The error could not be told (call %s)", call_id)
        exchange.abort()
        self.end(exchange)

    def refuse(self, exchange: Exchange, error: GatewayError, call_id: str = "") -> None:
        """Answers with an error in the shape that the path's dialect wants, and records it."""
        dialect = dialect_of(exchange.path, exchange.headers)
        status, body = dialect.render_error(error)
        request_id = safe(exchange.headers.get(b"x-request-id", b"").decode("latin-1"))[:256]
        call_id = call_id or new_id()
        head = _JSON + b"x-litellm-call-id: %b\r\nx-request-id: %b\r\n" % (
            call_id.encode(),
            request_id or call_id.encode(),
        )
        if error.retry_after is not None:
            head += b"retry-after: %d\r\n" % max(1, math.ceil(error.retry_after))
        if error.kind == "method":
            head += b"allow: %b\r\n" % (error.upstream_type or "POST").encode()
        elif error.kind == "unauthorized":
            head += b"www-authenticate: Bearer\r\n"
        exchange.whole(status, head, body)
        self.record(exchange, status, call_id, error)

    def record(
        self, exchange: Exchange, status: int, call_id: str, error: GatewayError | None = None, key: str = ""
    ) -> None:
        """A record of a request that was no call. ``key``: the caller's alias."""
        now = self.clock()
        self.records.put(
            Record(
                at=time.time(),
                call_id=call_id,
                request_id="",
                key=key,
                client=exchange.client,
                method=exchange.method,
                path=exchange.path,
                status=status,
                ms=(now - exchange.started) * 1000,
                bytes_in=len(exchange.body),
                bytes_out=exchange.bytes_out,
                error=error.kind if error else "",
                message=error.message if error else "",
                fault=error.row.fault if error else "",
            )
        )

    def body_too_large(self) -> GatewayError:
        text = f"The request body is over {self.max_body} bytes, the limit here (general_settings.max_request_size_mb)."
        return GatewayError("too_large", text)

    def upload_too_large(self) -> GatewayError:
        text = f"The upload is over {self.max_upload} bytes, the limit here (general_settings.max_file_size_mb)."
        return GatewayError("too_large", text)
