"""Every async test here runs twice: under uvloop and under plain asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from .upstream import Net

try:
    import uvloop
except ImportError:  # no wheel for this platform: plain asyncio is what runs there, too
    uvloop = None  # type: ignore[assignment]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop}
    if uvloop is not None:
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest_asyncio.fixture
async def net() -> AsyncIterator[Net]:
    """Upstreams and pools of one test; at the end nothing may be left of them: no socket, no task, no logged error."""
    errors: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()

    def note(_: object, context: dict[str, object]) -> None:
        # A client of another test's, collected in the middle of this one, tries to close itself in a loop that is gone.
        if "AsyncClient.aclose" not in repr(context.get("future")):
            errors.append(context)

    loop.set_exception_handler(note)
    before = asyncio.all_tasks()
    net = Net()
    yield net
    await net.close()
    for _ in range(500):
        left = {task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()}
        if not left:
            break
        await asyncio.sleep(0.001)
    assert not left, f"tasks left: {left}"
    assert not errors, f"errors reported to the loop: {errors}"
