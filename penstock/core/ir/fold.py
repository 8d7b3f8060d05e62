"""Whole answers to events and back, and the form in which requests compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Raw
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.ir.answer import Choice, Close, Delta, End, Event, Logprobs, Open, Response, Start, Stop
from penstock.core.ir.request import Block, Citation, Message, Refusal, Request, Seal, Text, Thinking, ToolUse


def shell(block: Block) -> Block:
    """Return the block as it is at ``Open``: nothing streamed into it yet."""
    if isinstance(block, ToolUse):
        return replace(block, args="")
    if isinstance(block, Thinking):
        return replace(block, text="", seal=None)
    if isinstance(block, Text):
        return replace(block, text="", citations=())
    if isinstance(block, Refusal):
        return Refusal("")
    return block


def explode(response: Response, cut: int = 5) -> Iterator[Event]:
    """Yield a whole answer as the events that would have streamed it; ``cut`` is the size of a piece in characters.

    ``response.extra`` has no place in a stream; logprobs ride as one event per choice."""
    yield Start(response.id, response.model, response.created, None, response.service_tier)
    index = 0
    for number, choice in enumerate(response.choices):
        for block in choice.blocks:
            yield Open(index, shell(block), number)
            body = _body(block)
            for at in range(0, len(body), cut):
                yield Delta(index, body[at : at + cut])
            if isinstance(block, Text):
                for citation in block.citations:
                    yield Delta(index, citation=citation)
            elif isinstance(block, Thinking) and block.seal is not None:
                yield Delta(index, seal=block.seal)
            yield Close(index)
            index += 1
        if choice.logprobs:
            yield Logprobs(choice.logprobs, number)
        yield Stop(choice.finish, choice.stop_sequence, number)
    yield End(response.usage)


def _body(block: Block) -> str:
    if isinstance(block, ToolUse):
        return block.args
    return block.text if isinstance(block, (Text, Refusal, Thinking)) else ""


class _Growing:
    __slots__ = ("block", "choice", "citations", "parts", "seal")

    def __init__(self, block: Block, choice: int) -> None:
        self.block = block
        self.choice = choice
        self.parts: list[str] = []
        self.citations: list[Citation] = []
        self.seal: Seal | None = None

    def done(self) -> Block:
        body = "".join(self.parts)
        block = self.block
        if isinstance(block, ToolUse):
            return replace(block, args=body, seal=self.seal or block.seal)
        if isinstance(block, Thinking):
            return replace(block, text=body, seal=self.seal)
        if isinstance(block, Text):
            return replace(block, text=body, citations=tuple(self.citations))
        return Refusal(body) if isinstance(block, Refusal) else block


class Collector:
    """A fold of events back into the answer they carried, the inverse of ``explode``; also the meter's memory."""

    __slots__ = ("blocks", "end", "logprobs", "start", "stops")

    def __init__(self) -> None:
        self.start = Start("", "")
        self.blocks: dict[int, _Growing] = {}
        self.stops: dict[int, Stop] = {}
        self.logprobs: dict[int, list[bytes]] = {}
        self.end: End | None = None

    def feed(self, event: Event) -> None:
        if isinstance(event, Delta):
            growing = self.blocks[event.index]
            if event.text:
                growing.parts.append(event.text)
            if event.seal is not None:
                growing.seal = event.seal
            if event.citation is not None:
                growing.citations.append(event.citation)
        elif isinstance(event, Open):
            self.blocks[event.index] = _Growing(event.block, event.choice)
        elif isinstance(event, Stop):
            self.stops[event.choice] = event
        elif isinstance(event, Logprobs):
            self.logprobs.setdefault(event.choice, []).append(event.raw)
        elif isinstance(event, Start):
            self.start = event
        elif isinstance(event, End):
            self.end = event

    def response(self) -> Response:
        told: dict[int, list[Block]] = {number: [] for number in self.stops}
        for index in sorted(self.blocks):
            growing = self.blocks[index]
            told.setdefault(growing.choice, []).append(growing.done())
        choices = []
        for number in sorted(told):
            stop = self.stops.get(number, Stop("stop", choice=number))
            logs = join_logprobs(self.logprobs.get(number, []))
            choices.append(Choice(tuple(told[number]), stop.reason, stop.sequence, logs))
        usage = self.end.usage if self.end else None
        start = self.start
        return Response(
            id=start.id,
            model=start.model,
            choices=tuple(choices),
            usage=usage,
            created=start.created,
            service_tier=start.service_tier,
        )


def collect(events: Iterable[Event]) -> Response:
    """Fold events to the answer they tell: ``collect(explode(r)) == r`` for every answer without ``extra``."""
    collector = Collector()
    for event in events:
        collector.feed(event)
    return collector.response()


_LOGPROBS = Decoder(dict[str, list[Raw] | None])


def join_logprobs(parts: list[bytes]) -> bytes:
    """Join several chunks' logprobs objects: their ``content`` and ``refusal`` lists are appended."""
    if len(parts) < 2:
        return parts[0] if parts else b""
    whole: dict[str, list[Raw] | None] = {}
    for part in parts:
        for key, items in _LOGPROBS.decode(part).items():
            had = whole.get(key)
            if had and items:
                had += items
            else:
                whole[key] = items or had
    return encode(whole)


def canon(request: Request) -> Request:
    """Join neighbouring turns of one role, and drop empty turns.

    Dialects differ in how they cut turns (Chat: a message per tool result, Anthropic: one user turn for all); the cut
    carries no meaning, so laws compare in this form. Turns with different ``name`` stay apart."""
    turns: list[Message] = []
    for message in request.messages:
        if not message.blocks:
            continue
        last = turns[-1] if turns else None
        if last is not None and last.role == message.role and last.name == message.name:
            turns[-1] = replace(last, blocks=last.blocks + message.blocks)
        else:
            turns.append(message)
    return replace(request, messages=tuple(turns))
