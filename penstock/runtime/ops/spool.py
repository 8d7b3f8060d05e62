"""Bytes on disk for as long as one request lasts: a temporary file without a name, written and read off the loop."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from typing import IO, Any, TypeVar

from penstock.core.errors import GatewayError
from penstock.runtime.held import RETRY_AFTER
from penstock.runtime.http import out_of_files

T = TypeVar("T")


class Spool:
    """Append, then read anywhere. In the system's folder for temporary files (``TMPDIR``); gone when it is closed, or
    with the process. Raises "gateway_bug" when the disk does not take or give the bytes, "overloaded" without a
    descriptor for it."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._job: asyncio.Future[Any] | None = None
        self._closed = False

    async def write(self, data: bytes) -> None:
        await self._run(lambda: self._write(data))

    async def read(self, start: int, count: int) -> bytes:
        """Read exactly ``count`` bytes from ``start`` on. Raises "gateway_bug" when the disk gives fewer."""
        data = await self._run(lambda: self._read(start, count))
        if len(data) != count:
            raise GatewayError("gateway_bug", "The upload could not be read back from the gateway's disk: it is short.")
        return data

    def close(self) -> None:
        """Free the disk's space, after the write or read that is under way: a file closed under it could be another by
        then."""
        self._closed = True
        if self._job is not None and not self._job.done():
            self._job.add_done_callback(lambda _: self._shut())
        else:
            self._shut()

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise GatewayError("gateway_bug", "The upload is no longer on the gateway's disk.")
        if self._job is not None and not self._job.done():  # of a try that was given up
            await asyncio.wait([self._job])
        job = asyncio.get_running_loop().run_in_executor(None, work)
        job.add_done_callback(_heard)
        self._job = job
        try:
            return await asyncio.shield(job)
        except OSError as error:
            if said := out_of_files(error):
                text = f"The upload could not be kept on the gateway's disk: {said}."
                raise GatewayError("overloaded", text, retry_after=RETRY_AFTER) from None
            text = f"The upload could not be kept on the gateway's disk ({tempfile.gettempdir()}): {error.strerror}."
            hint = " With the field 'model' before the file it needs no disk."
            raise GatewayError("gateway_bug", text + hint) from None

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _read(self, start: int, count: int) -> bytes:
        assert self._file is not None
        self._file.seek(start, os.SEEK_SET)
        parts = []
        while count and (part := self._file.read(count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _shut(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _heard(job: asyncio.Future[T]) -> None:
    """Fetch a job's error so that asyncio does not log it: it is told to who waits for it; when nobody does, it is
    nobody's."""
    if not job.cancelled():
        job.exception()
