"""The log of requests and each of them: searched, followed, explained, asked again of another model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.mock import Mock, Script
from penstock.mock.script import Step
from tests.e2e.serving import MASTER_KEY, Served, serving, until
from tests.ui.browser import Browser
from tests.ui.conftest import YAML
from tests.ui.traffic import chat, send

pytestmark = pytest.mark.timeout(600)
ROWS = ".log tbody tr"


@pytest.fixture(scope="module")
def gateway(upstream: Mock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway that keeps what is asked and answered, with some requests in its log."""
    folder = tmp_path_factory.mktemp("ui")
    yaml = YAML.replace("{mock}", upstream.url).replace("{master}", MASTER_KEY)
    yaml = yaml.replace("general_settings: {", "general_settings: {store_prompts_in_spend_logs: true, ")
    with serving(folder, yaml, PENSTOCK_STATE_DIR=str(folder / "state")) as running:
        fill(running, upstream)
        yield running


def fill(gateway: Served, upstream: Mock) -> None:
    """Good requests, some that failed, one that failed at first, and a slow one."""
    _, made = send(gateway, "/key/generate", {"key_alias": "support-bot"})
    for number in range(55):
        chat(
            gateway, ("gpt-4o", "claude")[number % 2], made["key"], metadata={"tags": ["nightly"]} if number < 3 else {}
        )
    upstream.script = Script(default=Step(status=429, error="Slow down, says the vendor"))
    assert chat(gateway, "claude")[0] == 429
    upstream.script = Script(queue=(Step(status=500),))
    assert chat(gateway, stream=True)[0] == 200
    upstream.script = Script(default=Step(latency_ms=700))
    assert chat(gateway, "claude", headers={"x-litellm-session-id": "s-1"})[0] == 200
    assert chat(gateway, "claude", headers={"x-penstock-route": "1"})[0] == 200
    upstream.script = Script()
    until(lambda: send(gateway, "/spend/logs/ui")[1]["total"] == 59, 10)


def test_the_log_is_searched_page_by_page(admin: Browser) -> None:
    admin.goto("/ui/requests")
    assert admin.do("count", target=ROWS) == 50
    admin.click("link=Older →")
    assert admin.do("count", target=ROWS) == 9
    admin.click("link=← Newest")
    for filters, rows in (
        ({"model": "claude", "key": "support-bot"}, 27),
        ({"model": "", "key": "", "tag": "nightly"}, 3),
        ({"tag": "", "text": "slow DOWN"}, 1),
        ({"text": "", "code": "429"}, 1),
        ({"code": "", "key": "nobody"}, 0),
    ):
        admin.fill(**filters)
        admin.click("button=Search")
        assert admin.do("count", target=ROWS) == rows, filters
    assert "No request is as you look for." in admin.text()
    admin.fill(key="", code="four")
    admin.click("button=Search")
    assert "error_code" in admin.text("main .bad")
    admin.check()


def test_it_is_followed(gateway: Served, admin: Browser) -> None:
    admin.goto("/ui/requests?key=support-bot&status=failure")
    admin.click("text=Follow")
    assert admin.do("count", target=ROWS) == 0
    _, made = send(gateway, "/key/list?return_full_object=true")
    key = next(one["token"] for one in made["keys"] if one["key_alias"] == "support-bot")
    _, fresh = send(gateway, f"/key/{key}/regenerate", {})
    assert chat(gateway, "nobody-has-this", fresh["key"])[0] == 400
    until(lambda: admin.do("count", target=ROWS) == 1, 10, "the new request in the log")
    admin.check()


def test_why_a_request_was_slow_is_four_clicks_away(admin: Browser) -> None:
    clicks = ["link=Requests", f"{ROWS}:nth-child(2) a"]
    admin.goto("/ui")
    for target in clicks:
        admin.click(target)
    text = admin.text()
    assert "of the time went to waiting for the upstream." in text
    assert "anthropic/claude-sonnet-4-5" in text and len(clicks) <= 4
    admin.check()


def test_a_request_is_told_in_every_detail(gateway: Served, admin: Browser) -> None:
    rows: list[Any] = send(gateway, "/spend/logs/ui?page_size=100")[1]["data"]
    tried = next(one for one in rows if one["metadata"]["attempts"] == 2)
    admin.shots("request", f"/ui/requests/{tried['litellm_call_id']}")
    text = admin.text()
    assert "500 upstream" in text and "the answer streams" in text and "Hello" in text
    assert [admin.do("text", target=f".fall:nth-child({n}) .what").split("\n")[0][:13] for n in (1, 2)] == [
        "the gateway i", "openai/gpt-4o",
    ]  # fmt: skip
    sums = admin.text("section[aria-labelledby=price]").split()
    assert sums[sums.index("Sum") + 1] == sums[sums.index("ledger") + 1] != "0"
    told = next(one for one in rows if "ms" in (one["metadata"]["way"] or {}))
    admin.goto(f"/ui/requests/{told['litellm_call_id']}")
    assert "key and limits" in admin.text() and "translated" in admin.text()
    admin.check()
    assert admin.goto("/ui/requests/nobody-knows-this") == 404


def test_another_model_is_asked_the_same(gateway: Served, admin: Browser) -> None:
    rows: list[Any] = send(gateway, "/spend/logs/ui?any_model=claude&status_filter=success")[1]["data"]
    admin.goto(f"/ui/requests/{rows[0]['litellm_call_id']}")
    admin.do("select", target="main [name=model]", value="gpt-4o")
    admin.click("button=Ask")
    assert "gpt-4o answers" in admin.text() and admin.do("count", target=".diff") == 1
    admin.check()


def test_they_look_good(admin: Browser) -> None:
    admin.shots("requests", "/ui/requests")


def test_without_scripts_all_can_be_read(browser: Browser) -> None:
    browser.open(script=False)
    browser.sign_in(MASTER_KEY)
    browser.goto("/ui/requests?status=failure")
    browser.click(f"{ROWS} a")
    assert "Where the time went" in browser.text()


def test_a_key_sees_its_own(gateway: Served, browser: Browser) -> None:
    _, made = send(gateway, "/key/generate", {"key_alias": "alone"})
    browser.sign_in(made["key"])
    browser.goto("/ui/requests")
    assert "Nobody has asked anything yet" in browser.text()
    rows: list[Any] = send(gateway, "/spend/logs/ui")[1]["data"]
    assert browser.goto(f"/ui/requests/{rows[0]['litellm_call_id']}") == 404


def test_without_a_database_the_last_ones_are_in_memory(
    session_browser: Browser, upstream: Mock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bare")
    yaml = YAML.replace("{mock}", upstream.url).replace('general_settings: {master_key: "{master}"}', "")
    with serving(folder, yaml, PENSTOCK_STATE_DIR=str(folder / "state")) as bare:
        for model in ("gpt-4o", "claude", "nobody-has-this"):
            chat(bare, model)
        session_browser.base = bare.url
        session_browser.open()
        session_browser.goto("/ui")
        session_browser.goto("/ui/requests")
        assert session_browser.do("count", target=ROWS) == 3 and "from memory" in session_browser.text()
        session_browser.click(f"{ROWS}:nth-child(2) a")
        assert "anthropic/claude-sonnet-4-5" in session_browser.text()
        session_browser.check()
