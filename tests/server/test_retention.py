"""What the ledger keeps of requests, and for how long: old rows go in steps, sums and budgets stay."""

from __future__ import annotations

import asyncio
import logging

import pytest

from penstock.config import Config, load
from penstock.core.admit.periods import window
from penstock.server.books import rules_of
from penstock.server.retention import SHORTEST, Retention
from tests.server.books import YAML, open_books
from tests.server.spending import DAY, NOON, open_spending, spent


class _State:
    def __init__(self, config: Config) -> None:
        self.config = config


def configured(tmp_path, **general) -> _State:
    path = tmp_path / "retention.yaml"
    lines = "".join(f"  {name}: {value}\n" for name, value in general.items())
    path.write_text(f"model_list: []\ngeneral_settings:\n  master_key: sk-1234567890123456\n{lines}")
    found = load(path, {}).config
    assert found is not None
    return _State(found)


def retention(door, tmp_path, now: float, **general) -> Retention:
    state = configured(tmp_path, **general)
    return Retention(door.storage.spend, lambda: state, lambda: now, lambda: now)  # type: ignore[arg-type, return-value]


async def fill(door) -> None:
    entries = [spent(f"c{n}", "k", NOON - n * DAY, 1.0, accounts=("key:k",)) for n in range(40)]
    entries += [spent(f"bad{n}", "k", NOON - n * DAY, 0.0, status=500, error="upstream") for n in range(5)]
    entries += [spent("paid", "k", NOON - 3 * DAY, 2.0, status=500, error="upstream", accounts=("key:k",))]
    await door.storage.spend.append(entries, {"key:k": ("", "1mo")}, {})


async def left(door) -> set[str]:
    return {one.call_id for one in (await door.storage.spend.rows(limit=1000)).rows}


async def test_what_is_old_goes_in_steps_and_sums_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("penstock.server.retention.PAUSE", 0)
    async with open_spending(tmp_path) as door:
        await fill(door)
        store = door.storage.spend
        asked = [("key:k", "", 0.0), ("key:k", "1mo", window("1mo", NOON).start)]
        before = await store.totals(asked), await store.daily("key", by=("day", "key"))
        steps = []
        forget = store.forget
        monkeypatch.setattr(store, "forget", lambda *words: (steps.append(words[1]), forget(*words))[1])
        keeper = retention(door, tmp_path, NOON, maximum_spend_logs_retention_period="7d",
                           maximum_spend_logs_cleanup_batch_size=10)  # fmt: skip
        assert await keeper.clean() == 32
        assert steps == [10, 10, 10, 10]
        assert await left(door) == {f"c{n}" for n in range(8)} | {f"bad{n}" for n in range(5)} | {"paid"}
        assert (await store.totals(asked), await store.daily("key", by=("day", "key"))) == before
        assert await keeper.clean() == 0


async def test_a_run_ends_after_so_many_steps_and_goes_on_with_the_next(tmp_path):
    async with open_spending(tmp_path) as door:
        await fill(door)
        keeper = retention(door, tmp_path, NOON, maximum_spend_logs_retention_period="1d",
                           maximum_spend_logs_cleanup_batch_size=5, maximum_spend_logs_cleanup_max_batches=2)  # fmt: skip
        assert [await keeper.clean() for _ in range(5)] == [10, 10, 10, 10, 2]


async def test_failed_requests_that_cost_nothing_go_after_an_hour(tmp_path):
    async with open_spending(tmp_path) as door:
        await fill(door)
        keeper = retention(door, tmp_path, NOON, disable_error_logs="true")
        assert await keeper.clean() == 4
        assert {one for one in await left(door) if one.startswith(("bad", "paid"))} == {"bad0", "paid"}
        assert await keeper.clean() == 0
        assert keeper._next == NOON + SHORTEST


