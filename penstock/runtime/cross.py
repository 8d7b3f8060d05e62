"""The cross lane: the client speaks one dialect, the target another, the neutral form between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from penstock.core import sse
from penstock.core.count import estimate, tokens
from penstock.core.dialects.base import Dialect, View, framer_of
from penstock.core.dialects.structured import Forced, Unforcer, plan, unforce_response
from penstock.core.envelope import seal
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Collector,
    Delta,
    End,
    Response,
    Seal,
    Start,
    Thinking,
    ToolUse,
    Usage,
    explode,
)
from penstock.core.providers.apply import apply_defaults, apply_quirks
from penstock.runtime import outlet
from penstock.runtime.call import Call, new_id

if TYPE_CHECKING:
    from penstock.core.ir import Event
    from penstock.core.providers.spec import Quirks
    from penstock.runtime.targets import Target


def mint(prefix: str) -> str:
    """A fresh id with a dialect's prefix, e.g. ``msg_0f3c...``."""
    return prefix + new_id().replace("-", "")


def cross_request(call: Call, target: Target, quirks: Quirks, dialect: Dialect) -> bytes:
    """The client's request in the target's dialect. What is left out goes into ``call.losses``, or is refused when the
    deployment says ``on_unsupported: reject``."""
    rendered = dialect.render_request(call.parsed(), target.wire_for(dialect.name))
    fields = rendered.fields
    if target.defaults or target.drop:
        apply_defaults(fields, target.defaults, target.drop)
        adopt = getattr(dialect, "adopt", None)
        if adopt is not None:
            adopt(fields)
    losses = rendered.losses + tuple(apply_quirks(fields, quirks, True))
    if losses and target.on_unsupported == "reject":
        named = ", ".join(f"{loss.path} ({loss.why})" for loss in losses[:8])
        raise GatewayError(
            "unsupported",
            f"{target.label} cannot carry: {named}. Leave it out, or set on_unsupported: drop for this deployment.",
            param=losses[0].path,
        )
    call.losses = losses if target.on_unsupported != "drop" else ()
    return seal(fields)


def view(call: Call) -> View:
    """How the client wants to be answered."""
    request = call.parsed()
    return View(
        model=call.model,
        request=replace(request, previous_id=call.previous) if call.previous else request,
        now=int(time.time()),
        mint=mint,
        usage=call.surface.wants_usage(call.fields),
        elapsed=lambda: int((call.clock() - call.exchange.started) * 1e9),
    )


def cross_answer(call: Call, target: Target, data: bytes, dialect: Dialect) -> None:
    """A whole answer of the target for the client: whole, or as a stream when the client asked for one."""
    if call.stream:
        data = _on_one_line(data)
    _answer(call, _own_seals(dialect.parse_response(data), target, dialect), _forced(call, target, dialect))


def _on_one_line(data: bytes) -> bytes:
    """JSON without line breaks, which stand between its tokens only: what is passed on as it came (blocks of a server's
    tools, log probabilities) would cut an event in two."""
    return data.replace(b"\r", b" ").replace(b"\n", b" ")


def _forced(call: Call, target: Target, dialect: Dialect) -> Forced | None:
    """The tool that stands in for a schema, when the request was rendered with one."""
    if dialect.name == call.surface.dialect.name or call.parsed().output is None:
        return None
    wire = target.wire_for(dialect.name)
    own = getattr(dialect, "forced", None)
    found: Forced | None = plan(call.parsed(), wire.native_schema) if own is None else own(call.parsed(), wire)
    return found


def _own_seals(response: Response, target: Target, dialect: Dialect) -> Response:
    """Seals named after who issued them: a vendor's compatible endpoint signs with its own key, not the dialect's."""
    family = target.wire.family
    if family == dialect.family:
        return response
    choices = tuple(
        replace(choice, blocks=tuple(_sealed(block, family, dialect.family) for block in choice.blocks))
        for choice in response.choices
    )
    return replace(response, choices=choices)


def _sealed(block: Block, family: str, native: str) -> Block:
    if isinstance(block, (Thinking, ToolUse)) and block.seal is not None and block.seal.family == native:
        return replace(block, seal=Seal(family, block.seal.data))
    return block


