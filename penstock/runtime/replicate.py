"""One attempt at Replicate: a prediction is made, waited for or streamed, and cancelled when nobody wants it any more.

https://replicate.com/docs/reference/http#predictions.create . ``Prefer: wait`` holds the first call for a few seconds,
in which most language models are done; what takes longer is asked for again and again, or read as a stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import msgspec

from penstock.core import sse
from penstock.core.defaults import drop_fields, lay_body
from penstock.core.dialects.base import Dialect
from penstock.core.dialects.openai_chat.errors import retry_after
from penstock.core.errors import GatewayError
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
from penstock.runtime.answer import MAX_ANSWER
from penstock.runtime.cross import CrossStream, cross_response
from penstock.runtime.http import Origin, Timeouts, TransportError
from penstock.runtime.post import post, refusal

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.core.ir import Loss
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.endpoint import Endpoint
    from penstock.runtime.http import Response
    from penstock.runtime.means import Means
    from penstock.runtime.targets import Target

WAIT = 5  # seconds that the first call is held; until then a prediction has no id that could be cancelled
POLL = 0.5  # seconds between two looks at a prediction
_BRIEF = Timeouts(connect=5.0, first_byte=5.0, stall=5.0, total=5.0, pool=5.0)
_PREFER = b"prefer: wait=%d\r\n" % WAIT
_EVENTS = b"accept: text/event-stream\r\ncache-control: no-store\r\n"


class _Form:
    """What ``CrossStream`` asks of a target's dialect."""

    name = NAME
    family = NAME

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def decoder(self) -> Decoder:
        return self._decoder


async def run(attempt: Attempt) -> None:
    """Make a prediction and give its answer. See ``penstock.runtime.attempts``."""
    attempt.lane = "cross"
    path, version = path_of(attempt.target.model)
    endpoint = attempt.target.endpoint(path)
    house = _House(attempt.call.means, attempt.target, endpoint)
    body = _body(attempt, version)
    timeouts = attempt.timeouts(attempt.stream)
    extra = b"" if attempt.stream else _PREFER
    answer = await post(attempt, endpoint, body, _refused, extra=extra, timeouts=timeouts)
    made = read_prediction(await _read(answer, attempt.call.room))
    try:
        url = made.urls.get("stream")
        if attempt.stream and url and made.status in RUNNING:
            await _stream(attempt, house, made, url)
            return
        made = await _wait(attempt, house, made)
        response = response_of(made)
        attempt.stop()
        cross_response(attempt, response)
    finally:
        if made.status in RUNNING:
            house.cancel(made)


def _body(attempt: Attempt, version: str) -> bytes:
    """Make the body that asks for a prediction. What is left out goes into ``attempt.losses``, or is refused as across
    any two dialects."""
    target = attempt.target
    given: dict[str, Raw] = {}
    lay_body(given, target.extra_body)
    apart = target.deployment.params.get("supports_system_prompt")
    made, losses = render_input(attempt.parsed(), target.model, given, apart)
    drop_fields(made, target.drop)
    _report(attempt, tuple(losses))
    whole: dict[str, object] = {"input": made}
    if version:
        whole["version"] = version
    if attempt.stream:
        whole["stream"] = True
    return msgspec.json.encode(whole)


def _report(attempt: Attempt, losses: tuple[Loss, ...]) -> None:
    target = attempt.target
    if losses and target.on_unsupported == "reject":
        named = ", ".join(f"{loss.path} ({loss.why})" for loss in losses[:8])
        raise GatewayError("unsupported", f"{target.label} cannot carry: {named}.", param=losses[0].path)
    attempt.losses = losses if target.on_unsupported != "drop" else ()


