"""What is started for an engine of a config, on this machine or in a container, and what is known of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import penstock.sdk as sdk
from penstock.config import load
from penstock.config.engines import EngineModel
from penstock.config.keys_engines import BACKENDS
from penstock.core.providers import get as get_provider
from penstock.engines import ENGINES
from penstock.engines.hosted import MOST_LINES, Tail, plan_model
from penstock.engines.memory import find_family, read_gpus, sum_memory
from penstock.engines.spec import EngineError
from tests.engines import standin
from tests.engines.hosting import hosting
from tests.engines.runs import STANDIN, make_model, write_program


def read(folder: Path, models: dict[str, Any]) -> dict[str, EngineModel]:
    path = folder / "config.yaml"
    path.write_text(json.dumps({"engines": {"models": models}}))
    loaded = load(path, {})
    assert loaded.config is not None and loaded.config.engines is not None and not loaded.errors, loaded.problems
    return dict(loaded.config.engines.models)


def test_every_backend_has_its_row_and_its_provider() -> None:
    assert set(BACKENDS) == set(ENGINES)
    assert all(get_provider(name) is not None for name in BACKENDS.values())


@pytest.mark.parametrize("backend", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("runtime", ["native", "docker"])
def test_its_options_are_those_of_its_documentation(
    backend: str, runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("vllm", "trtllm-serve", "docker"):
        write_program(tmp_path / "bin", name, STANDIN)
    (tmp_path / "lib" / "sglang").mkdir(parents=True)
    (tmp_path / "lib" / "sglang" / "__init__.py").touch()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    models = {
        "m": {
            "model": str(make_model(tmp_path)),
            "backend": backend,
            "runtime": runtime,
            "environment": {"CUDA_VISIBLE_DEVICES": 1},
        }
    }
    model = read(tmp_path, models)["m"]
    planned = plan_model(model)
    words = list(planned.plan.command)
    assert planned.plan.environment == {"CUDA_VISIBLE_DEVICES": "1"} and planned.plan.label == "m"
    if runtime == "docker":
        assert words[words.index("-e") + 1] == "CUDA_VISIBLE_DEVICES"
        assert planned.plan.after[0][:3] == ("docker", "rm", "--force")
    first = next(
        at for at, word in enumerate(words) if word in ("serve", "--model", "--model-path") or word.endswith("/GLM-FP8")
    )
    told = standin.READ[backend]([word for word in words[first:] if ":ro" not in word])
    assert told.port == model.port and told.host == "127.0.0.1"
    if backend != "trtllm":
        assert told.served_model_name == model.served == "m", "the last one counts"


def test_a_backend_is_started_and_asked_by_the_name_that_it_was_told(tmp_path: Path) -> None:
    write_program(tmp_path / "bin", "vllm", STANDIN, "vllm")
    models = {"glm": {"model": str(make_model(tmp_path)), "args": {"max_model_len": 8192}}}
    import os

    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    with hosting(tmp_path, json.dumps({"engines": {"models": models}}), PATH=path) as place:
        assert place.says("glm") == "vllm serves glm"


def test_a_command_is_told_where_to_listen(tmp_path: Path) -> None:
    model = read(tmp_path, {"x": {"command": "serve 'my model' --port={port} --host 127.0.0.1", "port": 4999}})["x"]
    assert plan_model(model).plan.command == ("serve", "my model", "--port=4999", "--host", "127.0.0.1")
    assert (model.base, model.provider, model.served) == ("http://127.0.0.1:4999/v1", "openai", "x")


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    models = read(tmp_path, {"file": "/nowhere/x.gguf", "program": "org/some-GGUF"})
    with pytest.raises(EngineError, match="there is no model at /nowhere/x.gguf"):
        plan_model(models["file"])
    with pytest.raises(EngineError, match="neither llama.cpp .* nor docker is installed"):
        plan_model(models["program"])


def test_a_tail_keeps_the_last_lines_and_says_how_many_there_were() -> None:
    tail = Tail("x")
    for number in range(MOST_LINES + 10):
        tail.say(f"[x] line {number}")
    lines, count = tail.since(0)
    assert len(lines) == MOST_LINES and count == MOST_LINES + 10
    assert lines[-1] == f"line {count - 1}"
    assert tail.since(count) == ([], count)
    tail.complain("x does not end; killing it")
    assert tail.since(count) == (["x does not end; killing it"], count + 1)
    for _ in range(600):
        tail.say("y" * 9000)
    assert sum(map(len, tail.since(0)[0])) <= 1 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_that_of_all_its_processes() -> None:
    child = "import time; x = bytearray(30_000_000); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            end = time.monotonic() + 20
            while (sum_memory(find_family(process.pid)) or 0) < 35_000_000 and time.monotonic() < end:
                time.sleep(0.05)
            family = find_family(process.pid)
            assert len(family) == 2 and 35_000_000 < (sum_memory(family) or 0) < 200_000_000
        finally:
            for pid in find_family(process.pid) - {process.pid}:
                subprocess.run(["kill", str(pid)], check=True)
            process.kill()
    assert sum_memory(set()) is None


def test_what_the_driver_tells_of_gpus() -> None:
    assert read_gpus("4711, 8192\n4711, 100\n12, [N/A]\n\nnonsense\n9, 1\n") == {4711: 8292 << 20, 9: 1 << 20}


def test_the_sdk_says_that_it_starts_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text('{"engines": {"models": {"a": "org/some-GGUF"}}}')
    client = sdk.Client(config=path)
    with pytest.raises(sdk.exceptions.ServiceUnavailableError, match="is started by `penstock serve` alone"):
        client.completion(model="a", messages=[{"role": "user", "content": "hi"}])
