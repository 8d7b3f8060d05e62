"""`penstock spend`: sums that agree with the ledger, and files that lose nothing."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.cli.group import cli
from penstock.stores.base import Row
from penstock.stores.sql.address import read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.directory import SqlDirectory
from penstock.stores.sql.migrate import prepare
from penstock.stores.sql.spend import SqlSpendStore
from tests.server.spending import DAY, NOON, spent

COUNT = 2_500


def run(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["spend", *words], env={"DATABASE_URL": None, "LITELLM_MASTER_KEY": None})
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database in which three teams spent something on each of 10 days."""
    found = f"sqlite:///{tmp_path_factory.mktemp('spend')}/penstock.db"
    database = Database(read_address(found))
    prepare(database, "a check")
    entries = [
        spent(f"c{n}", f"k{n % 5}", NOON + (n % 10) * DAY, 0.000001 * n, team=f"t{n % 3}", user=f"u{n % 2}", tags=("a", "b"),
              error="timeout" if n % 100 == 7 else "", target="=cmd()" if n == 1 else "gpt")
        for n in range(COUNT)
    ]  # fmt: skip
    asyncio.run(SqlSpendStore(database).append(entries, {}, {}))
    rows = [Row("team", "t1", b'{"team_id":"t1","team_alias":"red"}'), Row("key", "k1", b'{"token":"k1","key_alias":"ci"}')]
    asyncio.run(SqlDirectory(database).write(rows))
    database.close()
    return found


TOTAL = sum(round(0.000001 * n * 10**12) for n in range(COUNT)) / 10**12
ALL = ("--since", "2026-11-01", "--until", "2026-12-31")


@pytest.mark.parametrize("by", ["day", "model", "group", "provider", "key", "team", "user"])
def test_each_way_to_sum_up_comes_to_the_same(url: str, by: str):
    told = json.loads(run("report", "--by", by, *ALL, "--json", "--url", url).stdout)
    assert round(sum(one["cost"] for one in told), 9) == round(TOTAL, 9)
    assert sum(one["requests"] for one in told) == COUNT and sum(one["failed"] for one in told) == COUNT // 100
    assert all(one[by] for one in told) and len({one[by] for one in told}) == len(told)
    if by == "day":
        assert [one["day"] for one in told] == sorted(one["day"] for one in told)
    else:
        assert [one["cost"] for one in told] == sorted((one["cost"] for one in told), reverse=True)


def test_a_report_is_a_table_with_the_names_that_people_know(url: str):
    out = run("report", "--by", "team", "--by", "key", "--only", "team=t1", *ALL, "--url", url).stdout
    lines = out.splitlines()
    assert lines[0].split() == ["team", "key", "requests", "failed", "input", "output", "cached", "cost", "in", "$"]
    assert len(lines) == 5 + 3 and all(line.startswith("red") for line in lines[1:6])
    assert any(" ci " in line for line in lines[1:6]) and "in 5 lines." in lines[-1]
    assert "3 lines" in run("report", "--top", "3", "--by", "key", *ALL, "--url", url).stdout
    assert "in 0 lines" in run("report", "--since", "2020-01-01", "--until", "2020-01-02", "--url", url).stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--since", "yesterday"), "2026-11-30"), (("--since", "2026-12-01", "--until", "2026-11-01"), "before"),
        (("--by", "team", "--by", "tag"), "go into no sum together"), (("--only", "colour=red"), "NAME=VALUE"),
        (("--by", "colour"), "organization"), (("--top", "0"), "range"),
    ],
)  # fmt: skip
def test_a_report_says_what_would_be_right(url: str, words: tuple[str, ...], says: str):
    assert says in run("report", *words, "--url", url, code=2).output


def test_a_file_has_each_request_once_with_its_exact_cost(url: str, tmp_path: Path):
    for name, opens in (("all.csv", open), ("all.csv.gz", gzip.open)):
        file = tmp_path / name
        assert f"{COUNT:,} requests written" in run("export", str(file), "--url", url).output
        with opens(file, "rt", encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        assert len({row["call_id"] for row in rows}) == len(rows) == COUNT
        assert sum(Decimal(row["cost"]) for row in rows) == Decimal(str(TOTAL))
        assert file.stat().st_mode & 0o777 == 0o600
    assert [row["ended"] for row in rows] == sorted(row["ended"] for row in rows)
    [first] = [row for row in rows if row["call_id"] == "c1"]
    assert first["target"] == "'=cmd()", "no formula for a spreadsheet"
    assert first["tags"] == "a,b" and first["cached" if "cached" in first else "cache_hit"] == "false"
    out = run("export", "-", "--since", "2026-11-19", "--until", "2026-11-20", "--url", url).stdout
    assert len(out.splitlines()) == 1 + COUNT // 5
    assert list(tmp_path.glob("*.part")) == []


def test_a_file_can_be_parquet(url: str, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra, and 40 MB")
    run("export", str(tmp_path / "all.parquet"), "--url", url)
    table = parquet.read_table(tmp_path / "all.parquet")
    assert table.num_rows == COUNT and sum(table["cost"].to_pylist()) == Decimal(str(TOTAL))
    assert table["tags"].to_pylist()[0] == ["a", "b"] and str(table["ended"].type) == "timestamp[us, tz=UTC]"


def test_what_cannot_be_written_or_read_is_told(url: str, tmp_path: Path):
    assert "No such file" in run("export", str(tmp_path / "none" / "x.csv"), "--url", url, code=1).output
    assert "penstock serve" in run("report", "--url", f"sqlite:///{tmp_path}/none.db", code=1).output
    (tmp_path / "empty.db").touch()
    assert "db upgrade" in run("report", "--url", f"sqlite:///{tmp_path}/empty.db", code=1).output
