"""Models that are added to a gateway of several processes: all of them serve it, and one that starts later, too."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from penstock.mock import Mock
from tests.e2e.serving import Served, serving, until

pytestmark = pytest.mark.serial  # it is about how long something takes

KEY = "sk-workers-master-51c0de77aa"
CONFIG = f"""
model_list:
  - model_name: m
    litellm_params: {{model: openai/real-model, api_base: "{{url}}/v1", api_key: sk-upstream-0b9a8c7d}}
general_settings: {{master_key: {KEY}}}
"""


def post(gateway: Served, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    """One request, on a connection of its own: any worker may take it."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json", "connection": "close"}
    request = urllib.request.Request(f"{gateway.url}{path}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def workers(gateway: Served) -> set[int]:
    command = ["ps", "-o", "pid=", "--ppid", str(gateway.process.pid)]
    return {int(pid) for pid in subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()}


def served_by_all(gateway: Served, model: str) -> bool | None:
    """Whether all workers serve a model, by so many questions that none of three is left out; None: some do."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    told = {post(gateway, "/v1/chat/completions", body)[0] for _ in range(24)}
    assert told <= {200, 400}
    return None if len(told) == 2 else told == {200}


def test_all_workers_serve_a_model_within_a_second_also_one_that_starts_later(tmp_path):
    with Mock.thread() as mock, serving(tmp_path, CONFIG.replace("{url}", mock.url), "--workers", "3") as gateway:
        until(lambda: len(workers(gateway)) == 3 and served_by_all(gateway, "m"), 15, "all are there")
        params = {"model": "openai/x", "api_base": f"{mock.url}/v1", "api_key": "sk-upstream-0b9a8c7d"}
        new = {"model_name": "new", "litellm_params": params, "model_info": {"id": "i1"}}
        assert post(gateway, "/model/new", new)[1]["persisted"] is True  # the database, which a master key brings
        time.sleep(1)
        assert served_by_all(gateway, "new") is True
        assert {post(gateway, "/model/new", new)[0] for _ in range(9)} == {400}, "the id is taken for all of them"
        before = workers(gateway)
        subprocess.run(["kill", "-KILL", str(min(before))], check=True)
        until(lambda: len(workers(gateway) - before) == 1, 10, "another was started")
        until(lambda: served_by_all(gateway, "new"), 10, "it has it, too")
        for rpm in range(5):  # whoever takes it has what the last one wrote
            patch = {"litellm_params": {"rpm": rpm + 1, f"custom_{rpm}": rpm}, "model_info": {"id": "i1"}}
            assert post(gateway, "/model/update", patch)[1]["litellm_params"]["rpm"] == rpm + 1
        assert post(gateway, "/model/delete", {"id": "i1"})[0] == 200
        time.sleep(1)
        assert served_by_all(gateway, "new") is False
        assert "Traceback" not in gateway.output()
