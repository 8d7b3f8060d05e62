"""A gateway that is killed under load: every answer that a client had whole is in the books with its cost, once.

``PENSTOCK_KILLS=100`` kills so many times (``make kills``).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sys
from pathlib import Path

from penstock.mock import Mock, Script
from penstock.server.options import ServeOptions
from penstock.server.sources.base import gather
from penstock.server.sources.registered import sources_of
from penstock.server.storage import open_storage
from penstock.stores.base import Spent
from penstock.stores.sql.address import file_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.spend import SqlSpendStore
from tests.server.books import MASTER, YAML

PENSTOCK = Path(sys.executable).parent / "penstock"
KEY = "sk-a-0123456789"
KILLS = int(os.environ.get("PENSTOCK_KILLS", "3"))
CLIENTS = 16
HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    "authorization: Bearer sk-a-0123456789\r\nconnection: {connection}\r\ncontent-length: {length}\r\n\r\n"
)


async def prepare(folder: Path, upstream: str, max_budget: float = 1000) -> None:
    """Write a config, and a key into the database."""
    (folder / "config.yaml").write_text(
        f"general_settings: {{master_key: {MASTER}}}\n" + YAML.replace("{mock}", upstream)
    )
    options = ServeOptions(config=folder / "config.yaml", state_dir=folder / "state")
    config, _ = await gather(sources_of(options.config, lambda: {}))
    assert config is not None
    storage = await asyncio.to_thread(open_storage, config, options)
    assert storage is not None
    id_ = storage.keyring.digest(KEY.encode())
    await storage.desk.add("key", id_, {"token": id_, "digests": [{"digest": id_}], "max_budget": max_budget}, "test")
    await storage.close()


async def start(folder: Path) -> tuple[asyncio.subprocess.Process, int]:
    process = await asyncio.create_subprocess_exec(
        *(PENSTOCK, "serve", "--config", str(folder / "config.yaml"), "--state-dir", str(folder / "state"), "--port", "0"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while True:
            line = (await process.stdout.readline()).decode()
            assert line, "it has not started"
            if found := re.search(r"http://[^ :]+:(\d+)", line):
                break
    process.drain = asyncio.create_task(process.stdout.read())  # else it waits for a reader
    return process, int(found[1])


async def stored(folder: Path) -> dict[str, Spent]:
    """All that is in the books."""
    database = Database(file_address(folder / "state" / "penstock.db"))
    page = await SqlSpendStore(database).rows(limit=1_000_000)
    totals = await SqlSpendStore(database).totals([(f"key:{page.rows[0].key}", "", 0.0)])
    database.close()
    assert totals[0].amount == sum(row.cost for row in page.rows), "the sum is that of the rows"
    assert len({row.call_id for row in page.rows}) == len(page.rows)
    return {row.call_id: row for row in page.rows}


async def ask(port: int, dice: random.Random, whole: dict[str, int]) -> None:
    """Ask until the gateway dies. ``whole``: the answers that came whole, with what they cost, by call id."""
    while True:
        stream, connection = dice.random() < 0.4, dice.choice(("close", "keep-alive"))
        body = {"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": "x" * dice.randrange(50)}]}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        data = json.dumps(body)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        try:
            writer.write((HEAD.format(connection=connection, length=len(data)) + data).encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            if stream:
                answer = await reader.readuntil(b"data: [DONE]\n\n")
                usages = [line for line in answer.split(b"\n") if b'"usage":{' in line.replace(b" ", b"")]
                usage = json.loads(usages[-1][usages[-1].index(b"{") :])["usage"]
            else:
                usage = json.loads(await reader.readexactly(int(lines["content-length"])))["usage"]
            cost = usage["prompt_tokens"] * 10**6 + usage["completion_tokens"] * 10**7
            whole[lines["x-litellm-call-id"]] = cost
            if connection == "close":
                await asyncio.wait_for(reader.read(), 5.0)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return
        finally:
            writer.close()


async def test_what_a_client_had_whole_is_in_the_books(tmp_path):
    dice, whole = random.Random(4711), dict[str, int]()
    async with Mock(script=Script.always(length=5, latency_ms=2)) as mock:
        await prepare(tmp_path, mock.url)
        for _ in range(KILLS):
            process, port = await start(tmp_path)
            clients = [asyncio.create_task(ask(port, random.Random(dice.random()), whole)) for _ in range(CLIENTS)]
            await asyncio.sleep(0.2 + dice.random() * 0.8)
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            await asyncio.gather(*clients)
        asked = len(mock.received)
        process, port = await start(tmp_path)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0
    books = await stored(tmp_path)
    wrong = {id_: (cost, books.get(id_)) for id_, cost in whole.items() if id_ not in books or books[id_].cost != cost}
    assert len(whole) > 20 * KILLS and wrong == {} and not any(books[id_].pending for id_ in whole)
    pending = [entry.cost for entry in books.values() if entry.pending]
    assert len(pending) <= CLIENTS * KILLS and all(cost >= 20 * 10**7 for cost in pending)
    assert len(books) >= asked, "nothing that was sent upstream is missing"
    assert list((tmp_path / "state" / "journal").iterdir()) == []
