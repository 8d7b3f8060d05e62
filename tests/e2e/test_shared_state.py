"""Two gateways and a Redis that is killed and started again: what the health pages, the log and `check` tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from penstock.stores.redis_client import MISSING
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


def test_health_pages_and_the_log_tell_that_redis_is_away_and_back(served, tmp_path: Path) -> None:
    with running(RedisServer(tmp_path, password=PASSWORD)) as server:
        env = {"LITELLM_MASTER_KEY": MASTER_KEY, "REDIS_SECRET": PASSWORD}
        gateways = [served(YAML.format(port=server.port), **env) for _ in range(2)]
        workers = served(YAML.format(port=server.port), "--workers", "2", **env)

        def ready(gateway, state: str) -> bool:
            status, body = get(f"{gateway.url}/health/readiness")
            assert status == 200, "it serves with and without Redis"
            return json.loads(body) == {"status": "healthy", "db": "Not connected", "shared_state": state}

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
