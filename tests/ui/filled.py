"""A gateway that has been used for a while: teams, users and keys of many kinds, and what they spent in three weeks."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from penstock.stores.base import Spent
from penstock.stores.sql.address import file_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.spend import SqlSpendStore
from tests.e2e.serving import MASTER_KEY, Served

PICO = 10**12
DAY = 86400.0
MODELS = (
    ("gpt-4o", "gpt-4o", "openai"),
    ("claude", "claude-sonnet-4-5", "anthropic"),
    ("gpt-4o-mini", "gpt-4o-mini", "openai"),
)


def api(served: Served, path: str, body: Any = None, key: str = MASTER_KEY, method: str = "") -> Any:
    """One call of the management API that goes well."""
    request = urllib.request.Request(
        served.url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
        method=method or ("GET" if body is None else "POST"),
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise AssertionError((path, body, error.code, error.read())) from None


class Filled:
    """``keys``: clear keys by name; ``ids``: their ids."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.keys: dict[str, str] = {}
        self.ids: dict[str, str] = {}

    def key(self, name: str, **fields: Any) -> None:
        made = api(self.served, "/key/generate", {"key_alias": name, **fields})
        self.keys[name], self.ids[name] = made["key"], made["token_id"]


def fill(served: Served, folder: Path) -> Filled:
    """Make teams, users, keys and budgets by the API, and write what they spent into the database."""
    made = Filled(served)
    api(served, "/organization/new", {"organization_id": "north", "organization_alias": "North", "max_budget": 5000})
    api(served, "/budget/new", {"budget_id": "interns", "max_budget": 5, "budget_duration": "30d", "rpm_limit": 20})
    for user, role in (("ada", "internal_user"), ("grace", "internal_user"), ("vera", "proxy_admin_viewer")):
        body = {"user_id": user, "user_email": f"{user}@example.com", "user_role": role, "auto_create_key": False}
        api(served, "/user/new", {**body, "max_budget": 100, "budget_duration": "30d"})
    for team, alias, budget in (("t-search", "Search", 300), ("t-support", "Support", 80)):
        members = [{"user_id": "ada", "role": "admin"}, {"user_id": "grace", "role": "user"}]
        api(served, "/team/new", {"team_id": team, "team_alias": alias, "max_budget": budget, "budget_duration": "30d",
                                  "organization_id": "north", "members_with_roles": members})  # fmt: skip
    made.key(
        "search-backend", team_id="t-search", max_budget=50, budget_duration="30d", rpm_limit=120, tpm_limit=200000
    )
    made.key("support-bot", team_id="t-support", max_budget=20, budget_duration="7d", max_parallel_requests=8)
    made.key("ada-laptop", user_id="ada", max_budget=10, budget_duration="30d", models=["gpt-4o", "claude"])
    made.key("grace-notebooks", user_id="grace", budget_id="interns")
    made.key("nightly-evaluations-of-everything-we-run-in-production", duration="60d", tags=["batch"])
    made.key("old-demo", blocked=True)
    made.key("expired-trial", duration="1s")
    asyncio.run(_spend(made, next(folder.glob("state/**/*.db"))))
    # The books of the running gateway began before these rows were written.
    for name, dollars in (
        ("search-backend", 31.42),
        ("support-bot", 18.9),
        ("ada-laptop", 4.2),
        ("grace-notebooks", 4.9),
    ):
        api(served, "/key/update", {"key": made.ids[name], "spend": dollars})
    return made


async def _spend(made: Filled, file: Path) -> None:
    who = (("search-backend", "t-search", "", 9.0), ("support-bot", "t-support", "", 2.5), ("ada-laptop", "", "ada", 1.2),
           ("grace-notebooks", "", "grace", 0.6), ("nightly-evaluations-of-everything-we-run-in-production", "", "", 4.0))  # fmt: skip
    noon = time.time() // DAY * DAY + 60
    entries = []
    for days in range(21):
        for number, (name, team, user, dollars) in enumerate(who):
            group, target, provider = MODELS[(days + number) % 3]
            # Yesterday one key spent more than all others, which it does on no other day.
            cost = 40.0 if days == 1 and name == "grace-notebooks" else dollars * (1 + (days * 7 + number * 3) % 5) / 3
            accounts = [
                f"key:{made.ids[name]}",
                *([f"team:{team}"] if team else []),
                *([f"user:{user}"] if user else []),
            ]
            entries.append(
                Spent(
                    f"call-{days}-{number}", noon - days * DAY, noon - days * DAY - 1.5, "acompletion",
                    key=made.ids[name], cost=round(cost * PICO), team=team, user=user, tags=("nightly",) if number == 4 else (),
                    organization="north" if team else "", model=target, group=group, target=target, provider=provider,
                    input=12_000 * (number + 1), output=3_000, status=200, request_id=f"chatcmpl-{days}-{number}", ms=1500.0,
                    accounts=tuple(accounts),
                )
            )  # fmt: skip
    entries.append(
        Spent("call-bad", noon, noon - 0.2, "acompletion", key=made.ids["search-backend"], cost=0, team="t-search",
              model="gpt-4o", group="gpt-4o", target="gpt-4o", provider="openai", status=429, error="rate_limited",
              message="slow down", request_id="call-bad", ms=200.0, accounts=(f"key:{made.ids['search-backend']}",))
    )  # fmt: skip
    database = Database(file_address(file))
    try:
        accounts_of = {account for one in entries for account in one.accounts}
        await SqlSpendStore(database).append(entries, dict.fromkeys(accounts_of, ("", "30d", "7d")), {})
    finally:
        database.close()
