"""What the Chat dialect cannot carry, written down once: the loss functions of its laws.

``Expected``: a request without what ``Loss`` paths name, as Chat says it. ``as_stream`` and ``as_whole``: a neutral
answer as a Chat client gets it.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from penstock.core.dialects.base import Wire
from penstock.core.dialects.carried import is_wordless
from penstock.core.ir import (
    Base64,
    Block,
    Choice,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    PlainText,
    Reasoning,
    Refusal,
    Request,
    Response,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from tests.laws import streams
from tests.laws.streams import merge_texts


class Expected:
    """The request as Chat can say it: everything on the list of losses is gone, nothing else is."""

    def __init__(self, request: Request, wire: Wire, lost: set[str]) -> None:
        self.request, self.wire, self.lost = request, wire, lost

    def all(self) -> Request:
        request, lost = self.request, self.lost
        gone = {key: default for key, default in DEFAULTS.items() if key in lost}
        return replace(
            request,
            **gone,
            model=self.wire.model,
            dialect="openai_chat",
            messages=tuple(self.turns()),
            tools=tuple(
                replace(
                    tool,
                    cache=None if f"tools.{n}.cache" in lost else tool.cache,
                    opaque=None if f"tools.{n}.opaque" in lost else tool.opaque,
                )
                for n, tool in enumerate(request.tools)
                if f"tools.{n}" not in lost
            ),
            reasoning=self.reasoning(),
            output=self.output(),
            stream_usage=True if request.stream and self.wire.stream_usage else None,
            extra=tuple(o for o in request.extra if f"extra.{o.kind}" not in lost),
        )

    def output(self) -> OutputFormat | None:
        """A schema must have a name here."""
        had = self.request.output
        return replace(had, name="response") if had is not None and had.schema and not had.name else had

    def reasoning(self) -> Reasoning | None:
        """Effort is all that Chat has; a budget means an effort, switched off means none."""
        had = self.request.reasoning
        if had is None:
            return None
        sizes = [(16384, "high"), (4096, "medium"), (1024, "low"), (0, "minimal")]
        derived = "" if had.budget is None else next(word for least, word in sizes if had.budget >= least)
        effort = had.effort or ("none" if had.mode == "disabled" else derived)
        assert ("reasoning.summary" in self.lost) == bool(had.summary)
        assert ("reasoning.display" in self.lost) == bool(had.display)
        return Reasoning(effort) if effort else None

    def turns(self) -> list[Message]:
        calls: dict[str, int] = {}
        results: dict[int, list[ToolResult]] = {}
        moved: dict[int, list[Block]] = {}
        rest: list[list[Block]] = []
        for t, message in enumerate(self.request.messages):
            kept: list[Block] = []
            for b, block in enumerate(message.blocks):
                path = f"messages.{t}.blocks.{b}"
                if isinstance(block, ToolResult):
                    result, media = self.result(block, path)
                    if block.id in calls:
                        assert path not in self.lost
                        results.setdefault(calls[block.id], []).append(result)
                        if media:
                            intro = Text(f"[content of tool result {block.id}]")
                            moved.setdefault(calls[block.id], []).extend([intro, *media])
                    else:
                        assert path in self.lost
                        texts = [x for inner in block.content for x in self.told(inner)]
                        kept += [Text(" ".join([f"[tool result {block.id}]", *texts])), *media]
                    continue
                if isinstance(block, ToolUse):
                    calls[block.id] = t
                kept += self.block(block, path)
            rest.append(kept)
        out: list[Message] = []
        for t, message in enumerate(self.request.messages):
            role = "system" if f"messages.{t}.role" in self.lost else message.role
            name = "" if f"messages.{t}.name" in self.lost else message.name
            blocks = self.said(rest[t]) if role == "assistant" else tuple(rest[t])
            out.append(Message(role, blocks, name))
            out.append(Message("user", tuple(results.get(t, ()))))
            out.append(Message("user", tuple(moved.get(t, ()))))
        return out

    @staticmethod
    def told(inner: Block) -> list[str]:
        if isinstance(inner, Document) and isinstance(inner.source, PlainText):
            return [inner.source.text]
        return [inner.text] if isinstance(inner, Text) else []

    def block(self, block: Block, path: str) -> list[Block]:
        if isinstance(block, Document) and isinstance(block.source, PlainText):
            assert path in self.lost
            return [Text(block.source.text, None if f"{path}.cache" in self.lost else block.cache)]
        if path in self.lost:
            return []
        for attribute, none in (("cache", None), ("seal", None), ("context", ""), ("citations", None)):
            if f"{path}.{attribute}" in self.lost:
                assert getattr(block, attribute) != none, "reported as lost, but was never there"
                block = replace(block, **{attribute: none})
        if isinstance(block, Document) and isinstance(block.source, Base64) and not block.name:
            block = replace(
                block, name={"application/pdf": "document.pdf"}.get(block.source.media_type, "document.txt")
            )
        if isinstance(block, ToolUse) and block.kind == "function":
            block = replace(block, args=block.args or "{}")
        return [block]

    def result(self, block: ToolResult, path: str) -> tuple[ToolResult, list[Block]]:
        texts: list[Block] = []
        media: list[Block] = []
        for c, inner in enumerate(block.content):
            where = f"{path}.content.{c}"
            if self.told(inner):
                texts += self.block(inner, where)
            elif not self.unsayable(inner):
                assert where in self.lost, "moved, which is to be reported"
                self.lost.discard(where)
                media += self.block(inner, where)
                self.lost.add(where)
            else:
                assert where in self.lost
        if texts == [Text("")]:
            texts = []
        cache = None if f"{path}.cache" in self.lost else block.cache
        assert (f"{path}.is_error" in self.lost) == block.is_error
        return replace(block, content=tuple(texts), is_error=False, cache=cache), media

    @staticmethod
    def unsayable(inner: Block) -> bool:
        kind = type(inner.source).__name__ if isinstance(inner, (Image, Document)) else ""
        if isinstance(inner, Image):
            return kind == "FileId"
        return kind == "Url" or (kind == "FileId" and inner.source.family != "openai")

    def said(self, blocks: list[Block]) -> tuple[Block, ...]:
        """An assistant's message has its thoughts first, then content, a lone refusal last, then the calls."""
        thoughts = [block for block in blocks if isinstance(block, Thinking)]
        if all(block.seal is None for block in thoughts) and thoughts:
            thoughts = [Thinking("".join(block.text for block in thoughts))]
        elif thoughts:
            thoughts = [block for block in thoughts if block.seal is not None]
        thoughts = [replace(block, summary=False, id="") for block in thoughts]
        content = [block for block in blocks if isinstance(block, (Text, Refusal))]
        alone = content[:-1] if sum(isinstance(block, Refusal) for block in content) == 1 else content
        if alone == [Text("")] and alone + content[len(alone) :] == content and not isinstance(content[0], Refusal):
            content = content[1:]
        return (*thoughts, *content, *(block for block in blocks if isinstance(block, ToolUse)))


