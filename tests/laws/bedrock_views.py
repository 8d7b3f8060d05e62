"""What the Bedrock dialect cannot carry, written down once: the loss functions of its laws.

``as_answer``: a neutral answer as a Converse client gets it. ``minus``: a request without what ``Loss`` paths name.
``settle``: spellings of one meaning made equal.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from msgspec.json import decode, encode
from msgspec.structs import replace

from penstock.core import eventstream
from penstock.core.dialects.base import StreamDecoder
from penstock.core.dialects.bedrock import thinking, wire
from penstock.core.dialects.bedrock.blocks_out import NO_OUTPUT, SEE_DOCUMENT, is_instead
from penstock.core.dialects.bedrock.request_out import NATIVE
from penstock.core.dialects.bedrock.turns import used_tools
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
    Seal,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
    canon,
)
from tests.laws.anthropic_views import args_as_object


def run_decoder(decoder: StreamDecoder, chunks: Iterable[bytes]) -> list[Event]:
    """As ``streams.run_decoder``, in this framing."""
    frames = eventstream.Decoder()
    out: list[Event] = []
    for chunk in chunks:
        for event in frames.feed(chunk):
            out.extend(decoder.feed(event))
    for event in frames.close():
        out.extend(decoder.feed(event))
    out.extend(decoder.close())
    return out


# Answers --------------------------------------------------------------------------------------------------------------


def as_answer(response: Response, streamed: bool) -> Response:
    """The first choice, without ids, names and what has no field."""
    choice = response.choices[0] if response.choices else Choice(())
    blocks = [got for block in choice.blocks for got in _answer_block(block, streamed)]
    usage = replace(response.usage or Usage(), reasoning=0, audio_in=0, audio_out=0, estimated=False)
    if streamed and response.service_tier:
        usage = replace(usage, tier=response.service_tier)
    return Response(
        id="",
        model="",
        choices=(
            Choice(
                tuple(blocks),
                wire.finish_in(wire.finish_out(choice.finish, choice.stop_sequence), True),
                choice.stop_sequence,
            ),
        ),
        usage=usage,
        service_tier="" if streamed else response.service_tier,
    )


def _answer_block(block: Block, streamed: bool) -> tuple[Block, ...]:
    if isinstance(block, Refusal):
        return (Text(block.text),) if block.text else ()
    if isinstance(block, Thinking):
        if block.redacted:
            return () if block.seal is None else (Thinking("", block.seal, redacted=True),)
        return (Thinking(block.text, block.seal),) if block.text or block.seal is not None else ()
    if isinstance(block, ToolUse):
        args = args_as_object(block.args, block.kind)
        if streamed and block.kind == "function":
            args = block.args
        return (ToolUse(block.id, block.name, args),)
    if isinstance(block, Text):
        cited = tuple(replace(c, start=-1, end=-1) for c in block.citations if c.url)
        return (Text(block.text, citations=cited),) if block.text or cited else ()
    return ()


def plain(response: Response) -> Response:
    """Citations in no vendor's form, and without what no other dialect has."""

    def bare(block: Block) -> Block:
        if isinstance(block, Text):
            return replace(block, citations=tuple(replace(c, opaque=None) for c in block.citations))
        return block

    choices = tuple(replace(choice, blocks=tuple(map(bare, choice.blocks))) for choice in response.choices)
    return replace(response, choices=choices, extra=())


# Requests -------------------------------------------------------------------------------------------------------------

