"""A thread of its own for what waits for a database: the event loop never does."""

from __future__ import annotations

import asyncio
import errno
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
MOST = 1000  # jobs that wait: whoever comes then is told at once, and memory does not grow with a slow database
_END = 5.0  # seconds that the job that runs may take when the thread is to end


class SqlThread:
    """Runs jobs one after the other, in the order in which they came. ``most``: how many may wait."""

    def __init__(self, most: int = MOST) -> None:
        self._jobs: queue.Queue[tuple[Future[Any], Callable[[], Any]] | None] = queue.Queue(most)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, job: Callable[[], T], seconds: float | None = None) -> T:
        """Wait for what a job returns. Raises what the job raises, and ``OSError`` where too many jobs wait, or where
        it takes longer than ``seconds``: one that had not begun is not done then."""
        future = asyncio.wrap_future(self._submit(job))
        if seconds is None:
            return await future
        late = False

        def give_up() -> None:
            nonlocal late
            late = future.cancel()

        # Not `asyncio.timeout`, which wants a task: requests are driven without one.
        timer = asyncio.get_running_loop().call_later(seconds, give_up)
        try:
            return await future
        except asyncio.CancelledError:
            if not late:
                raise
            raise TimeoutError(errno.ETIMEDOUT, f"the database took longer than {seconds:g} s") from None
        finally:
            timer.cancel()

    def run_now(self, job: Callable[[], T]) -> T:
        """Return what a job returns, for callers that may wait: a start, a command."""
        return self._submit(job).result()

    def close(self, last: Callable[[], None] | None = None) -> None:
        """End the thread, after the jobs that wait and ``last``. One that hangs is left behind: it ends with the
        process."""
        with self._lock:
            self._closed, thread = True, self._thread
        if thread is None:
            return
        try:
            if last is not None:
                self._jobs.put((Future(), last), timeout=_END)
            self._jobs.put(None, timeout=_END)
        except queue.Full:
            return
        thread.join(_END)

    def _submit(self, job: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise OSError(errno.ESHUTDOWN, "the database is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="penstock-sql", daemon=True)
                self._thread.start()
        try:
            self._jobs.put_nowait((future, job))
        except queue.Full:
            raise OSError(errno.EBUSY, f"{self._jobs.maxsize} jobs wait for the database already") from None
        return future

    def _work(self) -> None:
        while (taken := self._jobs.get()) is not None:
            future, job = taken
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # boundary: whatever a job raises is raised again where it was asked for
                future.set_exception(error)
            del future, job, taken  # else the last one is held until the next comes
