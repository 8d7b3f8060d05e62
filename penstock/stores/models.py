"""Deployments in memory: of one process, or of a gateway's several workers."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from penstock.stores.base import Outdated, StoredModel, StoredModels

_HEAD = struct.Struct("<QQQ")  # revision, offset and length of what holds
MAX_BYTES = 64 * 1024 * 1024
"""Of all entries together: they stand in the memory of every worker."""
_PATIENCE = 5.0  # seconds to wait for the lock; whoever holds it writes a few megabytes
_PAUSE = 0.005


def with_model(models: dict[str, StoredModel], model: StoredModel) -> None:
    """Put a model among others. Raises ``Outdated`` where it does not follow on what is there, ``OSError`` for too
    much."""
    before = models.get(model.id)
    if model.version != (1 if before is None else before.version + 1):
        raise Outdated(model.id)
    if sum(len(one.entry) for one in models.values()) + len(model.entry) > MAX_BYTES:
        raise OSError(errno.ENOSPC, f"they take {MAX_BYTES >> 20} MB already")
    models[model.id] = model


class MemoryModelStore:
    """A ``stores.base.ModelStore`` in this process's memory: gone with the process."""

    lasts = False
    shared = False

    def __init__(self) -> None:
        self._revision = 0
        self._models: dict[str, StoredModel] = {}

    async def revision(self) -> int:
        return self._revision

    async def read_all(self) -> StoredModels:
        return StoredModels(self._revision, tuple(self._models.values()))

    async def put(self, model: StoredModel) -> None:
        with_model(self._models, model)
        self._revision += 1

    async def delete(self, id: str, who: str = "") -> bool:
        if self._models.pop(id, None) is None:
            return False
        self._revision += 1
        return True

    async def close(self) -> None:
        return


class SharedModelStore:
    """A ``stores.base.ModelStore`` that a gateway's workers share: a file without a name, which they inherit from the
    process that starts them, as they inherit its socket. It outlives a worker, and is gone with the last of them.

    ``fd``: of a file that ``make_shared_file`` made. What is new is written beside what holds, and the head that points
    at it last, so a worker that is killed meanwhile leaves what was there. Locks are the system's, by process: they end
    with it."""

    lasts = False
    shared = True

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # The system's lock would let two tasks of one process in.
        self._mine = asyncio.Lock()

    async def revision(self) -> int:
        return self._head()[0]

    async def read_all(self) -> StoredModels:
        async with self._locked(write=False):
            revision, models = self._read()
        return StoredModels(revision, tuple(models.values()))

    async def put(self, model: StoredModel) -> None:
        async with self._locked():
            revision, models = self._read()
            with_model(models, model)
            self._write(revision + 1, models)

    async def delete(self, id: str, who: str = "") -> bool:
        async with self._locked():
            revision, models = self._read()
            if models.pop(id, None) is None:
                return False
            self._write(revision + 1, models)
            return True

    async def close(self) -> None:
        return

    def _head(self) -> tuple[int, int, int]:
        data = os.pread(self._fd, _HEAD.size, 0)
        return _HEAD.unpack(data) if len(data) == _HEAD.size else (0, _HEAD.size, 0)

    def _read(self) -> tuple[int, dict[str, StoredModel]]:
        revision, offset, length = self._head()
        if not length:
            return revision, {}
        data = os.pread(self._fd, length, offset)
        found = msgspec.msgpack.decode(data, type=tuple[StoredModel, ...])
        return revision, {model.id: model for model in found}

    def _write(self, revision: int, models: dict[str, StoredModel]) -> None:
        data = msgspec.msgpack.encode(tuple(models.values()))
        _, offset, length = self._head()
        before = offset - _HEAD.size
        place = _HEAD.size if len(data) <= before else offset + length
        written = 0
        while written < len(data):
            written += os.pwrite(self._fd, data[written:], place + written)
        os.pwrite(self._fd, _HEAD.pack(revision, place, len(data)), 0)

    @asynccontextmanager
    async def _locked(self, write: bool = True) -> AsyncIterator[None]:
        """Hold the file's lock. Raises ``OSError`` where it cannot be had."""
        import fcntl

        loop = asyncio.get_running_loop()
        kind = fcntl.LOCK_EX if write else fcntl.LOCK_SH
        async with self._mine:
            end = loop.time() + _PATIENCE
            while True:
                try:
                    fcntl.lockf(self._fd, kind | fcntl.LOCK_NB)
                    break
                except (BlockingIOError, PermissionError):
                    if loop.time() > end:
                        raise TimeoutError("another worker holds the stored models") from None
                    await asyncio.sleep(_PAUSE)
            try:
                yield
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)


def make_shared_file() -> int:
    """Open a file without a name, for a ``SharedModelStore``: in memory where the system has that. Return its
    descriptor."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("penstock-models")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
