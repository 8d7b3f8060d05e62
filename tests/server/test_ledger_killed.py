"""A gateway that is killed under load: every answer that a client had whole is in the books with its cost, once.

``PENSTOCK_KILLS=100`` kills so many times (``make kills``).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path

from penstock.mock import Mock, Script
from tests.door import read_all
from tests.rules.repo import ROOT

KILLS = int(os.environ.get("PENSTOCK_KILLS", "3"))
CLIENTS = 16
HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    "authorization: Bearer sk-a-0123456789\r\nconnection: {connection}\r\ncontent-length: {length}\r\n\r\n"
)


async def start(folder: Path, upstream: str) -> tuple[asyncio.subprocess.Process, int]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.server.books_process", str(folder), upstream),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, limit=1 << 26,
    )  # fmt: skip
    assert process.stdout is not None
    return process, int(await asyncio.wait_for(process.stdout.readline(), 30))


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
                await read_all(reader, 5.0)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


async def test_what_a_client_had_whole_is_in_the_books(tmp_path):
    dice, whole, asked = random.Random(4711), dict[str, int](), 0
    async with Mock(script=Script.always(length=5, latency_ms=2)) as mock:
        for _ in range(KILLS):
            process, port = await start(tmp_path, mock.url)
            clients = [asyncio.create_task(ask(port, random.Random(dice.random()), whole)) for _ in range(CLIENTS)]
            await asyncio.sleep(0.2 + dice.random() * 0.8)
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            await asyncio.gather(*clients)
        asked = len(mock.received)
        process, port = await start(tmp_path, mock.url)
        process.terminate()
        assert process.stdout is not None
        entries = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        await process.wait()
    books = {call_id: (cost, pending) for call_id, cost, pending, _, _ in entries}
    assert len(books) == len(entries)
    wrong = {
        call_id: (cost, books.get(call_id)) for call_id, cost in whole.items() if books.get(call_id) != (cost, False)
    }
    assert len(whole) > 20 * KILLS and wrong == {}
    pending = [cost for cost, open_ in books.values() if open_]
    assert len(pending) <= CLIENTS * KILLS and all(cost >= 20 * 10**7 for cost in pending)
    assert len(books) >= asked, "nothing that was sent upstream is missing"
    assert list((tmp_path / "state" / "journal").iterdir()) == []
