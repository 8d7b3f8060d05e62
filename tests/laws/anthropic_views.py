"""What the Messages dialect cannot carry, written down once: the loss functions of its laws.

``as_answer``: a neutral answer as a Messages client gets it. ``minus``: a request without what ``Loss`` paths name.
``settle``: spellings of one meaning made equal (they are no losses: effort and its budget, an empty text, labels).
"""

from __future__ import annotations

import base64
import re

import msgspec
from msgspec import Raw
from msgspec.json import decode, encode
from msgspec.structs import replace

from penstock.core.dialects.anthropic import wire
from penstock.core.ir import (
    Base64,
    Block,
    Choice,
    Citation,
    Document,
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
    Usage,
    canon,
)


def args_as_object(args: str, kind: str = "function") -> str:
    """Arguments as the API carries them: one JSON object."""
    if kind != "function":
        return encode({"input": args}).decode()
    try:
        decode(args or "{}", type=dict[str, Raw])
        return args.strip() or "{}"
    except msgspec.DecodeError:
        return encode({"arguments": args}).decode()


# Answers --------------------------------------------------------------------------------------------------------------


def as_answer(response: Response, streamed: bool) -> Response:
    """The first choice, without what has no field; the client sees its own name for the model."""
    choice = response.choices[0] if response.choices else Choice(())
    blocks: list[Block] = []
    for block in choice.blocks:
        blocks.extend(_answer_block(block, streamed))
    finish = wire.finish_in(wire.finish_out(choice.finish, choice.stop_sequence), False, True)
    sequence = choice.stop_sequence if choice.finish == "stop" else ""
    usage = response.usage or Usage()
    return Response(
        id=response.id if response.id.startswith("msg_") else "msg_new",
        model="asked",
        choices=(Choice(tuple(blocks), finish, sequence),),
        usage=replace(usage, audio_in=0, audio_out=0, estimated=False),
        service_tier="standard" if response.service_tier == "default" else response.service_tier,
    )


def _answer_block(block: Block, streamed: bool) -> tuple[Block, ...]:
    if isinstance(block, Refusal):
        return (Text(block.text),)
    if isinstance(block, Thinking):
        return () if block.redacted and block.seal is None else (replace(block, summary=False, id=""),)
    if isinstance(block, ToolUse):
        if streamed and block.kind == "function":  # streamed text cannot be mended: it goes out as the model wrote it
            args = block.args or "{}"
        else:
            args = args_as_object(block.args, block.kind)
        return (ToolUse(block.id, block.name, args, seal=block.seal),)
    if isinstance(block, Opaque):
        same = block.dialect == wire.NAME
        return (replace(block, raw=encode(decode(block.raw))),) if same else ()
    if isinstance(block, Text):
        cited = tuple(replace(c, start=-1, end=-1) for c in block.citations if c.url or c.opaque)
        return (Text(block.text, citations=cited),) if block.text or streamed else ()
    return ()


def plain(response: Response) -> Response:
    """Opaque blocks compared by meaning, and without fields that no stream carries."""
    choices = []
    for choice in response.choices:
        blocks = [replace(b, raw=encode(decode(b.raw))) if isinstance(b, Opaque) else b for b in choice.blocks]
        choices.append(replace(choice, blocks=tuple(blocks)))
    return replace(response, choices=tuple(choices), extra=())


# Requests -------------------------------------------------------------------------------------------------------------


def minus(request: Request, losses: tuple[Loss, ...], model: str) -> Request:
    """``request`` with exactly what the losses name taken out, in its settled form."""
    return settle(placed(_Minus(request, {loss.path: loss.why for loss in losses}).request(model)))


def placed(request: Request) -> Request:
    """Every result in a user's turn directly after the turn that called. The ids of our examples are unique."""
    turns: list[Message] = []
    for message in request.messages:
        if turns and turns[-1].role == message.role:
            turns[-1] = replace(turns[-1], blocks=turns[-1].blocks + message.blocks)
        else:
            turns.append(message)
    called = {b.id: at for at, turn in enumerate(turns) for b in turn.blocks if isinstance(b, ToolUse)}
    out: list[Message] = []
    results = [block for turn in turns for block in turn.blocks if isinstance(block, ToolResult)]
    for at, turn in enumerate(turns):
        out.append(replace(turn, blocks=tuple(b for b in turn.blocks if not isinstance(b, ToolResult))))
        out.append(Message("user", tuple(block for block in results if called.get(block.id) == at)))
    return replace(request, messages=tuple(out))


