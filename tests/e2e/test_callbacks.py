"""A gateway as a process: what waits for a sink is written when it ends, with several workers, too."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from penstock.mock import ThreadMock
from tests.e2e.serving import serving

SAYS = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()


def ask(url: str) -> None:
    request = urllib.request.Request(f"{url}/v1/chat/completions", SAYS, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_what_waits_is_written_at_the_end(tmp_path: Path, workers: int) -> None:
    with ThreadMock() as mock:
        config = f"""
model_list: [{{model_name: m, litellm_params: {{model: openai/x, api_base: "{mock.url}/v1", api_key: sk-up}}}}]
litellm_settings: {{callbacks: [file, stdout]}}
callback_settings: {{file: {{path: "{tmp_path}/records.jsonl"}}}}
"""
        with serving(tmp_path, config, "--workers", str(workers)) as gateway:
            for _ in range(7):
                ask(gateway.url)
            assert gateway.stop() == 0
            lines = (tmp_path / "records.jsonl").read_text().splitlines()
            told = [json.loads(line)["litellm_call_id"] for line in lines]
            assert len(set(told)) == len(told) == 7
            shown = [json.loads(line) for line in gateway.output().splitlines() if line.startswith('{"id"')]
            assert sorted(one["litellm_call_id"] for one in shown) == sorted(told)
            assert all(one["messages"] == [{"role": "user", "content": "hello"}] for one in shown)
            assert "ERROR" not in gateway.output()
