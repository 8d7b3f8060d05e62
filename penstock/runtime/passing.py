"""A request that is passed through: whose credential it takes, the bytes both ways, and what they used.

One try, no fallback, nothing translated: the vendor's own client is at the other end and knows what to do with the
vendor's own errors. What is passed neither cools nor heals a deployment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.config import Deployment
from penstock.core.count import estimate
from penstock.core.errors import TABLE, GatewayError, kind_of_status
from penstock.core.ir import Usage
from penstock.core.price import NOTHING, plain
from penstock.core.providers.passing import SHORTEST_SECRET, answer_headers, kin
from penstock.core.providers.resolve import auth_headers, credential, missing_key_message, needs_key
from penstock.core.providers.urls import at_own_host
from penstock.core.seen import Seen
from penstock.runtime.building import CONNECT_TIMEOUT, build_target
from penstock.runtime.cloud import signer_for
from penstock.runtime.http import Timeouts, in_task
from penstock.runtime.outlet import safe
from penstock.runtime.prices import UNPRICED, TargetPrice, charged, price_of
from penstock.runtime.records import Record

if TYPE_CHECKING:
    from penstock.core.providers.spec import Provider
    from penstock.runtime.endpoint import Endpoint, Signer
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.http import Pool, Response
    from penstock.runtime.identity import Caller
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target

LANE = "pass"
KEEP = 10_000
_PROMPTS = ("messages", "contents", "input", "prompt")
# A browser must not run what an upstream serves as if it were ours: not a page, not a picture with a script in it.
_INERT = b"x-content-type-options: nosniff\r\ncontent-security-policy: sandbox\r\n"


class Lent:
    """A target whose credential pass-through uses: a deployment of the config, or the environment's own."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @cached_property
    def signer(self) -> Signer | None:
        return signer_for(self.target.account)

    @cached_property
    def key(self) -> str | None:
        """Raises "not_configured" naming the variable that is missing."""
        if self.signer is not None:
            return None
        target, deployment = self.target, self.target.deployment
        given = deployment.api_key.reveal() if deployment.api_key else None
        key = credential(target.provider, given, target.env)
        needed = needs_key(target.provider, deployment.api_base, target.env)
        unsigned = target.provider.auth in ("sigv4", "oauth")
        if key is None and (needed or unsigned):
            raise GatewayError("not_configured", missing_key_message(target.provider))
        return key

    def headers(self, dialect: str) -> list[tuple[bytes, bytes]]:
        """Credential and the deployment's own headers. Raises "not_configured"."""
        deployment = self.target.deployment
        own = [(name.lower().encode(), value.encode()) for name, value in deployment.extra_headers.items()]
        try:
            auth = auth_headers(self.target.provider, self.key, dialect) if self.signer is None else []
        except ValueError as error:
            raise GatewayError("not_configured", str(error)) from None
        if deployment.organization and self.target.provider.name == "openai":
            auth.append((b"openai-organization", deployment.organization.encode()))
        names = {name for name, _ in own}
        return [pair for pair in auth if pair[0] not in names] + own


def lend(state: State, provider: Provider, model: str) -> Lent:
    """Who answers: a deployment of this vendor that is marked ``use_in_pass_through``, else the environment's key,
    else any deployment of this vendor; among several the one of this model, before those at another host."""
    asked = f"{provider.name} {model}"
    found = state.lent.get(asked)
    if found is None:
        found = _find(state, provider, model)
        if len(state.lent) < KEEP:  # clients choose the names
            state.lent[asked] = found
    return found


def _find(state: State, provider: Provider, model: str) -> Lent:
    names = kin(provider)
    own = [target for target in state.targets if target.deployment.provider in names]
    marked = [target for target in own if target.deployment.params.get("use_in_pass_through")]
    if marked:
        best = _best(marked, model)
        return _lent(state, best.id, lambda: best)
    if own and credential(provider, None, state.env) is None:
        best = _best(own, model)
        return _lent(state, best.id, lambda: best)
    return _lent(state, provider.name, partial(_bare, state, provider.name))


