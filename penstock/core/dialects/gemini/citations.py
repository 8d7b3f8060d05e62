"""Where an answer's text came from: ``citationMetadata`` and ``groundingMetadata`` to citations.

Sources: https://ai.google.dev/api/generate-content#CitationMetadata and #GroundingMetadata. Their indexes count bytes
of UTF-8 over the candidate's text; the neutral form counts characters in a block.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Citation


class _Source(Struct, rename="camel"):
    uri: str = ""
    title: str = ""
    start_index: int | None = None
    end_index: int | None = None


class _Native(Struct, rename="camel"):
    citations: list[_Source] | None = None
    citation_sources: list[_Source] | None = None  # v1beta's first name for it


class _Web(Struct):
    uri: str = ""
    title: str = ""


class _Piece(Struct):
    web: _Web | None = None


class _Segment(Struct, rename="camel"):
    start_index: int = 0
    end_index: int | None = None
    text: str = ""


class _Support(Struct, rename="camel"):
    segment: _Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class _Grounding(Struct, rename="camel"):
    grounding_chunks: list[_Piece] | None = None
    grounding_supports: list[_Support] | None = None


_NATIVE = Decoder(_Native).decode
_GROUNDING = Decoder(_Grounding).decode
_BAD = BAD_JSON


def counted_from(cited: Citation, base: int, plain: bool) -> Citation:
    """Count a citation's place from where its block begins. In a text that is not ASCII the place is not known: -1."""
    start = cited.start - base if plain and cited.start >= base else -1
    end = cited.end - base if plain and cited.end >= base else -1
    return msgspec.structs.replace(cited, start=start, end=end)


class Sources:
    """A reader of both forms of one answer's citations. Each chunk of some streams repeats what was told: nothing is
    told twice."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: set[Citation] = set()

    def _new(self, cited: Citation) -> bool:
        if cited.end < 0:  # two citations without a place may well be two
            return True
        fresh = cited not in self._told
        self._told.add(cited)
        return fresh

    def native(self, raw: Raw) -> list[Citation]:
        try:
            told = _NATIVE(raw)
        except _BAD:
            return []
        out = []
        for one in told.citations or told.citation_sources or ():
            start = one.start_index if one.start_index is not None else -1
            if start < 0 and one.end_index is not None:
                start = 0  # proto JSON leaves a zero out
            end = one.end_index if one.end_index is not None else -1
            out.append(Citation(one.uri, one.title, start=start, end=end))
        return [cited for cited in out if cited.url and self._new(cited)]

    def grounding(self, raw: Raw) -> list[Citation]:
        """Make one citation for each piece of the web that supports a segment."""
        try:
            told = _GROUNDING(raw)
        except _BAD:
            return []
        pieces = told.grounding_chunks or []
        out = []
        for support in told.grounding_supports or ():
            segment = support.segment or _Segment()
            for at in support.grounding_chunk_indices or ():
                web = pieces[at].web if 0 <= at < len(pieces) else None
                if web is not None:
                    end = -1 if segment.end_index is None else segment.end_index
                    start = segment.start_index if end >= 0 else -1
                    out.append(Citation(web.uri, web.title, segment.text, start, end))
        return [cited for cited in out if cited.url and self._new(cited)]
