"""One attempt at Replicate: a prediction is made, waited for or streamed, and cancelled when nobody wants it any more.

https://replicate.com/docs/reference/http#predictions.create . ``Prefer: wait`` holds the first call for a few seconds,
in which most language models are done; what takes longer is asked for again and again, or read as a stream.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import msgspec

from penstock.core import sse
from penstock.core.dialects.base import Dialect
from penstock.core.dialects.openai_chat.errors import retry_after
from penstock.core.errors import GatewayError
from penstock.core.providers.apply import apply_defaults
from penstock.core.providers.replicate import (
    NAME,
    RUNNING,
    Decoder,
    Prediction,
    head_for,
    parse_error,
    path_of,
    quoted,
    read_prediction,
    render_input,
    response_of,
    same_house,
    usage_of,
)
from penstock.runtime import lanes, outlet
from penstock.runtime.cross import CrossStream, cross_response
from penstock.runtime.http import Origin, Timeouts, TransportError

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.core.ir import Loss
    from penstock.runtime.call import Call
    from penstock.runtime.endpoint import Endpoint
    from penstock.runtime.http import Pool, Response
    from penstock.runtime.targets import Target

WAIT = 5  # seconds that the first call is held; until then a prediction has no id that could be cancelled
POLL = 0.5  # seconds between two looks at a prediction
MAX_ANSWER = 256 * 1024 * 1024
MAX_ERROR = 1024 * 1024
_BRIEF = Timeouts(connect=5.0, first_byte=5.0, stall=5.0, total=5.0, pool=5.0)
_PREFER = b"prefer: wait=%d\r\n" % WAIT
_EVENTS = b"accept: text/event-stream\r\ncache-control: no-store\r\n"
_cancelling: set[asyncio.Task[None]] = set()


class _Form:
    """What ``CrossStream`` asks of a target's dialect."""

    name = NAME
    family = NAME

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def decoder(self) -> Decoder:
        return self._decoder


async def run(pool: Pool, call: Call, target: Target) -> None:
    """See ``penstock.runtime.attempts``."""
    call.lane = "cross"
    path, version = path_of(target.model)
    endpoint = target.endpoint(path)
    body = _body(call, target, version)
    sent = call.sent_at = call.clock()
    timeouts = target.stream_timeouts if call.stream else target.timeouts
    extra = b"x-request-id: %b\r\n%b" % (call.request_id, b"" if call.stream else _PREFER)
    answer = await pool.send(endpoint.origin, endpoint.head, body, timeouts, extra, target.tls)
    made = read_prediction(await _read(answer))
    try:
        url = made.urls.get("stream")
        if call.stream and url and made.status in RUNNING:
            await _stream(pool, call, target, endpoint, made, url)
            return
        made = await _wait(pool, call, target, endpoint, made, sent)
        response = response_of(made)
        call.upstream += call.clock() - sent
        cross_response(call, response)
    finally:
        if made.status in RUNNING:
            _cancel(pool, target, endpoint, made)


def _body(call: Call, target: Target, version: str) -> bytes:
    """The prediction to make. What is left out goes into ``call.losses``, or is refused as across any two dialects."""
    given: dict[str, Raw] = {}
    apply_defaults(given, target.defaults, ())
    apart = target.deployment.params.get("supports_system_prompt")
    made, losses = render_input(call.parsed(), target.model, given, apart)
    for key in target.drop:
        made.pop(key, None)
    _report(call, target, tuple(losses))
    whole: dict[str, object] = {"input": made}
    if version:
        whole["version"] = version
    if call.stream:
        whole["stream"] = True
    return msgspec.json.encode(whole)


def _report(call: Call, target: Target, losses: tuple[Loss, ...]) -> None:
    if losses and target.on_unsupported == "reject":
        named = ", ".join(f"{loss.path} ({loss.why})" for loss in losses[:8])
        raise GatewayError("unsupported", f"{target.label} cannot carry: {named}.", param=losses[0].path)
    call.losses = losses if target.on_unsupported != "drop" else ()


async def _read(answer: Response) -> bytes:
    """The body of a good answer. Raises what a refusal says."""
    try:
        if 200 <= answer.status < 300:
            return await answer.read(MAX_ANSWER)
        try:
            body = await answer.read(MAX_ERROR)
        except TransportError:
            body = b""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        raise parse_error(answer.status, body, retry_after(headers))
    finally:
        answer.close()


