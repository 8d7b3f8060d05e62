"""A gateway with virtual keys: what is stored is given as rows, and the keys are known by their aliases."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from penstock.config.admission import read_admission
from penstock.core.errors import GatewayError
from penstock.runtime.admission import Admission
from penstock.runtime.identity import Identity
from penstock.runtime.keyring import Keyring
from penstock.stores.base import Changes, Row
from tests.door import Door, open_door

MASTER = "sk-master-1234567890"
SECRET = b"a secret of the test's own"
Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Bodies by kind and id. Of a key the id is its alias: ``sk-`` with it in the front opens."""


def key(alias: str) -> str:
    """Return the clear key of an alias."""
    return f"sk-{alias}-key-1234567890"


def ring_of(rows: Rows) -> Keyring:
    ring = Keyring(SECRET)
    made = []
    for kind, bodies in rows.items():
        for id_, body in bodies.items():
            if kind == "key":
                digest = ring.digest(key(id_).encode())
                body = {"key_alias": id_, "token": digest, **body, "digests": [{"digest": digest}]}
                id_ = digest
            made.append(Row(kind, id_, msgspec.json.encode(body)))
    ring.take(Changes(1, tuple(made)))
    return ring


def id_of(alias: str) -> str:
    """Return the id of a key."""
    return Keyring(SECRET).digest(key(alias).encode())


def lead(door: Door, ring: Keyring, master: str = MASTER) -> Admission:
    """Have a door admit by a keyring."""
    gateway = door.gateway
    gateway.keyring = ring
    gateway.identity = Identity(master, False, keyring=ring)
    settings, problems = read_admission(gateway.state.config)
    assert problems == []
    admission = gateway.engine.admission = Admission(
        ring, gateway.engine.means.clock, settings, gateway.engine.means.lives
    )
    return admission


@asynccontextmanager
async def open_keyed(tmp_path: Path, rows: Rows, yaml: str | None = None, **more: Any):
    async with open_door(tmp_path, yaml, master_key=MASTER, **more) as door:
        lead(door, ring_of(rows))
        yield door


class FixedBudgets:
    """Budgets as admission knows them: everybody has spent so much, and some may no more."""

    def __init__(self, spent: int = 0, refuses: bool = False) -> None:
        self.amount, self.refuses = spent, refuses
        self.reserved: list[Any] = []

    def reserve(self, call: Any, admitted: Any, state: Any) -> None:
        if self.refuses:
            raise GatewayError("over_budget", "Budget has been exceeded! Current cost: 1, Max budget: 1")
        self.reserved.append(admitted)

    def note(self, call: Any, error: Any) -> None:
        return None

    def spent(self, account: str) -> int:
        return self.amount
