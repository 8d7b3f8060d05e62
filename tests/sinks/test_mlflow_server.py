"""A real MLflow server takes what the sink writes, and shows it: ``make mlflow`` installs one, else this is skipped."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.sinks import SINKS
from penstock.sinks.base import Settings, Variables
from penstock.sinks.shipping import Shipper
from tests.sinks.made import open_post, payload

MLFLOW = Path(os.environ.get("MLFLOW_BIN") or Path.home() / ".cache/penstock-tests/mlflow/bin/mlflow")
pytestmark = [
    pytest.mark.skipif(not MLFLOW.exists(), reason=f"no MLflow at {MLFLOW}: `make mlflow` installs it"),
    pytest.mark.timeout(180),
]


@asynccontextmanager
async def open_server(tmp_path: Path) -> AsyncIterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{MLFLOW.parent}:{os.environ['PATH']}"}
    server = await asyncio.create_subprocess_exec(
        MLFLOW, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--default-artifact-root", str(tmp_path / "artifacts"),
        cwd=tmp_path, env=env, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                await asyncio.to_thread(urllib.request.urlopen, f"{url}/health", None, 1)
                break
            except OSError:
                assert server.returncode is None, "MLflow ended"
                await asyncio.sleep(0.2)
        yield url
    finally:
        os.killpg(server.pid, 9)  # its own session: the server and its workers
        await server.wait()


async def ask(url: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"})
    return json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=20).read()))


async def test_mlflow_shows_what_was_written(tmp_path):
    async with open_server(tmp_path) as url, open_post() as post:
        env = {"MLFLOW_TRACKING_URI": url, "MLFLOW_EXPERIMENT_NAME": "it's ours"}
        shipper = Shipper("mlflow", SINKS["mlflow"](Settings(Variables(env), post)))
        shipper.put(payload(1), 900)
        shipper.put(payload(2, status=429, error="upstream_rate_limit", message="slow down", said=None), 900)
        assert await shipper.flush(60)
        assert shipper.told() == {"waiting": 0, "written": 2}
        experiment = await ask(url, "/api/2.0/mlflow/experiments/get-by-name?experiment_name=it%27s%20ours")
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment["experiment"]["experiment_id"]}}
        found = (await ask(url, "/api/3.0/mlflow/traces/search", {"locations": [place]}))["traces"]
        assert sorted(trace["state"] for trace in found) == ["ERROR", "OK"]
        [trace] = [trace for trace in found if trace["state"] == "OK"]
        metadata = trace["trace_metadata"]
        used = json.loads(metadata["mlflow.trace.tokenUsage"])
        assert (used["input_tokens"], used["output_tokens"], used["total_tokens"]) == (10, 5, 15)
        assert metadata["mlflow.trace.session"] == "s-1" and metadata["mlflow.trace.user"] == "u-7"
        assert "what is up" in trace["request_preview"] and "the sky" in trace["response_preview"]
        assert json.loads(metadata["mlflow.trace.cost"])["total_cost"] == pytest.approx(0.00012)
