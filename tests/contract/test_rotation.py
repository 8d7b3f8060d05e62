"""Several processes of one database rotate keys: each once, by one of them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.admin.desk import Desk
from penstock.admin.rotation import rotate_due
from penstock.runtime.keyring import Keyring
from penstock.stores.sealing import Sealer
from penstock.stores.sql.address import read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.directory import SqlDirectory
from tests import databases

SECRET = b"a secret of these tests"


@pytest.mark.parametrize("kind", databases.KINDS)
async def test_several_processes_rotate_each_key_once(request: pytest.FixtureRequest, kind: str):
    url, now = request.getfixturevalue(f"empty_{kind}"), 1_790_000_000.0
    stores = [SqlDirectory(Database(read_address(url))) for _ in range(3)]
    desks = [Desk(store, Keyring(SECRET), clock=lambda: now, sealer=Sealer(SECRET)) for store in stores]
    for n in range(30):
        id_ = f"k{n}"
        fields = {"token": id_, "digests": [{"digest": f"d{n}"}], "auto_rotate": True, "rotation_interval": "1d"}
        await desks[0].add("key", id_, {**fields, "key_rotation_at": "2026-09-01T00:00:00Z"}, "a test")
    for desk in desks:
        await desk.look()
    counts = await asyncio.gather(*(rotate_due(desk, f"p{n}", None) for n, desk in enumerate(desks)))
    assert sorted(counts) == [0, 0, 30], "one has the rounds for itself"
    for desk in desks:
        await desk.look()
    assert await rotate_due(desks[1], "p1", None) == 0
    rows = desks[1].keyring.rows("key")
    assert {msgspec.json.decode(row.body)["rotation_count"] for row in rows} == {1}
    # The one that had them is gone: another takes them over when its lease is over.
    for desk in desks:
        desk.clock = lambda: now + 2 * 86400
    assert await rotate_due(desks[2], "p2", None) == 30
    for store in stores:
        await store.close()
