"""The batches of one process: where they are kept, and which of them it runs.

Any process may run a batch; it takes a lease in the store and renews it, so that one does at a time, and a lock on the
disk, which ends with its process. What a dead one has left is taken up by whoever looks next.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import tempfile
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from penstock.core.admit.caller import ANONYMOUS, MASTER, Caller
from penstock.core.batches.kept import ANTHROPIC, OPENAI, SHARED, KeptBatch
from penstock.core.errors import GatewayError
from penstock.server.batches.common import stored
from penstock.server.batches.places import Answering, Places
from penstock.server.batches.quotas import FREE, FREE_KEY, kept_no_more
from penstock.server.batches.run import LEASE, Run
from penstock.server.surfaces import SURFACES
from penstock.stores.batch_memory import MemoryBatchStore
from penstock.stores.files_disk import FileFolder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.runtime.surface import Surface
    from penstock.server.gateway import Gateway
    from penstock.stores.batch_base import BatchStore

log = logging.getLogger("penstock")
FOLDER = "files"  # in the state directory
LOOK = 1.0  # seconds between two looks at what nobody runs
REST = 10.0  # seconds until a batch that could not go on is tried again
SWEEP = 60.0  # seconds between two looks at files that are over
MAKING = 3600.0  # seconds in which a batch is surely made
MOST_SWEPT = 1000  # files of batches that one look deletes
PREFIXES = (BATCH_ID, MESSAGES_ID, SHARED_ID) = ("batch_", "msgbatch_", "chats_")
"""Of ids of batches."""
MOST_RUNNING = 20  # batches that one process runs together
AT_ONCE = 16  # lines of all its batches that are on their way together
MOST_LINES = 50_000  # of a batch, as at OpenAI
AT_ONCE_KEY, MOST_LINES_KEY = "batch_concurrency", "max_batch_file_records"
MOST_BYTES_KEY = "max_batch_file_size_mb"
ENDPOINTS: dict[str, str] = {
    path: form
    for form, paths in (
        (OPENAI, "/v1/chat/completions /v1/completions /v1/embeddings /v1/responses /v1/moderations /v1/rerank"),
        (ANTHROPIC, "/v1/messages"),
    )
    for path in paths.split()
}
"""Paths that the lines of a batch may go to, and in whose form such a batch is."""


class BatchRoom:
    """See the module. ``store``: what is known of files and batches; ``folder``: their bytes; None: a folder that goes
    with the process."""

    def __init__(self, gateway: Gateway, store: BatchStore, folder: Path | None) -> None:
        self.gateway, self.store = gateway, store
        self._kept_in = folder
        self._passing: tempfile.TemporaryDirectory[str] | None = None
        self.name = f"{os.getpid()}-{secrets.token_hex(6)}"
        self.runs: dict[str, Run] = {}
        self.answering = Answering()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.places = Places(lambda: self.setting(AT_ONCE_KEY, AT_ONCE))
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._resting: dict[str, float] = {}  # batches that failed here, and until when they are left alone
        self._swept = 0.0
        self._stopping = False

    @classmethod
    def passing(cls, gateway: Gateway) -> BatchRoom:
        """Make one that is gone with the process."""
        return cls(gateway, MemoryBatchStore(), None)

    @cached_property
    def folder(self) -> FileFolder:
        """Return where the bytes of files are."""
        if self._kept_in is None:
            self._passing = tempfile.TemporaryDirectory(prefix="penstock-files-")
            return FileFolder(Path(self._passing.name), self._kept_free)
        return FileFolder(self._kept_in, self._kept_free)

    # What holds -------------------------------------------------------------------------------------------------------

    def setting(self, name: str, default: int) -> int:
        return int(self._general.get(name) or default)

    @property
    def _general(self) -> Mapping[str, Any]:
        return self.gateway.state.config.general.values

    @property
    def most_lines(self) -> int:
        return self.setting(MOST_LINES_KEY, MOST_LINES)

    @property
    def most_bytes(self) -> int:
        """Return the most bytes of an input file."""
        return self.megabytes(MOST_BYTES_KEY) or self.gateway.max_upload

    def megabytes(self, name: str, default: float = 0.0) -> int:
        """Return a setting of megabytes, in bytes."""
        return int((self._general.get(name) or default) * 1024 * 1024)

    def _kept_free(self) -> int:
        return self.megabytes(FREE_KEY, FREE)

    def check_kept(self) -> None:
        """Refuse what only this process would know of. Raises "not_installed"."""
        if self.gateway.several and not self.store.lasts:
            text = "Several workers serve here without a database, so files and batches cannot be kept: "
            raise GatewayError("not_installed", text + "start with a master key, or with --state-dir.")

    def owner_of(self, batch: KeptBatch) -> Caller:
        """Return who made a batch, as that is now: what holds for its key holds for each line. Raises "unauthorized"
        where it is gone."""
        found = self.find_owner(batch.owner)
        if found is None:
            raise GatewayError("unauthorized", "Authentication Error, the key that made this batch is gone.")
        return found

    def find_owner(self, tenant: str) -> Caller | None:
        """Return the caller of a ``tenant`` without its key; None for one that only its key or its token can make."""
        if tenant == MASTER.tenant:
            return MASTER
        if tenant == ANONYMOUS.tenant:
            return None if self.gateway.identity.needs_key else ANONYMOUS
        keyring = self.gateway.identity.keyring
        kind, _, id_ = tenant.partition(" ")
        return keyring.caller(id_) if keyring is not None and kind == "key" else None

    def surface_of(self, batch: KeptBatch) -> Surface:
        """Return what answers the lines of a batch."""
        if batch.form != SHARED:
            return SURFACES[batch.endpoint]
        from penstock.server.mounts import MOUNTS  # its tables are made of surfaces that ask this

        named = ((mount, batch.endpoint.removeprefix(mount.base)) for mount in MOUNTS)
        return next(mount.batch_surfaces[rest] for mount, rest in named if rest in mount.batch_surfaces)

    def turn(self, id_: str) -> asyncio.Lock:
        """Return what lets one after the other ask a provider for a batch."""
        found = self._turns.get(id_)
        if found is None:
            found = self._turns[id_] = asyncio.Lock()
        return found

    # Running ----------------------------------------------------------------------------------------------------------

    async def add(self, batch: KeptBatch, requests: list[bytes] | None = None) -> None:
        """Keep a new batch, and begin it soon. ``requests``: its lines; None where they are in its input file, which
        may be deleted from then on. Raises "disk_full", "overloaded", "no_object", "no_database", "not_installed"."""
        self.check_kept()
        try:
            if requests is None:
                await asyncio.to_thread(self.folder.check_room)
                await asyncio.to_thread(self.folder.link, batch.input, batch.id)
            else:
                await asyncio.to_thread(self.folder.put, batch.id, requests)
        except FileNotFoundError:
            text = f"The file {batch.input} is not on this machine: gateways that share a database share its folder."
            raise GatewayError("no_object", text, param="input_file_id") from None
        except OSError as error:
            raise kept_no_more("The batch", error) from None
        try:
            await stored(self.store.add_batch(batch))
        except GatewayError:
            await asyncio.to_thread(self.folder.delete, batch.id)
            raise
        self.wake()

    def wake(self) -> None:
        """Look soon at what is to be done."""
        self._woken.set()
        for run in self.runs.values():
            run.look()
        if self._watch is None or self._watch.done():
            self.start()

    def start(self) -> None:
        """Begin to look at what nobody runs, in the running loop."""
        self._watch = asyncio.get_running_loop().create_task(self._look_on())

    async def stop(self) -> None:
        """Let go of all batches: their lines that are on their way were waited for, or are asked again by whoever goes
        on."""
        self._stopping = True
        for run in self.runs.values():
            run.stop()
        if self._watch is not None:
            self._watch.cancel()
        for task in (*self._tasks, *([self._watch] if self._watch is not None else ())):
            with suppress(asyncio.CancelledError):
                await task
        if self._passing is not None:
            self._passing.cleanup()

    async def _look_on(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                waiting = await self._take()
                await self._sweep()
            except OSError as error:  # said by whoever watches the database
                log.debug("batches cannot be looked at: %s", error)
                waiting = True
            except Exception:  # boundary: a bug of ours here must not end the looks that come after it
                log.exception("batches could not be looked at through a fault of the gateway")
                waiting = True
                await asyncio.sleep(REST)
            if not (self.store.lasts or waiting or self.runs):
                return  # nobody else can add to it: begun again by whoever does
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._woken.wait()

    async def _take(self) -> bool:
        """Run what nobody runs. Return whether there is anything left."""
        if self.gateway.draining:
            return True
        now = time.time()
        found = await self.store.waiting(now)
        for batch in found:
            if len(self.runs) >= MOST_RUNNING:
                break
            if batch.id in self.runs or self._resting.get(batch.id, 0.0) > now:
                continue
            if not self.folder.has(batch.id):
                continue  # the file is on another machine: so is who can run it
            taken = await self.store.lease(batch.id, self.name, now, now + LEASE)
            if taken is not None and not self._begin(taken):
                await self.store.release(batch.id, self.name)
        return bool(found)

    def _begin(self, batch: KeptBatch) -> bool:
        lock = self.folder.lock(batch.id)
        if lock is None:
            return False  # of a process on this machine that still ends
        run = self.runs[batch.id] = Run(self, batch)

        async def drive() -> None:
            try:
                await run.drive()
            except OSError as error:
                self._resting[batch.id] = time.time() + REST
                log.error("the batch %s waits: %s", batch.id, error)
            except Exception:  # boundary: a bug of ours in one batch must not end the others
                self._resting[batch.id] = time.time() + REST
                log.exception("the batch %s waits, through a fault of the gateway", batch.id)
            else:
                self._resting.pop(batch.id, None)
            finally:
                lock.close()
                with suppress(OSError):
                    if not run.broken:
                        await self.store.release(batch.id, self.name)
                del self.runs[batch.id]

        task = asyncio.get_running_loop().create_task(drive())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _sweep(self) -> None:
        """Delete the files that are over."""
        now = time.time()
        if now < self._swept + SWEEP:
            return
        self._swept = now
        for file in await self.store.files_over(now):
            await asyncio.to_thread(self.folder.delete, file.id)
            await self.store.remove_file(file.id)
        await asyncio.to_thread(self.folder.sweep, now)
        # One that is being made has its file before it is kept.
        for id_ in (await asyncio.to_thread(self.folder.names, now - MAKING, *PREFIXES))[:MOST_SWEPT]:
            batch = None if id_ in self.runs else await self.store.batch(id_)
            if id_ not in self.runs and (batch is None or batch.finished):
                await asyncio.to_thread(self.folder.delete, id_)  # of one whose process ended with it
