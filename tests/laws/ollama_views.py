"""What Ollama's dialect cannot carry, written down once: the loss functions of its laws.

``as_answer``: a neutral answer as Ollama's client gets it. ``minus``: a request without what ``Loss`` paths name.
``settle``: spellings of one meaning made equal: a message is one text, then images; a call's arguments are an object.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw
from msgspec.json import decode, encode
from msgspec.json import format as json_format
from msgspec.structs import replace

from penstock.core.dialects.base import StreamDecoder
from penstock.core.dialects.ollama import names
from penstock.core.dialects.ollama.lines import Lines
from penstock.core.dialects.ollama.request_out import effort_of
from penstock.core.ir import (
    Base64,
    Block,
    Choice,
    Document,
    Event,
    Image,
    Loss,
    Message,
    Opaque,
    PlainText,
    Reasoning,
    Refusal,
    Request,
    Response,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Usage,
    canon,
)
from tests.laws.strategies import merge_texts

NO_PARAMETERS = b'{"type":"object","properties":{}}'


def run_lines(decoder: StreamDecoder, chunks: Iterable[bytes]) -> list[Event]:
    """All events of a stream that arrives as ``chunks``."""
    lines = Lines()
    out: list[Event] = []
    for chunk in chunks:
        for event in lines.feed(chunk):
            out.extend(decoder.feed(event))
    for event in lines.close():
        out.extend(decoder.feed(event))
    out.extend(decoder.close())
    return out


def args_as_object(args: str) -> str:
    """As an answer carries them: an object on one line."""
    try:
        decode(args or "{}", type=dict[str, Raw])
        return json_format(args, indent=-1) if "\n" in args or "\r" in args else args or "{}"
    except msgspec.DecodeError:
        return encode({"input": args}).decode()


# Answers --------------------------------------------------------------------------------------------------------------


def as_answer(response: Response, streamed: bool, generate: bool = False) -> Response:
    """The first choice without what has no field. A stream keeps the order of its blocks; a whole answer has all
    thoughts first, then all text, then the calls."""
    choice = response.choices[0] if response.choices else Choice(())
    blocks = [shown for block in choice.blocks if (shown := _answer_block(block, generate)) is not None]
    if streamed:
        blocks = [replace(b, args=_on_a_line(b.args)) if isinstance(b, ToolUse) else b for b in blocks]
    else:
        order = (Thinking, Text, ToolUse)
        blocks = [block for kind in order for block in blocks if isinstance(block, kind)]
    called = any(isinstance(block, ToolUse) for block in blocks)
    usage = response.usage
    counts = Usage(fresh=usage.input, output=usage.output) if usage is not None and usage.total else None
    finish = names.reason_in(names.reason_out(choice.finish), called, True)
    return Response(
        id="",
        model="asked",
        choices=(Choice(merge_texts(blocks), finish, logprobs=_logprobs(choice.logprobs)),),
        usage=counts,
        created=response.created,
    )


def _on_a_line(args: str) -> str:
    return args.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")


def _answer_block(block: Block, generate: bool) -> Block | None:
    if isinstance(block, (Text, Refusal)):
        return Text(block.text)
    if isinstance(block, Thinking):
        return None if block.redacted else Thinking(block.text)
    if isinstance(block, ToolUse) and not generate:
        return ToolUse(block.id, block.name, args_as_object(block.args))
    return None


def _logprobs(raw: bytes) -> bytes:
    if not raw:
        return b""
    rows = decode(raw, type=dict[str, list[dict[str, Raw]] | None])["content"]
    for row in rows or ():
        row.setdefault("bytes", Raw(b"null"))
        row.setdefault("top_logprobs", Raw(b"[]"))
    return encode({"content": rows, "refusal": None})


# Requests -------------------------------------------------------------------------------------------------------------


def minus(request: Request, losses: tuple[Loss, ...], model: str) -> Request:
    """``request`` with exactly what the losses name taken out, in its settled form."""
    return settle(replace(_Minus(request, {loss.path for loss in losses}).request(), model=model))


_EMPTY = Request(model="", messages=())


class _Minus:
    def __init__(self, request: Request, paths: set[str]) -> None:
        self.given = request
        self.paths = paths

    def request(self) -> Request:
        given, paths = self.given, self.paths
        gone = {name: getattr(_EMPTY, name) for name in Request.__struct_fields__ if name in paths and name != "tools"}
        tools: list[Tool] = []
        for place, tool in enumerate(given.tools):
            if "tools" not in paths and f"tools.{place}" not in paths:
                strict = None if f"tools.{place}.strict" in paths else tool.strict
                cache = None if f"tools.{place}.cache" in paths else tool.cache
                tools.append(replace(tool, strict=strict, cache=cache))
        if "output.description" in paths and given.output is not None:
            gone["output"] = replace(given.output, description="")
        gone["reasoning"] = self.reasoning()
        return replace(
            given,
            messages=tuple(self.messages()),
            tools=tuple(tools),
            extra=tuple(o for o in given.extra if f"extra.{o.kind}" not in paths),
            **gone,
        )

    def reasoning(self) -> Reasoning | None:
        had = self.given.reasoning
        if had is None:
            return None
        display = "" if "reasoning.display" in self.paths else had.display
        summary = "" if "reasoning.summary" in self.paths else had.summary
        effort = effort_of(had)
        if "reasoning.effort" in self.paths:
            effort = "low" if effort == "minimal" else "high"
        mode = "" if effort and effort != "none" else "disabled" if effort == "none" else had.mode and "enabled"
        told = Reasoning("" if effort == "none" else effort, mode=mode, display=display, summary=summary)
        return None if told == Reasoning() else told

    def messages(self) -> list[Message]:
        """In the order in which they are sent: results behind their calls."""
        out: list[Message] = []
        placed = self.placed()
        homed = {path for rows in placed.values() for path, _ in rows}
        for number, message in enumerate(self.given.messages):
            at = f"messages.{number}"
            blocks: list[Block] = []
            for place, block in enumerate(message.blocks):
                where = f"{at}.blocks.{place}"
                if where not in homed:
                    blocks += self.block(block, where)
            role = "system" if f"{at}.role" in self.paths else message.role
            out.append(Message(role, tuple(blocks), "" if f"{at}.name" in self.paths else message.name))
            for path, result in placed.get(number, ()):
                out.append(Message("user", tuple(self.block(result, path))))
        return out

    def placed(self) -> dict[int, list[tuple[str, ToolResult]]]:
        open_calls: dict[str, int] = {}
        placed: dict[int, list[tuple[str, ToolResult]]] = {}
        for number, message in enumerate(self.given.messages):
            for place, block in enumerate(message.blocks):
                where = f"messages.{number}.blocks.{place}"
                if isinstance(block, ToolUse):
                    open_calls[block.id] = number
                elif isinstance(block, ToolResult) and where not in self.paths and block.id in open_calls:
                    placed.setdefault(open_calls[block.id], []).append((where, block))
        return placed

    def block(self, block: Block, at: str) -> list[Block]:
        lost = at in self.paths
        if isinstance(block, ToolResult):
            content = [got for n, part in enumerate(block.content) for got in self.block(part, f"{at}.content.{n}")]
            if lost:
                texts = [part.text for part in content if isinstance(part, Text)]
                rest = [part for part in content if not isinstance(part, Text)]
                return [Text("\n\n".join([f"[tool result {block.id}]", *texts])), *rest]
            block = replace(
                block, content=tuple(content), is_error=block.is_error and f"{at}.is_error" not in self.paths
            )
        if lost and isinstance(block, Refusal):
            return [Text(block.text)]
        if lost and isinstance(block, Document) and isinstance(block.source, PlainText):
            return [Text(block.source.text)]
        if lost:
            return []
        if isinstance(block, ToolUse) and f"{at}.args" in self.paths:
            block = replace(block, args=args_as_object(block.args))
        changes = {
            name: empty
            for name, empty in (("cache", None), ("seal", None), ("detail", ""), ("id", ""), ("citations", ()))
            if f"{at}.{name}" in self.paths
        }
        if f"{at}.kind" in self.paths:
            changes["kind"] = "function"
        return [replace(block, **changes)]


def settle(request: Request) -> Request:
    """One spelling for one meaning; what is silent because it changes nothing is made silent on both sides."""
    joined = canon(replace(request, messages=tuple(_message(m) for m in request.messages)))
    choice, output = request.tool_choice, request.output
    if output is not None:
        kind = "json_schema" if output.schema else "json_object"
        output = None if output.kind == "text" else replace(output, kind=kind, name="", strict=None)
    return replace(
        joined,
        dialect="",
        tools=tuple(replace(t, schema=t.schema or NO_PARAMETERS, opaque=None) for t in request.tools),
        tool_choice=None if choice is not None and choice.mode == "auto" else choice,
        parallel_tools=False if request.parallel_tools is False else None,
        output=output,
        n=None if request.n == 1 else request.n,
        stream_usage=None,
        service_tier="" if request.service_tier in ("auto", "default") else request.service_tier,
        verbosity="" if request.verbosity == "medium" else request.verbosity,
        metadata=b"" if request.metadata == b"{}" else request.metadata,
        logit_bias=b"" if request.logit_bias == b"{}" else request.logit_bias,
        store=request.store or None,
        extra=tuple(sorted((_extra(o) for o in request.extra), key=lambda o: o.kind)),
    )


def _extra(opaque: Opaque) -> Opaque:
    """Ollama's own words are understood from other dialects."""
    kind = names.OPTION + opaque.kind if opaque.kind in names.OPTIONS else opaque.kind
    return replace(opaque, dialect=names.NAME, kind=kind)


def _message(message: Message) -> Message:
    return replace(message, blocks=_blocks(message.blocks, "" if message.role == "assistant" else "\n\n"))


def _blocks(blocks: Iterable[Block], joint: str) -> tuple[Block, ...]:
    """Results, then thoughts, text and images, then calls: the order in which the fields of a message are read."""
    thoughts = "".join(block.text for block in blocks if isinstance(block, Thinking))
    text = joint.join(block.text for block in blocks if isinstance(block, Text))
    out: list[Block] = [replace(b, content=_blocks(b.content, "\n\n")) for b in blocks if isinstance(b, ToolResult)]
    out += [Thinking(thoughts)] if thoughts else []
    out += [Text(text)] if text else []
    for block in blocks:
        if isinstance(block, Image) and isinstance(block.source, Base64):
            detail = "" if block.detail == "auto" else block.detail
            source = replace(block.source, media_type=names.media_type(block.source.data))
            out.append(replace(block, detail=detail, source=source))
        elif not isinstance(block, (ToolResult, Thinking, Text, Image, ToolUse)) or isinstance(block, Image):
            out.append(block)
    out += [replace(block, args=block.args or "{}") for block in blocks if isinstance(block, ToolUse)]
    return tuple(out)
