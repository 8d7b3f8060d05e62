"""Limits over several processes: what others have counted counts here, and fades as their minute does."""

from __future__ import annotations

from penstock.core.admit.holders import Pace
from penstock.core.admit.rates import REQUESTS, Limit, Over, Rates, Taken
from tests.redis_servers import redis_server, session_redis, until  # noqa: F401
from tests.stores.test_shared import MINUTE, SOON, Make, process  # noqa: F401

LIMITS = [Limit("key:k", "api_key", "k", Pace(requests=6, tokens=1000))]


async def test_all_processes_together_keep_a_limit(process: Make) -> None:  # noqa: F811
    shares = [process(), process(), process()]
    rates = [Rates(shared, processes=3) for shared in shares]
    taken = []
    for one in (*rates, *rates):
        taken.append((one, one.take(LIMITS, 50, 1.0)))
        assert isinstance(taken[-1][1], Taken)
    await until(lambda: all(shared.others("key:k")[0] == 4 for shared in shares), SOON)
    for one in rates:
        found = one.take(LIMITS, 0, 1.0)
        assert isinstance(found, Over) and found.what == REQUESTS and found.wait > 0
    for one, each in taken:
        assert isinstance(each, Taken)
        one.settle(each, 100, 1.0)
    await until(lambda: all(shared.others("key:k") == (4, 400) for shared in shares), SOON)


async def test_what_others_had_in_the_minute_before_fades(process: Make) -> None:  # noqa: F811
    one, other = process(), process()
    one.count("key:k", 40, 800)
    await until(lambda: other.others("key:k") == (40, 800), SOON)
    for seconds, part in ((61, 0.0), (75, 0.25), (105, 0.75), (119, 59 / 60)):
        one.wall.now = MINUTE + seconds - 1 if seconds == 61 else MINUTE + seconds  # type: ignore[attr-defined]
        requests, tokens = other.others("key:k")
        assert abs(requests - 40 * (1 - part)) <= 1 and abs(tokens - 800 * (1 - part)) <= 1
    one.wall.now = MINUTE + 121  # type: ignore[attr-defined]
    assert other.others("key:k") == (0, 0)


async def test_what_this_process_counts_is_none_of_the_others(process: Make) -> None:  # noqa: F811
    one, other = process(), process()
    one.count("key:k", 5, 5)
    await until(lambda: other.others("key:k") == (5, 5), SOON)
    assert one.others("key:k") == (0, 0)
