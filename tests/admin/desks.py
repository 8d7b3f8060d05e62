"""A gateway whose rows are kept in memory, and whoever calls it: the master key, and keys of users."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from penstock.admin.desk import Desk, Step
from penstock.runtime.keyring import Keyring
from penstock.stores.base import Directory
from penstock.stores.directory_memory import MemoryDirectory
from penstock.stores.sealing import Sealer
from penstock.stores.sql.address import file_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.directory import SqlDirectory
from penstock.stores.sql.migrate import prepare
from tests.door import Door
from tests.served import MASTER, ServedDoor, open_service
from tests.server.keyed import lead

CONFIG = f"""
model_list:
  - model_name: m
    litellm_params: {{model: openai/real-model, api_base: "{{mock}}/v1", api_key: sk-of-the-file-11}}
    model_info: {{id: of-the-file}}
general_settings: {{master_key: {MASTER}}}
"""
NOW = 1_790_000_000.0


class Managed:
    """A gateway with a desk. ``desk``: where its rows are changed; ``door``: where it is asked."""

    def __init__(self, door: ServedDoor, desk: Desk) -> None:
        self.door, self.desk = door, desk

    async def ask(self, path: str, body: Any = None, method: str = "", key: str = MASTER) -> tuple[int, Any]:
        """One request: its status, and what its JSON says."""
        data = b"" if body is None else json.dumps(body).encode()
        method = method or ("GET" if body is None else "POST")
        headers = {
            "content-type": "application/json",
            "content-length": str(len(data)),
            "authorization": f"Bearer {key}",
        }
        status, _, answer = await Door.ask(self.door, method, path, data, headers)
        return status, json.loads(answer)

    async def good(self, path: str, body: Any = None, method: str = "", key: str = MASTER) -> Any:
        """One request that must go well: what it answers."""
        status, answer = await self.ask(path, body, method, key)
        assert status == 200, (path, status, answer)
        return answer

    async def refused(self, status: int, path: str, body: Any = None, method: str = "", key: str = MASTER) -> str:
        """One request that must be refused so: what the error says."""
        found, answer = await self.ask(path, body, method, key)
        assert found == status, (path, found, answer)
        return str(answer["error"]["message"])

    async def keep(self, kind: str, id_: str, **body: Any) -> None:
        """Keep a row, by the side of all URLs."""
        await self.desk.write([Step(kind, id_, body)], "a test")

    async def key(self, name: str, **fields: Any) -> str:
        """Make a key with those fields: its secret."""
        secret = f"sk-of-{name}-0123456789abcdef"
        digest = self.desk.keyring.digest(secret.encode())
        await self.keep("key", digest, token=digest, key_name=f"sk-...{name}", digests=[{"digest": digest}], **fields)
        return secret

    async def user(self, name: str, role: str = "internal_user", **fields: Any) -> str:
        """Make a user and a key of his: its secret."""
        await self.keep("user", name, user_id=name, user_role=role, **fields)
        return await self.key(name, user_id=name)

    async def rows(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """What is kept of a kind, by id."""
        return {row.id: json.loads(row.body) for row in (await self.desk.find(kind)).rows}


@asynccontextmanager
async def managed(tmp_path: Any, yaml: str = CONFIG, store: Directory | None = None) -> AsyncIterator[Managed]:
    async with open_service(tmp_path, yaml) as door:
        keyring = Keyring(b"a secret of a test's server")
        desk = Desk(store or MemoryDirectory(), keyring, lambda: NOW, Sealer(b"a secret of a test's server"))
        door.gateway.desk = desk
        lead(door, keyring, MASTER)
        yield Managed(door, desk)


@asynccontextmanager
async def in_each(name: str, tmp_path: Any) -> AsyncIterator[Managed]:
    """A gateway with rows in memory, or in a database's tables."""
    if name == "memory":
        async with managed(tmp_path) as made:
            yield made
        return
    database = Database(file_address(tmp_path / "rows.db"))
    prepare(database, "the secret's check")
    store = SqlDirectory(database)
    try:
        async with managed(tmp_path, store=store) as made:
            yield made
    finally:
        await store.close()
