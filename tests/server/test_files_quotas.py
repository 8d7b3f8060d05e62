"""What keys and teams may keep in files, and a disk that is nearly full."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from penstock.core.batches.kept import KeptFile
from tests.door import until
from tests.server.managed import YAML, Managed, open_managed
from tests.server.test_batches import ended, jsonl, line, make, results, send

MIB = 1024 * 1024


def settings(**values: Any) -> str:
    return YAML + "general_settings: {" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}\n"


def left(managed: Managed) -> list[str]:
    folder = managed.door.gateway.batches.folder.path
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


async def keep(managed: Managed, name: str) -> None:
    if managed.desk.keyring.row("team", "t") is None:
        await managed.put("team", "t", team_id="t", models=[])
    await managed.key(name, team_id="t")


@pytest.mark.parametrize("suffix, whose", [("", "This key"), ("_per_team", "The team 't'")])
async def test_files_over_a_quota_are_refused_with_what_is_kept(suffix, whose, tmp_path):
    over = {f"max_stored_files{suffix}": 2, f"max_stored_files_mb{suffix}": 3}
    async with open_managed(tmp_path, settings(**over)) as managed:
        for name in ("one", "two"):
            await keep(managed, name)
        second = "two" if suffix else "one"
        status, first = await send(managed, b"x" * 2 * MIB, "one")
        assert status == 200
        status, told = await send(managed, b"x" * 2 * MIB, second)
        assert status == 413 and told["error"]["param"] == "file"
        message = told["error"]["message"]
        assert message.startswith(f"{whose} keeps 2.0 MB in files of at most 3.0 MB, and ")
        assert f"general_settings.max_stored_files_mb{suffix})" in message
        assert (await send(managed, b"x", second))[0] == 200
        status, told = await send(managed, b"x", second)
        assert status == 413
        assert told["error"]["message"].startswith(f"{whose} keeps 2 files of at most 2 (general_settings.max_stored_files{suffix})")
        assert len(left(managed)) == 2, "what was refused is gone"
        await managed.key("elsewhere")
        for key in ("elsewhere", "master"):
            assert (await send(managed, b"x", key))[0] == 200, "another's files count for nobody else"
        await managed.good(f"/v1/files/{first['id']}", key="one", method="DELETE")
        assert (await send(managed, b"x" * 2 * MIB, second))[0] == 200, "what is deleted is free again"


@pytest.mark.parametrize("key", ["one", "master"])
async def test_of_many_that_come_at_once_no_more_are_kept_than_may_be(key, tmp_path):
    async with open_managed(tmp_path, settings(max_stored_files=3, max_stored_files_mb_per_team=2)) as managed:
        await keep(managed, "one")
        sizes = [MIB // 3, MIB, 10, MIB, 1, 700_000, MIB, 5, 2 * MIB, 3]
        statuses = [status for status, _ in await asyncio.gather(*(send(managed, b"x" * size, key) for size in sizes))]
        own, _ = await managed.door.gateway.batches.store.taken_by(f"key {managed.id('one')}", "t")
        if key == "master":
            assert set(statuses) == {200}, "an admin has no quota"
            return
        assert set(statuses) <= {200, 413} and statuses.count(200) == own.files == len(left(managed)) <= 3
        assert own.bytes <= 2 * MIB


async def test_results_count_and_who_is_over_makes_no_batch(tmp_path):
    async with open_managed(tmp_path, settings(max_stored_files_mb=1)) as managed:
        await keep(managed, "one")
        batch = await ended(managed, (await make(managed, [line("a")], "one"))["id"], "one")
        good, _ = await results(managed, batch, "one")
        assert set(good) == {"a"}
        store, owner = managed.door.gateway.batches.store, f"key {managed.id('one')}"
        own, teams = await store.taken_by(owner, "t")
        assert own == teams and own.files == 2, "its input, and its output"
        await store.add_file(KeptFile(id="file-x", owner=owner, created_at=1.0, filename="x", purpose="batch_output", bytes=MIB))
        asked = {"input_file_id": batch["input_file_id"], "endpoint": "/v1/chat/completions"}
        status, told, _ = await managed.bad("/v1/batches", asked, "one")
        assert status == 413 and "max_stored_files_mb" in told
        requests = [{"custom_id": "a", "params": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}}]
        status, told = await managed.ask("/v1/messages/batches", {"requests": requests}, "one")
        assert (status, told["error"]["type"]) == (413, "request_too_large")


async def test_a_nearly_full_disk_takes_no_batch_and_lets_those_that_run_wait(tmp_path, monkeypatch):
    monkeypatch.setattr("penstock.server.batches.room.REST", 0.1)
    monkeypatch.setattr("penstock.server.batches.room.LOOK", 0.05)
    async with open_managed(tmp_path, settings(min_free_disk_mb=500)) as managed:
        status, file = await send(managed, jsonl([line("a"), line("b")]))
        assert status == 200
        real = shutil.disk_usage(tmp_path)
        free = [600 * MIB]
        monkeypatch.setattr(shutil, "disk_usage", lambda path: real._replace(free=free[0]))
        room = managed.door.gateway.batches
        check, checks = room.folder.check_room, []

        def counted() -> None:
            checks.append(1)
            if len(checks) == 2:
                free[0] = 499 * MIB  # it fills up between the taking of the batch and its first line
            check()

        monkeypatch.setattr(room.folder, "check_room", counted)
        asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = await managed.good("/v1/batches", asked)
        await until(lambda: len(checks) > 3)
        waiting = await managed.good(f"/v1/batches/{batch['id']}")
        assert waiting["status"] == "in_progress" and waiting["request_counts"]["completed"] == 0
        assert managed.door.mock.received == [], "nothing is asked that could not be written down"
        for path, body in (("/v1/batches", asked), ("/v1/messages/batches", MESSAGES)):
            status, told = await managed.ask(path, body)
            assert status == 507 and "min_free_disk_mb" in told["error"]["message"]
        status, told = await send(managed, b"x")
        assert status == 507
        free[0] = 600 * MIB
        assert (await ended(managed, batch["id"]))["request_counts"]["completed"] == 2


MESSAGES = {"requests": [{"custom_id": "a", "params": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}}]}
