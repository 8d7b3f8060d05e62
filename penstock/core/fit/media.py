"""The types of images, files and sounds, in the spelling that every API takes, and those that no spelling helps.

Clients say ``image/jpg``, ``Image/PNG;charset=utf-8``, ``application/octet-stream`` or nothing, name a JPEG a PNG (400
"The image was specified using the image/png media type, but the image appears to be a image/jpeg image"), and send a
PDF as an image. The bytes themselves say what they are.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from msgspec.structs import replace

from penstock.core.fit.base import Takes, Undo
from penstock.core.ir import Audio, Base64, Block, Document, Image, Loss, Message, Request, Text, ToolResult, Url

_SPELLINGS = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "application/x-pdf": "application/pdf",
    "text/x-markdown": "text/markdown",
    "audio/mp3": "audio/mpeg",
}
_UNKNOWN = frozenset(("", "application/octet-stream", "binary/octet-stream", "image/*", "application/*"))
_SOUNDS = {
    "mpeg": "mp3",
    "mpga": "mp3",
    "x-mp3": "mp3",
    "mpeg3": "mp3",
    "x-wav": "wav",
    "wave": "wav",
    "vnd.wave": "wav",
    "x-pn-wav": "wav",
    "x-flac": "flac",
    "x-m4a": "m4a",
    "x-aac": "aac",
}
_ENDINGS = {"jpg": "jpeg"}
_HEAD = 32  # characters of base64 that are looked at
_MAGIC: tuple[tuple[bytes, int, bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, b"", "image/png"),
    (b"\xff\xd8\xff", 0, b"", "image/jpeg"),
    (b"GIF8", 0, b"", "image/gif"),
    (b"RIFF", 8, b"WEBP", "image/webp"),
    (b"RIFF", 8, b"WAVE", "audio/wav"),
    (b"%PDF-", 0, b"", "application/pdf"),
    (b"ID3", 0, b"", "audio/mpeg"),
    (b"\xff\xfb", 0, b"", "audio/mpeg"),
    (b"fLaC", 0, b"", "audio/flac"),
    (b"OggS", 0, b"", "audio/ogg"),
    (b"BM", 6, b"\0\0\0\0", "image/bmp"),
    (b"II*\0", 0, b"", "image/tiff"),
    (b"MM\0*", 0, b"", "image/tiff"),
)
_Fit = Callable[[Block, str], Block]


def fit_media(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Spell the types of media. An image of a type that the API does not take is lost."""
    if request.dialect == takes.dialect:
        return request, None

    def fit(block: Block, at: str) -> Block:
        return _block(block, at, takes, losses)

    messages = tuple(_message(message, f"messages.{turn}", fit) for turn, message in enumerate(request.messages))
    return (request if messages == request.messages else replace(request, messages=messages)), None


def _message(message: Message, at: str, fit: _Fit) -> Message:
    blocks = tuple(fit(block, f"{at}.blocks.{number}") for number, block in enumerate(message.blocks))
    return message if blocks == message.blocks else replace(message, blocks=blocks)


def _block(block: Block, at: str, takes: Takes, losses: list[Loss]) -> Block:
    if isinstance(block, ToolResult):
        parts = block.content
        told = tuple(_block(part, f"{at}.content.{number}", takes, losses) for number, part in enumerate(parts))
        return block if told == parts else replace(block, content=told)
    if isinstance(block, Audio):
        form = sound_of(block)
        return block if form == block.format else replace(block, format=form)
    if not isinstance(block, (Image, Document)):
        return block
    source = block.source
    if isinstance(source, Url) and source.url[:5].lower() == "data:":
        source = _inline(source)
    if not isinstance(source, Base64):
        return block
    kind = type_of(source)
    if kind != source.media_type or source is not block.source:
        block = replace(block, source=Base64(kind, source.data))
    return _in_its_place(block, kind, at, takes, losses)


def _in_its_place(block: Image | Document, kind: str, at: str, takes: Takes, losses: list[Loss]) -> Block:
    """Make a document of a file that came as an image, and the other way round; leave out an image of a type that the
    API does not take."""
    if isinstance(block, Document) and kind in _IMAGES and not block.context and block.citations is None:
        if block.name:
            losses.append(Loss(f"{at}.name", "an image has no name"))
        block = Image(block.source, cache=block.cache)
    elif isinstance(block, Image) and (kind == "application/pdf" or kind.startswith("text/")):
        return Document(block.source, cache=block.cache)
    images = takes.limits.images
    if isinstance(block, Image) and images and kind not in images:
        losses.append(Loss(at, f"images of type {kind or 'unknown'} are not taken: {', '.join(sorted(images))} are"))
        return Text("")
    return block


_IMAGES = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp"))


def type_of(source: Base64) -> str:
    """Return the type of inline bytes, by themselves where they tell it, else as it was given."""
    given = source.media_type.partition(";")[0].strip().lower()
    given = _SPELLINGS.get(given, given)
    if given not in _UNKNOWN and not given.startswith("image/"):
        return given
    return _seen(source.data) or ("" if given in _UNKNOWN and given != "application/octet-stream" else given)


def sound_of(sound: Audio) -> str:
    """Return the format of a sound, without the type around it ("audio/x-wav" is "wav")."""
    form = sound.format.partition(";")[0].strip().lower().removeprefix("audio/")
    if not form:
        form = _seen(sound.data).removeprefix("audio/")
    return _SOUNDS.get(form, form) or sound.format


def _seen(data: str) -> str:
    """Recognize a file by its first bytes; "" for none that is known."""
    try:
        head = base64.b64decode(data[:_HEAD] + "=" * (-len(data[:_HEAD]) % 4))
    except (binascii.Error, ValueError):
        return ""
    for start, at, inner, kind in _MAGIC:
        if head.startswith(start) and head[at : at + len(inner)] == inner:
            return kind
    return ""


def _inline(source: Url) -> Base64 | Url:
    """Take the bytes out of a ``data:`` address."""
    head, comma, data = source.url[5:].partition(",")
    kind, semicolon, coding = head.rpartition(";")
    if not comma or coding.strip().lower() != "base64":
        return source
    return Base64(kind if semicolon else "", data)
