"""The small form of `make scale`: what it fills in is what the ledger would have written, and all that people ask of it is
answered, quickly."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from penstock.stores.sql.address import file_address
from penstock.stores.sql.daily import count_all, sums_of
from penstock.stores.sql.database import Database
from penstock.stores.sql.schema import DAILY
from penstock.stores.sql.spend import SqlSpendStore
from tests.e2e.serving import MASTER_KEY, serving
from tests.scale.__main__ import Line, clean_up, list_and_report, render
from tests.scale.asking import Asked, Measured, judge
from tests.scale.filling import SECRET, Size, fill

SIZE = Size(requests=20_000, teams=100, days=60, active=50)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scale") / "penstock.db"
    database = Database(file_address(path))
    fill(database, SIZE, lambda text: None)
    database.close()
    return path


def test_what_is_filled_in_is_what_the_ledger_writes(filled):
    database = Database(file_address(filled))
    store = SqlSpendStore(database)

    async def read() -> list:
        return [one async for rows in store.scan(size=5000) for one in rows]

    rows = asyncio.run(read())
    assert len(rows) == SIZE.requests and len({one.call_id for one in rows}) == SIZE.requests
    columns = list(DAILY.columns)
    kept = database.read_now(lambda c: {row[0]: tuple(row) for row in c.execute(sa.select(*columns))})
    expected = {one["id"]: tuple(one[column.name] for column in columns) for one in sums_of(count_all(rows))}
    assert kept == expected
    for kind in ("key", "team", "user", "organization", "member"):
        totals = asyncio.run(store.dearest(kind, 10**6))
        sums: dict[str, int] = {}
        for one in rows:
            for account in one.accounts:
                if account.startswith(f"{kind}:"):
                    name = account.partition(":")[2]
                    sums[name] = sums.get(name, 0) + one.cost
        assert totals == sums, kind
    database.close()


def test_all_that_people_ask_is_answered(filled, tmp_path):
    """Within ten times as long as a large one may take: the machine is shared."""
    yaml = f"model_list: []\ngeneral_settings:\n  master_key: {MASTER_KEY}\n  database_url: sqlite:///{filled}\n"
    address = file_address(filled)
    with serving(tmp_path, yaml, "--state-dir", str(tmp_path / "state"), PENSTOCK_SECRET_KEY=SECRET) as served:
        lines = list_and_report(served, address, SIZE, 1, lambda text: None, limit=10.0)
        lines += clean_up(address, lambda text: None, limit=10.0)
    assert len(lines) > 100 and [line for line in lines if line.wrong] == []
    text = render(lines, SIZE, "SQLite", 1.0, "today")
    assert "All within a second" in text and text.count("\n|") == len(lines) + 2


def test_what_takes_long_or_fails_is_judged_so():
    fine = Measured("/x", [0.1, 0.9], 200, 5)
    assert judge(Asked("/x"), fine) == "" and (fine.middle, fine.worst) == (0.9, 0.9)
    assert judge(Asked("/x"), fine._replace(seconds=[0.1, 1.2])) == "1.20 s"
    assert judge(Asked("/x"), fine._replace(seconds=[0.1, 3.0], waited=[0.0, 2.5])) == "", "others had the processor"
    refused = fine._replace(status=400, note="There are more than 20,000 sums")
    assert judge(Asked("/x", may_refuse=True), refused) == "" and judge(Asked("/x"), refused).startswith("status 400")
    assert judge(Asked("/x", may_refuse=True), refused._replace(seconds=[2.0])) == "2.00 s to refuse"
    assert judge(Asked("/x", may_refuse=True), refused._replace(note="no such thing")).startswith("status 400")
    assert "1 NOT as they must be" in render(
        [Line("/x", "1 ms", "2 s", "2 s", "", "2.00 s")], SIZE, "SQLite", 1.0, "today"
    )
