"""Limits on WebSockets: a session is one request, and so is each response of a socket."""

from __future__ import annotations

import pytest
from websockets.exceptions import InvalidStatus

from tests.server.keyed import id_of, key, open_keyed
from tests.server.test_responses_sockets import YAML, ask
from tests.server.test_sockets import dial

REALTIME = """
model_list:
  - model_name: voice
    litellm_params: {model: openai/gpt-realtime, api_base: "{mock}/v1", api_key: sk-upstream-secret}
router_settings: {num_retries: 0}
"""


@pytest.mark.parametrize("body", [{"max_parallel_requests": 0}, {"rpm_limit": 0}, {"models": ["other"]}])
async def test_a_session_is_refused_before_the_upgrade(body, tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": body}}, REALTIME) as door:
        with pytest.raises(InvalidStatus) as refused:
            async with dial(door, key=key("a")):
                pass
        assert refused.value.response.status_code == (403 if "models" in body else 429)
        assert door.mock.requests == 0


async def test_a_session_has_its_place_as_long_as_it_lasts(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"max_parallel_requests": 1}}}, REALTIME) as door:
        async with dial(door, key=key("a")):
            with pytest.raises(InvalidStatus):
                async with dial(door, key=key("a")):
                    pass
        await door.settle()
        async with dial(door, key=key("a")):
            pass


async def test_each_response_of_a_socket_counts(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"rpm_limit": 2, "models": ["gpt"]}}}, YAML) as door:
        async with dial(door, "/v1/responses", key=key("a")) as client:
            told = await ask(client, model="claude", store=False, input="hi")
            assert told[-1]["type"] == "error" and told[-1]["status"] == 403
            for _ in range(2):
                told = await ask(client, model="gpt", store=False, input="hi")
                assert told[-1]["type"] == "response.completed"
            told = await ask(client, model="gpt", store=False, input="hi")
            assert told[-1]["type"] == "error" and told[-1]["status"] == 429
        await door.settle()
        admission = door.gateway.engine.admission
        assert admission is not None
        assert admission.rates._meters[f"key:{id_of('a')}"].parallel == 0
