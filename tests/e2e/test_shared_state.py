"""Two gateways and a Redis that is killed and started again: what the health pages, the log and `check` tell."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from penstock.mock import Mock, Rule, Script, Step
from penstock.stores.redis_client import MISSING
from tests.e2e.conftest import MOCK_KEY
from tests.e2e.serving import MASTER_KEY, clean_env, get, until
from tests.redis_servers import RedisServer, running

PASSWORD = "a-redis-password-77aa31"
YAML = """\
model_list:
  - model_name: fast
    litellm_params: {{model: mock/echo}}
router_settings:
  redis_host: 127.0.0.1
  redis_port: {port}
  redis_password: os.environ/REDIS_SECRET
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
"""


@pytest.mark.serial
def test_health_pages_and_the_log_tell_that_redis_is_away_and_back(served, tmp_path: Path) -> None:
    with running(RedisServer(tmp_path, password=PASSWORD)) as server:
        env = {"LITELLM_MASTER_KEY": MASTER_KEY, "REDIS_SECRET": PASSWORD}
        gateways = [served(YAML.format(port=server.port), **env) for _ in range(2)]
        workers = served(YAML.format(port=server.port), "--workers", "2", **env)

        def ready(gateway, state: str) -> bool:
            status, body = get(f"{gateway.url}/health/readiness")
            assert status == 200, "it serves with and without Redis"
            return json.loads(body) == {"status": "healthy", "db": "connected", "shared_state": state}

        def told(gateway) -> dict[str, object]:
            status, body = get(f"{gateway.url}/health", authorization=f"Bearer {MASTER_KEY}")
            assert status == 200
            found: dict[str, object] = json.loads(body)["shared_state"]
            return found

        where = f"Redis at 127.0.0.1:{server.port}, database 0"
        for gateway in (*gateways, workers):
            until(lambda gateway=gateway: ready(gateway, "connected"))
        for gateway in gateways:
            assert told(gateway) == {"where": where, "connected": True}
            assert b"shared_state" not in get(f"{gateway.url}/health")[1], "not for everybody"
        server.kill()
        for gateway in (*gateways, workers):
            until(lambda gateway=gateway: ready(gateway, "not connected"), 3.0)
        for gateway in gateways:
            found = told(gateway)
            assert found["connected"] is False and str(server.port) in str(found["error"]) and "for_seconds" in found
            gateway.says(f"{where} cannot be used")
        server.start()
        for gateway in (*gateways, workers):
            until(lambda gateway=gateway: ready(gateway, "connected"), 2.5)
        for gateway in gateways:
            said = gateway.says(f"{where} is back after")
            assert said.count("cannot be used") == 1 and PASSWORD not in said
            assert gateway.stop() == 0


def test_a_redis_that_never_was_there_keeps_nobody_from_serving(served) -> None:
    gateway = served(YAML.format(port=1), LITELLM_MASTER_KEY=MASTER_KEY, REDIS_SECRET=PASSWORD)
    gateway.says("cannot be used")
    assert get(f"{gateway.url}/health/readiness")[0] == 200
    assert gateway.stop() == 0


def test_without_the_package_there_is_one_line_and_the_gateway_serves(served, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "redis.py").write_text("raise ModuleNotFoundError('no', name='redis')\n")
    env = {"LITELLM_MASTER_KEY": MASTER_KEY, "REDIS_URL": "redis://127.0.0.1:1"}
    root = clean_env(tmp_path)["PYTHONPATH"]
    gateway = served(None, **env, PYTHONPATH=f"{tmp_path / 'without'}:{root}")
    said = gateway.says(MISSING)
    assert said.count(MISSING) == 1
    assert get(f"{gateway.url}/health/readiness")[0] == 200


def test_check_says_where_redis_is_and_what_is_wrong_with_variables(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(YAML.format(port=6380))
    env = clean_env(tmp_path, LITELLM_MASTER_KEY=MASTER_KEY, REDIS_SECRET=PASSWORD, REDIS_SSL="maybe")
    command = [sys.executable, "-m", "penstock", "check", "c.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    first, *_ = done.stdout.splitlines()
    assert first == "Processes share their state through Redis at 127.0.0.1:6380, database 0 (router_settings)."
    assert "c.yaml: REDIS_SSL: warning: expected true or false, got 'maybe'; counts as absent" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr


GROUP = """\
model_list:
  - {{model_name: m, litellm_params: {{model: openai/a, api_base: "{mock}/v1", api_key: {key}{more}}}}}
  - {{model_name: m, litellm_params: {{model: openai/b, api_base: "{mock}/v1", api_key: {key}{more}}}}}
