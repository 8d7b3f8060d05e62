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
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.core.ops import audio, forms, images
from penstock.core.ops.audio import Used
from penstock.core.price import Units
from penstock.runtime import outlet
from penstock.runtime.call import GATEWAY_FIELDS, REFUSED_FIELDS, refused_field
from penstock.runtime.ops.ask import MAX_ANSWER, own_fields, sealed, send
from penstock.runtime.ops.upload import Body

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.http import Pool, Response
    from penstock.runtime.targets import Target

_MODEL = frozenset({"model"})
_PROMPT = frozenset({"model", "prompt"})  # without which an image is not asked for
Whole = Callable[[bytes, bytes], Used]  # content type, body


async def read_form(exchange: Exchange, needed: frozenset[str] = _MODEL) -> dict[str, Raw]:
    """A form's plain fields, in the place of a JSON body's. Of an upload with the ``needed`` ones before its file,
    those before its file. Raises "media_type" and "bad_request"."""
    boundary = forms.boundary_of(exchange.headers.get(b"content-type"))
    upload = exchange.upload
    if upload is not None:
        fields = await upload.open(boundary, needed)
        if fields is not None:
            return fields
        exchange.body = upload.whole or b""
    return forms.fields_of(exchange.body, forms.parts(exchange.body, boundary))


async def read_either(exchange: Exchange) -> dict[str, Raw]:
    """A form's, or those of a JSON body: images may be sent either way. Without a content type, JSON."""
    if b"json" in exchange.headers.get(b"content-type", b"json").lower():
        return open_body(exchange.body)
    return await read_form(exchange, _PROMPT)


class FormBody:
    """A form for ``Pool.send``. ``size``: in bytes."""

    def __init__(self, pieces: list[memoryview]) -> None:
        self._pieces = pieces
        self.size = sum(map(len, pieces))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for portion in forms.chunks(self._pieces):
            yield cast(bytes, portion)  # a transport takes either


