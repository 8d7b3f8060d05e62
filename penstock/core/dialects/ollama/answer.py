"""Whole answers of /api/chat read and written. See docs.ollama.com/api/chat, api/types.go ``ChatResponse``."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType
from msgspec.json import Decoder, encode
from msgspec.json import format as json_format

from penstock.core import sse
from penstock.core.dialects.base import RenderedAnswer, View
from penstock.core.dialects.ollama.errors import error_in_line
from penstock.core.dialects.ollama.messages_in import arguments
from penstock.core.dialects.ollama.names import NAME, media_type, reason_in, reason_out, seconds, timestamp
from penstock.core.dialects.openai_chat.reading import plain
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Base64,
    Block,
    Choice,
    Image,
    Loss,
    Opaque,
    Refusal,
    Response,
    Text,
    Thinking,
    ToolUse,
    Usage,
)


class Function(Struct, gc=False):
    name: str = ""
    arguments: Raw | UnsetType = UNSET


class Call(Struct, gc=False):
    function: Function
    id: str = ""


class Part(Struct, gc=False):
    """The ``message`` of an answer or of a stream's line."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Call] | None = None
    images: list[str] | None = None


class Line(Struct, gc=False):
    """An answer, or one line of it: /api/chat has ``message``, /api/generate ``response`` and ``thinking``."""

    model: str | None = None
    created_at: str | None = None
    message: Part | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    status: int | None = None


_LINE = Decoder(Line, strict=False).decode
_LOGPROBS = Decoder(list[dict[str, Raw]]).decode
_NULL = Raw(b"null")
_EMPTY = Raw(b"[]")


def read_line(data: bytes, kind: str) -> Line:
    """Parse one JSON object of an answer; ``kind`` is the error for what is none. An ``error`` in it is raised."""
    try:
        line = _LINE(data)
    except BAD_JSON:
        start = data[:120].decode("utf-8", "replace")
        raise GatewayError(kind, f"The upstream sent what is no part of an Ollama answer: {start!r}.") from None
    if line.error is not UNSET and line.error != _NULL:
        told = plain(line.error)
        raise error_in_line(told if isinstance(told, str) else encode(told).decode(), line.status or 0)
    return line


def usage_of(line: Line) -> Usage | None:
    """Read the counters; None when the line has none. A prompt that was cached whole is left out by older servers."""
    if line.prompt_eval_count is None and line.eval_count is None:
        return None
    return Usage(fresh=max(0, line.prompt_eval_count or 0), output=max(0, line.eval_count or 0))


def logprobs_in(raw: Raw | UnsetType) -> bytes:
    """Translate Ollama's list to OpenAI's ``logprobs`` object; b"" where there is none."""
    if raw is UNSET or raw == _NULL:
        return b""
    try:
        rows = _LOGPROBS(raw)
    except DecodeError:
        return b""
    for row in rows:  # OpenAI's clients insist on both
        row.setdefault("bytes", _NULL)
        row.setdefault("top_logprobs", _EMPTY)
    return encode({"content": rows, "refusal": None})


_CONTENT = Decoder(dict[str, Raw]).decode


def logprobs_out(raw: bytes) -> Raw | None:
    """Translate OpenAI's ``logprobs`` object to Ollama's list."""
    content = _CONTENT(raw).get("content")
    return None if content is None or content == _NULL else content


def call_block(call: Call, number: int) -> ToolUse:
    """Translate a call; one without an id gets ``call_N``."""
    raw = call.function.arguments
    try:
        args = arguments(None if raw is UNSET else raw, "arguments")
    except GatewayError:
        args = bytes(raw).decode() if isinstance(raw, Raw) else "{}"
    return ToolUse(call.id or f"call_{number}", call.function.name, args)


def parse_response(body: bytes) -> Response:
    """Parse a whole answer, also of /api/generate. Raises "broken_answer", or the error that came under status 200."""
    line = read_line(body, "broken_answer")
    part = line.message
    if part is None:
        if line.response is None:
            start = body[:120].decode("utf-8", "replace")
            raise GatewayError("broken_answer", f"The upstream's answer has no message; it begins {start!r}.")
        part = Part(line.response, line.thinking)
    blocks: list[Block] = []
    if part.thinking:
        blocks.append(Thinking(part.thinking))
    if part.content:
        blocks.append(Text(part.content))
    blocks += [Image(Base64(media_type(data), data)) for data in part.images or ()]
    calls = [call_block(call, number) for number, call in enumerate(part.tool_calls or ())]
    finish = reason_in(line.done_reason or "", bool(calls), bool(blocks or calls))
    choice = Choice((*blocks, *calls), finish, logprobs=logprobs_in(line.logprobs))
    return Response(
        id="", model=line.model or "", choices=(choice,), usage=usage_of(line), created=seconds(line.created_at)
    )


