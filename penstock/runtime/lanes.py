"""One attempt: the request to the target, the answer to the client, in the same dialect or across two.

The lane is chosen once per attempt. A streamed answer starts with its first good event, so that an upstream that fails
before it said anything can still be replaced by another; after that, errors go in band and there is no second answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Raw

from penstock.core import sse
from penstock.core.count import estimate
from penstock.core.dialects import DIALECTS, EDITORS, guided
from penstock.core.dialects.base import Dialect
from penstock.core.envelope import seal
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.core.providers.apply import apply_defaults, apply_quirks
from penstock.core.providers.constraints import ENGINE_DIALECTS, ENGINES
from penstock.runtime import checked, constrained, outlet
from penstock.runtime.call import GATEWAY_FIELDS, REFUSED_FIELDS, Call, refused_field
from penstock.runtime.cross import CrossStream, cross_answer, cross_collected, cross_request
from penstock.runtime.http import TransportError, in_task
from penstock.runtime.speaks import unlearn

if TYPE_CHECKING:
    from penstock.core.providers.spec import Quirks
    from penstock.runtime.checked import Held
    from penstock.runtime.http import Pool, Response
    from penstock.runtime.targets import Target

MAX_ERROR = 1024 * 1024  # bytes of an error answer that are read
MAX_ANSWER = 256 * 1024 * 1024  # bytes of a whole answer


# What the content type of a dialect's streams holds.
_STREAM_TYPES: Mapping[str, bytes] = {name: dialect.stream_type for name, dialect in DIALECTS.items()}


class Translator(Protocol):
    """An upstream's stream to the client's bytes. ``close`` raises when the stream ended too early."""

    started: bool
    chunks: int

    @property
    def usage(self) -> Usage | None: ...

    def feed(self, event: sse.Event) -> bytes: ...
    def close(self) -> bytes: ...


_SCHEMAS = frozenset({"output_config", "output_format", "text", "format"}) | guided.FIELDS  # where a form is asked for
_SPECIAL = guided.FIELDS | {"validate", "extra_body"}  # fields that make an attempt go through ``constrained``


def choose(call: Call, target: Target) -> str:
    """The dialect to speak to the target: the client's own when the target speaks it, else the target's first.

    Where a schema for the answer would be ignored in the client's own, one that enforces it is better."""
    name = call.surface.dialect.name
    if name in target.dialects:
        return _enforcing(call, target, name) or name
    for speaks in target.dialects:
        if speaks in DIALECTS:
            return speaks
    if target.attempt is not None:
        return target.dialects[0]
    spoken = ", ".join(target.dialects) or "none"
    raise GatewayError("no_dialect", f"{target.label} is served in a dialect that is not available yet ({spoken}).")


def _enforcing(call: Call, target: Target, name: str) -> str | None:
    """Another dialect of the target's, when the client wants a form that the server ignores in ``name``: llama.cpp
    answers /v1/messages with an ``output_config.format`` in free text, and enforces the schema on Chat. An engine's
    fields for a choice, an expression or a grammar are those of its Chat."""
    if len(target.dialects) == 1 or name == "openai_chat" or _SCHEMAS.isdisjoint(call.fields):
        return None  # Chat enforces every form that a target can be held to
    spoken = [other for other in target.dialects if other in DIALECTS and other != "completions"]
    if name == "completions":  # of which vendors' own has no field for a form
        wanted = target.guides not in ENGINES and not guided.FIELDS.isdisjoint(call.fields)
        return spoken[0] if wanted and spoken else None
    native = target.wire_for(name).native_schema
    if native and guided.FIELDS.isdisjoint(call.fields):
        return None
    output = call.parsed().output
    if output is None or output.kind == "text":
        return None
    if output.kind in guided.CONSTRAINTS and target.guides in ENGINES and name not in ENGINE_DIALECTS:
        return "openai_chat" if "openai_chat" in spoken else None
    return None if native else next((other for other in spoken if target.wire_for(other).native_schema), None)


