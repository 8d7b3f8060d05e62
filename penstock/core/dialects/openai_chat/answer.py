"""Whole Chat answers: ``chat.completion`` bodies read and written."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.base import RenderedAnswer, View
from penstock.core.dialects.carried import TEXT, is_wordless, pack
from penstock.core.dialects.openai_chat.errors import error_in_answer, told_error
from penstock.core.dialects.openai_chat.messages_in import legacy_call, read_assistant
from penstock.core.dialects.openai_chat.names import (
    CALL_FAMILY,
    MESSAGE,
    NAME,
    THOUGHT_FAMILY,
    chat_id,
    finish_in,
    finish_out,
    is_legacy,
    settled,
)
from penstock.core.dialects.openai_chat.reading import (
    integer,
    mapping,
    mappings,
    opens,
    optional_text,
    present,
)
from penstock.core.dialects.openai_chat.usage import read_usage, write_usage
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Choice,
    Citation,
    Loss,
    Opaque,
    Refusal,
    Response,
    Seal,
    Text,
    Thinking,
    ToolUse,
)

_TOP = Decoder(dict[str, Raw]).decode
_KNOWN = frozenset(("id", "object", "created", "model", "choices", "usage", "service_tier"))


def parse_response(body: bytes) -> Response:
    """Parse a whole answer. A body that is not one raises ``GatewayError("broken_answer")``; an error in a 200, as
    OpenRouter sends it, raises that error."""
    try:
        fields = _TOP(body)
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is not a JSON object: {error}.") from None
    if told_error(fields):
        raise error_in_answer(fields["error"])
    try:
        return _response(fields)
    except GatewayError as error:
        if error.kind != "bad_request":
            raise
        raise GatewayError(
            "broken_answer", f"The upstream's answer is not a chat completion: {error.message}"
        ) from None


def _response(fields: dict[str, Raw]) -> Response:
    raw = present(fields, "choices")
    if raw is None:
        raise GatewayError("broken_answer", "The upstream's answer has no 'choices'.")
    found: list[tuple[int, Choice]] = []
    mint = [0]
    for place, choice in enumerate(mappings(raw, "choices")):
        index = present(choice, "index")
        number = place if index is None else integer(index, f"choices[{place}].index")
        found.append((number, _choice(choice, f"choices[{place}]", mint)))
    if not found:
        raise GatewayError("broken_answer", "The upstream's answer has no choice in its 'choices'.")
    found.sort(key=lambda pair: pair[0])
    created, usage = present(fields, "created"), present(fields, "usage")
    return Response(
        id=optional_text(fields, "id", ""),
        model=optional_text(fields, "model", ""),
        choices=tuple(choice for _, choice in found),
        usage=None if usage is None else read_usage(usage),
        created=0 if created is None else seconds(created),
        service_tier=optional_text(fields, "service_tier", ""),
        extra=tuple(
            Opaque(NAME, key, bytes(value))
            for key, value in fields.items()
            if key not in _KNOWN and bytes(value) != b"null"
        ),
    )


_NUMBER = Decoder(int | float).decode


def seconds(raw: Raw) -> int:
    """Read unix seconds; some servers give fractions, or a date in words, which is no time to us."""
    try:
        return int(_NUMBER(raw))
    except (*BAD_JSON, OverflowError, ValueError):
        return 0


def _choice(fields: dict[str, Raw], path: str, mint: list[int]) -> Choice:
    error = present(fields, "error")
    if error is not None:  # OpenRouter
        raise error_in_answer(error)
    raw = present(fields, "message")
    if raw is None:
        raise GatewayError("broken_answer", f"The upstream's answer has no '{path}.message'.")
    message = mapping(raw, f"{path}.message")
    blocks = read_assistant(message, f"{path}.message", mint)
    call = present(message, "function_call")
    if call is not None:
        blocks.append(legacy_call(call, f"{path}.message.function_call", f"call_{mint[0]}"))
        mint[0] += 1
    called = any(isinstance(block, ToolUse) for block in blocks)
    refused = any(isinstance(block, Refusal) for block in blocks)
    finish = settled(finish_in(optional_text(fields, "finish_reason", path), bool(blocks)), called, refused)
    logprobs = present(fields, "logprobs")
    return Choice(tuple(blocks), finish, stop_sequence(fields), b"" if logprobs is None else bytes(logprobs))


def stop_sequence(fields: dict[str, Raw]) -> str:
    """Find the text that ended the answer: vLLM's ``stop_reason``, SGLang's ``matched_stop`` (both may be a token's
    id)."""
    for key in ("stop_reason", "matched_stop"):
        raw = present(fields, key)
        if raw is not None and opens(raw, '"'):
            return optional_text(fields, key, "")
    return ""


# Writing -----------------------------------------------------------------------------------------------------------


def render_response(response: Response, view: View) -> RenderedAnswer:
    """Render the answer for a client of this dialect. Thoughts are ``reasoning_content``, and with their seals
    LiteLLM's ``thinking_blocks``."""
    losses: list[Loss] = []
    legacy = is_legacy(view.request)
    choices = [_write_choice(c, n, legacy, losses) for n, c in enumerate(response.choices)]
    out: dict[str, Any] = {
        "id": chat_id(response.id, view.mint),
        "object": "chat.completion",
        "created": response.created or view.now,
        "model": view.model,
        "choices": choices,
    }
    if response.usage is not None:
        out["usage"] = Raw(write_usage(response.usage))
    if response.service_tier:
        out["service_tier"] = response.service_tier
    for opaque in response.extra:
        if opaque.dialect == NAME:
            out.setdefault(opaque.kind, Raw(opaque.raw))
        else:
            losses.append(Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only"))
    return RenderedAnswer(encode(out), tuple(losses))


def _write_choice(choice: Choice, number: int, legacy: bool, losses: list[Loss]) -> dict[str, Any]:
    message = _Message(f"choices.{number}.blocks", legacy, losses)
    for place, block in enumerate(choice.blocks):
        message.add(block, place)
    refused = message.refusal is not None
    out: dict[str, Any] = {
        "index": number,
        "message": message.fields(),
        "logprobs": Raw(choice.logprobs) if choice.logprobs else None,
        "finish_reason": finish_out(choice.finish, refused, legacy),
    }
    if choice.stop_sequence:
        out["stop_reason"] = choice.stop_sequence
    return out


class _Message:
    """An answer's message being written. Chat has one string for all text: citations move along with it."""

    __slots__ = (
        "_after_text",
        "_legacy",
        "_losses",
        "_path",
        "annotations",
        "calls",
        "length",
        "own",
        "refusal",
        "texts",
        "thoughts",
    )

    def __init__(self, path: str, legacy: bool, losses: list[Loss]) -> None:
        self._path = path
        self._legacy = legacy
        self._losses = losses
        self._after_text = False
        self.texts: list[str] = []
        self.length = 0
        self.refusal: str | None = None
        self.thoughts: list[Thinking] = []
        self.calls: list[dict[str, Any]] = []
        self.annotations: list[Any] = []
        self.own: dict[str, Raw] = {}

    def add(self, block: Block, place: int) -> None:
        self._add(block, place)
        self._after_text = isinstance(block, Text) and bool(block.text)

    def _add(self, block: Block, place: int) -> None:
        if isinstance(block, Text):
            for citation in block.citations:
                written = write_citation(citation, self.length, len(block.text))
                if written is None:
                    self._losses.append(Loss(f"{self._path}.{place}.citations", "a citation needs a URL here"))
                else:
                    self.annotations.append(written)
            self.texts.append(block.text)
            self.length += len(block.text)
        elif isinstance(block, ToolUse):
            if self._legacy and self.calls:
                self._losses.append(Loss(f"{self._path}.{place}", "function_call holds one call"))
            else:
                self.calls.append(write_call(block))
                if block.seal is not None and (self._legacy or block.kind == "custom"):
                    self._losses.append(Loss(f"{self._path}.{place}.seal", "only a function's call carries one"))
        elif isinstance(block, Thinking):
            if self._after_text and is_wordless(block, THOUGHT_FAMILY) and block.seal is not None:
                # Thoughts stand before the text here: its seal says that it belongs behind it.
                block = Thinking("", pack(block.seal, TEXT, THOUGHT_FAMILY))
            if block.text or block.seal is not None:
                self.thoughts.append(block)
        elif isinstance(block, Refusal):
            self.refusal = (self.refusal or "") + block.text
        elif isinstance(block, Opaque) and block.dialect == NAME and block.kind.startswith(MESSAGE):
            self.own[block.kind[len(MESSAGE) :]] = Raw(block.raw)
        else:
            self._losses.append(Loss(f"{self._path}.{place}", "an answer has no field for it here"))

    def fields(self) -> dict[str, Any]:
        content = "".join(self.texts) if self.texts else None
        out: dict[str, Any] = {"role": "assistant", "content": content, "refusal": self.refusal}
        if text := "".join(thought.text for thought in self.thoughts):
            out["reasoning_content"] = text
        if len(self.thoughts) > 1 or (self.thoughts and self.thoughts[0].seal is not None):
            out["thinking_blocks"] = [write_thought(thought) for thought in self.thoughts]
        if self.annotations:
            out["annotations"] = self.annotations
        if self.calls and self._legacy:
            out["function_call"] = self.calls[0].get("function")
        elif self.calls:
            out["tool_calls"] = self.calls
        return {**out, **self.own}


def write_call(block: ToolUse) -> dict[str, Any]:
    """Write a call. Clients parse the arguments as JSON, so a call without any has an empty object."""
    if block.kind == "custom":
        return {"id": block.id, "type": "custom", "custom": {"name": block.name, "input": block.args}}
    out: dict[str, Any] = {
        "id": block.id,
        "type": "function",
        "function": {"name": block.name, "arguments": block.args or "{}"},
    }
    if block.seal is not None:
        out["extra_content"] = write_signature(block.seal)
    return out


def write_signature(seal: Seal) -> dict[str, dict[str, str]]:
    """Write the seal of a call, where Google's compatible endpoint puts it."""
    return {"google": {"thought_signature": seal.pack(CALL_FAMILY)}}


def write_thought(block: Thinking) -> dict[str, str]:
    """Write an element of LiteLLM's ``thinking_blocks``."""
    packed = block.seal.pack(THOUGHT_FAMILY) if block.seal is not None else ""
    if block.redacted:
        return {"type": "redacted_thinking", "data": packed}
    return {"type": "thinking", "thinking": block.text, "signature": packed}


def write_citation(citation: Citation, offset: int, length: int) -> Any | None:
    """Write an annotation. ``offset``: where the text block begins in ``content``; a citation without a place covers
    all ``length`` of it, because the place is not optional here. None: it has no URL and is not this dialect's."""
    opaque = citation.opaque
    if opaque is not None and opaque.dialect == NAME:
        return Raw(opaque.raw)
    if not citation.url:
        return None
    placed = citation.start >= 0 and citation.end >= 0
    start, end = (citation.start, citation.end) if placed else (0, length)
    inner: dict[str, Any] = {
        "url": citation.url,
        "title": citation.title,
        "start_index": start + offset,
        "end_index": end + offset,
    }
    if citation.quote:
        inner["content"] = citation.quote  # OpenRouter's
    return {"type": "url_citation", "url_citation": inner}
