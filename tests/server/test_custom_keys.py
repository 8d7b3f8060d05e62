"""Functions of the operator's own say which virtual keys there may be; one that is broken lets none pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.runtime import custom_keys
from penstock.runtime.custom_keys import open_hooks
from tests.server.managed import Managed, open_managed

MODULE = """
from litellm.proxy._types import GenerateKeyRequest, UpdateKeyRequest
from litellm.types.proxy.management_endpoints.key_management_endpoints import CustomKeyPolicyRequest

SEEN = []


async def new(data: GenerateKeyRequest) -> dict:
    SEEN.append(data.json())
    assert data.model_dump() == data.dict() == data.json() and data.nothing is None
    if data.json().get("team_id") is not None:
        return {"decision": True}
    return {"decision": False, "message": "This violates the rules. No team id provided."}


def change(data: UpdateKeyRequest):
    return {"decision": data.max_budget is None}


async def policy(asked: CustomKeyPolicyRequest):
    SEEN.append((asked.operation, asked.existing_key and asked.existing_key.key_alias, asked.effective_key.expires))
    assert asked.effective_key.digests is None and asked.request is not None
    return {"decision": asked.effective_key.key_alias != "bad", "message": f"{asked.operation}: not so"}


async def raises(data):
    error = Exception("for a reason of its own")
    error.status_code = 402
    raise error


async def says_nothing(data):
    return None


async def says_yes(data):
    return True


async def sleeps(data):
    import asyncio

    await asyncio.sleep(60)
"""


def give(managed: Managed, folder: Path, **names: str) -> list:
    (folder / "my_keys.py").write_text(MODULE)
    hooks = open_hooks({f"custom_key_{key}": f"my_keys.{name}" for key, name in names.items()}, folder)
    managed.door.gateway.key_hooks = hooks
    import sys

    assert "litellm.proxy._types" not in sys.modules
    return sys.modules["penstock_custom.my_keys"].SEEN


async def test_new_keys_are_checked(tmp_path) -> None:
    async with open_managed(tmp_path) as managed:
        await managed.put("team", "t", team_id="t")
        seen = give(managed, tmp_path, generate="new")
        status, message, _ = await managed.bad("/key/generate", {"key_alias": "a"})
        assert status == 403 and message == "This violates the rules. No team id provided."
        assert (await managed.good("/key/generate", {"key_alias": "a", "team_id": "t"}))["team_id"] == "t"
        assert (await managed.good("/key/service-account/generate", {"team_id": "t"}))["team_id"] == "t"
        assert [one.get("team_id") for one in seen] == [None, "t", "t"]
        # It is asked of new keys alone: LiteLLM's rule.
        key = (await managed.good("/key/generate", {"team_id": "t"}))["key"]
        await managed.good("/key/update", {"key": key, "max_budget": 5})


async def test_changes_are_checked_one_by_one(tmp_path) -> None:
    async with open_managed(tmp_path) as managed:
        keys = [await managed.key(name) for name in "ab"]
        give(managed, tmp_path, update="change")
        status, message, _ = await managed.bad("/key/update", {"key": keys[0], "max_budget": 5})
        assert status == 403 and message == custom_keys.REFUSED
        await managed.good("/key/update", {"key": keys[0], "models": ["m"]})
        told = await managed.good("/key/bulk_update", {"keys": [{"key": k, "max_budget": 5} for k in keys]})
        assert told["successful_updates"] == [] and len(told["failed_updates"]) == 2
        assert (await managed.good(f"/key/info?key={keys[0]}"))["info"]["max_budget"] is None
        await managed.key("c", max_budget=5)


async def test_a_policy_sees_what_a_key_would_be(tmp_path) -> None:
    async with open_managed(tmp_path) as managed:
        seen = give(managed, tmp_path, policy="policy")
        good = await managed.key("good", duration="1d")
        assert (await managed.bad("/key/generate", {"key_alias": "bad"}))[1] == "generate: not so"
        assert (await managed.bad("/key/update", {"key": good, "key_alias": "bad"}))[1] == "update: not so"
        assert (await managed.bad("/key/regenerate", {"key": good, "key_alias": "bad"}))[:2] == (
            403,
            "regenerate: not so",
        )
        await managed.good("/key/regenerate", {"key": good})
        assert [one[:2] for one in seen] == [
            ("generate", None), ("generate", None), ("update", "good"), ("regenerate", "good"), ("regenerate", "good"),
        ]  # fmt: skip
        assert seen[0][2] is not None and seen[1][2] is None


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("raises", 402, "for a reason of its own"),
        ("says_nothing", 403, custom_keys.REFUSED),
        ("sleeps", 403, "did not answer in time"),
        ("gone", 503, "the gateway's log says why"),
        ("SEEN", 503, "the gateway's log says why"),
        ("says_yes", 200, ""),
    ],
)
async def test_a_rule_that_is_broken_lets_nothing_pass(name, status, said, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(custom_keys, "PATIENCE", 0.05)
    async with open_managed(tmp_path) as managed:
        key = await managed.key("a")
        for kind, path, body in [
            ("generate", "/key/generate", {}),
            ("update", "/key/update", {"key": key, "models": ["m"]}),
            ("policy", "/key/regenerate", {"key": key}),
        ]:
            give(managed, tmp_path, **{kind: name})
            found, told = await managed.ask(path, body)
            assert found == status and said in str(told), told
