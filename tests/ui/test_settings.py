"""Settings, their history and the audit log: changed in forms, looked at before, set back."""

from __future__ import annotations

import pytest

from tests.e2e.serving import MASTER_KEY, Served, until
from tests.ui.browser import Browser
from tests.ui.traffic import chat, send

pytestmark = pytest.mark.timeout(600)


def value(gateway: Served, section: str, name: str) -> object:
    rows = send(gateway, f"/config/section?section={section}")[1]["settings"]
    return next(one["value"] for one in rows if one["name"] == name)


def test_the_short_form_saves_through_the_api(gateway: Served, admin: Browser) -> None:
    """S1-50: provider list, key state, default model, temperature, tokens, Ollama's address, cache and costs."""
    admin.goto("/ui/settings")
    assert "OpenAI" in admin.text() and "ready" in admin.text()
    admin.fill(default_model="gpt-4o", temperature="warm", max_tokens="900", OLLAMA_BASE_URL="http://127.0.0.1:9/")
    admin.click("button=Save")
    assert "temperature is 'warm'" in admin.text()
    admin.fill(temperature="0.3")
    admin.do("check", target="main [name=cache]")
    admin.click("button=Save")
    assert "Saved." in admin.text()
    assert value(gateway, "router_settings", "default_litellm_params") == {"temperature": 0.3, "max_tokens": 900}
    assert value(gateway, "general_settings", "default_model") == "gpt-4o"
    assert value(gateway, "litellm_settings", "cache") is True
    assert admin.do("value", target="main [name=temperature]") == "0.3"
    assert "It is set" in admin.text() and "127.0.0.1:9" not in admin.do("html")
    admin.check()


def test_a_change_is_looked_at_saved_and_set_back(gateway: Served, admin: Browser) -> None:
    admin.goto("/ui/settings/router_settings?q=retries")
    admin.fill(num_retries="many")
    admin.click("button=Look at what changes")
    assert admin.do("value", target="main [name=num_retries]") == "many"
    assert "router_settings.num_retries" in admin.text("main .note.bad")
    admin.fill(num_retries="4")
    admin.click("button=Look at what changes")
    text = admin.text()
    assert "What this changes" in text and "It holds for the next request to each of 2 models" in text
    assert value(gateway, "router_settings", "num_retries") == 1
    admin.click("button=Save")
    assert value(gateway, "router_settings", "num_retries") == 4
    admin.goto("/ui/settings/history")
    admin.check()
    admin.click("button=What would change")
    assert "What going back changes" in admin.text()
    admin.click("button=Go back")
    assert "Set back." in admin.text() and value(gateway, "router_settings", "num_retries") == 1


def test_a_secret_is_never_shown(gateway: Served, admin: Browser) -> None:
    secret = "sk-metrics-token-5b1f09"
    send(
        gateway,
        "/config/change",
        {"changes": [{"section": "general_settings", "key": "metrics_token", "value": secret}]},
    )
    for path in ("/ui/settings/general_settings", "/ui/settings/history", "/ui/audit"):
        admin.goto(path)
        assert secret not in admin.do("html"), path
    status, text = send(gateway, "/config/yaml")
    assert status == 200 and secret not in str(text)


def test_they_look_good(admin: Browser) -> None:
    admin.shots("settings", "/ui/settings")
    admin.shots("settings-routing", "/ui/settings/router_settings")
    admin.shots("settings-history", "/ui/settings/history")


def test_the_audit_log_tells_what_was_before(gateway: Served, admin: Browser) -> None:
    _, made = send(gateway, "/key/generate", {"key_alias": "audited", "max_budget": 5})
    send(gateway, "/key/update", {"key": made["key"], "max_budget": 50})
    admin.goto("/ui/audit")
    admin.do("select", target="main [name=kind]", value="LiteLLM_VerificationToken")
    admin.click("button=Search")
    assert admin.do("count", target="details.change") == 2
    admin.do("click", target="details.change summary", wait=False)
    text = admin.text("details.change")
    assert "max_budget" in text and "5" in text and "50" in text
    assert made["key"] not in admin.do("html")
    admin.shots("audit", "/ui/audit")
    admin.fill(who="nobody")
    admin.click("button=Search")
    assert "Nothing was changed that is as you look for." in admin.text()


def test_who_may_not_change_settings_sees_no_button(gateway: Served, browser: Browser) -> None:
    status, made = send(gateway, "/user/new", {"user_id": "vic", "user_role": "proxy_admin_viewer"})
    assert status == 200, made
    browser.sign_in(made["key"])
    browser.goto("/ui/settings/router_settings")
    assert browser.do("count", target="main form[method=post]") == 0
    status, made = send(gateway, "/user/new", {"user_id": "ida", "user_role": "internal_user"})
    browser.sign_in(made["key"])
    assert browser.goto("/ui/settings") == 403 and "Settings" not in browser.text("nav")


def test_sessions_are_told_together(gateway: Served, admin: Browser) -> None:
    for number in range(3):
        chat(gateway, ("gpt-4o", "claude")[number % 2], headers={"x-litellm-session-id": "build-the-parser"})
    claude = {"user_id": "user_1f_account_2a_session_0d3f1c52-7c1e-4d53-8f5c-0b6a9e2f4a11"}
    body = {"model": "claude", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], "metadata": claude}
    assert send(gateway, "/v1/messages", body)[0] == 200
    assert chat(gateway, headers={"session_id": "codex-1"})[0] == 200
    until(lambda: len(send(gateway, "/spend/sessions")[1]["sessions"]) == 3, 10, "three sessions are stored")
    admin.goto("/ui/sessions")
    text = admin.text()
    assert "0d3f1c52-7c1e-4d53-8f5c-0b6a9e2f4a11" in text and "codex-1" in text and "claude, gpt-4o" in text
    admin.shots("sessions", "/ui/sessions")
    admin.click("link=build-the-parser")
    assert admin.do("count", target=".log tbody tr") == 3
    admin.check()


def test_without_scripts_settings_are_changed_too(gateway: Served, browser: Browser) -> None:
    browser.open(script=False)
    browser.sign_in(MASTER_KEY)
    browser.goto("/ui/settings/router_settings")
    browser.fill(allowed_fails="7")
    browser.click("button=Look at what changes")
    browser.click("button=Save")
    assert value(gateway, "router_settings", "allowed_fails") == 7
