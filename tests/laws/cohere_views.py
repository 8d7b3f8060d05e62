"""What Cohere's dialect cannot carry, written down once: the loss functions of its laws.

``as_answer``: a neutral answer as Cohere's client gets it. ``minus``: a request without what ``Loss`` paths name.
``settle``: spellings of one meaning made equal: texts without words say nothing, a plan stands before the content,
calls behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.json import encode
from msgspec.structs import replace

from penstock.core.dialects.cohere import names
from penstock.core.dialects.openai_chat.request_out import effort_of
from penstock.core.ir import (
    Block,
    Choice,
    Citation,
    Document,
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

NO_PARAMETERS = b'{"type":"object","properties":{}}'


# Answers --------------------------------------------------------------------------------------------------------------


def as_answer(response: Response, streamed: bool) -> Response:
    """The first choice without what has no field. A stream keeps the order of its blocks; a whole answer has the plan
    first, then texts and thoughts, then the calls."""
    choice = response.choices[0] if response.choices else Choice(())
    blocks = [shown for block in choice.blocks if (shown := _answer_block(block)) is not None]
    if not streamed:
        plan = "".join(b.text for b in blocks if isinstance(b, Thinking) and names.is_plan(b))
        said = [b for b in blocks if not isinstance(b, ToolUse) and not (isinstance(b, Thinking) and names.is_plan(b))]
        blocks = [*([Thinking(plan, names.plan_seal())] if plan else []), *said]
        blocks += [b for b in map(_answer_block, choice.blocks) if isinstance(b, ToolUse)]
    called = any(isinstance(block, ToolUse) for block in blocks)
    usage = response.usage
    if usage is not None:
        fresh = usage.input - usage.cache_read
        usage = Usage(fresh=fresh, cache_read=usage.cache_read, output=usage.output)
    finish = names.finish_in(names.finish_out(choice.finish, choice.stop_sequence, called), called, True)
    return Response(
        id=response.id,
        model="",
        choices=(Choice(tuple(blocks), finish, logprobs=_logprobs(choice.logprobs)),),
        usage=usage,
    )


def plain(response: Response) -> Response:
    """What was read, without what only says who was read: the vendor's form of citations, the bill (which is what was
    counted where nobody said otherwise)."""
    usage = response.usage
    if usage is not None and usage.billed == (usage.input, usage.output):
        usage = replace(usage, billed=None)
    choices = tuple(replace(c, blocks=tuple(map(_uncited, c.blocks))) for c in response.choices)
    return replace(response, choices=choices, usage=usage, extra=())


def _uncited(block: Block) -> Block:
    if not isinstance(block, Text):
        return block
    return replace(block, citations=tuple(replace(cited, opaque=None) for cited in block.citations))


def _answer_block(block: Block) -> Block | None:
    if isinstance(block, Text):
        cited = tuple(_cited(one) for one in block.citations if one.url)
        return Text(block.text, citations=cited) if block.text else None
    if isinstance(block, Refusal):
        return Text(block.text) if block.text else None
    if isinstance(block, Thinking):
        kept = block.seal if names.is_plan(block) else None
        return None if block.redacted or not block.text else Thinking(block.text, kept)
    if isinstance(block, ToolUse):
        return ToolUse(block.id, block.name, args_of(block))
    return None


def _cited(cited: Citation) -> Citation:
    placed = cited.start >= 0 <= cited.end
    return Citation(cited.url, cited.title, cited.quote, cited.start if placed else -1, cited.end if placed else -1)


def args_of(block: ToolUse) -> str:
    """A custom call's text is the ``input`` of an object."""
    return encode({"input": block.args}).decode() if block.kind != "function" else block.args or "{}"


def _logprobs(raw: bytes) -> bytes:
    rows = msgspec.json.decode(raw)["content"] if raw else None
    if not rows:
        return b""
    told = [
        {"token": row["token"], "logprob": float(row["logprob"]), "bytes": None, "top_logprobs": []} for row in rows
    ]
    return encode({"content": told, "refusal": None})


# Requests -------------------------------------------------------------------------------------------------------------


def minus(request: Request, losses: tuple[Loss, ...], model: str) -> Request:
    """``request`` with exactly what the losses name taken out, in its settled form."""
    return settle(replace(_Minus(request, {loss.path for loss in losses}).request(), model=model))


_EMPTY = Request(model="", messages=())
_BOUNDS = {"top_p": (0.01, 0.99), "top_k": (0, 500), "frequency_penalty": (0, 1), "presence_penalty": (0, 1)}


