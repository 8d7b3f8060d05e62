"""Asking a target for one operation; or for several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from penstock.core.dialects import DIALECTS
from penstock.runtime import post
from penstock.runtime.http import in_task

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt

AT_ONCE = 8  # requests that one client's request may have on their way
T = TypeVar("T")


async def ask(attempt: Attempt, what: str, body: bytes, *, dialect: str = "openai_chat") -> bytes:
    """Return the whole answer of the target's operation ``what`` to one body. A refusal is raised as ``dialect`` reads
    it."""
    return await post.ask(attempt, attempt.target.endpoint(what), body, DIALECTS[dialect].parse_error)


async def together(attempt: Attempt, jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Return the results of all jobs in order, ``AT_ONCE`` of them at a time; the first that fails ends the others."""
    if len(jobs) == 1:
        return [await jobs[0]()]
    await in_task()
    gate = asyncio.Semaphore(AT_ONCE)
    attempt.start()

    async def run(job: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await job()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(job)) for job in jobs]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        attempt.stop()
    return [task.result() for task in tasks]
