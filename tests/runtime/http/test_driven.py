"""Driven coroutines: the same as in a task, cancelled or not, whatever they wait for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from penstock.runtime.http.driven import Batch, Driven, Wake, in_task


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def drive(coro: object, batch: Batch) -> Driven:
    """One that begins."""
    driven = Driven(coro, batch)
    driven.start()
    return driven


class Seen:
    """A coroutine that notes how far it came."""

    def __init__(self) -> None:
        self.steps: list[object] = []
        self.wake: Wake[str] = Wake()

    async def run(self) -> None:
        try:
            self.steps.append(await self.wake)
        except asyncio.CancelledError:
            self.steps.append("cancelled")
            raise
        except ValueError as error:
            self.steps.append(str(error))


async def test_it_begins_in_the_next_turn_and_goes_on_with_what_came():
    seen = Seen()
    drive(seen.run(), Batch(asyncio.get_running_loop()))
    assert not seen.wake.done()
    await turns()
    seen.wake.set_result("answer")
    assert seen.steps == []  # nothing runs within the call that brought it
    await turns()
    assert seen.steps == ["answer"] and seen.wake.done() and not seen.wake.cancelled()


async def test_what_came_before_it_waited_is_not_waited_for():
    seen = Seen()
    seen.wake.set_result("early")
    drive(seen.run(), Batch(asyncio.get_running_loop()))
    await turns()
    assert seen.steps == ["early"]


async def test_an_error_is_raised_where_it_waits():
    seen = Seen()
    drive(seen.run(), Batch(asyncio.get_running_loop()))
    await turns()
    seen.wake.set_exception(ValueError("broken"))
    await turns()
    assert seen.steps == ["broken"] and seen.wake.came() is None


@pytest.mark.parametrize("late", [False, True])
async def test_a_cancellation_ends_it_once(late):
    seen = Seen()
    driven = drive(seen.run(), Batch(asyncio.get_running_loop()))
    await turns()
    if late:  # its step is due already
        seen.wake.set_result("answer")
    driven.cancel()
    driven.cancel()
    await turns()
    assert seen.steps == ["cancelled"]
    driven.cancel()
    await turns()
    assert seen.steps == ["cancelled"]


async def test_one_that_never_began_never_begins():
    began = []

    async def run() -> None:
        began.append(1)

    drive(run(), Batch(asyncio.get_running_loop())).cancel()
    await turns()
    assert began == []


@pytest.mark.parametrize("first", [True, False])
async def test_a_cancellation_while_it_runs_is_heard_where_it_waits_next(first):
    steps: list[str] = []
    made: list[Driven] = []

    async def run() -> None:
        made[0].cancel()
        steps.append("on")
        try:
            await (Wake() if first else asyncio.sleep(5))
        except asyncio.CancelledError:
            steps.append("cancelled")

    made.append(drive(run(), Batch(asyncio.get_running_loop())))
    await turns()
    assert steps == ["on", "cancelled"]


async def test_a_cancellation_that_was_caught_does_not_end_the_next_wait():
    wakes: list[Wake[str]] = [Wake(), Wake()]
    steps: list[object] = []

    async def run() -> None:
        try:
            await wakes[0]
        except asyncio.CancelledError:
            steps.append("caught")
        steps.append(await wakes[1])

    driven = drive(run(), Batch(asyncio.get_running_loop()))
    await turns()
    wakes[0].set_result("in the same turn")
    driven.cancel()
    await turns()
    assert steps == ["caught"]
    wakes[1].set_result("on")
    await turns()
    assert steps == ["caught", "on"]


async def test_a_task_takes_over_where_it_waits_for_anything_else():
    steps: list[object] = []
    wake: Wake[str] = Wake()

    async def run() -> None:
        steps.append(asyncio.current_task())
        await asyncio.sleep(0.001)
        async with asyncio.timeout(5):
            steps.append(await asyncio.to_thread(lambda: "thread"))
        steps.append(await wake)

    driven = drive(run(), Batch(asyncio.get_running_loop()))
    await asyncio.sleep(0.05)
    assert driven._task is not None and steps == [None, "thread"]
    wake.set_result("answer")
    await turns()
    assert steps == [None, "thread", "answer"] and driven._task.done()


async def test_in_task_gives_it_a_task_and_does_nothing_in_one():
    tasks = []

    async def run() -> None:
        await in_task()
        tasks.append(asyncio.current_task())
        await in_task()
        tasks.append(asyncio.current_task())

    drive(run(), Batch(asyncio.get_running_loop()))
    await turns()
    assert tasks[0] is not None and tasks[0] is tasks[1]
    await in_task()


async def test_a_cancelled_task_is_told_where_it_waits():
    seen = Seen()
    task = asyncio.ensure_future(seen.run())
    await turns()
    task.cancel()
    assert seen.wake.cancelled() and seen.wake.done()
    seen.wake.set_result("too late")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen.steps == ["cancelled"]


async def test_an_exception_goes_to_the_loop_and_the_batch_goes_on():
    told = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    batch = Batch(loop)
    seen = Seen()
    seen.wake.set_result("fine")

    async def bad() -> None:
        raise KeyError("bug")

    drive(bad(), batch)
    drive(seen.run(), batch)
    await turns()
    loop.set_exception_handler(None)
    assert [type(error) for error in told] == [KeyError] and seen.steps == ["fine"]


async def test_whoever_stops_waiting_is_reported():
    left = []

    class Watched(Wake[None]):
        __slots__ = ()

        def left(self) -> None:
            left.append(self)

    one, two = Watched(), Watched()

    async def run(wake: Wake[None]) -> None:
        await wake

    driven = drive(run(one), Batch(asyncio.get_running_loop()))
    task = asyncio.ensure_future(run(two))
    await turns()
    driven.cancel()
    task.cancel()
    await turns()
    assert left == [two, one] or left == [one, two]


class Pipe:
    """A transport that notes what was written, and when."""

    def __init__(self, log: list[object], name: str) -> None:
        self.log, self.name, self.closed = log, name, False

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        self.log.append((self.name, data))


async def test_writes_of_a_batch_come_together_at_its_end_in_order():
    log: list[object] = []
    pipes = [Pipe(log, "a"), Pipe(log, "b")]

    batch = Batch(asyncio.get_running_loop())

    async def run(pipe: Pipe) -> None:
        log.append(pipe.name)
        batch.write(pipe, b"1")
        batch.write(pipe, b"2")

    for pipe in pipes:
        drive(run(pipe), batch)
    await turns()
    assert log == ["a", "b", ("a", b"1"), ("a", b"2"), ("b", b"1"), ("b", b"2")]
    batch.write(pipes[0], b"3")  # nobody is driven: at once
    assert log[-1] == ("a", b"3")


async def test_nothing_is_written_to_what_was_closed_and_the_others_get_theirs():
    log: list[object] = []
    closed, good, broken = Pipe(log, "closed"), Pipe(log, "good"), Pipe(log, "broken")
    told = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    batch = Batch(loop)

    async def run() -> None:
        batch.write(closed, b"x")
        closed.closed = True
        broken.write = None
        batch.write(broken, b"x")
        batch.write(good, b"x")

    drive(run(), batch)
    await turns()

    async def later() -> None:
        batch.write(good, b"y")

    drive(later(), batch)
    await turns()
    loop.set_exception_handler(None)
    assert log == [("good", b"x"), ("good", b"y")] and len(told) == 1


class Others:
    """What is driven in the loop, by number."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


