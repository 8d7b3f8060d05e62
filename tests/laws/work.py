"""How much work a function does for an input that grows: what ``test_work.py`` measures with.

Work is measured twice. ``steps`` counts lines and calls of Python code, the same in every run. ``seconds`` takes the
thread's CPU time, which sees what happens inside ``re``, ``msgspec`` and copies of bytes; it is noisy, so its bound is
wide, and a measurement that failed is repeated. ``PENSTOCK_WORK=long`` goes on to larger inputs.
"""

from __future__ import annotations

import gc
import inspect
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from zlib import crc32

from penstock.core.errors import GatewayError
from penstock.core.eventstream import BadMessage
from penstock.core.grammar import Unsupported
from penstock.core.providers import mending
from penstock.core.sse import TooLong

Run = Callable[[Any], object]
Make = Callable[[int], Any]

TOLD = (GatewayError, TooLong, BadMessage, Unsupported, RecursionError)
"""What a function may answer to what is wrong or too much. The engine tells a ``RecursionError`` as a 400, or as the
upstream's fault."""
LONG = os.environ.get("PENSTOCK_WORK") == "long"
FACTOR = 8
TRACED = 12  # elements of the smaller of two traced runs
TIMED = 64
LEAST = 0.0004  # seconds of CPU below which two times say nothing of each other
SLACK = 3.2  # of the times. With 8 times the elements n log n is 11 times as much, a square 64 times
MOST = 32_768 if LONG else 4096


def attempt(run: Run, given: Any) -> None:
    try:
        run(given)
    except TOLD:
        pass


def steps(run: Run, given: Any) -> int:
    """Count the lines and calls of one run."""
    count = 0

    def line(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += 1
        return line

    before = sys.gettrace()
    sys.settrace(line)
    try:
        attempt(run, given)
    finally:
        sys.settrace(before)
    return count


def seconds(run: Run, given: Any, times: int = 1) -> float:
    """Measure the CPU time of one run, the least of several."""
    least = math.inf
    for _ in range(times):
        begun = time.thread_time()
        attempt(run, given)
        least = min(least, time.thread_time() - begun)
    return least


def excess(run: Run, make: Make, traced: bool = True, far: bool = False) -> str:
    """Say by how much ``run`` grows faster than n log n with inputs of ``make``; "" when it does not. ``far``: it is so
    quick that a trend shows with more elements only."""
    if traced:
        few, many = steps(run, make(TRACED)), steps(run, make(TRACED * FACTOR))
        if many > few * FACTOR * math.log(TRACED * FACTOR) / math.log(TRACED) + 400:
            return f"{few} steps for {TRACED}, {many} for {TRACED * FACTOR}"
    size = TIMED
    before = seconds(run, make(size))
    most = MOST if LONG or far else TIMED * FACTOR
    while size < most and (before < (50 if far else 4) * LEAST or LONG):
        size *= FACTOR
        now = seconds(run, make(size))
        if _steep(before, now):
            least = [seconds(run, make(n), 3) for n in (size // FACTOR, size)]
            if _steep(*least):
                return f"{least[0] * 1000:.2f} ms for {size // FACTOR}, {least[1] * 1000:.2f} ms for {size}"
        before = now
        if now > 0.02:
            break
    return ""


def _steep(before: float, now: float) -> bool:
    return now > 4 * LEAST and now > max(before, LEAST / 4) * FACTOR * SLACK


class Once:
    """A maker that keeps what it made of the sizes that were asked for."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._made: dict[int, Any] = {}

    def __call__(self, size: int) -> Any:
        if size not in self._made:
            self._made[size] = self._make(size)
        return self._made[size]


@contextmanager
def no_collections() -> Iterator[None]:
    """Keep the collector of garbage out of the times: its walks are longer with every object of the process."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# What is so quick for each element that its square shows only where there are thousands.
FAR = ("calls of one turn", "names", "one role, long texts")


class Found(list[str]):
    """What grows too fast."""

    def look(
        self, what: str, run: Callable[[Any], object], make: Callable[[int], Any], traced: bool = True, far: bool = False
    ) -> None:
        told = excess(run, make, traced, far)
        if told:
            self.append(f"{what}: {told}")


def chosen(what: str) -> bool:
    """Take one in four of the cases that are many, the same ones in every run."""
    return LONG or crc32(what.encode()) % 4 == 0


def mends() -> dict[str, Callable[[bytes], bytes]]:
    """Every function of ``mending``."""
    return {
        name: made
        for name, made in vars(mending).items()
        if inspect.isfunction(made) and not name.startswith("_") and made.__module__ == mending.__name__ and name != "chain"
    }
