"""What answers of management say that somebody has spent is what the ledger has, also of before this process began."""

from __future__ import annotations

import json

from tests.server.books import MASTER, cost_of, open_books


async def asked(door, path: str, body=None):
    headers = {"authorization": f"Bearer {MASTER}", "content-type": "application/json"}
    data = b"" if body is None else json.dumps(body).encode()
    status, _, answer = await door.ask("GET" if body is None else "POST", path, data, headers)
    assert status == 200, answer
    return json.loads(answer)


async def test_a_teams_spend_is_told_by_all_of_its_answers_and_after_a_restart(tmp_path):
    async with open_books(tmp_path) as door:
        door.gateway.desk, door.gateway.books = door.desk, door.books
        team = {"team_id": "t", "members": ["ann"], "max_budget": 1, "budget_duration": "30d", "team_member_budget": 1}
        assert (await asked(door, "/team/new", team))["spend"] == 0.0
        key = await door.key("k", team_id="t", user_id="ann")
        assert (await door.chat(key))[0] == 200
        cost = cost_of(await door.stored())
        assert cost > 0
        info = await asked(door, "/team/info?team_id=t")
        assert info["team_info"]["spend"] == info["keys"][0]["spend"] == info["team_memberships"][0]["spend"] == cost
        (row,) = await asked(door, "/team/list")
        assert row["spend"] == row["team_memberships"][0]["spend"] == cost
        store, rows = door.store, door.desk.store
    async with open_books(tmp_path, store=store, state=tmp_path / "other") as door:
        door.desk.store = rows
        await door.desk.look()
        door.gateway.desk, door.gateway.books = door.desk, door.books
        assert (await asked(door, "/team/info?team_id=t"))["team_info"]["spend"] == cost
