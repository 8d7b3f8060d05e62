"""A door whose gateway keeps books: virtual keys, a ledger with its journal, and a store in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.admin.desk import Desk
from penstock.core.admit.amount import dollars
from penstock.runtime.keyring import Keyring
from penstock.server.books import Books
from penstock.stores.base import SpendStore, Spent
from penstock.stores.directory_memory import MemoryDirectory
from penstock.stores.spend_memory import MemorySpendStore
from tests.door import Door, open_door
from tests.server.keyed import lead

MASTER = "sk-master-of-the-books-1"
SECRET = b"a secret of the server's own, for tests"
ENTRY = """
  - model_name: m
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.00001, max_output_tokens: 1000}
"""
YAML = f"""
model_list:{ENTRY}
router_settings: {{num_retries: 0}}
"""


class BooksDoor(Door):
    """A door with keys and books."""

    desk: Desk
    books: Books
    store: MemorySpendStore

    async def key(self, name: str, **fields: Any) -> str:
        """Make a virtual key and return it."""
        clear = f"sk-{name}-0123456789"
        id_ = self.desk.keyring.digest(clear.encode())
        body = {"token": id_, "key_name": name, "digests": [{"digest": id_}], **fields}
        await self.desk.add("key", id_, body, "test")
        return clear

    async def chat(self, key: str, path: str = "/v1/chat/completions", **fields: Any):
        """Ask once; status and body."""
        body = {"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}], **fields}
        body = {name: value for name, value in body.items() if value is not None}
        status, _, answer = await self.post(body, path, authorization=f"Bearer {key}")
        return status, answer

    def account(self, key: str) -> str:
        return f"key:{self.desk.keyring.id_of(key)}"

    async def stored(self, count: int = 1, seconds: float = 5.0) -> list[Spent]:
        """Wait until so many entries are stored, and return them all."""
        end = asyncio.get_running_loop().time() + seconds
        while len(self.store.entries) < count:
            assert asyncio.get_running_loop().time() < end, f"{len(self.store.entries)} of {count} are stored"
            await asyncio.sleep(0.01)
        return list(self.store.entries.values())


def cost_of(entries: list[Spent]) -> float:
    return dollars(sum(entry.cost for entry in entries))


@asynccontextmanager
async def open_books(
    tmp_path: Path, yaml: str = YAML, store: SpendStore | None = None, state: Path | None = None, **more: Any
) -> AsyncIterator[BooksDoor]:
    async with open_door(tmp_path, yaml, master_key=MASTER, **more) as door:
        door.__class__ = BooksDoor
        keyring = Keyring(SECRET)
        lead(door, keyring, MASTER)
        door.desk = Desk(MemoryDirectory(), keyring)
        door.store = store or MemorySpendStore()
        door.books = await Books.open(door.gateway, door.store, state or tmp_path / "state")
        try:
            yield door
        finally:
            await door.settle()
            await door.books.close()


def said(answer: bytes) -> Any:
    return json.loads(answer)
