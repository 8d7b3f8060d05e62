"""Laws of what goes to sinks: every record is accounted for, whatever a service does; what is written reads back; what
is redacted is gone."""

from __future__ import annotations

import asyncio
import json
import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.sinks import otlp
from penstock.sinks.base import Refused, Unavailable
from penstock.sinks.payload import redact
from penstock.sinks.shipping import Bounds, Room, Shipper
from tests.sinks.made import payload
from tests.sinks.vendors import attributes, fields

BOUNDS = Bounds(records=12, size=120, batch=4, batch_bytes=40, linger=0.0, patience=5.0, pause=0.0, longest=0.0, give_up=0.02)
# What a service does with one write: takes all, refuses so many one by one, refuses a part or all, is away behind so many,
# or meets a bug.
MOODS = st.one_of(
    st.just(("well", 0, 0)),
    st.tuples(st.just("some"), st.integers(0, 4), st.just(0)),
    st.tuples(st.just("refused"), st.integers(0, 3), st.sampled_from([None, 1, 2])),
    st.tuples(st.just("away"), st.integers(0, 3), st.just(0)),
    st.just(("bug", 0, 0)),
)


class Service:
    """Does what its script says, then takes all. ``taken``: what it has, in order."""

    def __init__(self, script: list[tuple[str, int, Any]]) -> None:
        self.script = list(script)
        self.taken: list[int] = []
        self.largest = 0

    async def write(self, batch: Any) -> int:
        await asyncio.sleep(0)
        self.largest = max(self.largest, len(batch))
        what, count, more = self.script.pop(0) if self.script else ("well", 0, 0)
        numbers = [one["number"] for one in batch]
        written = min(count, len(numbers))
        if what == "bug":
            raise ZeroDivisionError
        if what == "some":
            self.taken += numbers[written:]
            return written
        if what == "refused":
            written = min(written, len(numbers) - 1)
            self.taken += numbers[:written]
            raise Refused("no", written, None if more is None else min(more, len(numbers) - written))
        if what == "away":
            written = min(written, len(numbers) - 1)
            self.taken += numbers[:written]
            raise Unavailable("later", None, written)
        self.taken += numbers
        return 0

    async def close(self) -> None:
        pass


@given(st.lists(MOODS, max_size=12), st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=40))
def test_every_record_is_written_once_or_counted(script: list[Any], puts: list[tuple[int, bool]]) -> None:
    async def run() -> None:
        service, room = Service(script), Room(limit=150)
        shipper = Shipper("s", service, BOUNDS, room)
        for number, (size, pause) in enumerate(puts):
            shipper.put({"number": number}, size)
            assert shipper.waiting <= 12 + 4 and room.held <= 120
            if pause:
                await asyncio.sleep(0)
        assert await shipper.flush(10)
        counts = shipper.counts
        assert counts.written + counts.dropped + counts.refused + counts.lost == len(puts)
        assert counts.written == len(service.taken) and room.held == 0 and shipper.waiting == 0
        assert service.taken == sorted(set(service.taken)), "once each, and in order"
        assert service.largest <= 4
        await shipper.stop()

    asyncio.run(run())


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12)


@given(st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=5), st.text(max_size=10))
def test_a_span_reads_back(values: dict[str, Any], name: str) -> None:
    span = otlp.Span(b"t" * 16, b"s" * 8, name, 1, 2**62, values, otlp.ERROR, "why")
    [resource] = fields(otlp.request_of([span], {"service.name": "x"}, "y"))[1]
    [scope] = fields(resource)[2]
    [data] = fields(scope)[2]
    found = fields(data)
    assert attributes(data, 9) == values
    assert (found[5][0].decode(), found[7][0], found[8][0]) == (name, 1, 2**62)


# Marked, for a text may also be a part of a payload's own names ("completionSt").
@given(st.text(string.ascii_letters, min_size=12).map("{}#".format), st.sampled_from(["messages", "input", "prompt", "query"]))
def test_what_is_redacted_is_gone(secret: str, field: str) -> None:
    asked = [{"role": "user", "content": [{"type": "text", "text": secret}]}] if field == "messages" else secret
    said = {"id": "x", "choices": [{"message": {"role": "assistant", "content": secret, "tool_calls": [{"x": secret}]}}]}
    full = payload(asked={field: asked}, said=said, parameters={"tools": [{"description": secret}], "top_p": 0.5}, metadata={})
    assert secret in json.dumps(full)
    bare = redact(full)
    assert secret not in json.dumps(bare) and bare["model_parameters"] == {"top_p": 0.5}
    assert {name: bare[name] for name in bare if name not in ("messages", "response", "model_parameters")} == {
        name: full[name] for name in full if name not in ("messages", "response", "model_parameters")
    }
