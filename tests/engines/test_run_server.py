"""`penstock run-server` from its start to its end, with stand-ins for the engines: order, readiness, every way to end."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.engines.runs import DOCKER, STANDIN, ask, free_port, is_up, make_model, running, write_program

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds what is left in /proc")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_program(tmp_path / "bin", "vllm", STANDIN, "vllm")
    make_model(tmp_path)
    return tmp_path


def options(*more: str, engine: int | None = None, gateway: int | None = None) -> list[str]:
    words = ["--model", "GLM-FP8", "--port", str(engine or free_port())]
    return [*words, "--with-litellm", "--litellm-port", str(gateway or free_port()), *more]


READY = "Model alias: "


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_s4_06_s4_07_and_s4_08_both_start_in_order_serve_and_end_in_the_other_order(place: Path, number: int) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("this run was told to ignore that signal (nohup), and so is what it starts")
    engine, gateway = free_port(), free_port()
    arguments = options("--litellm-alias", "my-model", engine=engine, gateway=gateway)
    with running(place, *arguments, STANDIN_MODE="slow worker") as run:
        run.wait_for(READY)
        text = run.output()
        assert f"LiteLLM proxy ready at http://localhost:{gateway}\nModel alias: my-model\n" in text
        # (The gateway's own lines come through a pipe: on a busy machine behind what is said of it.)
        assert text.index("vLLM ready at") < text.index("LiteLLM proxy ready")
        assert "[vLLM] INFO vllm is starting: green\n" in text
        assert re.search(r"^\[vLLM\] loading, \d+ s, \d+ %$", text, re.M)
        models = ask(f"http://127.0.0.1:{gateway}/v1/models")
        assert [model["id"] for model in models["data"]] == ["my-model"]
        body = {"model": "my-model", "messages": [{"role": "user", "content": "hi"}]}
        answer = ask(f"http://127.0.0.1:{gateway}/v1/chat/completions", body)
        assert answer["model"] == "my-model"
        assert answer["choices"][0]["message"]["content"] == f"vllm serves {place / 'GLM-FP8'}"
        run.signal(number)
        assert run.wait() == 128 + number
        run.assert_gone()
        text = run.output()
        assert text.index("stopping LiteLLM") < text.index("stopping vLLM")
        assert not is_up(engine) and not is_up(gateway)


def test_s4_01_without_the_flag_no_gateway_is_started(place: Path) -> None:
    port = free_port()
    with running(place, "--model", "GLM-FP8", "--port", str(port)) as run:
        run.wait_for("vLLM ready at")
        assert is_up(port) and "LiteLLM" not in run.output() and run.pids("serve") != []
        run.signal(signal.SIGTERM)
        assert run.wait() == 143
        run.assert_gone()


def test_killed_hard_it_leaves_nothing(place: Path) -> None:
    with running(place, *options(), STANDIN_MODE="worker") as run:
        run.wait_for(READY)
        assert len(run.left()) >= 6  # itself, two keepers, engine, its worker, gateway
        run.process.kill()
        run.wait()
        run.assert_gone(20)


def test_an_engine_that_fails_is_an_error_with_its_last_lines(place: Path) -> None:
    with running(place, *options(), STANDIN_MODE="crash") as run:
        assert run.wait() == 1
        text = run.output()
        assert "vLLM ended with exit code 3. Its last lines:" in text
        assert "    torch.OutOfMemoryError: CUDA out of memory" in text
        assert "[LiteLLM]" not in text and "ready at" not in text
        run.assert_gone()


def test_an_engine_that_dies_later_ends_both(place: Path) -> None:
    with running(place, *options(), STANDIN_MODE="dies worker") as run:
        assert run.wait() == 1
        text = run.output()
        assert "vLLM was ended by SIGSEGV" in text and "    the engine met a bug" in text
        run.assert_gone()


def test_a_gateway_that_dies_ends_both(place: Path) -> None:
    engine = free_port()
    with running(place, *options(engine=engine)) as run:
        run.wait_for(READY)
        (gateway,) = run.pids("--grace")
        os.kill(gateway, signal.SIGKILL)
        assert run.wait() == 1
        assert "LiteLLM was ended by SIGKILL" in run.output()
        assert not is_up(engine)
        run.assert_gone()


def test_s4_09_an_engine_that_is_never_ready_is_stopped(place: Path) -> None:
    with running(place, *options("--timeout", "2"), STANDIN_MODE="never") as run:
        assert run.wait() == 1
        text = run.output()
        assert "vLLM was not ready within 2 s (it answers 503 at http://127.0.0.1:" in text
        assert "[LiteLLM]" not in text
        run.assert_gone()


@pytest.mark.parametrize("moment", ["[vLLM] INFO", READY])
def test_asked_twice_nothing_is_waited_for(place: Path, moment: str) -> None:
    with running(place, *options(), STANDIN_MODE="stubborn slow") as run:
        run.wait_for(moment)
        run.signal(signal.SIGINT)
        run.wait_for("stopping vLLM")
        run.signal(signal.SIGINT)
        assert run.wait(12) == 130
        run.assert_gone()


@pytest.mark.parametrize("which", ["--port", "--litellm-port"])
def test_a_port_that_is_taken_is_named(place: Path, which: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        taken = {"engine": port} if which == "--port" else {"gateway": port}
        with running(place, *options(**taken)) as run:
            assert run.wait() == 1
            assert f"port {port} is taken" in run.output() and f"another one with {which}" in run.output()
            run.assert_gone()
            assert list(place.glob("penstock-*")) == []


def test_s4_11_two_launches_side_by_side(place: Path) -> None:
    with running(place, *options()) as one, running(place, *options()) as other:
        one.wait_for(READY)
        other.wait_for(READY)
        one.signal(signal.SIGTERM)
        assert one.wait() == 143
        one.assert_gone()
        gateway = other.output().split("LiteLLM proxy ready at ")[1].split("\n")[0]
        assert ask(f"{gateway}/v1/models")["data"] != []
        other.signal(signal.SIGTERM)
        assert other.wait() == 143
        other.assert_gone()


@pytest.mark.parametrize(
    ("backend", "end"), [("vllm", signal.SIGTERM), ("sglang", signal.SIGKILL), ("trtllm", signal.SIGTERM)]
)
def test_s4_41_containers_start_serve_and_are_removed(tmp_path: Path, backend: str, end: int) -> None:
    write_program(tmp_path / "bin", "docker", DOCKER)
    make_model(tmp_path)
    docker = tmp_path / "docker"
    more = ("--backend", backend, "--runtime", "docker", "--litellm-version", "1.56.5")
    gateway, mode = free_port(), "stubborn" if end == signal.SIGTERM else ""
    with running(tmp_path, *options(*more, gateway=gateway), FAKE_DOCKER=str(docker), STANDIN_MODE=mode) as run:
        run.wait_for(READY)
        body = {"model": "local-model", "messages": [{"role": "user", "content": "hi"}]}
        answer = ask(f"http://127.0.0.1:{gateway}/v1/chat/completions", body)
        assert answer["choices"][0]["message"]["content"] == f"{backend} serves /models/GLM-FP8"
        names = sorted(path.name for path in docker.glob("container-*"))
        assert len(names) == 2 and f"container-litellm-proxy-{gateway}" in names
        run.signal(end)
        if end == signal.SIGTERM:
            run.wait_for("stopping " + {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}[backend])
            run.signal(end)
        assert run.wait() in (143, -signal.SIGKILL)
        run.assert_gone(30)
        assert list(docker.glob("container-*")) == []


def test_s4_09_a_gateway_container_that_cannot_run_ends_both(place: Path) -> None:
    write_program(place / "bin", "docker", DOCKER)
    with running(place, *options("--litellm-version", "broken"), FAKE_DOCKER=str(place / "docker")) as run:
        assert run.wait() == 1
        assert "Unable to find image 'ghcr.io/berriai/litellm:broken'" in run.output()
        assert '"rm"' not in (place / "docker" / "calls").read_text(), "nothing of ours was there to remove"
        run.assert_gone()