async def test_without_a_period_nothing_goes_and_a_broken_one_deletes_nothing(tmp_path, caplog):
    async with open_spending(tmp_path) as door:
        await fill(door)
        assert await retention(door, tmp_path, NOON + 900 * DAY).clean() == 0
        with caplog.at_level(logging.ERROR, "penstock"):
            keeper = retention(door, tmp_path, NOON + 900 * DAY, maximum_spend_logs_retention_period="soon")
            assert [await keeper.clean() for _ in range(2)] == [0, 0]
        assert caplog.text.count("'soon' is no duration") == 1


async def test_a_database_that_is_away_is_tried_again(tmp_path, caplog):
    async with open_spending(tmp_path) as door:
        await fill(door)
        keeper = retention(door, tmp_path, NOON + DAY, maximum_spend_logs_retention_period="1d")

        async def away(*words):
            raise OSError(5, "gone fishing")

        forget, door.storage.spend.forget = door.storage.spend.forget, away
        assert await keeper.clean() == 0 and "gone fishing" in caplog.text
        assert keeper._next == NOON + DAY + 60
        door.storage.spend.forget = forget
        assert await keeper.clean() > 0


async def test_it_runs_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("penstock.server.retention.LOOK", 0.01)
    async with open_spending(tmp_path) as door:
        await fill(door)
        task = asyncio.ensure_future(retention(door, tmp_path, NOON, disable_spend_logs="true").run())
        end = asyncio.get_running_loop().time() + 5
        while len(await left(door)) > 2 and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        task.cancel()
        assert await left(door) == {"c0", "bad0"}, "of the last hour"


@pytest.mark.parametrize(
    ("setting", "gone"),
    [
        ("disable_requester_ip_address_logging", {"client"}), ("disable_error_logs", {"message"}),
        ("disable_spend_logs", {"client", "message", "metadata", "usage"}), ("disable_budget_reservation", set()),
    ],
)  # fmt: skip
async def test_what_is_not_to_be_kept_is_never_written_down(tmp_path, setting, gone):
    yaml = YAML + f"general_settings: {{{setting}: true}}\n"
    async with open_books(tmp_path, yaml) as door:
        assert (rules_of(door.gateway.state.config).details is None) == (not gone)
        key = await door.key("a")
        assert (await door.chat(key, metadata={"a": "b"}))[0] == 200
        assert (await door.chat(key, model="none"))[0] in (400, 404)
        entries = sorted(await door.stored(2), key=lambda one: one.status)
        texts = {name: [getattr(one, name) for one in entries] for name in ("client", "message", "metadata", "usage")}
        for name, values in texts.items():
            assert any(values) == (name not in gone), (name, values)
        assert entries[0].cost > 0 and entries[0].input > 0


async def test_a_clock_that_is_ahead_for_a_moment_deletes_nothing(tmp_path):
    """A month ahead all that is kept for a month is old: within an hour somebody has set it right, mostly."""
    async with open_spending(tmp_path) as door:
        await fill(door)
        state = configured(tmp_path, maximum_spend_logs_retention_period="60d", disable_error_logs="true")
        wall, clock = [NOON - 10 * DAY], [100.0]
        keeper = Retention(door.storage.spend, lambda: state, lambda: wall[0], lambda: clock[0])  # type: ignore[arg-type, return-value]

        def later(seconds: float, set_by: float = 0.0) -> bool:
            wall[0] += seconds + set_by
            clock[0] += seconds
            return keeper.due()

        assert keeper.due() and await keeper.clean() == 0
        assert not later(10, 40 * DAY) and not later(600, -40 * DAY) and not later(10)
        assert later(3700) and await keeper.clean() == 0, "and goes on when it is right again"
        assert not later(10, 10 * DAY) and later(3700) and await keeper.clean() == 5, "what failed until now, too"
        assert not later(10, -DAY) and later(3700), "a clock that was set back stops nothing"
        await door.storage.spend.append([spent("late", "k", NOON - DAY, 0.0, status=500, error="upstream")], {}, {})
        assert await keeper.clean() == 1
