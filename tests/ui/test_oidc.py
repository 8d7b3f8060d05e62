"""Signing in by a real identity provider (the npm package oidc-provider, which is certified), in a real browser."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Mock
from tests.e2e.clients.install import node_client
from tests.e2e.serving import MASTER_KEY, Served, free_port, get, serving, until
from tests.ui.browser import Browser
from tests.ui.conftest import YAML

pytestmark = pytest.mark.timeout(600)
ROLES = "roles: {operators: proxy_admin, guests: internal_user_viewer}"


@pytest.fixture(scope="module")
def provided(upstream: Mock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, int]]:
    """A gateway and an identity provider that know each other."""
    clients, folder, port = node_client("identity-provider"), tmp_path_factory.mktemp("oidc"), free_port()
    yaml = YAML.replace("{mock}", upstream.url).replace("{master}", MASTER_KEY)
    yaml = yaml.replace(
        "general_settings: {",
        f"general_settings: {{oidc: {{issuer: 'http://127.0.0.1:{port}', client_id: penstock, name: the test company, "
        f"client_secret: 'a secret/of+the tests', {ROLES}}}, ",
    )
    with ExitStack() as stack:
        gateway = stack.enter_context(serving(folder, yaml, PENSTOCK_STATE_DIR=str(folder / "state")))
        script = Path(__file__).with_name("identity_provider.mjs")
        with (folder / "provider.log").open("wb") as log:
            process = subprocess.Popen(
                ["node", str(script), str(port), f"{gateway.url}/ui/oidc/back"],
                env={**os.environ, "CLIENTS": str(clients)}, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            where = f"http://127.0.0.1:{port}/.well-known/openid-configuration"
            until(lambda: get(where)[0] == 200, 30, (folder / "provider.log").read_text())
            yield gateway, port
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def gateway(provided: tuple[Served, int]) -> Served:
    return provided[0]


def enter(browser: Browser, name: str) -> None:
    """Sign in at the provider, on its own page."""
    browser.open()
    browser.goto("/ui/signin")
    browser.click("link=Sign in with the test company")
    browser.do("fill", target="[name=login]", value=name)
    browser.do("fill", target="[name=password]", value="whatever")
    browser.click("button[type=submit]")
    if browser.do("count", target="button[type=submit]") and "/interaction/" in browser.do("url"):
        browser.click("button[type=submit]")  # it asks whether that is wanted


def user(gateway: Served, name: str) -> dict[str, Any]:
    status, body = get(f"{gateway.url}/user/info?user_id={name}", authorization=f"Bearer {MASTER_KEY}")
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)["user_info"]
    return found


def test_groups_give_roles(gateway: Served, browser: Browser) -> None:
    enter(browser, "ada")
    assert browser.path == "/ui", browser.text("body")
    told = user(gateway, "ada")
    assert (told["user_role"], told["user_email"]) == ("proxy_admin", "ada@example.com")
    browser.do("said")  # what the provider's own page logs is its affair
    browser.goto("/ui")
    browser.check()
    enter(browser, "grace")
    assert browser.path == "/ui"
    assert user(gateway, "grace")["user_role"] == "internal_user_viewer"
    enter(browser, "ada")  # who is known already
    assert browser.path == "/ui"


def test_who_is_in_no_group_gets_nowhere(gateway: Served, browser: Browser) -> None:
    enter(browser, "nobody")
    assert browser.path.startswith("/ui/oidc/back")
    assert "none of your groups" in browser.text()
    browser.goto("/ui")
    assert browser.path == "/ui/signin"


def test_a_sign_in_of_somebody_else_is_not_taken(gateway: Served, browser: Browser) -> None:
    browser.open()
    assert browser.goto("/ui/oidc/back?code=stolen&state=forged") == 401
    assert "not begun here" in browser.text()
    assert browser.goto("/ui/oidc/back?error=access_denied&error_description=No+<b>") == 401
    assert "No <b>" in browser.text()
    enter(browser, "ada")
    browser.do("goto", url=f"{gateway.url}/ui/oidc/back?code=again&state=x")
    assert "not begun here" in browser.text()
