"""The pages of teams, users, organisations and budgets, and the one behind an invitation."""

from __future__ import annotations

import re

import pytest

from tests.e2e.serving import Served
from tests.ui.browser import Browser
from tests.ui.filled import Filled, api, fill

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def filled(gateway: Served) -> Filled:
    """What is in the gateway of this file."""
    return fill(gateway, gateway.log.parent)


def agree(browser: Browser, button: str) -> None:
    """Press a button that asks first, and say yes."""
    browser.click(f"button={button}")
    browser.click("dialog button.bad")
    browser.do("wait", target="p.note[role=status], .nothing")


def test_they_look_good(filled: Filled, admin: Browser) -> None:
    admin.shots("teams", "/ui/teams")
    admin.shots("team", "/ui/teams/t-search")
    admin.shots("users", "/ui/users")
    for path in ("/ui/teams/new", "/ui/teams/t-search/edit", "/ui/users/new", "/ui/users/ada", "/ui/users/ada/edit",
                 "/ui/organizations", "/ui/organizations/north", "/ui/organizations/north/edit", "/ui/organizations/new",
                 "/ui/budgets", "/ui/budgets/interns", "/ui/budgets/interns/edit", "/ui/budgets/new"):  # fmt: skip
        assert admin.goto(path) == 200, path
        admin.check()


def test_a_team_is_made_changed_and_deleted(filled: Filled, admin: Browser) -> None:
    admin.goto("/ui/teams")
    admin.click("link=New team")
    admin.fill(team_alias="Research", team_id="t-research", max_budget="much")
    admin.click("button=Create team")
    assert "'much' is not an amount" in admin.text(".field .wrong")
    admin.fill(max_budget="40", budget_duration="30d")
    admin.click("summary >> text=Each member")
    admin.fill(team_member_budget="7")
    admin.click("button=Create team")
    assert admin.path == "/ui/teams/t-research" and "Research" in admin.text("h1")
    told = api(filled.served, "/team/info?team_id=t-research")["team_info"]
    assert (told["max_budget"], told["team_member_budget_table"]["max_budget"]) == (40, 7)
    admin.click("link=Edit")
    assert admin.do("value", target="[name=team_member_budget]") == "7"
    admin.click("summary >> text=Access")
    admin.fill(max_budget="", model_aliases='{"best": "claude"}')
    admin.click("button=Save")
    told = api(filled.served, "/team/info?team_id=t-research")["team_info"]
    assert told["max_budget"] is None and told["model_aliases"] == {"best": "claude"}
    # Members.
    admin.fill(who="nobody@example.com")
    admin.click("button=Add member")
    assert "nobody@example.com is in the team" in admin.text()
    admin.do("select", target="tbody [name=role]", value="admin")
    admin.do("fill", target="tbody [name=max_budget_in_team]", value="3")
    admin.click("tbody >> button:text('Save')")
    [member] = api(filled.served, "/team/info?team_id=t-research")["team_memberships"]
    assert member["role"] == "admin" and member["litellm_budget_table"]["max_budget"] == 3
    agree(admin, "Remove")
    assert api(filled.served, "/team/info?team_id=t-research")["team_memberships"] == []
    agree(admin, "Block")
    assert "blocked" in admin.text("h1")
    admin.click("button=Unblock")
    assert "blocked" not in admin.text("h1")
    agree(admin, "Delete")
    assert admin.path == "/ui/teams" and "Research" not in admin.text("main")


def test_who_is_invited_sets_a_password_and_is_signed_in(filled: Filled, admin: Browser) -> None:
    admin.goto("/ui/users")
    admin.click("link=Invite")
    admin.fill(user_email="linus@example.com", max_budget="9")
    admin.click("button=Invite")
    link = re.findall(r"http://\S+/ui/invitation\?id=\S+", admin.text(".code"))[0]
    assert link.startswith(filled.served.url)
    admin.check()
    users = api(filled.served, "/user/list?search=linus")["users"]
    assert [(one["user_role"], one["max_budget"]) for one in users] == [("internal_user", 9)]
    admin.goto("/ui/users/" + users[0]["user_id"])
    assert link.partition("id=")[2] not in admin.do("html")
    browser = admin
    browser.open()
    path = link.removeprefix(filled.served.url)
    browser.goto(path)
    browser.check()
    browser.fill(password="correct horse", again="another horse")
    browser.click("button=Set password and sign in")
    assert "not the same" in browser.text()
    browser.fill(password="correct horse battery", again="correct horse battery")
    browser.click("button=Set password and sign in")
    assert browser.path == "/ui" and "Welcome" in browser.text()
    assert "Users" not in browser.text("nav")
    # The link held once.
    browser.open()
    assert browser.goto(path) == 401 and "already been used" in browser.text()
    browser.check()
    assert "correct horse" not in filled.served.output()
    browser.goto("/ui/signin")
    browser.fill(name="linus@example.com", secret="correct horse battery")
    browser.click("button=Sign in")
    assert browser.path == "/ui"


