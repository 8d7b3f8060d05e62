"""The pages of models in a real browser: what there is, adding, trying, changing, disabling, deleting, and routing."""

from __future__ import annotations

import json

import pytest

from penstock.mock import Mock
from tests.e2e.serving import MASTER_KEY, Served
from tests.ui.browser import Browser
from tests.ui.conftest import MOCK_KEY

pytestmark = pytest.mark.timeout(600)


class Clicks:
    """Counts the clicks that somebody needs."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.count = 0

    def __call__(self, target: str) -> None:
        self.count += 1
        self._browser.click(target)


def add(admin: Browser, upstream: Mock, name: str, model: str = "gpt-4o-mini") -> None:
    admin.goto("/ui/models/new?provider=openai")
    admin.fill(model=model, model_name=name, api_key=MOCK_KEY, api_base=f"{upstream.url}/v1")
    admin.click("button=Add the model")
    assert admin.path.startswith("/ui/models/one/"), admin.text()


def test_a_model_is_added_with_four_clicks_and_serves(admin: Browser, upstream: Mock) -> None:
    admin.goto("/ui")
    click = Clicks(admin)
    click("nav a[href='/ui/models']")
    click("link=Add a model")
    click("a.pick[href$='provider=openai']")
    admin.fill(model="gpt-4o", model_name="mine", api_key=MOCK_KEY, api_base=f"{upstream.url}/v1")
    click("button=Add the model")
    assert click.count == 4
    assert "The model mine serves now" in admin.text(), admin.text()
    assert MOCK_KEY not in admin.do("html")
    admin.click("button=Test")
    admin.do("wait", target="text=It answers.")
    admin.check()
    admin.goto("/ui/models?search=mine")
    assert "stored here" in admin.text("tbody") and "openai/gpt-4o" in admin.text("tbody")


def test_a_model_is_tried_before_it_is_there(admin: Browser, upstream: Mock) -> None:
    admin.goto("/ui/models/new?provider=openai")
    admin.fill(model="gpt-4o", model_name="never", api_key="sk-wrong-key-0001", api_base=f"{upstream.url}/v1")
    admin.click("button=Test first")
    admin.do("wait", target="#tried >> text=It failed")
    admin.fill(api_key=MOCK_KEY)
    admin.click("button=Test first")
    admin.do("wait", target="#tried >> text=It answers.")
    assert admin.do("value", target="[name=api_key]") == MOCK_KEY, "what is typed stays where a script tries it"
    admin.goto("/ui/models")
    assert "never" not in admin.text()


def test_what_is_refused_stays_in_the_form_but_for_the_key(admin: Browser) -> None:
    admin.goto("/ui/models/new?provider=openai")
    admin.fill(model="gpt-4o", model_name="bad", api_key="sk-typed-31", api_base="http://127.0.0.1:1/v1")
    admin.click("summary:has-text('Price')")
    admin.fill(rpm="many", tags="one, two")
    admin.click("button=Add the model")
    assert "is wanted, not 'many'" in admin.text()
    assert admin.do("value", target="[name=model_name]") == "bad"
    assert admin.do("value", target="[name=tags]") == "one, two"
    assert "sk-typed-31" not in admin.do("html")
    admin.fill(rpm="10", more='{"no_such_thing_at_all": tru}')
    admin.click("button=Add the model")
    assert "A JSON object of litellm_params is wanted" in admin.text()
    admin.fill(more='{"timeout": "soon"}')
    admin.click("button=Add the model")
    assert "timeout" in admin.text(".note.bad, .wrong")
    admin.check()


def test_a_model_is_changed_disabled_and_deleted(admin: Browser, upstream: Mock) -> None:
    add(admin, upstream, "changing")
    admin.click("link=Edit")
    assert admin.do("value", target="[name=model]") == "gpt-4o-mini"
    assert MOCK_KEY not in admin.do("html")
    admin.fill(rpm="77", tags="cheap, fast", input_cost_per_token="1.5", output_cost_per_token="6")
    admin.click("button=Save")
    text = admin.text()
    assert "77" in text and "cheap" in text and "$1.50" in text, text
    admin.click("link=Edit")
    admin.fill(rpm="", input_cost_per_token="-3")
    admin.click("button=Save")
    assert "not below 0" in admin.text()
    admin.fill(input_cost_per_token="")
    admin.click("button=Save")
    assert "77" not in admin.text("dl.facts >> nth=3")
    admin.click("button=Disable")
    assert "It takes no traffic now." in admin.text() and "disabled" in admin.text()
    admin.goto("/ui/models/route?model=changing")
    assert "left out" in admin.text()
    admin.click("td a")
    admin.click("button=Enable")
    assert "It takes traffic again." in admin.text()
    admin.click("button=Test")
    admin.do("wait", target="text=It answers.")
    admin.click("button=Delete")
    admin.click("dialog button.bad")
    admin.do("wait", target="text=The deployment was deleted.")
    assert "changing" not in admin.text("table")


def test_what_stands_in_the_file_says_where(admin: Browser) -> None:
    admin.goto("/ui/models")
    admin.click("tbody:has-text('claude') td a")
    text = admin.text()
    assert ".yaml:" in text and "change it there, and reload" in text, text
    assert admin.do("count", target="text=Edit") == 0
    assert admin.do("count", target="button:has-text('Delete')") == 0


def test_where_a_request_would_go(admin: Browser) -> None:
    admin.goto("/ui/models/route")
    admin.fill(model="gpt-4o", text="Hello")
    admin.click("button=Explain")
    assert admin.text().count("openai/gpt-4o") >= 2 and "yes" in admin.text("table")
    admin.fill(text='{"messages": [{')
    admin.click("button=Explain")
    assert "This begins like JSON, and is none" in admin.text()
    admin.fill(model="no-such-model", text="Hello")
    admin.click("button=Explain")
    assert "no-such-model" in admin.text(".note.bad")
    admin.check()


def test_who_sees_everything_and_who_only_theirs(gateway: Served, browser: Browser) -> None:
    key = make_key(gateway, models=["claude"])
    browser.sign_in(key)
    browser.goto("/ui/models")
    text = browser.text()
    assert "claude" in text and "gpt-4o" not in text
    assert browser.do("count", target="text=Add a model") == 0
    browser.click("td a")
    assert ".yaml" not in browser.do("html")
    assert browser.do("count", target="button:has-text('Test')") == 0
    assert browser.goto("/ui/models/new") == 403


def make_key(gateway: Served, **given: object) -> str:
    """Make a virtual key by the gateway's own URL."""
    import urllib.request

    request = urllib.request.Request(
        gateway.url + "/key/generate", json.dumps(given).encode(),
        {"authorization": f"Bearer {MASTER_KEY}", "content-type": "application/json"},
    )  # fmt: skip
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        found: str = json.loads(answer.read())["key"]
    return found


