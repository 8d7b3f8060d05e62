"""Neutral blocks to content blocks of Converse: of requests (``Writer``) and answers (``AnswerWriter``)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any

from msgspec import Raw
from msgspec.json import encode

from penstock.core.dialects.arguments import object_of
from penstock.core.dialects.bedrock.blocks_in import INSTEAD
from penstock.core.dialects.bedrock.wire import DOCUMENTS, FAMILY, FORMATS, IMAGES, NAME, VIDEOS
from penstock.core.dialects.turns import Item
from penstock.core.ir import (
    Audio,
    Block,
    CacheMark,
    Citation,
    Document,
    FileId,
    Image,
    Loss,
    Marked,
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

Out = dict[str, Any] | Raw
NO_OUTPUT = "(no output)"
"""Text of a result that is an error and says nothing: the API refuses an empty one."""
SEE_DOCUMENT = "See the document."
"""Text of a turn that is documents only: the API wants a text beside a document."""

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9\-()\[\]]+")
_AUDIO = frozenset("mp3 opus wav aac flac mp4 ogg mkv mka x-aac m4a mpeg mpga pcm webm".split())
_BY_ENDING = {word: word for word in (*IMAGES, *DOCUMENTS, *VIDEOS)}
_BY_ENDING |= {"jpg": "jpeg", "3gp": "three_gp", "htm": "html"}


def is_instead(block: Block) -> bool:
    return isinstance(block, Opaque) and block.dialect == NAME and block.kind[:1] == INSTEAD


def point(mark: CacheMark) -> dict[str, Any]:
    """Make the block that stands behind what is to be cached."""
    made = {"type": "default"}
    if mark.ttl:
        made["ttl"] = mark.ttl
    return {"cachePoint": made}


def spelled(name: str) -> str:
    """Spell a document's name in the API's letters: letters, digits, single spaces, hyphens, parentheses and
    brackets."""
    plain = _NOT_IN_NAMES.sub(lambda found: " " if found[0].isspace() else "-", name)
    return plain.strip()[:200].strip()


class Writer:
    """Blocks of a request for the upstream. ``own``: the client spoke this dialect, so its blocks go back as they were.
    ``family``: whose signatures the model reads. ``caches``: it takes cache points. ``status``: it takes a result's
    status."""

    __slots__ = ("caches", "family", "losses", "own", "status", "_names")

    def __init__(self, family: str, own: bool, losses: list[Loss], caches: bool = True, status: bool = True) -> None:
        self.family = family
        self.own = own
        self.losses = losses
        self.caches = caches
        self.status = status
        self._names: dict[str, int] = {}  # of documents, and how often each was wanted

    def lose(self, path: str, why: str) -> None:
        self.losses.append(Loss(path, why))

    def blocks(self, items: Iterable[Item], role: Role) -> list[Out]:
        out: list[Out] = []
        instead: Opaque | None = None
        for at, block in items:
            if is_instead(block):
                instead = block  # type: ignore[assignment]
                continue
            written = self.one(block, at, role) if instead is None else Raw(instead.raw)
            instead = None
            if written is None:
                continue
            out.append(written)
            if isinstance(block, Marked) and block.cache is not None:
                if self.caches:
                    out.append(point(block.cache))
                else:
                    self.lose(f"{at}.cache", "this model takes no cache points")
        return out

    def one(self, block: Block, at: str, role: Role) -> Out | None:
        if isinstance(block, Text):
            return self.text(block, at)
        if isinstance(block, ToolUse):
            return self.use(block, at, role)
        if isinstance(block, ToolResult):
            return self.result(block, at)
        if isinstance(block, Thinking):
            return self.thinking(block, at)
        if isinstance(block, Opaque):
            if block.dialect == NAME:
                return Raw(block.raw)
            self.lose(at, f"{block.kind} is of {block.dialect} only")
            return None
        if isinstance(block, Refusal):
            written = self.text(Text(block.text), at)
            if written is not None:
                self.lose(f"{at}.refusal", "a refusal is sent as text")
            return written
        if role == "assistant" and not self.own:
            self.lose(at, "an assistant turn holds no media here")
            return None
        return self.media(block, at)

    def text(self, block: Text, at: str) -> Out | None:
        text = block.text
        if not self.own and not text:
            return None  # the API refuses empty text, and it says nothing
        cites = self.citations(block.citations, at)
        return {"citationsContent": {"content": [{"text": text}], "citations": cites}} if cites else {"text": text}

    def citations(self, citations: tuple[Citation, ...], at: str) -> list[Any]:
        out: list[Any] = []
        for number, cited in enumerate(citations):
            if cited.opaque is not None and cited.opaque.dialect == NAME:
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
        return {"toolUse": {"toolUseId": block.id, "name": block.name, "input": self.args(block, at)}}

    def args(self, block: ToolUse, at: str) -> Raw:
        """Return the arguments as the object the API wants: checked, never pasted."""
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
        content: list[Out] = []
        instead: Opaque | None = None
        for number, part in enumerate(block.content):
            where = f"{at}.content.{number}"
            if is_instead(part):
                instead = part  # type: ignore[assignment]
                continue
            if isinstance(part, Marked) and part.cache is not None:
                self.lose(f"{where}.cache", "a cache point stands behind a whole result here")
            written = Raw(instead.raw) if instead is not None else self.inside(part, where)
            instead = None
            if written is not None:
                content.append(written)
        told: dict[str, Any] = {"toolUseId": block.id, "content": content}
        if block.is_error and not self.status:
            self.lose(f"{at}.is_error", "this model takes no status of a result")
        elif block.is_error:
            told["status"] = "error"
            told["content"] = content or [{"text": NO_OUTPUT}]
        return {"toolResult": told}

    def inside(self, part: Block, where: str) -> Out | None:
        """Write a part of a tool's result: no citations, no audio."""
        if isinstance(part, Text):
            for number in range(len(part.citations)):
                self.lose(f"{where}.citations.{number}", "a result holds no citations here")
            return self.text(Text(part.text), where)
        if isinstance(part, (Image, Document, Opaque)):
            return self.one(part, where, "user")
        self.lose(where, f"a {type(part).__name__} has no place in a result")
        return None

    def thinking(self, block: Thinking, at: str) -> Out | None:
        seal = block.seal
        if seal is None and self.own and block.text:
            return {"reasoningContent": {"reasoningText": {"text": block.text}}}
        known = seal is not None and (seal.family == self.family or (self.own and seal.family == FAMILY))
        if seal is None or not known:
            self.lose(at, f"reasoning sealed by {seal.family}" if seal is not None else "reasoning without a signature")
            return None
        if not block.redacted:
            return {"reasoningContent": {"reasoningText": {"text": block.text, "signature": seal.data}}}
        if not _is_base64(seal.data):
            self.lose(at, "redacted reasoning that is no base64")
            return None
        return {"reasoningContent": {"redactedContent": seal.data}}

    # Media

    def media(self, block: Block, at: str) -> Out | None:
        if isinstance(block, Audio):
            if block.format not in _AUDIO:
                self.lose(at, f"audio of format {block.format} is not taken")
                return None
            return {"audio": {"format": block.format, "source": {"bytes": block.data}}}
        assert isinstance(block, (Image, Document))
        picture = isinstance(block, Image)
        found = self.source(block.source, at, "png" if picture else "pdf")
        if found is None:
            return None
        word, source = found
        if isinstance(block, Image):
            if word not in IMAGES:
                self.lose(at, f"images of type {word} are not taken: png, jpeg, gif and webp are")
                return None
            if block.detail not in ("", "auto"):
                self.lose(f"{at}.detail", "images have no detail here")
            return {"image": {"format": word, "source": source}}
        if word in VIDEOS:
            self.side_notes(block, at)
            return {"video": {"format": word, "source": source}}
        return self.document(block, at, word, source)

    def side_notes(self, block: Document, at: str) -> None:
        """Report the fields of a document that a video has no place for."""
        lacking = {"name": block.name, "context": block.context, "citations": block.citations is not None}
        for key, value in lacking.items():
            if value:
                self.lose(f"{at}.{key}", "a video has none")

    def document(self, block: Document, at: str, word: str, source: dict[str, Any]) -> Out | None:
        if word in IMAGES:
            return {"image": {"format": word, "source": source}}
        if word not in DOCUMENTS:
            self.lose(at, f"documents of type {word} are not taken")
            return None
        made: dict[str, Any] = {"format": word, "name": self.name(block.name, at), "source": source}
        if block.context:
            made["context"] = block.context
        if block.citations is not None:
            made["citations"] = {"enabled": block.citations}
        return {"document": made}

    def name(self, name: str, at: str) -> str:
        """Spell a name as the API takes it, each once in a request."""
        if self.own and name:
            return name
        plain = unique = spelled(name) or "document"
        count = self._names.get(plain, 0)  # where the search for a free one ended the last time
        while unique in self._names:
            count += 1
            unique = f"{plain[:190]}-{count + 1}"
        self._names[plain] = count
        self._names[unique] = 0
        if name and unique != name:
            self.lose(f"{at}.name", f"spelled {unique!r}: names are letters, digits, spaces, -, () and [], each once")
        return unique

    def source(self, source: Source, at: str, guess: str) -> tuple[str, dict[str, Any]] | None:
        """Write the format and the source; None for what cannot be sent."""
        if isinstance(source, PlainText):
            if self.own:
                return "txt", {"text": source.text}
            data = base64.b64encode(source.text.encode("utf-8", "surrogatepass")).decode()
            return self.inline("text/plain", data, at)
        if isinstance(source, FileId):
            self.lose(at, f"a file kept by {source.family}")
            return None
        if isinstance(source, Url):
            return self.address(source, at, guess)
        return self.inline(source.media_type, source.data, at)

    def inline(self, kind: str, data: str, at: str) -> tuple[str, dict[str, Any]] | None:
        kind = kind.partition(";")[0].strip().lower()
        word = FORMATS.get(kind) or ("txt" if kind.startswith("text/") else "")
        if not word:
            self.lose(at, f"{kind or 'a file without a type'} is not taken")
            return None
        if not data and not self.own:
            self.lose(at, "an empty file is refused")
            return None
        return word, {"bytes": data}

    def address(self, source: Url, at: str, guess: str) -> tuple[str, dict[str, Any]] | None:
        """Write a file given by address: one of the vendor's own store may be named; any other has to come in bytes."""
        url = source.url
        if url.startswith("data:"):
            head, _, data = url[5:].partition(",")
            if head.endswith(";base64"):
                return self.inline(head[:-7], data, at)
        if not url.startswith("s3://"):
            self.lose(at, "files by address are not fetched: send the bytes, or an s3:// address")
            return None
        ending = url.rpartition(".")[2].lower()
        word = FORMATS.get(source.media_type) or _BY_ENDING.get(ending) or guess
        return word, {"s3Location": {"uri": url}}


