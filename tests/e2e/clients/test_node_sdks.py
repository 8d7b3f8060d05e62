"""The vendors' SDKs for Node: one script each, all its cases against each upstream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Rule, Step
from tests.e2e.clients.cli import run
from tests.e2e.clients.faces import PNG
from tests.e2e.clients.install import node_client
from tests.e2e.clients.upstreams import Upstream
from tests.e2e.serving import MASTER_KEY, Served

pytestmark = pytest.mark.timeout(1000)  # the first run installs the clients
SCRIPTS = Path(__file__).parent / "node"
BUSY = Rule(contains="busy at first", nth=(1,), step=Step(status=429, headers={"retry-after": "1"}))


def told(script: str, gateway: Served, upstream: Upstream, tmp_path: Path) -> dict[str, Any]:
    done = run(
        ["node", SCRIPTS / script],
        tmp_path,
        CLIENTS=str(node_client("node-sdks")),
        GATEWAY=gateway.url,
        KEY=MASTER_KEY,
        MODEL=upstream.alias,
        PNG=PNG,
    )
    assert done.code == 0, done
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_openai_for_node(gateway: Served, upstream: Upstream, tmp_path: Path) -> None:
    upstream.mock.script = upstream.script(rules=[BUSY])
    found = told("openai.cjs", gateway, upstream, tmp_path)
    echo = {"deltas": "mock/echo: hello", "text": "mock/echo: hello", "model": upstream.alias, "told": True}
    assert found == {
        "chat_stream_helper": {**echo, "finish": "stop"},
        "chat_run_tools": {"text": "mock/echo: tool get_weather said: rain in Bonn", "asked": ["Bonn"]},
        "chat_json_schema": {"city": "mock"},
        "chat_vision": "mock/echo: look | saw 1 image (image/png, 70 bytes)",
        "responses_stream_helper": {**echo, "status": "completed"},
        "responses_tools": {"args": {"city": "Bonn"}, "text": "mock/echo: tool get_weather said: rain"},
        "responses_json_schema": {"city": "mock"},
        "models": True,
        "error_is_typed": {"typed": True, "status": 401},
        "bad_request_is_typed": {"typed": True, "status": 400},
        "rate_limit_is_retried": "mock/echo: busy at first",
    }


def test_anthropic_for_node(gateway: Served, upstream: Upstream, tmp_path: Path) -> None:
    threads = {"type": "invalid_request_error", "details": {"error_code": "thread_unsupported_request"}}
    no_threads = Rule(contains='"thread"', step=Step(status=400, error={"message": "Not here.", **threads}))
    upstream.mock.script = upstream.script(rules=[BUSY, no_threads])
    found = told("anthropic.cjs", gateway, upstream, tmp_path)
    assert 0 < found.pop("count_tokens") < 200
    assert found == {
        "stream_helper": {
            "deltas": "mock/echo: hello",
            "text": "mock/echo: hello",
            "stop": "end_turn",
            "model": upstream.alias,
            "told": True,
        },
        "thinking_and_tools": {
            "kinds": ["thinking", "tool_use"],
            "args": {"city": "Bonn"},
            "stop": "tool_use",
            "text": "mock/echo: tool get_weather said: rain",
        },
        "tool_runner": {"asked": ["Bonn"], "text": "mock/echo: tool get_weather said: rain in Bonn"},
        "json_schema": {"city": "mock"},
        "vision": "mock/echo: look | saw 1 image (image/png, 70 bytes)",
        "models": True,
        "error_is_typed": {"typed": True, "status": 401, "kind": "authentication_error"},
        "bad_request_is_typed": {"typed": True, "status": 400},
        "rate_limit_is_retried": "mock/echo: busy at first",
    }