def test_without_scripts_a_model_is_tried_and_added(gateway: Served, browser: Browser, upstream: Mock) -> None:
    browser.open(script=False)
    browser.sign_in(MASTER_KEY)
    browser.goto("/ui/models/new?search=openai")
    browser.click("a.pick[href$='provider=openai']")
    browser.fill(model="gpt-4o", model_name="plain", api_key=MOCK_KEY, api_base=f"{upstream.url}/v1")
    browser.click("button=Test first")
    assert "It answers." in browser.text()
    assert MOCK_KEY not in browser.do("html")
    browser.fill(api_key=MOCK_KEY)
    browser.click("button=Add the model")
    assert "The model plain serves now" in browser.text()


def test_the_pages_look_good(admin: Browser, upstream: Mock) -> None:
    add(admin, upstream, "a-name-that-is-rather-long/as-people-of-large-companies-like-to-have-them-2026-11-20")
    admin.shots("models", "/ui/models")
    admin.shots("models-new", "/ui/models/new")
    admin.shots("models-form", "/ui/models/new?provider=bedrock")
    admin.shots("models-one", admin_path(admin))
    admin.shots("models-route", "/ui/models/route?model=gpt-4o")
    admin.goto("/ui/models")
    told = admin.do("paints")
    assert told["paint"] < 1000 and told["shifts"] < 0.02, told


def admin_path(admin: Browser) -> str:
    """Where the first deployment's page is."""
    admin.goto("/ui/models")
    path: str = admin.do("eval", code="document.querySelector('td a').getAttribute('href')")
    return path
