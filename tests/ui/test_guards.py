"""The page of guards in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.mock import Mock
from tests.e2e.serving import MASTER_KEY, Served, serving
from tests.ui.browser import Browser
from tests.ui.conftest import YAML

TOKEN = "ghp_" + "Zx9Qw7Er5Ty3Ui1OpAs2Df4Gh6Jk8Lm0NbVc"
pytestmark = pytest.mark.timeout(600)
GUARDS = """
guardrails:
  - guardrail_name: no-secrets
    litellm_params: {guardrail: hide-secrets, mode: [pre_call, post_call], default_on: true}
  - guardrail_name: no-competitors
    litellm_params: {guardrail: banned_words, mode: pre_call, banned_words: [tulip], on_error: allow}
  - guardrail_name: broken
    litellm_params: {guardrail: regex, mode: pre_call, regex: ["("]}
"""


@pytest.fixture(scope="module")
def gateway(upstream: Mock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("guards")
    yaml = YAML.replace("{mock}", upstream.url).replace("{master}", MASTER_KEY) + GUARDS
    with serving(folder, yaml, PENSTOCK_STATE_DIR=str(folder / "state")) as running:
        yield running


def test_guards_are_listed_and_tried(admin: Browser) -> None:
    admin.shots("guards", "/ui/guards")
    text = admin.text()
    assert "no-secrets" in text and "every request" in text and "cannot be used" in text
    admin.do("select", target="main [name=guard]", value="no-competitors")
    admin.fill(text="a tulip")
    admin.click("button=Judge")
    assert "Content blocked: BANNED_WORD" in admin.text()
    assert admin.do("value", target="main [name=text]") == "a tulip"
    admin.do("select", target="main [name=guard]", value="no-secrets")
    admin.fill(text=f"my key is {TOKEN}")
    admin.click("button=Judge")
    assert "GITHUB_TOKEN" in admin.text() and TOKEN not in admin.text("main pre")
    admin.check()
