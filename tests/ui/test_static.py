"""What is brought along from elsewhere is what it says, and no page asks another host."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

import penstock.admin.ui
from tests.door import open_door

ROOM = Path(penstock.admin.ui.__file__).parent
VENDOR = ROOM / "static" / "vendor"
FILES = tomllib.loads((VENDOR / "VENDORED.toml").read_text())["file"]
TEMPLATES = sorted((ROOM / "templates").rglob("*.html"))
ELSEWHERE = re.compile(r"""(?:src|href|action|url\()\s*=?\s*["'(]?\s*(?:https?:)?//""", re.IGNORECASE)


@pytest.mark.parametrize("row", FILES, ids=lambda row: row["name"])
def test_a_file_is_the_one_that_was_brought_along(row):
    assert hashlib.sha256((VENDOR / row["name"]).read_bytes()).hexdigest() == row["sha256"]
    assert row["license"] and (VENDOR / row["license_file"]).read_text().strip(), "its licence stands beside it"
    assert row["version"] in row["name"]


def test_every_file_from_elsewhere_is_listed():
    named = {row["name"] for row in FILES} | {row["license_file"] for row in FILES} | {"VENDORED.toml"}
    assert {path.name for path in VENDOR.iterdir()} == named


@pytest.mark.parametrize("path", [*TEMPLATES, *(ROOM / "static").glob("penstock.*")], ids=lambda path: path.name)
def test_no_page_asks_another_host(path):
    text = path.read_text()
    assert not ELSEWHERE.search(text.replace("https://github.com/", "")), path.name
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")", text), "no script inline"
        assert not re.search(r"\son[a-z]+=\"", text) and " style=" not in text


async def test_pages_have_a_strict_policy(tmp_path):
    async with open_door(tmp_path) as door:
        from penstock.admin.ui.rows import refused
        from penstock.admin.ui.sessions import Sessions

        door.gateway.gate.sessions, door.gateway.pages = Sessions(b"x" * 32), refused
        for path in ("/ui/", "/ui/models", "/ui/playground"):
            status, headers, _ = await door.ask("GET", path, b"", {"host": "localhost"})
            policy = headers["content-security-policy"]
            assert status < 400 and "default-src 'none'" in policy or "default-src 'self'" in policy, (path, policy)
            assert "unsafe" not in policy and "http" not in policy
