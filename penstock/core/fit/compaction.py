"""A compaction that the target knows nothing of is asked for in words, and comes back as the one item it must be.

Codex ends an input with ``compaction_trigger``, and fails unless exactly one ``compaction`` item with an
``encrypted_content`` is the answer (Soju06/codex-lb issue 971). An item that only its vendor can read *is* the history:
without it the model would go on without a past, so it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.json import encode
from msgspec.structs import replace

from penstock.core.dialects.openai_responses.compaction import KINDS, TRIGGER, write_item
from penstock.core.dialects.openai_responses.names import NAME
from penstock.core.errors import GatewayError
from penstock.core.fit.base import Takes, Undo
from penstock.core.ir import (
    Close,
    Delta,
    End,
    Event,
    Loss,
    Message,
    Opaque,
    Open,
    Request,
    Response,
    Start,
    Stop,
    Text,
    ToolChoice,
)

_ASK = (
    "The conversation has become too long and is about to be replaced by a summary of it. Write that summary now, for "
    "the one who goes on with the work and sees nothing else of what was said: what the user wants and has decided, "
    "what was done and found out, with the names of files, commands, identifiers and numbers that still matter, what "
    "failed and why, the state of things at this moment, and what is to be done next. Answer with the summary alone "
    "and call no tool."
)


def fit_compaction(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Ask for a summary where a compaction is asked for. Raises "unsupported" for an item that only its vendor reads,
    and "bad_request" for a trigger that is not the last of the input."""
    if request.dialect != NAME or takes.dialect == NAME:
        return request, None
    last = request.messages[-1].blocks[-1:] if request.messages else ()
    asked = False
    for turn in request.messages:
        for block in turn.blocks:
            if type(block) is Opaque and block.dialect == NAME:
                if block.kind in KINDS and b'"encrypted_content"' in block.raw:
                    raise _unreadable(block)
                if block.kind == TRIGGER or block.kind in KINDS:  # without a content the older word asks, too
                    if block is not last[0]:
                        text = f"'{block.kind}' must be the last item of the input, and the only one."
                        raise GatewayError("bad_request", text, param="input")
                    asked = True
    return ask_summary(request, losses) if asked else (request, None)


def _unreadable(block: Opaque) -> GatewayError:
    text = (
        f"An item of type {block.kind!r} in 'input' stands for the conversation before it, and only the vendor that "
        "made it can read it. Send the conversation itself, or go on with a model of that vendor's Responses API."
    )
    return GatewayError("unsupported", text, param="input")


def ask_summary(request: Request, losses: list[Loss]) -> tuple[Request, Undo]:
    """Make a request for a summary of the conversation in ``request``, whose trigger it replaces. The tools stay, since
    calls of them stand in the conversation, but none may be called."""
    *before, final = request.messages
    kept = tuple(block for block in final.blocks if not (isinstance(block, Opaque) and block.kind in (TRIGGER, *KINDS)))
    turns = (*before, *((replace(final, blocks=kept),) if kept else ()), Message("user", (Text(_ASK),)))
    if request.output is not None and request.output.kind != "text":
        losses.append(Loss("output", "a summary is plain text"))
    tools = tuple(tool for tool in request.tools if tool.kind == "function")
    fitted = replace(
        request,
        messages=turns,
        tools=tools,
        output=None,
        stop=(),
        tool_choice=ToolChoice("none") if tools else None,
        parallel_tools=None,
    )
    return fitted, Compacted()


class Compacted(Struct, frozen=True):
    """Makes the summary that was answered the one item of the answer."""

    def response(self, response: Response) -> Response:
        blocks = response.choices[0].blocks if response.choices else ()
        item = _item("".join(block.text for block in blocks if isinstance(block, Text)))
        finish = response.choices[0].finish if response.choices else "stop"
        choice = replace(response.choices[0], blocks=(item,), finish=_finish(finish), logprobs=b"")
        return replace(response, choices=(choice,))

    def filter(self) -> _Summary:
        return _Summary()


def _finish(reason: str) -> str:
    return "stop" if reason == "tool_use" else reason


def _item(summary: str) -> Opaque:
    if not summary.strip():
        raise GatewayError("broken_answer", "The upstream was asked for a summary and answered without a text.")
    return Opaque(NAME, "compaction", encode(write_item(summary)))


class _Summary:
    """Holds back a stream's blocks, and tells the item when the answer stops."""

    __slots__ = ("_pieces", "_texts")

    def __init__(self) -> None:
        self._texts: set[int] = set()
        self._pieces: list[str] = []

    def feed(self, event: Event) -> Iterable[Event]:
        if isinstance(event, (Start, End)):
            return (event,)
        if isinstance(event, Stop):
            item = _item("".join(self._pieces))
            return (Open(0, item), Close(0), replace(event, reason=_finish(event.reason))) if not event.choice else ()
        if isinstance(event, Open) and isinstance(event.block, Text) and not event.choice:
            self._texts.add(event.index)
        elif isinstance(event, Delta) and event.index in self._texts:
            self._pieces.append(event.text)
        return ()
