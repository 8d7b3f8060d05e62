"""Neutral blocks to content blocks of the Messages API: of requests (``Writer``) and answers (``AnswerWriter``)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.anthropic import wire
from penstock.core.dialects.anthropic.blocks_in import FIELDS, TURN
from penstock.core.dialects.arguments import object_of
from penstock.core.dialects.turns import Item
from penstock.core.ir import (
    Audio,
    Base64,
    Block,
    CacheMark,
    Citation,
    Document,
    FileId,
    Image,
    Loss,
    Opaque,
    PlainText,
    Refusal,
    Role,
    Seal,
    Source,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Url,
)

_OBJECT = Decoder(dict[str, Raw])
_CACHE = wire.Cache()

Out = wire.Block | Raw


def cache_out(mark: CacheMark | None) -> wire.Cache | None:
    if mark is None:
        return None
    return wire.Cache(mark.ttl) if mark.ttl else _CACHE


def merge(block: Out, beside: Opaque) -> Raw:
    """Add to a block the fields that were kept beside it."""
    fields = _OBJECT.decode(encode(block))
    fields.update(_OBJECT.decode(beside.raw))
    return Raw(encode(fields))


def is_fields(block: Block) -> bool:
    return isinstance(block, Opaque) and block.dialect == wire.NAME and block.kind[:1] == FIELDS


class Writer:
    """Blocks of a request for the upstream. ``own``: the client spoke this dialect, so its blocks go back as they
    were. ``family``: whose signatures the model reads. ``replay``: wants earlier reasoning text back, signed or
    not."""

    __slots__ = ("family", "losses", "own", "replay")

    def __init__(self, family: str, own: bool, replay: bool, losses: list[Loss]) -> None:
        self.family = family
        self.own = own
        self.replay = replay
        self.losses = losses

    def lose(self, path: str, why: str) -> None:
        self.losses.append(Loss(path, why))

    def blocks(self, items: Iterable[Item], role: Role) -> list[Out]:
        out: list[Out] = []
        beside: Opaque | None = None
        for at, block in items:
            kind = type(block)
            written: Out | None
            if kind is Text:
                written = self.text(block, at)  # type: ignore[arg-type]
            elif kind is ToolUse:
                written = self.use(block, at, role)  # type: ignore[arg-type]
            elif kind is ToolResult:
                written = self.result(block, at)  # type: ignore[arg-type]
            elif kind is Opaque:
                if is_fields(block):
                    beside = block  # type: ignore[assignment]
                    continue
                written = self.opaque(block, at)  # type: ignore[arg-type]
            else:
                written = self.other(block, at, role)
            if written is not None:
                out.append(written if beside is None else merge(written, beside))
            beside = None
        return out

    def text(self, block: Text, at: str) -> Out | None:
        text = block.text
        if not text:
            return None  # the API refuses empty text, and it says nothing
        cites: list[Raw] | None = None
        if block.citations:
            cites = self.citations(block.citations, at) or None
        return wire.TextBlock(text, cache_out(block.cache), cites)

    def citations(self, citations: tuple[Citation, ...], at: str) -> list[Raw]:
        out = []
        for number, cited in enumerate(citations):
            if cited.opaque is not None and cited.opaque.dialect == wire.NAME:
                out.append(Raw(cited.opaque.raw))
            else:
                self.lose(f"{at}.citations.{number}", "the API takes back only its own citations")
        return out

    def use(self, block: ToolUse, at: str, role: Role) -> Out | None:
        if role != "assistant":
            self.lose(at, "a tool call outside an assistant turn")
            return None
        if block.seal is not None:
            self.lose(f"{at}.seal", "tool calls carry no signature here")
        return wire.ToolUseBlock(block.id, block.name, self.args(block, at), cache_out(block.cache))

    def args(self, block: ToolUse, at: str) -> Raw:
        if block.kind != "function":
            self.lose(f"{at}.kind", f"a {block.kind} call is sent as a function call")
            return Raw(encode({"input": block.args}))
        args, whole = object_of(block.args)
        if not whole:
            self.lose(f"{at}.args", "not a JSON object: sent as text in one")
        return args

    def result(self, block: ToolResult, at: str) -> Out:
        if block.kind != "function":
            self.lose(f"{at}.kind", f"a {block.kind} result is sent as a function's result")
        content: str | list[Out] | None
        inner = block.content
        if len(inner) == 1 and type(inner[0]) is Text and inner[0].cache is None and not inner[0].citations:
            content = inner[0].text or None
        else:
            content = self.blocks([(f"{at}.content.{n}", part) for n, part in enumerate(inner)], "user") or None
        failed = True if block.is_error else None
        return wire.ToolResultBlock(block.id, content, failed, cache_out(block.cache))  # type: ignore[arg-type]

    def opaque(self, block: Opaque, at: str) -> Out | None:
        if block.dialect == wire.NAME:
            return None if block.kind[:1] == TURN else Raw(block.raw)
        self.lose(at, f"{block.kind} is of {block.dialect} only")
        return None

    def other(self, block: Block, at: str, role: Role) -> Out | None:
        if isinstance(block, Thinking):
            return self.thinking(block, at)
        if isinstance(block, Refusal):
            written = self.text(Text(block.text), at)
            if written is not None:
                self.lose(f"{at}.refusal", "a refusal is sent as text")
            return written
        if role == "assistant" and not self.own:
            self.lose(at, "an assistant turn holds no media here")
            return None
        if isinstance(block, Image):
            return self.image(block, at)
        if isinstance(block, Document):
            return self.document(block, at)
        assert isinstance(block, Audio)
        self.lose(at, "there is no audio input")
        return None

    def thinking(self, block: Thinking, at: str) -> Out | None:
        seal = block.seal
        if seal is not None and seal.family == self.family:
            if block.redacted:
                return wire.RedactedBlock(seal.data)
            return wire.ThinkingBlock(block.text, seal.data)
        if self.replay and block.text:
            if seal is not None:
                self.lose(f"{at}.seal", f"sealed by {seal.family}")
            return wire.ThinkingBlock(block.text, "")
        self.lose(at, f"reasoning sealed by {seal.family}" if seal is not None else "reasoning without a signature")
        return None

    def image(self, block: Image, at: str) -> Out | None:
        source = self.source(block.source, at)
        if source is None:
            return None
        if block.detail not in ("", "auto"):
            self.lose(f"{at}.detail", "images have no detail here")
        if isinstance(source, wire.TextSource):
            self.lose(at, "an image cannot be text")
            return None
        return wire.ImageBlock(source, cache_out(block.cache))

    def document(self, block: Document, at: str) -> Out | None:
        source = self.source(block.source, at)
        if source is None:
            return None
        if not self.own and isinstance(source, wire.Base64Source):
            as_text = _as_text(source)
            if as_text is not None:
                source = as_text
            elif source.media_type != "application/pdf":
                self.lose(at, f"documents of type {source.media_type} are not taken")
                return None
        cites = None if block.citations is None else wire.Cites(block.citations)
        return wire.DocumentBlock(source, block.name or None, block.context or None, cites, cache_out(block.cache))

    def source(
        self, source: Source, at: str
    ) -> wire.Base64Source | wire.UrlSource | wire.FileSource | wire.TextSource | None:
        if isinstance(source, Base64):
            return wire.Base64Source(source.media_type, source.data)
        if isinstance(source, Url):
            if source.url.startswith("data:"):
                head, _, data = source.url[5:].partition(",")
                if head.endswith(";base64"):
                    return wire.Base64Source(head[:-7] or "application/octet-stream", data)
            return wire.UrlSource(source.url)
        if isinstance(source, PlainText):
            return wire.TextSource(source.text, "text/plain")
        assert isinstance(source, FileId)
        if source.family == wire.FAMILY:
            return wire.FileSource(source.id)
        self.lose(at, f"a file kept by {source.family}")
        return None


_TEXTUAL = ("application/json", "application/xml", "application/x-yaml", "application/javascript")


def _as_text(source: wire.Base64Source) -> wire.TextSource | None:
    """Decode a text file that came in base64: the API wants such a document as plain text. None for any other file."""
    if not source.media_type.startswith("text/") and source.media_type not in _TEXTUAL:
        return None
    try:
        return wire.TextSource(base64.b64decode(source.data, validate=True).decode("utf-8"), "text/plain")
    except (binascii.Error, UnicodeDecodeError):
        return None


class AnswerWriter(Writer):
    """Blocks of an answer for the client: every seal is shown, foreign ones under their owner's name."""

    def __init__(self, losses: list[Loss]) -> None:
        super().__init__(wire.FAMILY, True, True, losses)

    def thinking(self, block: Thinking, at: str) -> Out | None:
        packed = "" if block.seal is None else block.seal.pack(wire.FAMILY)
        if block.redacted:
            if packed:
                return wire.RedactedBlock(packed)
            self.lose(at, "redacted reasoning without its data")
            return None
        return wire.ThinkingBlock(block.text, packed)

    def citations(self, citations: tuple[Citation, ...], at: str) -> list[Raw]:
        out = []
        for number, cited in enumerate(citations):
            raw = cite_out(cited)
            if raw is None:
                self.lose(f"{at}.citations.{number}", "a citation without a URL")
            else:
                if cited.opaque is None and cited.start >= 0:
                    self.lose(f"{at}.citations.{number}.start", "citations have no place in the text here")
                out.append(raw)
        return out

    def image(self, block: Image, at: str) -> Out | None:
        self.lose(at, "answers hold no images here")
        return None

    def document(self, block: Document, at: str) -> Out | None:
        self.lose(at, "answers hold no documents here")
        return None


def seal_citation(seal: Seal) -> bytes:
    """Make the citation in which a streamed text's seal rides: that came behind the text, where a thought would be the
    last block, which clients show as the answer. ``encrypted_index`` is the API's own field for what must come back."""
    made = {
        "type": "web_search_result_location",
        "url": "",
        "title": None,
        "encrypted_index": seal.pack(wire.FAMILY),
        "cited_text": "",
    }
    return encode(made)


def cite_out(cited: Citation) -> Raw | None:
    """Render a citation for a client: the API's own, or a web result made of the URL. Its empty ``encrypted_index``
    tells that it was made here (see ``blocks_in.citation``)."""
    if cited.opaque is not None and cited.opaque.dialect == wire.NAME:
        return Raw(cited.opaque.raw)
    if not cited.url:
        return None
    made = {
        "type": "web_search_result_location",
        "url": cited.url,
        "title": cited.title or None,
        "encrypted_index": "",
        "cited_text": cited.quote,
    }
    return Raw(encode(made))