_SIMPLE = """logit_bias verbosity user metadata store cache_key previous_id include service_tier parallel_tools
presence_penalty frequency_penalty seed n logprobs top_logprobs top_k top_p max_tokens""".split()
_EMPTY = Request(model="", messages=())
_MORE = "additionalModelRequestFields."
_TYPES = {"image/jpg": "image/jpeg"}


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
        if "raised" in self.paths.get("max_tokens", ""):
            fields["max_tokens"] = (given.max_tokens or 0) + thinking.LEAST
        if self.gone("temperature"):
            fields["temperature"] = 1.0 if "sent as 1" in self.paths["temperature"] else None
        if self.gone("tool_choice.names"):
            assert given.tool_choice is not None
            fields["tool_choice"] = ToolChoice("required") if given.tool_choice.required else None
            if self.gone("tool_choice"):
                fields["tool_choice"] = None
        if given.reasoning is not None and "reasoning" not in fields:
            fields["reasoning"] = self.reasoning(given.reasoning)
        tools = tuple(self.tool(n, tool) for n, tool in enumerate(given.tools) if not self.gone(f"tools.{n}"))
        if self.gone("tools"):
            tools = tuple(
                Tool(name, "", b'{"type":"object","properties":{}}') for name in used_tools(given.messages)
            )
        return replace(
            given,
            messages=tuple(self.message(n, message) for n, message in enumerate(given.messages)),
            tools=tools,
            stop=tuple(stop for n, stop in enumerate(given.stop) if not self.gone(f"stop.{n}")),
            extra=tuple(map(self.field, (o for o in given.extra if not self.gone(f"extra.{o.kind}")))),
            **fields,
        )

    def field(self, opaque: Opaque) -> Opaque:
        if opaque.dialect == wire.NAME:
            return opaque
        kind = opaque.kind if opaque.kind in NATIVE else _MORE + opaque.kind
        return Opaque(wire.NAME, kind, opaque.raw)

    def reasoning(self, given: Reasoning) -> Reasoning:
        why = self.paths.get("reasoning.effort", "")
        budget = re.search(r"budget of (\d+)", why)
        if budget is not None:
            given = replace(given, effort="", budget=int(budget[1]))
        elif "nearest level" in why or "least effort" in why:
            given = replace(given, effort=why.rpartition(" ")[2])
        if self.gone("reasoning.display"):
            given = replace(given, display="")
        return replace(given, budget=None) if self.gone("reasoning.budget") else given

    def tool(self, number: int, tool: Tool) -> Tool:
        at = f"tools.{number}"
        if self.gone(f"{at}.opaque"):
            tool = replace(tool, opaque=None)
        if self.gone(f"{at}.strict"):
            tool = replace(tool, strict=None)
        return replace(tool, cache=None) if self.gone(f"{at}.cache") else tool

    def message(self, number: int, message: Message) -> Message:
        at = f"messages.{number}"
        why = self.paths.get(f"{at}.role")
        role = message.role
        blocks = [got for n, block in enumerate(message.blocks) for got in self.block(block, f"{at}.blocks.{n}")]
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
                parts = (got for n, part in enumerate(block.content) for got in self.block(part, f"{at}.content.{n}"))
                return (Text(f"[tool result {block.id}]"), *parts)
            return ()
        if isinstance(block, Refusal) and self.gone(f"{at}.refusal"):
            block = Text(block.text)
        if isinstance(block, Text) and block.citations:
            kept = tuple(c for n, c in enumerate(block.citations) if not self.gone(f"{at}.citations.{n}"))
            block = replace(block, citations=kept)
        if isinstance(block, Text) and self.gone(f"{at}.text"):
            block = replace(block, text=block.text.rstrip())
        for name, none in (("cache", None), ("detail", ""), ("seal", None), ("is_error", False), ("context", "")):
            if self.gone(f"{at}.{name}") and hasattr(block, name):
                assert getattr(block, name) != none, "reported as lost, but was never there"
                block = replace(block, **{name: none})
        if isinstance(block, ToolUse) and (self.gone(f"{at}.kind") or self.gone(f"{at}.args")):
            block = replace(block, args=args_as_object(block.args, block.kind), kind="function")
        if isinstance(block, ToolResult):
            content = (got for n, part in enumerate(block.content) for got in self.block(part, f"{at}.content.{n}"))
            kind = "function" if self.gone(f"{at}.kind") else block.kind
            return (replace(block, content=tuple(content), kind=kind),)
        return (block,)


