"""A door with a database of its own, in which requests were spent, and callers of each kind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.core.admit.caller import Reading
from penstock.server.books import Books
from penstock.server.storage import Storage
from penstock.stores.base import Spent
from penstock.stores.sql.address import file_address
from penstock.stores.sql.database import Database
from tests.door import Door, open_door
from tests.server.keyed import MASTER, SECRET, lead

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
PICO = 10**12


class SpendDoor(Door):
    """``storage``: its database; ``keys``: clear keys by name, and their ids."""

    storage: Storage
    keys: dict[str, str]
    ids: dict[str, str]

    async def key(self, name: str, **fields: Any) -> str:
        clear = f"sk-{name}-0123456789"
        id_ = self.storage.keyring.digest(clear.encode())
        body = {"token": id_, "key_name": f"sk-...{name}", "key_alias": name, "digests": [{"digest": id_}], **fields}
        await self.storage.desk.add("key", id_, body, "test")
        self.keys[name], self.ids[name] = clear, id_
        return id_

    async def get(self, path: str, who: str = "master", method: str = "GET", body: bytes = b"") -> tuple[int, Any]:
        key = MASTER if who == "master" else self.keys[who]
        headers = {"authorization": f"Bearer {key}"}
        if body:
            headers["content-type"] = "application/json"
        status, _, answer = await self.ask(method, path, body, headers)
        return status, json.loads(answer)


def spent(call_id: str, key: str, at: float = NOON, dollars: float = 0.5, **more: Any) -> Spent:
    told: dict[str, Any] = {"model": "m", "group": "m", "target": "gpt-4o", "provider": "openai", "input": 10, "output": 5,
                            "status": 200, "request_id": f"chatcmpl-{call_id}", "ms": 1500.0} | more  # fmt: skip
    told.setdefault("accounts", tuple(f"{kind}:{id_}" for kind, id_ in (("key", key), ("user", told.get("user"))) if id_))
    return Spent(call_id, at, at - 1.5, "acompletion", key=key, cost=round(dollars * PICO), **told)


@asynccontextmanager
async def open_spending(tmp_path: Path, yaml: str | None = None) -> AsyncIterator[SpendDoor]:
    async with open_door(tmp_path, yaml, master_key=MASTER) as door:
        door.__class__ = SpendDoor
        storage = door.storage = Storage(Database(file_address(tmp_path / "penstock.db")), SECRET, Reading(), None)
        storage.open()
        lead(door, storage.keyring)
        door.gateway.storage, door.gateway.desk = storage, storage.desk
        door.keys, door.ids = {}, {}
        books = door.gateway.books = await Books.open(door.gateway, storage.spend, tmp_path / "state")
        try:
            yield door
        finally:
            await door.settle()
            await books.close()
            await storage.close()


async def fill(door: SpendDoor) -> None:
    """Two teams of an organisation; alice runs the first, bob is in it; carol has the second to herself."""
    add = door.storage.desk.add
    await add("organization", "org", {"organization_id": "org"}, "t")
    for user, role in (("alice", "internal_user"), ("bob", "internal_user"), ("carol", "internal_user"),
                       ("vera", "proxy_admin_viewer"), ("olga", "internal_user")):  # fmt: skip
        await add("user", user, {"user_id": user, "user_role": role, "user_email": f"{user}@x.test"}, "t")
    await add("organization_member", "org/olga",
              {"membership_id": "org/olga", "organization_id": "org", "user_id": "olga", "user_role": "org_admin"}, "t")  # fmt: skip
    for team, alias in (("t1", "red"), ("t2", "blue")):
        await add("team", team, {"team_id": team, "team_alias": alias, "organization_id": "org"}, "t")
    for team, user, role in (("t1", "alice", "admin"), ("t1", "bob", "user"), ("t2", "carol", "user")):
        body = {"membership_id": f"{team}/{user}", "team_id": team, "user_id": user, "role": role}
        await add("member", f"{team}/{user}", body, "t")
    for name, team in (("alice", "t1"), ("bob", "t1"), ("carol", "t2"), ("vera", ""), ("olga", "")):
        await door.key(name, user_id=name, **({"team_id": team} if team else {}))
    await door.key("lone")
    ids = door.ids
    who = {"alice": "t1", "bob": "t1", "carol": "t2"}
    entries = [
        spent(f"{name}{day}", ids[name], NOON + day * DAY, 0.5 * (1 + day), team=team, user=name, organization="org",
              tags=("x", name), customer="end-1", session="s1" if day else "",
              accounts=(f"key:{ids[name]}", f"team:{team}", f"user:{name}"))
        for name, team in who.items() for day in range(3)
    ]  # fmt: skip
    entries.append(spent("lone", ids["lone"], NOON, 4.0, target="claude", provider="anthropic", group="c", model="c"))
    entries.append(spent("bad", ids["lone"], NOON, 0.0, status=429, error="rate_limited", message="slow down",
                         output=0, address="https://a.test", usage=b"{broken", metadata=b'{"a":1}'))  # fmt: skip
    accounts = {account for one in entries for account in one.accounts}
    await door.storage.spend.append(entries, dict.fromkeys(accounts, ("",)), {})
