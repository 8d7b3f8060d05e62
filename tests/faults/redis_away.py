"""A Redis that is killed under load and started again, empty, while two workers count what they spend there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.serving import get, until
from tests.faults.faults import STEADY
from tests.faults.happenings import at
from tests.faults.judge import Verdict, judge
from tests.faults.lanes import UPSTREAMS
from tests.faults.load import Load
from tests.faults.site import PRICE_IN, PRICE_OUT, Site, site
from tests.redis_servers import RedisServer, running

PERIOD = 86_400  # seconds
NANO = 10**9
SOON = 5.0  # seconds until all that was spent is known again
AWAY, BACK = b'"not connected"', b'"connected"'


class Told(NamedTuple):
    """``spent``: nano-dollars in the gateway's records; ``counted``: in Redis, in the end."""

    verdict: Verdict
    spent: int
    counted: int


@contextmanager
def sharing(folder: Path) -> Iterator[tuple[Site, RedisServer]]:
    """A gateway of two workers that share through a Redis of their own, with a budget for each provider."""
    budgets = {provider: {"budget_limit": 10**6, "time_period": f"{PERIOD}s"} for provider, _ in UPSTREAMS.values()}
    with running(RedisServer(folder)) as redis:
        settings = {"cooldown_time": 1, "redis_url": redis.url, "provider_budget_config": budgets}
        with site(folder, settings, (STEADY,), "--workers", "2") as made:
            yield made, redis


def die_and_come_back(made: Site, redis: RedisServer, count: int) -> Told:
    """Kill Redis under load, and start it again: clients notice nothing, and every nano-dollar is counted once."""
    until(lambda: _ready(made, BACK), SOON)

    async def beside(load: Load) -> None:
        await at(load, count * 0.2, redis.kill)
        await asyncio.to_thread(until, lambda: _ready(made, AWAY), SOON, "somebody notices")
        await at(load, count * 0.6, redis.start)

    answers = made.run(made.requests([STEADY], count), beside=beside)
    tally = made.tally(len(answers), 60)
    verdict = judge(STEADY, answers, tally, made.usage)
    records = [record for lines in tally.records.values() for record in lines]
    spent = sum(round((record["tokens_in"] * PRICE_IN + record["tokens_out"] * PRICE_OUT) * NANO) for record in records)
    try:
        until(lambda: _counted(redis) == spent, SOON)
    except AssertionError:
        verdict.wrong("Redis has not counted what was spent", (_counted(redis), spent))
    return Told(verdict, spent, _counted(redis))


def _ready(made: Site, state: bytes) -> bool:
    return state in get(f"{made.served.url}/health/readiness")[1]


def _counted(redis: RedisServer) -> int:
    """The sum of all budgets, read as anybody may read it."""
    found = 0
    for provider, _ in UPSTREAMS.values():
        answer = redis.ask("HGET", f"penstock:spent:{provider}:{PERIOD * 1000}", "=")
        found += 0 if answer.startswith(b"$-1") else int(answer.split(b"\r\n")[1])
    return found
