"""`penstock db`: each command, on what it says it works on and on what it must refuse."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.cli.group import cli
from penstock.stores.base import Audited, Gone, Row, Spent
from penstock.stores.sql.address import read_address
from penstock.stores.sql.copying import Wrong, count_rows, tables, write_file
from penstock.stores.sql.database import Database
from penstock.stores.sql.directory import SqlDirectory
from penstock.stores.sql.kept import SqlStore
from penstock.stores.sql.migrate import HEAD, prepare
from penstock.stores.sql.spend import SqlSpendStore
from tests.databases import mariadb, postgres  # noqa: F401
from tests.stores.test_migrations import populate


def run(*words: str, code: int = 0, **env: str) -> Result:
    done = CliRunner().invoke(cli, ["db", *words], env={"DATABASE_URL": None, "LITELLM_MASTER_KEY": None, **env})
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output and "secret-pw" not in done.output
    return done


@pytest.fixture
def filled(tmp_path: Path) -> str:
    """The address of a database in which every table has rows."""
    url = f"sqlite:///{tmp_path}/old.db"
    database = Database(read_address(url))
    prepare(database, "a check")
    asyncio.run(fill(database))
    database.write_now(populate)  # and whatever other tables there are
    assert all(database.read_now(count_rows).values())
    database.close()
    return url


async def fill(database: Database) -> None:
    directory = SqlDirectory(database)
    from penstock.stores.kinds import KINDS

    body = json.dumps({"key_alias": "Zoë '☃'", "blocked": True, "n": None}).encode()
    for number, kind in enumerate(KINDS):
        await directory.write([Row(kind, "ä 1", body, 1, 1764511200.123456 + number / 7, "me", 2.0, "you"), Row(kind, "b", b"{}")])
    await directory.write([Gone("key", "b", 1)], [Audited("a", 1 / 3, "me", "deleted", "key", "b", b'{"\xc3\xa4":1}')])
    spent = [Spent(f"c{n}", 1764511200.5 + n / 3, 0.1, "acompletion", key="k", tags=("x",), cost=10**15 + n, accounts=("key:k",))
             for n in range(1203)]  # fmt: skip
    await SqlSpendStore(database).append(spent, {"key:k": ("30d",)}, {"journal": 7})
    await SqlStore(database).put("k", bytes(range(256)), 1e9)


def test_status_tells_what_there_is_and_changes_nothing(tmp_path: Path, filled: str):
    told = run("status", "--url", filled).output
    assert f"SQLite, {tmp_path}/old.db" in told and f"migration {HEAD}" in told
    rows = dict(line.split() for line in told.splitlines() if line.startswith("  "))
    assert rows["penstock_spend"] == "1,203" and rows["penstock_keys"] == "1" and set(rows) == set(tables())
    assert "no file" in run("status", "--state-dir", str(tmp_path / "none"), code=1).output
    assert not (tmp_path / "none").exists()
    refused = run("status", "--url", "postgresql://u:secret-pw@127.0.0.1:1/n?connect_timeout=1", code=1)
    assert "127.0.0.1" in refused.output
    assert "names no database" in run("status", "--url", "mysql://u:secret-pw@h", code=1).output


def test_upgrade_makes_tables_once(tmp_path: Path):
    folder = str(tmp_path / "state")
    assert "made" in run("upgrade", "--state-dir", folder).output
    assert "nothing to do" in run("upgrade", PENSTOCK_STATE_DIR=folder).output
    (tmp_path / "c.yaml").write_text(f"general_settings: {{database_url: 'sqlite:///{tmp_path}/other.db'}}\n")
    assert "other.db: made" in run("upgrade", "--config", str(tmp_path / "c.yaml")).output
    url = f"sqlite:///{tmp_path}/other.db"
    assert "other.db: nothing" in run("upgrade", DATABASE_URL=url, LITELLM_MASTER_KEY="sk-m").output
    assert "other.db" not in run("upgrade", DATABASE_URL=url).output, "nobody said that it is meant"


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_what_is_exported_is_imported_as_it_was(tmp_path: Path, filled: str, name: str):
    file, new = tmp_path / name, f"sqlite:///{tmp_path}/new.db"
    out = run("export", str(file), "--url", filled).output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    back = run("import", str(file), "--url", new).output
    assert sums(out) == sums(back) and len(sums(out)) == len(tables())
    again = tmp_path / f"again-{name}"
    run("export", str(again), "--url", new)
    assert sorted(lines(again)) == sorted(lines(file))
    assert "has rows already" in run("import", str(file), "--url", new, code=1).output


def sums(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("  penstock_")]


def lines(path: Path) -> list[bytes]:
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).splitlines()


def test_a_file_that_was_changed_or_cut_fills_nothing(tmp_path: Path, filled: str):
    file, new = tmp_path / "all.jsonl", tmp_path / "new.db"
    run("export", str(file), "--url", filled)
    whole = lines(file)
    spoiled = {
        "cut": b"\n".join(whole[:-1]) + b"\n",
        "cut in a line": b"\n".join(whole)[:-9],
        "a row less": b"\n".join(line for line in whole if b'"c7"' not in line) + b"\n",
        "another amount": b"\n".join(whole).replace(b"1000000000000007,", b"1000000000000008,", 1) + b"\n",
        "another version": b"\n".join(whole).replace(f'"{HEAD}"'.encode(), b'"0999"', 1) + b"\n",
        "no export": b"hello\n",
        "nothing": b"",
        "other columns": b"\n".join(whole).replace(b'"key_alias"', b'"key_alios"', 1) + b"\n",
    }
    for name, text in spoiled.items():
        file.write_bytes(text)
        told = run("import", str(file), "--url", f"sqlite:///{new}", code=1).output
        assert "no whole export" in told or "migration '0999'" in told, name
        database = Database(read_address(f"sqlite:///{new}"))
        counts = {name: count for name, count in database.read_now(count_rows).items() if count}
        database.close()
        assert set(counts) == {"penstock_about", "penstock_revision"}, name


def test_a_disk_that_is_full_leaves_no_file(tmp_path: Path, filled: str, monkeypatch):
    database = Database(read_address(filled))

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        database.read_now(lambda c: write_file(c, tmp_path / "f.jsonl", lambda count: None))
    database.close()
    assert [path.name for path in tmp_path.iterdir() if "jsonl" in path.name] == []


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_move_takes_everything_there_and_back(tmp_path: Path, filled: str, kind: str, request):
    there = request.getfixturevalue(kind).fresh()
    moved = run("move", "--url", filled, "--to", there)
    assert "Moved from SQLite" in moved.output and "pw-of-the-tests" not in moved.output
    back = run("move", "--url", there, "--to", f"sqlite:///{tmp_path}/back.db")
    for name, url in (("old", filled), ("back", f"sqlite:///{tmp_path}/back.db")):
        run("export", str(tmp_path / name), "--url", url)
    assert sorted(lines(tmp_path / "old")) == sorted(lines(tmp_path / "back")) and sums(moved.output) == sums(back.output)
    assert "has rows already" in run("move", "--url", filled, "--to", there, code=1).output


def test_move_to_itself_and_to_nowhere_is_refused(tmp_path: Path, filled: str):
    assert "both the old and the new" in run("move", "--url", filled, "--to", filled, code=1).output
    assert "--to " in run("move", "--url", filled, "--to", "redis://h", code=1).output
    assert "127.0.0.1" in run("move", "--url", filled, "--to", "mysql://u:secret-pw@127.0.0.1:1/n", code=1).output


def test_a_copy_that_is_not_the_same_is_undone(tmp_path: Path, filled: str, monkeypatch):
    """A database that rounds, or cuts: what was read back differs."""
    from penstock.stores.sql import copying

    read = copying._rows
    monkeypatch.setattr(copying, "_rows", lambda c, table: (
        row if str(tmp_path / "old.db") in str(c.engine.url) or table.name != "penstock_kept" else ["other", *row[1:]]
        for row in read(c, table)))  # fmt: skip
    told = run("move", "--url", filled, "--to", f"sqlite:///{tmp_path}/new.db", code=1).output
    assert "penstock_kept is not what it was copied from" in told
    database = Database(read_address(f"sqlite:///{tmp_path}/new.db"))
    assert not database.read_now(count_rows)["penstock_keys"]
    database.close()
    assert issubclass(Wrong, Exception)


def test_every_command_teaches():
    told = run("--help").output
    for name in ("status", "upgrade", "export", "import", "move"):
        assert name in told and "Usage" in run(name, "--help").output
    assert "All or nothing" in run("move", "--help").output and "All or nothing" in run("import", "--help").output
