"""The files in `drop-in/`: what projects with scripts/run_server.py import and run, S4-01 to S4-24 of their documents."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from penstock.engines import ENGINES
from penstock.engines.defaults import find_unknown, read_engine, read_gateway
from tests.engines import standin
from tests.engines.runs import DOCKER, ROOT, STANDIN, ask, free_port, is_up, make_model, running, write_program

SCRIPTS = ROOT / "drop-in" / "scripts"
NAMES = ("litellm_config", "docker_manager", "server_manager", "bench_utils", "run_server")


class Scripts:
    litellm_config: ModuleType
    docker_manager: ModuleType
    server_manager: ModuleType
    bench_utils: ModuleType
    run_server: ModuleType


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripts]:
    own = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    monkeypatch.syspath_prepend(str(SCRIPTS))
    found = Scripts()
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
        setattr(found, name, importlib.import_module(name))
    yield found
    assert list(own.glob("penstock-*")) == [], "every start has cleared its folder away"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_s4_01_s4_02_s4_03_and_s4_04_options_and_their_defaults(scripts: Scripts) -> None:
    args = scripts.run_server.parse_args([])
    assert (args.with_litellm, args.litellm_port, args.litellm_alias) == (False, 4000, "local-model")
    assert args.litellm_version is None
    told = scripts.run_server.parse_args(["--litellm-port", "4010", "--litellm-alias", "a", "--litellm-version", "1"])
    assert (told.litellm_port, told.litellm_alias, told.litellm_version) == (4010, "a", "1")
    shown = subprocess.run([sys.executable, SCRIPTS / "run_server.py", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    _, group = " ".join(shown.stdout.split()).split("LiteLLM proxy options:")
    for text in (
        "Run LiteLLM proxy in front of backend for normalized API",
        "Port for LiteLLM proxy (default: 4000)",
        "Model alias exposed by LiteLLM (default: local-model)",
        "LiteLLM Docker image version (default: from config)",
    ):
        assert text in group


def test_s4_05_the_backend_is_guessed_or_as_given(scripts: Scripts, tmp_path: Path) -> None:
    for arguments, name in (
        (["--model", "x-GGUF", "--with-litellm"], "llama"),
        (["--model", str(make_model(tmp_path))], "vllm"),
        (["--model", "x-GGUF", "--backend", "trtllm"], "trtllm"),
        (["--model", "x", "--backend", "sglang"], "sglang"),
    ):
        wanted, _ = scripts.run_server.read_options(vars(scripts.run_server.parse_args(arguments)))
        assert wanted.engine.name == name


def fake_manager(calls: list[str], **ready: bool) -> type:
    class Fake:
        def __init__(self, port: int = 8000, **more: object) -> None:
            self.port = port
            self.model_name = "m"

        def __getattr__(self, name: str) -> object:
            def call(*args: object, **more: object) -> bool:
                calls.append(f"{name} {self.port}")
                if name == "check" and not ready.get("goes_on", True):
                    raise KeyError("inside")
                if name == "check":
                    os.kill(os.getpid(), signal.SIGINT)
                return ready.get(name, True)

            return call

    return Fake


@pytest.mark.parametrize(
    ("backend", "start"),
    [("vllm", "start_vllm"), ("llama", "start_gguf_backend"), ("trtllm", "start_trtllm"), ("sglang", "start_sglang")],
)
def test_s4_06_s4_07_and_s4_08_order_lines_and_stops(
    scripts: Scripts, backend: str, start: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(scripts.run_server, "ServerManager", fake_manager(calls))
    code = scripts.run_server.main(["--model", "x", "--backend", backend, "--with-litellm", "--litellm-port", "4010"])
    assert code == 130
    calls = [call for call in calls if not call.startswith("check")]
    assert calls == [f"{start} 8000", "start_litellm_proxy 4010", "stop 4010", "stop 8000"]
    assert "LiteLLM proxy ready at http://localhost:4010\nModel alias: local-model\n" in capsys.readouterr().out


def test_s4_06_and_s4_09_a_start_that_failed(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", "x", "--backend", "vllm", "--with-litellm"]
    calls: list[str] = []
    monkeypatch.setattr(scripts.run_server, "ServerManager", fake_manager(calls, start_vllm=False))
    assert scripts.run_server.main(arguments) == 1 and calls == ["start_vllm 8000", "stop 8000"]
    calls.clear()
    monkeypatch.setattr(scripts.run_server, "ServerManager", fake_manager(calls, start_litellm_proxy=False))
    assert scripts.run_server.main(arguments) == 1
    assert calls == ["start_vllm 8000", "start_litellm_proxy 4000", "stop 4000", "stop 8000"]
    assert "ready at http://localhost:4000" not in capsys.readouterr().out


def test_s4_08_an_error_inside_stops_both(scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(scripts.run_server, "ServerManager", fake_manager(calls, goes_on=False))
    with pytest.raises(KeyError):
        scripts.run_server.main(["--model", "x", "--backend", "vllm", "--with-litellm"])
    assert calls[-2:] == ["stop 4000", "stop 8000"]


def test_s4_10_the_gateway_is_started_beside_a_backend_on_8000(scripts: Scripts, temporary: Path) -> None:
    manager = scripts.server_manager.ServerManager()  # as the document has it: port 8000, which is the backend's
    port = free_port()
    config = scripts.litellm_config.generate_litellm_config("vllm", 8000, "local-model", "/models/GLM-FP8")
    try:
        assert manager.start_litellm_proxy(config_path=config, port=port, version="local") is True
        assert is_up(port)
    finally:
        manager.stop()
    assert not is_up(port)


@pytest.mark.parametrize("backend", ["vllm", "trtllm", "llama", "sglang"])
def test_s4_12_s4_13_s4_14_s4_16_s4_17_and_s4_18_the_config(scripts: Scripts, backend: str, temporary: Path) -> None:
    path = scripts.litellm_config.generate_litellm_config(backend, 8000, "local-model", "/models/GLM-FP8")
    assert path == temporary / "litellm_config.yaml"
    params = {"model": "openai//models/GLM-FP8", "api_base": "http://localhost:8000/v1", "api_key": "dummy"}
    assert yaml.safe_load(path.read_text()) == {
        "model_list": [{"model_name": "local-model", "litellm_params": params}],
        "litellm_settings": {"drop_params": True, "set_verbose": False},
    }


def test_s4_15_an_unknown_backend(scripts: Scripts, temporary: Path) -> None:
    with pytest.raises(ValueError, match="Unknown backend: foo"):
        scripts.litellm_config.generate_litellm_config("foo", 8000, "a", "b")


def test_s4_17_a_link_that_waits_there_is_not_followed(scripts: Scripts, temporary: Path) -> None:
    victim = temporary / "victim"
    victim.write_text("mine")
    (temporary / "litellm_config.yaml").symlink_to(victim)
    path = scripts.litellm_config.generate_litellm_config("vllm", 8000, "a", "b")
    assert victim.read_text() == "mine" and not path.is_symlink()
    assert sorted(file.name for file in temporary.iterdir()) == ["litellm_config.yaml", "victim"]


def test_s4_19_the_container_command(scripts: Scripts) -> None:
    assert scripts.docker_manager.build_litellm_docker_cmd(Path("/c/x.yaml")) == [
        *("docker", "run", "--rm", "--network", "host", "-v", "/c/x.yaml:/app/config.yaml:ro"),
        *("--name", "litellm-proxy", "ghcr.io/berriai/litellm:1.56.5"),
        *("--config", "/app/config.yaml", "--port", "4000", "--host", "0.0.0.0"),
    ]


def test_s4_20_s4_24_and_s4_44_the_manager_runs_a_container(
    scripts: Scripts, temporary: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_program(temporary / "bin", "docker", DOCKER)
    monkeypatch.setenv("PATH", f"{temporary / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_DOCKER", str(temporary / "docker"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config = scripts.litellm_config.generate_litellm_config("vllm", 8000, "local-model", "m")
    manager = scripts.server_manager.ServerManager()
    port = free_port()
    try:
        assert manager.start_litellm_proxy(config, port=port) is True
        assert scripts.server_manager.wait_for_litellm_ready(port=port, timeout=5) is True
        assert ask(f"http://127.0.0.1:{port}/v1/models")["data"][0]["id"] == "local-model"
    finally:
        manager.stop()
    assert list((temporary / "docker").glob("container-*")) == []
    begun = time.monotonic()
    assert scripts.server_manager.ServerManager().start_litellm_proxy(config, port=port, version="broken") is False
    assert time.monotonic() - begun < 20
    said = capfd.readouterr()
    assert "[LiteLLM] " in said.out and "Unable to find image" in said.err


class Health(BaseHTTPRequestHandler):
    answers: list[int]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_s4_21_only_200_is_ready(scripts: Scripts) -> None:
    wait = scripts.server_manager.wait_for_litellm_ready
    handler = type("Own", (Health,), {"answers": [500, 204, 200], "asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        begun = time.monotonic()
        assert wait(port=server.server_port, host="127.0.0.1", timeout=10) is True
        assert time.monotonic() - begun >= 1.0 and handler.asked == ["/health"] * 3  # type: ignore[attr-defined]
        server.shutdown()
    begun = time.monotonic()
    assert wait(port=free_port(), timeout=1) is False
    assert 0.9 < time.monotonic() - begun < 4


def test_s4_22_the_version(scripts: Scripts) -> None:
    version = scripts.bench_utils.get_litellm_version
    assert (
        version({}) == version({"defaults": None}) == version({"defaults": {"backends": {"litellm": None}}}) == "1.56.5"
    )
    assert version({"defaults": {"backends": {"litellm": {"version": "1.60.0"}}}}) == "1.60.0"


def test_s4_23_models_yaml(scripts: Scripts, tmp_path: Path) -> None:
    path = ROOT / "drop-in" / "config" / "models.yaml"
    section = yaml.safe_load(path.read_text())["defaults"]["backends"]["litellm"]
    assert set(section) == {"version", "image", "port", "alias"}
    own = tmp_path / "models.yaml"
    own.write_text(
        "defaults:\n  backends:\n    vllm: {version: v9, args: {max_model_len: 10}, later: 1}\n"
        "    litellm: {version: '2', image: own/image, port: 4777, alias: mine}\n"
    )
    args = scripts.run_server.parse_args(
        ["--config", str(own), "--model", "Qwen/Q", "--with-litellm", "--", "--dtype", "x"]
    )
    assert (args.litellm_port, args.litellm_alias) == (4777, "mine")
    wanted, front = scripts.run_server.read_options(vars(args))
    assert (wanted.version, wanted.options) == ("v9", ("--max-model-len", "10", "--dtype", "x"))
    assert (front.version, front.image, front.port, front.alias) == ("2", "own/image", 4777, "mine")
    own.write_text("defaults: {backends: {litellm: {port: high}}}")
    assert scripts.run_server.main(["--config", str(own), "--model", "x"]) == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds what is left in /proc")
def test_s4_26_and_s4_28_the_script_runs(tmp_path: Path) -> None:
    write_program(tmp_path / "bin", "vllm", STANDIN, "vllm")
    make_model(tmp_path)
    gateway = free_port()
    arguments = ["--model", "GLM-FP8", "--port", str(free_port()), "--with-litellm", "--litellm-port", str(gateway)]
    with running(tmp_path, *arguments, command=(sys.executable, str(SCRIPTS / "run_server.py"))) as run:
        run.wait_for("Model alias: local-model")
        body = {"model": "local-model", "messages": [{"role": "user", "content": "Hello"}]}
        answer = ask(f"http://localhost:{gateway}/v1/chat/completions", body)
        assert answer["choices"][0]["message"]["content"] == f"vllm serves {tmp_path / 'GLM-FP8'}"
        answer = ask(f"http://localhost:{gateway}/v1/messages", {**body, "max_tokens": 9})
        assert answer["type"] == "message" and answer["model"] == "local-model"
        run.signal(signal.SIGINT)
        assert run.wait() == 130
        run.assert_gone()


def test_s4_42_the_backends_have_tests_and_the_usage_is_told() -> None:
    usage = (ROOT / "drop-in" / "CLAUDE.md").read_text()
    for option in ("--with-litellm", "--litellm-port", "--litellm-alias", "--backend trtllm"):
        assert option in usage
    assert {"vllm", "trtllm", "sglang"} == set(standin.READ)  # and the real llama.cpp: test_llama.py


def test_s4_43_the_example_of_models_yaml() -> None:
    page = (ROOT / "docs" / "engines.md").read_text()
    (example,) = re.findall(r"```yaml\n(defaults:.*?)```", page, re.S)
    for text in (example, (ROOT / "drop-in" / "config" / "models.yaml").read_text()):
        config = yaml.safe_load(text)
        gateway = read_gateway(config)
        assert (gateway.port, gateway.alias) == (4000, "local-model")
        for name in ("vllm", "llama", "trtllm"):
            read_engine(config, ENGINES[name])
            assert find_unknown(config, ENGINES[name]) == []
    options = read_engine(yaml.safe_load(example), ENGINES["vllm"]).options
    assert options == ("--gpu-memory-utilization", "0.95", "--max-model-len", "65536")
