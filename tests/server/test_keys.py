"""Virtual keys over HTTP, as LiteLLM's clients make, change, look at, rotate and delete them."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from penstock.admin import keyforms, keyrows
from penstock.core.admit.periods import text_of, time_of
from tests.door import HELLO
from tests.server.managed import YAML, Managed, open_managed


async def chat(managed: Managed, key: str, model: str = "m") -> int:
    return (await managed.ask("/v1/chat/completions", {**HELLO, "model": model}, key))[0]


async def test_a_key_is_made_shown_once_and_opens(tmp_path):
    async with open_managed(tmp_path) as managed:
        made = await managed.good("/key/generate", {"models": ["m"], "duration": "30d", "metadata": {"a": 1}})
        key = made["key"]
        assert key.startswith("sk-") and len(key) == 25 and made["key_name"] == f"sk-...{key[-4:]}"
        assert made["token"] == made["token_id"] == managed.desk.keyring.id_of(key) and "digests" not in made
        assert made["models"] == ["m"] and made["metadata"] == {"a": 1} and made["spend"] == 0
        assert made["created_by"] == "master" and made["team_id"] is None and "warnings" not in made
        assert abs(time_of(made["expires"]) - time.time() - 30 * 86400) < 60
        assert await chat(managed, key) == 200
        for named in (key, made["token_id"]):
            info = await managed.good(f"/key/info?key={named}")
            assert info["key"] == named and "token" not in info["info"] and info["info"]["status"] == "active"
            assert key not in json.dumps(info["info"])
        assert key not in (await managed.desk.row("key", made["token_id"])).body.decode()
        own = await managed.good("/key/info", key=key)
        assert own["info"]["models"] == ["m"] and own["info"]["expires"] == made["expires"]


EVERY: dict[str, Any] = {
    "key_alias": "every",
    "models": ["m"],
    "max_budget": 5,
    "soft_budget": 2.5,
    "budget_duration": "30d",
    "budget_limits": [{"budget_duration": "1d", "max_budget": 1}],
    "model_max_budget": {"m": {"budget_limit": 1, "time_period": "1d"}},
    "budget_fallbacks": {"m": ["n"]},
    "max_parallel_requests": 3,
    "tpm_limit": 100,
    "rpm_limit": 10,
    "tpd_limit": 1000,
    "aliases": {"x": "m"},
    "config": {"c": 1},
    "permissions": {"p": True},
    "allowed_cache_controls": ["no-cache"],
    "blocked": False,
    "object_permission": {"mcp_servers": ["s"]},
    "duration": "1mo",
    "user_id": "u",
    "agent_id": "a",
    "project_id": "p",
    "allowed_routes": ["llm_api_routes"],
    "allowed_ips": ["10.0.0.0/8"],
    "access_group_ids": ["g"],
    "router_settings": {"num_retries": 1},
    "auto_rotate": True,
    "rotation_interval": "30d",
}
IN_METADATA: dict[str, Any] = {
    "model_rpm_limit": {"m": 1},
    "model_tpm_limit": {"m": 2},
    "mcp_rpm_limit": {"s": 1},
    "tag_rpm_limit": {"g": 1},
    "guardrails": ["g"],
    "policies": ["p"],
    "prompts": ["q"],
    "tags": ["t"],
    "end_user_budget_id": "b",
    "allowed_passthrough_routes": ["/x"],
    "denied_passthrough_routes": ["/y"],
    "allowed_vector_store_indexes": [{"index_name": "i"}],
    "rpm_limit_type": "dynamic",
    "tpm_limit_type": "best_effort_throughput",
    "default_estimated_output_tokens": 7,
    "default_estimated_output_tokens_per_model": {"m": 7},
    "disable_global_guardrails": True,
    "enable_prompt_caching": True,
    "throttle_on_budget_exceeded": False,
    "enforced_params": ["user"],
}


async def test_every_field_is_kept_and_given_back(tmp_path):
    fields = set(keyforms.NewKey.__struct_fields__)
    assert fields - EVERY.keys() - IN_METADATA.keys() - {"team_id", "organization_id"} == {
        *("key", "send_invite_email", "spend", "metadata", "expires", "key_type", "budget_id")
    }
    async with open_managed(tmp_path) as managed:
        made = await managed.good("/key/generate", {**EVERY, **IN_METADATA, "metadata": {"own": 1}})
        info = (await managed.good(f"/key/info?key={made['token']}"))["info"]
        for name, value in EVERY.items():
            if name != "duration":
                assert made[name] == info[name] == value, name
        assert info["metadata"] == {"own": 1, **IN_METADATA} and {k: made[k] for k in IN_METADATA} == IN_METADATA
        assert info["key_rotation_at"] and made["warnings"][0].startswith("auto_rotate")
        # What is sent again is what changes; null takes away.
        none = dict.fromkeys([*EVERY.keys() - {"key_alias", "duration"}, *IN_METADATA], None)
        told = await managed.good("/key/update", {"key": made["key"], **none, "duration": "-1"})
        assert told["key"] == made["key"] and told["key_alias"] == "every" and told["metadata"] == {"own": 1}
        blank = {**keyrows._BLANK, "expires": None}
        for name in EVERY.keys() - {"key_alias", "duration"}:
            assert told.get(name) == blank.get(name), name
        assert told["expires"] is None


async def test_what_is_not_sent_stays(tmp_path):
    async with open_managed(tmp_path) as managed:
        made = await managed.good("/key/generate", {**EVERY, **IN_METADATA})
        before = (await managed.good(f"/key/info?key={made['token']}"))["info"]
        await managed.good("/key/update", {"key": made["token"], "max_budget": 7, "tags": ["other"]})
        after = (await managed.good(f"/key/info?key={made['token']}"))["info"]
        assert after["max_budget"] == 7 and after["metadata"] == {**before["metadata"], "tags": ["other"]}
        moving = {"max_budget", "metadata", "updated_at"}
        assert {k: v for k, v in after.items() if k not in moving} == {
            k: v for k, v in before.items() if k not in moving
        }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"max_budget": -1}, "max_budget"),
        ({"max_budget": "many"}, "max_budget"),
        ({"soft_budget": 10**9}, "soft_budget"),
        ({"rpm_limit": 1.5}, "rpm_limit"),
        ({"tpm_limit": -3}, "tpm_limit"),
        ({"max_parallel_requests": "x"}, "max_parallel_requests"),
        ({"budget_duration": "30 days", "max_budget": 1}, "budget_duration"),
        ({"budget_limits": [{"max_budget": "x"}]}, "budget_limits"),
        ({"model_max_budget": {"m": "x"}}, "model_max_budget"),
        ({"duration": "soon"}, "duration"),
        ({"duration": "200y"}, "duration"),
        ({"expires": "soon"}, "expires"),
        ({"models": "m"}, "models"),
        ({"models": [1]}, "models[0]"),
        ({"blocked": "maybe"}, "blocked"),
        ({"metadata": [1]}, "metadata"),
        ({"aliases": {"a": 1}}, "aliases"),
        ({"key_type": "root"}, "key_type"),
        ({"rpm_limit_type": "fast"}, "rpm_limit_type"),
        ({"allowed_ips": ["10.0.0.300"]}, "allowed_ips"),
        ({"budget_id": "none"}, "budget_id"),
        ({"team_id": "none"}, "team_id"),
        ({"organization_id": "none"}, "organization_id"),
        ({"auto_rotate": True}, "rotation_interval"),
        ({"auto_rotate": True, "rotation_interval": "often"}, "rotation_interval"),
        ({"key": "sk-short"}, "key"),
        ({"key": "no-prefix-1234567890"}, "key"),
        ({"key": "sk-with a space-1234567"}, "key"),
        ({"key": "sk-" + "x" * 2000}, "key"),
        ({"key_alias": "a\nb"}, "key_alias"),
        ({"key_alias": "../a"}, "key_alias"),
        ({"spend": -1}, "spend"),
    ],
)
async def test_what_cannot_be_is_told_with_its_name(tmp_path, body, param):
    async with open_managed(tmp_path) as managed:
        status, text, named = await managed.bad("/key/generate", body)
        assert status in (400, 422) and named == param, text
        assert param.partition("[")[0] in text.replace("Team ID", "team_id")
        assert str(body.get("key")) not in text
        assert (await managed.desk.find("key")).total == 0
        made = await managed.good("/key/generate", {})
        if "key" not in body:
            status, _, named = await managed.bad("/key/update", {"key": made["key"], **body})
            assert status in (400, 422) and named == param


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
async def test_a_body_that_is_none_is_a_400(tmp_path, body):
    async with open_managed(tmp_path) as managed:
        assert (await managed.bad("/key/generate", body))[0] == 400


async def test_a_name_that_is_nearly_one_is_told_and_another_is_ignored(tmp_path):
    async with open_managed(tmp_path) as managed:
        made = await managed.good("/key/generate", {"max_budgets": 1, "something_else": 2})
        assert made["warnings"] == ["'max_budgets' is ignored: did you mean 'max_budget'?"]
        assert "something_else" not in made and made["max_budget"] is None


async def test_a_key_of_ones_own_choice(tmp_path):
    async with open_managed(tmp_path) as managed:
        made = await managed.good("/key/generate", {"key": "sk-chosen-0123456789"})
        assert made["key"] == "sk-chosen-0123456789" and await chat(managed, made["key"]) == 200
        assert (await managed.bad("/key/generate", {"key": "sk-chosen-0123456789"}))[0] == 400
        await managed.good("/key/generate", {"key_alias": "one"})
        status, text, param = await managed.bad("/key/generate", {"key_alias": "one"})
        assert (status, param) == (400, "key_alias") and text.startswith("Key with alias 'one' already exists.")
        status, _, param = await managed.bad("/key/update", {"key": made["key"], "key_alias": "one"})
        assert (status, param) == (400, "key_alias")


async def test_a_blocked_an_expired_and_a_deleted_key_open_nothing(tmp_path):
    async with open_managed(tmp_path) as managed:
        key = await managed.key("it")
        assert (await managed.good("/key/block", {"key": key}))["blocked"] is True
        assert await chat(managed, key) == 401
        assert (await managed.good(f"/key/info?key={key}"))["info"]["status"] == "revoked"
        await managed.good("/key/unblock", {"key": managed.id("it")})
        assert await chat(managed, key) == 200
        await managed.good("/key/update", {"key": key, "expires": text_of(time.time() - 1)})
        assert await chat(managed, key) == 401
        assert (await managed.good(f"/key/info?key={key}"))["info"]["status"] == "expired"
        await managed.good("/key/update", {"key_alias": "it", "duration": "1h"})
        assert await chat(managed, key) == 200
        assert await managed.good("/key/delete", {"keys": [key]}) == {"deleted_keys": [key]}
        assert await chat(managed, key) == 401
        for path, body in (
            (f"/key/info?key={key}", None),
            ("/key/update", {"key": key}),
            ("/key/block", {"key": key}),
            ("/key/delete", {"keys": [key]}),
            ("/key/delete", {"key_aliases": ["it"]}),
            ("/key/regenerate", {"key": key}),
        ):
            status, text, _ = await managed.bad(path, body)
            assert status == 404 and key not in text
        audits, _ = await managed.desk.store.audits()
        actions = [one.action for one in audits]
        assert actions == ["deleted", "updated", "updated", "unblocked", "blocked", "created"]
        assert all(b"digests" not in one.before + one.after for one in audits)


async def test_keys_are_deleted_all_or_none(tmp_path):
    async with open_managed(tmp_path) as managed:
        one, two = await managed.key("one"), await managed.key("two")
        assert (await managed.bad("/key/delete", {"keys": [one, "sk-not-there-000000"]}))[0] == 404
        assert (await managed.bad("/key/delete", {}))[0] == 422
        told = await managed.good("/key/delete", {"keys": [one, one], "key_aliases": ["two"]})
        assert told == {"deleted_keys": [one, one, "two"]}
        assert await chat(managed, one) == await chat(managed, two) == 401


async def test_a_new_secret_in_the_place_of_the_old_one(tmp_path):
    async with open_managed(tmp_path) as managed:
        old = await managed.key("it", max_budget=3)
        id_ = managed.id("it")
        new = await managed.good("/key/regenerate", {"key": old, "max_budget": 4})
        assert new["token_id"] == id_ and new["key"] != old and new["max_budget"] == 4 and new["rotation_count"] == 1
        assert new["key_name"] == f"sk-...{new['key'][-4:]}" and new["key_alias"] == "it"
        assert await chat(managed, old) == 401 and await chat(managed, new["key"]) == 200
        # With a time in which both open, by its path, with a secret of ones own.
        third = await managed.good(f"/key/{id_}/regenerate", {"grace_period": "1h", "new_key": "sk-third-0123456789"})
        assert third["key"] == "sk-third-0123456789"
        assert await chat(managed, new["key"]) == await chat(managed, third["key"]) == 200
        managed.desk.clock = lambda: time.time() + 3601
        fourth = await managed.good(f"/key/{id_}/regenerate", {})
        body = msgspec.json.decode((await managed.desk.row("key", id_)).body)
        assert len(body["digests"]) == 1 and fourth["rotation_count"] == 3
        assert await chat(managed, third["key"]) == 401
        for body, param in (
            ({"grace_period": "soon"}, "grace_period"),
            ({"new_key": "short"}, "new_key"),
            ({"new_key": fourth["key"]}, "new_key"),
            ({"new_master_key": "sk-x"}, "new_master_key"),
        ):
            status, _, named = await managed.bad(f"/key/{id_}/regenerate", body)
            assert (status, named) == (400, param)
        assert (await managed.bad("/key/regenerate", {}))[2] == "key"
        assert await chat(managed, fourth["key"]) == 200


async def test_a_time_of_overlap_may_stand_in_the_environment(tmp_path):
    async with open_managed(tmp_path, env={"LITELLM_KEY_ROTATION_GRACE_PERIOD": "1h"}) as managed:
        old = await managed.key("it")
        await managed.good("/key/regenerate", {"key": old})
        assert await chat(managed, old) == 200


async def test_what_was_spent_is_shown_and_set_back(tmp_path):
    async with open_managed(tmp_path) as managed:
        made = await managed.good("/key/generate", {"max_budget": 5, "budget_duration": "1d", "spend": 1.5})
        id_ = made["token_id"]
        assert made["spend"] == 1.5 and time_of(made["budget_reset_at"]) > time.time()
        managed.ledger.amounts[f"key:{id_}"] = 2 * 10**12
        assert (await managed.good(f"/key/info?key={id_}"))["info"]["spend"] == 2
        path = f"/key/{id_}/reset_spend"
        assert (await managed.bad(path, {"reset_to": 3}))[2] == "reset_to"
        assert (await managed.bad(path, {"reset_to": -1}))[2] == "reset_to"
        assert (await managed.bad(path, {}))[0] == 422
        told = await managed.good(path, {"reset_to": 0})
        assert (told["key_hash"], told["spend"], told["previous_spend"], told["max_budget"]) == (id_, 0, 2, 5)
        assert (await managed.good("/key/update", {"key": id_, "spend": 1}))["spend"] == 1


async def test_without_a_ledger_nothing_is_said_to_be_spent(tmp_path):
    async with open_managed(tmp_path, counts=False) as managed:
        made = await managed.good("/key/generate", {"spend": 0})
        assert made["spend"] == 0
        status, text, _ = await managed.bad("/key/generate", {"spend": 1})
        assert status == 501 and "spend" in text and (await managed.desk.find("key")).total == 1


async def test_without_a_database_it_says_what_to_set(tmp_path):
    async with open_managed(tmp_path) as managed:
        managed.door.gateway.desk = None
        for path, body in (("/key/generate", {}), ("/key/list", None), ("/key/info?key=x", None)):
            status, text, _ = await managed.bad(path, body)
            assert status == 400 and "general_settings.master_key" in text


async def test_several_keys_at_once(tmp_path):
    async with open_managed(tmp_path) as managed:
        one, two = await managed.key("one"), await managed.key("two")
        items = [{"key": one, "max_budget": 1}, {"key": "sk-not-there-000000"}, {"key": two, "max_budget": -1}]
        told = await managed.good("/key/bulk_update", {"keys": items})
        assert told["total_requested"] == 3 and [one["key"] for one in told["successful_updates"]] == [one]
        assert told["successful_updates"][0]["key_info"]["max_budget"] == 1
        assert ["not found" in f["failed_reason"] for f in told["failed_updates"]] == [True, False]
        assert (await managed.bad("/key/bulk_update", {"keys": []}))[0] == 400
        info = await managed.good("/v2/key/info", {"keys": [one, "sk-not-there-000000"], "key_aliases": ["two"]})
        assert [row["key_alias"] for row in info["info"]] == ["one", "two"]


async def test_lists_are_found_sorted_and_paged(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.put("team", "t", team_id="t")
        for number in range(5):
            await managed.key(f"k{number}", user_id=f"u{number % 2}", team_id="t" if number < 2 else None)
        told = await managed.good("/key/list?size=2&sort_by=key_alias&sort_order=asc")
        assert (told["total_count"], told["current_page"], told["total_pages"]) == (5, 1, 3)
        assert told["keys"] == [managed.id("k0"), managed.id("k1")]

        async def aliases(query: str) -> list[str]:
            found = await managed.good(f"/key/list?return_full_object=true&sort_by=key_alias&sort_order=asc&{query}")
            return [row["key_alias"] for row in found["keys"]]

        assert await aliases("user_id=u1") == ["k1", "k3"]
        assert await aliases("team_id=t") == ["k0", "k1"]
        assert await aliases("key_alias=k3") == ["k3"] and await aliases("key_alias=k") == []
        assert len(await aliases("key_alias=K&substring_matching=true")) == 5
        assert await aliases("search=K4") == ["k4"] and await aliases(f"key_hash={managed.id('k2')}") == ["k2"]
        await managed.good("/key/block", {"key": managed.keys["k0"]})
        await managed.good("/key/update", {"key": managed.keys["k1"], "expires": "2020-01-01"})
        assert await aliases("status=revoked") == ["k0"] and await aliases("status=expired") == ["k1"]
        assert await aliases("status=active&page=2&size=2") == ["k4"]
        assert await aliases("expires=expired") == ["k1"]
        for query in ("sort_by=digests", "sort_order=up", "size=0", "size=101", "page=0", "status=gone", "page=x"):
            assert (await managed.bad(f"/key/list?{query}"))[0] == 422
        told = await managed.good("/key/aliases?search=K&size=3&page=2")
        assert told == {"aliases": ["k3", "k4"], "total_count": 5, "current_page": 2, "total_pages": 2, "size": 3}


async def test_what_the_config_says_of_new_keys(tmp_path):
    rules = """
