"""Neutral blocks to parts: of requests (``Writer``) and of answers (``AnswerWriter``)."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.budget import Budget
from penstock.core.dialects.arguments import object_of
from penstock.core.dialects.gemini import wire
from penstock.core.dialects.gemini.parts_in import FIELDS, TURN
from penstock.core.dialects.gemini.schema import to_openapi
from penstock.core.dialects.turns import Item
from penstock.core.ir import (
    Audio,
    Base64,
    Block,
    Citation,
    Document,
    FileId,
    Image,
    Loss,
    Opaque,
    PlainText,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Url,
)

_OBJECT = Decoder(dict[str, Raw]).decode
# The type of a file by the end of its address: the API wants one beside every address.
_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "html": "text/html",
    "csv": "text/csv",
    "md": "text/markdown",
    "mp4": "video/mp4",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
}


def is_fields(block: Block) -> bool:
    return isinstance(block, Opaque) and block.dialect == wire.NAME and block.kind[:1] == FIELDS


def response_out(texts: list[str], failed: bool) -> dict[str, Any] | Raw:
    """Return a tool's words as the object the API wants: its own JSON object as it is, else under ``output`` or
    ``error``."""
    key = "error" if failed else "output"
    if len(texts) != 1:
        return {key: texts if texts else ""}
    only = texts[0]
    if not failed and only[:1] == "{":
        try:
            inner = _OBJECT(only)
        except (msgspec.DecodeError, RecursionError):
            return {key: only}
        if inner and inner.keys() not in ({"output"}, {"error"}):
            return Raw(only.encode())
    return {key: only}


class Writer:
    """Parts of a request for the upstream. ``own``: the client spoke this dialect, so its parts go back as they were.
    ``family``: whose signatures the upstream reads. ``ids``: it takes ids of calls. ``version``: the generation of the
    model. ``names``: the function of each result, by the result's path."""

    __slots__ = ("_budget", "family", "ids", "losses", "names", "own", "version")

    def __init__(self, family: str, own: bool, ids: bool, version: float, losses: list[Loss]) -> None:
        self.family = family
        self.own = own
        self.ids = ids
        self.version = version
        self.losses = losses
        self.names: dict[str, str] = {}
        self._budget = Budget("its references, each written out where it is used, which this model needs,")

    def lose(self, path: str, why: str) -> None:
        self.losses.append(Loss(path, why))

    def subset(self, raw: bytes, path: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Translate a schema for the models before 2.5. All schemas of a request share one budget."""
        self._budget.param = path
        return to_openapi(raw, self._budget)

    def parts(self, items: Iterable[Item]) -> list[dict[str, Any] | Raw]:
        out: list[dict[str, Any] | Raw] = []
        beside: Opaque | None = None
        moved: list[Any] = []  # media of results, which stand behind all results
        for at, block in items:
            if is_fields(block):
                beside = block  # type: ignore[assignment]
                continue
            if moved and not isinstance(block, ToolResult):
                out.extend(moved)
                moved = []
            written: dict[str, Any] | Raw | None
            if type(block) is Text:
                written = self.text(block, at)
            elif type(block) is ToolUse:
                written = self.use(block, at)
            elif type(block) is ToolResult:
                written = self.result(block, at, moved)
            elif type(block) is Thinking:
                written = self.thinking(block, at, out)
            else:
                written = self.other(block, at)
            if written is not None:
                if beside is not None and isinstance(written, dict):
                    written = {**written, **_OBJECT(beside.raw)}
                out.append(written)
            beside = None
        return out + moved

    def text(self, block: Text, at: str) -> dict[str, Any] | None:
        if block.cache is not None:
            self.lose(f"{at}.cache", "the vendor caches by itself")
        for number in range(len(block.citations)):
            self.lose(f"{at}.citations.{number}", "a prompt holds no citations here")
        return {"text": block.text} if block.text else None

    def use(self, block: ToolUse, at: str) -> dict[str, Any]:
        if block.cache is not None:
            self.lose(f"{at}.cache", "the vendor caches by itself")
        call: dict[str, Any] = {"name": block.name, "args": self.args(block, at)}
        if self.ids and block.id:
            call["id"] = block.id
        out: dict[str, Any] = {"functionCall": call}
        if block.seal is not None:
            if block.seal.family == self.family:
                out["thoughtSignature"] = block.seal.data
            else:
                self.lose(f"{at}.seal", f"sealed by {block.seal.family}")
        return out

    def args(self, block: ToolUse, at: str) -> Raw:
        if block.kind != "function":
            self.lose(f"{at}.kind", f"a {block.kind} call is sent as a function call")
            return Raw(encode({"input": block.args}))
        args, whole = object_of(block.args)
        if not whole:
            self.lose(f"{at}.args", "not a JSON object: sent as text in one")
        return args

    def result(self, block: ToolResult, at: str, moved: list[Any]) -> dict[str, Any]:
        if block.kind != "function":
            self.lose(f"{at}.kind", f"a {block.kind} result is sent as a function's result")
        if block.cache is not None:
            self.lose(f"{at}.cache", "the vendor caches by itself")
        texts: list[str] = []
        parts: list[Any] = []
        for number, inner in enumerate(block.content):
            where = f"{at}.content.{number}"
            if isinstance(inner, Text):
                if self.text(inner, where) is not None:
                    texts.append(inner.text)
                continue
            written = self.other(inner, where)
            if written is None:
                continue
            if self.version >= 3 and isinstance(written, dict) and "inlineData" in written:
                parts.append(written)
            else:
                self.lose(where, "moved behind the results: a result of this model is text")
                moved.append(written)
        told: dict[str, Any] = {"name": self.names.get(at, ""), "response": response_out(texts, block.is_error)}
        if self.ids and block.id:
            told["id"] = block.id
        if parts:
            told["parts"] = parts
        return {"functionResponse": told}

    def thinking(self, block: Thinking, at: str, before: list[Any]) -> dict[str, Any] | None:
        seal = block.seal
        if seal is None and self.own and block.text:
            return {"text": block.text, "thought": True}
        if seal is None or seal.family != self.family:
            self.lose(at, f"reasoning sealed by {seal.family}" if seal is not None else "reasoning without a signature")
            return None
        if block.text:
            return {"text": block.text, "thought": True, "thoughtSignature": seal.data}
        last = before[-1] if before else None
        if isinstance(last, dict) and "text" in last and not last.keys() & {"thought", "thoughtSignature"}:
            last["thoughtSignature"] = seal.data  # the signature of the text before it
            return None
        return {"text": "", "thoughtSignature": seal.data}

    def other(self, block: Block, at: str) -> dict[str, Any] | Raw | None:
        if isinstance(block, Opaque):
            return self.opaque(block, at)
        if isinstance(block, Refusal):
            self.lose(f"{at}.refusal", "a refusal is sent as text")
            return {"text": block.text} if block.text else None
        if isinstance(block, Audio):
            return {"inlineData": {"mimeType": f"audio/{block.format}", "data": block.data}}
        if not isinstance(block, (Image, Document)):
            self.lose(at, f"a {type(block).__name__} has no place here")
            return None
        if block.cache is not None:
            self.lose(f"{at}.cache", "the vendor caches by itself")
        if isinstance(block, Image):
            if block.detail not in ("", "auto"):
                self.lose(f"{at}.detail", "images have no detail here")
        else:
            self.side_notes(block, at)
        return self.source(block.source, at, "image/jpeg" if isinstance(block, Image) else "application/pdf")

    def side_notes(self, block: Document, at: str) -> None:
        if block.name:
            self.lose(f"{at}.name", "files have no names here")
        if block.context:
            self.lose(f"{at}.context", "a file has no side note here")
        if block.citations is not None:
            self.lose(f"{at}.citations", "citations of a file cannot be asked for here")

    def opaque(self, block: Opaque, at: str) -> Raw | None:
        if block.dialect == wire.NAME:
            return None if block.kind[:1] == TURN else Raw(block.raw)
        self.lose(at, f"{block.kind} is of {block.dialect} only")
        return None

    def source(self, source: Source, at: str, kind: str) -> dict[str, Any] | None:
        if isinstance(source, Base64):
            return {"inlineData": {"mimeType": source.media_type, "data": source.data}}
        if isinstance(source, PlainText):
            data = base64.b64encode(source.text.encode("utf-8", "surrogatepass")).decode()
            return {"inlineData": {"mimeType": "text/plain", "data": data}}
        if isinstance(source, Url):
            return _address(source, kind)
        assert isinstance(source, FileId)
        if source.family != wire.FAMILY:
            self.lose(at, f"a file kept by {source.family}")
            return None
        return {"fileData": {"fileUri": source.id}}


def _address(source: Url, kind: str) -> dict[str, Any]:
    if source.url.startswith("data:"):
        head, _, data = source.url[5:].partition(",")
        if head.endswith(";base64"):
            return {"inlineData": {"mimeType": head[:-7] or kind, "data": data}}
    plain = source.url.partition("?")[0].partition("#")[0].lower()
    guessed = source.media_type or _TYPES.get(plain.rpartition(".")[2]) or kind
    if kind.startswith("image/") and not guessed.startswith("image/"):
        guessed = kind
    return {"fileData": {"fileUri": source.url, "mimeType": guessed}}


class AnswerWriter(Writer):
    """Parts of an answer for the client: every seal is shown, foreign ones packed under their owner's name."""

    def __init__(self, losses: list[Loss]) -> None:
        super().__init__(wire.FAMILY, True, True, 3.0, losses)

    def text(self, block: Text, at: str) -> dict[str, Any] | None:
        return {"text": block.text} if block.text else None

    def use(self, block: ToolUse, at: str) -> dict[str, Any]:
        call: dict[str, Any] = {"name": block.name, "args": self.args(block, at)}
        if block.id:
            call["id"] = block.id
        out: dict[str, Any] = {"functionCall": call}
        if block.seal is not None:
            out["thoughtSignature"] = wire.pack(block.seal)
        return out

    def thinking(self, block: Thinking, at: str, before: list[Any]) -> dict[str, Any] | None:
        if block.seal is None:
            return {"text": block.text, "thought": True} if block.text else None
        return {"text": block.text, "thought": True, "thoughtSignature": wire.pack(block.seal, block.redacted)}


def cite_out(cited: Citation, base: int) -> dict[str, Any] | None:
    """Render a citation for a client. ``base``: where its text begins in the candidate; None without an address."""
    if not cited.url:
        return None
    out: dict[str, Any] = {"uri": cited.url}
    if cited.title:
        out["title"] = cited.title
    if cited.start >= 0:
        out["startIndex"] = base + cited.start
    if cited.end >= 0:
        out["endIndex"] = base + cited.end
    return out