class _Minus:
    def __init__(self, request: Request, paths: dict[str, str]) -> None:
        self.given = request
        self.paths = paths

    def gone(self, path: str) -> bool:
        return path in self.paths

    def request(self, model: str) -> Request:
        given = self.given
        fields = {}
        for name in (
            *("presence_penalty", "frequency_penalty", "seed", "n", "logprobs", "top_logprobs", "logit_bias"),
            *("verbosity", "metadata", "store", "cache_key", "previous_id", "include", "service_tier", "reasoning"),
            *("top_p", "top_k", "tool_choice"),
        ):
            if self.gone(name):
                fields[name] = getattr(_EMPTY, name)
        if self.gone("reasoning.display") and given.reasoning is not None:
            fields["reasoning"] = replace(given.reasoning, display="", summary="")
        cut = re.search(r"budget of (\d+)", self.paths.get("reasoning.effort", ""))
        if cut is not None and given.reasoning is not None and not self.gone("reasoning"):
            fields["reasoning"] = replace(given.reasoning, effort="", budget=int(cut[1]), mode="enabled")
        if self.gone("temperature"):
            fields["temperature"] = 1.0 if self.paths["temperature"].startswith("at most") else None
        if self.gone("output.description") and given.output is not None:
            fields["output"] = replace(given.output, description="")
        choice = given.tool_choice
        if self.gone("tool_choice.names") and choice is not None:
            fields["tool_choice"] = ToolChoice("required" if choice.required else "auto")
        return replace(
            given,
            model=model,
            messages=tuple(self.message(n, message) for n, message in enumerate(given.messages)),
            tools=tuple(
                replace(tool, opaque=None) if self.gone(f"tools.{n}.opaque") else tool
                for n, tool in enumerate(given.tools)
                if not self.gone(f"tools.{n}")
            ),
            stop=tuple(stop for n, stop in enumerate(given.stop) if not self.gone(f"stop.{n}")),
            extra=tuple(o for o in given.extra if not self.gone(f"extra.{o.kind}")),
            **fields,
        )

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
                return (head, *self.content(block, at))
            return ()
        if isinstance(block, Refusal) and self.gone(f"{at}.refusal"):
            block = Text(block.text)
        if isinstance(block, Text) and block.citations:
            kept = tuple(c for n, c in enumerate(block.citations) if not self.gone(f"{at}.citations.{n}"))
            block = replace(block, citations=kept)
        if isinstance(block, Text) and self.gone(f"{at}.text"):
            block = replace(block, text=block.text.rstrip())
        if isinstance(block, Image) and self.gone(f"{at}.detail"):
            block = replace(block, detail="")
        if isinstance(block, Thinking) and self.gone(f"{at}.seal"):
            block = replace(block, seal=None)
        if isinstance(block, ToolUse):
            kind = block.kind
            if self.gone(f"{at}.kind") or self.gone(f"{at}.args"):
                block = replace(block, args=args_as_object(block.args, kind), kind="function")
            if self.gone(f"{at}.seal"):
                block = replace(block, seal=None)
        if isinstance(block, ToolResult):
            kind = "function" if self.gone(f"{at}.kind") else block.kind
            block = replace(block, content=tuple(self.content(block, at)), kind=kind)
        return (block,)

    def content(self, block: ToolResult, at: str) -> list[Block]:
        return [got for n, part in enumerate(block.content) for got in self.block(part, f"{at}.content.{n}")]


_EMPTY = Request(model="", messages=())


