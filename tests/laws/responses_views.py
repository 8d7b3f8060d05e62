"""What the Responses dialect cannot carry, written down once: the loss functions of its laws.

``as_answer``: a neutral answer as a Responses client gets it. ``minus``: a request without what ``Loss`` paths name.
``settle``: spellings of one meaning made equal (no losses: effort and its budget, a function without parameters).
"""

from __future__ import annotations

from msgspec import Raw
from msgspec.json import decode
from msgspec.structs import replace

from penstock.core.dialects.openai_responses import names
from penstock.core.dialects.openai_responses.names import ENCRYPTED, NAME
from penstock.core.dialects.openai_responses.request_out import shown
from penstock.core.ir import (
    Base64,
    Block,
    Choice,
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
    ToolResult,
    ToolUse,
    canon,
)
from tests.laws.streams import placed

# Answers --------------------------------------------------------------------------------------------------------------


def as_answer(response: Response) -> Response:
    """The first choice, without what has no field; the client sees its own name for the model."""
    choice = response.choices[0] if response.choices else Choice(())
    blocks: list[Block] = []
    ids = _Ids()
    for block in choice.blocks:
        kept = _answer_block(block)
        if isinstance(kept, Thinking):
            kept, together = ids.named(kept)
            last = blocks[-1] if blocks else None
            if together and not kept.text and isinstance(last, Thinking):
                blocks[-1] = replace(last, seal=kept.seal)  # a seal without a text of its own is its item's
                continue
        elif kept is not None:
            ids.open = None
        if kept is not None:
            blocks.append(kept)
    refused = any(isinstance(block, Refusal) for block in blocks)
    called = any(isinstance(block, ToolUse) for block in blocks)
    reason = names.finish_out(choice.finish, refused)
    finish = names.finish_in("incomplete" if reason else "completed", reason, called, refused)
    said = any(isinstance(block, Text) for block in blocks)
    return Response(
        id=response.id if response.id.startswith("resp_") else "resp_new",
        model="asked",
        choices=(Choice(tuple(blocks), finish, "", choice.logprobs if said else b""),),
        usage=None if response.usage is None else replace(response.usage, estimated=False),
        created=response.created,
        service_tier=response.service_tier or "default",
    )


def _answer_block(block: Block) -> Block | None:
    if isinstance(block, ToolUse):
        args = block.args or ("{}" if block.kind == "function" else "")
        return ToolUse(block.id, block.name, args, block.kind, seal=block.seal)
    if isinstance(block, Opaque):
        return block if block.dialect == NAME else None
    if isinstance(block, Text):
        return replace(placed(block), cache=None) if block.text or block.citations else None
    if isinstance(block, Thinking):
        return block if block.text or block.seal is not None else None
    return block


