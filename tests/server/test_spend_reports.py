"""Reports of spend: LiteLLM's answers, right to the picodollar, and nobody sees what is another's."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from penstock.admin import activity, spend_global, spend_logs, spend_reports
from penstock.server.site import Site
from tests.server.keyed import MASTER, open_keyed
from tests.server.spending import DAY, fill, open_spending, spent

DATES = "start_date=2026-11-18&end_date=2026-11-20"
ALL = [route for of in (spend_logs, spend_global, spend_reports, activity) for route in of.ROUTES]
READS = [route for route in ALL if "GET" in route.methods]
DAYS_TOTAL = 3 * (0.5 + 1.0 + 1.5)  # of alice, bob and carol


@pytest.fixture
async def door(tmp_path):
    async with open_spending(tmp_path) as made:
        await fill(made)
        yield made


async def test_a_row_is_litellms(door):
    status, [row] = await door.get("/spend/logs?request_id=chatcmpl-alice1")
    assert status == 200
    assert row["spend"] == 1.0 and row["total_tokens"] == 15 and row["prompt_tokens"] == 10
    assert row["api_key"] == door.ids["alice"] and row["user"] == "alice" and row["team_id"] == "t1"
    assert row["startTime"] == "2026-11-19T11:59:58.500Z" and row["endTime"] == "2026-11-19T12:00:00.000Z"
    assert (row["model"], row["model_group"], row["custom_llm_provider"]) == ("gpt-4o", "m", "openai")
    assert row["request_tags"] == ["x", "alice"] and row["end_user"] == "end-1" and row["status"] == "success"
    assert row["metadata"]["user_api_key_alias"] == "alice" and row["request_duration_ms"] == 1500
    _, [bad] = await door.get("/spend/logs?request_id=bad")
    assert bad["status"] == "failure" and bad["metadata"]["error_information"]["error_code"] == "429"
    assert bad["metadata"]["usage_object"] is None and bad["metadata"]["spend_logs_metadata"] == {"a": 1}


async def test_logs_are_listed_and_summed_up(door):
    _, rows = await door.get("/spend/logs")
    assert len(rows) == 11 and rows[0]["startTime"] > rows[-1]["startTime"]
    _, rows = await door.get(f"/spend/logs?api_key={door.keys['bob']}")
    assert {row["user"] for row in rows} == {"bob"} and len(rows) == 3
    _, days = await door.get("/spend/logs?start_date=2026-11-18&end_date=2026-11-22")
    assert [day["startTime"] for day in days] == [f"2026-11-{n}" for n in range(18, 23)]
    assert days[0]["spend"] == 5.5 and days[0][door.ids["lone"]] == 4.0 and days[0]["users"]["bob"] == 0.5
    assert days[0]["models"] == {"gpt-4o": 1.5, "claude": 4.0} and days[4] == {
        "startTime": "2026-11-22", "spend": 0, "users": {}, "models": {}}  # fmt: skip
    _, rows = await door.get("/spend/logs?start_date=2026-11-20&end_date=2026-11-20&summarize=false")
    assert len(rows) == 3


async def test_pages_filter_and_sort(door):
    _, told = await door.get("/spend/logs/v2?page_size=4&page=3&sort_by=spend&sort_order=asc")
    assert (told["total"], told["page"], told["page_size"], told["total_pages"]) == (11, 3, 4, 3)
    assert [row["spend"] for row in told["data"]] == [1.5, 1.5, 4.0]
    for query, count in (
        ("user_id=bob", 3), ("team_id=t1", 6), ("team_id=t1&user_id=bob", 3), ("model=claude", 1), ("key_alias=lone", 2),
        ("key_alias=none", 0), ("status_filter=failure", 1), ("status_filter=success", 10), ("min_spend=1&max_spend=1.5", 6),
        ("end_user=end-1", 9), ("error_code=429", 1), ("request_id=chatcmpl-bob0", 1), ("cache_hit_filter=hit", 0),
        ("start_date=2026-11-19", 6), ("start_date=2026-11-18 11:00:00&end_date=2026-11-18 13:00:00", 5),
        ("end_date=2026-11-18", 5), ("session_id=s1", 6),
    ):  # fmt: skip
        status, told = await door.get("/spend/logs/ui?" + query.replace(" ", "%20"))
        assert (status, told["total"], len(told["data"])) == (200, count, count), query
    _, told = await door.get("/spend/logs/session/ui?session_id=s1&page_size=5")
    assert told["total"] == 6 and len(told["data"]) == 5
    _, told = await door.get("/spend/logs/ui/bob1")
    assert told["litellm_call_id"] == "bob1"


@pytest.mark.parametrize(
    "path",
    [
        "/global/activity", "/global/activity?start_date=2026-11-18", "/global/activity?start_date=18.11.&end_date=x",
        "/global/activity?start_date=2026-11-20&end_date=2026-11-18", "/user/daily/activity?start_date=20261118&end_date=20261119",
        "/spend/logs/v2?start_date=now", "/spend/logs/v2?sort_by=name", "/spend/logs/v2?sort_order=up",
        "/spend/logs/v2?min_spend=much", "/spend/logs/v2?page=9000&page_size=1000", "/spend/logs?start_date=2026-02-30&end_date=2026-03-01",
        f"/global/spend/report?{DATES}&group_by=colour", "/global/activity/exceptions?start_date=2020-01-01&end_date=2026-01-01&model_group=m",
        "/team/spend/report?start_date=2026-11-18&end_date=2026-11-18", "/spend/logs/v2?cache_hit_filter=maybe",
    ],
)  # fmt: skip
async def test_bad_parameters_are_refused(door, path):
    status, told = await door.get(path)
    assert status == 400 and told["error"]["message"], told


async def test_reports_charge_each_team_customer_and_key(door):
    _, days = await door.get(f"/global/spend/report?{DATES}")
    assert days[0]["group_by_day"] == "2026-11-18T00:00:00+00:00"
    costs = {team["team_name"]: team["total_spend"] for team in days[0]["teams"]}
    assert costs == {"red": 1.0, "blue": 0.5, "Unassigned Team": 4.0}
    assert sum(team["total_spend"] for day in days for team in day["teams"]) == DAYS_TOTAL + 4
    red = next(team for team in days[0]["teams"] if team["team_name"] == "red")
    assert {(one["api_key"], one["spend"], one["total_tokens"]) for one in red["metadata"]} == {
        (door.ids[name], 0.5, 15) for name in ("alice", "bob")}  # fmt: skip
    _, days = await door.get(f"/global/spend/report?{DATES}&group_by=customer")
    assert [day["customers"][0]["total_spend"] for day in days] == [1.5, 3.0, 4.5]
    _, keys = await door.get(f"/global/spend/report?{DATES}&group_by=api_key")
    assert keys[0]["api_key"] == door.ids["lone"] and keys[0]["total_cost"] == 4.0 and len(keys) == 4
    _, [key] = await door.get(f"/global/spend/report?{DATES}&api_key={door.keys['bob']}")
    assert key["total_cost"] == 3.0 and key["model_details"] == [
        {"model": "gpt-4o", "total_cost": 3.0, "total_input_tokens": 30, "total_output_tokens": 15}]  # fmt: skip
    for path, who, cost in (("/key/spend/report", "bob", 3.0), ("/user/spend/report", "bob", 3.0),
                            ("/team/spend/report", "alice", 6.0), ("/team/spend/report", "bob", 3.0),
                            ("/organization/spend/report?organization_id=org", "olga", 9.0)):  # fmt: skip
        _, keys = await door.get(f"{path}{'&' if '?' in path else '?'}{DATES}", who)
        assert sum(key["total_cost"] for key in keys) == cost, (path, who)


@pytest.mark.parametrize("kind", ["user", "team", "tag", "organization", "customer"])
async def test_what_is_folded_here_is_what_the_store_adds_up(door, kind, monkeypatch):
    _, folded = await door.get(f"/{kind}/daily/activity/aggregated?{DATES}")
    monkeypatch.setattr(activity, "MOST_SUMS", 0)  # nothing is few enough to be folded here
    _, added = await door.get(f"/{kind}/daily/activity/aggregated?{DATES}")
    assert folded == added and folded["results"]


async def test_activity_says_what_days_are_made_of(door):
    _, told = await door.get(f"/global/activity?{DATES}")
    assert told["sum_api_requests"] == 11 and told["daily_data"][0] == {"date": "Nov 18", "api_requests": 5, "total_tokens": 70}
    _, models = await door.get(f"/global/activity/model?{DATES}")
    assert [(one["model"], one["sum_api_requests"]) for one in models] == [("m", 10), ("c", 1)]
    for kind, end in (("user", ""), ("user", "/aggregated"), ("team", ""), ("team", "/aggregated"), ("tag", "/aggregated"),
                      ("organization", ""), ("customer", ""), ("end_user", "")):  # fmt: skip
        status, told = await door.get(f"/{kind}/daily/activity{end}?{DATES}")
        assert status == 200
        assert [day["date"] for day in told["results"]] == ["2026-11-20", "2026-11-19", "2026-11-18"], (kind, end)
        day = told["results"][0]
        cost = {"tag": 9.0}.get(kind, 4.5)
        assert day["metrics"]["spend"] == cost and set(day["breakdown"]["providers"]) == {"openai"}
        assert set(day["breakdown"]["api_keys"]) == {door.ids[name] for name in ("alice", "bob", "carol")}
        assert day["breakdown"]["api_keys"][door.ids["bob"]]["metadata"]["key_alias"] == "bob"
        assert day["breakdown"]["models"]["gpt-4o"]["metrics"]["spend"] == cost
        assert told["metadata"]["total_spend"] == sum(one["metrics"]["spend"] for one in told["results"])
        assert told["metadata"]["has_more"] is False
    _, told = await door.get(f"/team/daily/activity?{DATES}&team_ids=t2")
    assert told["metadata"]["total_spend"] == 3.0
    assert told["results"][0]["breakdown"]["entities"]["t2"]["metadata"] == {"team_alias": "blue"}
    _, told = await door.get(f"/user/daily/activity?{DATES}&page_size=4&page=2")
    assert told["metadata"]["total_pages"] == 3 and told["metadata"]["has_more"] is True
    _, told = await door.get("/global/activity/exceptions?start_date=2026-11-17&end_date=2026-11-18&model_group=m")
    assert told == {"daily_data": [{"date": "Nov 18", "num_rate_limit_exceptions": 1}], "sum_num_rate_limit_exceptions": 1}
    _, told = await door.get("/global/activity/exceptions/deployment?start_date=2026-11-17&end_date=2026-11-18&model_group=m")
    assert told[0]["api_base"] == "https://a.test"


async def test_lists_of_the_last_month(door):
    now = datetime.now(UTC).timestamp()
    await door.storage.spend.append(
        [spent("n1", door.ids["bob"], now, 2.0, team="t1", user="bob", tags=("new",)), spent("n2", door.ids["lone"], now, 3.0)], {}, {}
    )
    old = sum(one.cost for one in await door.storage.spend.daily("key", since=datetime.fromtimestamp(now - 30 * DAY, UTC).date().isoformat()))
    _, told = await door.get("/global/spend")
    assert told == {"spend": old / 10**12, "max_budget": 0.0}
    _, keys = await door.get("/global/spend/keys?limit=1")
    assert len(keys) == 1 and keys[0]["api_key"] == door.ids["lone"] and keys[0]["key_alias"] == "lone"
    _, models = await door.get("/global/spend/models")
    assert models[0]["model"] == "gpt-4o" and models[0]["total_tokens"] >= 30
    _, teams = await door.get("/global/spend/teams")
    assert "red" in teams["teams"] and "Unassigned" in teams["teams"]
    assert teams["daily_spend"][-1]["red"] == 2.0 and teams["daily_spend"][-1]["Unassigned"] == 3.0
    _, days = await door.get("/global/spend/logs")
    assert days[-1]["spend"] == 5.0
    _, told = await door.get("/global/spend/all_tag_names")
    assert told["tag_names"] == ["alice", "bob", "carol", "new", "x"]
    _, told = await door.get(f"/global/spend/tags?{DATES}&tags=x,bob")
    assert told["spend_per_tag"] == [{"name": "x", "spend": 9.0, "log_count": 9}, {"name": "bob", "spend": 3.0, "log_count": 3}]
    _, tags = await door.get("/spend/tags")
    assert {"individual_request_tag": "new", "log_count": 1, "total_spend": 2.0} in tags
    _, told = await door.get(f"/global/spend/provider?{DATES}")
    assert told == [{"provider": "openai", "spend": 9.0}, {"provider": "anthropic", "spend": 4.0}]
    _, told = await door.get("/global/all_end_users")
    assert told == {"end_users": ["end-1"]}
    body = json.dumps({"startTime": "2026-11-18T00:00:00", "endTime": "2026-11-20", "api_key": door.ids["bob"]}).encode()
    _, told = await door.get("/global/spend/end_users", method="POST", body=body)
    assert told == [{"end_user": "end-1", "total_count": 3, "total_spend": 3.0}]
    _, keys = await door.get("/spend/keys")
    assert [(key["key_alias"], key["spend"]) for key in keys[:2]] == [("lone", 7.0), ("bob", 5.0)] and len(keys) == 6
    assert all("digests" not in key for key in keys)
    _, users = await door.get("/spend/users")
    assert users[0]["user_id"] == "bob" and users[0]["spend"] == 5.0 and len(users) == 5
    _, [user] = await door.get("/spend/users?user_id=carol")
    assert user["spend"] == 3.0 and "password" not in user


SEEN = {  # who may see whose rows
    "master": {"alice", "bob", "carol", ""},
    "vera": {"alice", "bob", "carol", ""},
    "alice": {"alice"},
    "bob": {"bob"},
    "lone": {""},
}


@pytest.mark.parametrize("who", SEEN)
async def test_every_report_shows_each_caller_only_its_own(door, who):
    """All routes of the four files: what comes back never names a key, user or team that is not the caller's."""
    secret = {"bob": ("carol", door.ids["carol"], "alice", door.ids["alice"], "blue"),
              "alice": ("carol", door.ids["carol"], "blue"), "lone": ("bob", door.ids["bob"], "red")}.get(who, ())  # fmt: skip
    for route in READS:
        path = route.path.replace("{request_id}", "carol0")
        status, told = await door.get(f"{path}?{DATES}&model_group=m&session_id=s1", who)
        assert status in (200, 400, 403, 404), (path, told)
        text = json.dumps(told)
        assert status == 404 or not [word for word in secret if word in text], path  # a 404 repeats what was asked for
        if who in ("master", "vera"):
            assert status == 200 or "{" in route.path or path.endswith("/spend/report") and status == 400, (path, told)
    _, rows = await door.get("/spend/logs", who)
    assert {row["user"] for row in rows} == SEEN[who]


