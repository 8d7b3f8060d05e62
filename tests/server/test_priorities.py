"""Shares of a model by priority, and keys that may exceed their pace while the model has no trouble."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.config import load
from penstock.mock import Script, Step
from penstock.runtime.review import review
from tests.door import HELLO, Door
from tests.served import open_service
from tests.server.keyed import MASTER, key, open_keyed

CHAT = "/v1/chat/completions"
CONFIG = """
model_list:
  - model_name: m
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret, rpm: 6, tpm: 100000}
  - model_name: m
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret, rpm: 4}
  - model_name: free
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret}
router_settings: {num_retries: 0, model_group_alias: {other: m}}
litellm_settings:
  callbacks: [dynamic_rate_limiter_v3]
  priority_reservation: {prod: 0.7, dev: {type: rpm, value: 1}}
  priority_reservation_settings: {default_priority: 0.2, saturation_threshold: %s}
"""
ROWS: dict[str, dict[str, dict[str, Any]]] = {
    "key": {
        "prod": {"metadata": {"priority": "prod"}},
        "prod2": {"metadata": {"priority": "dev"}, "team_id": "t"},
        "dev": {"metadata": {"priority": "dev"}},
        "none": {},
        "odd": {"metadata": {"priority": "gold\r\nx-injected: 1"}},
    },
    "team": {"t": {"metadata": {"priority": "prod"}}},
}


async def ask(door: Door, who: str, model: str = "m", **more: Any) -> tuple[int, dict[str, str], str]:
    bearer = MASTER if who == "master" else key(who)
    status, head, answer = await door.post({**HELLO, "model": model, **more}, CHAT, authorization=f"Bearer {bearer}")
    return status, head, json.loads(answer).get("error", {}).get("message", "")


async def test_each_priority_has_its_share_and_none_takes_anothers(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG % "0") as door:
        status, head, _ = await ask(door, "dev")
        assert status == 200 and head["x-litellm-priority"] == "dev" and head["x-litellm-rate-limiter-version"] == "v3"
        assert head["x-ratelimit-priority_model-limit-requests"] == "1"
        assert head["x-ratelimit-model_saturation_check-remaining-requests"] == "9"
        status, head, text = await ask(door, "dev")
        assert status == 429 and text == (
            "Priority-based rate limit exceeded. Model: m, Priority: dev, Rate limit type: requests, "
            "Model TPM: 100000, Model RPM: 10, Remaining: 0, Model saturation: 10.0%"
        )
        assert head["rate_limit_type"] == "requests" and 1 <= int(head["retry-after"]) <= 61
        assert head["x-litellm-priority"] == "dev"
        # Who has no priority, or one that nothing is reserved for, has a share with all others like him.
        assert [(await ask(door, who))[0] for who in ("none", "odd", "master", "none")] == [200, 200, 429, 429]
        status, head, _ = await ask(door, "odd")
        assert status == 429 and head["x-litellm-priority"] == "gold??x-injected: 1" and "x-injected" not in head
        # The team's priority goes before the key's own, and another name of the group is the same group.
        for count in range(8):
            status, _, _ = await ask(door, "prod" if count % 2 else "prod2", "other" if count > 3 else "m")
            assert status == (200 if count < 7 else 429)
        status, _, text = await ask(door, "prod")
        assert status == 429 and text.startswith("Model capacity reached for m. Priority: prod, Rate limit type: req")
        assert (await ask(door, "dev", "free"))[0] == 200, "of what nobody said a capacity for nothing is reserved"
        assert door.mock.requests == 11


async def test_below_the_threshold_anybody_may_have_more(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG % "0.5") as door:
        for count in range(5):
            status, head, _ = await ask(door, "dev")
            assert status == 200 and head["x-ratelimit-remaining-requests"] == str(9 - count)
            assert "x-ratelimit-priority_model-limit-requests" not in head
        assert (await ask(door, "dev"))[0] == 429
        assert [(await ask(door, "prod"))[0] for _ in range(6)] == [200] * 5 + [429]


async def test_a_request_that_is_larger_than_a_share_is_told_so(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG % "0") as door:
        status, head, text = await ask(door, "none", max_tokens=30_000)
        assert status == 429 and head["rate_limit_type"] == "tokens" and "Priority: default" in text
        assert "This request alone may use 300" in text
        assert (await ask(door, "prod", max_tokens=30_000))[0] == 200


async def test_a_config_without_reservations_keeps_its_models_within_their_capacity(tmp_path) -> None:
    yaml = CONFIG.partition("  priority_reservation")[0]
    async with open_keyed(tmp_path, ROWS, yaml) as door:
        assert [(await ask(door, "none"))[0] for _ in range(11)] == [200] * 10 + [429]
    async with open_keyed(
        tmp_path, ROWS, yaml.replace("  callbacks: [dynamic_rate_limiter_v3]", "  cache: false")
    ) as door:
        found = [await ask(door, "none") for _ in range(11)]
        assert [status for status, _, _ in found] == [200] * 11 and "x-litellm-priority" not in found[0][1]


async def test_a_gateway_without_keys_keeps_its_models_within_their_capacity_too(tmp_path) -> None:
    async with open_service(tmp_path, CONFIG % "0") as door:
        assert door.gateway.keyring is None and door.gateway.engine.admission is not None
        found = [await door.post({**HELLO, "model": "m"}, CHAT) for _ in range(3)]
        assert [status for status, _, _ in found] == [200, 200, 429]
        assert found[0][1]["x-litellm-priority"] == "default"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("{priority_reservation: {a: 2}}", "priority_reservation: 'a' is left out: a share is a number from 0 to 1"),
        ("{priority_reservation: {a: {type: rps, value: 2}}}", "priority_reservation: 'a' is left out"),
        ("{priority_reservation: {a: 0.8, b: 0.9}}", "the shares are 1.7 together, and are cut to 1"),
        (
            "{priority_reservation: {a: 0.9}, priority_reservation_settings: {default_priority: 0.5}}",
            "default_priority: is 0.5, and 0.1 is left",
        ),
        ("{priority_reservation_settings: {default_priority: 0.5}}", "priority_reservation_settings: has no effect without priority_reservation"),
        (
            "{priority_reservation: {a: 0.9}, priority_reservation_settings: {saturation_threshold: 50}}",
            "saturation_threshold: must be a number from 0 to 1, and counts as absent; got 50",
        ),
        ("{tag_budget_config: {x: {max_budget: much}}}", "tag_budget_config: 'x': max_budget is no amount of US dollars; until then the tag may spend nothing; got 'much'"),
        ("{tag_budget_config: {x: 5}}", "tag_budget_config: 'x' must be as {max_budget: 10, budget_duration: 1d}"),
        (
            "{tag_budget_config: {x: {max_budget: 5, budget_duration: often}}}",
            "'x': budget_duration is not a number and a unit",
        ),
        ("{default_soft_budget: 5, default_max_internal_user_budget: 3}", ""),
        ("{callbacks: [dynamic_rate_limiter_v3], priority_reservation: {a: 0.9}}", ""),
    ],
)
async def test_the_check_tells_what_cannot_be_used(tmp_path, settings: str, says: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"model_list: []\nlitellm_settings: {settings}\n")
    loaded = load(path, {})
    found = [str(one) for one in (*loaded.problems, *review(loaded.config, {})) if "litellm_settings" in str(one)]
    assert len(found) == (1 if says else 0), found
    if says:
        assert found[0].startswith(f"{path}:2: litellm_settings.") and says in found[0].replace("warning: ", "")


DYNAMIC = {"key": {"a": {"rpm_limit": 2, "metadata": {"rpm_limit_type": "dynamic"}}, "b": {"rpm_limit": 2}}}


async def test_a_dynamic_pace_holds_once_the_model_has_trouble(tmp_path) -> None:
    async with open_keyed(tmp_path, DYNAMIC, CONFIG.partition("litellm_settings")[0]) as door:
        found = [await ask(door, "a", "free") for _ in range(5)]
        assert [status for status, _, _ in found] == [200] * 5
        assert "x-ratelimit-api_key-limit-requests" not in found[0][1]
        assert [(await ask(door, "b", "free"))[0] for _ in range(3)] == [200, 200, 429], "others keep theirs"
        door.mock.script = Script.always(status=429)
        assert [(await ask(door, "a", "free"))[0] for _ in range(2)] == [429, 429]
        asked = door.mock.requests
        status, head, text = await ask(door, "a", "free")
        assert status == 429 and text.startswith("Rate limit exceeded for api_key") and door.mock.requests == asked
        assert head["x-ratelimit-api_key-limit-requests"] == "2"
        door.mock.script = Script(default=Step())
        assert (await ask(door, "a"))[0] == 200, "another model has no trouble"
