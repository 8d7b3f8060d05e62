"""Content blocks of the Messages API to neutral blocks: of requests and answers alike.

Fast path: one typed decode of the whole list. A block that holds something the neutral form has no place for is read
key by key instead, and what is left over stands *before* it as a small ``Opaque`` whose kind begins with "+"
("+caller", "+cache_control,toolset_name"): ``blocks_out`` puts those fields back into the block that follows, every
other dialect reports a loss. It stands before and not after because a streamed block must be opened with all its
fields. A block of an unknown type is an ``Opaque`` as a whole. A null field means an absent one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.dialects.anthropic import wire
from penstock.core.dialects.carried import bound
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Base64,
    Block,
    CacheMark,
    Citation,
    Document,
    FileId,
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

FIELDS = "+"  # kind prefix: fields of the block that follows
TURN = "@"  # kind prefix: fields of the message whose first block this is

_STRICT = Decoder(wire.Block)
_FIELDS = Decoder(dict[str, Raw])
_ITEMS = Decoder(list[Raw])
_STR = Decoder(str)
_NULL = Raw(b"null")


def bad(param: str, value: Raw | bytes | None, want: str, kind: str = "bad_request") -> NoReturn:
    """Refuse ``param``: say what it is and what would be right."""
    found = "it is missing" if value is None else f"got {spell(value)}"
    raise GatewayError(kind, f"`{param}` must be {want}, {found}.", param=param)


def spell(value: Raw | bytes) -> str:
    """Name the type of a JSON value in words; give the value itself where it is short and plain."""
    text = bytes(value)
    lead = text[:1]
    if lead == b'"':
        return f"the string {text.decode('utf-8', 'replace')}" if len(text) <= 40 else "a string"
    if lead == b"{":
        return "an object"
    if lead == b"[":
        return "an array"
    return text[:40].decode("utf-8", "replace")


def present(fields: Mapping[str, Raw], key: str) -> Raw | None:
    """Return the value of ``key``, None when it is absent or null."""
    value = fields.get(key)
    return None if value is None or value == _NULL else value


def string(fields: Mapping[str, Raw], key: str, at: str, default: str | None = None) -> str:
    value = present(fields, key)
    if value is None:
        return default if default is not None else bad(f"{at}{key}", None, "a string")
    try:
        return _STR.decode(value)
    except msgspec.ValidationError:
        bad(f"{at}{key}", value, "a string")


def items(value: Raw | bytes, at: str, want: str = "an array") -> list[Raw]:
    try:
        return _ITEMS.decode(value)
    except msgspec.ValidationError:
        bad(at, value, want)


def fields_of(value: Raw | bytes, at: str, want: str = "an object") -> dict[str, Raw]:
    try:
        return _FIELDS.decode(value)
    except msgspec.ValidationError:
        bad(at, value, want)


def mark(cache: wire.Cache | None) -> CacheMark | None:
    return None if cache is None else CacheMark(cache.ttl or "")


# The fast path --------------------------------------------------------------------------------------------------------


def from_wire(block: wire.Block) -> Block:
    """Translate a block that the strict structs understood completely."""
    kind = type(block)
    if kind is wire.TextBlock:
        return text_block(block)  # type: ignore[arg-type]
    if kind is wire.ToolUseBlock:
        return ToolUse(block.id, block.name, args_of(block.input), cache=mark(block.cache_control))  # type: ignore[union-attr]
    if kind is wire.ToolResultBlock:
        return _result(block)  # type: ignore[arg-type]
    if kind is wire.ThinkingBlock:
        return Thinking(block.thinking, unpack_seal(block.signature, wire.FAMILY))  # type: ignore[union-attr]
    if kind is wire.ImageBlock:
        return Image(source_of(block.source), cache=mark(block.cache_control))  # type: ignore[union-attr]
    if kind is wire.DocumentBlock:
        return _document(block)  # type: ignore[arg-type]
    return Thinking("", unpack_seal(block.data, wire.FAMILY), redacted=True)  # type: ignore[union-attr]


def text_block(block: wire.TextBlock) -> Text:
    if block.cache_control is None and not block.citations:
        return Text(block.text)
    cites = tuple(citation(raw) for raw in block.citations or ())
    return Text(block.text, mark(block.cache_control), cites)


def _result(block: wire.ToolResultBlock) -> ToolResult:
    content = block.content
    inner: tuple[Block, ...]
    if content is None:
        inner = ()
    elif isinstance(content, str):
        inner = (Text(content),) if content else ()
    else:
        inner = tuple([from_wire(part) for part in content])
    return ToolResult(block.tool_use_id, inner, bool(block.is_error), cache=mark(block.cache_control))


def _document(block: wire.DocumentBlock) -> Document:
    cites = None if block.citations is None else block.citations.enabled
    source = source_of(block.source)
    return Document(source, block.title or "", block.context or "", cites, mark(block.cache_control))


def source_of(source: wire.Base64Source | wire.UrlSource | wire.FileSource | wire.TextSource) -> Source:
    if isinstance(source, wire.Base64Source):
        return Base64(source.media_type, source.data)
    if isinstance(source, wire.UrlSource):
        return Url(source.url)
    if isinstance(source, wire.FileSource):
        return FileId(wire.FAMILY, source.file_id)
    return PlainText(source.data)


def args_of(value: Raw) -> str:
    """Return the arguments of a call, which the API wants as an object. Some servers send the object as a JSON
    string."""
    text = bytes(value)
    if text[:1] == b"{":
        return text.decode()
    if text[:1] == b'"':
        return _STR.decode(text)
    return "{}" if text == b"null" or not text else text.decode()


class _Cited(Struct):
    type: str = ""
    url: str | None = None
    source: str | None = None
    title: str | None = None
    document_title: str | None = None
    cited_text: str | None = None
    encrypted_index: str | None = None


_CITED = Decoder(_Cited)


def citation(raw: Raw | bytes) -> Citation:
    """Read a citation. An empty ``encrypted_index`` marks one that this gateway wrote for a foreign answer: it has no
    native form to give back."""
    cited = _CITED.decode(raw)
    own = cited.type == "web_search_result_location" and cited.encrypted_index == ""
    return Citation(
        url=cited.url or cited.source or "",
        title=cited.title or cited.document_title or "",
        quote=cited.cited_text or "",
        opaque=None if own else Opaque(wire.NAME, cited.type, bytes(raw)),
    )


def carried_seal(raw: bytes) -> Seal | None:
    """Return the seal of a text that rides in a citation's ``encrypted_index`` (see ``blocks_out.seal_citation``), None
    for any other citation."""
    if _SEALED not in raw:
        return None
    found = _CITED.decode(raw).encrypted_index or ""
    return unpack_seal(found, wire.FAMILY) if found.startswith("penstock.seal.") else None


_SEALED = b'"penstock.seal.'


def unsealed(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """Give the seals that were put beside calls and texts back to them."""
    if not any(type(block) is Thinking or (type(block) is Text and block.citations) for block in blocks):
        return blocks
    out: list[Block] = []
    for block in blocks:
        if isinstance(block, Text) and block.citations:
            opaque = block.citations[-1].opaque
            seal = carried_seal(opaque.raw) if opaque is not None else None
            if seal is not None:
                out += (replace(block, citations=block.citations[:-1]), Thinking("", seal))
                continue
        out.append(block)
    return tuple(bound(out))


# The slow path: key by key --------------------------------------------------------------------------------------------


def read_block(raw: Raw | bytes, at: str) -> tuple[Block, ...]:
    """Read one block of whatever shape, with the fields it has no place for before it. ``at``: its path, for errors."""
    try:
        return (from_wire(_STRICT.decode(raw)),)
    except msgspec.ValidationError:
        pass
    fields = fields_of(raw, at)
    kind = string(fields, "type", f"{at}.")
    known = wire.KNOWN.get(kind)
    if known is None:
        return (Opaque(wire.NAME, kind, bytes(raw)),)
    rest = {
        key: fields[key] for key in fields if key not in known and key != "type" and present(fields, key) is not None
    }
    block = _READ[kind](fields, f"{at}.", rest)
    if block is None:
        return (Opaque(wire.NAME, kind, bytes(raw)),)
    return (beside(FIELDS, rest), block) if rest else (block,)


def beside(prefix: str, rest: dict[str, Raw]) -> Opaque:
    return Opaque(wire.NAME, prefix + ",".join(rest), encode(rest))


def _cache(fields: Mapping[str, Raw], at: str, rest: dict[str, Raw]) -> CacheMark | None:
    """Read the cache breakpoint; its own unknown fields (``scope``, ...) keep the whole of it in ``rest``."""
    value = present(fields, "cache_control")
    if value is None:
        return None
    inner = fields_of(value, f"{at}cache_control")
    if set(inner) - {"type", "ttl"} or bytes(inner.get("type", b"")) != b'"ephemeral"':
        rest["cache_control"] = value
    return CacheMark(string(inner, "ttl", f"{at}cache_control.", ""))


def _read_text(fields: Mapping[str, Raw], at: str, rest: dict[str, Raw]) -> Block:
    cites = present(fields, "citations")
    cited = () if cites is None else tuple(_citation(raw, f"{at}citations") for raw in items(cites, f"{at}citations"))
    return Text(string(fields, "text", at), _cache(fields, at, rest), cited)


def _citation(raw: Raw, at: str) -> Citation:
    try:
        return citation(raw)
    except msgspec.ValidationError:
        bad(at, raw, "an array of citation objects")


def _source(fields: Mapping[str, Raw], at: str, target: type[Struct]) -> Source | None:
    """Read the source by the strict structs; None where they do not know its shape."""
    value = present(fields, "source")
    if value is None:
        bad(f"{at}source", None, "an object")
    fields_of(value, f"{at}source")
    try:
        decoder = _IMAGE if target is wire.ImageBlock else _FILE
        return source_of(decoder.decode(value))
    except msgspec.ValidationError:
        return None


_IMAGE = Decoder(wire.Base64Source | wire.UrlSource | wire.FileSource)
_FILE = Decoder(wire.Base64Source | wire.UrlSource | wire.FileSource | wire.TextSource)


def _read_image(fields: Mapping[str, Raw], at: str, rest: dict[str, Raw]) -> Block | None:
    source = _source(fields, at, wire.ImageBlock)
    return None if source is None else Image(source, cache=_cache(fields, at, rest))


def _read_document(fields: Mapping[str, Raw], at: str, rest: dict[str, Raw]) -> Block | None:
    source = _source(fields, at, wire.DocumentBlock)
    if source is None:
        source = _content_source(fields["source"])
        if source is None:
            return None
        rest["source"] = fields["source"]
    enabled: bool | None = None
    cites = present(fields, "citations")
    if cites is not None:
        inner = fields_of(cites, f"{at}citations")
        enabled = bytes(inner.get("enabled", b"")) == b"true" if "enabled" in inner else None
        if set(inner) - {"enabled"}:
            rest["citations"] = cites
    title, context = string(fields, "title", at, ""), string(fields, "context", at, "")
    return Document(source, title, context, enabled, _cache(fields, at, rest))


class _Part(Struct):
    text: str = ""


class _Content(Struct, tag_field="type", tag="content"):
    content: str | list[_Part]


_CONTENT = Decoder(_Content)


def _content_source(raw: Raw) -> PlainText | None:
    """Join a document made of blocks to one text: what other dialects can carry of it."""
    try:
        content = _CONTENT.decode(raw).content
    except msgspec.ValidationError:
        return None
    return PlainText(content if isinstance(content, str) else "\n".join(part.text for part in content if part.text))


def _read_thinking(fields: Mapping[str, Raw], at: str, rest: dict[str, Raw]) -> Block:
    # Servers that speak this dialect over other models leave the signature out.
    return Thinking(string(fields, "thinking", at), unpack_seal(string(fields, "signature", at, ""), wire.FAMILY))


def _read_redacted(fields: Mapping[str, Raw], at: str, rest: dict[str, Raw]) -> Block:
    return Thinking("", unpack_seal(string(fields, "data", at), wire.FAMILY), redacted=True)


def _read_use(fields: Mapping[str, Raw], at: str, rest: dict[str, Raw]) -> Block:
    args = args_of(fields["input"]) if "input" in fields else "{}"
    return ToolUse(string(fields, "id", at), string(fields, "name", at), args, cache=_cache(fields, at, rest))


def _read_result(fields: Mapping[str, Raw], at: str, rest: dict[str, Raw]) -> Block:
    content = present(fields, "content")
    inner: tuple[Block, ...] = ()
    if content is not None:
        inner = read_content(content, f"{at}content")
        if inner == (Text(""),):
            inner = ()
    error = present(fields, "is_error")
    if error is not None and bytes(error) not in (b"true", b"false"):
        bad(f"{at}is_error", error, "true or false")
    failed = error is not None and bytes(error) == b"true"
    return ToolResult(string(fields, "tool_use_id", at), inner, failed, cache=_cache(fields, at, rest))


_READ = {
    "text": _read_text,
    "image": _read_image,
    "document": _read_document,
    "thinking": _read_thinking,
    "redacted_thinking": _read_redacted,
    "tool_use": _read_use,
    "tool_result": _read_result,
}


def read_content(value: Raw, at: str) -> tuple[Block, ...]:
    """Read a ``content`` field: a string, or a list of blocks."""
    if bytes(memoryview(value)[:1]) == b'"':
        return (Text(_STR.decode(value)),)
    out: list[Block] = []
    for number, raw in enumerate(items(value, at, "a string or an array of content blocks")):
        out.extend(read_block(raw, f"{at}.{number}"))
    return tuple(out)
