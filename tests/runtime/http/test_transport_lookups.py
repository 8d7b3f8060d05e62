"""Names: one look-up for all who ask at the same time, and an answer for each of them."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from penstock.runtime.http import ConnectError, Origin
from tests.runtime.http.upstream import OK, Net, answer, fetch


async def test_a_name_is_looked_up_once_for_all_who_ask_at_the_same_time(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver has four threads and waits 5 s for a lost packet: a burst to a dead name held up every other one."""
    up = await net.serve(answer(OK))
    asked: list[str] = []
    slow = asyncio.Event()

    async def resolve(loop: Any, host: str, port: int) -> list[Any]:
        asked.append(host)
        if host == "dead.test":
            await slow.wait()
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", up.port))]

    monkeypatch.setattr("penstock.runtime.http.names.resolve", resolve)
    pool = net.pool()
    dead = [asyncio.create_task(fetch(pool, Origin("http", "dead.test", 80))) for _ in range(30)]
    await asyncio.sleep(0.02)
    assert await fetch(pool, Origin("http", "name.test", 80)) == (200, b"ok")
    dead[0].cancel()  # who leaves takes the look-up from nobody
    await asyncio.sleep(0)
    slow.set()
    told = await asyncio.gather(*dead, return_exceptions=True)
    assert isinstance(told[0], asyncio.CancelledError)
    assert all(isinstance(one, ConnectError) and "cannot resolve 'dead.test'" in str(one) for one in told[1:])
    assert len({id(one.__cause__) for one in told[1:]}) == 29, "each has an error of its own"
    assert asked == ["dead.test", "name.test"]
    with pytest.raises(ConnectError):
        await fetch(pool, Origin("http", "dead.test", 80))
    assert asked == ["dead.test", "name.test", "dead.test"], "it is asked anew: the name may be back"
