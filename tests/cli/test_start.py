"""Starting the real program as users do: a bare environment, a config, a busy port, a signal (seeds S3-01 to S3-09)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("penstock.server.run") is None, reason="penstock/server/run.py is not there")

ROOT = Path(__file__).resolve().parents[2]
# Proxies of the developer's machine must not stand between a test and 127.0.0.1.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
CONFIG = """
model_list:
  - model_name: extraction-model
    litellm_params: {model: ollama/llama3.2, api_base: "http://127.0.0.1:9"}
  - model_name: explanation-model
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY}
general_settings:
  database_url: null
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "penstock", *args]


def bare(folder: Path, **extra: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), **extra}


@contextlib.contextmanager
def running(folder: Path, *args: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway started with `args` on a free port, up; gives the process and its base URL."""
    port = free_port()
    process = subprocess.Popen(command(*args, "--port", str(port)), cwd=folder, env=bare(folder, **env), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    try:
        base = f"http://127.0.0.1:{port}"
        wait_until_up(process, base)
        yield process, base
    finally:
        process.kill()
        process.communicate()


def ended(folder: Path, *args: str) -> tuple[int, str]:
    """Runs a start that should fail. Returns exit code and output."""
    done = subprocess.run(command(*args), cwd=folder, env=bare(folder), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=20, check=False)  # fmt: skip
    assert "Traceback" not in done.stdout
    return done.returncode, done.stdout


def wait_until_up(process: subprocess.Popen[str], base: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if get(base + "/health")[0] == 200:
                return
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}: {process.communicate()[0]}")
        time.sleep(0.05)
    raise AssertionError("not up after 20 s")


def get(url: str) -> tuple[int, dict[str, object]]:
    with OPENER.open(url, timeout=5) as answer:
        return answer.status, json.loads(answer.read())


def models(base: str) -> set[str]:
    listed = get(base + "/models")[1]["data"]
    assert isinstance(listed, list)
    return {entry["id"] for entry in listed}


def test_a_bare_environment_is_enough_and_the_printed_curl_line_answers(tmp_path: Path) -> None:
    with running(tmp_path, "serve") as (process, base):
        assert "mock/echo" in models(base)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert base in output and "mock/echo" in output
    line = re.search(r"^ *curl (?:.*\\\n)*.*$", output, re.M)
    assert line and base in line[0] and "mock/echo" in line[0]


@pytest.mark.parametrize("spelling", [["serve", "--config", "c.yaml"], ["--config", "c.yaml", "--host", "127.0.0.1"]])
def test_a_config_is_the_whole_configuration(tmp_path: Path, spelling: list[str]) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    # A foreign DATABASE_URL that leads nowhere must not matter, nor a missing cloud key.
    with running(tmp_path, *spelling, DATABASE_URL="postgresql://nobody@127.0.0.1:9/x") as (_, base):
        assert models(base) == {"extraction-model", "explanation-model"}
        assert get(base + "/health")[1]["status"] == "healthy"


def test_s3_05_dotenv_in_the_working_directory_is_read(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY=sk-from-dotenv\nPENSTOCK_PORT={port}\n")
    process = subprocess.Popen(command("serve"), cwd=tmp_path, env=bare(tmp_path), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    try:
        wait_until_up(process, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=10)
    assert "openai/" in output and "sk-from-dotenv" not in output


def test_a_busy_port_is_one_clear_line_and_no_other_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, output = ended(tmp_path, "serve", "--port", port)
    assert code != 0
    assert [line for line in output.splitlines() if port in line and "use" in line] != []


def test_a_broken_config_stops_the_start_with_its_line(tmp_path: Path) -> None:
    strict = "router_settings: {ignore_invalid_deployments: false}\n"
    (tmp_path / "c.yaml").write_text(
        "model_list:\n  - model_name: a\n    litellm_params: {model: 7, timeout: soon}\n" + strict
    )
    code, output = ended(tmp_path, "serve", "--config", "c.yaml", "--port", str(free_port()))
    assert code == 1 and "c.yaml:3" in output and "timeout" in output
