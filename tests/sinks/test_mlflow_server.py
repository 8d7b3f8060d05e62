"""A real MLflow server takes what the sink writes, and shows it: ``make mlflow`` installs one, else this is skipped."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Script, Step
from penstock.sinks import SINKS
from penstock.sinks.base import Settings, Variables
from penstock.sinks.shipping import Shipper
from tests.served import open_service
from tests.server.observed import SAYS, YAML
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


async def test_mlflow_takes_the_traces_of_a_gateway(tmp_path):
    """A receiver of OTLP that is not ours: a trace with the parents and attributes that the gateway wrote."""
    trace_id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    yaml = YAML.replace("num_retries: 0", "num_retries: 2, allowed_fails: 100")
    settings = "litellm_settings: {callbacks: [otel]}\ncallback_settings: {otel: {message_logging: true}}\n"
    async with open_server(tmp_path) as url:
        env = {"OTEL_ENDPOINT": url, "OTEL_HEADERS": "x-mlflow-experiment-id=0", "OTEL_SERVICE_NAME": "my-gateway"}
        async with open_service(tmp_path, f"{yaml}\n{settings}", env) as door:
            door.mock.script = Script(queue=(Step(status=503), Step(text="the quick brown fox")))
            status, _, _ = await door.post(SAYS, "/v1/chat/completions", traceparent=f"00-{trace_id}-{parent}-01")
            assert status == 200
            await door.settle()
            await door.service.callbacks.observer.finish()
            [shipper] = door.service.callbacks._made.values()
            assert await shipper.flush(60) and shipper.told() == {"waiting": 0, "written": 1}
            sent = [dict(one.headers)["traceparent"].split("-")[2] for one in door.mock.received]
        spans = await spans_of(url, f"tr-{trace_id}")
        by_id = {span["id"]: span for span in spans}
        [server] = [span for span in spans if span["parent"] == parent]
        first, second = (by_id[one] for one in sent)  # by the ids that the upstreams were given
        assert first["parent"] == second["parent"] == server["id"] and len(spans) == 3
        assert "ERROR" in first["status"] and second["attributes"]["gen_ai.operation.name"] == "chat"
        assert second["attributes"]["gen_ai.usage.input_tokens"] > 0 and second["name"] == "chat gpt-4o-mini"
        assert "the quick brown fox" in str(second["attributes"]["gen_ai.output.messages"])


async def spans_of(url: str, trace: str) -> list[dict[str, Any]]:
    """Read the spans of a trace as MLflow tells them: OTLP's JSON, with ids in base64."""
    found = await ask(url, f"/api/3.0/mlflow/traces/get?trace_id={trace}&allow_partial=true")
    return [
        {
            "id": base64.b64decode(span["span_id"]).hex(),
            "parent": base64.b64decode(span["parent_span_id"]).hex(),
            "name": span["name"],
            "status": span["status"].get("code"),
            "attributes": {row["key"]: next(iter(row["value"].values())) for row in span["attributes"]},
        }
        for span in found["trace"]["spans"]
    ]
