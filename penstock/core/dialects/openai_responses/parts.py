"""Content parts of Responses messages and tool outputs, read and written: input_text, output_text, refusal,
input_image, input_file, input_audio.

What a part has beyond its known fields stands before its block as one ``Opaque`` (see ``names.PART_FIELDS``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.openai_chat.parts import MEDIA_BY_ENDING, NAME_BY_MEDIA, data_uri, source_of
from penstock.core.dialects.openai_chat.reading import (
    absent,
    items,
    mapping,
    needed,
    opens,
    optional_text,
    present,
    text,
    wrong,
)
from penstock.core.dialects.openai_responses.names import FAMILY, NAME, PART, PART_FIELDS
from penstock.core.ir import (
    Audio,
    Base64,
    Block,
    Citation,
    Document,
    FileId,
    Image,
    Opaque,
    Refusal,
    Source,
    Text,
    Url,
)

_FIELDS = Decoder(dict[str, Raw]).decode
_EMPTY = (b"[]", b"{}")


def read_content(raw: Raw, path: str) -> list[Block]:
    """Read a ``content`` or ``output``: a string or an array of parts."""
    if opens(raw, '"'):
        return [Text(text(raw, path))]
    if not opens(raw, "["):
        raise wrong(path, raw, "a string or an array of content parts")
    out: list[Block] = []
    for place, part in enumerate(items(raw, path)):
        read_part(part, f"{path}[{place}]", out)
    return out


def read_part(raw: Raw, path: str, out: list[Block]) -> None:
    """Read one part, and append it to ``out``."""
    part = mapping(raw, path)
    kind = text(needed(part, "type", path, 'the type of the content part, such as "input_text"'), f"{path}.type")
    found = _READERS.get(kind)
    if found is None:
        out.append(Opaque(NAME, PART + kind, bytes(raw)))
        return
    known, read = found
    block = read(part, path)
    if block is None:
        out.append(Opaque(NAME, PART + kind, bytes(raw)))
        return
    if len(part) > 1 + (known[0] in part):
        rest = left_over(part, known)
        if rest:
            out.append(beside(PART_FIELDS, rest))
    out.append(block)


def left_over(fields: dict[str, Raw], known: tuple[str, ...]) -> dict[str, Raw]:
    """Return the fields that were not read. Nulls, empty arrays and empty objects say nothing."""
    return {
        key: value
        for key, value in fields.items()
        if key != "type" and key not in known and not absent(value) and bytes(memoryview(value)[:3]) not in _EMPTY
    }


def beside(lead: str, rest: dict[str, Raw]) -> Opaque:
    return Opaque(NAME, lead + ",".join(rest), encode(rest))


def fields_of(opaque: Opaque) -> dict[str, Raw]:
    """Return the fields that were kept beside an item or a part."""
    return _FIELDS(opaque.raw)


# The readers: None means that the part has a shape of its own and is kept whole. --------------------------------------


def _text(part: dict[str, Raw], path: str) -> Block | None:
    body = text(needed(part, "text", path, "a string"), f"{path}.text")
    raw = present(part, "annotations")
    if raw is None or bytes(raw) == b"[]":
        return Text(body)
    cited = [read_citation(one, f"{path}.annotations[{n}]") for n, one in enumerate(items(raw, f"{path}.annotations"))]
    return Text(body, citations=tuple(cited))


def read_citation(raw: Raw, path: str) -> Citation:
    """Read an annotation. The plain ``url_citation`` needs no copy of itself to be given back."""
    fields = mapping(raw, path)
    kind = optional_text(fields, "type", path)
    if kind != "url_citation":
        return Citation(title=optional_text(fields, "filename", path), opaque=Opaque(NAME, kind, bytes(raw)))
    start, end = _index(fields, "start_index"), _index(fields, "end_index")
    plain = fields.keys() <= {"type", "url", "title", "start_index", "end_index"} and start >= 0 <= end
    url, title = optional_text(fields, "url", path), optional_text(fields, "title", path)
    return Citation(url, title, "", start, end, None if plain and url else Opaque(NAME, kind, bytes(raw)))


_INT = Decoder(int, strict=False).decode


def _index(fields: dict[str, Raw], key: str) -> int:
    raw = present(fields, key)
    return _INT(raw) if raw is not None and memoryview(raw)[0] in b"0123456789" else -1


def _refusal(part: dict[str, Raw], path: str) -> Block | None:
    return Refusal(text(needed(part, "refusal", path, "a string"), f"{path}.refusal"))


def _image(part: dict[str, Raw], path: str) -> Block | None:
    detail = optional_text(part, "detail", path)
    raw = present(part, "image_url")
    if raw is None:
        id = optional_text(part, "file_id", path)
        if not id:
            needed(part, "image_url", path, "a URL or a data URI (or give a file_id)")
        return Image(FileId(FAMILY, id), detail)
    if opens(raw, "{"):  # Chat's form, which clients that were ported carry along
        inner = mapping(raw, f"{path}.image_url")
        url = text(needed(inner, "url", f"{path}.image_url", "a URL or a data URI"), f"{path}.image_url.url")
        return Image(source_of(url), detail or optional_text(inner, "detail", path))
    if not absent(part.get("file_id")):
        return None
    return Image(source_of(text(raw, f"{path}.image_url")), detail)


def _file(part: dict[str, Raw], path: str) -> Block | None:
    name = optional_text(part, "filename", path)
    given = [key for key in ("file_data", "file_id", "file_url") if not absent(part.get(key))]
    if not given:
        needed(part, "file_data", path, "a data URI (or give a file_id or a file_url)")
    if len(given) > 1:
        return None
    value = optional_text(part, given[0], path)
    source: Source
    if given[0] == "file_url":
        source = Url(value)
    elif given[0] == "file_id":
        source = FileId(FAMILY, value)
    else:
        source = source_of(value)
        if isinstance(source, Url):  # bare base64, as the reference also allows
            source = Base64(MEDIA_BY_ENDING.get(name.rpartition(".")[2].lower(), "application/pdf"), value)
    return Document(source, name)


def _audio(part: dict[str, Raw], path: str) -> Block | None:
    inner = mapping(needed(part, "input_audio", path, "an object with data and format"), f"{path}.input_audio")
    path += ".input_audio"
    data = text(needed(inner, "data", path, "base64 data"), f"{path}.data")
    form = text(needed(inner, "format", path, '"wav" or "mp3"'), f"{path}.format")
    return Audio(data, form) if len(inner) == 2 else None


# Type to the fields that are read, the main one first. ``text`` is Chat's word, which ported clients send.
_READERS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Raw], str], Block | None]]] = {
    "input_text": (("text",), _text),
    "output_text": (("text", "annotations"), _text),
    "text": (("text", "annotations"), _text),
    "refusal": (("refusal",), _refusal),
    "input_image": (("image_url", "file_id", "detail"), _image),
    "input_file": (("file_data", "filename", "file_id", "file_url"), _file),
    "input_audio": (("input_audio",), _audio),
}


# Writing --------------------------------------------------------------------------------------------------------------


def input_text(body: str) -> dict[str, Any]:
    return {"type": "input_text", "text": body}


def output_text(body: str, annotations: list[Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": body, "annotations": annotations}


def image_part(source: Base64 | Url | FileId, detail: str) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "input_image"}
    if isinstance(source, FileId):
        out["file_id"] = source.id
    else:
        out["image_url"] = data_uri(source) if isinstance(source, Base64) else source.url
    if detail:
        out["detail"] = detail
    return out


def file_part(source: Base64 | Url | FileId, name: str) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "input_file"}
    if isinstance(source, FileId):
        out["file_id"] = source.id
    elif isinstance(source, Url):
        out["file_url"] = source.url
    else:  # the vendor refuses file_data without a name
        name = name or NAME_BY_MEDIA.get(source.media_type, "document")
        out["file_data"] = data_uri(source)
    if name:
        out["filename"] = name
    return out


def write_citation(citation: Citation, length: int) -> Any | None:
    """Write an annotation; one without a place covers the whole text (``length``), because the place is not optional
    here. None: it has no URL and is not this dialect's."""
    opaque = citation.opaque
    if opaque is not None and opaque.dialect == NAME:
        return Raw(opaque.raw)
    if not citation.url:
        return None
    placed = citation.start >= 0 and citation.end >= 0
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": citation.start if placed else 0,
        "end_index": citation.end if placed else length,
    }
