"""Payloads as lines of JSON: on standard output, or at the end of a file."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.sinks.base import Unavailable, Unset

if TYPE_CHECKING:
    from penstock.sinks.base import Payload, Settings


class Stdout:
    """Writes to standard output, in a thread: whoever reads it may be slow."""

    def __init__(self, settings: Settings) -> None:
        pass

    async def write(self, batch: Sequence[Payload]) -> int:
        """Write a batch with one call."""
        await asyncio.to_thread(_print, _lines(batch))
        return 0

    async def close(self) -> None:
        """Leave it open: it is the process's."""


class File:
    """Writes to the end of a file, which may be moved away or deleted at any time: the next batch makes it anew. Each
    batch is one write, so that several processes may share a file."""

    def __init__(self, settings: Settings) -> None:
        path = str(settings.options.get("path") or "").strip()
        if not path:
            raise Unset("needs callback_settings.file.path")
        self._path = Path(path).expanduser()

    async def write(self, batch: Sequence[Payload]) -> int:
        """Add a batch."""
        try:
            await asyncio.to_thread(self._add, _lines(batch))
        except OSError as error:
            raise Unavailable(f"file: {self._path}: {error.strerror or error}") from None
        return 0

    async def close(self) -> None:
        """Do nothing: the file is open only while it is written."""

    def _add(self, data: bytes) -> None:
        # Prompts may stand in it: for the gateway's user alone.
        number = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            while data:
                data = data[os.write(number, data) :]
        finally:
            os.close(number)


def _lines(batch: Sequence[Payload]) -> bytes:
    return b"".join(msgspec.json.encode(payload, enc_hook=str) + b"\n" for payload in batch)


def _print(data: bytes) -> None:
    # By its text: a gateway's standard output is a stream of ours, by which nobody waits for the reader.
    sys.stdout.write(data.decode())
    sys.stdout.flush()