class _Ids:
    """Thoughts get the id of their item; one id names one item, so a later item of the same id has a new one."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.open: Thinking | None = None
        self.id = ""

    def named(self, block: Thinking) -> tuple[Thinking, bool]:
        """The thought as it comes back, and whether it belongs to the item of the one before."""
        before = self.open
        together = before is not None and before.id == block.id != "" and not (before.redacted or block.redacted)
        together = together and before is not None and before.seal is None and (before.summary or not block.summary)
        if not together:
            self.id = block.id if block.id and block.id not in self.used else "rs_new"
            self.used.add(self.id)
        self.open = block
        return replace(block, id=self.id, summary=block.summary and bool(block.text)), together


def plain(response: Response) -> Response:
    """Log probabilities compared by their list, and without fields that no stream carries."""
    choices = []
    for choice in response.choices:
        logs = choice.logprobs
        if logs:
            logs = b",".join(bytes(raw) for raw in decode(logs, type=dict[str, list[Raw] | None])["content"] or [])
        choices.append(replace(choice, logprobs=logs))
    return replace(response, choices=tuple(choices), extra=())


# Requests -------------------------------------------------------------------------------------------------------------


def minus(request: Request, losses: tuple[Loss, ...], model: str) -> Request:
    """``request`` with exactly what the losses name taken out, in its settled form."""
    return settle(_Minus(request, {loss.path for loss in losses}).request(model))


_EMPTY = Request(model="", messages=())
_WHOLE = ("top_k", "seed", "n", "presence_penalty", "frequency_penalty", "stop", "logit_bias", "tool_choice")


class _Minus:
    def __init__(self, request: Request, paths: set[str]) -> None:
        self.given = request
        self.paths = paths

    def gone(self, path: str) -> bool:
        return path in self.paths

    def request(self, model: str) -> Request:
        given = self.given
        fields = {name: getattr(_EMPTY, name) for name in _WHOLE if self.gone(name)}
        if self.gone("max_tokens"):
            fields["max_tokens"] = 16
        return replace(
            given,
            model=model,
            messages=tuple(self.message(n, message) for n, message in enumerate(given.messages)),
            tools=tuple(self.tool(t, f"tools.{n}") for n, t in enumerate(given.tools) if not self.gone(f"tools.{n}")),
            extra=tuple(o for o in given.extra if not self.gone(f"extra.{o.kind}")),
            reasoning=self.reasoning(given.reasoning),
            **fields,
        )

    def reasoning(self, reasoning: Reasoning | None) -> Reasoning | None:
        if reasoning is None:
            return None
        fields = {n: getattr(Reasoning(), n) for n in ("budget", "mode", "display") if self.gone(f"reasoning.{n}")}
        return replace(reasoning, **fields)

    def tool(self, tool: Tool, at: str) -> Tool:
        cache = None if self.gone(f"{at}.cache") else tool.cache
        return replace(tool, cache=cache, opaque=None if self.gone(f"{at}.opaque") else tool.opaque)

    def message(self, number: int, message: Message) -> Message:
        at = f"messages.{number}"
        blocks = [got for n, block in enumerate(message.blocks) for got in self.block(block, f"{at}.blocks.{n}")]
        return Message(message.role, tuple(blocks), "" if self.gone(f"{at}.name") else message.name)

    def block(self, block: Block, at: str) -> tuple[Block, ...]:
        if self.gone(at):
            if isinstance(block, ToolResult):
                return (Text(f"[tool result {block.id}]"), *self.content(block, at))
            if isinstance(block, Document) and isinstance(block.source, PlainText):
                return (Text(block.source.text),)
            return ()
        if isinstance(block, Refusal) and self.gone(f"{at}.refusal"):
            return (Text(block.text),)
        changes: dict[str, object] = {}
        for name, empty in (("cache", None), ("seal", None), ("context", ""), ("is_error", False)):
            if self.gone(f"{at}.{name}"):
                changes[name] = empty
        if self.gone(f"{at}.citations"):
            changes["citations"] = () if isinstance(block, Text) else None
        elif isinstance(block, Text):
            changes["citations"] = tuple(
                c for n, c in enumerate(block.citations) if not self.gone(f"{at}.citations.{n}")
            )
        if isinstance(block, ToolResult):
            changes["content"] = tuple(self.content(block, at))
        return (replace(block, **changes),)

    def content(self, block: ToolResult, at: str) -> list[Block]:
        return [got for n, part in enumerate(block.content) for got in self.block(part, f"{at}.content.{n}")]


def settle(request: Request) -> Request:
    """One spelling for one meaning."""
    joined = canon(replace(request, messages=tuple(_settled_message(message) for message in request.messages)))
    output = request.output
    if output is not None and output.kind == "json_schema":
        output = replace(output, name=output.name or "response")
    return replace(
        joined,
        dialect="",
        tools=tuple(_settled_tool(tool) for tool in request.tools),
        reasoning=_settled_reasoning(request.reasoning),
        output=output,
        include=tuple(name for name in request.include if name != ENCRYPTED),
        store=bool(request.store),
        metadata=b"" if request.metadata == b"{}" else request.metadata,
        n=None if request.n == 1 else request.n,
        logprobs=request.logprobs or None,
        presence_penalty=request.presence_penalty or None,
        frequency_penalty=request.frequency_penalty or None,
        stream_usage=None,
    )


def without_summaries(request: Request) -> Request:
    """Engines get summaries as the thoughts themselves."""
    turns = []
    for message in request.messages:
        blocks = tuple(replace(b, summary=False) if isinstance(b, Thinking) else b for b in message.blocks)
        turns.append(replace(message, blocks=blocks))
    return replace(request, messages=tuple(turns))


def _settled_reasoning(reasoning: Reasoning | None) -> Reasoning | None:
    if reasoning is None:
        return None
    effort = reasoning.effort or ("none" if reasoning.mode == "disabled" else "")
    if not effort and reasoning.budget is not None:
        effort = names.effort_of(reasoning.budget)
    summary = reasoning.summary
    if not summary and (reasoning.display == "summarized" or effort and shown(reasoning)):
        summary = "auto"
    return Reasoning(effort=effort, summary=summary) if effort or summary else None


def _settled_tool(tool: Tool) -> Tool:
    if tool.kind != "function":
        return replace(tool, description="")
    return replace(tool, schema=tool.schema or b'{"type":"object","properties":{}}', strict=bool(tool.strict))


def _settled_message(message: Message) -> Message:
    blocks: list[Block] = []
    for block in message.blocks:
        if isinstance(block, ToolUse) and block.kind == "function":
            block = replace(block, args=block.args or "{}")
        elif isinstance(block, ToolResult):
            content = tuple(_named(part) for part in block.content)
            block = replace(block, content=() if content == (Text(""),) else content)
        elif isinstance(block, Thinking):
            if not block.text and block.seal is None:
                continue
            block = replace(block, redacted=False, summary=block.summary and bool(block.text))
            last = blocks[-1] if blocks else None
            if isinstance(last, Thinking) and not block.text and last.seal is None and last.id == block.id != "":
                blocks[-1] = replace(last, seal=block.seal)
                continue
        blocks.append(_named(block))
    return replace(message, blocks=tuple(blocks))


def _named(block: Block) -> Block:
    if isinstance(block, Document) and isinstance(block.source, Base64) and not block.name:
        return replace(block, name={"text/plain": "document.txt"}.get(block.source.media_type, "document.pdf"))
    return block