def settle(request: Request) -> Request:
    """One spelling for one meaning."""
    joined = canon(replace(request, messages=tuple(_settled_message(m) for m in request.messages)))
    choice = request.tool_choice
    effort = _effort(request.reasoning)
    reasoning = request.reasoning
    if reasoning is not None:
        display = reasoning.display or ("summarized" if reasoning.summary else "")
        mode = "adaptive" if reasoning.mode == "adaptive" else ""
        reasoning = Reasoning(effort=effort, mode=mode, display="" if effort == "none" else display)
        reasoning = None if effort == "" and not mode else reasoning
    output = request.output
    if output is not None:
        output = None if output.kind == "text" else replace(output, name="", strict=None)
    return replace(
        joined,
        dialect="",
        tools=tuple(_settled_tool(tool) for tool in request.tools),
        tool_choice=None if choice == ToolChoice("auto") or (choice and not request.tools) else choice,
        parallel_tools=False if request.parallel_tools is False and request.tools and not _none(choice) else None,
        max_tokens=None,
        reasoning=reasoning,
        output=output,
        service_tier={"default": "standard_only"}.get(request.service_tier, request.service_tier),
        stream_usage=None,
        n=None if request.n == 1 else request.n,
        logprobs=request.logprobs or None,
        top_logprobs=request.top_logprobs or None,
        presence_penalty=request.presence_penalty or None,
        frequency_penalty=request.frequency_penalty or None,
        verbosity="" if request.verbosity == "medium" else request.verbosity,
        metadata=b"" if request.metadata == b"{}" else request.metadata,
        store=request.store or None,
        include=(),
    )


def _none(choice: ToolChoice | None) -> bool:
    return choice is not None and choice.mode == "none"


def _effort(reasoning: Reasoning | None) -> str:
    if reasoning is None:
        return ""
    if reasoning.mode == "disabled" or (not reasoning.mode and reasoning.effort == "none"):
        return "none"
    effort = "" if reasoning.mode and reasoning.effort == "none" else reasoning.effort
    if reasoning.mode == "adaptive":
        return "low" if effort == "minimal" else effort
    budget = reasoning.budget
    if budget is None and effort:
        budget = wire.BUDGETS.get(effort)
        if budget is None:
            return effort
    if budget is None and reasoning.mode == "enabled":
        return "medium"  # the API wants a budget beside "enabled": without one the middle is asked for
    return "" if budget is None else wire.effort_of(budget)


def _settled_tool(tool: Tool) -> Tool:
    return replace(tool, schema=b'{"type":"object","properties":{}}') if not tool.schema else tool


def _settled_message(message: Message) -> Message:
    blocks = [got for block in message.blocks for got in _settled_block(block)]
    results = [b for b in blocks if isinstance(b, ToolResult)]
    rest = [b for b in blocks if not isinstance(b, ToolResult)]
    return replace(message, blocks=tuple(results + rest))


def _settled_block(block: Block) -> tuple[Block, ...]:
    if isinstance(block, (Text, Refusal)) and not block.text:
        return ()
    if isinstance(block, Image):
        return (replace(block, detail="" if block.detail == "auto" else block.detail),)
    if isinstance(block, Document) and isinstance(block.source, Base64) and block.source.media_type == "text/plain":
        return (replace(block, source=_decoded(block.source)),)
    if isinstance(block, ToolUse):
        return (replace(block, args=args_as_object(block.args) if block.kind == "function" else block.args),)
    if isinstance(block, ToolResult):
        return (replace(block, content=tuple(g for part in block.content for g in _settled_block(part))),)
    if isinstance(block, Thinking):
        return (replace(block, summary=False, id=""),)
    return (block,)


def _decoded(source: Base64) -> Base64 | PlainText:
    try:
        return PlainText(base64.b64decode(source.data, validate=True).decode())
    except ValueError:
        return source


def bare(cited: Citation) -> Citation:
    return replace(cited, start=-1, end=-1)


def differences(one: Request, other: Request) -> list[str]:
    """Which fields differ and how: for readable failures."""
    out = []
    for name in Request.__struct_fields__:
        left, right = getattr(one, name), getattr(other, name)
        if left != right:
            out.append(f"{name}: {left!r} != {right!r}")
    return out
