"""``guided_json`` (seeds S0-10, S0-13, C-10): raw for vLLM, the dialect's own structured output for all others."""

from __future__ import annotations

import pytest

from tests.door import HELLO, open_door

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
YAML = """
model_list:
  - model_name: m
    litellm_params: {model: PROVIDER/real, api_base: "{mock}/v1", api_key: sk-upstream}
router_settings: {num_retries: 0}
"""


@pytest.mark.parametrize("text", [False, True])
async def test_other_providers_get_a_response_format(text, tmp_path):
    import json

    given = json.dumps(SCHEMA) if text else SCHEMA
    async with open_door(tmp_path, YAML.replace("PROVIDER", "openai")) as door:
        assert (await door.post({**HELLO, "guided_json": given}))[0] == 200
        sent = door.mock.received[-1].json
        assert "guided_json" not in sent and sent["response_format"]["type"] == "json_schema"
        assert sent["response_format"]["json_schema"]["schema"] == SCHEMA


async def test_the_clients_own_format_wins(tmp_path):
    async with open_door(tmp_path, YAML.replace("PROVIDER", "openai")) as door:
        await door.post({**HELLO, "guided_json": SCHEMA, "response_format": {"type": "json_object"}})
        assert door.mock.received[-1].json["response_format"] == {"type": "json_object"}


async def test_vllm_gets_it_raw(tmp_path):
    async with open_door(tmp_path, YAML.replace("PROVIDER", "hosted_vllm")) as door:
        await door.post({**HELLO, "guided_json": SCHEMA})
        sent = door.mock.received[-1].json
        assert sent["guided_json"] == SCHEMA and "response_format" not in sent


async def test_no_schema_is_a_clear_400(tmp_path):
    async with open_door(tmp_path) as door:
        status, _, body = await door.post({**HELLO, "guided_json": [1]})
        assert status == 400 and b"guided_json" in body and door.mock.received == []


async def test_responses_and_messages_clients_reach_a_chat_target_with_it(tmp_path):
    async with open_door(tmp_path) as door:
        await door.post({"model": "m", "input": "hi", "guided_json": SCHEMA}, "/v1/responses")
        await door.post({**HELLO, "max_tokens": 99, "guided_json": SCHEMA}, "/v1/messages")
        for received in door.mock.received[-2:]:
            assert received.json["response_format"]["json_schema"]["schema"] == SCHEMA
