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
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from penstock.runtime.http import Batch, Driven
from penstock.sdk.bell import Bell

if TYPE_CHECKING:
    from penstock.sdk.driver import Driver

T = TypeVar("T")
_CLOSING = 3.0  # seconds that the end of the program waits for what is being done
_CLOSED = "the SDK was closed while this call was under way"


class Work(Generic[T]):
    """Something that is done on the loop for another thread or loop. ``tell``: is called there when it is over.

    It is driven and is no task (see ``runtime/http/driven.py``), and hands its result over without futures: a call
    that waits for an upstream alone takes two turns of the loop, where a task and two futures took five."""

    def __init__(self, coro: Coroutine[Any, Any, T], tell: Callable[[], object], active: set[Work[Any]]) -> None:
        self._coro: Coroutine[Any, Any, T] | None = coro
        self._tell = tell
        self._active = active
        self._driven: Driven | None = None
        self._value: T
        self._error: BaseException | None = None
        active.add(self)

    def begin(self, batch: Batch) -> None:
        """Do it; on the loop."""
        if self._coro is not None:  # else nobody wants it any more
            self._driven = Driven(self._run(), batch)
            self._driven.start()

    async def _run(self) -> None:
        coro, self._coro = self._coro, None
        if coro is None:  # abandoned while its first step was due
            return
        try:
            self._value = await coro
        except BaseException as error:  # boundary: it is raised again where the work was asked for
            self._error = error
        finally:
            self._end()

    def _end(self) -> None:
        if self in self._active:  # else it is over already
            self._active.discard(self)
            self._tell()

    def cancel(self) -> None:
        """End it where it waits; on the loop."""
        if self._coro is not None:
            self.abandon()
        elif self._driven is not None:
            self._driven.cancel()

    def abandon(self) -> None:
        """Tell that it ends here: it has not begun, or its loop has stopped."""
        coro, self._coro = self._coro, None
        if coro is not None:
            coro.close()
        self._error = asyncio.CancelledError()
        self._end()

    def result(self) -> T:
        """Return what came of it, or raise that."""
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            if isinstance(error, asyncio.CancelledError):
                raise RuntimeError(_CLOSED) from None
            raise error
        finally:
            del error  # the frame that it names would hold it


class Background:
    """A loop in a thread, and the engine that runs on it. ``active``: what is done for other threads, or is going to
    be.

    A thread that calls alone comes in by the door, which is a bell, and waits at another: it is handed over, and back,
    with as little waking as can be. There is one to wait at, so a thousand threads need no two thousand descriptors:
    who calls while another does waits at a lock."""

    def __init__(self) -> None:
        from penstock.sdk.driver import Driver

        self.pid = os.getpid()
        self.loop = _new_loop()
        self._thread = threading.Thread(target=self._run, name="penstock-sdk", daemon=True)
        self.driver: Driver = Driver()
        self.active: set[Work[Any]] = set()
        self.batch = self.driver.pool.batch(self.loop)
        self.batch.active = self.active
        self._door: Bell | None = None  # there is none where a loop cannot watch a pipe: on Windows
        self._due: deque[Work[Any]] = deque()  # what came in by the door
        self._bells: list[Bell] = []  # the one to wait at, while nobody does
        self._closed = False
        if os.name == "posix":
            self._door = Bell()
            self._bells.append(Bell())
            self.loop.add_reader(self._door.end, self._open_door, self._door)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, coro: Coroutine[Any, Any, T]) -> T:
        """Do some work on the loop, and wait for it. Whoever stops waiting (Ctrl-C) ends it."""
        if threading.current_thread() is self._thread:
            coro.close()
            raise RuntimeError("this is the SDK's own loop: call the async form here")
        try:
            bell = self._bells.pop()  # one step for every thread: no two get it
        except IndexError:
            return self._call_beside_others(coro)
        work = Work(coro, bell.ring, self.active)
        try:
            self._come_in(work)
            bell.wait()
        except BaseException:
            self._cancel(work)
            bell = Bell()  # the other may be rung yet
            raise
        finally:
            self._bells.append(bell)
        return work.result()

    def _call_beside_others(self, coro: Coroutine[Any, Any, T]) -> T:
        over = threading.Lock()
        over.acquire()
        work = Work(coro, over.release, self.active)
        self._hand_over(work)
        try:
            over.acquire()
        except BaseException:
            self._cancel(work)
            raise
        return work.result()

    async def acall(self, coro: Coroutine[Any, Any, T]) -> T:
        """Do some work on the loop, and wait for it in another. Whoever is cancelled ends it."""
        own = asyncio.get_running_loop()
        over = asyncio.Event()

        def tell() -> None:
            try:
                own.call_soon_threadsafe(over.set)
            except RuntimeError:  # closed: nobody waits there any more
                return

        work = Work(coro, tell, self.active)
        self._hand_over(work)
        try:
            await over.wait()
        except BaseException:
            self._cancel(work)
            raise
        return work.result()

    def _come_in(self, work: Work[Any]) -> None:
        if self._closed or self._door is None:  # else ``close`` finds it in ``active``
            work.abandon()
            raise RuntimeError(_CLOSED)
        self._due.append(work)
        self._door.ring()

    def _open_door(self, door: Bell) -> None:
        door.wait()
        due = self._due
        while due:  # one, or none, where a ring was late; several, where Ctrl-C came before one
            due.popleft().begin(self.batch)

    def _hand_over(self, work: Work[Any]) -> None:
        try:
            self.loop.call_soon_threadsafe(work.begin, self.batch)
        except RuntimeError:
            work.abandon()
            raise RuntimeError(_CLOSED) from None

    def _cancel(self, work: Work[Any]) -> None:
        try:
            self.loop.call_soon_threadsafe(work.cancel)
        except RuntimeError:  # closed in between
            return

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
            self._closed = True
            for work in list(self.active):  # what came, or was not done, when the loop had stopped
                work.abandon()

    async def _end(self) -> None:
        for work in list(self.active):
            work.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.driver.close()
        if self._door is not None:
            self.loop.remove_reader(self._door.end)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


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
