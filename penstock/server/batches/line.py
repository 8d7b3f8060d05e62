"""One line of a batch: asked as the batch's owner until there is an answer that stays."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from penstock.core.batches import lines
from penstock.core.batches.kept import SHARED
from penstock.core.errors import GatewayError
from penstock.runtime.exchange import CollectedExchange
from penstock.server.asked import ask

if TYPE_CHECKING:
    from penstock.server.batches.run import Run  # circle: a run asks its lines, which ask it how far it is

MOST_TRIES = 8  # of a line whose upstream fails
LONGEST_PAUSE = 60.0  # seconds between two tries
# Who is over a limit waits for its end; who fails for another reason may fail for good.
_LIMITED, _AWAY = 429, 503
_PASSES = frozenset((408, 409, 425, 500, 502, 503, 504, 529))
_SPENT = b'"budget_exceeded"'
_HEAD = {b"content-type": b"application/json", b"user-agent": b"penstock-batch"}
_RETRY = re.compile(rb"(?:^|\r\n)retry-after: (\d{1,9})\r\n")
PRIORITY = b"10000"
"""In the line for a place: behind whoever waits for an answer."""


class Outcome(NamedTuple):
    """What became of a line. ``request_id``: of the call that it was last."""

    status: int
    body: bytes
    request_id: str
    retry_after: float = 0.0

    @property
    def limited(self) -> bool:
        """Tell whether whoever asks is told to wait: for the end of a limit, or until the gateway has room, its
        database or its journal again."""
        waits = self.status == _LIMITED or (self.status == _AWAY and self.retry_after > 0)
        return waits and not self.spent

    @property
    def spent(self) -> bool:
        """Tell whether there is no money left for it."""
        return self.status != 200 and _SPENT in self.body

    @property
    def passes(self) -> bool:
        """Tell whether it may be another at the next try."""
        return self.limited or self.status in _PASSES


async def ask_until_settled(
    ask: Callable[[], Awaitable[Outcome]], over: Callable[[], bool], stopped: Callable[[], bool]
) -> Outcome | None:
    """Ask a line until there is an answer that stays; None where it has none, and is to be asked again by whoever goes
    on, if anybody does. ``over``: no more lines are asked; ``stopped``: by this process."""
    tries, loop = 0, asyncio.get_running_loop()
    while True:
        outcome = await ask()
        if not outcome.passes:
            return outcome
        tries += not outcome.limited
        if tries < MOST_TRIES:
            pause = outcome.retry_after or 2.0 ** max(0, tries - 1)
            end = loop.time() + min(pause, LONGEST_PAUSE)
            while (left := end - loop.time()) > 0 and not over():
                await asyncio.sleep(min(left, 0.5))
        if stopped() or (over() and outcome.limited):
            return None  # it was cut off, or may go better later; or it never had its turn
        if tries >= MOST_TRIES or over():
            return outcome


class Line:
    """See the module."""

    def __init__(self, run: Run, asked: lines.Asked) -> None:
        self._run, self._asked = run, asked

    async def answer(self) -> Outcome | None:
        """Return what became of the line; None where it has to be asked again by whoever goes on."""
        run = self._run
        return await ask_until_settled(self._ask, lambda: run.over, lambda: run.stopped)

    async def _ask(self) -> Outcome:
        run = self._run
        room, batch = run.room, run.batch
        gateway, surface = room.gateway, room.surface_of(batch)
        exchange = CollectedExchange(
            "POST", batch.endpoint, {**_HEAD, b"x-penstock-priority": PRIORITY}, self._asked.body,
            client=batch.client, started=gateway.clock(),
        )  # fmt: skip
        exchange.task = asyncio.current_task()
        gateway.begin(exchange)
        try:
            caller = room.owner_of(batch)
            if batch.form != SHARED and wants_stream(self._asked.body):
                text = "'stream' is true, and lines of a batch are answered whole: leave it out."
                raise GatewayError("bad_request", text, param="stream")
            call = await ask(gateway, exchange, surface, gateway.state, batch.endpoint, caller=caller)
        except GatewayError as error:
            status, body = surface.dialect.render_error(error)
            return Outcome(status, body, "", error.retry_after or 0.0)
        finally:
            gateway.end(exchange)
        return Outcome(exchange.status, exchange.answer, call.call_id, retry_after(exchange.head))


def retry_after(head: bytes) -> float:
    """Read from an answer's head after how many seconds it may be asked again; 0 where it does not say so."""
    found = _RETRY.search(head)
    return float(found[1]) if found else 0.0


class _Wish(msgspec.Struct):
    stream: object = None


_decode = msgspec.json.Decoder(_Wish).decode


def wants_stream(body: bytes) -> bool:
    """Tell whether a request asks for a stream, which is none in a batch."""
    if b'"stream"' not in body:
        return False
    try:
        return _decode(body).stream is True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # the surface says what is wrong with it
