"""Invitations: a link that sets a password once, within seven days, and is kept nowhere."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from penstock.admin import passwords
from penstock.stores.kinds import fields_of
from tests.server.managed import Managed, open_managed, populate

PASSWORD = "correct horse battery staple"


async def invited(managed: Managed, user: str = "member", key: str = "master") -> dict[str, Any]:
    told: dict[str, Any] = await managed.good("/invitation/new", {"user_id": user}, key)
    return told


async def begun(managed: Managed, link: str) -> str:
    told = await managed.good(f"/onboarding/get_token?invite_link={link}", key="")
    return str(told["token"])


def claim(link: str, user: str = "member", password: str = PASSWORD) -> dict[str, str]:
    return {"invitation_link": link, "user_id": user, "password": password}


async def password_of(managed: Managed, user: str = "member") -> str | None:
    row = await managed.desk.row("user", user)
    assert row is not None
    found = fields_of(row).get("password")
    return None if found is None else str(found)


async def test_a_link_sets_a_password_once(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        made = await invited(managed)
        assert made["user_id"] == "member" and made["is_accepted"] is False and made["accepted_at"] is None
        assert made["expires_at"] > made["created_at"]
        token = await begun(managed, made["id"])
        told = await managed.good("/onboarding/claim_token", claim(made["id"]), token)
        assert told["user"]["user_id"] == "member" and "password" not in told["user"]
        kept = await password_of(managed)
        assert kept is not None and PASSWORD not in kept and await passwords.matches(PASSWORD, kept)
        for path, body in (
            ("/onboarding/claim_token", claim(made["id"])),
            (f"/onboarding/get_token?invite_link={made['id']}", None),
        ):
            status, text, _ = await managed.bad(path, body, token)
            assert (status, text) == (401, "Invitation link has already been used.")
        shown = await managed.good(f"/invitation/info?invitation_id={made['id']}")
        assert shown["is_accepted"] is True and shown["accepted_at"] is not None and shown["id"] == made["id"]
        for path in ("/user/info?user_id=member", "/v2/user/info?user_id=member", "/user/list", "/audit?page_size=100"):
            text = json.dumps(await managed.good(path))
            assert PASSWORD not in text and kept not in text


async def test_of_two_who_claim_at_once_one_does(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        link = (await invited(managed))["id"]
        token = await begun(managed, link)
        both = [claim(link, password=f"{PASSWORD} {number}") for number in range(2)]
        told = await asyncio.gather(*(managed.ask("/onboarding/claim_token", body, token) for body in both))
        assert sorted(status for status, _ in told) == [200, 401]
        kept = await password_of(managed)
        won = next(number for number, (status, _) in enumerate(told) if status == 200)
        assert kept is not None and await passwords.matches(f"{PASSWORD} {won}", kept)


async def test_who_has_no_link_or_no_session_is_refused(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        made, other = await invited(managed), await invited(managed, "internal")
        token, others = await begun(managed, made["id"]), await begun(managed, other["id"])
        head, payload, seal = token.split(".")
        said = json.loads(base64.urlsafe_b64decode(payload + "=="))
        forged = (
            f"{head}.{base64.urlsafe_b64encode(json.dumps({**said, 'key': '99999999999.x'}).encode()).decode()}.{seal}"
        )
        for key in ("", others, forged, "x", "a.b.c", "..", f"99999999999.{'0' * 64}", token[:-1]):
            status, text, _ = await managed.bad("/onboarding/claim_token", claim(made["id"]), key)
            assert status == 401 and "onboarding session" in text, key
        status, text, _ = await managed.bad("/onboarding/claim_token", claim(made["id"], "internal"), token)
        assert status == 401 and "does not match" in text and "member" not in text
        [row] = [row for row in (await managed.desk.find("invitation")).rows if fields_of(row)["user_id"] == "member"]
        for link in ("nothing", row.id, "", "%00", "x" * 5000):  # the digest that the audit log has is no link
            status, _, _ = await managed.bad(f"/onboarding/get_token?invite_link={link}", key="")
            assert status in (401, 422), link
        assert (await managed.bad("/onboarding/claim_token", claim(made["id"], password="short"), token))[0] == 400
        assert await password_of(managed) is None
        # What LiteLLM's page takes out of the token does as well.
        await managed.good("/onboarding/claim_token", claim(made["id"]), said["key"])


async def test_links_and_sessions_end(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        now = [1_900_000_000.0]
        managed.desk.clock = lambda: now[0]
        link = (await invited(managed))["id"]
        token = await begun(managed, link)
        now[0] += 16 * 60
        assert (await managed.bad("/onboarding/claim_token", claim(link), token))[0] == 401
        now[0] += 7 * 86400
        status, text, _ = await managed.bad(f"/onboarding/get_token?invite_link={link}", key="")
        assert (status, text) == (401, "Invitation link has expired.")


@pytest.mark.parametrize(
    ("who", "user", "may"),
    [
        ("master", "viewer", True),
        ("proxy_admin", "viewer", True),
        ("viewer", "member", False),
        ("team_admin", "member", True),
        ("team_admin", "foreign", False),
        ("org_admin", "viewer", False),
        ("foreign", "member", False),
        ("member", "member", False),
        ("alone", "member", False),
        ("internal_viewer", "member", False),
        ("master", "nobody-there", False),
    ],
)
async def test_who_may_invite_whom(who, user, may, tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        status, told = await managed.ask("/invitation/new", {"user_id": user}, who)
        assert (status == 200) == may, told
        if not may:
            assert (status, told["error"]["message"].partition(".")[0]) == (
                400,
                "User id does not exist in 'LiteLLM_UserTable'",
            )


async def test_an_admin_of_a_team_invites_no_admin(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        await managed.put("member", "t/proxy_admin", team_id="t", user_id="proxy_admin", role="user")
        assert (await managed.bad("/invitation/new", {"user_id": "proxy_admin"}, "team_admin"))[0] == 400


async def test_invitations_are_changed_and_deleted_by_who_may_invite(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        link = (await invited(managed, key="team_admin"))["id"]
        for path, body in (("/invitation/update", {"is_accepted": True}), ("/invitation/delete", {})):
            status, text, _ = await managed.bad(path, {"invitation_id": link, **body}, "foreign")
            assert (status, text) == (400, "Invitation id does not exist in the database.")
        told = await managed.good("/invitation/update", {"invitation_id": link, "is_accepted": True}, "team_admin")
        assert told["is_accepted"] is True and told["accepted_at"]
        assert (await managed.bad(f"/onboarding/get_token?invite_link={link}", key=""))[0] == 401
        await managed.good("/invitation/update", {"invitation_id": link, "is_accepted": False})
        await begun(managed, link)
        await managed.good("/invitation/delete", {"invitation_id": link}, "team_admin")
        assert (await managed.bad("/invitation/info?invitation_id=" + link))[0] == 400
        assert link not in json.dumps(await managed.good("/audit?page_size=100"))
