"""The cross lane: the client speaks one dialect, the target another, the neutral form between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from penstock.core import sse
from penstock.core.caching import mark_points
from penstock.core.count import estimate, tokens
from penstock.core.defaults import drop_fields, lay_body, of_said
from penstock.core.dialects.arguments import Settler, settle_calls
from penstock.core.dialects.base import Dialect, StreamEncoder, View
from penstock.core.dialects.endings import is_other
from penstock.core.envelope import seal
from penstock.core.errors import GatewayError
from penstock.core.fit import fit
from penstock.core.fit.undo import Unforced, Unwrapped, chain
from penstock.core.ir import (
    Block,
    Close,
    Collector,
    Delta,
    End,
    Loss,
    Open,
    Response,
    Seal,
    Start,
    Stop,
    Thinking,
    ToolUse,
    Usage,
    explode,
)
from penstock.core.providers.apply import apply_quirks
from penstock.core.providers.constraints import Lowered, lower, name_of
from penstock.runtime.ids import mint

_PRIORITY = ("extra.priority", "priority")
MOST_OPEN = 4096  # blocks; calls stay open to the end of a Chat stream, and end all in one step

if TYPE_CHECKING:
    from penstock.core.fit import Undo
    from penstock.core.ir import Event, OutputFormat, Request
    from penstock.core.providers.spec import Quirks
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.targets import Target


def cross_request(attempt: Attempt, quirks: Quirks, dialect: Dialect, given: Request | None = None) -> bytes:
    """Render the client's request in the target's dialect. What is left out goes into ``attempt.losses``, or is refused
    when the deployment says ``on_unsupported: reject``. ``given``: another request in the place of the client's, with
    the deployment's parameters under it as ``Attempt.laid`` has them."""
    target, wire = attempt.target, attempt.target.wire_for(dialect.name)
    request = asked = given if given is not None else attempt.parsed()
    if request.metadata and not request.store:  # then it is for the log here, and no vendor's (seed C-09)
        request = asked = replace(request, metadata=b"")
    if target.cache_points and (dialect.caches or wire.cache_marks):
        request = mark_points(request, target.cache_points)
    lowered = lowered_for(target, request, dialect.name)
    if lowered is not None:
        request = replace(request, output=lowered.output)
    fitted = fit(request, target.takes_for(dialect.name))
    request = fitted.request
    done = list(fitted.undo)
    if lowered is not None and lowered.wrapped:
        done.append(Unwrapped())
    forced = dialect.forced(request, wire)
    if forced is not None:
        done.append(Unforced(forced))
    attempt.undo = chain(done)
    rendered = dialect.render_request(request, wire)
    fields = rendered.fields
    if lowered is not None:
        fields.update(lowered.fields)
    if target.lays:
        lay_body(fields, target.extra_body)
        drop_fields(fields, target.drop)
    losses = fitted.losses + fitted.told(rendered.losses) + tuple(apply_quirks(fields, quirks, True))
    if lowered is not None and lowered.lost:
        losses += lost(asked.output, target, lowered)
    if losses and "priority" in attempt.fields:  # which was heard here
        losses = tuple(loss for loss in losses if loss.path not in _PRIORITY)
    if losses and target.said is not None:  # what the deployment said and can never be carried was told at the start
        losses = tuple(loss for loss in losses if loss not in target.never_carried(dialect))
    if losses and target.on_unsupported == "reject":
        _refuse(target, asked, losses)
    attempt.losses = losses if target.on_unsupported != "drop" else ()
    return seal(fields)


def _refuse(target: Target, request: Request, losses: Iterable[Loss]) -> None:
    """Raise "unsupported" for what is lost of the client's own; that a deployment's parameter does not fit beside it is
    no fault of the client's."""
    said = target.said
    own = [loss for loss in losses if said is None or not of_said(loss, request, said)]
    if not own:
        return
    named = ", ".join(f"{loss.path} ({loss.why})" for loss in own[:8])
    raise GatewayError(
        "unsupported",
        f"{target.label} cannot carry: {named}. Leave it out, or set on_unsupported: drop for this deployment.",
        param=own[0].path,
    )


def view(attempt: Attempt) -> View:
    """Collect how the client wants to be answered."""
    call, request = attempt.call, attempt.parsed()
    assert call.surface is not None
    # The encoder keeps this, and the attempt its encoder: nothing in here may lead back to them.
    clock, started = call.means.clock, call.exchange.started
    return View(
        model=call.asked,
        request=replace(request, previous_id=attempt.previous) if attempt.previous else request,
        now=int(time.time()),
        mint=mint,
        usage=call.surface.wants_usage(attempt.fields),
        elapsed=lambda: int((clock() - started) * 1e9),
    )


