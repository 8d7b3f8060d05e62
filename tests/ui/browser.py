"""A real browser, Debian's Chromium driven by Playwright: installed by the tests, else they are skipped with the reason.

Its console stays clean: what a page logs as a warning or an error fails the test that sees it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients.install import node_client

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"
PICTURES = ("overview", "request", "keys")
"""What README.md shows; `PENSTOCK_PICTURES=1` makes them anew."""
DOCS = Path(__file__).resolve().parents[2] / "docs" / "pictures"
SIZES = {"desktop": (1280, 800), "tablet": (820, 1180), "phone": (390, 844)}
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")
SERIOUS = ("serious", "critical")


class Browser:
    """``goto``, ``click``... by the names in ``browser.mjs``: ``browser.do("click", target="button=Save")``."""

    def __init__(self, process: subprocess.Popen[str], base: str = "") -> None:
        self._process = process
        self.base = base

    def do(self, name: str, **given: Any) -> Any:
        """Tell the browser one thing, and wait for it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": name, **given}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser ended"
        answer = json.loads(line)
        assert "bad" not in answer, f"{name} {given}: {answer}"
        return answer["good"]

    def open(self, size: str = "desktop", **given: Any) -> None:
        """Begin anew, with no cookies. ``script=False``: JavaScript is off; ``dark=True``."""
        width, height = SIZES[size]
        self.do("open", width=width, height=height, mobile=size == "phone", **given)

    def goto(self, path: str) -> int:
        """Open a page of the gateway's; its status."""
        status: int = self.do("goto", url=self.base + path)
        return status

    def click(self, target: str) -> None:
        self.do("click", target=target)

    def fill(self, **fields: str) -> None:
        """Fill fields in by their names in the form."""
        for name, value in fields.items():
            self.do("fill", target=f"main [name='{name}']", value=value)

    def text(self, target: str = "main") -> str:
        found: str = self.do("text", target=target)
        return found

    @property
    def path(self) -> str:
        """Where the browser is, below the gateway."""
        url: str = self.do("url")
        return url.removeprefix(self.base)

    def sign_in(self, key: str) -> None:
        self.goto("/ui/signin")
        self.fill(secret=key)
        self.click("button=Sign in")

    def check(self) -> None:
        """The console is clean, and axe-core finds no serious fault in what is shown."""
        assert self.do("said") == []
        found = [one for one in self.do("axe") if one["impact"] in SERIOUS]
        assert found == [], json.dumps(found, indent=1)

    def shots(self, name: str, path: str) -> None:
        """Show a page at three sizes and in the dark, keep pictures of it, and check each."""
        ARTIFACTS.mkdir(exist_ok=True)
        for size, (width, height) in SIZES.items():
            self.do("resize", width=width, height=height)
            assert self.goto(path) < 400, path
            wide = self.do("eval", code="document.documentElement.scrollWidth - innerWidth")
            self.do("shot", path=str(ARTIFACTS / f"{name}-{size}.png"))
            if size == "desktop" and name in PICTURES and os.environ.get("PENSTOCK_PICTURES"):
                shutil.copy(ARTIFACTS / f"{name}-{size}.png", DOCS / f"{name}.png")
            assert wide <= 0, f"{path} is {wide} pixels wider than a {size}"
            self.check()
        self.do("resize", width=SIZES["desktop"][0], height=SIZES["desktop"][1])
        self.do("scheme", dark=True)
        self.goto(path)
        self.do("shot", path=str(ARTIFACTS / f"{name}-dark.png"))
        self.check()
        self.do("scheme", dark=False)


@cache
def find_chromium() -> str | None:
    """Return a browser of this machine; Debian's package where root may install it."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found or os.geteuid() != 0 or not shutil.which("apt-get"):
        return found
    with (Path(tempfile.gettempdir()) / "penstock-tests-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES]
        for command in (install, ["apt-get", "update", "-q"], install):
            if not shutil.which("chromium"):
                with suppress(OSError, subprocess.TimeoutExpired):
                    subprocess.run(command, env=env, capture_output=True, timeout=300, check=False)
    return shutil.which("chromium")


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser until the block ends."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on PATH, and none could be installed (apt-get install chromium, as root)")
    folder = node_client("browser")
    env = {**os.environ, "CLIENTS": str(folder), "CHROMIUM": chromium}
    script = Path(__file__).with_name("browser.mjs")
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            ["node", str(script)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        browser = Browser(process)
        try:
            yield browser
        finally:
            with suppress(Exception):
                browser.do("close")
            process.terminate()
            process.wait(10)
