"""Vectors for the gateway itself: it asks a model of its own, in this process, as any client asks.

So there are the targets, the routing, the time limits and the record of every request; no socket, no key, and no part
in the answer cache. It fails nobody: who wants a vector and gets none in time goes on without.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ops import embeddings as embedding_wire
from penstock.core.ops.embeddings_kept import read_rows
from penstock.runtime.cache_place import Outage
from penstock.runtime.call import Call
from penstock.runtime.chats import CHAT
from penstock.runtime.exchange import CollectedExchange
from penstock.runtime.http import in_task
from penstock.runtime.ops.embeddings import embeddings

if TYPE_CHECKING:
    from penstock.runtime.identity import Caller
    from penstock.runtime.means import Means
    from penstock.runtime.state import State

log = logging.getLogger("penstock")
PATH = "/v1/embeddings"
SURFACE = CHAT._replace(
    attempt=embeddings, check=embedding_wire.check, forced_by="", cached="", wants_usage=lambda fields: False
)
MOST_NUMBERS = 16_384  # in a vector; the largest that anybody offers have 8,192
Vector = tuple[float, ...]
Handle = Callable[[Call, "State"], Awaitable[None]]
_NUMBERS = msgspec.json.Decoder(list[float]).decode


class InnerExchange(CollectedExchange):
    """The exchange of a request that is the gateway's own: nothing is asked of it that clients must say."""

    __slots__ = ()
    inner = True


class Behalf(NamedTuple):
    """For which request a vector is asked: its config, and what the record of its own says of who asked."""

    state: State
    caller: Caller
    client: str
    request_id: bytes


class _Said(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Said = msgspec.field(default_factory=_Said)


class Embedder(Outage):
    """Asks one model group for vectors. ``handle``: answers a call, as the engine does; ``timeout``: seconds that it is
    waited for."""

    def __init__(self, model: str, timeout: float, handle: Handle, means: Callable[[], Means]) -> None:
        super().__init__(f"The embedding model {model!r} of the semantic cache", means().clock)
        self.model = model
        self._timeout = timeout
        self._handle = handle
        self._means = means
        self._asking: dict[str, asyncio.Task[Vector | None]] = {}

    async def vector(self, text: str, behalf: Behalf) -> Vector | None:
        """Return the vector of a text, of length 1; None where there is none in time. Those who want that of the same
        text at the same time get one."""
        task = self._asking.get(text)
        if task is None:
            if self.rests:
                return None
            await in_task()
            task = self._asking[text] = asyncio.get_running_loop().create_task(self._ask(text, behalf))
            task.add_done_callback(lambda _: self._asking.pop(text, None))
        else:
            await in_task()
        return await asyncio.shield(task)

    async def _ask(self, text: str, behalf: Behalf) -> Vector | None:
        means = self._means()
        exchange = InnerExchange(
            "POST",
            PATH,
            {b"content-type": b"application/json", b"x-request-id": behalf.request_id},
            msgspec.json.encode({"model": self.model, "input": text}),
            client=behalf.client,
            started=means.clock(),
        )
        exchange.hushed = True
        # A call that is cut off with this in it ends as one that took too long, and not as one whose client left.
        exchange.ending = GatewayError("timeout", f"No vector within {self._timeout:g} s.")
        call = Call(exchange, means, behalf.caller, SURFACE)
        try:
            async with asyncio.timeout(self._timeout):
                await self._handle(call, behalf.state)
        except Exception as error:  # boundary: a bug of ours must not end the request that only wanted to be compared
            log.exception("A question could not be compared through a fault of the gateway (call %s)", call.call_id)
            self.failed(type(error).__name__)
            return None
        finally:
            means.held.free(exchange)
        return self._read(exchange)

    def _read(self, exchange: CollectedExchange) -> Vector | None:
        """Read the answer to a question for one vector."""
        if exchange.status != 200:
            self.failed(_said(exchange))
            return None
        rows = read_rows(exchange.answer)
        try:
            [raw] = [] if rows is None else rows.vectors
            numbers = _NUMBERS(raw)
        except (*BAD_JSON, ValueError):
            self.failed("it answers with no vector")
            return None
        length = math.hypot(*numbers) if len(numbers) <= MOST_NUMBERS else 0.0
        if not length or not math.isfinite(length):
            self.failed(f"it answers with a vector of {len(numbers)} numbers that has no direction, or is too long")
            return None
        self.worked()
        return tuple([number / length for number in numbers])


def _said(exchange: CollectedExchange) -> str:
    """Say in a line why there is no vector."""
    try:
        said = msgspec.json.decode(exchange.answer, type=_Refusal).error.message
    except BAD_JSON:
        said = ""
    return " ".join(said.split())[:300] or f"status {exchange.status}"
