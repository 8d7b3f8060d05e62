"""Customers over HTTP, as LiteLLM's clients make, change, block, look at and delete them, by both names."""

from __future__ import annotations

import pytest

from penstock.admin import customers
from tests.server.managed import open_managed, populate


@pytest.mark.parametrize("prefix", ["/customer", "/end_user"])
async def test_a_customer_from_its_making_to_its_end(prefix, tmp_path):
    async with open_managed(tmp_path) as managed:
        fields = {
            "user_id": "c",
            "alias": "C",
            "max_budget": 2,
            "budget_duration": "1d",
            "rpm_limit": 3,
            "models": ["m"],
        }
        made = await managed.good(
            f"{prefix}/new", {**fields, "default_model": "m", "allowed_model_region": "eu", "aliass": 1}
        )
        assert (made["user_id"], made["alias"], made["blocked"], made["models"]) == ("c", "C", False, ["m"])
        limits = made["litellm_budget_table"]
        assert (limits["max_budget"], limits["rpm_limit"], limits["budget_duration"]) == (2, 3, "1d")
        assert limits["budget_reset_at"] and made["spend"] == 0 and made["warnings"]
        holder = managed.desk.keyring.holder("customer", "c")
        assert holder is not None and holder.caps[0].most == 2 * 10**12 and holder.models == ("m",)
        managed.ledger.amounts["customer:c"] = 10**12
        assert (await managed.good(f"{prefix}/info?end_user_id=c"))["spend"] == 1
        told = await managed.good(f"{prefix}/update", {"user_id": "c", "max_budget": None, "models": [], "spend": 0.5})
        assert told["litellm_budget_table"]["max_budget"] is None and told["models"] == [] and told["spend"] == 0.5
        assert told["alias"] == "C" and told["litellm_budget_table"]["rpm_limit"] == 3
        blocked = (await managed.good(f"{prefix}/block", {"user_ids": ["c", "d"]}))["blocked_users"]
        assert [(row["user_id"], row["blocked"]) for row in blocked] == [("c", True), ("d", True)]
        assert managed.desk.keyring.holder("customer", "d").blocked
        assert await managed.good(f"{prefix}/unblock", {"user_ids": ["d"]}) == {"blocked_users": []}
        assert not managed.desk.keyring.holder("customer", "d").blocked
        assert [row["user_id"] for row in await managed.good(f"{prefix}/list")] == ["d", "c"]
        assert (await managed.bad(f"{prefix}/delete", {"user_ids": ["c", "none"]}))[0] == 404
        assert (await managed.good(f"{prefix}/delete", {"user_ids": ["c", "d"]}))["deleted_customers"] == 2
        assert await managed.good(f"{prefix}/list") == []


async def test_a_customer_with_a_stored_budget(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.put("budget", "b", budget_id="b", max_budget=7, budget_duration="30d")
        made = await managed.good("/customer/new", {"user_id": "c", "budget_id": "b"})
        assert made["budget_id"] == "b" and made["litellm_budget_table"]["max_budget"] == 7
        assert made["litellm_budget_table"]["budget_reset_at"]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("new", {}, 422, "user_id"),
        ("new", {"user_id": "there"}, 400, "user_id"),
        ("new", {"user_id": ""}, 400, "user_id"),
        ("new", {"user_id": "c", "max_budget": -1}, 400, "max_budget"),
        ("new", {"user_id": "c", "budget_id": "none"}, 400, "budget_id"),
        ("new", {"user_id": "c", "budget_id": "b", "max_budget": 1}, 400, "max_budget"),
        ("new", {"user_id": "c", "default_model": "none"}, 400, "default_model"),
        ("new", {"user_id": "c", "allowed_model_region": "mars"}, 422, "allowed_model_region"),
        ("update", {"user_id": "none"}, 404, "user_id"),
        ("delete", {"user_ids": []}, 400, "user_ids"),
        ("delete", {"user_ids": ["none"]}, 404, "user_ids"),
        ("unblock", {"user_ids": ["none"]}, 404, "user_ids"),
        ("block", {"user_ids": [str(one) for one in range(customers.MOST_AT_ONCE + 1)]}, 400, "user_ids"),
        ("info?end_user_id=none", None, 404, "end_user_id"),
        ("info", None, 422, "end_user_id"),
    ],
)
async def test_what_cannot_be_is_told(tmp_path, path, body, status, param):
    async with open_managed(tmp_path) as managed:
        await managed.put("customer", "there", user_id="there")
        await managed.put("budget", "b", budget_id="b", max_budget=7)
        got, _, named = await managed.bad(f"/customer/{path}", body)
        assert (got, named) == (status, param) and (await managed.desk.find("customer")).total == 1


async def test_customers_are_the_admins_affair(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        for who in ("viewer", "org_admin", "team_admin", "internal", "alone"):
            assert (await managed.bad("/customer/new", {"user_id": "c"}, who))[0] == 403
        assert await managed.good("/customer/list", key="viewer") == []
        assert (await managed.bad("/customer/list", key="internal"))[0] == 403
