"""Work that takes long, done in child processes.

A thread would not do: the interpreter's lock is held for as long as one call of an extension module takes, and for as
long as the collector walks through what a large request became. Measured with a body of 12 MB and 300,000 messages:
others waited up to 0.7 s for a thread that translated it, and for seconds where an expression backtracks. So a function
and its arguments are sent to a child, and what it returns or raises comes back. Children are started at the first need,
end when nothing came for a while, and with this process; one that died, or is killed because it takes too long, is
replaced. ``python -m`` this module is the child.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from penstock.core.errors import GatewayError

IDLE = 30.0  # seconds without work after which a child ends
MEMORY = 2 << 30  # bytes of address space that a child may take
_KEPT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "LANG")  # of the environment: a child needs no keys
_HEAD = 12  # bytes before a message: its length, and the seconds that may be spent on it (in ms)


class Late(Exception):
    """The work took longer than it may, or was not begun in time."""


class Died(Exception):
    """The child ended while it worked, twice: the work itself ends it, or something else does so again and again."""


class _Job:
    """A piece of work. ``data``: the pickled function and arguments. ``until``: the clock when it must have begun."""

    __slots__ = ("data", "deadline", "future", "loop", "until")

    def __init__(self, data: bytes, deadline: float, wait: float, loop: asyncio.AbstractEventLoop) -> None:
        self.data = data
        self.deadline = deadline
        self.until = time.monotonic() + wait
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def tell(self, value: Any, error: BaseException | None) -> None:
        """Hand over the outcome, from any thread."""
        try:
            self.loop.call_soon_threadsafe(_settle, self.future, value, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


class Children:
    """Up to ``most`` child processes, each with a thread that waits for it. Belongs to no event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0  # threads that take the next job
        self._running: set[_Child] = set()
        atexit.register(self.close)

    async def run(self, function: Callable[..., Any], *args: Any, deadline: float, wait: float = 30.0) -> Any:
        """Return what ``function`` returns for ``args``, or raise what it raises. Both must be picklable.

        Raises ``Late`` when it takes more than ``deadline`` seconds, or waits for a free child longer than ``wait``;
        ``Died``; and ``pickle.PicklingError``, ``TypeError`` or ``AttributeError`` for what cannot be sent."""
        job = _Job(pickle.dumps((function, args), 5), deadline, wait, asyncio.get_running_loop())
        with self._changed:
            self._jobs.append(job)
            if len(self._jobs) <= self._idle:
                self._changed.notify()
            elif self._threads < self._most:
                self._threads += 1
                self._idle += 1
                threading.Thread(target=self._work, name="penstock-child", daemon=True).start()
        late = job.loop.call_later(wait + deadline, _settle, job.future, None, Late())
        try:
            return await job.future
        finally:
            late.cancel()

    def close(self) -> None:
        """End all children, whatever they do."""
        for child in tuple(self._running):
            child.kill()

    @property
    def pids(self) -> list[int]:
        """Return the process ids of the children that run."""
        return [child.pid for child in tuple(self._running)]

    def _work(self) -> None:
        """Take jobs until none comes for a while: the life of a thread."""
        child: _Child | None = None
        while (job := self._next()) is not None:
            value: Any = None
            error: BaseException | None = None
            if time.monotonic() > job.until:
                error = Late()
            elif not job.future.done():  # whoever left does not wait for it
                child, value, error = self._do(job, child)
            with self._changed:
                self._idle += 1  # before it is told: who asks again at once finds this thread free
            job.tell(value, error)
            del job, value, error  # while it waits for the next, it holds nothing
        self._end(child)

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs, IDLE)
            self._idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._threads -= 1
            return None

    def _do(self, job: _Job, child: _Child | None) -> tuple[_Child | None, Any, BaseException | None]:
        """Let a child do a job, a second one if the first died of something else. Return the one that lives, what it
        returned and what it raised."""
        why = "it ended while it worked"
        for _ in range(2):
            try:
                if child is None or child.ended:
                    self._end(child)
                    child = None
                    child = _Child()
                    self._running.add(child)
                answer = child.ask(job.data, job.deadline)
            except OSError as error:  # it could not be started, or has just ended
                answer, why = None, str(error)
            if answer is not None:
                return child, *answer
            late = child is not None and child.late
            self._end(child)
            child = None
            if late:
                return None, None, Late()
        return None, None, Died(why)

    def _end(self, child: _Child | None) -> None:
        if child is not None:
            child.kill()
            self._running.discard(child)


class _Child:
    """One child process. ``late``: it was killed because it took too long."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "penstock.runtime.children"]
        kept = {key: value for key, value in os.environ.items() if key in _KEPT}
        kept["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=kept)
        self.late = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, data: bytes, deadline: float) -> tuple[Any, BaseException | None] | None:
        """Let it do one piece of work: what it returned, what it raised; None when it ended. Blocks."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        clock = threading.Timer(deadline, self._overdue)
        clock.start()
        try:
            _write(process.stdin, data, deadline)
            answer = _read(process.stdout)
        finally:
            clock.cancel()
        if answer is None:
            return None
        value, error = pickle.loads(answer[0])
        return value, error

    def _overdue(self) -> None:
        self.late = True
        self._process.kill()

    def kill(self) -> None:
        """End it at once, and let nothing of it stay."""
        process = self._process
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass
        process.wait()


def _write(stream: IO[bytes], data: bytes, deadline: float = 0.0) -> None:
    stream.write(len(data).to_bytes(8, "big") + int(deadline * 1000).to_bytes(4, "big"))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> tuple[bytes, float] | None:
    """Read one message, and the seconds that may be spent on it; None at the end of the stream."""
    head = stream.read(_HEAD)
    if len(head) < _HEAD:
        return None
    size = int.from_bytes(head[:8], "big")
    data = stream.read(size)
    return (data, int.from_bytes(head[8:], "big") / 1000) if len(data) == size else None


# The child ------------------------------------------------------------------------------------------------------------


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Do the work that comes from ``source`` and tell what became of it on ``sink``, until the input ends."""
    while (message := _read(source)) is not None:
        data, seconds = message
        _alarm(seconds + 1.0)
        answer = _done(data)
        _alarm(0.0)
        _write(sink, answer)
        del message, data, answer  # while it waits for the next, it holds nothing


def _done(data: bytes) -> bytes:
    value: Any = None
    error: BaseException | None = None
    try:
        function, args = pickle.loads(data)
        value = function(*args)
    except MemoryError:
        error = GatewayError("too_large", "The body is too large to be translated: it takes too much memory.")
    except Exception as raised:  # boundary: whatever it is, it is raised again where the work was asked for
        raised.__traceback__ = raised.__context__ = raised.__cause__ = None
        error = raised
    try:
        return pickle.dumps((value, error), 5)
    except (pickle.PicklingError, TypeError, AttributeError) as refused:
        return pickle.dumps((None, RuntimeError(f"{error or value!r:.200} cannot be sent back: {refused}")), 5)


def _alarm(seconds: float) -> None:
    """Let the system end this process after ``seconds``, 0: never, should its parent not be there any more to do so."""
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _be_child() -> None:
    import gc

    # What prints something here must not write into the answers.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    gc.disable()  # a job's values are freed by their counts; a walk through a million of them is half of its time
    if hasattr(os, "nice"):
        os.nice(5)  # who serves clients comes first
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, ValueError, OSError):  # not on every system
        pass
    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    # Under its own name, so that what is sent back is what the parent knows.
    from penstock.runtime import children

    children._be_child()