class _Minus:
    def __init__(self, request: Request, paths: set[str]) -> None:
        self.given = request
        self.paths = paths

    def request(self) -> Request:
        given, paths = self.given, self.paths
        gone: dict[str, Any] = {name: getattr(_EMPTY, name) for name in Request.__struct_fields__ if name in paths}
        for name, (low, high) in _BOUNDS.items():
            if name in paths:
                gone[name] = min(max(getattr(given, name), low), high)
        if "stop" in paths:
            gone["stop"] = given.stop[:5]
        if "output.description" in paths and given.output is not None:
            gone["output"] = replace(given.output, description="")
        gone["reasoning"] = self.reasoning()
        gone["tools"], gone["tool_choice"] = self.tools()
        return replace(
            given,
            messages=tuple(self.messages()),
            extra=tuple(o for o in given.extra if f"extra.{o.kind}" not in paths),
            **gone,
        )

    def tools(self) -> tuple[tuple[Tool, ...], ToolChoice | None]:
        choice = self.given.tool_choice
        some = choice is not None and choice.mode in ("named", "allowed")
        kept: list[Tool] = []
        for place, tool in enumerate(self.given.tools):
            if f"tools.{place}" in self.paths or (choice is not None and some and tool.name not in choice.names):
                continue
            changes = {
                name: None for name in ("strict", "cache", "opaque") if f"tools.{place}.{name}" in self.paths
            }
            kept.append(replace(tool, **changes))
        if choice is not None and some:
            choice = ToolChoice("required") if choice.mode == "named" or choice.required else None
        return tuple(kept), choice if kept else None

    def reasoning(self) -> Reasoning | None:
        had = self.given.reasoning
        if had is None or "reasoning" in self.paths:
            return None
        off = had.mode == "disabled" or (had.effort == "none" and not had.mode)
        on = not off and (had.mode or had.effort or had.budget is not None)
        budget = None if "reasoning.budget" in self.paths else had.budget
        assert not off or budget is None
        derived = effort_of(Reasoning(budget=had.budget)) or "high"
        kept = had.effort in ("", "none") if off else had.effort in ("", derived)
        assert kept or "reasoning.effort" in self.paths
        display = "" if "reasoning.display" in self.paths else had.display
        summary = "" if "reasoning.summary" in self.paths else had.summary
        told = Reasoning(budget=budget, mode="disabled" if off else "enabled" if on else "")
        told = replace(told, display=display, summary=summary)
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
                return [Text(f"[tool result {block.id}]"), *content]
            failed = block.is_error and f"{at}.is_error" not in self.paths
            block = replace(block, content=tuple(content), is_error=failed)
        if lost and isinstance(block, Refusal):
            return [Text(block.text)]
        if lost and isinstance(block, Document) and isinstance(block.source, PlainText):
            return [Text(block.source.text)]
        if lost:
            return []
        if isinstance(block, ToolUse) and f"{at}.kind" in self.paths:
            block = replace(block, args=args_of(block), kind="function")
        changes = {
            name: empty
            for name, empty in (("cache", None), ("seal", None), ("id", ""), ("citations", ()))
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
    tools = tuple(replace(t, schema=t.schema or NO_PARAMETERS, opaque=None) for t in request.tools)
    strict = [tool.strict for tool in tools]
    if True not in strict:  # false, and nothing, are the same
        tools = tuple(replace(tool, strict=None) for tool in tools)
    return replace(
        joined,
        dialect="",
        tools=tools,
        tool_choice=None if choice is not None and choice.mode == "auto" else choice,
        parallel_tools=False if request.parallel_tools is False else None,
        output=output,
        n=None if request.n == 1 else request.n,
        stream_usage=None,
        extra=tuple(sorted((replace(o, dialect=names.NAME) for o in request.extra), key=lambda o: o.kind)),
    )


def _message(message: Message) -> Message:
    return replace(message, blocks=_blocks(message.blocks, message.role == "assistant"))


def _blocks(blocks: Iterable[Block], said: bool = False) -> tuple[Block, ...]:
    """Results, then the plan and the content, then calls: the order in which the fields of a message are read."""
    kept = [block for block in blocks if not isinstance(block, (Text, Refusal)) or block.text]
    out: list[Block] = [replace(b, content=_blocks(b.content)) for b in kept if isinstance(b, ToolResult)]
    out += [block for block in kept if not isinstance(block, (ToolResult, ToolUse))]
    out += [replace(block, args=block.args or "{}") for block in kept if isinstance(block, ToolUse)]
    if said:
        plan = "".join(b.text for b in out if isinstance(b, Thinking) and names.is_plan(b))
        out = [b for b in out if not (isinstance(b, Thinking) and names.is_plan(b))]
        out = [Thinking(plan, names.plan_seal()), *out] if plan else out
    return tuple(out)


def own_opaques() -> tuple[Opaque, ...]:
    """Fields of the API that the neutral form does not know."""
    return (
        Opaque(names.NAME, "safety_mode", b'"STRICT"'),
        Opaque(names.NAME, "documents", b'[{"id": "1", "data": {"title": "a\\u2028"}}]'),
        Opaque(names.NAME, "citation_options", b'{"mode":"FAST"}'),
    )
