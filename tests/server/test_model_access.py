"""Which models a caller may call and see: lists, patterns, access groups, aliases, and what stands behind a fallback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.mock import Script, Step
from penstock.stores.base import Changes, Row
from tests.door import HELLO, Door
from tests.server.keyed import MASTER, key, open_keyed

CONFIG = """
model_list:
  - model_name: small
    litellm_params: {model: openai/small, api_base: "{mock}/v1", api_key: sk-u}
    model_info: {access_groups: [cheap]}
  - model_name: large
    litellm_params: {model: openai/large, api_base: "{mock}/v1", api_key: sk-u}
  - model_name: openai/*
    litellm_params: {model: openai/*, api_base: "{mock}/v1", api_key: sk-u}
router_settings: {num_retries: 0, fallbacks: [{small: [large]}]}
"""
CHAT = "/v1/chat/completions"
ROWS: dict[str, dict[str, dict[str, Any]]] = {
    "key": {
        "all": {},
        "listed": {"models": ["small"]},
        "star": {"models": ["openai/gpt-*"]},
        "group": {"models": ["cheap"]},
        "stored": {"models": ["mine"]},
        "by id": {"models": ["nothing"], "access_group_ids": ["g1"]},
        "none": {"models": ["no-default-models"]},
        "every": {"models": ["all-proxy-models"]},
        "of team": {"models": ["all-team-models"], "team_id": "t"},
        "in team": {"models": ["large", "small"], "team_id": "t"},
        "called": {"aliases": {"gpt": "small", "big": "large"}, "models": ["small"]},
        "behind": {"models": ["openai/gpt-5"]},
    },
    "team": {"t": {"models": ["small"]}},
    "access_group": {"g1": {"access_group_name": "mine", "access_model_names": ["large", "openai/o*"]}},
}
MAY: dict[str, set[str]] = {
    "all": {"small", "large", "openai/gpt-5", "openai/o3"},
    "listed": {"small"},
    "star": {"openai/gpt-5"},
    "group": {"small"},
    "stored": {"large", "openai/o3"},
    "by id": {"large", "openai/o3"},
    "none": set(),
    "every": {"small", "large", "openai/gpt-5", "openai/o3"},
    "of team": {"small"},
    "in team": {"small"},
    "called": {"small", "gpt"},
    "behind": {"openai/gpt-5"},
}
LISTED: dict[str, list[str]] = {
    "all": ["small", "large", "openai/*"],
    "listed": ["small"],
    "star": [],
    "group": ["small"],
    "stored": ["large"],
    "by id": ["large"],
    "none": [],
    "every": ["small", "large", "openai/*"],
    "of team": ["small"],
    "in team": ["small"],
    "called": ["small"],
    "behind": ["openai/gpt-5"],
}


def auth(alias: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key(alias)}"}


async def ask(door: Door, alias: str, model: str, **more: Any) -> tuple[int, Any]:
    status, _, answer = await door.post({**HELLO, "model": model, **more}, CHAT, **auth(alias))
    return status, json.loads(answer)


@pytest.mark.parametrize("alias", MAY)
async def test_a_key_calls_what_it_may_and_nothing_else(alias: str, tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:
        for model in ("small", "large", "openai/gpt-5", "openai/o3", "gpt", "big"):
            asked = door.mock.requests
            status, told = await ask(door, alias, model)
            if model in MAY[alias]:
                assert status == 200 and told["model"] == model, (model, told)
            elif model in ("gpt", "big") and "called" != alias and MAY[alias] >= {"small", "large"}:
                assert status == 400, "there is no such model, and this key may know it"
            else:
                team = alias == "in team" and model == "large"
                assert status == 403 and told["error"]["param"] == "model", (model, told)
                assert told["error"]["type"] == f"{'team' if team else 'key'}_model_access_denied"[:40] or alias in (
                    "of team",
                )
                assert door.mock.requests == asked


@pytest.mark.parametrize("alias", LISTED)
async def test_a_key_sees_what_it_may_call(alias: str, tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:

        async def get(path: str, **headers: str) -> Any:
            status, _, answer = await door.ask("GET", path, b"", {**auth(alias), **headers})
            return json.loads(answer) if status == 200 else status

        told = await get("/v1/models")
        assert [one["id"] for one in told["data"]] == LISTED[alias]
        plain = [name for name in LISTED[alias] if "*" not in name]
        told = await get("/v1/models", **{"anthropic-version": "2023-06-01"})
        assert [one["id"] for one in told["data"]] == plain
        assert [one["name"] for one in (await get("/v1beta/models"))["models"]] == [f"models/{name}" for name in plain]
        assert [one["name"].removesuffix(":latest") for one in (await get("/api/tags"))["models"]] == plain
        shown = {name for name in LISTED[alias] if name in ("small", "large", "openai/*")}
        for path in ("/model/info", "/v1/capabilities", "/model_group/info"):
            rows = (await get(path))["data"]
            assert {row.get("model_name") or row.get("id") or row["model_group"] for row in rows} == shown, path
        told = await get("/health")
        assert told["healthy_count"] + told["unhealthy_count"] == len(shown)
        for name in ("small", "large"):
            assert (await get(f"/v1/models/{name}") == 404) == (name not in MAY[alias])


async def test_access_groups_are_listed_for_who_asks(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:

        async def names(alias: str, query: str) -> list[str]:
            _, _, answer = await door.ask("GET", f"/v1/models?{query}", b"", auth(alias))
            return [one["id"] for one in json.loads(answer)["data"]]

        assert await names("all", "only_model_access_groups=true") == ["cheap", "mine"]
        assert await names("group", "include_model_access_groups=true") == ["small", "cheap"]
        assert await names("group", "only_model_access_groups=true") == ["cheap"]


async def test_a_group_that_changes_holds_for_the_next_call(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:
        assert (await ask(door, "stored", "small"))[0] == 403
        body = {"access_group_name": "mine", "access_model_names": ["small"]}
        ring = door.gateway.keyring
        assert ring is not None
        ring.take(Changes(2, (Row("access_group", "g1", json.dumps(body).encode(), 2),)))
        assert (await ask(door, "stored", "small"))[0] == 200 and (await ask(door, "stored", "large"))[0] == 403


# Fallbacks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("enforced", "status"), [(False, 200), (True, 500)])
async def test_fallbacks_of_the_config_are_for_all_unless_it_says_otherwise(enforced, status, tmp_path) -> None:
    yaml = CONFIG + f"general_settings: {{enforce_fallback_model_access: {str(enforced).lower()}}}\n"
    async with open_keyed(tmp_path, ROWS, yaml) as door:
        door.mock.script = Script(queue=(Step(status=500),))
        told, answer = await ask(door, "listed", "small")
        assert told == status and door.mock.requests == (1 if enforced else 2), answer
        door.mock.script = Script(queue=(Step(status=500),))
        assert (await ask(door, "every", "small"))[0] == 200, "who may call it falls back as ever"


async def test_a_fallback_that_a_request_names_must_be_one_that_it_may_call(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:
        for fallback in ("large", {"model": "large", "temperature": 0}):
            status, told = await ask(door, "listed", "small", fallbacks=[fallback])
            assert status == 403 and "'large' is not available" in told["error"]["message"]
        assert door.mock.requests == 0


async def test_the_master_key_may_all(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:
        for model in ("small", "large", "openai/o3"):
            status, _, _ = await door.post({**HELLO, "model": model}, CHAT, authorization=f"Bearer {MASTER}")
            assert status == 200


async def test_what_a_blocked_key_is_told_of_health_is_what_strangers_are(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"blocked": True}, "b": {}}}, CONFIG) as door:
        shown = {
            alias: "healthy_count" in json.loads((await door.ask("GET", "/health", b"", auth(alias)))[2])
            for alias in "ab"
        }
        assert shown == {"a": False, "b": True}


async def test_where_a_call_would_go_is_told_to_who_may_make_it(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:
        for model, status in (("small", 200), ("large", 403)):
            assert (await door.ask("GET", f"/v1/route/explain?model={model}", b"", auth("listed")))[0] == status