async def images_generations(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /v1/images/generations."""
    body = sealed(own_fields(call, target), target)
    await _relay(pool, call, target, "images_generations", body, _pictures(call))


async def images_edits(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /v1/images/edits."""
    await _sent(pool, call, target, "images_edits", _pictures(call))


async def speech(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /v1/audio/speech."""
    call.units = audio.spoken(call.fields)
    body = sealed(own_fields(call, target), target)
    await _relay(pool, call, target, "audio_speech", body, None)


async def transcriptions(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /v1/audio/transcriptions."""
    await _sent(pool, call, target, "audio_transcriptions", _heard(call))


async def translations(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /v1/audio/translations."""
    await _sent(pool, call, target, "audio_translations", _heard(call))


def _pictures(call: Call) -> Whole:
    def read(content_type: bytes, body: bytes) -> Used:
        return Used(*images.read(body, call.fields))

    return read


def _heard(call: Call) -> Whole:
    """The upstream's word on seconds or tokens, else the length that a WAV file's own head tells."""

    def read(content_type: bytes, body: bytes) -> Used:
        used = audio.heard(content_type, body)
        if used.usage is not None or used.units is not None:
            return used
        file = _file(call)
        length = audio.wav_seconds(*file) if file is not None else None
        return Used(units=Units(seconds=length)) if length is not None else used

    return read


def _file(call: Call) -> tuple[memoryview, int] | None:
    """The file of a form, or its first bytes, and its length."""
    upload = call.exchange.upload
    if upload is not None and upload.streams:
        begins = upload.file()
        return (memoryview(begins[0]), begins[1]) if begins is not None else None
    whole = call.exchange.body
    found = forms.parts(whole, forms.boundary_of(call.exchange.headers.get(b"content-type")))
    file = forms.file_of(found, "file")
    return (memoryview(whole)[file.start : file.end], file.end - file.start) if file is not None else None


async def _sent(pool: Pool, call: Call, target: Target, what: str, whole: Whole) -> None:
    """A form, or JSON, as the client sent it, under the upstream's name of the model."""
    content_type = call.exchange.headers.get(b"content-type", b"application/json")
    if b"json" in content_type.lower():
        body: bytes | FormBody | Body = sealed(own_fields(call, target), target)
        content_type = b"application/json"
    else:
        adds = {key: _plain(raw) for key, raw in target.defaults.items() if key not in call.fields}
        adds.pop("model", None)
        changes = {"model": target.model.encode()}
        leave = GATEWAY_FIELDS | frozenset(target.drop)
        upload = call.exchange.upload
        if upload is not None and upload.streams:
            body = upload.body(changes, adds, leave.union(REFUSED_FIELDS), partial(_late, call))
        else:
            boundary = forms.boundary_of(content_type)
            found = forms.parts(call.exchange.body, boundary)
            body = FormBody(forms.rewritten(call.exchange.body, boundary, found, {**adds, **changes}, leave))
    extra = b"content-type: %b\r\n" % content_type
    await _relay(pool, call, target, what, body, whole, extra)


def _late(call: Call, fields: dict[str, Raw]) -> None:
    """The fields of a streamed form when all of them are known: those behind its file could not be acted on before."""
    for name in REFUSED_FIELDS:
        if name in fields:
            raise refused_field(name)
    call.fields.update(fields)
    call.stream = call.stream or fields.get("stream") == Raw(b"true")


def _plain(raw: Raw) -> bytes:
    value = msgspec.json.decode(raw)
    return value.encode() if isinstance(value, str) else bytes(raw)


async def _relay(
    pool: Pool,
    call: Call,
    target: Target,
    what: str,
    body: bytes | FormBody | Body,
    whole: Whole | None,
    extra: bytes = b"",
) -> None:
    """The answer as it comes. ``whole`` reads what a whole answer used; None: it is sound, which is not held here."""
    call.lane = "same"
    sent = call.sent_at = call.clock()
    timeouts = target.stream_timeouts if call.stream or whole is None else target.timeouts
    if not isinstance(body, bytes | FormBody):  # an upload takes as long as its sides make it take
        timeouts = msgspec.structs.replace(timeouts, total=None)
    answer: Response | None = None
    try:
        answer = await send(pool, call, target, what, body, extra=extra, timeouts=timeouts)
        content_type = answer.header(b"content-type") or b"application/octet-stream"
        if whole is None or b"event-stream" in content_type:
            await _stream(call, answer, content_type)
            return
        data = await answer.read(MAX_ANSWER)
        _settle(call, whole(content_type, data))
        call.upstream += call.clock() - sent
        call.first_at = call.clock()
        if call.exchange.responded:  # a stream was asked for, and its first sign of life is out
            call.exchange.write(sse.encode(data))
            call.exchange.finish()
        else:
            outlet.send_whole(call, data, content_type)
    finally:
        if call.first_at is None:
            call.upstream += call.clock() - sent
        if answer is not None:
            answer.close()


async def _stream(call: Call, answer: Response, content_type: bytes) -> None:
    """Bytes as they come; of events, what they tell of usage is read on the way."""
    exchange = call.exchange
    events = sse.Decoder() if b"event-stream" in content_type else None
    call.binary = events is None

    def relay(chunk: bytes) -> None:
        if call.first_at is None:
            call.first_at = call.clock()
            call.upstream += call.first_at - call.sent_at
            if not exchange.responded:
                outlet.begin_stream(call, content_type)
        exchange.write(chunk)
        for event in events.feed(chunk) if events is not None else ():
            if b'"usage"' in event.data:
                _settle(call, audio.used(event.data))

    exchange.feed_from(answer)
    try:
        await answer.pump(relay)
    except sse.TooLong as error:
        raise GatewayError("broken_stream", f"The upstream's stream is not usable: {error}.") from None
    finally:
        exchange.feed_from(None)
    if call.first_at is None:
        raise GatewayError("broken_answer", "The upstream's answer is empty.")
    exchange.finish()


def _settle(call: Call, used: Used) -> None:
    call.usage = used.usage or call.usage
    call.units = used.units or call.units
