"""Streams that go on leave no circle of references, and nothing of the attempts that broke off lives on."""

from __future__ import annotations

import gc

import pytest

from penstock.mock import Step
from tests.door import Door, open_door
from tests.server.test_circles import alive, left_by, nothing_else_is_looked_at
from tests.server.test_continue import ON, REST, ask, config, cut, says

__all__ = ["nothing_else_is_looked_at"]
ENDS = {
    "goes on": Step(text=REST),
    "nobody can": Step(status=401),
    "breaks off again": Step(text=REST, cut_after_events=4),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("client", ["openai_chat", "anthropic", "openai_responses"])
async def test_nothing_is_left_of_a_stream_that_goes_on(tmp_path, no_pauses, client, end):
    settings = ON + "disable_cooldowns: true, "  # the second time goes the way of the first
    async with open_door(tmp_path, config("openai_chat", "openai_chat", settings=settings)) as door:

        async def way(door: Door) -> None:
            door.mock.script = says(cut("first"), second=ENDS[end])
            await ask(door, client)
            door.mock.received.clear()

        await left_by(way, door)  # the first time things are loaded and built
        gc.disable()
        try:
            before = alive()
            left = await left_by(way, door)
            kept = alive() - before
        finally:
            gc.enable()
        assert not left and not kept
