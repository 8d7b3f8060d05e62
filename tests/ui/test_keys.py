"""The pages of virtual keys, in a real browser."""

from __future__ import annotations

import re

import pytest

from tests.e2e.serving import MASTER_KEY, Served
from tests.ui.browser import Browser
from tests.ui.filled import Filled, api, fill

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def filled(gateway: Served) -> Filled:
    """What is in the gateway of this file."""
    return fill(gateway, gateway.log.parent)


def secret_of(browser: Browser) -> str:
    """The key that a page shows."""
    return browser.text("#secret")


def info(filled: Filled, key: str) -> dict:
    """What the API says of a key."""
    return api(filled.served, f"/key/info?key={key}")["info"]


def test_keys_look_good(filled: Filled, admin: Browser) -> None:
    admin.shots("keys", "/ui/keys?sort=spend&order=desc")  # before there are many
    told = admin.do("paints")
    assert told["paint"] < 3000 and told["shifts"] < 0.02, told
    admin.shots("key", f"/ui/keys/{filled.ids['search-backend']}")
    admin.shots("key-new", "/ui/keys/new")
    admin.goto("/ui/keys/new")
    admin.fill(key_alias="in-a-picture")
    admin.click("button=Create key")
    admin.check()


def test_a_key_with_a_budget_takes_at_most_four_clicks(filled: Filled, admin: Browser) -> None:
    clicks = 0
    admin.goto("/ui")
    for target in ("link=Keys", "link=New key"):
        admin.click(target)
        clicks += 1
    admin.fill(max_budget="5", key_alias="five-dollars")
    admin.click("button=Create key")
    clicks += 1
    assert clicks <= 4
    key = secret_of(admin)
    told = info(filled, key)
    assert (told["max_budget"], told["key_alias"], told["spend"]) == (5, "five-dollars", 0)
    admin.check()
    # It works at once, with what is shown beside it.
    text = admin.do("html")
    assert f"curl {filled.served.url}/v1/chat/completions" in text and key in text
    for name in ("openai (Python)", "anthropic (Python)", "Claude Code", "Codex"):
        assert name in admin.text()
    answer = api(filled.served, "/v1/chat/completions",
                 {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}, key)  # fmt: skip
    assert answer["choices"]
    # And it is shown nowhere else.
    admin.click("link=The page of this key")
    assert key not in admin.do("html") and "five-dollars" in admin.text("h1")
    assert key not in filled.served.output()
    assert all(key not in one["value"] for one in admin.do("cookies"))


def test_what_cannot_be_is_told_beside_the_field(filled: Filled, admin: Browser) -> None:
    admin.goto("/ui/keys/new")
    admin.fill(max_budget="a lot", key_alias="kept as it was typed")
    admin.click("button=Create key")
    assert "'a lot' is not an amount of US dollars" in admin.text(".field .wrong")
    assert admin.do("value", target="[name=key_alias]") == "kept as it was typed"
    assert admin.do("value", target="[name=max_budget]") == "a lot"
    admin.fill(max_budget="", budget_duration="sometimes")
    admin.click("button=Create key")
    assert "sometimes" in admin.text(".field .wrong")
    admin.fill(budget_duration="")
    admin.click("summary >> text=Access")
    admin.fill(aliases="{broken")
    admin.click("button=Create key")
    assert "no JSON" in admin.text(".field .wrong") and admin.do("visible", target="[name=aliases]")
    admin.fill(aliases="", key_alias="ada-laptop")
    admin.click("button=Create key")
    assert "already exists" in admin.text(".field .wrong")
    admin.check()


def test_everything_of_a_key_is_changed_and_nothing_else(filled: Filled, admin: Browser) -> None:
    id_ = filled.ids["nightly-evaluations-of-everything-we-run-in-production"]
    before = info(filled, id_)
    admin.goto(f"/ui/keys/{id_}")
    admin.click("link=Edit")
    admin.click("button=Save")
    assert "Nothing was changed" in admin.text()
    after = info(filled, id_)
    assert {**after, "updated_at": ""} == {**before, "updated_at": ""}
    admin.click("link=Edit")
    admin.fill(max_budget="12.5", budget_duration="7d", models_more="openai/*")
    admin.do("check", target="[name=models][value=claude]")
    admin.click("summary >> text=Pace")
    admin.fill(rpm_limit="60", model_rpm_limit='{"claude": 5}')
    admin.click("summary >> text=Access")
    admin.fill(allowed_ips="10.0.0.0/8\n192.168.1.1", aliases='{"fast": "claude"}')
    admin.click("summary >> text=Rotation")
    admin.fill(metadata='{"owner": "ml"}')
    admin.click("button=Save")
    assert "The key is changed" in admin.text()
    told = info(filled, id_)
    assert (told["max_budget"], told["budget_duration"], told["rpm_limit"]) == (12.5, "7d", 60)
    assert set(told["models"]) == {"claude", "openai/*"} and told["aliases"] == {"fast": "claude"}
    assert told["allowed_ips"] == ["10.0.0.0/8", "192.168.1.1"]
    assert told["metadata"] == {"tags": ["batch"], "model_rpm_limit": {"claude": 5}, "owner": "ml"}
    assert told["expires"] == before["expires"]
    # What is emptied is taken away.
    admin.click("link=Edit")
    admin.fill(rpm_limit="", model_rpm_limit="", tags="")
    admin.click("button=Save")
    told = info(filled, id_)
    assert told["rpm_limit"] is None and told["metadata"].get("tags") in ([], None)
    assert "model_rpm_limit" not in told["metadata"] and told["metadata"]["owner"] == "ml"
    assert "rpm_limit" in admin.text("section:has(h2:text('Changes'))")