def cross_collected(
    call: Call, target: Target, data: bytes, dialect: Dialect, mend: Callable[[bytes], bytes] | None = None
) -> None:
    """A streamed answer of the target for a client that wanted it whole. ``mend``: see ``Quirks.mend``."""
    decoder, collector, lines = dialect.decoder(), Collector(), framer_of(dialect)
    for event in lines.feed(data) + lines.close():
        if mend is not None:
            event = sse.Event(event.name, mend(event.data))
        for step in decoder.feed(event):
            collector.feed(step)
    for step in decoder.close():
        collector.feed(step)
    _answer(call, _own_seals(collector.response(), target, dialect), _forced(call, target, dialect))


def _size(block: Block) -> int:
    text: str = getattr(block, "text", "") or getattr(block, "args", "")
    return len(text.encode())


def cross_response(call: Call, response: Response) -> None:
    """An answer in the neutral form for the client: whole, or as a stream when it asked for one."""
    _answer(call, response, None)


def _answer(call: Call, response: Response, forced: Forced | None) -> None:
    if forced is not None:
        response = unforce_response(response, forced)
    if response.usage is None:
        size = sum(_size(block) for choice in response.choices for block in choice.blocks)
        response = replace(response, usage=estimate(call.fields, tokens(size)))
    call.usage = _tiered(response.usage, response.service_tier)
    client = call.surface.dialect
    if not call.stream:
        rendered = client.render_response(response, view(call))
        call.losses += rendered.losses
        call.first_at = call.clock()
        outlet.send_whole(call, rendered.body)
        return
    encoder = client.encoder(view(call))
    body = b"".join([encoder.feed(event) for event in explode(response, 1 << 30)])
    call.first_at = call.clock()
    if not call.exchange.responded:
        outlet.begin_stream(call)
    call.tail = body
    call.exchange.write(body)
    call.exchange.finish()


def _tiered(usage: Usage | None, tier: str) -> Usage | None:
    """With the service tier that the answer told, for its price."""
    return replace(usage, tier=tier) if usage is not None and tier else usage


class CrossStream:
    """A ``lanes.Translator`` over two dialects. Counts what the upstream does not tell."""

    __slots__ = (
        "_call",
        "_decoder",
        "_family",
        "_native",
        "_size",
        "_start",
        "_tier",
        "_told",
        "_unforce",
        "chunks",
        "encoder",
        "started",
    )

    def __init__(self, call: Call, target: Target, dialect: Dialect) -> None:
        self._call = call
        self._family, self._native = target.wire.family, dialect.family
        forced = _forced(call, target, dialect)
        self._unforce = Unforcer(forced) if forced is not None else None
        self._decoder = dialect.decoder()
        self._size = 0
        self._told: Usage | None = None
        self._tier = ""
        self._start: Usage | None = None  # told with the first event: the input, and an output of 1 or so
        self.started = False
        self.chunks = 0
        self.encoder = call.surface.dialect.encoder(view(call))

    @property
    def usage(self) -> Usage | None:
        """What the upstream told, else an estimate from what passed."""
        if self._told is not None or self._start is None:
            used = self._told or estimate(self._call.fields, tokens(self._size))
        else:
            used = replace(self._start, output=max(self._start.output, tokens(self._size)), estimated=True)
        return _tiered(used, self._tier)

    def feed(self, event: sse.Event) -> bytes:
        if b"\n" in event.data:
            event = sse.Event(event.name, _on_one_line(event.data))
        return self._encode(self._decoder.feed(event))

    def close(self) -> bytes:
        return self._encode(self._decoder.close())

    def _encode(self, steps: Iterable[Event]) -> bytes:
        out = b""
        if self._unforce is not None:
            steps = [told for step in steps for told in self._unforce.feed(step)]
        for step in steps:
            self.started = True
            if isinstance(step, Delta):
                self._size += len(step.text.encode())
                if step.seal is not None and step.seal.family == self._native != self._family:
                    step = replace(step, seal=Seal(self._family, step.seal.data))
            elif isinstance(step, End):
                self._told = step.usage
                step = End(self.usage)
            elif isinstance(step, Start):
                self._tier = step.service_tier
                if step.usage is None:  # an agent reads the size of its context off the first event: 0 would be a lie
                    step = replace(step, usage=estimate(self._call.fields, 0))
                else:
                    self._start = step.usage
            out += self.encoder.feed(step)
        return out
