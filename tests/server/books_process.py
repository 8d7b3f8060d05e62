"""A process that keeps books, for tests that kill it: prints its port, and when it is told to end all that is stored.

python -m tests.server.books_process FOLDER UPSTREAM
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import msgspec

from penstock.stores.base import Spent
from penstock.stores.spend_memory import MemorySpendStore
from tests.server.books import YAML, open_books


class FileStore(MemorySpendStore):
    """A store that outlives its process: all of it in a file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        if path.exists():
            entries, marks = msgspec.msgpack.decode(path.read_bytes(), type=tuple[list[Spent], dict[str, int]])
            self.entries, self._marks = {entry.call_id: entry for entry in entries}, marks

    async def append(self, *given) -> None:
        await super().append(*given)
        new = self._path.with_suffix(".new")
        new.write_bytes(msgspec.msgpack.encode((list(self.entries.values()), self._marks)))
        new.replace(self._path)


async def main(folder: Path, upstream: str) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    (folder / "config").mkdir(exist_ok=True)
    async with open_books(
        folder / "config", YAML.replace("{mock}", upstream), store=FileStore(folder / "store"), state=folder / "state"
    ) as door:
        await door.key("a")
        print(door.port, flush=True)
        await ended.wait()
        await door.settle(10.0)
    entries = [[one.call_id, one.cost, one.pending, one.output, one.status] for one in door.store.entries.values()]
    print(json.dumps(entries), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
