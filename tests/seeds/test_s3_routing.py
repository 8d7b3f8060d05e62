"""Seed 3: what `router_settings` promise, each with the service's own names."""

from __future__ import annotations

import json
import time

from penstock.mock import Rule, Script, Step, ThreadMock
from tests.door import open_door
from tests.seeds.las import run_code

ASK = {"model": "extraction-model", "messages": [{"role": "user", "content": "Test"}]}
TWO = """
model_list:
  - model_name: extraction-model
    litellm_params: {{model: ollama/llama3.2, api_base: "{first}"}}
  - model_name: extraction-model-openai
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{{mock}}/v1", api_key: k}}
router_settings: {settings}
"""


def text_of(body: bytes) -> str:
    return json.loads(body)["choices"][0]["message"]["content"]


async def test_s3_18_and_s3_37_ollama_is_down_and_openai_answers(tmp_path):
    with ThreadMock() as gone:
        first = gone.url
    settings = "{fallbacks: [{extraction-model: [extraction-model-openai]}], num_retries: 0, timeout: 60}"
    async with open_door(tmp_path, TWO.format(first=first, settings=settings)) as door:
        began = time.monotonic()
        status, _, body = await door.post(ASK)
        assert status == 200 and text_of(body) == "mock/echo: Test" and time.monotonic() - began < 10
        assert json.loads(body)["model"] == "extraction-model" and door.mock.received[-1].json["model"] == "gpt-4o-mini"


async def test_s3_20_it_is_tried_again_twice(tmp_path):
    async with open_door(tmp_path, TWO.format(first="{mock}", settings="{num_retries: 2}")) as door:
        door.mock.script = Script(queue=(Step(status=500), Step(status=500)))
        status, _, body = await door.post(ASK)
        assert status == 200 and text_of(body) == "mock/echo: Test" and len(door.mock.received) == 3


async def test_s3_21_a_slow_answer_is_given_up(tmp_path):
    async with open_door(tmp_path, TWO.format(first="{mock}", settings="{timeout: 0.5, num_retries: 0}")) as door:
        door.mock.script = Script.always(latency_ms=10_000)
        began = time.monotonic()
        status, _, body = await door.post(ASK)
        assert status in (408, 504) and 0.4 < time.monotonic() - began < 5, body


async def test_s3_22_who_fails_three_times_in_a_row_rests(tmp_path):
    group = TWO.replace("extraction-model-openai", "extraction-model")
    settings = "{allowed_fails: 3, num_retries: 2, routing_strategy: simple-shuffle}"
    with ThreadMock(Script.always(status=500)) as ill:
        async with open_door(tmp_path, group.format(first=ill.url, settings=settings)) as door:
            for _ in range(40):
                assert (await door.post(ASK))[0] == 200
            assert len(ill.received) == 3 and len(door.mock.received) == 40


async def test_s3_23_a_prompt_that_is_too_long_goes_to_another_model(tmp_path):
    settings = "{context_window_fallbacks: [{extraction-model: [extraction-model-openai]}], num_retries: 0}"
    config = TWO.format(first="{mock}", settings=settings).replace("ollama/llama3.2", "openai/gpt-4").replace('"{mock}"', '"{mock}/v1", api_key: k')
    long = {"message": "This model's maximum context length is 10 tokens.", "code": "context_length_exceeded"}
    async with open_door(tmp_path, config) as door:
        door.mock.script = Script(rules=(Rule(model="gpt-4", step=Step(status=400, error=long)),))
        status, _, body = await door.post(ASK)
        assert status == 200 and text_of(body) == "mock/echo: Test"
        assert [one.json["model"] for one in door.mock.received] == ["gpt-4", "gpt-4o-mini"]


def test_s3_05_a_file_of_variables_in_the_working_directory_counts(tmp_path):
    with ThreadMock() as mock:
        (tmp_path / ".env").write_text("GROQ_API_KEY=gsk_of_the_file\n")
        (tmp_path / "litellm_config.yaml").write_text(
            f"model_list:\n  - model_name: m\n    litellm_params: {{model: groq/x, api_base: '{mock.url}/v1', api_key: os.environ/GROQ_API_KEY}}\n"
        )
        ask = "from penstock.sdk import Client\nClient('litellm_config.yaml').completion('m', [{'role': 'user', 'content': 'x'}])"
        run_code(ask, mock.url, tmp_path)
        assert dict(mock.received[-1].headers)["authorization"] == "Bearer gsk_of_the_file"
        run_code(ask, mock.url, tmp_path, GROQ_API_KEY="gsk_of_the_environment")
        assert dict(mock.received[-1].headers)["authorization"] == "Bearer gsk_of_the_environment"
