"""A function of the operator's says who calls, in LiteLLM's form; one that is broken lets nobody in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.door import HELLO, Door
from tests.server.keyed import MASTER, key, open_keyed
from tests.server.test_limits import CONFIG
from tests.server.test_other_identity import put

CHAT = "/v1/chat/completions"
MODULE = """
import enum
from litellm.proxy._types import LitellmUserRoles, ProxyException, UserAPIKeyAuth

LOADED = []
LOADED.append(1)


async def user_api_key_auth(request, api_key: str):
    if api_key == "by header":
        return UserAPIKeyAuth(api_key=api_key, user_id=request.headers.get("X-Who"), rpm_limit=1)
    if api_key == "limited":
        return UserAPIKeyAuth(
            api_key="limited", key_alias="lim", models=["m"], rpm_limit_per_model={"m": 1}, team_id="t",
            team_rpm_limit=5, metadata={"tags": ["x"]}, end_user_id="e", max_budget=3.5,
        )
    if api_key == "boss":
        return UserAPIKeyAuth(api_key=api_key, user_id="b", user_role=LitellmUserRoles.PROXY_ADMIN)
    if api_key == "barred":
        return UserAPIKeyAuth(api_key=api_key, blocked=True)
    if api_key == "as a key":
        return "%s"
    if api_key == "dict":
        return {"api_key": api_key, "tpm_limit": 7}
    if api_key == "bad":
        return UserAPIKeyAuth(api_key=api_key, rpm_limit="many")
    if api_key == "told":
        assert request.method == "POST" and request.url.path == "/v1/chat/completions"
        assert str(request.url) == "http://" + request.headers["host"] + "/v1/chat/completions"
        assert (await request.json())["model"] == "m" and request.client.host == "127.0.0.1"
        return UserAPIKeyAuth(api_key=api_key)
    if api_key == "status":
        raise ProxyException(message="come later", type="x", param=None, code=402)
    if api_key == "nothing":
        return None
    raise Exception("no such caller: " + api_key)


def plainly(request, api_key):
    return {"api_key": api_key, "key_alias": "sync"}
"""


async def ask(door: Door, bearer: str, path: str = CHAT, **headers: str):
    status, head, answer = await door.post(HELLO, path, authorization=f"Bearer {bearer}", **headers)
    return status, head, json.loads(answer)


def give(door: Door, folder: Path, function: str = "user_api_key_auth", master: bool = True) -> None:
    (folder / "my_auth.py").write_text(MODULE % key("a"))
    named = f"master_key: {MASTER}, " if master else ""
    put(door, folder, f"{{{named}custom_auth: my_auth.{function}}}")


@pytest.mark.parametrize("master", [True, False])
async def test_whom_it_says_somebody_is(master: bool, tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"rpm_limit": 9}}}, CONFIG) as door:
        give(door, tmp_path, master=master)
        for bearer, status in [
            ("told", 200),
            ("dict", 429),
            ("boss", 200),
            ("as a key", 200),
            ("barred", 401),
            ("bad", 401),
            ("nothing", 401),
            ("status", 402),
            ("somebody", 401),
            (key("a"), 401),  # it replaces everything
            (MASTER, 401),
        ]:
            found, _, told = await ask(door, bearer)
            assert found == status, (bearer, told)
            if status not in (200, 429):
                assert bearer not in ("somebody", MASTER) or bearer not in told["error"]["message"]
        assert "come later" in (await ask(door, "status"))[2]["error"]["message"]
        assert (await door.post(HELLO, CHAT))[0] == 401
        assert door.mock.requests == 3


async def test_what_it_says_of_limits_holds(tmp_path) -> None:
    async with open_keyed(tmp_path, {"customer": {"e": {"rpm_limit": 7}}}, CONFIG) as door:
        give(door, tmp_path)
        status, head, _ = await ask(door, "limited")
        assert status == 200
        assert head["x-ratelimit-team-remaining-requests"] == "4" and head["x-litellm-key-max-budget"] == "3.5"
        assert head["x-ratelimit-end_user-remaining-requests"] == "6"
        status, _, told = await ask(door, "limited")
        assert status == 429 and "model_per_key" in told["error"]["message"]
        status, _, answer = await door.post({**HELLO, "model": "n"}, CHAT, authorization="Bearer limited")
        assert status == 403 and b"key_model_access_denied" in answer
        await door.settle()
        assert {record.key for record in door.records} == {"lim"}


async def test_headers_may_say_who_it_is(tmp_path) -> None:
    async with open_keyed(tmp_path, {}, CONFIG) as door:
        give(door, tmp_path)
        assert (await ask(door, "by header", **{"x-who": "u"}))[0] == 200
        assert (await ask(door, "by header", **{"x-who": "u"}))[0] == 429


@pytest.mark.parametrize("role", ["admin", "other"])
async def test_roles_hold(role: str, tmp_path) -> None:
    async with open_keyed(tmp_path, {}, CONFIG) as door:
        give(door, tmp_path)
        bearer = "boss" if role == "admin" else "told two"
        status, _, _ = await door.ask("GET", "/health?live=true", b"", {"authorization": f"Bearer {bearer}"})
        assert status == (200 if role == "admin" else 401)


async def test_a_plain_function_will_do(tmp_path) -> None:
    async with open_keyed(tmp_path, {}, CONFIG) as door:
        give(door, tmp_path, "plainly")
        assert (await ask(door, "anything"))[0] == 200


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("my_auth.gone", "has no 'gone'"),
        ("nowhere_at_all.f", "No module named"),
        ("noname", "write it as module.object"),
        ("broken.f", "a fault of the module's"),
    ],
)
@pytest.mark.parametrize("master", [True, False])
async def test_one_that_cannot_be_loaded_lets_nobody_in(name, text, master, tmp_path, caplog) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('a fault of the module\\'s')")
    (tmp_path / "my_auth.py").write_text("")
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG) as door:
        put(door, tmp_path, f"{{{f'master_key: {MASTER}, ' if master else ''}custom_auth: {name}}}")
        assert text in caplog.text
        for bearer in (key("a"), MASTER, "x"):
            assert (await ask(door, bearer))[0] == 503
        assert door.mock.requests == 0


async def test_it_is_loaded_once_and_leaves_no_modules_of_another_s(tmp_path) -> None:
    import sys

    async with open_keyed(tmp_path, {}, CONFIG) as door:
        give(door, tmp_path)
        first = door.gateway.gate.others
        assert "litellm" not in sys.modules and first is not None
        assert sys.modules["penstock_custom.my_auth"].LOADED == [1]


async def test_one_that_never_answers_is_given_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("penstock.runtime.custom_auth.PATIENCE", 0.05)
    (tmp_path / "slow.py").write_text("import asyncio\nasync def f(request, api_key):\n    await asyncio.sleep(60)\n")
    async with open_keyed(tmp_path, {}, CONFIG) as door:
        put(door, tmp_path, f"{{master_key: {MASTER}, custom_auth: slow.f}}")
        assert (await ask(door, "x"))[0] == 401
