"""Content parts of Chat messages: text, image_url, input_audio, file, refusal, thinking; read and written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from penstock.core.dialects.openai_chat.names import NAME, PART, THOUGHT_FAMILY
from penstock.core.dialects.openai_chat.reading import (
    absent,
    exactly,
    mapping,
    mappings,
    needed,
    opens,
    optional_text,
    present,
    text,
)
from penstock.core.ir import (
    Audio,
    Base64,
    Block,
    CacheMark,
    Document,
    FileId,
    Image,
    Opaque,
    Refusal,
    Source,
    Text,
    Thinking,
    Url,
    unpack_seal,
)

# A file part says its type only by the data URI or the name; OpenAI takes PDFs, so that is what an untyped one is.
MEDIA_BY_ENDING = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "json": "application/json",
    "html": "text/html",
}
NAME_BY_MEDIA = {media: f"document.{ending}" for ending, media in MEDIA_BY_ENDING.items()}


def source_of(url: str) -> Base64 | Url:
    """Read a URL: a ``data:...;base64,`` one is inline bytes, anything else a reference."""
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        media_type, _, coding = head.rpartition(";")
        if coding == "base64":
            return Base64(media_type, data)
    return Url(url)


def data_uri(source: Base64) -> str:
    return f"data:{source.media_type};base64,{source.data}"


def cache_mark(raw: Raw, path: str) -> CacheMark | None:
    """Read LiteLLM's and OpenRouter's ``cache_control`` on a part; None when it is not of the known form."""
    fields = mapping(raw, path)
    if optional_text(fields, "type", path) != "ephemeral" or not fields.keys() <= {"type", "ttl"}:
        return None
    return CacheMark(optional_text(fields, "ttl", path))


def read_content(raw: Raw, path: str) -> list[Block]:
    """Read a ``content``: a string or an array of parts. What a part has beyond known fields follows it, as
    ``Opaque``."""
    if opens(raw, '"'):
        return [Text(text(raw, path))]
    out: list[Block] = []
    exact = exactly(raw)
    for place, part in enumerate(mappings(raw, path)):
        if not _read_part(part, f"{path}[{place}]", out):
            out.append(Opaque(NAME, optional_text(part, "type", path), exact(place)))
    return out


def _read_part(part: dict[str, Raw], path: str, out: list[Block]) -> bool:
    """Read a part into ``out``; False for one of an unknown type."""
    kind = text(needed(part, "type", path, 'the type of the content part, such as "text"'), f"{path}.type")
    reader = _READERS.get(kind)
    if reader is None:
        return False
    mark = None
    raw = present(part, "cache_control")
    if raw is not None:
        mark = cache_mark(raw, f"{path}.cache_control")
    known, read, cacheable = reader
    block, whole = read(part, path, mark)
    out.append(block)
    if len(part) == 2 and whole:
        return True
    for key, value in part.items():
        if key == "type" or absent(value) or (key in known and (whole or key != known[0])):
            continue
        if key != "cache_control" or mark is None or not cacheable:
            out.append(Opaque(NAME, PART + key, bytes(value)))
    return True


_Read = Callable[[dict[str, Raw], str, "CacheMark | None"], "tuple[Block, bool]"]  # False: the value holds more


def _text(part: dict[str, Raw], path: str, mark: CacheMark | None) -> tuple[Block, bool]:
    return Text(text(needed(part, "text", path, "a string"), f"{path}.text"), mark), True


def _refusal(part: dict[str, Raw], path: str, mark: CacheMark | None) -> tuple[Block, bool]:
    return Refusal(text(needed(part, "refusal", path, "a string"), f"{path}.refusal")), True


def _image(part: dict[str, Raw], path: str, mark: CacheMark | None) -> tuple[Block, bool]:
    raw = needed(part, "image_url", path, "an object with a url")
    path += ".image_url"
    if opens(raw, '"'):  # LiteLLM's callers also send the bare URL
        return Image(source_of(text(raw, path)), "", mark), True
    fields = mapping(raw, path)
    source = source_of(text(needed(fields, "url", path, "a URL or a data URI"), f"{path}.url"))
    return Image(source, optional_text(fields, "detail", path), mark), fields.keys() <= {"url", "detail"}


def _audio(part: dict[str, Raw], path: str, mark: CacheMark | None) -> tuple[Block, bool]:
    raw = needed(part, "input_audio", path, "an object with data and format")
    path += ".input_audio"
    fields = mapping(raw, path)
    data = text(needed(fields, "data", path, "base64 data"), f"{path}.data")
    form = text(needed(fields, "format", path, '"wav" or "mp3"'), f"{path}.format")
    return Audio(data, form), len(fields) == 2


def _file(part: dict[str, Raw], path: str, mark: CacheMark | None) -> tuple[Block, bool]:
    raw = needed(part, "file", path, "an object with file_data or file_id")
    path += ".file"
    fields = mapping(raw, path)
    name = optional_text(fields, "filename", path)
    data, id = optional_text(fields, "file_data", path), optional_text(fields, "file_id", path)
    source: Source
    if not data and not id:
        needed(fields, "file_data", path, "a data URI (or give a file_id)")
    if data:
        source = source_of(data)
        if isinstance(source, Url) and "://" not in data:  # bare base64, as the reference also allows
            source = Base64(MEDIA_BY_ENDING.get(name.rpartition(".")[2].lower(), "application/pdf"), data)
    elif "://" in id:  # LiteLLM's callers put URLs here
        source = Url(id)
    else:
        source = FileId("openai", id)
    return Document(source, name, cache=mark), fields.keys() <= {"filename", "file_data", "file_id"}


def _thinking(part: dict[str, Raw], path: str, mark: CacheMark | None) -> tuple[Block, bool]:
    raw = needed(part, "thinking", path, "a string or an array of text parts")
    if opens(raw, '"'):
        body = text(raw, f"{path}.thinking")
    else:  # Mistral's reasoning models
        inner = read_content(raw, f"{path}.thinking")
        body = "".join(block.text for block in inner if isinstance(block, Text))
    return Thinking(body, unpack_seal(optional_text(part, "signature", path), THOUGHT_FAMILY)), True


# Known fields (the first holds the value), the reader, and whether the block can carry a cache mark.
_READERS: dict[str, tuple[tuple[str, ...], _Read, bool]] = {
    "text": (("text",), _text, True),
    "refusal": (("refusal",), _refusal, False),
    "image_url": (("image_url",), _image, True),
    "input_audio": (("input_audio",), _audio, False),
    "file": (("file",), _file, True),
    "thinking": (("thinking", "signature"), _thinking, False),
}


def text_part(body: str) -> dict[str, Any]:
    return {"type": "text", "text": body}


def image_part(source: Base64 | Url, detail: str) -> dict[str, Any]:
    url = data_uri(source) if isinstance(source, Base64) else source.url
    return {"type": "image_url", "image_url": {"url": url, "detail": detail} if detail else {"url": url}}


def file_part(source: Base64 | FileId, name: str) -> dict[str, Any]:
    if isinstance(source, FileId):
        inner = {"file_id": source.id}
        if name:
            inner["filename"] = name
    else:  # the vendor refuses file_data without a name
        inner = {"filename": name or NAME_BY_MEDIA.get(source.media_type, "document"), "file_data": data_uri(source)}
    return {"type": "file", "file": inner}


NO_MARKS = "there are no marks for prompt caches here"


def cache_control(mark: CacheMark) -> dict[str, str]:
    return {"type": "ephemeral", "ttl": mark.ttl} if mark.ttl else {"type": "ephemeral"}
