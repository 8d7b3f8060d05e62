"""Fixtures of the tests of pages: a gateway with keys, users and a mock upstream, and a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.mock import Mock, Script
from tests.e2e.serving import MASTER_KEY, Served, serving
from tests.ui.browser import Browser, browsing

MOCK_KEY = "sk-upstream-mock-90be42"
YAML = """
model_list:
  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: sk-upstream-mock-90be42}}
  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o-mini, api_base: "{mock}/v1",
     api_key: sk-upstream-mock-90be42}}
  - {model_name: claude, litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}",
     api_key: sk-upstream-mock-90be42}}
general_settings: {master_key: "{master}"}
router_settings: {num_retries: 1}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Mock]:
    """A mock upstream in a thread."""
    with Mock.thread(api_key=MOCK_KEY) as running:
        running.script = Script()
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: Mock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway as a process, with a database of its own; one for all tests of a file."""
    folder = tmp_path_factory.mktemp("ui")
    yaml = YAML.replace("{mock}", upstream.url).replace("{master}", MASTER_KEY)
    with serving(folder, yaml, PENSTOCK_STATE_DIR=str(folder / "state")) as running:
        yield running


@pytest.fixture(scope="session")
def session_browser() -> Iterator[Browser]:
    with browsing() as running:
        yield running


@pytest.fixture
def browser(session_browser: Browser, gateway: Served) -> Browser:
    """A browser that knows nothing yet, at the gateway."""
    session_browser.base = gateway.url
    session_browser.open()
    return session_browser


@pytest.fixture
def admin(browser: Browser) -> Browser:
    """A browser in which the master key is signed in."""
    browser.sign_in(MASTER_KEY)
    return browser
