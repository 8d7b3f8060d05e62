"""A gateway in which keys, users and teams are kept, in memory, and callers of every role who ask it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.admin.desk import Desk, Step
from penstock.runtime.identity import Identity
from penstock.runtime.keyring import Keyring
from penstock.stores.directory_memory import MemoryDirectory
from tests.door import Door, open_door

MASTER = "sk-managed-master-77c1d2"
SECRET = b"a secret of these tests"
YAML = """
model_list:
  - {model_name: m, litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-up-1}}
  - {model_name: n, litellm_params: {model: openai/other, api_base: "{mock}/v1", api_key: sk-up-2},
     model_info: {access_groups: [few]}}
router_settings: {num_retries: 0}
"""


class Counted:
    """A ledger that knows what it was told."""

    def __init__(self) -> None:
        self.amounts: dict[str, int] = {}

    async def spent(self, account: str) -> int:
        return self.amounts.get(account, 0)

    async def put_right(self, account: str, amount: int, who: str) -> None:
        self.amounts[account] = amount


class Managed:
    """``door``, the ``desk`` behind it, and ``ask``. ``keys``: by the name of who has them."""

    def __init__(self, door: Door, desk: Desk) -> None:
        self.door, self.desk, self.ledger = door, desk, Counted()
        self.keys: dict[str, str] = {"master": MASTER}

    async def ask(self, path: str, body: Any = None, key: str = "master", method: str = "") -> tuple[int, Any]:
        """One request with the key of somebody, or with a key itself: status, and what its JSON says."""
        headers = {"authorization": f"Bearer {self.keys.get(key, key)}"} if key else {}
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers |= {"content-type": "application/json"} if data else {}
        status, _, answer = await self.door.ask(method or ("GET" if body is None else "POST"), path, data, headers)
        return status, json.loads(answer)

    async def good(self, path: str, body: Any = None, key: str = "master", method: str = "") -> Any:
        """The same, where it must go well."""
        status, told = await self.ask(path, body, key, method)
        assert status == 200, (path, body, status, told)
        return told

    async def bad(self, path: str, body: Any = None, key: str = "master", method: str = "") -> tuple[int, str, Any]:
        """The same, where it must not: status, message, param."""
        status, told = await self.ask(path, body, key, method)
        assert status >= 400, (path, body, status, told)
        return status, told["error"]["message"], told["error"]["param"]

    async def put(self, kind: str, id_: str, **body: Any) -> None:
        """Keep a row as it is."""
        await self.desk.write([Step(kind, id_, body)], "a test")

    async def key(self, name: str, **body: Any) -> str:
        """Have a key made for somebody; return it."""
        made: str = (await self.good("/key/generate", {"key_alias": name, **body}))["key"]
        self.keys[name] = made
        return made

    def id(self, name: str) -> str:
        """The id of somebody's key."""
        found = self.desk.keyring.id_of(self.keys[name])
        assert found is not None
        return found


@asynccontextmanager
async def open_managed(tmp_path: Path, yaml: str = YAML, counts: bool = True, **more: Any) -> AsyncIterator[Managed]:
    async with open_door(tmp_path, yaml, master_key=MASTER, **more) as door:
        keyring = Keyring(SECRET)
        desk = Desk(MemoryDirectory(), keyring)
        door.gateway.identity = Identity(MASTER, False, keyring=keyring)
        managed = Managed(door, desk)
        gateway: Any = door.gateway
        gateway.desk = desk
        if counts:
            gateway.spent, gateway.put_right = managed.ledger.spent, managed.ledger.put_right
            gateway.check_spend = lambda: None
        yield managed


async def populate(managed: Managed) -> None:
    """Two organisations with a team each, and a caller of every role, by its name."""
    for organization, team in (("o", "t"), ("o2", "t2")):
        await managed.put("organization", organization, organization_id=organization, organization_alias=organization)
        await managed.put("team", team, team_id=team, organization_id=organization, models=["m", "few"])
    users = {
        "proxy_admin": "proxy_admin",
        "viewer": "proxy_admin_viewer",
        "org_admin": "internal_user",
        "team_admin": "internal_user",
        "member": "internal_user",
        "internal": "internal_user",
        "internal_viewer": "internal_user_viewer",
        "foreign": "internal_user",
    }
    for user, role in users.items():
        await managed.put("user", user, user_id=user, user_role=role)
    await managed.put(
        "organization_member", "o/org_admin", organization_id="o", user_id="org_admin", user_role="org_admin"
    )
    for team, user, role in (("t", "team_admin", "admin"), ("t", "member", "user"), ("t2", "foreign", "admin")):
        await managed.put("member", f"{team}/{user}", team_id=team, user_id=user, role=role)
    for user in users:
        await managed.key(user, user_id=user)
    await managed.key("alone")  # nobody's
