"""Whole answers of ``/v2/chat`` read and written. Sources as in ``names``."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.base import RenderedAnswer, View
from penstock.core.dialects.cohere import citations, logprobs, usage
from penstock.core.dialects.cohere.errors import failed, parse_error
from penstock.core.dialects.cohere.messages_in import read_content, read_said
from penstock.core.dialects.cohere.names import CITATIONS, FAILED, NAME, finish_in, finish_out, is_plan
from penstock.core.dialects.openai_chat.reading import items, mapping, optional_text, present
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Block, Choice, Loss, Opaque, Refusal, Response, Text, Thinking, ToolUse

_TOP = Decoder(dict[str, Raw]).decode
_KNOWN = frozenset(("id", "model", "message", "finish_reason", "usage", "logprobs"))


def parse_response(body: bytes) -> Response:
    """Parse a whole answer. The API does not name the model. Raises "broken_answer" for what is no answer, and the
    error of one that failed."""
    try:
        fields = _TOP(body)
        if "message" in fields and bytes(memoryview(fields["message"])[:1]) == b'"':
            raise parse_error(500, {}, body)  # an error under status 200
        message = mapping(fields["message"], "message")
        return _read(fields, message)
    except (*BAD_JSON, KeyError):
        start = body[:120].decode("utf-8", "replace")
        text = f"The upstream's answer is no chat answer; it begins {start!r}."
        raise GatewayError("broken_answer", text) from None
    except GatewayError as error:
        if error.kind != "bad_request":
            raise
        raise GatewayError("broken_answer", f"The upstream's answer is broken: {error.message}") from None


def _read(fields: dict[str, Raw], message: dict[str, Raw]) -> Response:
    reason = optional_text(fields, "finish_reason", "")
    if reason in FAILED:
        raise failed(reason, "")
    content = read_content(present(message, "content"), "message.content")
    blocks, rest = read_said(message, content, "message")
    extra = [
        Opaque(NAME, key, bytes(raw))
        for key, raw in fields.items()
        if key not in _KNOWN and bytes(memoryview(raw)[:4]) != b"null"
    ]
    if rest:
        extra.append(Opaque(NAME, CITATIONS, encode(rest)))
    rows = present(fields, "logprobs")
    told = logprobs.to_openai(items(rows, "logprobs")) if rows is not None else b""
    called = any(isinstance(block, ToolUse) for block in blocks)
    return Response(
        id=optional_text(fields, "id", ""),
        model=optional_text(fields, "model", ""),
        choices=(Choice(tuple(blocks), finish_in(reason, called, bool(blocks)), logprobs=told),),
        usage=usage.read(present(fields, "usage")),
        extra=tuple(extra),
    )


class Written:
    """The blocks of one answer, sorted into the fields of a message."""

    __slots__ = ("calls", "citations", "content", "plan")

    def __init__(self) -> None:
        self.content: list[Any] = []
        self.calls: list[dict[str, Any]] = []
        self.citations: list[Any] = []
        self.plan: list[str] = []

    def add(self, block: Block, where: str, losses: list[Loss]) -> None:
        """Add a block; what has no place is a loss."""
        if isinstance(block, (Text, Refusal)):
            if not block.text:
                return
            if isinstance(block, Text):
                told = citations.written(block, len(self.content))
                self.citations += told
                if untold(block):
                    losses.append(Loss(f"{where}.citations", "a citation has a document here"))
            self.content.append({"type": "text", "text": block.text})
        elif isinstance(block, Thinking) and is_plan(block):
            self.plan.append(block.text)
        elif isinstance(block, Thinking) and not block.redacted:
            if block.text:
                self.content.append({"type": "thinking", "thinking": block.text})
            if block.seal is not None:
                losses.append(Loss(f"{where}.seal", "a thought carries no signature here"))
        elif isinstance(block, ToolUse):
            self.calls.append(call_out(block, where, losses))
        elif isinstance(block, Opaque) and block.dialect == NAME:
            self.content.append(Raw(block.raw))
        else:
            losses.append(Loss(where, f"an answer holds no {kind_of(block)} here"))

    def fields(self) -> dict[str, Any]:
        out: dict[str, Any] = {"role": "assistant"}
        if any(self.plan):
            out["tool_plan"] = "".join(self.plan)
        if self.content:
            out["content"] = self.content
        if self.calls:
            out["tool_calls"] = self.calls
        if self.citations:
            out["citations"] = self.citations
        return out


def untold(block: Text) -> bool:
    """Tell whether a text has a citation that this dialect cannot tell: one without an address."""
    return any(
        not cited.url and (cited.opaque is None or cited.opaque.dialect != NAME) for cited in block.citations
    )


def kind_of(block: Block) -> str:
    return f"{block.kind} of {block.dialect}" if isinstance(block, Opaque) else type(block).__name__


def call_out(block: ToolUse, where: str, losses: list[Loss]) -> dict[str, Any]:
    """Render a call for the client."""
    arguments = block.args or "{}"
    if block.kind != "function":
        losses.append(Loss(f"{where}.kind", "a call is of a function here; told as its 'input'"))
        arguments = encode({"input": block.args}).decode()
    if block.seal is not None:
        losses.append(Loss(f"{where}.seal", "a call carries no signature here"))
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


def render_response(response: Response, view: View) -> RenderedAnswer:
    """Render the answer for a client of this dialect. Of several choices the first is told."""
    losses = [Loss(f"choices.{n}", "an answer has one choice here") for n in range(1, len(response.choices))]
    choice = response.choices[0] if response.choices else Choice(())
    told = Written()
    for place, block in enumerate(choice.blocks):
        told.add(block, f"choices.0.blocks.{place}", losses)
    reason = finish_out(choice.finish, choice.stop_sequence, bool(told.calls))
    if choice.stop_sequence:
        losses.append(Loss("choices.0.stop_sequence", "which one it was is not told here"))
    fields: dict[str, Any] = {"id": response.id or view.mint(""), "finish_reason": reason}
    for opaque in response.extra:
        if opaque.dialect != NAME:
            losses.append(Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only"))
        elif opaque.kind == CITATIONS:
            told.citations += Decoder(list[Raw]).decode(opaque.raw)
        else:
            fields[opaque.kind] = Raw(opaque.raw)
    fields["message"] = told.fields()
    if response.usage is not None:
        fields["usage"] = usage.written(response.usage)
    if choice.logprobs and (rows := logprobs.to_cohere(choice.logprobs)):
        fields["logprobs"] = rows
    return RenderedAnswer(encode(fields), tuple(losses))
