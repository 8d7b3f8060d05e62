"""What the Gemini dialect cannot carry, written down once: the loss functions of its laws.

``fit``: an answer that says something, and whose citations lie inside their texts. ``as_answer``: a neutral answer as a Gemini client gets it.
``minus``: a request without what ``Loss`` paths name. ``settle``: spellings of one meaning made equal.
"""

from __future__ import annotations

import base64
import re

import msgspec
from msgspec.json import encode
from msgspec.structs import replace

from penstock.core.dialects.gemini import logprobs, thinking, wire
from penstock.core.ir import (
    Audio,
    Base64,
    Block,
    Choice,
    Document,
    FileId,
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
    ToolChoice,
    ToolResult,
    ToolUse,
    Url,
    Usage,
    canon,
)
from tests.laws.anthropic_views import args_as_object

# Answers --------------------------------------------------------------------------------------------------------------


def fit(response: Response) -> Response:
    def cited(block: Block) -> Block:
        if not isinstance(block, Text) or not block.citations:
            return block
        kept = block.citations[:1] if block.text else ()
        return replace(block, citations=tuple(replace(c, start=0, end=len(block.text), quote="") for c in kept))

    choices = [replace(choice, blocks=tuple(map(cited, choice.blocks))) for choice in response.choices]
    return says(replace(response, choices=tuple(choices)))


def says(response: Response) -> Response:
    """An answer without a word is a failure of this API: one that a client of it would get none of says something."""
    choices = [
        choice if _choice(choice, False).blocks else replace(choice, blocks=(*choice.blocks, Text("said")))
        for choice in response.choices
    ]
    return replace(response, choices=tuple(choices))


def as_answer(response: Response, streamed: bool = False) -> Response:
    """``streamed``: an event is one line, so that white space of several lines between a call's tokens goes."""
    return Response(
        id=response.id or "new",
        model="asked",
        choices=tuple(_choice(choice, streamed) for choice in response.choices),
        usage=None if response.usage is None else _usage(response.usage),
    )


def _usage(usage: Usage) -> Usage:
    written = usage.cache_write + usage.cache_write_1h
    return replace(usage, fresh=usage.fresh + written, cache_write=0, cache_write_1h=0, estimated=False, tier="")


def _choice(choice: Choice, streamed: bool) -> Choice:
    blocks: list[Block] = []
    for block in choice.blocks:
        if isinstance(block, Refusal):
            block = Text(block.text)
        if isinstance(block, Opaque):
            continue
        if isinstance(block, Text):
            _add_text(blocks, block)
        elif isinstance(block, Thinking):
            _add_thought(blocks, replace(block, summary=False, id=""))
        elif isinstance(block, ToolUse):
            args = args_as_object(block.args, block.kind)
            if streamed and ("\n" in args or "\r" in args):
                args = msgspec.json.format(args, indent=-1)
            blocks.append(replace(block, args=args, kind="function", cache=None))
    called = any(isinstance(block, ToolUse) for block in blocks)
    finish = wire.finish_in(wire.finish_out(choice.finish), called, True)
    return Choice(tuple(_placed(block) for block in blocks), finish, "", tokens(choice.logprobs))


def _add_text(blocks: list[Block], block: Text) -> None:
    last = blocks[-1] if blocks else None
    if isinstance(last, Text):
        size = len(last.text)
        moved = tuple(replace(c, start=c.start + size, end=c.end + size) for c in block.citations)
        blocks[-1] = Text(last.text + block.text, citations=last.citations + moved)
    elif block.text:
        blocks.append(Text(block.text, citations=block.citations))


def _add_thought(blocks: list[Block], block: Thinking) -> None:
    """A thought goes on until it is signed."""
    last = blocks[-1] if blocks else None
    if not block.text and block.seal is None:
        return
    if isinstance(last, Thinking) and last.seal is None and not block.redacted:
        blocks[-1] = replace(last, text=last.text + block.text, seal=block.seal)
    else:
        blocks.append(block)


def _placed(block: Block) -> Block:
    """Places count bytes: in a text that is not ASCII they are not told."""
    if isinstance(block, Text) and not block.text.isascii():
        return replace(block, citations=tuple(replace(c, start=-1, end=-1) for c in block.citations))
    return block


def tokens(raw: bytes) -> bytes:
    """Only tokens and their probabilities are carried; their bytes follow from them."""
    told = logprobs.from_openai(raw)
    return b"" if told is None else logprobs.to_openai(encode(told))


def plain(response: Response) -> Response:
    return replace(response, extra=())


