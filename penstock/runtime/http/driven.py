"""Coroutines that are run in batches by what they wait for, without a task each.

Nearly every request waits for one thing alone: its upstream. A task for it costs 5 us: the task, its future, and two
handles in the loop's queue. So a door may *drive* the coroutine: its steps are put on one list, and one callback runs
the list. That the steps of all requests run one after the other, and not each right where its bytes were read, is half
of the gain: parsing code, then engine code, each in the processor's caches (in place it took 90 us a request, so 72);
and what they write is written together, see ``write``. A request that is alone goes on at once: two turns less.

Where a driven coroutine waits for anything else (a timer, a thread, a lock) a task takes it over, there and then.
Neither the coroutine nor the transport can tell the difference, but for ``asyncio.current_task()``: code that needs one
(``asyncio.timeout``, ``TaskGroup``) asks for it with ``await in_task()`` first.

All state is the ``Batch``'s, and a batch is one loop's: two gateways in two threads share nothing. (As module globals
it was shared, and of 10,200 calls in two loops 48 died of each other's wake-ups.) Law: driven or in a task, the same is
heard (tests/runtime/http/test_driven.py). Off, for the quick door: PENSTOCK_DRIVEN=0 in the environment.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sized
from contextvars import Context
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_Steps = Coroutine[Any, Any, None]


class Batch:
    """The steps that are due in one event loop. ``loop``: the loop. ``active``: all that is driven in it, one way or
    the other; what is alone there need not wait for others, and its steps run at once where that can be."""

    __slots__ = ("_due", "_out", "active", "before", "loop", "stepping")

    def __init__(self, loop: asyncio.AbstractEventLoop, active: Sized = ()) -> None:
        self.loop = loop
        self.active = active
        self._due: list[Driven] = []
        self.stepping = False  # a step runs now
        self.before: Callable[[], None] | None = None  # what must be done before anything of a batch is written
        self._out: deque[tuple[asyncio.WriteTransport, bytes]] = deque()  # what the steps that run now have written

    def run(self, driven: Driven) -> None:
        """Run its next step, now if it is alone. To be called as the last thing in a callback of the loop."""
        if len(self.active) == 1 and not self._due and not self.stepping:
            try:
                driven.step()
            finally:
                self._flush()
        else:
            self.put(driven)

    def put(self, driven: Driven) -> None:
        """Run its next step in the loop's next turn, behind those that are due already."""
        if not self._due:
            self.loop.call_soon(self._run)
        self._due.append(driven)

    def write(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Write to a transport; out of a step it comes with the other writes of the batch, at the end of it.

        A write wakes the process at the other end, which costs more than the write. One that is still busy with the
        write before needs no waking: together, two thirds of that time is saved. Whoever closes the transport in the
        same step must write by himself."""
        if self.stepping:
            self._out.append((transport, data))
        else:
            transport.write(data)

    def _run(self) -> None:
        due, self._due = self._due, []
        try:
            for driven in due:
                driven.step()
        finally:
            self._flush()

    def write_now(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Write to a transport at once, also out of a step: who calls closes it there."""
        if self.before is not None:
            self.before()
        transport.write(data)

    def _flush(self) -> None:
        out = self._out
        if self.before is not None:
            self.before()
        while out:
            transport, data = out.popleft()
            if not transport.is_closing():
                transport.write(data)


class Driven:
    """Runs ``coro`` to its end. What it raises goes to the loop's exception handler, but for its cancellation."""

    __slots__ = ("_batch", "_cancelled", "_coro", "_task", "_waits")

    def __init__(self, coro: _Steps, batch: Batch) -> None:
        self._batch = batch
        self._coro: _Steps | None = coro
        self._waits: Wake[Any] | None = None
        self._cancelled = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the first step. Must be the last that a callback of the loop does."""
        self._batch.run(self)

    def cancel(self) -> None:
        """End the coroutine where it waits, as ``Task.cancel`` would. Before its first step: it never begins."""
        if self._coro is not None:
            self._cancelled = True
            if self._waits is not None:
                self._waits.driver = None
                self.wake()
        elif self._task is not None:
            self._task.cancel()

    def wake(self, now: bool = False) -> None:
        """Go on: what it waited for has come. ``now``: nothing comes after this call."""
        self._waits = None
        if now:
            self._batch.run(self)
        else:
            self._batch.put(self)

    def step(self) -> None:
        """Go on until it waits again. For the batch alone."""
        coro, batch = self._coro, self._batch
        assert coro is not None
        batch.stepping = True
        try:
            if self._cancelled:
                self._cancelled = False
                waits = coro.throw(asyncio.CancelledError())
            else:
                waits = coro.send(None)
        except StopIteration:
            self._coro = None
        except asyncio.CancelledError:
            self._coro = None
        except BaseException as failure:  # boundary: a callback of the loop must not raise
            self._coro = None
            self._batch.loop.call_exception_handler({"message": "A driven coroutine failed", "exception": failure})
            if not isinstance(failure, Exception):
                raise
        else:
            self._park(coro, waits)
        finally:
            batch.stepping = False

    def _park(self, coro: _Steps, waits: Any) -> None:
        if not isinstance(waits, Wake):
            rest = _Rest(coro, waits, self._cancelled)
            self._coro = None  # from here on the task is what is cancelled
            self._task = self._batch.loop.create_task(_finish(rest))
        elif self._cancelled:  # while it ran: it hears of it where it waits now
            self._batch.put(self)
        else:
            self._waits = waits
            waits.driver = self


class _Rest:
    """The rest of a coroutine that waits for ``waits`` (what it yielded), for a task to await.

    An awaitable of our own and no generator under ``types.coroutine``: since 3.12 a task takes none of those, and every
    request was answered with nothing."""

    __slots__ = ("_cancelled", "_coro", "_waits")

    def __init__(self, coro: _Steps, waits: Any, cancelled: bool) -> None:
        self._coro = coro
        self._waits = waits
        self._cancelled = cancelled

    def __await__(self) -> Generator[Any, Any, None]:
        coro, waits, self._waits = self._coro, self._waits, None
        try:
            if self._cancelled:
                waits = coro.throw(asyncio.CancelledError())
            while True:
                try:
                    sent = yield waits
                    waits = None  # what is raised now leads to this frame, and what was awaited may hold it
                except BaseException as error:  # boundary: it is the coroutine's to handle
                    waits = None
                    waits = coro.throw(error)
                else:
                    waits = coro.send(sent)
        except StopIteration:
            return


async def _finish(rest: _Rest) -> None:
    await rest


async def in_task() -> None:
    """Make sure that there is a current task afterwards."""
    if asyncio.current_task() is None:
        await asyncio.sleep(0)


class Wake(Generic[T]):
    """A future for one who waits, driven or in a task; with the words of ``asyncio.Future`` that are needed here.

    It yields itself. A ``Driven`` keeps it; a task takes it for a future, as it does everything that has
    ``_asyncio_future_blocking`` (``asyncio.isfuture``), and then calls the four methods at the end."""

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_done", "_error", "_value", "driver")

    def __init__(self) -> None:
        self._done = self._cancelled = False
        self.driver: Driven | None = None
        self._callback: tuple[asyncio.AbstractEventLoop, Callable[[Any], object], Context | None] | None = None

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            self._asyncio_future_blocking = True
            try:
                yield self
            except BaseException:
                self.left()
                raise
        if self._error is not None:
            raise self._error
        return self._value

    def left(self) -> None:
        """Give up: who waited was cancelled."""

    def done(self) -> bool:
        """Tell whether there is something to go on with, or the waiting task is cancelled."""
        return self._done or self._cancelled

    def cancelled(self) -> bool:
        return self._cancelled and not self._done

    def came(self) -> T | None:
        """Return what came; None as long as nothing has, and after an error."""
        return self._value if self._done and self._error is None else None

    def put(self, value: T) -> None:
        """Set the result without waking who waits: ``wake`` must follow."""
        self._value = value
        self._error: BaseException | None = None
        self._done = True

    def wake(self) -> None:
        """Let who waits go on, perhaps within this call: nothing may come after it."""
        driver, self.driver = self.driver, None
        if driver is not None:
            driver.wake(now=True)
        else:
            self._call_back()

    def set_result(self, value: T) -> None:
        self._value = value
        self._set(None)

    def set_exception(self, error: BaseException) -> None:
        self._set(error)

    def _set(self, error: BaseException | None) -> None:
        self._error = error
        self._done = True
        driver, self.driver = self.driver, None
        if driver is not None:
            driver.wake()
        else:
            self._call_back()

    def _call_back(self) -> None:
        waiting, self._callback = self._callback, None
        if waiting is not None:
            loop, callback, context = waiting
            loop.call_soon(callback, self, context=context)

    # What a task asks of a future. ------------------------------------------------------------------------------------

    def result(self) -> None:
        """Tell a task that was cancelled, also where something came before it heard of that. What came it gets from
        the ``await``."""
        if self._cancelled:
            raise asyncio.CancelledError

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        self._callback = (asyncio.get_running_loop(), callback, context)
        if self._done:
            self._call_back()

    def cancel(self, msg: object = None) -> bool:
        """Cancel the waiting of a task; False when something has come already."""
        if self._done or self._cancelled:
            return False
        self._cancelled = True
        self._call_back()
        return True
