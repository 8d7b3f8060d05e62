"""Every code block of README.md, CONTRIBUTING.md and docs/ runs: documents that can lie, do."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from penstock.mock import load_script
from tests.rules.blocks import Block, blocks
from tests.rules.repo import ROOT, files
from tests.rules.sandbox import Sandbox

ON_TOP = ("README.md", "CONTRIBUTING.md")
DOCUMENTS = [name for name in files() if name in ON_TOP or (name.startswith("docs/") and name.endswith(".md"))]
LINK = re.compile(r"\[[^\]]*\]\((?!https?://|mailto:)([^)#\s]*)(#[^)\s]*)?\)")

# What a broken block raises; anything else is a fault of this test.
FAULTS = (AssertionError, ValueError, SyntaxError, configparser.Error, yaml.YAMLError, subprocess.TimeoutExpired)


def _blocks(name: str) -> list[Block]:
    return blocks(name, (ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    box = Sandbox(tmp_path)
    yield box
    box.close()


def _check_yaml(block: Block, box: Sandbox) -> None:
    if "parse" in block.directives:
        assert list(yaml.safe_load_all(block.text)), "is empty"
        return
    file = box.folder / "block.yaml"
    file.write_text(block.text)
    if "script" in block.directives:
        load_script(str(file))
        return
    done = subprocess.run([sys.executable, "-m", "penstock", "check", file.name], cwd=box.folder, env=box.env,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _check_ini(block: Block) -> None:
    # systemd repeats keys; strict would refuse that.
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(block.text)
    assert parser.sections(), "is empty"


def _run(block: Block, box: Sandbox) -> None:
    if "background" in block.directives:
        box.start(block.text)
        return
    code, output = box.run(block)
    shown = f"exit code {code}\n{block.text}\n{output}"
    assert (code != 0) == ("fails" in block.directives), shown
    assert box.mapped(block.directives.get("prints", "")) in output, shown


def _check(block: Block, box: Sandbox) -> None:
    if "file" in block.directives:
        target = box.folder / block.directives["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(box.mapped(block.text))
    match block.language:
        case "bash" | "python" if "skip" not in block.directives:
            _run(block, box)
        case "python":
            ast.parse(block.text)
        case "yaml":
            _check_yaml(block, box)
        case "json":
            json.loads(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "ini":
            _check_ini(block)
        case "bash" | "text" | "console" | "dockerfile" | "nginx":
            assert "skip" in block.directives, "is not run, so a comment above it must say why"
        case other:
            raise AssertionError(f"no way to check a block of language {other!r}")


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.timeout(300)
def test_every_block_runs(name: str, sandbox: Sandbox) -> None:
    found = _blocks(name)
    if any(block.language in ("bash", "python") and "skip" not in block.directives for block in found):
        if find_spec("penstock.server.run") is None:
            pytest.skip("penstock/server/run.py does not exist yet")
        for program in ("bash", "curl"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")
    problems = []
    for block in found:
        try:
            _check(block, sandbox)
        except FAULTS as error:
            problems.append(f"{block.place}: {error}")
    assert not problems, "\n\n".join(problems)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_inside_the_repository_leads_somewhere(name: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.S | re.M)
    broken = []
    for path, anchor in LINK.findall(text):
        target = (ROOT / name).parent / path if path else ROOT / name
        if not target.exists():
            broken.append(path)
        elif anchor and target.suffix == ".md" and anchor[1:] not in _anchors(target):
            broken.append(path + anchor)
    assert broken == []


def test_readme_leads_to_every_page() -> None:
    linked = {path for path, _ in LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))}
    assert [name for name in DOCUMENTS if name != "README.md" and name not in linked] == []


def _anchors(file: Path) -> set[str]:
    """GitHub's anchors of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_parser_reads_directives_indent_and_place() -> None:
    text = "a\n\n<!-- doctest: file a.yaml -->\n<!-- doctest: parse -->\n```yaml\nx: 1\n```\n"
    text += "1. b\n   ```bash\n   ls\n   ```\n"
    first, second = blocks("d.md", text)
    assert (first.place, first.language, first.text) == ("d.md:5", "yaml", "x: 1\n")
    assert first.directives == {"file": "a.yaml", "parse": ""}
    assert (second.text, second.directives) == ("ls\n", {})


@pytest.mark.parametrize(
    "text",
    [
        "```bash\nls\n",
        "<!-- doctest: skipp because no reason -->\n```bash\n```\n",
        "<!-- doctest: skip because -->\n```bash\n```\n",
        "<!-- doctest: fails -->\nwords\n```bash\n```\n",
    ],
)
def test_parser_refuses_what_would_hide_a_block(text: str) -> None:
    with pytest.raises(ValueError, match=r"d\.md:1|d\.md:2"):
        blocks("d.md", text)


def test_a_failing_block_fails_its_document(sandbox: Sandbox) -> None:
    with pytest.raises(AssertionError, match="exit code 3"):
        _check(Block("d.md", 1, "bash", "echo seen; exit 3\n"), sandbox)
    with pytest.raises(AssertionError, match="exit code 0"):
        _check(Block("d.md", 1, "python", "print('a')\n", {"prints": "b"}), sandbox)
    with pytest.raises(AssertionError, match="exit code 0"):
        _check(Block("d.md", 1, "bash", "true\n", {"fails": ""}), sandbox)
    with pytest.raises(AssertionError, match="must say why"):
        _check(Block("d.md", 1, "text", "x\n"), sandbox)


def test_ports_of_documents_are_replaced(sandbox: Sandbox) -> None:
    text = sandbox.mapped("penstock serve --port 4000; curl http://127.0.0.1:4010/v1 # 4000.5 s, 14000, 4096")
    assert "4000.5 s, 14000, 4096" in text
    assert f"--port {sandbox.port('4000')};" in text and f":{sandbox.port('4010')}/v1" in text