router_settings:
  redis_url: redis://127.0.0.1:{port}
  num_retries: {retries}
  cooldown_time: 30
  optional_pre_call_checks: [enforce_model_rate_limits]
general_settings: {{no_auth: true}}
"""


def asked(mock: Mock) -> Counter[str]:
    """How often each upstream model was asked since the last look."""
    found = Counter(json.loads(seen.body)["model"] for seen in mock.received)
    mock.received.clear()
    return found


def chat(gateway) -> int:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = urllib.request.Request(f"{gateway.base_url}/chat/completions", body, {"content-type": "application/json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.serial
def test_what_one_gateway_lets_rest_the_others_do_not_ask(served, mock: Mock, tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        yaml = GROUP.format(mock=mock.url, key=MOCK_KEY, more="", port=server.port, retries=2)
        one, other = served(yaml), served(yaml)
        for gateway in (one, other):
            until(lambda gateway=gateway: b'"connected"' in get(f"{gateway.url}/health/readiness")[1])
            assert chat(gateway) == 200
        mock.script = Script(rules=[Rule(model="a", step=Step(status=429, headers={"retry-after": None}))])
        asked(mock)
        while not asked(mock)["a"]:
            assert chat(one) == 200

        def rests(gateway) -> bool:
            told = json.loads(get(f"{gateway.url}/v1/route/explain?model=m")[1])
            [why] = [
                row.get("left_out", "") for row in told["groups"][0]["candidates"] if row["deployment"] == "openai/a"
            ]
            return "rests for" in why

        until(lambda: rests(other), 1.0, "the other gateway knows within a second")
        late = served(yaml)
        until(lambda: b'"connected"' in get(f"{late.url}/health/readiness")[1])
        until(lambda: rests(late), 1.0, "and so does one that starts later")
        asked(mock)
        for _ in range(15):
            assert chat(other) == chat(late) == 200
        assert asked(mock) == {"b": 30}


@pytest.mark.serial
def test_limits_of_a_deployment_hold_for_all_gateways_together(served, mock: Mock, tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        yaml = GROUP.format(mock=mock.url, key=MOCK_KEY, more=", rpm: 10", port=server.port, retries=0)
        one, other = served(yaml), served(yaml)
        for gateway in (one, other):
            until(lambda gateway=gateway: b'"connected"' in get(f"{gateway.url}/health/readiness")[1])
        if time.time() % 60 > 45:
            time.sleep(60.5 - time.time() % 60)  # the test is over before the minute is
        asked(mock)
        statuses: Counter[int] = Counter()
        for _ in range(20):
            statuses[chat(one)] += 1
            statuses[chat(other)] += 1
            time.sleep(0.05)
        found = asked(mock)
        assert found.total() == statuses[200] and statuses[429] == 40 - statuses[200]
        # Two deployments with 10 a minute; what comes in before the other gateway has heard of it may be too much.
        assert 20 <= found.total() <= 26, (found, statuses)


BUDGET = """\
model_list:
  - model_name: m
    litellm_params:
      model: openai/a
      api_base: "{mock}/v1"
      api_key: {key}
      input_cost_per_token: 0.001
      output_cost_per_token: 0.002