def client_encoder(attempt: Attempt, client: Dialect) -> StreamEncoder:
    """Make what tells the client a stream; of an answer that is out in part, it goes on with that."""
    if attempt.goes_on and attempt.encoder is not None:
        return attempt.encoder
    return client.encoder(view(attempt))


def cross_answer(attempt: Attempt, data: bytes, dialect: Dialect) -> None:
    """Give the client a whole answer of the target: whole, or as a stream when it asked for one."""
    if attempt.stream:
        data = _on_one_line(data)
    response = own_seals(dialect.parse_response(data), attempt.target, dialect)
    _answer(attempt, response, attempt.undo)


def _on_one_line(data: bytes) -> bytes:
    """Replace the line breaks of a JSON text, which stand between its tokens only, by spaces: what is passed on as it
    came (blocks of a server's tools, log probabilities) would cut an event in two."""
    return data.replace(b"\r", b" ").replace(b"\n", b" ")


def lowered_for(target: Target, request: Request, dialect: str) -> Lowered | None:
    """Find how the form that a request wants is asked for where ``dialect`` has no words for it; mostly None."""
    if request.output is None:
        return None
    return lower(request, target.guides, dialect, target.wire_for(dialect).native_schema)


def lost(output: OutputFormat | None, target: Target, lowered: Lowered) -> tuple[Loss, ...]:
    """Report a constraint that the target cannot be held to, as a loss. An answer in another form than the one asked
    for looks like success, so raise "unsupported" unless the deployment says ``on_unsupported: warn`` or ``drop``
    itself."""
    if output is None:
        return ()
    name = name_of(output)
    if target.deployment.on_unsupported in ("warn", "drop"):
        return (Loss(name, lowered.lost),)
    text = (
        f"{target.label} cannot be held to {name!r}: {lowered.lost}. Leave it out, or set on_unsupported: warn for "
        "this deployment to be answered without it."
    )
    raise GatewayError("unsupported", text, param=name)


def own_seals(response: Response, target: Target, dialect: Dialect) -> Response:
    """Name seals after who issued them: a vendor's compatible endpoint signs with its own key, not the dialect's."""
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


def collect_stream(data: bytes, dialect: Dialect, mend: Callable[[bytes], bytes] | None = None) -> Response:
    """Put a whole stream of the target's together. ``mend``: see ``Quirks.mend``. Raises ``sse.TooLong``."""
    decoder, collector, lines = dialect.decoder(), Collector(), dialect.framer()
    for event in lines.feed(data) + lines.close():
        if mend is not None:
            event = sse.Event(event.name, mend(event.data))
        for step in decoder.feed(event):
            collector.feed(step)
    for step in decoder.close():
        collector.feed(step)
    return collector.response()


def cross_collected(
    attempt: Attempt, data: bytes, dialect: Dialect, mend: Callable[[bytes], bytes] | None = None
) -> None:
    """Give a client that wanted it whole a streamed answer of the target."""
    response = collect_stream(data, dialect, mend)
    attempt.stop()
    _answer(attempt, own_seals(response, attempt.target, dialect), attempt.undo)


def size_of(block: Block) -> int:
    text: str = getattr(block, "text", "") or getattr(block, "args", "")
    return len(text.encode())


def cross_response(attempt: Attempt, response: Response) -> None:
    """Give the client an answer in the neutral form: whole, or as a stream when it asked for one."""
    _answer(attempt, response, None)


def usage_of(attempt: Attempt, response: Response) -> Usage | None:
    """Return what an answer used: told by the upstream, else counted; with the tier that it was served in."""
    usage = response.usage
    if usage is None:
        size = sum(size_of(block) for choice in response.choices for block in choice.blocks)
        usage = estimate(attempt.fields, tokens(size))
    return with_tier(usage, response.service_tier)


def _answer(attempt: Attempt, response: Response, undo: Undo | None) -> None:
    response = settle_calls(response)
    if undo is not None:
        response = undo.response(response)
    attempt.losses += tuple(loss for n, choice in enumerate(response.choices) for loss in _untold(choice.finish, n))
    if response.usage is None:
        size = sum(size_of(block) for choice in response.choices for block in choice.blocks)
        response = replace(response, usage=estimate(attempt.fields, tokens(size)))
    attempt.usage = with_tier(response.usage, response.service_tier)
    call = attempt.call
    assert call.surface is not None
    client, outlet = call.surface.dialect, call.outlet
    if not attempt.stream:
        rendered = client.render_response(response, view(attempt))
        attempt.losses += rendered.losses
        outlet.whole(attempt, rendered.body)
        return
    encoder = client_encoder(attempt, client)
    outlet.stream(attempt, b"".join([encoder.feed(event) for event in explode(response, 1 << 30)]))
    outlet.finish()


