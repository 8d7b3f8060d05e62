"""What the seeds promise of routing, with the seed's own YAML where it has one (numbers of the seeds' list)."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.mock import Rule, Script, Step
from tests.door import Door, open_door
from tests.server.test_routing import ask, asked, config, says

SEED = (Path(__file__).parent.parent / "config/data/seed3.yaml").read_text(encoding="utf-8")
ASKED = {"model": "extraction-model", "messages": [{"role": "user", "content": "hello"}]}
NOWHERE = "http://127.0.0.1:9"  # the Ollama that is down


def seed(ollama: str, more: str = "") -> str:
    text = SEED.replace("http://localhost:11434", ollama)
    return text.replace("  allowed_fails: 3", more + "  allowed_fails: 3") if more else text


ENV = {"OPENAI_API_KEY": "sk-openai", "OPENAI_API_BASE": "{mock}/v1", "GEMINI_API_KEY": "g"}


@contextmanager
def timed(most: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < most


async def post(door: Door, **more: object) -> tuple[int, dict[str, str], bytes]:
    return await door.post({**ASKED, **more})


@pytest.mark.parametrize("stream", [False, True])
async def test_s3_18_and_s3_37_ollama_is_down_and_openai_answers(tmp_path, stream):
    async with open_door(tmp_path, seed(NOWHERE), env=ENV) as door:
        for _ in range(5):
            with timed(5.0):
                status, headers, _ = await post(door, stream=stream)
            assert status == 200 and headers["x-litellm-model-group"] == "extraction-model-openai"
        assert asked(door) == {"gpt-4o-mini": 5}


async def test_s3_20_two_failures_and_then_it_works(tmp_path, no_pauses):
    async with open_door(tmp_path, seed("{mock}"), env=ENV) as door:
        door.mock.script = Script(rules=[Rule(model="llama3.2", nth=(1, 2), step=Step(status=500))])
        status, headers, _ = await post(door)
        assert status == 200 and asked(door) == {"llama3.2": 3}
        assert headers["x-litellm-attempted-retries"] == "2"


async def test_s3_21_a_timeout_is_kept(tmp_path):
    text = seed("{mock}").replace("timeout: 60", "timeout: 1").replace("num_retries: 2", "num_retries: 0")
    text = text.replace('- extraction-model: ["extraction-model-openai"]', '- nobody: ["extraction-model-openai"]')
    async with open_door(tmp_path, text, env=ENV) as door:
        door.mock.script = Script(default=Step(latency_ms=4000))
        began = time.monotonic()
        status, _, _ = await post(door)
        assert status in (408, 504) and 0.9 < time.monotonic() - began < 2.5


async def test_s3_22_after_three_failures_in_a_row_it_gets_no_traffic(tmp_path):
    twin = '  - model_name: extraction-model\n    litellm_params: {model: ollama/twin, api_base: "{mock}"}\n'
    text = seed("{mock}").replace("model_list:\n", f"model_list:\n{twin}")
    async with open_door(tmp_path, text, env=ENV) as door:
        door.mock.script = says(**{"llama3.2": Step(status=500)})
        for _ in range(40):
            assert (await post(door))[0] == 200
        assert asked(door)["llama3.2"] == 3


async def test_s3_23_what_is_too_long_goes_to_the_group_for_it(tmp_path):
    more = "  context_window_fallbacks: [{extraction-model: [explanation-model-gemini, extraction-model-lmstudio]}]\n"
    text = seed("{mock}", more).replace("http://localhost:1234", "{mock}").replace(", explanation-model-gemini", "")
    text = text.replace("[explanation-model-gemini, extraction-model-lmstudio]", "[extraction-model-lmstudio]")
    async with open_door(tmp_path, text, env=ENV) as door:
        error = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
        door.mock.script = says(**{"llama3.2": Step(status=400, error=error)})
        status, headers, body = await post(door)
        assert status == 200, body
        assert headers["x-litellm-model-group"] == "extraction-model-lmstudio"
        assert asked(door) == {"llama3.2": 1, "local-model": 1}


@pytest.mark.parametrize("failing", ["a", "b"])
async def test_s0_26_the_first_deployment_fails_and_the_second_answers(tmp_path, failing):
    async with open_door(tmp_path, config("a", "b")) as door:
        door.mock.script = says(**{failing: Step(status=500)})
        statuses = Counter([(await ask(door))[0] for _ in range(6)])
        assert statuses == {200: 6}
        assert json.loads((await ask(door))[2])["choices"]
