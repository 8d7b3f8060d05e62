"""The pages of providers in a real browser: which keys are there, keeping one, asking a provider, and deleting it."""

from __future__ import annotations

import pytest

from penstock.mock import Mock
from tests.e2e.serving import Served
from tests.ui.browser import Browser
from tests.ui.conftest import MOCK_KEY
from tests.ui.test_models_pages import make_key

pytestmark = pytest.mark.timeout(600)


def test_every_provider_and_where_its_key_is(admin: Browser) -> None:
    admin.goto("/ui/providers")
    assert admin.do("count", target="tbody tr") > 150
    row = admin.text("tr:has(a:text-is('openai'))")
    assert "at its models" in row and "OPENAI_API_KEY" in row, row
    assert "missing" in admin.text("tr:has(a:text-is('groq'))")
    assert "needs none" in admin.text("tr:has(a:text-is('ollama'))")
    admin.goto("/ui/providers?search=GROQ_API")
    assert admin.do("count", target="tbody tr") == 1
    admin.goto("/ui/providers?only=used")
    assert "groq" not in admin.text("#rows")
    admin.goto("/ui/providers?search=nobody-has-this")
    assert "No provider fits." in admin.text()


def test_the_list_is_searched_as_one_types(admin: Browser) -> None:
    admin.goto("/ui/providers")
    admin.do("fill", target="[name=search]", value="deepseek")
    admin.do("wait", target="#rows:not(:has-text('groq'))")
    assert "deepseek" in admin.text("#rows")
    admin.check()


def test_a_key_is_kept_asked_with_and_deleted(admin: Browser, upstream: Mock) -> None:
    admin.goto("/ui/providers/groq")
    admin.click("button=Keep the key")
    assert "Type the key in." in admin.text()
    admin.click("summary:has-text('Name and address')")
    admin.fill(api_key="sk-wrong-0815", api_base=f"{upstream.url}/v1")
    admin.click("button=Keep the key")
    text = admin.text()
    assert "The credential groq is kept" in text and "set here" in text, text
    assert "sk-wrong-0815" not in admin.do("html")
    admin.click("button=Test")
    admin.do("wait", target="text=The key is refused")
    admin.click("summary:has-text('Name and address')")
    admin.fill(api_key=MOCK_KEY)
    admin.click("button=Keep the key")
    admin.click("button=Test groq")
    admin.do("wait", target="text=It answers.")
    assert "lists 1 models" in admin.text() or "models" in admin.text("#told")
    admin.check()
    admin.goto("/ui/models/new?provider=groq")
    assert admin.do("value", target="[name=litellm_credential_name]") == "groq", "what is kept is chosen"
    admin.fill(model="llama-3", model_name="quick")
    admin.click("button=Add the model")
    admin.click("button=Test")
    admin.do("wait", target="text=It answers.")
    admin.goto("/ui/providers/groq")
    admin.click("button=Delete")
    admin.click("dialog button.bad")
    admin.do("wait", target="text=means this credential")


def test_what_cannot_be_asked_says_why(admin: Browser) -> None:
    admin.goto("/ui/providers/mistral")
    admin.click("button=Test")
    admin.do("wait", target="#told .note.bad")
    assert "API_KEY" in admin.text("#told") or "key" in admin.text("#told")
    assert admin.goto("/ui/providers/no-such") == 404


def test_it_is_none_of_a_user(gateway: Served, browser: Browser) -> None:
    browser.sign_in(make_key(gateway))
    assert browser.goto("/ui/providers") == 403
    assert "Providers" not in browser.text("nav")


def test_the_pages_look_good(admin: Browser) -> None:
    admin.shots("providers", "/ui/providers")
    admin.shots("providers-one", "/ui/providers/anthropic")
