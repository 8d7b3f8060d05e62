"""Work in child processes: it comes back, it ends in time, and nothing of it stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from penstock.core.errors import GatewayError
from penstock.runtime import children
from penstock.runtime.children import Children, Died, Late


@pytest.fixture
def made():
    pool = Children(2)
    yield pool
    pool.close()


def refuse(text: str) -> None:
    raise GatewayError("bad_request", text, param="p", retry_after=2.0, details=b"{}")


def gone() -> bool:
    """Tell whether no child of this process is left that nobody waited for."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return not pid


async def test_what_is_returned_and_what_is_raised_comes_back(made):
    assert await made.run(sorted, [3, 1, 2], deadline=20) == [1, 2, 3]
    assert await made.run(os.getpid, deadline=20) in made.pids
    assert len(await made.run(bytes, 20_000_000, deadline=20)) == 20_000_000
    with pytest.raises(GatewayError) as told:
        await made.run(refuse, "no", deadline=20)
    error = told.value
    assert (error.kind, error.message, error.param, error.retry_after) == ("bad_request", "no", "p", 2.0)
    assert (error.status, error.details, error.row.fault) == (400, b"{}", "client")
    with pytest.raises(ZeroDivisionError):
        await made.run(divmod, 1, 0, deadline=20)
    with pytest.raises(RuntimeError, match="cannot be sent back"):
        await made.run(memoryview, b"x", deadline=20)
    assert len(made.pids) == 1, "one after the other needs one child"


async def test_what_a_child_prints_does_not_get_into_its_answers(made):
    assert await made.run(print, "hello", deadline=20) is None
    assert await made.run(os.write, 1, b"hello\n", deadline=20) == 6
    assert await made.run(len, "abc", deadline=20) == 3


async def test_what_takes_too_long_is_killed_and_another_takes_its_place(made):
    first = await made.run(os.getpid, deadline=20)
    begun = time.monotonic()
    with pytest.raises(Late):
        await made.run(time.sleep, 60, deadline=0.5)
    assert time.monotonic() - begun < 10
    assert await made.run(os.getpid, deadline=20) != first and gone()


async def test_who_waits_too_long_for_a_child_is_told_so():
    pool = Children(1)
    try:
        await pool.run(len, "", deadline=20)
        busy = asyncio.create_task(pool.run(time.sleep, 1.5, deadline=20))
        await asyncio.sleep(0.1)
        with pytest.raises(Late):
            await pool.run(len, "", deadline=0.2, wait=0.3)
        await busy
        assert await pool.run(len, "ab", deadline=20) == 2
    finally:
        pool.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
async def test_a_child_that_was_killed_is_replaced(made):
    first = await made.run(os.getpid, deadline=20)
    os.kill(first, signal.SIGKILL)
    assert await made.run(len, "abc", deadline=20) == 3
    waits = asyncio.create_task(made.run(time.sleep, 0.6, deadline=20))
    await asyncio.sleep(0.2)
    for pid in made.pids:
        os.kill(pid, signal.SIGKILL)
    assert await waits is None, "it was done again by another"
    with pytest.raises(Died):
        await made.run(os._exit, 3, deadline=20)
    assert await made.run(len, "abc", deadline=20) == 3


async def test_nothing_runs_before_it_is_needed_nor_long_after(monkeypatch):
    monkeypatch.setattr(children, "IDLE", 1.5)
    pool = Children(2)
    assert pool.pids == []
    await asyncio.gather(*(pool.run(time.sleep, 0.3, deadline=20) for _ in range(5)))
    assert 1 <= len(pool.pids) <= 2
    until = time.monotonic() + 10
    while pool.pids and time.monotonic() < until:
        await asyncio.sleep(0.05)
    assert pool.pids == [] and gone()
    assert await pool.run(len, "abc", deadline=20) == 3
    pool.close()


async def test_work_that_nobody_waits_for_any_more_is_not_begun():
    pool = Children(1)
    try:
        busy = asyncio.create_task(pool.run(time.sleep, 0.5, deadline=20))
        left = asyncio.create_task(pool.run(time.sleep, 30, deadline=60))
        await asyncio.sleep(0.1)
        left.cancel()
        await busy
        assert await asyncio.wait_for(pool.run(len, "abc", deadline=20), 10) == 3
    finally:
        pool.close()


@pytest.mark.skipif(sys.platform == "win32", reason="looks at processes as POSIX has them")
def test_children_end_with_their_process():
    code = """
        import asyncio, os, time
        from penstock.runtime.children import Children
        async def main():
            pool = Children(1)
            print(await pool.run(os.getpid, deadline=20), flush=True)
            asyncio.create_task(pool.run(time.sleep, 60, deadline=60))
            await asyncio.sleep(0.2)
        asyncio.run(main())
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            os.kill(int(ended.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the child is still there")