def call_out(block: ToolUse, place: int, path: str, losses: list[Loss]) -> dict[str, Any]:
    """Render a call for the client: its arguments are an object."""
    args = block.args or "{}"
    try:
        _CONTENT(args)
        raw = args.encode()
        # White space between tokens may hold line ends, and an answer is one line.
        told: Any = Raw(json_format(raw, indent=-1) if sse.LF in raw or sse.CR in raw else raw)
    except BAD_JSON:
        told = {"input": block.args}
        losses.append(Loss(f"{path}.args", "arguments are an object here; told as its 'input'"))
    return {"id": block.id, "function": {"index": place, "name": block.name, "arguments": told}}


def head(view: View, created: int) -> dict[str, Any]:
    """Make the fields that every object of an answer begins with."""
    return {"model": view.model, "created_at": timestamp(created or view.now)}


def figures(usage: Usage | None, first: int, total: int) -> dict[str, int]:
    """Make counters and durations of the closing object, the latter in nanoseconds; ``first``: until the answer began.
    What is nothing is left out, as the server does."""
    counts = usage or Usage()
    told = {
        "total_duration": total,
        "prompt_eval_count": counts.input,
        "prompt_eval_duration": first,
        "eval_count": counts.output,
        "eval_duration": total - first,
    }
    return {key: value for key, value in told.items() if value > 0}


class Written(Struct):
    """The blocks of one choice, sorted into the fields of a message. ``texts`` and ``thoughts``: in pieces."""

    texts: list[str] = []
    thoughts: list[str] = []
    images: list[str] = []
    calls: list[dict[str, Any]] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def thinking(self) -> str:
        return "".join(self.thoughts)


def write_blocks(blocks: tuple[Block, ...], path: str, losses: list[Loss]) -> Written:
    """Write one choice's blocks; what has no place is a loss."""
    out = Written()
    for place, block in enumerate(blocks):
        where = f"{path}.blocks.{place}"
        if isinstance(block, (Text, Refusal)):
            out.texts.append(block.text)
            if isinstance(block, Text) and block.citations:
                losses.append(Loss(f"{where}.citations", "text carries no citations here"))
        elif isinstance(block, Thinking) and not block.redacted:
            out.thoughts.append(block.text)
            if block.seal is not None:
                losses.append(Loss(f"{where}.seal", "a thought carries no signature here"))
        elif isinstance(block, ToolUse):
            if block.seal is not None:
                losses.append(Loss(f"{where}.seal", "a call carries no signature here"))
            out.calls.append(call_out(block, len(out.calls), where, losses))
        elif isinstance(block, Image) and isinstance(block.source, Base64):
            out.images.append(block.source.data)
        else:
            losses.append(Loss(where, f"an answer holds no {_kind(block)} here"))
    return out


def _kind(block: Block) -> str:
    return f"{block.kind} of {block.dialect}" if isinstance(block, Opaque) else type(block).__name__


def render_response(response: Response, view: View) -> RenderedAnswer:
    """Render the answer for a client of this dialect. Of several choices the first is told."""
    losses: list[Loss] = []
    choice = first_choice(response, losses)
    told = write_blocks(choice.blocks, "choices.0", losses)
    message: dict[str, Any] = {"role": "assistant", "content": told.text}
    for key, value in (("thinking", told.thinking), ("images", told.images), ("tool_calls", told.calls)):
        if value:
            message[key] = value
    fields = head(view, response.created) | {"message": message} | closing(choice, response.usage, view)
    return RenderedAnswer(encode(fields), tuple(losses))


def first_choice(response: Response, losses: list[Loss]) -> Choice:
    losses += [Loss(f"choices.{n}", "an answer has one choice here") for n in range(1, len(response.choices))]
    losses += [
        Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only")
        for opaque in response.extra
        if opaque.dialect != NAME
    ]
    return response.choices[0] if response.choices else Choice(())


def closing(choice: Choice, usage: Usage | None, view: View) -> dict[str, Any]:
    """Make the rest of a whole answer."""
    fields: dict[str, Any] = {"done": True, "done_reason": reason_out(choice.finish)}
    if choice.logprobs and (rows := logprobs_out(choice.logprobs)) is not None:
        fields["logprobs"] = rows
    return fields | figures(usage, 0, view.elapsed())
