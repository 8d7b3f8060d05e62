"""Streams in tests: cut, decoded, encoded, and what a format without block boundaries makes of an answer."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects.base import StreamDecoder, StreamEncoder
from penstock.core.ir import Block, Close, Delta, Event, Open, Refusal, Text, Thinking


def chop(data: bytes, where: list[int]) -> list[bytes]:
    """``data`` in pieces, cut at the positions ``where`` (taken modulo its length, so any list will do)."""
    marks = sorted({at % (len(data) + 1) for at in where})
    return [data[i:j] for i, j in zip([0, *marks], [*marks, len(data)], strict=True)]


def run_decoder(decoder: StreamDecoder, chunks: Iterable[bytes]) -> list[Event]:
    """All events of a stream that arrives as ``chunks``, from the first byte to the close."""
    lines = sse.Decoder()
    out: list[Event] = []
    for chunk in chunks:
        for event in lines.feed(chunk):
            out.extend(decoder.feed(event))
    for event in lines.close():
        out.extend(decoder.feed(event))
    out.extend(decoder.close())
    return out


def run_encoder(encoder: StreamEncoder, events: Iterable[Event]) -> bytes:
    return b"".join(encoder.feed(event) for event in events)


def merge_texts(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Neighbouring plain texts, refusals and thoughts as one, empty ones dropped: what a format without block
    boundaries makes of them."""
    out: list[Block] = []
    for block in blocks:
        last = out[-1] if out else None
        if (
            isinstance(block, (Text, Refusal, Thinking))
            and not block.text
            and replace(block, text="") == type(block)("")
        ):
            continue
        if isinstance(last, Text) and isinstance(block, Text):
            out[-1] = replace(last, text=last.text + block.text, citations=last.citations + block.citations)
        elif isinstance(last, Refusal) and isinstance(block, Refusal):
            out[-1] = Refusal(last.text + block.text)
        elif isinstance(last, Thinking) and isinstance(block, Thinking) and not (last.seal or block.seal):
            out[-1] = replace(last, text=last.text + block.text)
        else:
            out.append(block)
    return tuple(out)


def placed(block: Text) -> Text:
    """OpenAI's annotations must have a place: one without covers the whole text."""
    size = len(block.text)
    return replace(
        block,
        citations=tuple(c if c.start >= 0 and c.end >= 0 else replace(c, start=0, end=size) for c in block.citations),
    )


def interleave(events: list[Event], picks: list[int]) -> list[Event]:
    """Blocks opened at once and told in turns, as Chat's parallel calls may come."""
    start, end = events[0], events[-1]
    lanes: dict[int, list[Event]] = {}
    rest: list[Event] = []
    for event in events[1:-1]:
        if isinstance(event, (Open, Delta, Close)):
            lanes.setdefault(event.index, []).append(event)
        else:
            rest.append(event)
    out = [start, *(lane.pop(0) for lane in lanes.values())]
    while lanes:
        keys = list(lanes)
        key = keys[(picks.pop() if picks else 0) % len(keys)]
        out.append(lanes[key].pop(0))
        if not lanes[key]:
            del lanes[key]
    return [*out, *rest, end]
