"""Seed 3: how it is installed, started, configured and moved."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from penstock.config import load
from penstock.mock import Mock, Script
from tests.door import until

ROOT = Path(__file__).resolve().parents[2]
MASTER = "sk-1234-master-of-this-test"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def ask(url: str, body: object = None, key: str = MASTER) -> dict:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"content-type": "application/json", "authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.loads(answer.read())


@contextmanager
def other_system(folder: Path, *words: str):
    """Run a gateway as on a system without what Unix has; yield its process and address."""
    port = free_port()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PENSTOCK_STATE_DIR": str(folder / "state")}
    command = [sys.executable, "-m", "tests.seeds.other_system", "serve", "--port", str(port), *words]
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def answers(url: str, process: subprocess.Popen[str]) -> None:
    def up() -> bool:
        assert process.poll() is None, process.stdout.read()
        try:
            return ask(url + "/health/readiness")["status"] != ""
        except OSError:
            return False

    await until(up, 30)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_s3_45_it_serves_where_there_is_no_uvloop_no_fork_and_no_signal_handler(tmp_path, stop):
    import asyncio

    async with Mock(Script()) as mock:
        config = tmp_path / "config.yaml"
        config.write_text(f"""
model_list:
  - model_name: m
    litellm_params: {{model: openai/real, api_base: "{mock.url}/v1", api_key: sk-u, input_cost_per_token: 0.001}}
general_settings: {{master_key: {MASTER}}}
""")
        with other_system(tmp_path, "--config", str(config)) as (process, url):
            await answers(url, process)
            said = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
            key = (await asyncio.to_thread(ask, url + "/key/generate", {}))["key"]
            answer = await asyncio.to_thread(ask, url + "/v1/chat/completions", said, key)
            assert answer["object"] == "chat.completion"

            def spent() -> bool:
                return ask(f"{url}/key/info?key={key}")["info"]["spend"] > 0

            assert await asyncio.to_thread(spent)  # journal, ledger and SQLite work as well
            process.send_signal(stop)
            out = await asyncio.to_thread(process.communicate, None, 20)
            assert process.returncode == 0, out
            assert not list((tmp_path / "state").rglob("*.journal")), "what it wrote down was taken over and removed"


async def test_s3_45_several_workers_are_refused_there_in_one_line(tmp_path):
    with other_system(tmp_path, "--workers", "2") as (process, _):
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 1 and "--workers: here one process serves alone" in out and "Traceback" not in out


def test_s3_45_an_older_python_is_told_what_is_wanted():
    old = "import sys, runpy; sys.version_info = (3, 10, 14); sys.version = '3.10.14 (x)'; runpy.run_module('penstock', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", old], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and done.stderr == "penstock needs Python 3.11 or newer; this is 3.10.14.\n"


def test_s3_03_and_s3_45_every_dependency_can_be_had_on_windows_and_the_oldest_python_is_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    windows = {"sys_platform": "win32", "platform_python_implementation": "CPython", "os_name": "nt"}
    wanted = {
        found.name
        for found in map(Requirement, project["dependencies"])
        if found.marker is None or Marker(str(found.marker)).evaluate(windows)
    }
    assert "uvloop" not in wanted and {"httptools", "msgspec", "uvicorn"} <= wanted


@pytest.mark.parametrize("strategy", ["simple-shuffle", "least-busy", "latency-based-routing", "usage-based-routing"])
async def test_s3_19_each_strategy_is_taken_and_shares_among_all(tmp_path, strategy):
    from tests.door import open_door

    rows = "".join(
        f"  - model_name: m\n    litellm_params: {{model: openai/real-{one}, api_base: '{{mock}}/v1', api_key: sk-u}}\n" for one in "abc"
    )
    config = f"model_list:\n{rows}router_settings: {{routing_strategy: {strategy}, num_retries: 0}}\n"
    async with open_door(tmp_path, config) as door:
        assert not door.gateway.state.problems
        for _ in range(60):
            status, _, _ = await door.post({"model": "m", "messages": [{"role": "user", "content": "hello"}]})
            assert status == 200
        asked = [json.loads(one.body)["model"] for one in door.mock.received]
        assert set(asked) == {"real-a", "real-b", "real-c"} and len(asked) == 60


def test_s3_26_the_environment_names_the_database_and_the_master_key(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("model_list: []\n")
    env = {"DATABASE_URL": "postgresql://u:p@db/penstock", "LITELLM_MASTER_KEY": "sk-1234567890abcdef"}
    general = load(config, env).config.general
    assert general.master_key.reveal() == env["LITELLM_MASTER_KEY"]
    assert general.database_url == env["DATABASE_URL"]
    config.write_text("general_settings: {master_key: sk-of-the-file-11, database_url: 'sqlite:///x.db'}\n")
    general = load(config, env).config.general
    assert (general.master_key.reveal(), general.database_url) == ("sk-of-the-file-11", "sqlite:///x.db")


def test_s3_42_the_image_serves_every_address_of_its_container():
    docker = (ROOT / "Dockerfile").read_text()
    assert re.search(r'^ENTRYPOINT \["penstock"\]$', docker, re.M) and re.search(r'^CMD \["serve", "--host", "0.0.0.0"\]$', docker, re.M)
    assert re.search(r"^EXPOSE 4000$", docker, re.M) and "HEALTHCHECK" in docker


def test_s3_09_and_s3_44_the_readme_leads_from_the_start_to_an_answer_and_the_guide_to_the_next_version():
    readme = (ROOT / "README.md").read_text()
    heads = re.findall(r"^## (.+)$", readme, re.M)
    assert heads[0] == "Start" and "When something does not work" in heads
    assert "curl" in readme[readme.index("## Start") : readme.index("## Use it")]  # tests/rules/test_doc_blocks.py runs it
    upgrade = (ROOT / "docs/deploy.md").read_text().partition("## Upgrade")[2]
    assert "pip install --upgrade penstock" in upgrade and "penstock check" in upgrade