# Requests -------------------------------------------------------------------------------------------------------------

_SIMPLE = "logit_bias verbosity user metadata store cache_key previous_id include service_tier parallel_tools".split()
_EMPTY = Request(model="", messages=())


def minus(request: Request, losses: tuple[Loss, ...]) -> Request:
    """``request`` with exactly what the losses name taken out, in its settled form."""
    return settle(_Minus(request, {loss.path: loss.why for loss in losses}).request())


class _Minus:
    def __init__(self, request: Request, paths: dict[str, str]) -> None:
        self.given = request
        self.paths = paths

    def gone(self, path: str) -> bool:
        return path in self.paths

    def request(self) -> Request:
        given = self.given
        fields = {name: getattr(_EMPTY, name) for name in (*_SIMPLE, "tool_choice", "reasoning") if self.gone(name)}
        if given.reasoning is not None and "reasoning" not in fields:
            fields["reasoning"] = self.reasoning(given.reasoning)
        if self.gone("output.description") and given.output is not None:
            fields["output"] = replace(given.output, description="")
        return replace(
            given,
            messages=tuple(self.message(n, message) for n, message in enumerate(given.messages)),
            tools=tuple(self.tool(n, tool) for n, tool in enumerate(given.tools) if not self.gone(f"tools.{n}")),
            stop=tuple(stop for n, stop in enumerate(given.stop) if not self.gone(f"stop.{n}")),
            extra=tuple(o for o in given.extra if not self.gone(f"extra.{o.kind}")),
            **fields,
        )

    def reasoning(self, given: Reasoning) -> Reasoning:
        why = self.paths.get("reasoning.effort", "")
        budget = re.search(r"budget of (\d+)", why)
        if budget is not None:
            given = replace(given, effort="", budget=int(budget[1]))
        elif "least level" in why:
            given = Reasoning(effort=why.rpartition(" ")[2].lower(), display="omitted")
        elif "least budget" in why:
            given = Reasoning(budget=thinking.LEAST_OF_PRO, display="omitted")
        elif "nearest level" in why:
            given = replace(given, effort=why.rpartition(" ")[2].lower())
        return replace(given, budget=None) if self.gone("reasoning.budget") else given

    def tool(self, number: int, tool: Tool) -> Tool:
        at = f"tools.{number}"
        if self.gone(f"{at}.strict"):
            tool = replace(tool, strict=None)
        if self.gone(f"{at}.opaque"):
            tool = replace(tool, opaque=None)
        return replace(tool, cache=None) if self.gone(f"{at}.cache") else tool

    def message(self, number: int, message: Message) -> Message:
        at = f"messages.{number}"
        why = self.paths.get(f"{at}.role")
        role = message.role
        blocks: list[Block] = []
        for n, block in enumerate(message.blocks):
            blocks.extend(self.block(block, f"{at}.blocks.{n}"))
        if why is not None:
            role = "user" if "<system>" in why else "system"
            if role == "user":
                blocks = [
                    replace(b, text=f"<system>{b.text}</system>") if isinstance(b, Text) and b.text else b
                    for b in blocks
                ]
        return Message(role, tuple(blocks), "" if self.gone(f"{at}.name") else message.name)

    def block(self, block: Block, at: str) -> tuple[Block, ...]:
        if self.gone(at):
            if isinstance(block, ToolResult):
                head = Text(f"[tool result {block.id}]")
                return (
                    head,
                    *(got for n, part in enumerate(block.content) for got in self.part(part, f"{at}.content.{n}")),
                )
            return ()
        if isinstance(block, Refusal) and self.gone(f"{at}.refusal"):
            block = Text(block.text)
        if isinstance(block, Text) and block.citations:
            kept = tuple(c for n, c in enumerate(block.citations) if not self.gone(f"{at}.citations.{n}"))
            block = replace(block, citations=kept)
        for name, none in (
            ("cache", None),
            ("detail", ""),
            ("name", ""),
            ("context", ""),
            ("citations", None),
            ("seal", None),
        ):
            if self.gone(f"{at}.{name}") and not isinstance(block, Text) and hasattr(block, name):
                assert getattr(block, name) != none, "reported as lost, but was never there"
                block = replace(block, **{name: none})
        if isinstance(block, Text) and self.gone(f"{at}.cache"):
            block = replace(block, cache=None)
        if isinstance(block, ToolUse) and (self.gone(f"{at}.kind") or self.gone(f"{at}.args")):
            block = replace(block, args=args_as_object(block.args, block.kind), kind="function")
        if isinstance(block, ToolResult):
            return self.result(block, at)
        return (block,)

    def result(self, block: ToolResult, at: str) -> tuple[Block, ...]:
        kind = "function" if self.gone(f"{at}.kind") else block.kind
        content: list[Block] = []
        moved: list[Block] = []
        for n, part in enumerate(block.content):
            where = f"{at}.content.{n}"
            why = self.paths.get(where, "")
            (moved if why.startswith("moved") else content).extend(self.part(part, where))
        texts = [part for part in content if isinstance(part, Text)]
        media = [part for part in content if not isinstance(part, Text)]
        return (replace(block, content=(*texts, *media), kind=kind), *moved)

    def part(self, part: Block, where: str) -> tuple[Block, ...]:
        """A part that was moved is reported and still there."""
        why = self.paths.pop(where, None)
        if why is not None and not why.startswith("moved"):
            return ()
        return self.block(part, where)