def test_a_key_is_blocked_rotated_and_deleted_after_a_question(filled: Filled, admin: Browser) -> None:
    filled.key("to-be-gone", max_budget=1)
    id_, old = filled.ids["to-be-gone"], filled.keys["to-be-gone"]
    admin.goto(f"/ui/keys/{id_}")
    admin.click("button=Block")
    assert "Block this key?" in admin.text("dialog")
    admin.click("dialog >> text=Cancel")
    assert info(filled, id_)["blocked"] in (None, False)
    admin.click("button=Block")
    admin.click("dialog button.bad")
    admin.do("wait", target="text=The key is blocked")
    assert info(filled, id_)["blocked"] is True
    admin.click("button=Unblock")
    assert "opens again" in admin.text() and info(filled, id_)["blocked"] is False
    admin.click("summary >> text=New secret")
    admin.do("select", target="[name=grace_period]", value="1h")
    admin.click("button=Rotate")
    admin.click("dialog button.bad")
    admin.do("wait", target="#secret")
    new = secret_of(admin)
    assert new != old and "opens for 1h more" in admin.text()
    for key in (new, old):
        assert api(filled.served, "/v1/models", key=key)["data"]
    api(filled.served, "/key/update", {"key": id_, "spend": 0.75})
    admin.goto(f"/ui/keys/{id_}")
    admin.click("button=Start the budget anew")
    admin.click("dialog button.bad")
    admin.do("wait", target="text=set back to nothing")
    assert info(filled, id_)["spend"] == 0
    admin.click("button=Delete")
    admin.click("dialog button.bad")
    admin.do("wait", target="text=The key is deleted")
    assert admin.path == "/ui/keys" and "to-be-gone" not in admin.text()
    assert admin.goto(f"/ui/keys/{id_}") == 404


def test_a_list_is_searched_sorted_and_paged_by_the_server(filled: Filled, admin: Browser) -> None:
    admin.goto("/ui/keys?sort=spend&order=desc")
    assert re.findall(r"search-backend|support-bot|grace-notebooks", admin.text("tbody"))[0] == "search-backend"
    admin.goto("/ui/keys?sort=spend&order=asc")
    assert re.findall(r"search-backend|support-bot|grace-notebooks", admin.text("tbody"))[-1] == "search-backend"
    admin.goto("/ui/keys")
    admin.fill(search="laptop")
    admin.click("button=Search")
    assert "ada-laptop" in admin.text("tbody") and "support-bot" not in admin.text("tbody")
    admin.goto("/ui/keys?state=revoked")
    assert "old-demo" in admin.text("tbody") and "ada-laptop" not in admin.text("tbody")
    admin.goto("/ui/keys?state=expired")
    assert "expired-trial" in admin.text("tbody")
    admin.goto("/ui/keys?team=t-support")
    assert "support-bot" in admin.text("tbody") and "$18.90 of $20.00" in admin.text("tbody")
    admin.goto("/ui/keys?search=nobody-has-this")
    assert "No key is like that" in admin.text()
    for number in range(52):
        filled.key(f"many-{number:02}", team_id="t-search")
    admin.goto("/ui/keys?search=many&sort=key_alias&order=asc")
    assert "many-00" in admin.text("tbody") and "many-51" not in admin.text("tbody")
    admin.click("text=Next →")
    assert "many-51" in admin.text("tbody") and "2 of 2" in admin.text()


def test_use_is_shown_live(filled: Filled, admin: Browser) -> None:
    key = filled.keys["search-backend"]
    ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    admin.goto(f"/ui/keys/{filled.ids['search-backend']}")
    before = admin.text("#uses")
    assert "of 120 in a minute" in before
    for _ in range(3):
        api(filled.served, "/v1/chat/completions", ask, key)
    admin.do("wait", target="#uses >> text=3 of 120 in a minute")
    admin.goto("/ui/keys?search=search-backend")
    assert "3 of 120 rpm" in admin.text("tbody")


def test_an_internal_user_sees_and_makes_keys_of_their_own(filled: Filled, browser: Browser) -> None:
    browser.sign_in(filled.keys["ada-laptop"])
    browser.goto("/ui/keys?sort=key_alias&order=asc")
    text = browser.text("tbody")
    assert "ada-laptop" in text and "grace-notebooks" not in text and "old-demo" not in text
    menu = browser.text("nav")
    assert "Keys" in menu and "Users" not in menu and "Budgets" not in menu
    assert browser.goto(f"/ui/keys/{filled.ids['grace-notebooks']}") == 404
    assert browser.goto("/ui/users") == 403
    browser.goto(f"/ui/keys/{filled.ids['ada-laptop']}")
    assert "Block" not in browser.text(".actions") and "Changes" not in browser.text()
    browser.goto("/ui/keys/new")
    browser.fill(key_alias="ada-second")
    browser.click("button=Create key")
    assert info(filled, secret_of(browser))["user_id"] == "ada"
    browser.goto("/ui/keys/new")
    browser.fill(user_id="grace")
    browser.click("button=Create key")
    assert browser.do("count", target="[role=alert]") >= 1 and browser.do("count", target="#secret") == 0


def test_keys_are_read_and_made_without_scripts(filled: Filled, browser: Browser) -> None:
    browser.open(script=False)
    browser.sign_in(MASTER_KEY)
    browser.goto("/ui/keys?search=search-")
    assert "search-backend" in browser.text("tbody")
    browser.goto("/ui/keys/new")
    browser.fill(key_alias="no-script")
    browser.click("button=Create key")
    assert info(filled, secret_of(browser))["key_alias"] == "no-script"
    browser.goto(f"/ui/keys/{filled.ids['support-bot']}")
    assert "$18.90 of $20.00" in browser.text() and "claude-sonnet-4-5" in browser.text()
