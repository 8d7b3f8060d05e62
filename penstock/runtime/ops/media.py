"""Images and audio at a target: JSON or a form in; JSON, text, sound or events out, as they come.

A small form goes upstream in portions out of the body as it was received: no second copy of a file is made, for a retry
neither. A large one is passed on while it arrives, see ``upload``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import msgspec
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects import DIALECTS
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.core.mask import Lines
from penstock.core.ops import audio, forms, images
from penstock.core.ops.audio import Used
from penstock.core.price import Units
from penstock.runtime.answer import MAX_ANSWER
from penstock.runtime.call import GATEWAY_FIELDS, REFUSED_FIELDS, refused_field
from penstock.runtime.ops.upload import Body
from penstock.runtime.post import post
from penstock.runtime.same import body_of, own_fields

if TYPE_CHECKING:
    from penstock.runtime.answer import Answer
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call

_MODEL = frozenset({"model"})
_PROMPT = frozenset({"model", "prompt"})  # without which an image is not asked for
Whole = Callable[[bytes, bytes], Used]  # content type, body
_refused = DIALECTS["openai_chat"].parse_error


async def read_form(call: Call, needed: frozenset[str] = _MODEL) -> dict[str, Raw]:
    """Read a form's plain fields, in the place of a JSON body's. Of an upload with the ``needed`` ones before its file,
    those before its file. Raises "media_type" and "bad_request"."""
    exchange = call.exchange
    boundary = forms.boundary_of(exchange.headers.get(b"content-type"))
    upload = exchange.upload
    if upload is not None:
        fields = await upload.open(boundary, needed)
        if fields is not None:
            return fields
        exchange.body = upload.whole or b""
    return forms.fields_of(exchange.body, forms.parts(exchange.body, boundary))


async def read_either(call: Call) -> dict[str, Raw]:
    """Read a form's fields, or those of a JSON body: images may be sent either way. Without a content type, JSON."""
    if b"json" in call.exchange.headers.get(b"content-type", b"json").lower():
        return open_body(call.exchange.body)
    return await read_form(call, _PROMPT)


class FormBody:
    """A form for ``Pool.send``. ``size``: in bytes."""

    def __init__(self, pieces: list[memoryview]) -> None:
        self._pieces = pieces
        self.size = sum(map(len, pieces))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for portion in forms.chunks(self._pieces):
            yield cast(bytes, portion)  # a transport takes either


async def images_generations(attempt: Attempt) -> None:
    """Make one try at /v1/images/generations."""
    body = body_of(own_fields(attempt), attempt)
    await _relay(attempt, "images_generations", body, _pictures(attempt))


async def images_edits(attempt: Attempt) -> None:
    """Make one try at /v1/images/edits."""
    await _sent(attempt, "images_edits", _pictures(attempt))


async def speech(attempt: Attempt) -> None:
    """Make one try at /v1/audio/speech."""
    attempt.units = audio.spoken(attempt.fields)
    await _relay(attempt, "audio_speech", body_of(own_fields(attempt), attempt), None)


async def transcriptions(attempt: Attempt) -> None:
    """Make one try at /v1/audio/transcriptions."""
    await _sent(attempt, "audio_transcriptions", _heard(attempt.call))


async def translations(attempt: Attempt) -> None:
    """Make one try at /v1/audio/translations."""
    await _sent(attempt, "audio_translations", _heard(attempt.call))


def _pictures(attempt: Attempt) -> Whole:
    def read(content_type: bytes, body: bytes) -> Used:
        return Used(*images.read(body, attempt.fields))

    return read


def _heard(call: Call) -> Whole:
    """Make a reader of what a transcription used: the upstream's word on seconds or tokens, else the length that a WAV
    file's own head tells."""

    def read(content_type: bytes, body: bytes) -> Used:
        used = audio.heard(content_type, body)
        if used.usage is not None or used.units is not None:
            return used
        file = _file(call)
        length = audio.wav_seconds(*file) if file is not None else None
        return Used(units=Units(seconds=length)) if length is not None else used

    return read


def _file(call: Call) -> tuple[memoryview, int] | None:
    """Find the file of a form: its bytes, or the first of them, and its length."""
    upload = call.exchange.upload
    if upload is not None and upload.streams:
        begins = upload.file()
        return (memoryview(begins[0]), begins[1]) if begins is not None else None
    whole = call.exchange.body
    found = forms.parts(whole, forms.boundary_of(call.exchange.headers.get(b"content-type")))
    file = forms.file_of(found, "file")
    return (memoryview(whole)[file.start : file.end], file.end - file.start) if file is not None else None