def run(pool: Pool, call: Call, target: Target) -> Awaitable[None]:
    """The whole attempt. Raises ``GatewayError`` or ``TransportError``; when ``call.exchange.responded`` by then, a
    part of an answer is out."""
    if target.special or not _SPECIAL.isdisjoint(call.fields):
        return _constrained(pool, call, target)
    if target.attempt is not None:
        return target.attempt(pool, call, target)
    dialect = choose(call, target)
    attempt = _attempt if not target.asked else _relearning
    return attempt(pool, call, target, dialect)


async def _constrained(pool: Pool, call: Call, target: Target) -> None:
    """For a request, or a deployment, that says what form the answer is to have, or that it is to be checked."""
    await in_task()  # checks wait for processes
    await constrained.enter(call, target)
    if target.attempt is not None:
        await target.attempt(pool, call, target)
    else:
        await _relearning(pool, call, target, choose(call, target))


async def _relearning(pool: Pool, call: Call, target: Target, dialect: str) -> None:
    """For a target that was found to speak more than its row says, and may have stopped to."""
    try:
        await _attempt(pool, call, target, dialect)
    except GatewayError as error:
        if not unlearn(target, dialect, error.status):
            raise
        await _attempt(pool, call, target, choose(call, target))


async def _attempt(pool: Pool, call: Call, target: Target, dialect: str) -> None:
    spoken = DIALECTS[dialect]
    endpoint = target.endpoint(target.operation(spoken, call.stream))
    if call.wanted is not None:
        body = constrained.request(call, target, endpoint.quirks, dialect)
    elif dialect == call.surface.dialect.name:
        call.lane = "same"
        body = same_request(call, target, endpoint.quirks, dialect)
    else:
        call.lane = "cross"
        body = cross_request(call, target, endpoint.quirks, spoken)
    extra = b"x-request-id: %b\r\n" % call.request_id
    if endpoint.fallback_headers or call.surface.forward_names:
        extra += outlet.passed_on(call, endpoint)
    if endpoint.signer is not None:
        await in_task()  # whatever it uses to fetch a token may want one
        extra += await endpoint.signer.lines(endpoint, "POST", body)
    timeouts = target.stream_timeouts if call.stream else target.timeouts
    sent = call.sent_at = call.clock()
    answer: Response | Held | None = None
    try:
        answer = await pool.ask(endpoint.origin, endpoint.head, body, timeouts, extra, target.tls)
        if not 200 <= answer.status < 300:
            raise await refused(call, answer, dialect)
        mend = endpoint.quirks.mend
        if call.wanted is not None and call.wanted.check is not None:
            answer = await checked.settle(pool, call, target, answer, dialect, mend)
        if is_stream(call, spoken, answer.header(b"content-type") or b""):
            await _stream(call, target, answer, dialect, mend)
        else:
            data = answer.whole(MAX_ANSWER)
            if data is None:
                data = await answer.read(MAX_ANSWER)
            if mend is not None:
                data = mend(data)
            call.upstream += call.clock() - sent
            sent = 0.0
            _whole(call, target, data, dialect)
    finally:
        if sent and call.first_at is None:
            call.upstream += call.clock() - sent
        if answer is not None:
            answer.close()


def same_request(call: Call, target: Target, quirks: Quirks, dialect: str) -> bytes:
    """The client's fields with the upstream's model name, and the few edits that config and provider call for."""
    fields = dict(call.fields)
    if not GATEWAY_FIELDS.isdisjoint(fields):
        fields = {key: value for key, value in fields.items() if key not in GATEWAY_FIELDS}
    if "extra_body" in fields:
        merge(fields)
    fields["model"] = target.model_raw
    if target.defaults or target.drop:
        apply_defaults(fields, target.defaults, target.drop)
    losses = apply_quirks(fields, quirks, target.drop_params)
    EDITORS[dialect].prepare(fields, call.stream, quirks.stream_usage)
    call.losses = tuple(losses)
    return seal(fields)


def merge(fields: dict[str, Raw]) -> None:
    """LiteLLM's habit: what stands in ``extra_body`` goes upstream as if it stood at the top."""
    try:
        extra = msgspec.json.decode(fields.pop("extra_body"), type=dict[str, Raw])
    except msgspec.ValidationError:
        raise GatewayError("bad_request", "'extra_body' must be an object.", param="extra_body") from None
    for name in REFUSED_FIELDS:
        if name in extra:  # an upstream that is a gateway itself would obey it
            raise refused_field(name)
    for key, value in extra.items():
        if key not in GATEWAY_FIELDS and key != "model":
            fields[key] = value