litellm_settings:
  default_key_generate_params: {max_budget: 1.5, models: [m], metadata: {setup: new}, duration: 10d}
  upperbound_key_generate_params: {max_budget: 100, budget_duration: 30d, duration: 30d, rpm_limit: 50}
"""
    async with open_managed(tmp_path, YAML + rules) as managed:
        made = await managed.good("/key/generate", {})
        assert (made["max_budget"], made["models"], made["metadata"]) == (1.5, ["m"], {"setup": "new"})
        assert made["rpm_limit"] == 50 and made["budget_duration"] == "30d"
        assert (await managed.good("/key/generate", {"max_budget": 50, "models": ["n"]}))["models"] == ["n"]
        for name, value in (("max_budget", 101), ("duration", "31d"), ("duration", "-1"), ("rpm_limit", 51)):
            status, text, param = await managed.bad("/key/generate", {name: value})
            assert (status, param) == (400, name) and text.startswith(f"{name} is over max limit set in config")
            assert (await managed.bad("/key/update", {"key": made["key"], name: value}))[2] == name
        assert (await managed.bad("/key/update", {"key": made["key"], "max_budget": None}))[2] == "max_budget"
        assert (await managed.good("/key/update", {"key": made["key"], "tags": ["x"]}))["rpm_limit"] == 50


async def test_names_of_keys_look_as_the_config_wants(tmp_path):
    async with open_managed(tmp_path, YAML + "litellm_settings: {key_alias_pattern: 'team-[a-z]+'}") as managed:
        made = await managed.good("/key/generate", {"key_alias": "team-red"})
        assert (await managed.bad("/key/generate", {"key_alias": "red"}))[2] == "key_alias"
        assert (await managed.bad("/key/update", {"key": made["key"], "key_alias": "red"}))[2] == "key_alias"
        await managed.good("/key/update", {"key": made["key"], "key_alias": "team-red", "max_budget": 1})


async def test_a_teams_key_may_not_exceed_the_team(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.put("team", "t", team_id="t", models=["m", "few", "openai/*"], max_budget=5, budget_duration="1d")
        for models in (["m"], ["n"], ["few"], ["all-team-models"], ["openai/gpt-x"], ["openai/*"], []):
            await managed.good("/key/generate", {"team_id": "t", "models": models})
        for models in (["other"], ["all-proxy-models"], ["anthropic/*"], ["m", "other"]):
            status, text, param = await managed.bad("/key/generate", {"team_id": "t", "models": models})
            assert (status, param) == (403, "models") and models[-1] in text
        made = await managed.good("/key/generate", {"models": ["other"], "max_budget": 9, "budget_duration": "1d"})
        assert (await managed.bad("/key/update", {"key": made["key"], "team_id": "t"}))[0] == 403
        fields = {"team_id": "t", "max_budget": 6, "budget_duration": "1d"}
        assert (await managed.bad("/key/generate", fields))[2] == "max_budget"
        await managed.good("/key/generate", {"team_id": "t", "max_budget": 6})  # in another window: of all time


async def test_a_team_promises_no_more_than_it_has(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.put("team", "t", team_id="t", rpm_limit=10, tpm_limit=100)
        promised = {"team_id": "t", "rpm_limit_type": "guaranteed_throughput"}
        one = await managed.good("/key/generate", {**promised, "rpm_limit": 6})
        status, text, param = await managed.bad("/key/generate", {**promised, "rpm_limit": 5})
        assert (status, param) == (400, "rpm_limit")
        assert text == "Allocated RPM limit=6 + Key RPM limit=5 is greater than team RPM limit=10"
        await managed.good("/key/generate", {**promised, "rpm_limit": 4, "tpm_limit": 1000})
        for path in ("/key/update", "/key/regenerate"):
            assert (await managed.bad(path, {"key": one["key"], "rpm_limit": 7}))[2] == "rpm_limit"
        await managed.good("/key/update", {"key": one["key"], "rpm_limit": 5})
        for kind in ("best_effort_throughput", "dynamic", None):  # which promise nothing, and are given something
            await managed.good("/key/generate", {"team_id": "t", "rpm_limit": 1, "rpm_limit_type": kind})
        text = (await managed.bad("/key/generate", {**promised, "rpm_limit": 1}))[1]
        assert text == "Allocated RPM limit=12 + Key RPM limit=1 is greater than team RPM limit=10"


OWNERS = [("key", "team", {"team_id": "x"}), ("key", "organization", {"organization_id": "x"}),
          ("team", "organization", {"organization_id": "x"})]  # fmt: skip
PLACES = [
    ({"rpm_limit": 10}, lambda n: {"rpm_limit": n}, "rpm"),
    ({"tpm_limit": 10}, lambda n: {"tpm_limit": n}, "tpm"),
    ({"budget_id": "b"}, lambda n: {"rpm_limit": n}, "rpm"),
    ({"rpm_limit": 10}, lambda n: {"model_rpm_limit": {"m": n}}, "rpm"),
    ({"model_tpm_limit": {"m": 10}, "tpm_limit": 50}, lambda n: {"model_tpm_limit": {"m": n}}, "tpm"),
    ({"metadata": {"model_rpm_limit": {"m": 10}}}, lambda n: {"model_rpm_limit": {"m": n, "other": 1000}}, "rpm"),
]


@pytest.mark.parametrize(("above", "given", "name"), PLACES)
@pytest.mark.parametrize(("kind", "owner", "of"), OWNERS)
async def test_nobody_is_promised_more_than_is_left(tmp_path, kind, owner, of, above, given, name):
    async with open_managed(tmp_path) as managed:
        await managed.put("budget", "b", rpm_limit=10)
        await managed.put(owner, "x", **{f"{owner}_id": "x"}, **above)
        new = {"key": "/key/generate", "team": "/team/new"}[kind]
        promised = {**of, f"{name}_limit_type": "guaranteed_throughput"}
        first = await managed.good(new, {**promised, **given(6)})
        status, text, param = await managed.bad(new, {**promised, **given(5)})
        what = f"{name.upper()} limit"
        assert text == f"Allocated {what}=6 + {kind.capitalize()} {what}=5 is greater than {owner} {what}=10"
        assert status == 400 and param in (f"{name}_limit", f"model_{name}_limit") and param in given(1)
        await managed.good(new, {**promised, **given(4)})
        changed = {"key": {"key": first.get("key")}, "team": {"team_id": first.get("team_id")}}[kind]
        assert (await managed.bad(f"/{kind}/update", {**changed, **given(7)}))[2] == param
        await managed.good(f"/{kind}/update", {**changed, **given(3)})
        await managed.good(new, {**promised, f"{name}_limit_type": "best_effort_throughput", **given(10)})
    if kind == "team":
        async with open_managed(tmp_path) as managed:
            assert (await managed.bad("/team/new", {"rpm_limit_type": "dynamic"}))[2] == "rpm_limit_type"


async def test_a_programs_key(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.put("team", "t", team_id="t")
        path = "/key/service-account/generate"
        assert (await managed.bad(path, {}))[2] == "team_id"
        made = await managed.good(path, {"team_id": "t", "key_alias": "robot", "user_id": "u"})
        assert made["user_id"] is None and made["metadata"]["service_account_id"] == "robot"
        named = await managed.good("/key/update", {"key": made["key"], "metadata": {"x": 1}})
        assert named["metadata"] == {"x": 1, "service_account_id": "robot"}
        status, _, param = await managed.bad(
            "/key/update", {"key": made["key"], "metadata": {"service_account_id": "y"}}
        )
        assert (status, param) == (400, "metadata.service_account_id")


async def test_a_keys_health(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.key("it")
        assert await managed.good("/key/health", {}, "it") == {"key": "healthy", "logging_callbacks": None}
        await managed.key("logs", metadata={"logging": [{"callback_name": "langfuse"}]})
        told = await managed.good("/key/health", {}, "logs")
        assert told["key"] == "unhealthy" and told["logging_callbacks"]["callbacks"] == ["langfuse"]


async def test_nobody_chooses_a_key_where_keys_are_made_by_chance(tmp_path):
    async with open_managed(tmp_path, YAML + "general_settings: {disable_custom_api_keys: true}\n") as managed:
        chosen = "sk-chosen-by-somebody-12345"
        for path, body in (
            ("/key/generate", {"key": chosen}),
            ("/key/regenerate", {"key": await managed.key("a"), "new_key": chosen}),
        ):
            status, message, _ = await managed.bad(path, body)
            assert status == 403 and message.startswith("Custom API key values are disabled")
        assert managed.desk.keyring.id_of(chosen) is None