def settle(request: Request) -> Request:
    """One spelling for one meaning."""
    joined = canon(replace(request, messages=tuple(_settled_message(m) for m in request.messages)))
    spoken = any(isinstance(b, (ToolUse, ToolResult)) for m in joined.messages for b in m.blocks)
    choice = request.tool_choice
    tools = tuple(_settled_tool(tool) for tool in request.tools)
    if choice is not None and choice.mode == "none" and not spoken:
        tools = ()
    if choice is not None and choice.mode in ("auto", "none") or not tools:
        choice = None
    output = request.output
    if output is not None:
        output = None if output.kind == "text" else replace(output, strict=None)
    return replace(
        joined,
        model="",
        dialect="",
        tools=tools,
        tool_choice=choice,
        parallel_tools=False if request.parallel_tools is False and tools else None,
        reasoning=_reasoning(request.reasoning),
        output=output,
        service_tier={"auto": "", "standard_only": "default"}.get(request.service_tier, request.service_tier),
        stream=False,
        stream_usage=None,
        verbosity="" if request.verbosity == "medium" else request.verbosity,
        metadata=b"" if request.metadata == b"{}" else request.metadata,
        logprobs=request.logprobs or None,
        top_logprobs=request.top_logprobs or None,
        presence_penalty=request.presence_penalty or None,
        frequency_penalty=request.frequency_penalty or None,
        n=None if request.n == 1 else request.n,
        store=request.store or None,
        include=(),
        extra=tuple(sorted((replace(o, raw=encode(decode(o.raw))) for o in request.extra), key=lambda o: o.kind)),
    )


def _reasoning(given: Reasoning | None) -> Reasoning | None:
    """Off, by itself, or so much; a budget is as good as its word."""
    if given is None or thinking.is_off(given):
        return None
    effort = "" if given.effort == "none" else given.effort
    if not effort:  # sized by the model itself, or as much as usual
        effort = thinking.effort_of(given.budget or thinking.BUDGETS["medium"])
    if effort == "minimal" and given.budget is None:
        effort = "low"
    if given.budget is not None:
        effort = thinking.effort_of(given.budget)
    return Reasoning(effort=effort)


def _settled_tool(tool: Tool) -> Tool:
    if tool.kind != "function":
        return tool
    schema = tool.schema or b'{"type":"object","properties":{}}'
    return replace(tool, schema=encode(decode(schema)), strict=tool.strict or None)


def _settled_message(message: Message) -> Message:
    blocks = [got for block in message.blocks for got in _settled_block(block)]
    results = [b for b in blocks if isinstance(b, ToolResult)]
    rest = [b for b in blocks if not isinstance(b, ToolResult)]
    return replace(message, blocks=tuple(results + rest))


def _settled_block(block: Block) -> tuple[Block, ...]:
    if isinstance(block, (Text, Refusal)) and block.text in ("", SEE_DOCUMENT, NO_OUTPUT):
        return ()
    if isinstance(block, Image):
        source = block.source
        if isinstance(source, Base64):  # a format is a word here, which has one spelling
            source = replace(source, media_type=_TYPES.get(source.media_type, source.media_type))
        return (replace(block, source=source, detail="" if block.detail == "auto" else block.detail),)
    if isinstance(block, Document):
        source = block.source
        if isinstance(source, PlainText):
            source = Base64("text/plain", base64.b64encode(source.text.encode("utf-8", "surrogatepass")).decode())
        return (replace(block, source=source, name=""),)  # names have tests of their own
    if isinstance(block, ToolUse):
        return (replace(block, args=args_as_object(block.args) if block.kind == "function" else block.args),)
    if isinstance(block, ToolResult):
        return (replace(block, content=tuple(g for part in block.content for g in _settled_block(part))),)
    if isinstance(block, Thinking):
        seal = None if block.seal is None else Seal("", block.seal.data)  # the upstream's own, by either name
        return (replace(block, seal=seal, summary=False, id=""),) if block.text or seal else ()
    if is_instead(block):
        return ()
    return (block,)