def _is_base64(data: str) -> bool:
    try:
        return bool(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return False


class AnswerWriter(Writer):
    """Blocks of an answer for a client: every seal is shown, foreign ones under their owner's name."""

    def __init__(self, losses: list[Loss]) -> None:
        super().__init__(FAMILY, True, losses)

    def text(self, block: Text, at: str) -> Out | None:
        return super().text(block, at) if block.text or block.citations else None

    def citations(self, citations: tuple[Citation, ...], at: str) -> list[Any]:
        out: list[Any] = []
        for number, cited in enumerate(citations):
            made = cite_out(cited)
            if made is None:
                self.lose(f"{at}.citations.{number}", "a citation without a URL")
            else:
                out.append(made)
        return out

    def thinking(self, block: Thinking, at: str) -> Out | None:
        seal = block.seal
        if block.redacted:
            if seal is None:
                self.lose(at, "redacted reasoning without its data")
                return None
            return {"reasoningContent": {"redactedContent": pack_blob(seal)}}
        told: dict[str, Any] = {"text": block.text}
        if seal is not None:
            told["signature"] = seal.pack(FAMILY)
        return {"reasoningContent": {"reasoningText": told}} if block.text or seal is not None else None


def pack_blob(seal: Seal) -> str:
    """Write a seal as ``redactedContent``: base64, which a foreign one is put into."""
    if seal.family == FAMILY and _is_base64(seal.data):
        return seal.data
    return base64.b64encode(f"penstock.seal.{seal.family}.{seal.data}".encode()).decode()


def cite_out(cited: Citation) -> dict[str, Any] | Raw | None:
    """Render a citation for a client: the API's own, or a page of the web; None without an address."""
    if cited.opaque is not None and cited.opaque.dialect == NAME:
        return Raw(cited.opaque.raw)
    if not cited.url:
        return None
    made: dict[str, Any] = {"location": {"web": {"url": cited.url}}}
    if cited.title:
        made["title"] = cited.title
    if cited.quote:
        made["sourceContent"] = [{"text": cited.quote}]
    return made
