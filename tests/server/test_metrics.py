"""``/metrics``: its numbers are those of the requests, its labels are bounded, and who may not read it does not."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from penstock.core.admit.caller import Caller
from penstock.core.ir import Usage
from penstock.core.record import Record
from penstock.mock.script import Rule, Script, Step
from penstock.server.effect import SETTINGS
from penstock.server.metrics import ours, theirs
from penstock.server.metrics.now import FAMILIES
from penstock.server.metrics.telling import Metrics
from tests.door import HELLO, Door, open_door
from tests.server.keyed import MASTER, id_of, key, open_keyed
from tests.server.scraped import OPEN, Scraped, scrape

PRICED = """
model_list:
  - model_name: m
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret,
                     input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
  - model_name: broken
    litellm_params: {model: openai/broken-model, api_base: "{mock}/v1", api_key: sk-upstream-secret}
  - model_name: "wild/*"
    litellm_params: {model: "openai/*", api_base: "{mock}/v1", api_key: sk-upstream-secret}
router_settings: {num_retries: 1, fallbacks: [{broken: [m]}], retry_after: 0, allowed_fails: 100}
litellm_settings: {callbacks: [prometheus]}
"""


async def test_the_numbers_are_those_of_the_requests(tmp_path: Path):
    async with open_door(tmp_path, PRICED) as door:
        door.mock.script = Script(rules=[Rule(model="broken-model", step=Step(status=500))])
        for _ in range(40):
            assert (await door.post(HELLO))[0] == 200
        for _ in range(3):
            assert (await door.post({**HELLO, "stream": True}))[0] == 200
        assert (await door.post({**HELLO, "model": "broken"}))[0] == 200, "another model answers"
        assert (await door.post({**HELLO, "model": "nobody"}))[0] == 400
        assert (await door.ask("GET", "/no-such-page"))[0] == 404
        await door.settle()
        found = await scrape(door)
        records = [record for record in door.records if record.model]
    assert found.sum("penstock_requests_total") == len(records) == 45
    assert found.sum("penstock_requests_total", status="200", route="/v1/chat/completions") == 44
    assert found.sum("penstock_requests_total", status="400", model="unknown") == 1
    used = [record.usage for record in records if record.usage]
    assert found.sum("penstock_tokens_total", type="input") == sum(usage.input for usage in used)
    assert found.sum("penstock_tokens_total", type="output") == sum(usage.output for usage in used)
    cost = sum((record.cost for record in records if record.cost), Decimal(0))
    assert cost and found.sum("penstock_spend_usd_total") == pytest.approx(float(cost), rel=1e-15)
    good = [record for record in records if record.status == 200]
    assert found.sum("penstock_request_duration_seconds_count") == len(good)
    whole = sum(record.ms for record in good) / 1000
    assert found.sum("penstock_request_duration_seconds_sum") == pytest.approx(whole, rel=1e-9)
    assert found.sum("penstock_time_to_first_token_seconds_count") == 3 == found.sum("penstock_streams_total")
    over = sum(record.overhead_ms for record in good) / 1000
    assert found.sum("penstock_overhead_seconds_sum") == pytest.approx(over, rel=1e-9, abs=1e-12)
    assert found.sum("penstock_retries_total") == sum(max(0, record.tries - 1) for record in records) == 2
    assert found.sum("penstock_upstream_failures_total", error="upstream_error", target="openai/broken-model") == 2
    assert found.sum("penstock_fallbacks_total", model="broken", to="m", result="ok") == 1
    assert found.sum("penstock_page_requests_total", status="404") == 1
    # The same in LiteLLM's words.
    assert found.sum("litellm_proxy_total_requests_metric_total") == 45
    assert found.sum("litellm_proxy_failed_requests_metric_total", exception_status="400") == 1
    assert found.sum("litellm_total_tokens_metric_total", model="real-model") == sum(usage.total for usage in used)
    assert found.sum("litellm_spend_metric_total") == pytest.approx(float(cost), rel=1e-15)
    assert found.sum("litellm_deployment_success_responses_total") == 44
    assert found.sum("litellm_deployment_failure_responses_total", exception_class="InternalServerError") == 2
    assert found.sum("litellm_deployment_total_requests_total") == 46
    assert found.sum("litellm_deployment_successful_fallbacks_total", requested_model="broken", fallback_model="m") == 1
    assert found.sum("litellm_request_total_latency_metric_count") == 44


async def test_buckets_are_sums_that_never_fall(tmp_path: Path):
    async with open_door(tmp_path, PRICED) as door:
        for _ in range(20):
            await door.post(HELLO)
        await door.settle()
        found = await scrape(door)
    name = "penstock_request_duration_seconds_bucket"
    buckets = [(float(has["le"]), value) for found_, has, value in found.samples if found_ == name]
    assert buckets == sorted(buckets) and [value for _, value in buckets] == sorted(value for _, value in buckets)
    assert buckets[-1] == (float("inf"), 20)


async def test_both_forms_tell_the_same(tmp_path: Path):
    async with open_door(tmp_path, PRICED) as door:
        await door.post(HELLO)
        await door.settle()
        plain, opened = await scrape(door), await scrape(door, OPEN)
    moving = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
    both = [
        sorted((name, tuple(sorted(has.items())), value) for name, has, value in one.samples if name not in moving)
        for one in (plain, opened)
    ]
    assert both[0] == both[1] and opened.text.endswith("# EOF\n")


def told_names() -> set[str]:
    """Every metric that there is."""
    tables = [*ours.TABLES, *theirs.tables(str)]
    events = [*ours.EVENTS, *theirs.events(str)]
    names = {row.name for table in tables for row in table.rows} | {row.metric for row in events} | set(FAMILIES)
    return names | {"litellm_deployment_total_requests", "litellm_deployment_success_responses"}


async def test_every_metric_is_told_once_with_its_type_and_a_help(tmp_path: Path):
    async with open_door(tmp_path, PRICED) as door:
        found = await scrape(door, OPEN)
    assert set(found.types) == told_names()
    for name in found.types:
        assert found.text.count(f"# TYPE {name} ") == 1 and found.text.count(f"# HELP {name} ") == 1


async def test_a_deployment_that_rests_is_told(tmp_path: Path):
    yaml = PRICED.replace("allowed_fails: 100", "allowed_fails: 1, cooldown_time: 60").replace(
        "num_retries: 1", "num_retries: 0"
    )
    async with open_door(tmp_path, yaml) as door:
        door.mock.script = Script(rules=[Rule(model="broken-model", step=Step(status=500))])
        for _ in range(3):
            await door.post({**HELLO, "model": "broken"})
        await door.settle()
        found = await scrape(door)
    assert found.sum("penstock_cooldowns_total", target="openai/broken-model") == 1
    assert found.sum("litellm_deployment_cooled_down_total") == 1
    assert found.sum("penstock_deployment_state", target="openai/broken-model") > 0
    assert found.sum("penstock_deployment_state", target="openai/real-model") == 0


# Who may read it ------------------------------------------------------------------------------------------------------

READ = "\ngeneral_settings: {metrics_token: sk-of-the-scraper-alone-123}\n"


async def test_it_is_closed_but_for_admins_and_viewers(tmp_path: Path):
    rows = {"key": {"red": {}, "eye": {"user_id": "v"}}, "user": {"v": {"user_role": "proxy_admin_viewer"}}}
    async with open_keyed(tmp_path, rows) as door:
        asked = {who: (await door.ask("GET", "/metrics", headers={"authorization": f"Bearer {what}"}))[0]
                 for who, what in {"master": MASTER, "viewer": key("eye"), "key": key("red"), "nobody": "sk-wrong"}.items()}  # fmt: skip
        asked["none"] = (await door.ask("GET", "/metrics"))[0]
    assert asked == {"master": 200, "viewer": 200, "key": 403, "nobody": 401, "none": 401}


async def test_a_token_of_its_own_opens_it_and_nothing_else(tmp_path: Path):
    token = {"authorization": "Bearer sk-of-the-scraper-alone-123"}
    async with open_keyed(tmp_path, {}, PRICED + READ) as door:
        assert (await door.ask("GET", "/metrics", headers=token))[0] == 200
        assert (await door.ask("GET", "/metrics/", headers=token))[0] == 200
        assert (await door.ask("GET", "/metrics", headers={"authorization": "Bearer sk-of-the-scraper-alone-12"}))[
            0
        ] == 401
        assert (await door.ask("GET", "/metrics", headers={"authorization": "Basic c2s6"}))[0] == 401
        for path in ("/metrics/series", "/v1/models", "/key/list"):
            assert (await door.ask("GET", path, headers=token))[0] == 401, path
        assert (await door.post(HELLO, **token))[0] == 401


async def test_it_is_open_only_where_the_operator_says_so(tmp_path: Path):
    yaml = PRICED.replace(
        "callbacks: [prometheus]", "callbacks: [prometheus], require_auth_for_metrics_endpoint: false"
    )
    async with open_keyed(tmp_path, {}, yaml) as door:
        assert (await door.ask("GET", "/metrics"))[0] == 200
        assert (await door.ask("GET", "/metrics/series"))[0] == 401


async def test_no_secret_is_in_a_scrape(tmp_path: Path):
    rows = {"key": {"red": {"team_id": "t", "max_budget": 5}}, "team": {"t": {"team_alias": "Tide"}}}
    async with open_keyed(tmp_path, rows, PRICED + READ) as door:
        await door.post(HELLO, authorization=f"Bearer {key('red')}")
        await door.post(HELLO, authorization="Bearer sk-somebody-elses-0000000")
        await door.post({**HELLO, "model": "sk-typed-into-the-model-field"}, authorization=f"Bearer {key('red')}")
        await door.settle()
        found = await scrape(door, authorization=f"Bearer {MASTER}")
    for secret in (key("red"), MASTER, "sk-upstream-secret", "sk-of-the-scraper", "sk-somebody", "sk-typed"):
        assert secret not in found.text
    assert found.sum("penstock_requests_total", key="red", status="200") == 1
    [labels] = found.of("litellm_requests_metric_total")
    assert (
        labels["hashed_api_key"] == id_of("red") and labels["team_alias"] == "Tide" and labels["api_key_alias"] == "red"
    )


# Which are told -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("families", "ours_there", "theirs_there"),
    [("penstock", True, False), ("litellm", False, True), ("both", True, True)],
)
async def test_whose_names_are_told_is_a_setting(tmp_path: Path, families: str, ours_there: bool, theirs_there: bool):
    async with open_door(tmp_path, PRICED + f"\ngeneral_settings: {{metrics_families: {families}}}\n") as door:
        await door.post(HELLO)
        found = await scrape(door)
    names = set(found.types)
    assert any(name.startswith("penstock_") for name in names) is ours_there
    assert any(name.startswith("litellm_") for name in names) is theirs_there
    assert "process_resident_memory_bytes" in names


async def test_metrics_and_labels_are_chosen_as_in_litellm(tmp_path: Path):
    chosen = """callbacks: [prometheus]
  prometheus_exclude_labels: [route]
  prometheus_metrics_config:
    - {group: a, metrics: [litellm_proxy_total_requests_metric_total], include_labels: [requested_model, route]}
    - {group: b, metrics: [litellm_deployment_state]}"""
    yaml = PRICED.replace("{callbacks: [prometheus]}", f"\n  {chosen}")
    async with open_door(tmp_path, yaml) as door:
        await door.post(HELLO)
        await door.settle()
        found = await scrape(door)
    names = {name for name in found.types if name.startswith("litellm_")}
    assert names == {"litellm_proxy_total_requests_metric", "litellm_deployment_state"}
    assert found.of("litellm_proxy_total_requests_metric_total") == [{"requested_model": "m"}]
    assert found.sum("penstock_requests_total") == 1


# Size and time --------------------------------------------------------------------------------------------------------


def slowness() -> float:
    """How many times slower than an idle machine of today this one is now."""
    best = 9.0
    for _ in range(5):
        values, began = [0] * 10, time.process_time()
        for _ in range(200_000):
            values[5] += 1
        best = min(best, (time.process_time() - began) / 200_000)
    return max(1.0, best / 25e-9)


def put(door: Door, number: int, model: str = "", alias: str = "", **more: Any) -> None:
    """Counts a request of a key."""
    targets = door.gateway.state.targets
    target = targets[number % len(targets)]
    caller = Caller(alias or f"alias-{number}", False, key=f"{number:064d}", team=f"team-{number % 20}")
    call = SimpleNamespace(
        caller=caller, path="/v1/chat/completions", surface=object(), attempt=SimpleNamespace(target=target),
        caching=None, way=None,
    )  # fmt: skip
    said = {
        "status": 200, "model": model or target.deployment.model_name, "target": target.label, "target_id": target.id,
        "provider": target.provider.name, "ms": 812.0, "overhead_ms": 0.4, "ttft_ms": 50.0, "stream": True, "tries": 1,
        "usage": Usage(fresh=100, output=30), "cost": Decimal("0.000123"),
    } | more  # fmt: skip
    record = Record(
        at=time.time(), call_id="x", request_id="x", key="", client="", method="POST", path=call.path, **said
    )
    door.gateway.tally.put(call, record)  # type: ignore[arg-type]


@pytest.mark.serial
async def test_a_scrape_of_many_deployments_and_keys_is_quick_and_blocks_nobody(tmp_path: Path):
    entries = "".join(
        f'  - {{model_name: m{at % 50}, litellm_params: {{model: openai/real-{at}, api_base: "{{mock}}/v1", api_key: sk-{at}}}}}\n'
        for at in range(500)
    )
    async with open_door(tmp_path, f"model_list:\n{entries}") as door:
        for number in range(1000):
            put(door, number)
        metrics = Metrics(door.gateway)
        for families, most in (("penstock", 0.05), ("both", 0.12)):
            settings = msgspec.structs.replace(metrics.settings, families=families)
            list(metrics._pieces(settings, False))  # labels are written once
            took, factor = 9.0, slowness()
            for _ in range(5):
                began = time.process_time()
                assert sum(len(piece) for piece in metrics._pieces(settings, False)) > 100_000
                took = min(took, time.process_time() - began)
            assert took < most * factor, (families, took, factor)
        late, running = [], True

        async def watch() -> None:
            while running:
                before = time.perf_counter()
                await asyncio.sleep(0)
                late.append(time.perf_counter() - before)

        watching = asyncio.create_task(watch())
        await metrics.text(False)
        running = False
        await watching
        late.sort()
        assert late[-1 - len(late) // 100] < 0.01 * slowness(), late[-5:]


@pytest.mark.serial
async def test_counting_costs_little(tmp_path: Path):
    async with open_door(tmp_path, PRICED) as door:
        put(door, 1)
        tally = door.gateway.tally
        [group] = tally._groups.values()
        record, target = group.records[0], group.target
        call = SimpleNamespace(
            caller=group.caller, path="/v1/chat/completions", surface=object(), attempt=SimpleNamespace(target=target),
            caching=None, way=None,
        )  # fmt: skip
        best, factor = 9.0, slowness()
        for _ in range(5):
            began = time.process_time()
            for _ in range(20_480):
                tally.put(call, record)  # type: ignore[arg-type]
            best = min(best, (time.process_time() - began) / 20_480)
    assert best < 3e-6 * factor, (best, factor)


async def test_strange_names_make_no_labels(tmp_path: Path):
    async with open_door(tmp_path, PRICED) as door:
        tally = door.gateway.tally
        tally.go_by(tally.buckets, 500)
        for number in range(100_000):
            at = number % 4
            if at == 0:  # a name that nobody has
                put(
                    door,
                    1,
                    f"strange-{number}",
                    status=400,
                    error="unknown_model",
                    target_id="",
                    target="",
                    usage=None,
                    cost=None,
                )
            elif at == 1:  # one behind a wildcard, to which an upstream answers whatever it is
                put(door, 2, f"wild/{number}", target=f"openai/{number}")
            elif at == 2:  # one to which none does
                put(door, 2, f"wild/{number}", target=f"openai/{number}", status=404, error="upstream_not_found")
            else:  # a key each
                put(door, number)
        found = await scrape(door)
        cells = len(tally.cells)
    assert cells <= 500 + 2000 + 1
    assert len(found.of("penstock_requests_total")) <= cells
    assert found.sum("penstock_requests_total") == 100_000, "what has no labels of its own is counted all the same"
    assert found.sum("penstock_requests_total", model="unknown") >= 25_000
    assert found.sum("penstock_folded_label_sets_total") > 0
    assert "strange-" not in found.text


async def test_a_label_says_whatever_an_admin_writes(tmp_path: Path):
    async with open_door(tmp_path, PRICED) as door:
        put(door, 1, alias='a "b" \\ c\nd\u2028e')
        plain, opened = await scrape(door), await scrape(door, OPEN)
    for found in (plain, opened):
        assert [labels["key"] for labels in found.of("penstock_requests_total")] == ['a "b" \\ c\nd e']


async def test_what_was_counted_by_other_bounds_stays(tmp_path: Path):
    async with open_door(tmp_path, PRICED) as door:
        tally = door.gateway.tally
        tally.go_by((0.1, 1.0), 10)
        put(door, 1)
        tally.fold()
        tally.go_by((5.0,), 20)
        assert tally.buckets == (0.1, 1.0) and tally.most == 20
        found = await scrape(door)
    assert {labels["le"] for labels in found.of("penstock_request_duration_seconds_bucket")} == {"0.1", "1.0", "+Inf"}
    assert "litellm_settings.prometheus_latency_buckets" in {row.name for row in SETTINGS}


def test_the_parser_sees_a_sample_that_is_there_twice():
    with pytest.raises(AssertionError, match="twice"):
        Scraped("a 1\na 2\n")