async def refused(call: Call, answer: Response, dialect: str) -> GatewayError:
    """A non-2xx answer as an error. A body that breaks off is an error without a message, not another error."""
    try:
        body = await answer.read(MAX_ERROR)
    except TransportError:
        body = b""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    return DIALECTS[dialect].parse_error(answer.status, headers, body)


def _whole(call: Call, target: Target, data: bytes, dialect: str) -> None:
    if call.lane == "cross" or call.stream:
        cross_answer(call, target, data, DIALECTS[dialect])
        return
    body, call.usage = EDITORS[dialect].answer(data, call.model_raw)
    call.first_at = call.clock()
    outlet.send_whole(call, body)


async def _stream(
    call: Call, target: Target, answer: Response | Held, dialect: str, mend: Callable[[bytes], bytes] | None
) -> None:
    """Relays a stream. Runs in the transport's own callback: no task switch, no queue, one write per read."""
    if not call.stream:  # servers exist that stream unless told not to
        try:
            cross_collected(call, target, await answer.read(MAX_ANSWER), DIALECTS[dialect], mend)
        except sse.TooLong as error:
            raise GatewayError("broken_answer", f"The upstream's stream is not usable: {error}.") from None
        return
    translator: Translator
    if call.lane == "same":
        translator = EDITORS[dialect].Stream(call.model_raw, call.surface.wants_usage(call.fields))
    else:
        translator = CrossStream(call, target, DIALECTS[dialect])
    call.translator = translator
    exchange = call.exchange
    decoder = DIALECTS[dialect].framer()
    decode, feed = decoder.feed, translator.feed if mend is None else _mended(translator.feed, mend)

    def relay(chunk: bytes) -> None:
        events = decode(chunk)
        data = feed(events[0]) if len(events) == 1 else _together(call, feed, events)
        if not data:
            return
        if call.first_at is None:
            _first(call, translator.started)
        call.tail = data
        exchange.write(data)

    exchange.feed_from(answer)
    try:
        await answer.pump(relay)
        data = b"".join([feed(event) for event in decoder.close()]) + translator.close()
    except sse.TooLong as error:
        raise GatewayError("broken_stream", f"The upstream's stream is not usable: {error}.") from None
    finally:
        exchange.feed_from(None)
        call.usage = usage_seen(call)
    if call.first_at is None:
        _first(call, True)
    call.tail = data or call.tail
    exchange.write(data)
    exchange.finish()


def _mended(feed: Callable[[sse.Event], bytes], mend: Callable[[bytes], bytes]) -> Callable[[sse.Event], bytes]:
    """``feed`` of events that are what their dialect says (``Quirks.mend``)."""
    return lambda event: feed(sse.Event(event.name, mend(event.data)))


def is_stream(call: Call, dialect: Dialect, content_type: bytes) -> bool:
    """Servers exist that label their event streams text/plain, or not at all; a page or a JSON answer is none."""
    if b"event-stream" in content_type or _STREAM_TYPES[dialect.name] in content_type:
        return True
    return call.stream and b"json" not in content_type and b"html" not in content_type


def _together(call: Call, feed: Callable[[sse.Event], bytes], events: list[sse.Event]) -> bytes:
    """Events that came in one piece. What precedes a bad one is the client's, once its answer has begun."""
    parts: list[bytes] = []
    try:
        for event in events:
            parts.append(feed(event))
    except GatewayError:
        if call.first_at is not None:
            call.exchange.write(b"".join(parts))
        raise
    return b"".join(parts)


def usage_seen(call: Call) -> Usage | None:
    """What a streamed answer used so far: told by the upstream, else counted. For calls that were cut off, too."""
    translator = call.translator
    if translator is None:
        return None
    return translator.usage or (estimate(call.fields, translator.chunks) if translator.started else None)


def _first(call: Call, answer: bool) -> None:
    """The first bytes go out. A ping of the upstream's is not yet an answer: another target may still give it."""
    if answer:
        call.first_at = now = call.clock()
        call.upstream += now - call.sent_at
    if not call.exchange.responded:
        outlet.begin_stream(call)
