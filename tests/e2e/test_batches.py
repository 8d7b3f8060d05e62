"""Batches of a gateway that is a process: by the vendors' own SDKs, killed in the middle, and by several processes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from penstock.mock import Mock, Rule, Script, Step
from penstock.stores.sql.address import file_address
from penstock.stores.sql.batch_store import SqlBatchStore
from penstock.stores.sql.database import Database
from tests.server.books import MASTER
from tests.server.test_ledger_killed import KEY, prepare, start, stored

CHAT = "/v1/chat/completions"


def jsonl(count: int, **more: Any) -> bytes:
    body = {"model": "m", "max_tokens": 20, **more}
    rows = [{"custom_id": f"r{n}", "method": "POST", "url": CHAT, "body": {**body, "messages": [{"role": "user", "content": f"question {n}"}]}} for n in range(count)]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def client(port: int, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0, timeout=30)


async def ended(asked: openai.AsyncOpenAI, id_: str, seconds: float = 60.0) -> Any:
    async with asyncio.timeout(seconds):
        while (batch := await asked.batches.retrieve(id_)).status not in ("completed", "failed", "expired", "cancelled"):
            await asyncio.sleep(0.1)
    return batch


async def results(asked: openai.AsyncOpenAI, batch: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    found = []
    for id_ in (batch.output_file_id, batch.error_file_id):
        rows = [json.loads(raw) for raw in (await asked.files.content(id_)).text.splitlines()] if id_ else []
        found.append({row["custom_id"]: row for row in rows})
        assert len(found[-1]) == len(rows)
    assert not found[0].keys() & found[1].keys()
    return found[0], found[1]


async def stop(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 60) == 0


async def test_openais_sdk_runs_a_batch_and_its_key_pays(tmp_path):
    async with Mock(script=Script.always(length=5)) as mock:
        await prepare(tmp_path, mock.url)
        config = tmp_path / "config.yaml"
        config.write_text(config.read_text().replace("max_output_tokens", "input_cost_per_token_batches: 0.0000005, output_cost_per_token_batches: 0.000005, max_output_tokens"))
        process, port = await start(tmp_path)
        async with client(port) as asked, client(port, MASTER) as admin:
            file = await asked.files.create(file=("night.jsonl", jsonl(12)), purpose="batch")
            assert file.purpose == "batch" and file.bytes == len(jsonl(12)) and file.filename == "night.jsonl"
            assert (await asked.files.content(file.id)).content == jsonl(12)
            made = await asked.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"a": "b"})
            done = await ended(asked, made.id)
            assert done.status == "completed" and done.request_counts.completed == 12 and done.usage.total_tokens > 0
            good, bad = await results(asked, done)
            assert len(good) == 12 and not bad and good["r3"]["response"]["body"]["choices"]
            assert [row.id async for row in asked.batches.list(limit=1)] == [made.id]
            assert {row.id async for row in asked.files.list()} == {file.id, done.output_file_id}
            other = (await httpx_post(port, "/key/generate", {})).json()["key"]
            async with client(port, other) as foreign:
                for ask in (foreign.files.retrieve(file.id), foreign.files.content(done.output_file_id), foreign.batches.retrieve(made.id), foreign.files.delete(file.id)):
                    with pytest.raises(openai.NotFoundError):
                        await ask
            assert (await admin.batches.retrieve(made.id)).id == made.id
            assert (await asked.files.delete(file.id)).deleted
            with pytest.raises(openai.BadRequestError, match="completion_window"):
                await asked.batches.create(input_file_id=done.output_file_id, endpoint=CHAT, completion_window="1h")  # type: ignore[arg-type]
        await stop(process)
        books = await stored(tmp_path)
        usages = [row["response"]["body"]["usage"] for row in good.values()]
        expected = sum(one["prompt_tokens"] * 5 * 10**5 + one["completion_tokens"] * 5 * 10**6 for one in usages)
        assert len(books) == 12 and sum(row.cost for row in books.values()) == expected, "at the price of batches"
        assert {row.request_id for row in books.values()} and {row.path for row in books.values()} == {CHAT}


async def httpx_post(port: int, path: str, body: Any) -> Any:
    async with httpx.AsyncClient() as asked:
        return await asked.post(f"http://127.0.0.1:{port}{path}", json=body, headers={"authorization": f"Bearer {MASTER}"})


async def test_anthropics_sdk_runs_a_batch(tmp_path):
    async with Mock(script=Script(rules=[Rule(contains="slow", step=Step(latency_ms=400))])) as mock:
        await prepare(tmp_path, mock.url)
        process, port = await start(tmp_path)
        asked = anthropic.AsyncAnthropic(base_url=f"http://127.0.0.1:{port}", api_key=KEY, max_retries=0)

        def request(id_: str, text: str = "hello", model: str = "m") -> Any:
            return {"custom_id": id_, "params": {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": text}]}}

        batches = asked.messages.batches
        made = await batches.create(requests=[request("a"), request("b"), request("c", model="nobody")])
        async with asyncio.timeout(30):
            while (done := await batches.retrieve(made.id)).processing_status != "ended":
                await asyncio.sleep(0.1)
        assert (done.request_counts.succeeded, done.request_counts.errored) == (2, 1) and done.ended_at and done.results_url
        rows = {row.custom_id: row.result async for row in await batches.results(made.id)}
        assert rows["a"].type == "succeeded" and rows["a"].message.content and rows["c"].type == "errored"
        other = await batches.create(requests=[request(f"s{n}", "slow") for n in range(60)])
        assert (await batches.cancel(other.id)).processing_status == "canceling"
        assert [row.id async for row in batches.list(limit=1)] == [other.id, made.id]
        async with asyncio.timeout(30):
            while (over := await batches.retrieve(other.id)).processing_status != "ended":
                await asyncio.sleep(0.1)
        assert over.request_counts.canceled > 0 and over.request_counts.canceled + over.request_counts.succeeded == 60
        assert Counter([row.result.type async for row in await batches.results(other.id)])["canceled"] == over.request_counts.canceled
        assert (await batches.delete(made.id)).id == made.id
        with pytest.raises(anthropic.NotFoundError):
            await batches.retrieve(made.id)
        await asked.close()
        await stop(process)


async def test_a_batch_outlives_kills_and_each_line_has_one_result(tmp_path):
    dice, count, kills = random.Random(4711), 150, 3
    async with Mock(script=Script.always(length=5, latency_ms=60)) as mock:
        await prepare(tmp_path, mock.url)
        process, port = await start(tmp_path)
        async with client(port) as asked:
            file = await asked.files.create(file=io.BytesIO(jsonl(count)), purpose="batch")
            made = await asked.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        lost = 0
        for _ in range(kills):
            before = len(mock.received)
            while len(mock.received) < before + 20:
                await asyncio.sleep(0.01)
            await asyncio.sleep(dice.random() * 0.1)
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            lost += len(mock.received) - written(tmp_path)
            await expire_lease(tmp_path, made.id)  # it ends by itself after some seconds, which a test need not wait
            process, port = await start(tmp_path)
        async with client(port) as asked:
            done = await ended(asked, made.id)
            good, bad = await results(asked, done)
        await stop(process)
        assert done.status == "completed" and set(good) == {f"r{n}" for n in range(count)} and not bad
        assert done.request_counts.completed == count
        texts = Counter(one.json["messages"][0]["content"] for one in mock.received)
        assert len(texts) == count and len(mock.received) <= count + 16 * kills, "only what was on its way is asked again"
        assert max(texts.values()) <= 1 + kills
        assert [path.name for path in (tmp_path / "state" / "files").iterdir() if path.name.startswith("batch_")] == []


def written(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (folder / "state" / "files").glob("file-*") if b'"response"' in path.read_bytes()[:200])


async def expire_lease(folder: Path, id_: str) -> None:
    database = Database(file_address(folder / "state" / "penstock.db"))
    store = SqlBatchStore(database)
    assert (await store.waiting(0.0)) == [], "nobody else may have it while the lease holds"
    await store.release(id_, await runner(database, id_))
    await asyncio.to_thread(database.close)


async def runner(database: Database, id_: str) -> str:
    return await database.read(lambda c: c.exec_driver_sql("SELECT runner FROM penstock_batches WHERE id = ?", (id_,)).scalar() or "")


async def test_a_batch_is_left_and_taken_up_at_a_restart(tmp_path):
    async with Mock(script=Script.always(length=5, latency_ms=100)) as mock:
        await prepare(tmp_path, mock.url)
        process, port = await start(tmp_path)
        async with client(port) as asked:
            file = await asked.files.create(file=io.BytesIO(jsonl(80)), purpose="batch")
            made = await asked.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
            await asked.files.delete(file.id)
        while len(mock.received) < 30:
            await asyncio.sleep(0.01)
        await stop(process)
        assert len(mock.received) < 80 and written(tmp_path) == len(mock.received), "what was on its way was waited for"
        process, port = await start(tmp_path)
        async with client(port) as asked:
            done = await ended(asked, made.id, 20)
            good, _ = await results(asked, done)
        await stop(process)
        assert len(good) == 80 and len(mock.received) == 80, "nothing is asked twice, although its file is deleted"


async def test_several_processes_run_each_batch_once(tmp_path):
    async with Mock(script=Script.always(length=5, latency_ms=20)) as mock:
        await prepare(tmp_path, mock.url)
        served = [await start(tmp_path) for _ in range(2)]
        clients = [client(port) for _, port in served]
        made = []
        for number in range(6):
            asked = clients[number % 2]
            file = await asked.files.create(file=io.BytesIO(jsonl(25)), purpose="batch")
            made.append((await asked.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")).id)
        for number, id_ in enumerate(made):
            good, bad = await results(clients[number % 2], await ended(clients[1 - number % 2], id_))
            assert len(good) == 25 and not bad
        assert len(mock.received) == 150
        for asked in clients:
            await asked.close()
        for process, _ in served:
            await stop(process)


@pytest.mark.parametrize("at_once", [1, 16])
async def test_a_spent_budget_is_the_result_of_the_lines_that_are_left(at_once, tmp_path):
    async with Mock(script=Script.always(length=5, latency_ms=20)) as mock:
        await prepare(tmp_path, mock.url, max_budget=0.002)
        config = tmp_path / "config.yaml"
        config.write_text(config.read_text().replace("general_settings: {", f"general_settings: {{batch_concurrency: {at_once}, "))
        process, port = await start(tmp_path)
        async with client(port) as asked:
            file = await asked.files.create(file=io.BytesIO(jsonl(80)), purpose="batch")
            done = await ended(asked, (await asked.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")).id)
            good, bad = await results(asked, done)
        await stop(process)
        assert done.status == "completed" and len(good) + len(bad) == 80
        assert {row["response"]["body"]["error"]["type"] for row in bad.values()} == {"budget_exceeded"}
        assert len(mock.received) == len(good), "who may not is not sent"
        # A line may cost 0.0002 by its tokens: what is left is less than that and its prompt, however many ask at once.
        assert 2 * 10**9 - 3 * 10**8 < sum(row.cost for row in (await stored(tmp_path)).values()) <= 2 * 10**9