async def _sent(attempt: Attempt, what: str, whole: Whole) -> None:
    """Send a form, or JSON, as the client sent it, under the upstream's name of the model."""
    target, exchange = attempt.target, attempt.call.exchange
    content_type = exchange.headers.get(b"content-type", b"application/json")
    if b"json" in content_type.lower():
        body: bytes | FormBody | Body = body_of(own_fields(attempt), attempt)
        content_type = b"application/json"
    else:
        said = {**target.extra_body, **target.defaults}
        adds = {key: _plain(raw) for key, raw in said.items() if key not in attempt.fields}
        adds.pop("model", None)
        changes = {"model": target.model.encode()}
        leave = GATEWAY_FIELDS | frozenset(target.drop)
        upload = exchange.upload
        if upload is not None and upload.streams:
            body = upload.body(changes, adds, leave.union(REFUSED_FIELDS), partial(_late, attempt))
        else:
            boundary = forms.boundary_of(content_type)
            found = forms.parts(exchange.body, boundary)
            body = FormBody(forms.rewritten(exchange.body, boundary, found, {**adds, **changes}, leave))
    await _relay(attempt, what, body, whole, b"content-type: %b\r\n" % content_type)


def _late(attempt: Attempt, fields: dict[str, Raw]) -> None:
    """Take over the fields of a streamed form when all of them are known: those behind its file could not be acted on
    before."""
    for name in REFUSED_FIELDS:
        if name in fields:
            raise refused_field(name)
    attempt.send_fields({**attempt.fields, **fields})
    attempt.stream = attempt.stream or fields.get("stream") == Raw(b"true")


def _plain(raw: Raw) -> bytes:
    value = msgspec.json.decode(raw)
    return value.encode() if isinstance(value, str) else bytes(raw)


async def _relay(
    attempt: Attempt, what: str, body: bytes | FormBody | Body, whole: Whole | None, extra: bytes = b""
) -> None:
    """Pass on the answer as it comes. ``whole`` reads what a whole answer used; None: it is sound, which is not held
    here."""
    attempt.lane = "same"
    target, outlet = attempt.target, attempt.call.outlet
    timeouts = attempt.timeouts(attempt.stream or whole is None)
    if not isinstance(body, bytes | FormBody):  # an upload takes as long as its sides make it take
        timeouts = msgspec.structs.replace(timeouts, total=None)
    answer = await post(attempt, target.endpoint(what), body, _refused, extra=extra, timeouts=timeouts)
    try:
        content_type = answer.header(b"content-type") or b"application/octet-stream"
        if whole is None or b"event-stream" in content_type:
            await _stream(attempt, answer, content_type)
            return
        data = await answer.read(MAX_ANSWER, attempt.call.room)
        _used(attempt, whole(content_type, data))
        attempt.stop()
        if outlet.responded:  # a stream was asked for, and its first sign of life is out
            outlet.stream(attempt, sse.encode(data))
            outlet.finish()
        else:
            outlet.whole(attempt, data, content_type)
    finally:
        answer.close()


async def _stream(attempt: Attempt, answer: Answer, content_type: bytes) -> None:
    """Relay bytes as they come; of events, what they tell of usage is read on the way."""
    call = attempt.call
    outlet = call.outlet
    events = sse.Decoder() if b"event-stream" in content_type else None
    lines = None if events is None else Lines(lambda: call.known.mask)
    attempt.binary = events is None

    def relay(chunk: bytes) -> None:
        if lines is not None:
            chunk = lines.feed(chunk)
        if chunk:
            send(chunk)

    def send(chunk: bytes) -> None:
        if not outlet.responded:
            outlet.claim(attempt)
            attempt.begun(call.means.clock())
            outlet.begin(call, content_type)
        outlet.stream(attempt, chunk)
        for event in events.feed(chunk) if events is not None else ():
            if b'"usage"' in event.data:
                _used(attempt, audio.used(event.data))

    outlet.feed_from(answer)
    try:
        await answer.pump(relay)
        if lines is not None and (rest := lines.close()):
            send(rest)
    except sse.TooLong as error:
        raise GatewayError("broken_stream", f"The upstream's stream is not usable: {error}.") from None
    finally:
        outlet.feed_from(None)
    if attempt.first_at is None:
        raise GatewayError("broken_answer", "The upstream's answer is empty.")
    outlet.finish()


def _used(attempt: Attempt, used: Used) -> None:
    attempt.usage = used.usage or attempt.usage
    attempt.units = used.units or attempt.units