def _bare(state: State, name: str) -> Target:
    """The environment's account at a provider."""
    params = state.config.raw.get("default_vertex_config") if name.startswith("vertex_ai") else None
    model = f"{name}/*"
    deployment = Deployment(
        id="", model_name=model, model=model, provider=name, upstream_model="*", params=params or {}
    )
    return build_target(deployment, state.settings, state.env)


def _best(targets: list[Target], model: str) -> Target:
    def rank(target: Target) -> tuple[bool, bool]:
        own = at_own_host(target.provider, target.deployment.api_base, target.env)
        return model not in (target.model, target.deployment.model_name), not own

    return min(targets, key=rank)


def _lent(state: State, name: str, make: Callable[[], Target]) -> Lent:
    found = state.lent.get(name)
    if found is None:
        found = state.lent[name] = Lent(make())
    return found


@lru_cache(1024)
def _named_price(provider: str, model: str) -> TargetPrice:
    return price_of(provider, model, Deployment(id="", model_name=model, model=model))


class Passing:
    """One request on its way through. ``lent``: None for an address of the config's own. ``flat``: US dollars that each
    request costs, instead of a price by use. ``fields``: the body's top level where it is JSON."""

    def __init__(self, exchange: Exchange, caller: Caller, call_id: str, clock: Callable[[], float]) -> None:
        self.exchange, self.caller, self.call_id, self.clock = exchange, caller, call_id, clock
        self.lent: Lent | None = None
        self.signer: Signer | None = None
        self.provider = ""
        self.model = ""
        self.fields: Mapping[str, Raw] = {}
        self.flat: Decimal | None = None
        self.timeout: float | None = None
        self.status = 0
        self.seen: Seen | None = None
        self.sent_at = 0.0
        self.upstream = 0.0
        self.first_at: float | None = None
        self._settled = False
        self._usage: Usage | None = None
        self._cost: Decimal | None = None
        self._version = ""

    # The bytes --------------------------------------------------------------------------------------------------------

    async def run(self, pool: Pool, endpoint: Endpoint) -> None:
        """The whole exchange. Raises ``GatewayError`` and ``TransportError``; when the exchange has ``responded`` by
        then, a part of the answer is out and only ``abort`` is left."""
        exchange = self.exchange
        framed = b"content-length" in exchange.headers or b"transfer-encoding" in exchange.headers
        body = exchange.body if exchange.body or framed else None
        lines = b""
        if self.signer is not None:
            await in_task()  # whatever it uses to fetch a token may want one
            lines = await self.signer.lines(endpoint, exchange.method, exchange.body)
        target = self.lent.target if self.lent is not None else None
        self.sent_at = self.clock()
        try:
            tls = target.tls if target is not None else None
            answer = await pool.send(endpoint.origin, endpoint.head, body, self._timeouts(target), lines, tls)
        finally:
            self.upstream = self.clock() - self.sent_at
        try:
            await self._answer(answer)
        finally:
            answer.close()

    def _timeouts(self, target: Target | None) -> Timeouts:
        """No total: what is passed through may be a stream of any length."""
        if self.timeout is None and target is not None:
            return target.stream_timeouts
        wait = self.timeout or 600.0
        return Timeouts(connect=min(CONNECT_TIMEOUT, wait), first_byte=wait, stall=wait, total=None, pool=wait)

    async def _answer(self, answer: Response) -> None:
        exchange, status = self.exchange, answer.status
        if not 200 <= status <= 599:
            text = f"The upstream answered with status {status}, which cannot be passed on."
            raise GatewayError("broken_answer", text, provider=self.provider)
        self.status = status
        content_type = answer.header(b"content-type") or b""
        seen = self.seen = Seen(content_type)
        key = ((self.lent.key if self.lent is not None else None) or "").encode()
        told = answer_headers(answer.headers, key if len(key) >= SHORTEST_SECRET else b"")
        head = b"".join(b"%b: %b\r\n" % pair for pair in told)
        head += b"x-litellm-call-id: %b\r\n" % self.call_id.encode()
        if b"json" not in content_type and b"event-stream" not in content_type:
            head += _INERT
        length = answer.header(b"content-length")
        framing = None if length is None else b"content-length: %b\r\n" % length
        if exchange.method == "HEAD" or status in (204, 304):
            framing = framing or b"" if exchange.method == "HEAD" else b""
        if answer.complete:  # it came with its head: reading it holds nothing back
            data = await answer.read(1 << 40)
            if data:
                self.first_at = self.clock()
            seen.feed(data)
            seen.close()
            cost = self._settle()[1]
            if cost is not None:
                head += b"x-litellm-response-cost: %b\r\n" % plain(cost).encode()
            exchange.start(status, head, framing)
            exchange.write(data)
        else:
            exchange.start(status, head, framing)
            await self._relay(answer, seen)
        exchange.finish()

    async def _relay(self, answer: Response, seen: Seen) -> None:
        exchange = self.exchange

        def relay(chunk: bytes) -> None:
            if self.first_at is None:
                self.first_at = self.clock()
            exchange.write(chunk)
            seen.feed(chunk)

        exchange.feed_from(answer)
        began = self.clock()
        try:
            await answer.pump(relay)
        finally:
            self.upstream += self.clock() - began
            exchange.feed_from(None)
            seen.close()

    # What it used -----------------------------------------------------------------------------------------------------

    def _settle(self) -> tuple[Usage | None, Decimal | None]:
        """Usage and cost, worked out once. A stream that tells nothing is counted."""
        if self._settled:
            return self._usage, self._cost
        self._settled = True
        seen = self.seen
        if seen is None or not 200 <= self.status < 300:
            return None, None
        usage, units = seen.usage, seen.units
        if usage is None and units is None and seen.streamed and seen.chunks:
            if any(name in self.fields for name in _PROMPTS):
                usage = estimate(self.fields, seen.chunks)
        self.model = self.model or seen.model
        self._usage = usage
        if self.flat is not None:
            self._cost, self._version = self.flat, "config"
        elif self.lent is not None and (usage is not None or units is not None):
            found = self._price(self.lent.target)
            if found.price is None:
                UNPRICED.count(self.label)
            else:
                self._version = found.version
                now = time.time() if found.price.depends_on_time else 0.0
                used = usage or NOTHING
                self._cost = found.price.cost(used, used.tier, units, now).total
                if found.terms is not None:
                    self._cost = found.terms.charge(self._cost).total
        return self._usage, self._cost

    def _price(self, target: Target) -> TargetPrice:
        if self.model in (target.model, target.deployment.model_name):
            return target.price
        return charged(_named_price(self.provider, self.model), target.settings, self.provider, self.model)

    @property
    def label(self) -> str:
        return f"{self.provider}/{self.model}" if self.model else self.provider

    def record(self, error: GatewayError | None) -> Record:
        """What happened. An upstream's own error is one with its status; its words are between it and the client."""
        exchange, now = self.exchange, self.clock()
        usage, cost = self._settle()
        total = now - exchange.started
        kind = error.kind if error is not None else kind_of_status(self.status, "") if self.status >= 400 else ""
        return Record(
            at=time.time(),
            call_id=self.call_id,
            request_id=safe(exchange.headers.get(b"x-request-id", b"").decode("latin-1"))[:256].decode(),
            key=self.caller.alias,
            client=exchange.client,
            method=exchange.method,
            path=exchange.path,
            model=self.model,
            target=self.label,
            target_id=self.lent.target.id if self.lent is not None else "",
            provider=self.provider,
            lane=LANE,
            status=error.status if error is not None else self.status,
            ms=total * 1000,
            overhead_ms=(total - self.upstream) * 1000,
            ttft_ms=None if self.first_at is None else (self.first_at - exchange.started) * 1000,
            tries=1 if self.sent_at else 0,
            stream=self.seen is not None and self.seen.streamed,
            usage=usage,
            cost=cost,
            price_version=self._version,
            bytes_in=len(exchange.body),
            bytes_out=exchange.bytes_out,
            error=kind,
            message=error.message if error is not None else "",
            fault=TABLE[kind].fault if kind else "",
        )
