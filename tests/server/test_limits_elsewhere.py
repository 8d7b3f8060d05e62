"""Limits in one model: who is over one goes to the fallbacks, unless the config says otherwise; and keys that have none
have the deployment's."""

from __future__ import annotations

import pytest

from penstock.core.admit.rates import OF_MODEL
from tests.door import HELLO
from tests.server.keyed import open_keyed
from tests.server.test_limits import HOLDERS, chat
from tests.server.test_routing import asked

ROW = """
  - model_name: NAME
    litellm_params: {model: openai/NAME, api_base: "{mock}/v1", api_key: sk-upstream-secret}"""
CONFIG = (
    "model_list:"
    + "".join(ROW.replace("NAME", name) for name in ("m", "n", "o"))
    + "\nrouter_settings: {num_retries: 0, fallbacks: [{m: [n, o]}]}\ngeneral_settings: {SETTINGS}\n"
)
STAYS = "disable_fallbacks_on_per_model_rate_limits: true"
IN_ONE = {kind: rows for kind, rows in HOLDERS.items() if kind.startswith(OF_MODEL)}


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("kind", HOLDERS)
async def test_who_is_over_a_limit_in_one_model_goes_to_its_fallbacks(tmp_path, kind, stays):
    async with open_keyed(tmp_path, HOLDERS[kind], CONFIG.replace("SETTINGS", STAYS if stays else "")) as door:
        for _ in range(2):
            assert (await chat(door, "a", {**HELLO, "user": "c"}))[0] == 200
        assert asked(door) == {"m": 2}
        status, head, told = await chat(door, "a", {**HELLO, "user": "c"})
        if kind in IN_ONE and not stays:
            assert status == 200 and told["model"] == "m" and asked(door) == {"n": 1}
            assert "rate_limit_type" not in head, "it is over no limit where it went"
        else:
            assert status == 429 and kind in told["error"]["message"] and asked(door) == {}


@pytest.mark.parametrize("limit", ["model_rpm_limit", "model_tpm_limit"])
async def test_a_fallback_has_limits_of_its_own(tmp_path, limit):
    most = {"m": 1, "n": 1} if limit == "model_rpm_limit" else {"m": 40, "n": 40}
    rows = {"key": {"a": {limit: most}}}
    async with open_keyed(tmp_path, rows, CONFIG.replace("SETTINGS", "")) as door:
        body = {**HELLO, "max_tokens": 30}
        assert [(await chat(door, "a", body))[0] for _ in range(4)] == [200] * 4
        assert asked(door) == {"m": 1, "n": 1, "o": 2}
    rows["key"]["a"][limit] = {**most, "o": most["m"]}
    async with open_keyed(tmp_path, rows, CONFIG.replace("SETTINGS", "")) as door:
        answers = [await chat(door, "a", body) for _ in range(4)]
        assert [status for status, _, _ in answers] == [200, 200, 200, 429]
        _, head, told = answers[-1]
        assert ":m." in told["error"]["message"] and int(head["retry-after"]) >= 1, "the error is the first model's"
        assert (await chat(door, "a", {**body, "disable_fallbacks": True}))[0] == 429


async def test_only_who_may_call_a_fallback_goes_there_where_the_config_says_so(tmp_path):
    rows = {"key": {"a": {"model_rpm_limit": {"m": 1}, "models": ["m", "o"]}}}
    async with open_keyed(tmp_path, rows, CONFIG.replace("SETTINGS", "enforce_fallback_model_access: true")) as door:
        assert [(await chat(door, "a"))[0] for _ in range(2)] == [200, 200]
        assert asked(door) == {"m": 1, "o": 1}


@pytest.mark.parametrize(
    ("said", "statuses"),
    [("default_api_key_rpm_limit: 2", [200, 200, 429]), ("default_api_key_tpm_limit: 40", [200, 429, 429]), ("rpm: 9", [200] * 3)],
)  # fmt: skip
async def test_a_key_without_a_limit_in_a_model_has_that_of_its_deployment(tmp_path, said, statuses):
    rows = {"key": {"a": {}, "own": {"model_rpm_limit": {"m": 3}}, "b": {}}}
    text = CONFIG.replace("SETTINGS", STAYS).replace(
        "api_key: sk-upstream-secret}", f"api_key: sk-upstream-secret, {said}}}", 1
    )
    async with open_keyed(tmp_path, rows, text) as door:
        body = {**HELLO, "max_tokens": 30}
        for alias in ("a", "b"):
            answers = [await chat(door, alias, body) for _ in range(3)]
            assert [status for status, _, _ in answers] == statuses
        assert [(await chat(door, "own", body))[0] for _ in range(4)] == [200, 200, 200, 429]
        assert (await chat(door, "a", {**body, "model": "n"}))[0] == 200