def _untold(reason: str, choice: int) -> tuple[Loss, ...]:
    """Report as a loss a word for how an answer ended that no dialect but its own knows."""
    if not is_other(reason):
        return ()
    why = f"{reason.partition(':')[2]!r} is told as an answer that is not complete"
    return (Loss(f"choices.{choice}.finish", why),)


def with_tier(usage: Usage | None, tier: str) -> Usage | None:
    """Add to a usage the service tier that the answer told, which its price depends on."""
    return replace(usage, tier=tier) if usage is not None and tier else usage


class CrossStream:
    """An ``attempt.Translator`` over two dialects. Counts what the upstream does not tell.

    The first event is held until one comes that tells a part of the answer: an upstream that fails before can still be
    replaced."""

    __slots__ = (
        "_decoder",
        "_family",
        "_fields",
        "_held",
        "_native",
        "_open",
        "_settle",
        "_size",
        "_start",
        "_tier",
        "_told",
        "_undo",
        "chunks",
        "done",
        "encoder",
        "started",
    )

    def __init__(self, attempt: Attempt, dialect: Dialect) -> None:
        surface = attempt.call.surface
        assert surface is not None
        self._fields = attempt.fields
        self._family, self._native = attempt.target.wire.family, dialect.family
        self._undo = attempt.undo.filter() if attempt.undo is not None else None
        self._decoder = dialect.decoder()
        self._settle = Settler().feed
        self._held: Start | None = None
        self._size = 0
        self._open = 0
        self._told: Usage | None = None
        self._tier = ""
        self._start: Usage | None = None  # told with the first event: the input, and an output of 1 or so
        self.started = self.done = False
        self.chunks = 0
        self.encoder = client_encoder(attempt, surface.dialect)

    @property
    def usage(self) -> Usage | None:
        """Return the usage that the upstream told, else an estimate from what passed; None while nothing has."""
        if self._held is None and not self.started:
            return None
        if self._told is not None or self._start is None:
            used = self._told or estimate(self._fields, tokens(self._size))
        else:
            used = replace(self._start, output=max(self._start.output, tokens(self._size)), estimated=True)
        return with_tier(used, self._tier)

    def feed(self, event: sse.Event) -> bytes:
        if sse.LF in event.data:
            event = sse.Event(event.name, _on_one_line(event.data))
        return self._encode(self._decoder.feed(event))

    def close(self) -> bytes:
        return self._encode(self._decoder.close())

    def _encode(self, steps: Iterable[Event]) -> bytes:
        out: list[bytes] = []
        steps = [told for step in steps for told in self._settle(step)]
        if self._undo is not None:
            steps = [told for step in steps for told in self._undo.feed(step)]
        for step in steps:
            if self._held is not None:
                out.append(self.encoder.feed(self._held))
                self._held = None
            self.started = True
            if isinstance(step, Delta):
                self._size += len(step.text.encode())
                if step.seal is not None and step.seal.family == self._native != self._family:
                    step = replace(step, seal=Seal(self._family, step.seal.data))
            elif isinstance(step, Open):
                self._count_open()
                if self._native != self._family:
                    step = replace(step, block=_sealed(step.block, self._family, self._native))
            elif isinstance(step, Close):
                self._open -= 1
            elif isinstance(step, Stop):
                self.encoder.losses += _untold(step.reason, step.choice)
            elif isinstance(step, End):
                self._told = step.usage
                self.done = True
                step = End(self.usage)
            elif isinstance(step, Start):
                self._tier = step.service_tier
                if step.usage is None:  # an agent reads the size of its context off the first event: 0 would be a lie
                    step = replace(step, usage=estimate(self._fields, 0))
                else:
                    self._start = step.usage
                self._held, self.started = step, False
                continue
            out.append(self.encoder.feed(step))
        return out[0] if len(out) == 1 else b"".join(out)

    def _count_open(self) -> None:
        self._open += 1
        if self._open > MOST_OPEN:
            text = f"The upstream's stream has more than {MOST_OPEN} blocks open at once."
            raise GatewayError("broken_stream", text)
