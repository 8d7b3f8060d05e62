"""`Hosts` with engines that are no processes: whoever asks, leaves or is cancelled at any moment, nobody is forgotten."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.config.engines import EngineModel, EngineSettings
from penstock.core.errors import GatewayError
from penstock.core.fleet import OFF, Member, Share
from penstock.engines.spec import EngineError
from penstock.runtime import hosts as module
from penstock.runtime.hosts import Hosts


class FakeProcess:
    def __init__(self) -> None:
        self.code: int | None = None

    def stop(self, hurry: Any = None) -> None:
        self.code = 0

    def how_it_ended(self) -> str:
        return "ended with exit code 1"

    def last_lines(self) -> str:
        return "; it wrote nothing"


class FakeHosted:
    """A started engine. ``up``: the last one of each name; ``fails``: those that do not start; ``most``: at one time."""

    up: dict[str, FakeHosted] = {}
    fails: set[str] = set()
    most = 0
    health = "/"
    progress = SimpleNamespace(percent=None)

    def __init__(self, model: EngineModel, tail: Any, secrets: Any) -> None:
        if model.name in self.fails:
            raise EngineError("is not installed")
        self.process = FakeProcess()
        self.up[model.name] = self
        type(self).most = max(self.most, sum(one.process.code is None for one in self.up.values()))


def settings(**share: Any) -> EngineSettings:
    models = {name: EngineModel(name=name, model=name, port=1) for name in "abc"}
    return EngineSettings(models=models, share=Share({name: Member() for name in models}, **share))


@pytest.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hosts]:
    monkeypatch.setattr(FakeHosted, "up", {})
    monkeypatch.setattr(FakeHosted, "fails", set())
    monkeypatch.setattr(FakeHosted, "most", 0)
    monkeypatch.setattr(module, "Hosted", FakeHosted)
    monkeypatch.setattr(module, "LOOK", 0.002)
    monkeypatch.setattr(module, "ask_health", lambda *_: 200)
    hosts = Hosts(time.monotonic)
    hosts.put(settings(swap_after=0.01, max_wait=5.0))
    hosts.open()
    yield hosts
    await hosts.close()
    assert not hosts.hosts and not [one for one in FakeHosted.up.values() if one.process.code is None]


def attempt(name: str) -> Any:
    outlet = SimpleNamespace(queued=None, told=None)
    call = SimpleNamespace(outlet=outlet, wishes=None, caller=SimpleNamespace(admin=True))
    target = SimpleNamespace(engine=name)
    return SimpleNamespace(target=target, call=call, stream=False, first_at=None, waited=lambda _: None)


async def test_nobody_is_forgotten_whoever_is_cancelled(made: Hosts) -> None:
    dice, served = random.Random(7), list[str]()

    async def ask(name: str) -> None:
        async def run(one: Any) -> None:
            process = FakeHosted.up[name].process
            assert process.code is None, "it is there while it is asked"
            await asyncio.sleep(dice.uniform(0, 0.01))
            assert process.code is None, "and is not stopped before the answer"
            served.append(name)

        await made.carry(attempt(name), run)

    tasks = []
    for _ in range(300):
        tasks.append(asyncio.create_task(ask(dice.choice("abc"))))
        if dice.random() < 0.3:
            dice.choice(tasks).cancel()
        if dice.random() < 0.2:
            await asyncio.sleep(0.01)
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in told} <= {type(None), asyncio.CancelledError}
    assert len(served) == told.count(None) > 150 and FakeHosted.most == 1
    assert not made._waiting and all(not seat.queue and not seat.running for seat in made.fleet.seats.values())
    assert not made.fleet._engine_of


async def test_an_error_reaches_everybody_who_waits_and_leaves_nothing_behind(made: Hosts) -> None:
    FakeHosted.fails.add("a")
    told = await asyncio.gather(*(made.load("a") for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in told] == [GatewayError] * 5 and "is not installed" in str(told[0])
    with pytest.raises(GatewayError, match="not in the config any more"):
        await made.load("x")
    assert not made._waiting and made.fleet.seats["a"].state is OFF


async def test_an_answer_that_breaks_off_with_its_engine_says_so(made: Hosts) -> None:
    async def run(one: Any) -> None:
        FakeHosted.up["a"].process.code = 1
        raise GatewayError("broken_stream", "The stream ended too early.")

    with pytest.raises(GatewayError, match="The engine 'a' ended with exit code 1 while it answered; it wrote nothing"):
        await made.carry(attempt("a"), run)

    async def other(one: Any) -> None:
        raise GatewayError("broken_stream", "The stream ended too early.")

    with pytest.raises(GatewayError, match="The stream ended too early"):
        await made.carry(attempt("b"), other)


async def test_who_waits_is_told_when_all_ends(made: Hosts) -> None:
    await made.load("a")
    made.put(settings(swap_after=1000.0, max_wait=1000.0))

    async def run(one: Any) -> None:
        await asyncio.sleep(5)

    busy = asyncio.create_task(made.carry(attempt("a"), run))
    waits = asyncio.create_task(made.load("b"))
    await asyncio.sleep(0.01)
    await made.close()
    with pytest.raises(GatewayError, match="shutting down"):
        await waits
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)
