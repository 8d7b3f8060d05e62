"""``/guardrails/list`` and ``/guardrails/apply_guardrail``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.guards.serving import entry, guarded
from tests.served import MASTER

SECRET = "sk-of-the-guard-0x551"


async def ask(door, method: str, path: str, body: Any = None, key: str = MASTER) -> tuple[int, Any]:
    data = b"" if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {key}", "content-length": str(len(data))}
    headers |= {"content-type": "application/json"} if data else {}
    status, _, answer = await door.ask(method, path, data, headers)
    return status, json.loads(answer)


async def test_guards_are_listed_without_their_secrets(tmp_path: Path) -> None:
    info = {"params": [{"name": "language", "type": "string"}]}
    entries = (
        entry("keys", "hide-secrets", ["pre_call", "post_call"], api_key=SECRET) | {"guardrail_info": info},
        entry("words", "banned_words", on_error="allow", banned_words=["tulip"]),
    )
    async with guarded(tmp_path, *entries) as door:
        for path in ("/guardrails/list", "/v2/guardrails/list"):
            status, told = await ask(door, "GET", path)
            assert status == 200 and SECRET not in json.dumps(told)
            keys, words = told["guardrails"]
            assert keys["guardrail_name"] == "keys" and keys["guardrail_info"] == info and keys["usable"]
            assert keys["litellm_params"]["mode"] == ["pre_call", "post_call"]
            assert words["litellm_params"] | {"timeout": 0} == {
                "guardrail": "banned_words", "mode": "pre_call", "default_on": True, "on_error": "allow", "timeout": 0,
            }  # fmt: skip
            file, _, line = words["where"].partition(":")
            assert file.endswith(".yaml") and "/" not in file and int(line) > 0


async def test_a_guard_judges_a_text(tmp_path: Path) -> None:
    entries = (
        entry("words", "banned_words", banned_words=["tulip"]),
        entry("hides", "banned_words", banned_words=["tulip"], action="mask"),
    )
    async with guarded(tmp_path, *entries) as door:

        async def judge(name: str, text: str) -> tuple[int, Any]:
            return await ask(
                door, "POST", "/guardrails/apply_guardrail", {"guardrail_name": name, "text": text, "language": "en"}
            )

        assert await judge("words", "a rose") == (200, {"response_text": "a rose", "verdict": "passed", "kinds": {}})
        status, told = await judge("words", "a tulip")
        assert status == 400 and "BANNED_WORD" in told["error"]["message"] and "tulip" not in told["error"]["message"]
        status, told = await judge("hides", "a tulip and a tulip")
        assert status == 200 and "tulip" not in told["response_text"] and told["response_text"].startswith("a [")
        assert told["verdict"] == "masked" and told["kinds"] == {"BANNED_WORD": 2}
        status, told = await judge("nobody", "a tulip")
        assert status == 400 and "GET /guardrails/list" in told["error"]["message"]
        assert (await ask(door, "POST", "/guardrails/apply_guardrail", {"text": 7}))[0] == 400
        assert door.mock.requests == 0
        assert (await ask(door, "GET", "/guardrails/list", key="sk-wrong"))[0] == 401


async def test_a_guard_that_cannot_judge_says_so(tmp_path: Path, fakes: Any) -> None:
    for kind, more in (("raising", {}), ("hanging", {"timeout": 0.05}), ("nonsense", {"returns": 7})):
        async with guarded(tmp_path, entry("bad", kind, **more)) as door:
            body = {"guardrail_name": "bad", "text": "a rose"}
            status, told = await ask(door, "POST", "/guardrails/apply_guardrail", body)
            assert status == 500 and "could not judge" in told["error"]["message"], kind


async def test_a_gateway_without_guards_lists_none(tmp_path: Path) -> None:
    async with guarded(tmp_path) as door:
        assert await ask(door, "GET", "/guardrails/list") == (200, {"guardrails": []})