DEFAULTS: dict[str, Any] = {
    "top_k": None,
    "previous_id": "",
    "include": (),
    "tool_choice": None,
    "parallel_tools": None,
}


# Answers --------------------------------------------------------------------------------------------------------------


def carried(choice: Choice) -> list[Block]:
    """The blocks of an answer that Chat can tell, each as far as it can. Foreign blocks and empty texts have no place;
    a call without arguments has an empty object; whose summary or item a thought is, is not told."""
    out: list[Block] = []
    for block in choice.blocks:
        if isinstance(block, Opaque):
            continue
        if isinstance(block, Thinking):
            block = Thinking(block.text, block.seal, block.redacted)
        elif isinstance(block, ToolUse):
            block = replace(block, args=block.args or ("{}" if block.kind == "function" else ""))
        if isinstance(block, (Text, Refusal)) and not block.text and block in (Text(""), Refusal("")):
            continue
        if block == Thinking(""):
            continue
        out.append(block)
    return out


def shifted(blocks: list[Block]) -> list[Block]:
    """Citations as they stand when neighbouring texts become one."""
    out: list[Block] = []
    length = 0
    for block in blocks:
        if isinstance(block, Text):
            moved = tuple(
                replace(c, start=c.start + length, end=c.end + length) for c in streams.placed(block).citations
            )
            length += len(block.text)
            block = replace(block, citations=moved)
        elif not isinstance(block, Opaque):
            length = 0
        out.append(block)
    return out


def finish(choice: Choice) -> str:
    """A refusal in words stops with "stop", which is read as a refusal again; so is a stop after a call."""
    nearest = {"pause": "stop", "context": "length", "refusal": "filter"}
    refused = any(isinstance(block, Refusal) for block in choice.blocks)
    reason = choice.finish if choice.finish == "refusal" and refused else nearest.get(choice.finish, choice.finish)
    if reason in ("stop", "refusal"):
        called = any(isinstance(block, ToolUse) for block in choice.blocks)
        return "tool_use" if called else "refusal" if refused else "stop"
    return reason


def named(own: str) -> str:
    """An answer's id as Chat's clients know it; "" where the gateway makes one."""
    return own if own.startswith("chatcmpl-") or not own else f"chatcmpl-{own}"


def as_stream(response: Response) -> Response:
    """Order is kept; only boundaries between equal neighbours are gone, those of thoughts excepted."""
    out = []
    for choice in response.choices:
        blocks: list[Block] = []
        run: list[Block] = []
        for block in shifted(carried(choice)):
            if isinstance(block, Thinking):
                blocks += [*merge_texts(run), block]
                run = []
            else:
                run.append(block)
        out.append(replace(choice, blocks=(*blocks, *merge_texts(run)), finish=finish(choice)))
    return replace(response, choices=tuple(out), id=named(response.id))


def as_whole(response: Response) -> Response:
    """A message has one field per kind: thoughts, one text, one refusal, calls."""
    out = []
    for choice in response.choices:
        blocks = carried(choice)
        behind = [
            after
            for before, after in zip(choice.blocks, choice.blocks[1:], strict=False)
            if isinstance(before, Text) and before.text and is_wordless(after, "anthropic")
        ]
        behind = [replace(block, summary=False, id="") for block in behind if isinstance(block, Thinking)]
        thoughts = [block for block in blocks if isinstance(block, Thinking)]
        for block in behind:  # the seal of a text stands behind it
            thoughts.remove(block)
        texts = [block for block in choice.blocks if isinstance(block, Text)]
        refusals = [block for block in blocks if isinstance(block, Refusal)]
        calls = [block for block in blocks if isinstance(block, ToolUse)]
        said = merge_texts(shifted([*texts]))
        told = (*thoughts, *said, *behind, *merge_texts(refusals), *calls)
        out.append(replace(choice, blocks=told, finish=finish(choice)))
    return replace(response, choices=tuple(out), id=named(response.id))
