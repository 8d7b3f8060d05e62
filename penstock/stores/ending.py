"""How work ends that may not want to: redis-py sends with ``wait_for``, which loses a cancellation in Python 3.11 when
it comes together with the end of what is waited for; and a server that hangs keeps its clients from closing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

AGAIN = 0.05  # seconds between two cancellations


async def end(task: asyncio.Task[None], seconds: float) -> bool:
    """Cancel a task until it has ended; return False when it has not within so many seconds, and is let go."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not task.done() and loop.time() < until:
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN)
    if task.done() and not task.cancelled():
        task.exception()  # was told where it happened
    return task.done()


async def finish(work: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Do some work to its end; return False when that takes longer than so many seconds, and it is let go."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
    if task.done() and not task.cancelled():
        task.result()
        return True
    return False
