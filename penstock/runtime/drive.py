"""Drives ``attempts``: the asynchronous side of the one generator that decides what is tried next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from penstock.core.errors import GatewayError
from penstock.core.route.plan import Both, Outcome, Room, Steps, Try, Wait

T = TypeVar("T")


async def drive(
    steps: Steps[T, GatewayError | None],
    send: Callable[[Try[T]], Awaitable[Outcome]],
    first: Outcome | None = None,
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    late: Callable[[Try[T]], float | None] | None = None,
    room: Callable[[str], Awaitable[bool]] | None = None,
    race: Callable[[Steps[T, GatewayError | None], Try[T], float], Awaitable[Outcome | Both]] | None = None,
) -> GatewayError | None:
    """Try what a plan says until one try succeeds: send what its steps ask for, wait where they say so. Return None
    after success, else the error for the client. ``first``: how the first try ended, if it was made already
    (``Plan.only``). ``wait``: waits so many seconds. ``late``: the seconds after which another target is asked beside
    one, None for never; ``race`` does that. ``room``: waits until a group has a place for one more request."""
    answer: Outcome | Both | bool | None = None
    if first is not None:
        next(steps)
        answer = first
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            result: GatewayError | None = end.value
            return result
        if isinstance(step, Wait):
            answer = None
            await wait(step.seconds)
        elif isinstance(step, Room):
            answer = room is not None and await room(step.group)
        else:
            assert step is not None, "nobody was said to be late"
            seconds = late(step) if late is not None else None
            answer = await send(step) if seconds is None or race is None else await race(steps, step, seconds)
            if isinstance(answer, Outcome) and answer.error is None:
                return None
