"""The overview: what runs, what it costs, what needs attention; for who sees everything, and for who does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.mock import Mock, Script
from penstock.mock.script import Step
from tests.e2e.serving import MASTER_KEY, Served, until
from tests.ui.browser import Browser
from tests.ui.traffic import chat, send

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def busy(gateway: Served, upstream: Mock) -> Served:
    """A gateway that has a team, keys and some traffic: most of it good."""
    _, team = send(gateway, "/team/new", {"team_alias": "search"})
    keys = []
    for name, more in (
        ("ci-runner", {"max_budget": 0.0004}),
        ("support-bot", {"team_id": team["team_id"], "max_budget": 100}),
        ("notebook of somebody with a rather long name", {"duration": "2d"}),
    ):
        status, made = send(gateway, "/key/generate", {"key_alias": name, **more})
        assert status == 200, made
        keys.append(made["key"])
    assert send(gateway, "/key/update", {"key": keys[0], "spend": 0.0005})[0] == 200
    for number in range(60):
        chat(gateway, ("gpt-4o", "claude")[number % 3 == 1], keys[number % 3], stream=number % 2 == 0)
    until(lambda: chat(gateway, "gpt-4o", keys[0])[0] == 422, 20, "the budget is used up")
    upstream.script = Script(default=Step(status=500))
    for _ in range(4):
        chat(gateway, "claude", keys[1])
    upstream.script = Script()
    return gateway


def test_it_shows_what_runs_and_what_needs_attention(busy: Served, admin: Browser) -> None:
    admin.goto("/ui")
    text = admin.text()
    assert "Needs attention" in text
    assert "The budget of the key ci-runner" in text and "The key notebook of somebody" in text
    assert "claude (anthropic/claude-sonnet-4-5)" in text
    assert admin.do("count", target=".cells li") == 3
    admin.check()
    admin.click("link=The budget of the key ci-runner is used up")
    assert admin.path.startswith("/ui/keys/")


def test_it_lives(busy: Served, admin: Browser) -> None:
    admin.goto("/ui?minutes=5")
    before = admin.text(".tile .value")
    chat(busy)
    until(lambda: admin.text(".tile .value") != before, 10, "another number of requests")
    assert admin.do("count", target=".chart canvas") == 6
    admin.check()


def test_it_looks_good(busy: Served, admin: Browser) -> None:
    admin.shots("overview", "/ui")
    told: dict[str, Any] = admin.do("paints")
    assert told["paint"] < 1000 and told["shifts"] < 0.02, told


def test_it_can_be_read_without_scripts(busy: Served, browser: Browser) -> None:
    browser.open(script=False)
    browser.sign_in(MASTER_KEY)
    text = browser.text()
    assert "Needs attention" in text and "Who spends most" in text and "search" in text


def test_an_internal_user_sees_his_own(busy: Served, browser: Browser) -> None:
    status, made = send(busy, "/user/new", {"user_id": "ida", "user_role": "internal_user"})
    assert status == 200, made
    chat(busy, key=made["key"])
    until(lambda: "gpt-4o" in json.dumps(send(busy, "/gateway/top", key=made["key"])[1]), 5)
    browser.sign_in(made["key"])
    browser.goto("/ui")
    text = browser.text()
    assert "Needs attention" not in text and "ci-runner" not in text and "Models that you may ask" in text
    assert "Who spends most" in text and "gpt-4o" in text
    browser.check()
