"""`penstock spend recompute`: a table of what is different, nothing in a dry run, and twice is once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from penstock.core.admit.periods import window
from penstock.stores.sql.address import read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.migrate import prepare
from penstock.stores.sql.spend import SqlSpendStore
from tests import databases
from tests.cli.test_spend import run
from tests.databases import mariadb, postgres  # noqa: F401
from tests.server.spending import DAY, NOON, spent

USAGE = b'{"fresh":1000,"cache_read":0,"cache_write":0,"cache_write_1h":0,"output":100}'
COUNT = 1_500  # more than one piece
PICO = 10**12
CONFIG = """
model_list:
  - model_name: own
    litellm_params: {model: openai/own, api_key: sk-x, input_cost_per_token: 0.001, output_cost_per_token: 0.01}
"""


@pytest.fixture(params=databases.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind with requests of two days and models, one of each ten without usage."""
    found = f"sqlite:///{tmp_path}/penstock.db" if request.param == "sqlite" else request.getfixturevalue(request.param).fresh()
    database = Database(read_address(found))
    prepare(database, "a check")
    entries = [
        spent(f"c{n}", f"k{n % 3}", NOON + n % 2 * DAY, 0.001, usage=b"" if n % 10 == 9 else USAGE,
              target="own" if n % 5 == 0 else "priced-here", group="own" if n % 5 == 0 else "m",
              price_version="config" if n % 5 == 0 else "", accounts=(f"key:k{n % 3}",), team="t")
        for n in range(COUNT)
    ]  # fmt: skip
    asyncio.run(SqlSpendStore(database).append(entries, {f"key:k{n}": ("", "30d") for n in range(3)}, {}))
    database.close()
    return found


@pytest.fixture
def empty(tmp_path: Path) -> str:
    found = f"sqlite:///{tmp_path}/empty.db"
    database = Database(read_address(found))
    prepare(database, "a check")
    database.close()
    return found


@pytest.fixture
def prices(tmp_path: Path) -> str:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"openai/priced-here": {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}}))
    return str(file)


def state(url: str) -> tuple[dict[str, int], int, int]:
    """Return all costs, the sum of the days, and the totals of the accounts; which all agree."""

    async def ask() -> tuple[dict[str, int], int, int]:
        store = SqlSpendStore(database)
        rows = {one.call_id: one.cost async for piece in store.scan() for one in piece}
        sums = [(await store.daily(of, by=()))[0].cost for of in ("key", "team")]
        totals = []
        for period in ("", "30d"):
            asked = [(f"key:k{n}", period, window(period, NOON).start) for n in range(3)]
            totals.append(sum(one.amount for one in await store.totals(asked)))
        assert totals == [sums[0]] * 2
        assert sums == [sum(rows.values())] * 2
        return rows, sums[0], totals[0]

    database = Database(read_address(url))
    try:
        return asyncio.run(ask())
    finally:
        database.close()


def test_what_is_different_is_told_and_then_kept_once(url: str, prices: str, tmp_path: Path):
    before = state(url)
    words = ("recompute", "--since", "2026-11-18", "--until", "2026-11-19", "--prices", prices, "--url", url)
    dry = run(*words, "--dry-run").output
    assert state(url) == before and "Nothing was changed" in dry
    lines = dry.splitlines()
    assert lines[0].split() == ["day", "model", "requests", "old", "in", "$", "new", "in", "$", "difference"]
    assert lines[1].split() == ["2026-11-18", "priced-here", "600", "0.600000", "1.800000", "1.200000"]
    assert lines[2].split() == ["2026-11-19", "priced-here", "450", "0.450000", "1.350000", "0.900000"]
    assert "1,050 requests would cost something else: 3.150000 $ instead of 1.050000 $, 2.100000 $." in dry
    assert "300 stay as they are: a config file has their price" in dry and "150 stay as they are: no usage" in dry
    assert "1,050 requests cost something else: 3.150000 $" in run(*words).output
    rows, total, _ = state(url)
    assert total == before[1] + 2_100_000_000_000 and sorted(set(rows.values())) == [PICO // 1000, 3 * PICO // 1000]
    assert "0 requests cost something else" in run(*words).output and state(url) == (rows, total, total)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    told = run("recompute", "--since", "2026-11-01", "--until", "2026-11-18", "--prices", prices, "--url", url, "-c", str(config))
    assert "150 requests cost something else: 300.000000 $ instead of 0.150000 $" in told.output
    assert state(url)[1] == total + 150 * (2 * PICO - PICO // 1000)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--since"), (("--since", "2026-11-02", "--until", "2026-11-01"), "before"),
        (("--since", "1d", "--prices", "none.json"), "does not exist"),
    ],
)  # fmt: skip
def test_it_says_what_would_be_right(empty: str, words: tuple[str, ...], says: str):
    assert says in run("recompute", *words, "--url", empty, code=2).output


def test_a_file_without_prices_is_refused(empty: str, tmp_path: Path):
    (tmp_path / "bad.json").write_text('{"gpt": {"input_cost_per_token": "dear"}}')
    out = run("recompute", "--since", "1d", "--prices", str(tmp_path / "bad.json"), "--url", empty, code=1).output
    assert "'gpt': input_cost_per_token: 'dear' is no price" in out
