"""Content blocks of Converse, of requests and answers alike, to neutral blocks.

A block with something that the neutral form has no place for is kept whole in an ``Opaque`` whose kind begins with "=",
directly before the nearest neutral block: the writer of this dialect takes the one for the other, every other dialect
reports a loss and has the neutral block. Blocks of an unknown kind (``guardContent``, ``searchResult``, a server's
``toolUse``) are an ``Opaque`` alone. A ``cachePoint`` belongs to the block before it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from msgspec import Raw
from msgspec.structs import replace

from penstock.core.dialects.bedrock.wire import DOCUMENTS, FAMILY, IMAGES, NAME, VIDEOS
from penstock.core.dialects.openai_chat.reading import (
    items,
    mapping,
    needed,
    optional_flag,
    optional_text,
    present,
    text,
)
from penstock.core.ir import (
    Audio,
    Base64,
    Block,
    CacheMark,
    Citation,
    Document,
    Image,
    Opaque,
    PlainText,
    Seal,
    Source,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Url,
    unpack_seal,
)

INSTEAD = "="  # kind prefix: all of the block that follows, as it came
_MARKED = (Text, Image, Document, ToolUse, ToolResult)
Fields = Mapping[str, Raw]


def read_blocks(raw: Raw, at: str) -> tuple[Block, ...]:
    """Read an array of content blocks. Raises ``GatewayError("bad_request")`` with the place."""
    out: list[Block] = []
    for number, item in enumerate(items(raw, at)):
        fields = mapping(item, f"{at}.{number}")
        if fields.keys() == {"cachePoint"}:
            mark = read_mark(fields["cachePoint"], f"{at}.{number}.cachePoint")
            last = out[-1] if out else None
            if mark is not None and isinstance(last, _MARKED) and last.cache is None:
                out[-1] = replace(last, cache=mark)
            else:
                out.append(Opaque(NAME, "cachePoint", bytes(item)))
        else:
            out.extend(read_block(item, fields, f"{at}.{number}"))
    return tuple(out)


def read_mark(raw: Raw, at: str) -> CacheMark | None:
    """Read a ``cachePoint``; None for one of an unknown type."""
    fields = mapping(raw, at)
    if not fields.keys() <= {"type", "ttl"} or optional_text(fields, "type", at) not in ("", "default"):
        return None
    return CacheMark(optional_text(fields, "ttl", at))


def read_block(raw: Raw, fields: Fields, at: str) -> tuple[Block, ...]:
    """Read one block that is no cachePoint."""
    known = [key for key in fields if key in _READ]
    if len(known) != 1 or len(fields) != 1:
        kind = next(iter(fields), "")
        return (Opaque(NAME, kind, bytes(raw)),)
    kind = known[0]
    if kind == "text":
        return (Text(text(fields[kind], f"{at}.text")),)
    where = f"{at}.{kind}"
    block, whole = _READ[kind](mapping(fields[kind], where), where)
    if block is None:
        return (Opaque(NAME, kind, bytes(raw)),)
    return (block,) if whole else (Opaque(NAME, INSTEAD + kind, bytes(raw)), block)


Read = tuple[Block | None, bool]  # the block, and whether it says all that the wire said


def _image(fields: Fields, at: str) -> Read:
    word = text(needed(fields, "format", at, "png, jpeg, gif or webp"), f"{at}.format")
    source, whole = _source(fields, at, IMAGES.get(word, f"image/{word}"))
    if source is None:
        return None, False
    return Image(source), whole and fields.keys() == {"format", "source"} and word in IMAGES


def _source(fields: Fields, at: str, kind: str) -> tuple[Source | None, bool]:
    inner = mapping(needed(fields, "source", at, "an object with bytes or s3Location"), f"{at}.source")
    data = present(inner, "bytes")
    if data is not None:
        return Base64(kind, text(data, f"{at}.source.bytes")), len(inner) == 1
    place = present(inner, "s3Location")
    if place is not None:
        found = mapping(place, f"{at}.source.s3Location")
        uri = text(needed(found, "uri", f"{at}.source.s3Location", "an s3:// address"), f"{at}.source.s3Location.uri")
        return Url(uri, kind), len(inner) == len(found) == 1
    return None, False


def _document(fields: Fields, at: str) -> Read:
    word = optional_text(fields, "format", at)
    source, whole = _source(fields, at, DOCUMENTS.get(word, "text/plain"))
    inner = mapping(fields["source"], f"{at}.source")
    if source is None and (words := present(inner, "text")) is not None:
        source, whole = PlainText(text(words, f"{at}.source.text")), len(inner) == 1 and word in ("", "txt")
    elif source is None and (parts := present(inner, "content")) is not None:
        source = PlainText("".join(_words(parts, f"{at}.source.content")))
    elif word not in DOCUMENTS:
        whole = False
    if source is None:
        return None, False
    cited = present(fields, "citations")
    cites = None if cited is None else optional_flag(mapping(cited, f"{at}.citations"), "enabled", f"{at}.citations")
    name, context = optional_text(fields, "name", at), optional_text(fields, "context", at)
    known = fields.keys() <= {"format", "name", "source", "context", "citations"}
    return Document(source, name, context, cites), whole and known


def _words(raw: Raw, at: str) -> list[str]:
    """Return the texts of an array of ``{"text"}``."""
    return [optional_text(mapping(item, f"{at}.{n}"), "text", f"{at}.{n}") for n, item in enumerate(items(raw, at))]


def _video(fields: Fields, at: str) -> Read:
    word = text(needed(fields, "format", at, "mp4, mov, mkv, ..."), f"{at}.format")
    source, whole = _source(fields, at, VIDEOS.get(word, f"video/{word}"))
    return (None, False) if source is None else (Document(source), whole and len(fields) == 2 and word in VIDEOS)


def _audio(fields: Fields, at: str) -> Read:
    word = text(needed(fields, "format", at, "mp3, wav, ..."), f"{at}.format")
    source, whole = _source(fields, at, word)
    if not isinstance(source, Base64):
        return None, False
    return Audio(source.data, word), whole and len(fields) == 2


def _tool_use(fields: Fields, at: str) -> Read:
    kind = optional_text(fields, "type", at)  # live answers say "tool_use" of a client's tool
    if kind not in ("", "tool_use") or not fields.keys() <= {"toolUseId", "name", "input", "type"}:
        return None, False  # a tool of the server's own
    raw = present(fields, "input")
    return ToolUse(
        text(needed(fields, "toolUseId", at, "a string"), f"{at}.toolUseId"),
        text(needed(fields, "name", at, "a string"), f"{at}.name"),
        "{}" if raw is None else bytes(raw).decode(),
    ), True


def _tool_result(fields: Fields, at: str) -> Read:
    kind = optional_text(fields, "type", at)
    if kind not in ("", "tool_result") or not fields.keys() <= {"toolUseId", "content", "status", "type"}:
        return None, False
    raw = present(fields, "content")
    out: list[Block] = []
    for number, item in enumerate(() if raw is None else items(raw, f"{at}.content")):
        where = f"{at}.content.{number}"
        inner = mapping(item, where)
        if inner.keys() == {"json"}:
            out += [Opaque(NAME, INSTEAD + "json", bytes(item)), Text(bytes(inner["json"]).decode())]
        else:
            out += read_block(item, inner, where)
    id = text(needed(fields, "toolUseId", at, "a string"), f"{at}.toolUseId")
    return ToolResult(id, tuple(out), optional_text(fields, "status", at) == "error"), True


def _reasoning(fields: Fields, at: str) -> Read:
    hidden = present(fields, "redactedContent")
    if hidden is not None:
        return Thinking("", unpack_blob(text(hidden, f"{at}.redactedContent")), redacted=True), len(fields) == 1
    raw = present(fields, "reasoningText")
    if raw is None:
        return None, False
    inner = mapping(raw, f"{at}.reasoningText")
    sealed = optional_text(inner, "signature", f"{at}.reasoningText")
    whole = len(fields) == 1 and inner.keys() <= {"text", "signature"}
    return Thinking(optional_text(inner, "text", f"{at}.reasoningText"), unpack_seal(sealed, FAMILY)), whole


_PACKED = b"penstock.seal."


def unpack_blob(data: str) -> Seal | None:
    """Return the seal in a ``redactedContent``, whose JSON is base64 of any bytes."""
    try:
        inner = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return Seal(FAMILY, data) if data else None
    return unpack_seal(inner.decode(), FAMILY) if inner.startswith(_PACKED) else unpack_seal(data, FAMILY)


def _cited(fields: Fields, at: str) -> Read:
    parts, told = present(fields, "content"), present(fields, "citations")
    words = [] if parts is None else _words(parts, f"{at}.content")
    cites = () if told is None else items(told, f"{at}.citations")
    found = tuple(read_citation(raw, f"{at}.citations.{number}") for number, raw in enumerate(cites))
    return Text("".join(words), citations=found), fields.keys() <= {"content", "citations"} and len(words) == 1


def read_citation(raw: Raw, at: str) -> Citation:
    """Read a citation. What has no neutral place (pages, characters of a document) is in ``opaque``."""
    fields = mapping(raw, at)
    place, quoted = present(fields, "location"), present(fields, "sourceContent")
    web = None if place is None else present(mapping(place, f"{at}.location"), "web")
    url = "" if web is None else optional_text(mapping(web, f"{at}.location.web"), "url", f"{at}.location.web")
    source = optional_text(fields, "source", at)
    return Citation(
        url=url or (source if source.startswith(("https://", "http://")) else ""),
        title=optional_text(fields, "title", at),
        quote="" if quoted is None else "".join(_words(quoted, f"{at}.sourceContent")),
        opaque=Opaque(NAME, "citation", bytes(raw)),
    )


def _text(fields: Fields, at: str) -> Read:
    raise AssertionError  # a text is no object; ``read_block`` reads it


_READ = {
    "text": _text,
    "image": _image,
    "document": _document,
    "video": _video,
    "audio": _audio,
    "toolUse": _tool_use,
    "toolResult": _tool_result,
    "reasoningContent": _reasoning,
    "citationsContent": _cited,
}
