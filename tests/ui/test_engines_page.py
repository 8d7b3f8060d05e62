"""The pages of engines and batches in a real browser: started, stopped, its log; made of a file, cancelled, read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.mock import Mock, Script, Step
from tests.e2e.serving import MASTER_KEY, Served, serving
from tests.ui.browser import Browser
from tests.ui.conftest import YAML
from tests.ui.test_models_pages import make_key

pytestmark = pytest.mark.timeout(600)
ENGINE = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Says(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *words):
        pass
print("loading <b>weights</b>", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Says).serve_forever()
"""


@pytest.fixture(scope="module")
def gateway(upstream: Mock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with an engine that starts, and one that does not."""
    folder = tmp_path_factory.mktemp("engines")
    (folder / "engine.py").write_text(ENGINE)
    engines = {
        "slots": 1,
        "models": {
            "small": {"command": f"{sys.executable} {folder / 'engine.py'} {{port}}", "health": "/"},
            "broken": {"command": f"{sys.executable} -c 'raise SystemExit(\"no weights here\")' {{port}}", "health": "/"},
        },
    }
    yaml = YAML.replace("{mock}", upstream.url).replace("{master}", MASTER_KEY)
    with serving(folder, f"{yaml}engines: {json.dumps(engines)}\n", PENSTOCK_STATE_DIR=str(folder / "state")) as running:
        yield running


def test_an_engine_is_started_and_stopped(admin: Browser) -> None:
    admin.goto("/ui/engines")
    text = admin.text()
    assert "small" in text and "unloaded" in text, text
    admin.click("link=small")
    admin.click("button=Start")
    admin.do("wait", target=".chip:text-is('ready')")
    assert "loading <b>weights</b>" in admin.text("pre.log")
    admin.check()
    admin.shots("engines-one", "/ui/engines/small")
    admin.shots("engines", "/ui/engines")
    admin.goto("/ui/engines/small")
    admin.click("button=Give back memory")
    assert "It gives back its memory" in admin.text()
    admin.click("button=Stop")
    admin.click("dialog button.bad")
    admin.do("wait", target=".chip:text-is('stopped')")


def test_an_engine_that_fails_says_why(admin: Browser) -> None:
    admin.open(script=False)
    admin.sign_in(MASTER_KEY)
    admin.goto("/ui/engines/broken")
    admin.click("button=Start")
    assert "no weights here" in admin.text(), admin.text()
    assert admin.goto("/ui/engines/no-such") == 404


def lines(*models: str) -> str:
    asked = [{"role": "user", "content": "Hello"}]
    return "\n".join(
        json.dumps(
            {"custom_id": str(i), "method": "POST", "url": "/v1/chat/completions",
             "body": {"model": model, "messages": asked}}
        )
        for i, model in enumerate(models)
    )  # fmt: skip


def test_a_batch_is_made_of_a_file_and_read(admin: Browser, upstream: Mock, tmp_path: Path) -> None:
    upstream.script = Script(default=Step(text="Said in a batch."))
    (tmp_path / "work.jsonl").write_text(lines("gpt-4o", "claude", "no-such-model"))
    admin.goto("/ui/batches")
    admin.click("button=Make the batch")
    assert "Choose a file of JSON lines" in admin.text()
    admin.do("upload", target="[name=file]", files=[str(tmp_path / "work.jsonl")])
    admin.click("button=Make the batch")
    assert "was made of work.jsonl" in admin.text(), admin.text()
    admin.do("wait", target="tbody a:text-is('output')")
    assert "2 of 3" in admin.text("tbody") and "1 failed" in admin.text("tbody")
    for name, word in (("output", "Said in a batch."), ("errors", "no-such-model")):
        said = admin.do("eval", code=f"fetch([...document.querySelectorAll('tbody a')].find((a) => a.textContent === '{name}').href).then((r) => r.text())")
        assert word in said, said
    admin.check()


def test_a_batch_is_typed_in_and_cancelled_without_scripts(browser: Browser, upstream: Mock) -> None:
    upstream.script = Script(default=Step(latency_ms=20_000))
    browser.open(script=False)
    browser.sign_in(MASTER_KEY)
    browser.goto("/ui/batches")
    browser.click("summary:has-text('Make a batch')")
    browser.fill(lines=lines("gpt-4o"))
    browser.click("button=Make the batch")
    browser.click("button=Cancel")
    assert "The batch is being cancelled." in browser.text()
    assert "cancel" in browser.text("tbody tr:first-child")
    upstream.script = Script()


def test_who_sees_which(gateway: Served, browser: Browser) -> None:
    browser.sign_in(make_key(gateway))
    assert browser.goto("/ui/engines") == 403
    browser.goto("/ui/batches")
    assert "There are no batches yet." in browser.text(), "only one's own"


def test_batches_look_good(admin: Browser) -> None:
    admin.shots("batches", "/ui/batches")
