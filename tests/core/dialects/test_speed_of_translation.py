"""Across dialects: a coding agent's body, one streamed event, and the memory of a long stream, for all six pairs.

Budgets of the project: 3 ms for 100 KB with 24 tools, 10 us an event, flat memory. Best of several rounds, because
other programs run beside.
"""

from __future__ import annotations

import gc
import json
import timeit
import tracemalloc
from collections.abc import Callable
from itertools import permutations

import pytest
from msgspec import Raw
from msgspec.structs import replace

from penstock.core import envelope, sse
from penstock.core.dialects import DIALECTS, EDITORS
from penstock.core.dialects.base import Dialect, View, Wire
from penstock.core.ir import Delta, Event, Open, Start, Text
from tests.core.dialects.test_anthropic_speed import agent_body

pytestmark = pytest.mark.serial

THREE = {name: DIALECTS[name] for name in ("openai_chat", "openai_responses", "anthropic")}
PAIRS = list(permutations(THREE, 2))
VIEW = View(model="m", mint=lambda prefix: prefix + "1", now=1)
LONG = 200_000
GROWTH = 200_000  # bytes


def microseconds(work: Callable[[], object], number: int, rounds: int = 9) -> float:
    return min(timeit.repeat(work, number=number, repeat=rounds)) / number * 1e6


def body_of(client: Dialect) -> bytes:
    """The agent's body as a client of this dialect would send it."""
    request = DIALECTS["anthropic"].parse_request(envelope.open_body(agent_body()))
    if client.name == "anthropic":
        return agent_body()
    wire = Wire(model="m", family=client.family, official=False, replay_reasoning=True)
    return envelope.seal(client.render_request(replace(request, dialect=""), wire).fields)


@pytest.mark.parametrize(("client", "target"), PAIRS)
def test_an_agents_body_crosses_within_3_ms(client: str, target: str) -> None:
    source, sink = THREE[client], THREE[target]
    raw = body_of(source)
    wire = Wire(model="real", family=sink.family)
    assert 90_000 < len(raw) and len(source.parse_request(envelope.open_body(raw)).tools) == 24

    def cross() -> bytes:
        return envelope.seal(sink.render_request(source.parse_request(envelope.open_body(raw)), wire).fields)

    assert len(json.loads(cross())["tools"]) == 24
    spent = microseconds(cross, 10)
    print(f"{client} -> {target}: {len(raw) // 1000} KB in {spent / 1000:.2f} ms")
    assert spent <= 3000


def opened(target: Dialect) -> bytes:
    """The opening of a stream, up to and with the first delta of a text."""
    encoder = target.encoder(VIEW)
    head: list[Event] = [Start("msg_1", "m"), Open(0, Text("")), Delta(0, "Hello")]
    return b"".join(encoder.feed(event) for event in head)


def one_event(target: Dialect) -> tuple[list[sse.Event], sse.Event]:
    """The opening, and an event that may come any number of times."""
    events = sse.Decoder().feed(opened(target))
    return events, events[-1]


@pytest.mark.parametrize(("client", "target"), PAIRS)
def test_a_streamed_event_crosses_within_10_us(client: str, target: str) -> None:
    """From an event of the target's stream to bytes of the client's."""
    head, step = one_event(THREE[target])
    decoder, encoder = THREE[target].decoder(), THREE[client].encoder(VIEW)
    for event in head:
        for told in decoder.feed(event):
            encoder.feed(told)

    def cross() -> None:
        for told in decoder.feed(step):
            encoder.feed(told)

    assert b"Hello" in b"".join(encoder.feed(told) for told in decoder.feed(step))
    spent = microseconds(cross, 2000)
    print(f"{target} -> {client}: {spent:.1f} us an event")
    assert spent <= 10


def growth(target: Dialect, feed: Callable[[sse.Event], object]) -> int:
    """Bytes held longer after 200,000 events of one text than after the first tenth of them."""
    raw = opened(target)
    last = raw[raw.rstrip(b"\n").rindex(b"\n\n") + 2 :]
    lines = sse.Decoder()
    for event in lines.feed(raw):
        feed(event)
    before = 0
    tracemalloc.start()
    try:
        for count in range(LONG):
            for event in lines.feed(last):
                feed(event)
            if count == LONG // 10:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", THREE)
def test_a_long_stream_holds_no_memory(name: str) -> None:
    """Across to both other dialects and in the same lane, in one pass, because counting memory is slow."""
    decoder, editor = THREE[name].decoder(), EDITORS[name].Stream(Raw(b'"m"'), True)
    encoders = {client: THREE[client].encoder(VIEW) for client in THREE if client != name}
    told = dict.fromkeys([*encoders, "same"], 0)

    def feed(event: sse.Event) -> None:
        told["same"] += len(editor.feed(event))
        for step in decoder.feed(event):
            for client, encoder in encoders.items():
                told[client] += len(encoder.feed(step))

    grown = growth(THREE[name], feed)
    # The last event of a Responses stream has the whole answer in it: its text is held, once.
    owed = len("Hello") * LONG if "openai_responses" in encoders else 0
    print(f"from {name}: {grown // 1000} KB more ({owed // 1000} KB owed), bytes told: {told}")
    assert all(count > LONG * 20 for count in told.values())
    assert grown <= GROWTH + owed
