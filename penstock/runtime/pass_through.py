"""A request that is passed through: the bytes both ways, and what they used.

One try, no fallback, nothing translated: the vendor's own client is at the other end and knows what to do with the
vendor's own errors. What is passed neither cools nor heals a deployment.
"""

from __future__ import annotations

import re
import time
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, cast

from penstock.config import Deployment
from penstock.core.admit.amount import pico
from penstock.core.admit.estimate import UNKNOWN, Dearest, dearest_of
from penstock.core.count import estimate
from penstock.core.errors import GatewayError, shed
from penstock.core.mask import NO_SECRETS, Lines, Mask
from penstock.core.price import NOTHING, plain
from penstock.core.providers.pass_through import answer_headers
from penstock.core.seen import Seen, kind_of
from penstock.runtime.answer import MAX_ERROR
from penstock.runtime.attempt import Attempt
from penstock.runtime.engine import hide_secrets
from penstock.runtime.failing import client_error
from penstock.runtime.http import TransportError, in_task
from penstock.runtime.live import Live
from penstock.runtime.prices import UNPRICED, TargetPrice, price_of, with_terms
from penstock.runtime.timeouts import of_stream

if TYPE_CHECKING:
    from penstock.core.dialects.base import Dialect
    from penstock.core.ir import Usage
    from penstock.runtime.call import Call
    from penstock.runtime.credential import Credential
    from penstock.runtime.endpoint import Endpoint
    from penstock.runtime.http import Response, Timeouts
    from penstock.runtime.targets import Target

LANE = "pass"
_SMALL = 64 * 1024  # bytes of an answer that is read whole: nobody can use a part of a JSON text
_ERROR = re.compile(rb'"error"[ \t\r\n]*:[ \t\r\n]*[{"]')  # under status 200
_PROMPTS = ("messages", "contents", "input", "prompt")
# A browser must not run what an upstream serves as if it were ours: not a page, not a picture with a script in it.
_INERT = b"x-content-type-options: nosniff\r\ncontent-security-policy: sandbox\r\n"


@lru_cache(1024)
def _named_price(provider: str, model: str) -> TargetPrice:
    return price_of(provider, model, Deployment(id="", model_name=model, model=model))


