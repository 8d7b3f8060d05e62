"""Stream events that are too large to be translated at once: a thread does it, in order, while their upstream is held
back.

A decoder remembers what it saw, so that a child process cannot take over for one event. A thread can, as long as no
single step of it is long: the interpreter gives the event loop its turn every few milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from penstock.core.errors import GatewayError, shed
from penstock.runtime.apart import LARGE, is_long

if TYPE_CHECKING:
    from penstock.core import sse
    from penstock.runtime.answer import Answer

MOST_VALUES = 500_000  # in one event; the largest that was seen, a Responses answer with log probabilities, has 300,000

# Two threads of their own: the loop's pool is for credentials and uploads.
THREADS = ThreadPoolExecutor(2, thread_name_prefix="penstock-aside")
T = TypeVar("T")


class _Collector:
    """The collector of garbage, switched off while a thread makes a million values: each walk through them would hold
    up everybody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._was_on = False

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._was_on = gc.isenabled()
                gc.disable()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and self._was_on:
                gc.enable()


_COLLECTOR = _Collector()


async def in_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread of this module's."""
    return await asyncio.get_running_loop().run_in_executor(THREADS, _without_walks, function)


def _without_walks(function: Callable[[], T]) -> T:
    with _COLLECTOR:
        return function()


Feed = Callable[["sse.Event"], bytes]


def together(feed: Feed, events: list[sse.Event]) -> tuple[bytes, GatewayError | None]:
    """Translate events in turn; what came before a bad one, and what is wrong with that."""
    parts: list[bytes] = []
    try:
        for event in events:
            parts.append(feed(event))
    except GatewayError as error:
        shed(error)
        return b"".join(parts), error
    return b"".join(parts), None


class Aside:
    """The pump of one stream whose events are translated here or, the large ones and what follows them meanwhile, in a
    thread. ``feed``: translates an event. ``emit``: takes what became of some, and raises what is wrong with the next,
    if anything is."""

    def __init__(self, answer: Answer, feed: Feed, emit: Callable[[bytes, GatewayError | None], None]) -> None:
        self._answer = answer
        self._feed = feed
        self._emit = emit
        self._waiting: deque[list[sse.Event]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def pump(self, decode: Callable[[bytes], list[sse.Event]]) -> None:
        """Translate the whole stream. Raises what reading or translating it raises."""

        def relay(chunk: bytes) -> None:
            events = decode(chunk)
            if self._task is None and len(events) == 1 and len(events[0].data) < LARGE:
                self._emit(self._feed(events[0]), None)
            elif self._task is not None or any(is_long(event.data) for event in events):
                self._put_aside(events)
            else:
                self._emit(*together(self._feed, events))

        try:
            await self._answer.pump(relay)
        except BaseException:
            task = self._task
            if task is not None and task.done():
                task.result()  # it closed the answer, which is what was raised
            if task is not None:
                task.cancel()
            raise
        if self._task is not None:
            await self._task

    def _put_aside(self, events: list[sse.Event]) -> None:
        for event in events:
            if len(event.data) > MOST_VALUES and event.data.count(b",") + event.data.count(b"{") > MOST_VALUES:
                text = f"The upstream sent an event with more than {MOST_VALUES} values."
                raise GatewayError("broken_stream", text)
        self._waiting.append(events)
        if self._task is None:
            self._answer.pause()
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                self._emit(*await in_thread(partial(together, self._feed, self._waiting.popleft())))
        except BaseException:
            self._answer.close()  # who waits for more of it goes on
            raise
        self._task = None
        self._answer.resume()