router_settings:
  redis_url: redis://127.0.0.1:{port}
  provider_budget_config: {{openai: {{budget_limit: {limit}, time_period: 1d}}}}
  num_retries: 0
general_settings: {{no_auth: true}}
"""


def cost_of(gateway) -> float:
    """What one chat costs here."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = urllib.request.Request(f"{gateway.base_url}/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return float(answer.headers["x-litellm-response-cost"])


@pytest.mark.serial
def test_a_budget_holds_for_all_gateways_together_and_outlives_redis(served, mock: Mock, tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        measure = served(BUDGET.format(mock=mock.url, key=MOCK_KEY, port=1, limit=1000))
        cost = cost_of(measure)
        yaml = BUDGET.format(mock=mock.url, key=MOCK_KEY, port=server.port, limit=round(40 * cost, 9))
        gateways = [served(yaml), served(yaml)]

        def connected(state: str) -> None:
            for gateway in gateways:
                until(lambda gateway=gateway: state.encode() in get(f"{gateway.url}/health/readiness")[1])

        def spend(times: int) -> Counter[int]:
            statuses: Counter[int] = Counter()
            for _ in range(times):
                for gateway in gateways:
                    statuses[chat(gateway)] += 1
                time.sleep(0.05)
            return statuses

        connected('"connected"')
        mock.received.clear()
        assert spend(8) == {200: 16}
        server.kill()
        connected('"not connected"')
        assert spend(8) == {200: 16}, "each goes on with what it knew, and counts what it spends"
        server.start()
        connected('"connected"')
        time.sleep(0.3)
        later = spend(10)
        # 40 are paid for; what a gateway spends before the other has heard of it may be too much.
        assert 40 <= 32 + later[200] <= 46 and later[429] == 20 - later[200]
        assert len(mock.received) == 32 + later[200]
        gateways.append(served(yaml))
        connected('"connected"')
        time.sleep(0.3)
        assert spend(2) == {429: 6}, "one that starts later knows that nothing is left"


LATENCY = """\
model_list:
  - {{model_name: m, litellm_params: {{model: openai/a, api_base: "{mock}/v1", api_key: {key}}}}}
  - {{model_name: m, litellm_params: {{model: openai/b, api_base: "{mock}/v1", api_key: {key}}}}}
router_settings: {{redis_url: "redis://127.0.0.1:{port}", routing_strategy: latency-based-routing}}
general_settings: {{no_auth: true}}
"""


@pytest.mark.serial
def test_a_gateway_that_starts_later_knows_who_is_quick(served, mock: Mock, tmp_path: Path) -> None:
    mock.script = Script(rules=[Rule(model="a", step=Step(latency_ms=1500))])
    with running(RedisServer(tmp_path)) as server:
        yaml = LATENCY.format(mock=mock.url, key=MOCK_KEY, port=server.port)
        one = served(yaml)
        until(lambda: b'"connected"' in get(f"{one.url}/health/readiness")[1])
        asked(mock)
        while not asked(mock)["a"]:
            assert chat(one) == 200
        time.sleep(2.5)  # it tells how quick they are every two seconds
        later = served(yaml)
        until(lambda: b'"connected"' in get(f"{later.url}/health/readiness")[1])
        time.sleep(0.2)
        for _ in range(8):
            assert chat(later) == 200
        assert asked(mock) == {"b": 8}


@pytest.mark.serial
def test_a_gateway_stops_while_redis_hangs(served, tmp_path: Path) -> None:
    with running(RedisServer(tmp_path, password=PASSWORD)) as server:
        gateway = served(YAML.format(port=server.port), LITELLM_MASTER_KEY=MASTER_KEY, REDIS_SECRET=PASSWORD)
        until(lambda: b'"connected"' in get(f"{gateway.url}/health/readiness")[1])
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        try:
            assert gateway.stop(seconds=6.0) == 0
        finally:
            server.process.send_signal(signal.SIGCONT)
