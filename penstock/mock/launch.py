"""Two more ways to run a mock: in a thread (for synchronous tests) and as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.mock.script import Script
from penstock.mock.server import Mock

if TYPE_CHECKING:
    import subprocess


class ThreadMock:
    """`with ThreadMock(script) as mock`: a running `Mock` whose loop lives in a daemon thread.

    Reading `mock.received` and assigning `mock.script` from the test's thread is fine. Raises OSError."""

    def __init__(self, script: Script | None = None, api_key: str | None = None, **options: Any) -> None:
        self._arguments = (script, api_key)
        self._options = options
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._main, name="penstock-mock", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._mock: Mock | None = None

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        mock = Mock(*self._arguments, **self._options)
        try:
            await mock.start()
        except OSError as exc:
            self._failure = exc
            return
        finally:
            self._mock = mock
            self._ready.set()
        await self._stop.wait()
        await mock.stop()

    def __enter__(self) -> Mock:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        assert self._mock is not None
        return self._mock

    def __exit__(self, *exc: object) -> None:
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5)


@dataclass(frozen=True)
class MockProcess:
    """A mock that runs as a process: its address and the process."""

    url: str
    process: subprocess.Popen[str]


START_LINE = re.compile(r"on (http://\S+)")


@contextmanager
def spawn(*arguments: str) -> Iterator[MockProcess]:
    """Run `penstock mock --port 0 ARGUMENTS` as a process, end it afterwards. RuntimeError if it does not start."""
    import subprocess  # the gateway imports this module too, and starts no process

    command = [sys.executable, "-m", "penstock", "mock", "--port", "0", *arguments]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None and process.stderr is not None
    try:
        line = process.stdout.readline()
        found = START_LINE.search(line)
        if found is None:
            process.wait(5)
            raise RuntimeError(f"the mock did not start: {line}{process.stderr.read()}")
        yield MockProcess(found.group(1), process)
    finally:
        process.terminate()
        process.wait(5)
        process.stdout.close()
        process.stderr.close()