def _refused(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    return parse_error(status, body, retry_after(headers))


async def _read(answer: Response, room: Callable[[int], bool] | None) -> bytes:
    """Read the body of a good answer. Raises what a refusal says."""
    try:
        if 200 <= answer.status < 300:
            return await answer.read(MAX_ANSWER, room)
        raise await refusal(answer, _refused)
    finally:
        answer.close()


class _House:
    """The server of one prediction: it is asked again there, and nowhere else."""

    def __init__(self, means: Means, target: Target, endpoint: Endpoint) -> None:
        self._means, self._target, self._endpoint = means, target, endpoint

    async def ask(self, method: bytes, url: str, timeouts: Timeouts, extra: bytes = b"") -> Response:
        """Call an address that a prediction named. Raises "broken_answer" where the key must not go."""
        if not same_house(url, self._endpoint.url):
            raise GatewayError("broken_answer", "The upstream's prediction names an address of another server.")
        parts = urlsplit(url)
        origin = Origin.parse(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        head = head_for(self._endpoint.head, method, path.encode(), origin.host_header)
        body = b"" if method == b"POST" else None
        return await self._means.pool.send(origin, head, body, timeouts, extra, self._target.tls)

    async def look(self, url: str, room: Callable[[int], bool] | None = None) -> Prediction:
        """Return a prediction as it stands now. ``room``: see ``Answer``."""
        return read_prediction(await _read(await self.ask(b"GET", url, _BRIEF), room))

    def cancel(self, made: Prediction) -> None:
        """Stop a prediction that goes on costing money. Beside whatever ended the attempt, which may be a
        cancellation."""
        url = made.urls.get("cancel")
        if not url:
            return

        async def cancel() -> None:
            try:
                (await self.ask(b"POST", url, _BRIEF)).close()
            except (GatewayError, TransportError):
                return  # it runs to its end, as it would have without us

        task = asyncio.get_running_loop().create_task(cancel())
        self._means.beside.add(task)
        task.add_done_callback(self._means.beside.discard)


async def _wait(attempt: Attempt, house: _House, made: Prediction) -> Prediction:
    """Wait until the prediction is over and return it. Raises "timeout" when the deployment's time is over first."""
    patience, clock = attempt.timeouts(False).first_byte, attempt.call.means.clock
    began = clock()
    while made.status in RUNNING:
        if patience is not None and clock() - began > patience:
            raise GatewayError("timeout", f"The prediction was not done within {patience:g} seconds.")
        await asyncio.sleep(POLL)
        url = made.urls.get("get")
        if not url:
            raise GatewayError("broken_answer", "The upstream's prediction has no address to ask for its result.")
        urls = made.urls
        made = await house.look(url, attempt.call.room)
        made.urls = made.urls or urls
    return made


async def _stream(attempt: Attempt, house: _House, made: Prediction, url: str) -> None:
    """Relay a prediction's events; when they are over, one look at it tells the tokens."""
    answer = await house.ask(b"GET", url, attempt.timeouts(True), _EVENTS)
    if answer.status != 200:
        await _read(answer, None)
        raise GatewayError("broken_answer", f"The upstream's stream answered with status {answer.status}.")
    decoder, lines = Decoder(made.id), sse.Decoder()
    translator = attempt.translator = CrossStream(attempt, cast(Dialect, _Form(decoder)))
    attempt.encoder = translator.encoder
    outlet = attempt.call.outlet

    def relay(chunk: bytes) -> None:
        for event in lines.feed(chunk):  # one by one: what precedes an error is the client's
            if data := translator.feed(quoted(event)):
                outlet.stream(attempt, data)

    outlet.feed_from(answer)
    try:
        await answer.pump(relay)
        rest = b"".join([translator.feed(quoted(event)) for event in lines.close()])
    except sse.TooLong as error:
        raise GatewayError("broken_stream", f"The upstream's stream is not usable: {error}.") from None
    finally:
        outlet.feed_from(None)
        answer.close()
    if decoder.done:
        await _finish(house, made, decoder)
    if last := rest + translator.close():
        outlet.stream(attempt, last)
    attempt.usage = attempt.usage_seen()
    outlet.finish()


async def _finish(house: _House, made: Prediction, decoder: Decoder) -> None:
    """Note that the prediction is over, and its tokens. The answer is complete, whatever goes wrong here."""
    made.status = "succeeded"
    url = made.urls.get("get")
    if not url:
        return
    try:
        found = await house.look(url)
    except (GatewayError, TransportError):
        return
    decoder.usage = usage_of(found)