@pytest.mark.parametrize("count", [1, 2])
async def test_what_is_alone_runs_at_once_and_what_it_writes_goes_out(count):
    log: list[object] = []
    pipe = Pipe(log, "p")
    wake: Wake[str] = Wake()
    batch = Batch(asyncio.get_running_loop(), Others(count))

    async def run() -> None:
        batch.write(pipe, b"asked")
        log.append(await wake)
        batch.write(pipe, b"told")

    driven = Driven(run(), batch)
    driven.start()
    assert log == ([("p", b"asked")] if count == 1 else [])
    await turns()
    wake.put("answer")
    wake.wake()
    assert log == [("p", b"asked")] + (["answer", ("p", b"told")] if count == 1 else [])
    await turns()
    assert log == [("p", b"asked"), "answer", ("p", b"told")]


async def test_one_that_is_alone_waits_behind_what_is_due():
    log: list[str] = []

    async def run(name: str) -> None:
        log.append(name)

    others = Others(2)
    batch = Batch(asyncio.get_running_loop(), others)
    drive(run("first"), batch)
    others.count = 1
    drive(run("second"), batch)
    assert log == []
    await turns()
    assert log == ["first", "second"]


async def test_one_that_is_begun_by_another_waits_for_its_turn():
    log: list[str] = []
    batch = Batch(asyncio.get_running_loop(), Others(1))

    async def inner() -> None:
        log.append("inner")

    async def outer() -> None:
        drive(inner(), batch)
        log.append("outer")

    drive(outer(), batch)
    assert log == ["outer"]
    await turns()
    assert log == ["outer", "inner"]


async def test_something_that_comes_between_the_cancellation_of_a_task_and_its_hearing_of_it_saves_it_not():
    seen = Seen()
    task = asyncio.ensure_future(seen.run())
    await turns()
    task.cancel()
    seen.wake.put("too late")
    seen.wake.wake()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen.steps == ["cancelled"]


@pytest.mark.parametrize("in_a_step", [False, True])
async def test_a_task_gets_what_came_whoever_brings_it(in_a_step):
    seen = Seen()
    task = asyncio.ensure_future(seen.run())
    await turns()

    async def bring() -> None:
        seen.wake.set_result("answer")

    if in_a_step:
        drive(bring(), Batch(asyncio.get_running_loop()))
    else:
        await bring()
    await task
    assert seen.steps == ["answer"]


def test_two_loops_at_once_share_nothing():
    """Each thread drives coroutines that wake each other, and counts what came; a wake-up or a write that reaches the
    other loop is lost or raises."""
    rounds = 300

    async def life(log: list[object]) -> None:
        batch = Batch(asyncio.get_running_loop())
        told: list[object] = []
        batch.loop.set_exception_handler(lambda _, context: told.append(context))
        pipe = Pipe(log, "p")
        for number in range(rounds):
            wakes: list[Wake[int]] = [Wake(), Wake()]

            async def first(wakes=wakes) -> None:
                batch.write(pipe, await wakes[0])
                wakes[1].set_result(b"second")

            async def second(wakes=wakes) -> None:
                batch.write(pipe, await wakes[1])
                await in_task()

            drive(first(), batch)
            last = drive(second(), batch)
            await asyncio.sleep(0)
            wakes[0].set_result(b"first %d" % number)
            while last._coro is not None or last._task is None or not last._task.done():
                await asyncio.sleep(0)
        assert told == []

    logs: list[list[object]] = [[], [], []]
    threads = [threading.Thread(target=lambda log=log: asyncio.run(life(log))) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    wanted = [("p", data) for number in range(rounds) for data in (b"first %d" % number, b"second")]
    assert logs == [wanted] * 3