def settle(request: Request) -> Request:
    """One spelling for one meaning."""
    joined = canon(replace(request, messages=tuple(_settled_message(m) for m in request.messages)))
    choice = request.tool_choice
    if choice is not None and choice.mode == "allowed" and choice.required and len(choice.names) == 1:
        choice = ToolChoice("named", choice.names)
    functions = any(tool.kind == "function" for tool in request.tools)
    output = request.output
    if output is not None:
        output = replace(output, name="", strict=None)
    return replace(
        joined,
        model="",
        dialect="",
        tools=tuple(replace(tool, strict=tool.strict or None) for tool in request.tools),
        tool_choice=choice if functions else None,
        parallel_tools=False if request.parallel_tools is False and functions else None,
        reasoning=_reasoning(request.reasoning),
        output=output,
        service_tier="" if request.service_tier in ("auto", "default") else request.service_tier,
        stream=False,
        stream_usage=None,
        verbosity="" if request.verbosity == "medium" else request.verbosity,
        metadata=b"" if request.metadata == b"{}" else request.metadata,
        store=request.store or None,
        include=(),
    )


def _reasoning(given: Reasoning | None) -> Reasoning | None:
    """Off, by itself, or so much; a budget is as good as its word."""
    if given is None:
        return None
    if given.mode == "disabled" or (not given.mode and given.effort == "none"):
        return Reasoning(mode="disabled")
    effort = "" if given.effort == "none" else given.effort
    if given.budget is not None:
        effort = thinking.effort_of(given.budget)
    elif not effort and given.mode:
        effort = "dynamic"
    display = given.display or ("summarized" if given.summary else "")
    display = display or ("summarized" if effort else "")
    return None if not effort and not display else Reasoning(effort=effort, display=display)


def _settled_message(message: Message) -> Message:
    blocks = [got for block in message.blocks for got in _settled_block(block)]
    results = [b for b in blocks if isinstance(b, ToolResult)]
    rest = [b for b in blocks if not isinstance(b, ToolResult)]
    return replace(message, blocks=tuple(results + rest))


def _settled_block(block: Block) -> tuple[Block, ...]:
    if isinstance(block, (Text, Refusal)) and not block.text:
        return ()
    if isinstance(block, Image) and isinstance(block.source, FileId):
        return (Document(block.source, cache=block.cache),)  # what kind of file it is, the vendor knows
    if isinstance(block, Image):
        detail = "" if block.detail == "auto" else block.detail
        source = Url(block.source.url) if isinstance(block.source, Url) else block.source
        return (replace(block, detail=detail, source=source),)
    if isinstance(block, Document):
        source = block.source
        if isinstance(source, PlainText):
            source = Base64("text/plain", base64.b64encode(source.text.encode("utf-8", "surrogatepass")).decode())
        if isinstance(source, Url):
            source = Url(source.url)
        if isinstance(source, Url) and source.url.endswith("a.png"):
            return (Image(source, cache=block.cache),)  # the address says that it is an image
        return (replace(block, source=source),)
    if isinstance(block, Audio):
        return (block,)
    if isinstance(block, ToolUse):
        args = args_as_object(block.args) if block.kind == "function" else block.args
        return (replace(block, args=args),)
    if isinstance(block, ToolResult):
        return (replace(block, content=tuple(g for part in block.content for g in _settled_block(part))),)
    if isinstance(block, Thinking):
        redacted = block.redacted and (block.seal is None or block.seal.family != wire.FAMILY)
        return (replace(block, redacted=redacted, summary=False, id=""),) if block.text or block.seal else ()
    return (block,)
