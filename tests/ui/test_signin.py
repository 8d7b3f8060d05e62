"""Signing in and out, in a real browser and without one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.e2e.serving import MASTER_KEY, Served
from tests.ui.browser import Browser

pytestmark = pytest.mark.timeout(600)  # the first run installs the browser


def test_a_page_asks_who_it_is_and_goes_on_where_one_wanted_to(gateway: Served, browser: Browser) -> None:
    browser.goto("/ui?x=1")
    assert browser.path == "/ui/signin?next=%3Fx%3D1"
    browser.fill(secret="sk-wrong")
    browser.click("button=Sign in")
    assert "no key or password that opens these pages" in browser.text()
    browser.check()
    browser.fill(secret=MASTER_KEY)
    browser.click("button=Sign in")
    assert browser.path == "/ui"
    assert "Overview" in browser.text("h1")
    cookie = next(one for one in browser.do("cookies") if one["name"] == "penstock_session")
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/ui")
    assert MASTER_KEY not in cookie["value"]
    browser.click("text=Sign out")
    assert browser.path == "/ui/signin"
    browser.goto("/ui")
    assert browser.path == "/ui/signin"


def test_the_link_of_the_start_signs_in_once(gateway: Served, browser: Browser) -> None:
    path = re.findall(r"/ui/enter\?code=\S+", gateway.output())[0]
    browser.goto(path)
    assert browser.path == "/ui"
    browser.open()
    assert browser.goto(path) == 401
    assert "This link was used" in browser.text()


def test_everything_can_be_done_without_scripts(gateway: Served, browser: Browser) -> None:
    browser.open(script=False)
    browser.sign_in(MASTER_KEY)
    assert browser.path == "/ui"
    assert browser.do("visible", target="nav")


def test_sign_in_looks_good(gateway: Served, browser: Browser) -> None:
    browser.shots("signin", "/ui/signin")
    told: dict[str, Any] = browser.do("paints")
    assert told["paint"] < 1000 and told["shifts"] < 0.02, told
