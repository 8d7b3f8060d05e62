"""Cohere's citations: a span of the answer and the documents or tool outputs that it rests on.

https://docs.cohere.com/docs/rag-citations. ``start`` and ``end`` count characters of a content block, whose place is
``content_index``; ``text`` is the span. A source is a ``document`` or a ``tool_output``, each an object of the
user's own making: a ``url`` and a ``title`` in it are what other dialects can tell of it. Each source is one neutral
citation; the first keeps the vendor's own form.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from penstock.core.dialects.cohere.names import NAME, SOURCE
from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Block, Citation, Opaque, Text

_LINKS = ("url", "link", "source_url", "uri")


class _Source(Struct):
    document: Any = None
    tool_output: Any = None


class _Cited(Struct):
    start: int | None = None
    end: int | None = None
    text: str | None = None
    sources: list[_Source] | None = None
    content_index: int | None = None
    type: str | None = None


_CITED = Decoder(_Cited, strict=False).decode
_BAD = BAD_JSON


def read(raw: Raw) -> tuple[int | None, list[Citation]] | None:
    """Return the place of the block, and a citation for each source; None for one that is about no text."""
    try:
        told = _CITED(raw)
    except _BAD:
        return None
    if told.type not in (None, "", "TEXT_CONTENT"):
        return None
    start = -1 if told.start is None else told.start
    end = -1 if told.end is None else told.end
    out: list[Citation] = []
    for source in told.sources or [_Source()]:
        url, title = _link(source.document or source.tool_output)
        own = Opaque(NAME, SOURCE, b"") if out else Opaque(NAME, "citation", bytes(raw))
        out.append(Citation(url, title, told.text or "", start, end, own))
    return told.content_index, out


def _link(held: Any) -> tuple[str, str]:
    if not isinstance(held, dict):
        return "", ""
    inner = held.get("data")
    held = {**inner, **held} if isinstance(inner, dict) else held
    url = next((held[key] for key in _LINKS if isinstance(held.get(key), str)), "")
    title = held.get("title")
    return url if url.startswith(("http://", "https://")) else "", title if isinstance(title, str) else ""


def attached(content: list[Block], told: Iterable[Raw]) -> tuple[list[Block], list[Raw]]:
    """Attach citations to the blocks; return the blocks, and the citations that are about none of the texts. One
    without a place is about the first text, and where there is one text only, it is that."""
    texts = [at for at, block in enumerate(content) if isinstance(block, Text)]
    out = list(content)
    rest: list[Raw] = []
    for raw in told:
        found = read(raw)
        at = None if found is None else found[0]
        if texts and (at is None or len(texts) == 1):
            at = texts[0]
        if found is None or at not in texts:
            rest.append(raw)
            continue
        block = out[at]
        assert isinstance(block, Text)
        out[at] = replace(block, citations=block.citations + tuple(found[1]))
    return out, rest


def own_forms(block: Text) -> list[Raw]:
    """Return the vendor's own citations of a text, as they came."""
    return [
        Raw(cited.opaque.raw)
        for cited in block.citations
        if cited.opaque is not None and cited.opaque.dialect == NAME and cited.opaque.kind != SOURCE
    ]


def written(block: Text, place: int) -> list[Any]:
    """Write a text's citations for a client of this dialect: the vendor's own as they came, any other as a document
    with its url and title. ``place``: the index of the text in its message."""
    out: list[Any] = []
    for cited in block.citations:
        own = cited.opaque
        if own is not None and own.dialect == NAME:
            if own.kind != SOURCE:
                out.append(Raw(own.raw))
        elif cited.url:
            out.append(_made(cited, place))
    return out


def _made(cited: Citation, place: int) -> dict[str, Any]:
    document = {"id": cited.url, "url": cited.url} | ({"title": cited.title} if cited.title else {})
    told: dict[str, Any] = {"start": cited.start, "end": cited.end} if cited.start >= 0 <= cited.end else {}
    if cited.quote:
        told["text"] = cited.quote
    source = {"type": "document", "id": cited.url, "document": document}
    return {**told, "sources": [source], "content_index": place, "type": "TEXT_CONTENT"}