async def _ask(
    pool: Pool, target: Target, endpoint: Endpoint, method: bytes, url: str, timeouts: Timeouts, extra: bytes = b""
) -> Response:
    """A call to an address that a prediction named. Raises "broken_answer" where the key must not go."""
    if not same_house(url, endpoint.url):
        raise GatewayError("broken_answer", "The upstream's prediction names an address of another server.")
    parts = urlsplit(url)
    origin = Origin.parse(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    head = head_for(endpoint.head, method, path.encode(), origin.host_header)
    return await pool.send(origin, head, b"" if method == b"POST" else None, timeouts, extra, target.tls)


async def _wait(
    pool: Pool, call: Call, target: Target, endpoint: Endpoint, made: Prediction, sent: float
) -> Prediction:
    """The prediction when it is over. Raises "timeout" when the deployment's time is."""
    patience = target.timeouts.first_byte
    while made.status in RUNNING:
        if patience is not None and call.clock() - sent > patience:
            raise GatewayError("timeout", f"The prediction was not done within {patience:g} seconds.")
        await asyncio.sleep(POLL)
        url = made.urls.get("get")
        if not url:
            raise GatewayError("broken_answer", "The upstream's prediction has no address to ask for its result.")
        urls = made.urls
        made = read_prediction(await _read(await _ask(pool, target, endpoint, b"GET", url, _BRIEF)))
        made.urls = made.urls or urls
    return made


async def _stream(pool: Pool, call: Call, target: Target, endpoint: Endpoint, made: Prediction, url: str) -> None:
    """Relays a prediction's events; when they are over, one look at it tells the tokens."""
    answer = await _ask(pool, target, endpoint, b"GET", url, target.stream_timeouts, _EVENTS)
    if answer.status != 200:
        await _read(answer)
        raise GatewayError("broken_answer", f"The upstream's stream answered with status {answer.status}.")
    decoder, lines = Decoder(made.id), sse.Decoder()
    translator = call.translator = CrossStream(call, target, cast(Dialect, _Form(decoder)))
    exchange = call.exchange

    def relay(chunk: bytes) -> None:
        for event in lines.feed(chunk):  # one by one: what precedes an error is the client's
            _write(call, translator.feed(quoted(event)))

    exchange.feed_from(answer)
    try:
        await answer.pump(relay)
        rest = b"".join([translator.feed(quoted(event)) for event in lines.close()])
    except sse.TooLong as error:
        raise GatewayError("broken_stream", f"The upstream's stream is not usable: {error}.") from None
    finally:
        exchange.feed_from(None)
        answer.close()
    if decoder.done:
        await _settle(pool, target, endpoint, made, decoder)
    _write(call, rest + translator.close())
    call.usage = lanes.usage_seen(call)
    exchange.finish()


def _write(call: Call, data: bytes) -> None:
    if not data:
        return
    if call.first_at is None:
        call.first_at = now = call.clock()
        call.upstream += now - call.sent_at
        if not call.exchange.responded:
            outlet.begin_stream(call)
    call.tail = data
    call.exchange.write(data)


async def _settle(pool: Pool, target: Target, endpoint: Endpoint, made: Prediction, decoder: Decoder) -> None:
    """Notes that the prediction is over, and its tokens. The answer is complete, whatever goes wrong here."""
    made.status = "succeeded"
    url = made.urls.get("get")
    if not url:
        return
    try:
        found = read_prediction(await _read(await _ask(pool, target, endpoint, b"GET", url, _BRIEF)))
    except (GatewayError, TransportError):
        return
    decoder.usage = usage_of(found)


def _cancel(pool: Pool, target: Target, endpoint: Endpoint, made: Prediction) -> None:
    """Stops a prediction that goes on costing money. Beside whatever ended the attempt, which may be a cancellation."""
    url = made.urls.get("cancel")
    if not url:
        return

    async def cancel() -> None:
        try:
            (await _ask(pool, target, endpoint, b"POST", url, _BRIEF)).close()
        except (GatewayError, TransportError):
            return  # it runs to its end, as it would have without us

    task = asyncio.get_running_loop().create_task(cancel())
    _cancelling.add(task)
    task.add_done_callback(_cancelling.discard)
