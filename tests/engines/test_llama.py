"""The real llama-server under `penstock run-server`: both SDKs talk to it, and no way to end leaves anything behind."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anthropic
import openai
import pytest

from tests.e2e.clients.cli import run
from tests.e2e.clients.faces import PNG
from tests.e2e.clients.install import python_client
from tests.e2e.serving import find_llama
from tests.engines.hosting import hosting
from tests.engines.runs import Run, free_port, is_up, running

FOUND = find_llama()
CHAIN = Path(__file__).resolve().parents[1] / "e2e" / "clients" / "python" / "chain.py"
pytestmark = [
    pytest.mark.skipif(isinstance(FOUND, str), reason=str(FOUND)),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds what is left in /proc"),
]
CYCLES = int(os.environ.get("PENSTOCK_CYCLES", "3"))
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)


def arguments(gateway: int) -> list[str]:
    assert not isinstance(FOUND, str)
    binary, model = FOUND
    words = ["--model", str(model), "--binary", str(binary), "--port", str(free_port())]
    # One thread: llama.cpp's threads wait for each other in a loop, which a busy machine takes badly.
    return [*words, "--with-litellm", "--litellm-port", str(gateway), "--", "-c", "8192", "-t", "1", "--offline"]


def test_s4_27_and_s4_29_both_sdks_use_it_and_it_ends_clean(tmp_path: Path) -> None:
    gateway = free_port()
    with running(tmp_path, *arguments(gateway)) as run:
        run.wait_for("Model alias: local-model")
        assert "[llama.cpp] " in run.output()
        with openai.OpenAI(base_url=f"http://localhost:{gateway}/v1", api_key="dummy") as client:
            messages = [{"role": "user", "content": "Hello"}]
            chat = client.chat.completions.create(model="local-model", messages=messages, max_tokens=8)  # type: ignore[arg-type]
            assert chat.model == "local-model" and chat.choices[0].message.content
            stream = client.chat.completions.create(  # type: ignore[call-overload]
                model="local-model", messages=messages, max_tokens=8, stream=True
            )
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        with anthropic.Anthropic(base_url=f"http://localhost:{gateway}", api_key="dummy") as other:
            message = other.messages.create(
                model="local-model", max_tokens=8, messages=[{"role": "user", "content": "Hello"}]
            )
            assert message.model == "local-model" and message.content[0].type == "text"
        run.signal(signal.SIGINT)
        assert run.wait() == 130
        run.assert_gone()
        assert not is_up(gateway)


@pytest.mark.timeout(1000)  # the first run installs the clients
@pytest.mark.parametrize("way", ["run-server", "engines"])
def test_s4_40_langchains_clients_work_unchanged(way: str, tmp_path: Path) -> None:
    python = python_client("langchain")
    with _started(way, tmp_path) as url:
        cases = {"GATEWAY": url, "KEY": "dummy", "PNG": PNG, "MODELS": "local-model"}
        done = run([python, CHAIN], tmp_path, CASES="whole streamed forced structured_by_schema", **cases)
        assert done.code == 0, done
        found = json.loads(done.out.splitlines()[-1])
    for kind in ("chat", "responses", "messages"):
        for name in ("whole", "streamed"):
            told = found[f"{name} {kind} local-model"]
            assert told["model"] == "local-model" and told["counted"] and told["finish"], told
        assert found[f"streamed {kind} local-model"]["deltas"] == found[f"streamed {kind} local-model"]["text"]
        assert set(found[f"forced {kind} local-model"]) == {"get_weather"}
        assert found[f"structured_by_schema {kind} local-model"]["name"] in ("Ada", "Bob")


@contextmanager
def _started(way: str, folder: Path) -> Iterator[str]:
    """A gateway in front of the engine: started by ``run-server`` with it, or with an engine in its config."""
    assert not isinstance(FOUND, str)
    if way == "run-server":
        port = free_port()
        with running(folder, *arguments(port)) as server:
            server.wait_for("Model alias: local-model")
            yield f"http://localhost:{port}"
        return
    args = {"ctx_size": 8192, "threads": 1, "offline": True}
    model = {"model": str(FOUND[1]), "binary": str(FOUND[0]), "args": args}
    with hosting(folder, json.dumps({"engines": {"models": {"local-model": model}}})) as place:
        yield place.served.url


def test_a_bad_file_ends_with_what_the_engine_said(tmp_path: Path) -> None:
    assert not isinstance(FOUND, str)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\xff" * 100)
    words = ["--model", "bad.gguf", "--binary", str(FOUND[0]), "--port", str(free_port())]
    with running(tmp_path, *words) as run:
        assert run.wait() == 1
        assert "llama.cpp ended with exit code 1. Its last lines:" in run.output()
        run.assert_gone()


@pytest.mark.timeout(0)
def test_killed_at_any_moment_nothing_is_left(tmp_path: Path) -> None:
    """PENSTOCK_CYCLES rounds (`make engines`: 50): started, and ended by a signal at a random moment of the start."""
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    for number in range(CYCLES):
        kind, moment = dice.choice(SIGNALS), dice.uniform(0.0, 4.0)
        run = Run(tmp_path, *arguments(free_port()))
        time.sleep(moment)
        run.signal(kind)
        code = run.wait()
        told = f"seed {seed}, round {number}: {kind.name} after {moment:.2f} s gave {code}:\n{run.output()}"
        # Before its handlers are there, Python's own do.
        assert code in (128 + kind, -kind, 1) and code != 0, told
        end = time.monotonic() + (30 if kind == signal.SIGKILL else 0)
        while run.left() and time.monotonic() < end:
            time.sleep(0.05)
        assert run.left() == [], told
        assert list(tmp_path.glob("penstock-*")) == [], told