def test_a_user_is_changed_and_deleted(filled: Filled, admin: Browser) -> None:
    api(filled.served, "/user/new", {"user_id": "gone", "user_email": "gone@example.com", "auto_create_key": False})
    admin.goto("/ui/users?search=gone")
    admin.click("link=gone@example.com")
    admin.click("link=Edit")
    admin.do("select", target="[name=user_role]", value="proxy_admin_viewer")
    admin.fill(max_budget="-3")
    admin.click("button=Save")
    assert "no amount of US dollars" in admin.text(".field .wrong")
    admin.fill(max_budget="3")
    admin.click("button=Save")
    told = api(filled.served, "/v2/user/info?user_id=gone")
    assert (told["user_role"], told["max_budget"], told["user_email"]) == ("proxy_admin_viewer", 3, "gone@example.com")
    admin.click("button=New invitation link")
    assert "/ui/invitation?id=" in admin.text(".code")
    admin.goto("/ui/users/gone")
    agree(admin, "Delete")
    assert admin.path == "/ui/users" and "gone@example.com" not in admin.text()


def test_budgets_and_organisations_are_made_changed_and_deleted(filled: Filled, admin: Browser) -> None:
    admin.goto("/ui/budgets")
    assert "interns" in admin.text("tbody")
    admin.click("link=New budget")
    admin.fill(budget_id="partners", max_budget="25", budget_duration="30d")
    admin.click("button=Create budget")
    assert "partners" in admin.text("h1") and "$25.00 per 30d" in admin.text()
    admin.click("link=Edit")
    admin.fill(max_budget="30", rpm_limit="5")
    admin.click("button=Save")
    [told] = api(filled.served, "/budget/info", {"budgets": ["partners"]})
    assert (told["max_budget"], told["rpm_limit"], told["budget_duration"]) == (30, 5, "30d")
    agree(admin, "Delete")
    assert "partners" not in admin.text("main tbody")
    admin.goto("/ui/budgets/interns")
    assert "grace-notebooks" in admin.text() and "$4.90 of $5.00" in admin.text()
    agree(admin, "Delete")
    assert "has this budget" in admin.text(".note.bad")
    admin.goto("/ui/organizations")
    admin.click("link=New organisation")
    admin.fill(organization_alias="South", organization_id="south", max_budget="70")
    admin.click("button=Create organisation")
    admin.click("link=Edit")
    assert admin.do("value", target="[name=max_budget]") == "70"
    admin.fill(max_budget="80")
    admin.click("button=Save")
    told = api(filled.served, "/organization/info?organization_id=south")
    assert told["litellm_budget_table"]["max_budget"] == 80 and told["organization_alias"] == "South"
    admin.fill(who="ada")
    admin.click("button=Add member")
    assert "ada is in it" in admin.text()
    agree(admin, "Remove")
    assert api(filled.served, "/organization/info?organization_id=south")["members"] == []
    agree(admin, "Delete")
    assert "South" not in admin.text("main")


def test_a_teams_admin_changes_its_members_and_no_more(filled: Filled, browser: Browser) -> None:
    browser.sign_in(filled.keys["ada-laptop"])
    browser.goto("/ui/teams")
    assert "Search" in browser.text("tbody") and browser.do("count", target="text=New team") == 0
    browser.goto("/ui/teams/t-search")
    assert "Add member" in browser.text() and "Delete" not in browser.text(".actions")
    browser.sign_in(filled.keys["grace-notebooks"])
    browser.goto("/ui/teams/t-search")
    assert "Add member" not in browser.text() and browser.do("count", target=".actions a") == 0
    browser.goto("/ui/teams/t-search/edit")
    browser.fill(team_alias="Mine now")
    browser.click("button=Save")
    assert "may change it" in browser.text("[role=alert]")
    for path in ("/ui/users", "/ui/users/new", "/ui/budgets", "/ui/organizations"):
        assert browser.goto(path) == 403, path
