"""Several gateways share the budget of a key: together they spend no more than it has, also when one of them is killed.

The bound of docs/budgets.md: nothing beyond the cap, by Redis and by leases; with leases up to a slice a process may stay
unspent.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest

from penstock.core.admit.amount import PICO
from penstock.mock import Mock, Script
from tests.redis_servers import redis_server, session_redis  # noqa: F401
from tests.server.books import MASTER, YAML
from tests.server.test_ledger_killed import KEY, prepare, start, stored

pytestmark = pytest.mark.serial
PROCESSES = 4
# 200 clients and a dollar in the long form (make kills).
CLIENTS, CAP = (200, 1.0) if "PENSTOCK_KILLS" in os.environ else (60, 0.05)
BODY = json.dumps({"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]})


async def ask(port: int, counts: dict[int, int]) -> None:
    """Ask until the budget is spent, or the gateway is gone."""
    refused = 0
    while refused < 3:
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
        head += f"authorization: Bearer {KEY}\r\ncontent-length: {len(BODY)}\r\n\r\n"
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write((head + BODY).encode())
            answer = await asyncio.wait_for(reader.read(), 30)
            writer.close()
        except OSError:
            return
        if not answer:
            return
        status = int(answer[9:12])
        counts[status] = counts.get(status, 0) + 1
        refused += status != 200
        if refused:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kills", [False, True])
@pytest.mark.parametrize("sharing", ["redis", "leases"])
async def test_together_they_spend_no_more_than_there_is(tmp_path, request, sharing, kills):
    settings = f"general_settings: {{master_key: {MASTER}, budget_sharing: {sharing}"
    if sharing == "redis":
        found = request.getfixturevalue("redis_server").settings()
        settings += f", coordination_redis: {{host: {found.host}, port: {found.port}}}"
        assert found.password is None
    counts: dict[int, int] = {}
    async with Mock(script=Script.always(length=20, latency_ms=20)) as mock:
        await prepare(tmp_path, mock.url, max_budget=CAP)
        (tmp_path / "config.yaml").write_text(settings + "}\n" + YAML.replace("{mock}", mock.url))
        running = [await start(tmp_path) for _ in range(PROCESSES)]
        clients = [
            asyncio.create_task(ask(port, counts)) for _, port in running for _ in range(CLIENTS // PROCESSES)
        ]
        if kills:
            await asyncio.sleep(0.25)
            os.kill(running[0][0].pid, signal.SIGKILL)
            await running[0][0].wait()
            running[0] = await start(tmp_path)  # which finds what the dead one had
            clients += [asyncio.create_task(ask(running[0][1], counts)) for _ in range(10)]
        await asyncio.gather(*clients)
        for process, _ in running:
            process.terminate()
        assert [await asyncio.wait_for(process.wait(), 60) for process, _ in running] == [0] * PROCESSES
    books = await stored(tmp_path)
    spent = sum(entry.cost for entry in books.values())
    cap = round(CAP * PICO)
    assert set(counts) <= {200, 422} and counts[200] and counts[422], counts
    assert spent <= cap
    most = 20 * 10**7 + 10**6 * (len(BODY) + 10)  # what a call may cost
    slices = 0 if sharing == "redis" else PROCESSES * cap // 50
    assert spent >= cap - slices - most * (10 + kills * CLIENTS), "what there is can be spent"
