"""The paced client keeps its pace, counts from when a request was due, and calls an error an error."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

from bench import paced

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BAD = b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\n{}"


async def _against(answer: Callable[[int], bytes | float | None], **changes: object) -> paced.Result:
    """Run the client against a server: `answer(number)` is what is written, a pause before a good answer, or None: the
    connection ends."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while await reader.read(65536):
            count += 1
            said = answer(count)
            if said is None:
                break
            if isinstance(said, float):
                await asyncio.sleep(said)
                said = GOOD
            writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    spec = paced.Spec(server.sockets[0].getsockname()[1], "/x", {"A": "b"}, "{}", 200.0, 0.5, 0.1, 4, kill_at=0.25)
    spec.patience = 0.3
    for name, value in changes.items():
        setattr(spec, name, value)
    try:
        return await paced.measure(spec)
    finally:
        server.close()


async def test_it_sends_at_its_pace_and_sees_no_error_where_none_is() -> None:
    seen = await _against(lambda number: GOOD)
    assert 80 <= seen.sent <= 101 and seen.errors == 0
    assert 0 < seen.before_p99_ms < 100 and 0 < seen.during_p99_ms < 100


async def test_errors_are_refusals_broken_connections_and_what_never_comes() -> None:
    seen = await _against(lambda number: {70: BAD, 75: None}.get(number, GOOD))
    assert seen.errors == 2
    seen = await _against(lambda number: 60.0 if number == 70 else GOOD)
    assert seen.errors == 1


async def test_a_request_that_waits_for_a_connection_is_late() -> None:
    seen = await _against(lambda number: 0.3 if number == 30 else GOOD, connections=1)
    assert max(seen.before_p99_ms, seen.during_p99_ms) > 200 and seen.errors == 0


def test_the_process_is_killed_in_mid_run() -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    asyncio.run(_against(lambda number: GOOD, kill_pid=victim.pid))
    assert victim.wait(5) == -9