@pytest.mark.parametrize("who", ["bob", "lone", "alice"])
@pytest.mark.parametrize(
    "path",
    [
        "/spend/logs?user_id=carol", "/spend/logs?team_id=t2", "/spend/logs/v2?user_id=carol", "/spend/users?user_id=carol",
        "/spend/logs?organization_id=org", f"/user/daily/activity?{DATES}&user_id=carol", f"/team/daily/activity?{DATES}&team_ids=t2",
        f"/organization/daily/activity?{DATES}&organization_ids=org", f"/user/spend/report?{DATES}&user_id=carol",
        f"/team/spend/report?{DATES}&team_id=t2", "/spend/logs?user_id=nobody", "/global/spend", f"/global/spend/report?{DATES}",
        "/global/spend/teams", "/global/all_end_users",
    ],
)  # fmt: skip
async def test_who_asks_for_anothers_is_refused_alike(door, who, path):
    assert (await door.get(path, who))[0] == 403
    assert (await door.get("/spend/logs/ui/carol0", who))[0] == 404
    assert (await door.get(f"/spend/logs?api_key={door.ids['carol']}", who))[0] == 403


async def test_what_keys_and_teams_have_spent_is_set_to_nothing(door):
    gateway = door.gateway
    accounts = [f"key:{door.ids['bob']}", "team:t1", "user:bob"]
    assert (await door.get("/global/spend/reset", "vera", "POST"))[0] == 403
    assert (await door.get("/global/spend/reset", "bob", "POST"))[0] == 403
    before = [await gateway.spent(account) for account in accounts]
    assert all(before)
    status, told = await door.get("/global/spend/reset", method="POST")
    assert (status, told["status"]) == (200, "success")
    assert [await gateway.spent(account) for account in accounts] == [0, 0, before[2]]
    _, days = await door.get(f"/global/spend/report?{DATES}")
    assert sum(team["total_spend"] for day in days for team in day["teams"]) == DAYS_TOTAL + 4


