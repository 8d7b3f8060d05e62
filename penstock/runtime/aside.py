"""Streams whose events are too many or too large to be translated at once.

What the loop does not do at once waits its turn, and the upstream is held back meanwhile. A decoder remembers what it
saw, so that a child process cannot take over for one large event. A thread can, as long as no
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

from penstock.core.budget import values_in
from penstock.core.errors import GatewayError, shed
from penstock.runtime.apart import LARGE, is_long

if TYPE_CHECKING:
    from penstock.core import sse
    from penstock.runtime.answer import Answer

MOST_VALUES = 500_000  # in one event; the largest that was seen, a Responses answer with log probabilities, has 300,000
FEW = 64  # events that are translated in one turn of the loop, 40 us each

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


def _counted(feed: Feed, event: sse.Event) -> tuple[bytes, GatewayError | None]:
    """Translate a large event, unless it holds more values than anybody sends."""
    if values_in(event.data, MOST_VALUES) > MOST_VALUES:
        return b"", GatewayError("broken_stream", f"The upstream sent an event with more than {MOST_VALUES} values.")
    return together(feed, [event])


class Aside:
    """The pump of one stream. Events are translated as they come; many that come at once in several turns of the loop,
    and large ones, if they are ``heavy`` to translate, in a thread. Meanwhile their upstream is held back.

    ``feed``: translates an event. ``emit``: takes what became of some, and raises what is wrong with the next, if
    anything is. ``pause`` and ``resume`` are for a client that reads slowly."""

    __slots__ = ("_answer", "_emit", "_feed", "_free", "_heavy", "_task", "_waiting")

    def __init__(
        self, answer: Answer, feed: Feed, emit: Callable[[bytes, GatewayError | None], None], heavy: bool
    ) -> None:
        self._answer = answer
        self._feed = feed
        self._emit = emit
        self._heavy = heavy
        self._waiting: deque[sse.Event] = deque()
        self._task: asyncio.Task[None] | None = None
        self._free: asyncio.Future[None] | None = None  # done when the client reads on; None while it reads

    def pause(self) -> None:
        """Hold the stream back."""
        if self._free is None:
            self._free = asyncio.get_running_loop().create_future()
        self._answer.pause()

    def resume(self) -> None:
        """Let it go on."""
        free, self._free = self._free, None
        if free is not None and not free.done():
            free.set_result(None)
        if self._task is None:
            self._answer.resume()

    async def pump(self, decode: Callable[[bytes], list[sse.Event]]) -> None:
        """Translate the whole stream. Raises what reading or translating it raises."""
        feed, emit = self._feed, self._emit

        def relay(chunk: bytes) -> None:
            events = decode(chunk)
            if len(events) == 1 and len(events[0].data) < LARGE and self._task is None:  # nearly always
                emit(feed(events[0]), None)
            elif self._task is not None or len(events) > FEW or self._is_long(events):
                self._put_aside(events)
            else:
                emit(*together(feed, events))

        try:
            await self._answer.pump(relay)
        except Exception:
            await self._rest()  # what came before the break; if it closed the answer itself, its own error counts
            raise
        except BaseException:
            if self._task is not None:
                self._task.cancel()
            raise
        await self._rest()

    async def _rest(self) -> None:
        task, self._task = self._task, None  # what it raises holds it, and must not be held by it
        if task is not None:
            await task

    def _is_long(self, events: list[sse.Event]) -> bool:
        return self._heavy and any(is_long(event.data) for event in events)

    def _put_aside(self, events: list[sse.Event]) -> None:
        self._waiting.extend(events)
        if self._task is None:
            self._answer.pause()
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                if self._is_long([waiting[0]]):
                    self._emit(*await in_thread(partial(_counted, self._feed, waiting.popleft())))
                few: list[sse.Event] = []
                while waiting and len(few) < FEW and not self._is_long([waiting[0]]):
                    few.append(waiting.popleft())
                self._emit(*together(self._feed, few))
                if self._free is not None:
                    await self._free
                else:
                    await asyncio.sleep(0)  # others have their turn
        except BaseException:
            self._answer.close()  # who waits for more of it goes on
            raise
        self._task = None
        if self._free is None:
            self._answer.resume()
