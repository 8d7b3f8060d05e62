"""/v1/audio: speech from text, text from speech. Sound and text pass as they are; what they cost is read.

Reference: platform.openai.com/docs/api-reference/audio. Speech is billed by the character or by tokens, a transcription
by the second or by tokens; ``whisper-1`` tells seconds, subtitles end with the time of their last line.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from decimal import Decimal

from msgspec import Raw, Struct
from msgspec.json import Decoder

from penstock.core.dialects.openai_chat.errors import error_in_answer
from penstock.core.dialects.openai_chat.reading import needed, present, text
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.core.money import number
from penstock.core.price import Units


class _Details(Struct, gc=False):
    audio_tokens: int | None = None


class _Counts(Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None
    input_token_details: _Details | None = None


class _Event(Struct, gc=False):
    usage: _Counts | None = None
    duration: float | str | None = None


_EVENT = Decoder(_Event, strict=False).decode
_TOP = Decoder(dict[str, Raw]).decode
_STAMP = re.compile(rb"-->\s*(?:(\d+):)?(\d+):(\d+)[.,](\d+)")


def check_speech(fields: Mapping[str, Raw]) -> None:
    """Check the text. Raises "bad_request" without one. A voice is the upstream's to ask for: some have a default."""
    text(needed(fields, "input", "", "a text"), "input")


def spoken(fields: Mapping[str, Raw]) -> Units:
    """Count what a speech is billed by: its characters."""
    return Units(characters=len(text(fields["input"], "input")))


class Used(Struct, frozen=True):
    usage: Usage | None = None
    units: Units | None = None


def used(data: bytes) -> Used:
    """Read what a JSON answer, or an event of a stream, says it used."""
    try:
        told = _EVENT(data)
    except BAD_JSON:
        return Used()
    counts = told.usage
    if counts is not None and (counts.input_tokens is not None or counts.output_tokens is not None):
        sound = counts.input_token_details.audio_tokens if counts.input_token_details else None
        fresh = counts.input_tokens or 0
        return Used(Usage(fresh=fresh, output=counts.output_tokens or 0, audio_in=min(sound or 0, fresh)))
    seconds = counts.seconds if counts is not None and counts.seconds is not None else told.duration
    length = number(seconds)
    return Used(units=Units(seconds=length)) if length is not None else Used()


def heard(content_type: bytes, body: bytes) -> Used:
    """Read what a transcription used. Raises "broken_answer" for JSON that is none, and the error of a 200 that carries
    one."""
    if b"json" not in content_type:
        stamps = _STAMP.findall(body)
        if not stamps:
            return Used()
        hours, minutes, seconds, parts = stamps[-1]
        length = Decimal(int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)) + Decimal("0." + parts.decode())
        return Used(units=Units(seconds=length))
    try:
        top = _TOP(body)
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is no transcription: {error}.") from None
    if "text" not in top and (told := present(top, "error")) is not None:
        raise error_in_answer(told)
    return used(body)


def wav_seconds(data: memoryview, whole: int | None = None) -> Decimal | None:
    """Read the length of a WAV file from its head: what is billed where an upstream answers plain text. None for every
    other format. ``whole``: the file's size in bytes, where ``data`` is only its beginning."""
    if bytes(data[:4]) != b"RIFF" or bytes(data[8:12]) != b"WAVE":
        return None
    at, rate = 12, 0
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"fmt " and size >= 12 and at + 20 <= len(data):
            rate = struct.unpack_from("<I", data, at + 16)[0]
        elif name == b"data":
            # A file that was streamed has no length in its head.
            size = min(size, (len(data) if whole is None else whole) - at - 8)
            return (Decimal(size) / rate).quantize(Decimal("0.001")) if rate else None
        at += 8 + size + size % 2
    return None
