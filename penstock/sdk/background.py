"""The event loop of the SDK: one thread, on which every call runs, whoever asks and from whichever thread or loop.

So a call is the same from a script, from many threads, from a notebook whose own loop runs, and from one `asyncio.run`
after another: connections belong to this loop and stay. It starts at the first call. A child after `fork` begins anew:
the parent's sockets and its epoll are left as they are, because the parent still uses them.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from penstock.sdk.driver import Driver

T = TypeVar("T")
_CLOSING = 3.0  # seconds that the end of the program waits for what is being done


class Background:
    """A loop in a thread, and the engine that runs on it."""

    def __init__(self) -> None:
        from penstock.sdk.driver import Driver

        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="penstock-sdk", daemon=True)
        self._thread.start()
        self.driver: Driver = Driver()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work on the loop, and wait for it. Whoever stops waiting (Ctrl-C) ends it."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("this is the SDK's own loop: call the async form here")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError("the SDK was closed while this call was under way") from None
        finally:
            future.cancel()

    async def acall(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work on the loop, and wait for it in another. Whoever is cancelled ends it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    def close(self) -> None:
        """End what is under way, and the thread."""
        if self.loop.is_closed() or not self._thread.is_alive():
            return
        ending = asyncio.run_coroutine_threadsafe(self._end(), self.loop)
        try:
            ending.result(_CLOSING)
        except TimeoutError:
            return  # a daemon's thread ends with the process
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_CLOSING)
        if not self._thread.is_alive():
            self.loop.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.driver.close()


_lock = threading.Lock()
_running: Background | None = None
_left: list[Background] = []  # of the parent: freed, they would take its sockets out of its epoll


def background() -> Background:
    """Return the loop, started at the first need."""
    global _running
    found = _running
    if found is None:
        with _lock:
            found = _running
            if found is None:
                found = _running = Background()
    return found


def close() -> None:
    """End the loop, as the end of the program does. The next call starts another."""
    global _running
    with _lock:
        found, _running = _running, None
    if found is not None:
        found.close()


def _begin_anew() -> None:
    global _lock, _running
    _lock = threading.Lock()
    if _running is not None:
        _left.append(_running)
        _running = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
atexit.register(close)
