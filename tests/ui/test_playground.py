"""The playground in a real browser: streamed, side by side, stopped, refused, as code, and without scripts."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from penstock.mock import Mock, Script, Step
from tests.e2e.serving import MASTER_KEY, Served
from tests.ui.browser import Browser
from tests.ui.test_models_pages import make_key

pytestmark = pytest.mark.timeout(600)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9AAAAFUlEQVR42mNk+M9Qz0AEYBxVSF+FABJADveWkH6oAAAAAElFTkSuQmCC"
)
TOOLS = json.dumps([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}])


@pytest.fixture(autouse=True)
def faithful(upstream: Mock) -> None:
    upstream.script = Script()


def ask(browser: Browser, **fields: str) -> None:
    browser.goto("/ui/playground")
    browser.fill(**fields)
    browser.click("button=Send")


def done(browser: Browser) -> str:
    browser.do("wait", target="[data-stop]", state="hidden")
    return browser.text("#columns")


def test_an_answer_is_streamed_with_its_figures(admin: Browser, upstream: Mock) -> None:
    upstream.script = Script(default=Step(text="Water runs through a penstock."))
    ask(admin, model0="gpt-4o", system="Be brief.", temperature="0.2", max_tokens="50", text="What is it?")
    text = done(admin)
    assert "Water runs through a penstock." in text and "first token" in text and "tokens" in text and "$" in text, text
    admin.fill(text="And then?")
    admin.click("button=Send")
    assert done(admin).count("Water runs") == 2, "the talk goes on"
    admin.check()


def test_two_models_stand_side_by_side(admin: Browser) -> None:
    admin.goto("/ui/playground?model=gpt-4o")
    admin.click("[data-more]")
    admin.fill(model1="claude", text="Hello")
    admin.click("button=Send")
    done(admin)
    assert admin.do("count", target="article.answer") == 2
    assert admin.do("count", target="article.answer .figures >> text=first token") == 2
    admin.check()


def test_it_can_be_stopped(admin: Browser, upstream: Mock) -> None:
    upstream.script = Script(default=Step(length=4000, tokens_per_second=20))
    ask(admin, model0="gpt-4o", text="Go on and on")
    admin.do("wait", target="p.said:not(:empty)")
    admin.click("button=Stop")
    assert "stopped" in done(admin)


def test_tools_schemas_and_pictures_go_along(admin: Browser, upstream: Mock, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PNG)
    upstream.script = Script(default=Step(tool_calls=({"name": "weather", "arguments": {"city": "Bern"}},)))
    admin.goto("/ui/playground?model=gpt-4o")
    admin.click("summary:has-text('Tools')")
    admin.fill(tools=TOOLS, text="What is this?")
    admin.do("upload", target="[name=image]", files=[str(tmp_path / "dot.png")])
    admin.do("wait", target="#pictures img")
    admin.click("button=Send")
    text = done(admin)
    assert "weather(" in text and "Bern" in text and "[1 picture]" in text, text
    admin.fill(tools="[{", text="again")
    admin.click("button=Send")
    assert "a JSON list is wanted" in admin.text("[data-wrong]")
    admin.check()


def test_errors_are_told_as_the_gateway_says_them(admin: Browser, upstream: Mock) -> None:
    ask(admin, model0="no-such-model", text="Hello")
    text = done(admin)
    assert "no-such-model" in text and "40" in text, text
    admin.do("said")


def test_the_request_as_code(admin: Browser) -> None:
    admin.goto("/ui/playground?model=gpt-4o")
    admin.fill(system="Be 'brief'.", text="Hello", max_tokens="20")
    admin.click("button=Copy as code")
    for name, words in {
        "curl": ("curl http", "$PENSTOCK_API_KEY", '"max_tokens": 20'),
        "openai": ("from openai import OpenAI", 'os.environ["PENSTOCK_API_KEY"]'),
        "anthropic": ("from anthropic import Anthropic", "system="),
        "penstock": ("from penstock.sdk import completion", "litellm_proxy/gpt-4o"),
    }.items():
        admin.click(f"[role=tab]:text-is('{name}')")
        code = admin.text("dialog code")
        assert all(word in code for word in words), code
        assert MASTER_KEY not in code
        if name != "curl":
            compile(code, name, "exec")
    admin.check()


def test_without_scripts_it_answers_whole(gateway: Served, browser: Browser, upstream: Mock, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PNG)
    (tmp_path / "text.png").write_bytes(b"no picture")
    upstream.script = Script(default=Step(text="Plainly said."))
    browser.open(script=False)
    browser.sign_in(MASTER_KEY)
    browser.goto("/ui/playground")
    browser.fill(model0="gpt-4o", model1="claude", text="Hello")
    browser.do("upload", target="[name=image]", files=[str(tmp_path / "dot.png")])
    browser.click("button=Send")
    assert browser.text("#columns").count("Plainly said.") == 2, browser.text()
    assert browser.do("value", target="[name=text]") == "Hello"
    browser.do("upload", target="[name=image]", files=[str(tmp_path / "text.png")])
    browser.click("button=Send")
    assert "This is no PNG, JPEG, GIF or WebP." in browser.text()
    browser.fill(max_tokens="few")
    browser.click("button=Send")
    assert "A number is wanted, not 'few'." in browser.text()
    browser.fill(max_tokens="", model0="no-such-model", model1="")
    browser.click("button=Send")
    assert "no-such-model" in browser.text(".answer .note.bad")


def test_a_key_asks_what_it_may(gateway: Served, browser: Browser) -> None:
    browser.sign_in(make_key(gateway, models=["claude"]))
    browser.goto("/ui/playground")
    names = browser.do("eval", code="[...document.querySelectorAll('#names option')].map((one) => one.value)")
    assert names == ["claude"]
    ask(browser, model0="gpt-4o", text="Hello")
    assert "gpt-4o" in done(browser)
    assert browser.do("count", target=".answer .note.bad") == 1
    ask(browser, model0="claude", text="Hello")
    assert "first token" in done(browser)


def test_it_looks_good(admin: Browser, upstream: Mock) -> None:
    admin.shots("playground", "/ui/playground?model=gpt-4o")
    upstream.script = Script(default=Step(text="A penstock is a pipe that brings water from a reservoir to a turbine."))
    admin.goto("/ui/playground?model=gpt-4o")
    admin.click("[data-more]")
    admin.fill(model1="claude", system="Answer in one sentence.", text="What is a penstock?")
    admin.click("button=Send")
    done(admin)
    admin.do("shot", path="artifacts/playground-two.png")
    admin.check()