async def test_without_a_database_it_says_what_to_set(tmp_path):
    async with open_keyed(tmp_path, {}) as door:
        headers = {"authorization": f"Bearer {MASTER}"}
        for route in READS:
            status, _, body = await door.ask("GET", f"{route.path.replace('{request_id}', 'x')}?{DATES}", headers=headers)
            assert status == 400 and b"master_key" in body, route.path


def test_every_route_is_in_the_document_of_all_urls():
    paths = json.loads(Site().openapi)["paths"]
    assert [route.path for route in ALL if route.path not in paths] == []


async def test_an_answer_is_bounded(door, monkeypatch):
    monkeypatch.setattr("penstock.admin.spend_asked.MOST_SUMS", 5)
    status, told = await door.get(f"/global/spend/report?{DATES}")
    assert status == 400 and "fewer days" in told["error"]["message"]


async def test_a_search_through_too_many_requests_is_refused(door, monkeypatch):
    """Of ten million rows none is sorted by cost, nor looked through for a model that no index has."""
    monkeypatch.setattr("penstock.admin.spend_logs.MOST_SEARCHED", 8)
    for query in ("sort_by=spend", "model=claude", "status_filter=failure", "min_spend=1", "sort_by=ttft_ms&start_date=2026-11-18"):
        status, told = await door.get(f"/spend/logs/v2?{query}")
        assert status == 400 and "name fewer days" in told["error"]["message"], query
        for narrow in ("start_date=2026-11-19", "user_id=bob", "team_id=t1"):
            assert (await door.get(f"/spend/logs/v2?{query}&{narrow}"))[0] == 200, (query, narrow)
    assert (await door.get("/spend/logs/v2"))[0] == 200


def test_what_is_taken_for_indexed_is_so():
    from penstock.stores.sql.schema import SPEND

    first = {next(iter(index.columns)).name for index in SPEND.indexes} | {"call_id"}
    assert spend_logs.INDEXED <= first


def test_nothing_of_a_database_is_imported_before_there_is_one():
    script = "import penstock.server.pages, sys; assert 'sqlalchemy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
