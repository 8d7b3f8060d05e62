"""The pages and files that the seeds name: they are there, they lead to each other, and what they show runs.

That every block of a page runs is `tests/rules/test_doc_blocks.py`'s to prove, for all pages of `docs/`."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from penstock.config import load
from penstock.mock import Mock
from penstock.server import reference_markdown
from tests.door import until
from tests.seeds.test_s3_running import ask, free_port

ROOT = Path(__file__).resolve().parents[2]
DOCS, DROP_IN = ROOT / "docs", ROOT / "drop-in"
LINK = re.compile(r"\]\(([\w./-]+)(?:#[\w-]+)?\)")
KEYS = "OPENAI_API_KEY ANTHROPIC_API_KEY GEMINI_API_KEY GROQ_API_KEY OPENROUTER_API_KEY OLLAMA_BASE_URL".split()
SYSTEMS = ("shared-ollama", "las", "olla", "litellm-service", "local-models")


def links(page: Path) -> set[Path]:
    return {(page.parent / found).resolve() for found in LINK.findall(page.read_text(encoding="utf-8"))}


def examples(page: Path) -> list[str]:
    """The languages of a page's blocks that run."""
    text = page.read_text(encoding="utf-8")
    return [found for skipped, found in re.findall(r"(<!-- doctest: skip.*?-->\n)?```(bash|python)\n", text) if not skipped]


def test_s0_28_the_guides_are_there_linked_and_run() -> None:
    readme, shared = links(ROOT / "README.md"), links(DOCS / "system-shared-ollama.md")
    for name in ("CLIENT_GUIDE.md", "API_REFERENCE.md", "INTEGRATION_GUIDE.md"):
        page = DOCS / name
        assert page in readme and page in shared, name
        assert examples(page), f"{name} has a block that runs"
    assert DOCS / "system-shared-ollama.md" in readme


def test_s0_28_the_reference_is_that_of_the_document() -> None:
    page = (DOCS / "API_REFERENCE.md").read_text(encoding="utf-8")
    assert page == reference_markdown.render(), "python -m penstock.server.reference_markdown > docs/API_REFERENCE.md"
    for row in ("| POST | `/v1/chat/completions` | Answer a chat | **messages**", "| GET | `/health` |", "`/key/generate`"):
        assert row in page


def test_s2_30_the_pages_that_olla_names() -> None:
    olla, readme = links(DOCS / "system-olla.md"), links(ROOT / "README.md")
    for name in ("INTEGRATION_GUIDE.md", "API_REFERENCE.md", "model-routing.md", "load-balancing.md"):
        assert DOCS / name in olla and DOCS / name in readme, name
    assert DOCS / "routing.md" in links(DOCS / "model-routing.md") & links(DOCS / "load-balancing.md")


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_system_has_a_page_with_examples_that_run(name: str) -> None:
    page = DOCS / f"system-{name}.md"
    assert page in links(ROOT / "README.md") and page in links(DOCS / "INTEGRATION_GUIDE.md")
    assert len(examples(page)) >= 3


def test_s1_51_the_template_of_the_environment_names_every_key() -> None:
    lines = (DROP_IN / ".env.litellm.example").read_text(encoding="utf-8").splitlines()
    assert [line.partition("=")[0] for line in lines if line and not line.startswith("#")] == KEYS


async def test_s1_51_the_address_of_ollama_is_that_of_the_environment(tmp_path: Path) -> None:
    async with Mock() as mock:
        template = (DROP_IN / ".env.litellm.example").read_text(encoding="utf-8")
        (tmp_path / ".env").write_text(template.replace("http://localhost:11434", mock.url))
        (tmp_path / "config.yaml").write_text("model_list: [{model_name: 'ollama/*', litellm_params: {model: 'ollama/*'}}]\n")
        port = free_port()
        process = start([sys.executable, "-m", "penstock", "serve", "--config", "config.yaml", "--port", str(port)], tmp_path)
        try:
            await until(lambda: is_up(port, process), 30)
            body = {"model": "ollama/llama3.2", "messages": [{"role": "user", "content": "hi"}]}
            answer = await asyncio.to_thread(ask, f"http://127.0.0.1:{port}/v1/chat/completions", body)
            assert answer["choices"][0]["message"]["content"] == "mock/echo: hi"
            assert [asked.json["model"] for asked in mock.received if asked.path == "/api/chat"] == ["llama3.2"]
        finally:
            stop(process)


def start(command: list[str], folder: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start something with a clean environment (S3-07): PATH, HOME, and nothing of the developer's."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "PENSTOCK_STATE_DIR": str(folder / "state"), **more}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_up(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"it ended with {process.returncode}"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
async def test_s3_02_s3_04_and_s3_07_the_start_script_serves_from_a_clean_folder(tmp_path: Path) -> None:
    folder = tmp_path / "litellm-service"
    shutil.copytree(DROP_IN, folder)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "penstock").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m penstock "$@"\n')
    (tools / "penstock").chmod(0o755)
    port = free_port()
    # 4000 may be taken on the machine of this test; what is said last holds.
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    process = start(["./start_litellm.sh", "--port", str(port)], folder, PATH=path, DATABASE_URL="postgresql://nobody@127.0.0.1:9/no")
    try:
        await until(lambda: is_up(port, process), 30)
        assert (await asyncio.to_thread(ask, f"http://localhost:{port}/health"))["status"] == "healthy"
        models = await asyncio.to_thread(ask, f"http://localhost:{port}/models")
        assert {"extraction-model", "explanation-model", "extraction-model-openai"} <= {one["id"] for one in models["data"]}
    finally:
        stop(process)
    assert "--port 4000" in (DROP_IN / "start_litellm.sh").read_text(encoding="utf-8")


def test_s3_01_and_s3_03_the_files_of_the_service_are_good() -> None:
    loaded = load(DROP_IN / "litellm_config.yaml", {})
    assert not loaded.errors
    assert loaded.config is not None and loaded.config.general.database_url_is_null
    [line] = (DROP_IN / "requirements.txt").read_text(encoding="utf-8").split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert Requirement(line).name == project["name"]
    assert DROP_IN / "README.md" in links(DOCS / "system-litellm-service.md")


def test_s3_04_the_template_sets_nothing_by_itself() -> None:
    lines = (DROP_IN / ".env.example").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    assert {"OPENAI_API_KEY", "GEMINI_API_KEY", "ANTHROPIC_API_KEY", "HUGGINGFACE_API_KEY", "LITELLM_MASTER_KEY"} <= {
        line.removeprefix("# ").partition("=")[0] for line in lines
    }