class PassThrough(Attempt, eq=False):
    """One request on its way through: an attempt at a provider, or at an address of the config's own.

    ``credential``: None for such an address. ``where``: the provider, or the path of the config. ``asked``: the model,
    as far as the request or the answer tells it. ``flat``: US dollars that each request costs, instead of a price by
    use. ``timeout``: seconds, instead of the deployment's. ``sent``: knows the key that goes along. Its ``fields`` are
    the body's top level where it is JSON."""

    where: str = ""
    asked: str = ""
    credential: Credential | None = None
    flat: Decimal | None = None
    timeout: float | None = None
    sent: Mask = NO_SECRETS
    seen: Seen | None = None

    @classmethod
    def of(cls, call: Call, where: str, model: str, credential: Credential | None) -> PassThrough:
        """Make the attempt of a call that is passed through. ``binary``, for whatever the bytes are, an error of ours
        is no part of them."""
        # Where there is no deployment nothing asks for one: what a record says is overridden below.
        target = cast("Target", None if credential is None else credential.target)
        client = cast("Dialect", None)
        made = cls(call, target, "", Live(), client, 1, call.fields, False, lane=LANE, binary=True)
        made.where, made.asked, made.credential = where, model, credential
        return made

    @classmethod
    def owed(cls, call: Call, where: str, model: str, credential: Credential, usage: Usage) -> None:
        """Make a call's attempt of what was used before, and work out what it costs: nobody is asked."""
        made = call.attempt = cls.of(call, where, model, credential)
        made.price_version, made.usage = "", usage
        made._work_out(credential.target)

    @property
    def label(self) -> str:
        """Return provider and model, as far as they are known."""
        return f"{self.where}/{self.asked}" if self.asked else self.where

    @property
    def named(self) -> tuple[str, str, str, str]:
        """Return model, label, provider and the target's id, see ``Attempt``."""
        return self.asked, self.label, self.where, "" if self.credential is None else self.credential.target.id

    # The bytes --------------------------------------------------------------------------------------------------------

    async def pass_through(self, endpoint: Endpoint) -> None:
        """Make the whole exchange, as the call's only try, and work out what it used. Raises ``GatewayError``; when the
        outlet has ``responded`` by then, a part of the answer is out and only ``abort`` is left."""
        call = self.call
        call.attempt, call.tries = self, 1
        try:
            if call.outlet.bill is not None and (waits := call.outlet.bill.leave()) is not None:
                await waits
            await self._run(endpoint)
        except (TransportError, GatewayError) as broken:
            shed(broken)
            error = broken
            if not isinstance(error, GatewayError):
                error = client_error(error, call.outlet.responded)
                error.provider = self.where
            hide_secrets(self, error, self.asked)
            raise error from None
        finally:
            self.settle(call.outlet.status)

    async def _run(self, endpoint: Endpoint) -> None:
        exchange, means = self.call.exchange, self.call.means
        framed = b"content-length" in exchange.headers or b"transfer-encoding" in exchange.headers
        body = exchange.body if exchange.body or framed else None
        lines = b""
        if endpoint.signer is not None:
            await in_task()  # whatever it uses to fetch a token may want one
            lines = self.signed = await endpoint.signer.lines(endpoint, exchange.method, exchange.body)
        target = self.credential.target if self.credential is not None else None
        tls = target.tls if target is not None else None
        if means.trace is not None:
            means.trace.passes(self, endpoint)
        self.start()
        try:
            answer = await means.pool.send(endpoint.origin, endpoint.head, body, self._timeouts(target), lines, tls)
        finally:
            self.stop()
        try:
            await self._answer(answer)
        finally:
            answer.close()

    def _timeouts(self, target: Target | None) -> Timeouts:
        """Return the timeouts of a request that is passed through, without a total: the answer may be a stream of any
        length."""
        if self.timeout is None and target is not None:
            return target.stream_timeouts
        wait = self.timeout or 600.0
        return of_stream(wait, wait)

    async def _answer(self, answer: Response) -> None:
        call, status = self.call, answer.status
        outlet, exchange = call.outlet, call.exchange
        if not 200 <= status <= 599:
            text = f"The upstream answered with status {status}, which cannot be passed on."
            raise GatewayError("broken_answer", text, provider=self.where)
        content_type = answer.header(b"content-type") or b""
        seen = self.seen = Seen(content_type)
        mask = self._mask(status)
        told = answer_headers(answer.headers)
        head = b"".join(b"%b: %b\r\n" % (name, mask.data(value)) for name, value in told)
        head += b"x-litellm-call-id: %b\r\n" % call.call_id.encode()
        if b"json" not in content_type and b"event-stream" not in content_type:
            head += _INERT
        length = answer.header(b"content-length")
        framing = None if length is None else b"content-length: %b\r\n" % length
        if exchange.method == "HEAD" or status in (204, 304):
            framing = framing or b"" if exchange.method == "HEAD" else b""
        kind = kind_of(content_type)
        small = kind == "whole" and length is not None and length.isdigit() and int(length) <= _SMALL
        # An answer that came with its head: reading it holds nothing back. An error is read whole, for its words may
        # hold what only we and the vendor know; so is what may be one under status 200.
        if answer.complete or small or status >= 300:
            data = await answer.read(1 << 40 if status < 300 else MAX_ERROR)
            if data:
                self.begun(call.means.clock())
            if status >= 300 or _ERROR.search(data):
                data = self._mask(500).data(data)
                framing = framing and b"content-length: %d\r\n" % len(data) if exchange.method != "HEAD" else framing
            seen.feed(data)
            seen.close()
            self.settle(status)
            if self.cost is not None:
                head += b"x-litellm-response-cost: %b\r\n" % plain(self.cost).encode()
            outlet.pass_head(call, status, head, framing)
            outlet.pay()
            outlet.pass_on(data)
        else:
            outlet.pass_head(call, status, head, framing)
            lines = Lines(partial(self._mask, 500)) if kind in ("lines", "whole") and framing is None else None
            await self._relay(answer, seen, lines)
            self.settle(status)
        outlet.finish()

    def _mask(self, status: int) -> Mask:
        """Return what takes out of an answer what only we and the vendor know: of a good one what was sent along, of
        any other all secrets that there are."""
        if status < 300:
            return self.sent
        known = self.call.known.mask
        return known.also(Mask.of_lines(self.signed)) if self.signed else known

    async def _relay(self, answer: Response, seen: Seen, lines: Lines | None) -> None:
        outlet, clock = self.call.outlet, self.call.means.clock

        def relay(chunk: bytes) -> None:
            if self.first_at is None:
                self.first_at = clock()
            seen.feed(chunk)
            if lines is None:
                outlet.pass_on(chunk)
            elif chunk := lines.feed(chunk):
                outlet.pass_on(chunk)

        outlet.feed_from(answer)
        self.start()
        try:
            await answer.pump(relay)
        finally:
            self.stop()
            outlet.feed_from(None)
            if lines is not None and (rest := lines.close()):  # also of an answer that broke off
                outlet.pass_on(rest)
            seen.close()

    # What it used -----------------------------------------------------------------------------------------------------

    def settle(self, status: int) -> None:
        """Work out usage and cost, once. ``status``: the upstream's. A stream that tells nothing is counted."""
        if self.price_version is not None:
            return
        self.price_version = ""
        seen = self.seen
        if seen is None:
            return
        self.stream = seen.streamed
        if not 200 <= status < 300:
            return
        usage, units = seen.usage, seen.units
        if usage is None and units is None and seen.streamed and seen.chunks:
            if any(name in self.fields for name in _PROMPTS):
                usage = estimate(self.fields, seen.chunks)
        if seen.batch:
            usage = None  # it tells the same each time that somebody looks: paid once, by ``server/batches/owed.py``
        self.asked = self.asked or seen.model
        self.usage, self.units = usage, units
        if self.flat is not None:
            self.cost, self.price_version = self.flat, "config"
        elif self.credential is not None and (usage is not None or units is not None):
            self._work_out(self.credential.target)

    def _work_out(self, target: Target) -> None:
        found = self._price(target)
        if found.price is None:
            UNPRICED.count(self.label)
            return
        self.price_version = found.version
        now = time.time() if found.price.depends_on_time else 0.0
        used = self.usage or NOTHING
        self.cost = found.price.cost(used, used.tier, self.units, now).total
        if found.terms is not None:
            self.cost = found.terms.charge(self.cost).total

    def dearest(self) -> Dearest:
        """Return the dearest that a request of it may be: its own price for each, or its model's."""
        if self.flat is not None:
            return Dearest(units=(("requests", pico(self.flat)),))
        if self.credential is None or not self.asked:
            return UNKNOWN
        price = self._price(self.credential.target)
        return dearest_of(price.price, price.entry, price.terms)

    def _price(self, target: Target) -> TargetPrice:
        if self.asked in (target.model, target.deployment.model_name):
            return target.price
        return with_terms(_named_price(self.where, self.asked), target.settings, self.where, self.asked)
