"""The rows: each engine's command lines, as its documentation has them, here and in a container; what a log tells."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from penstock.engines import ENGINES
from penstock.engines.docker import build_engine_command
from penstock.engines.gateway import make_config
from penstock.engines.models import Model, find_model, guess_engine
from penstock.engines.planning import Wanted, plan_engine
from penstock.engines.progress import Progress, read_bars, read_dots
from penstock.engines.spec import EngineError, write_options
from penstock.engines.supervise import name_host
from tests.engines import standin
from tests.engines.runs import make_model, write_program

AT = ["--host", "127.0.0.1", "--port", "8000"]


def gguf(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF\x03\0\0\0")
    return path


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        write_program(folder / "bin", name, folder)
    (folder / "bin").mkdir(exist_ok=True)
    monkeypatch.setenv("PATH", str(folder / "bin"))


def command(name: str, model: Model, *more: str, **wanted: str) -> list[str]:
    found = plan_engine(Wanted(engine=ENGINES[name], model=model, options=more, **wanted)).plan.command  # type: ignore[arg-type]
    return [Path(found[0]).name, *found[1:]]


def test_each_program_gets_its_own_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path, monkeypatch, "vllm", "trtllm-serve", "llama-server")
    model = Model("m", Path("/models/GLM-FP8"), "vllm")
    path = "/models/GLM-FP8"
    assert command("vllm", model) == ["vllm", "serve", path, *AT, "--served-model-name", path]
    assert command("trtllm", model, "--tp_size", "2") == ["trtllm-serve", path, *AT, "--tp_size", "2"]
    file = Model("m", Path("/m/a.gguf"), "llama", Path("/m/mmproj-a.gguf"))
    llama = ["llama-server", "-m", "/m/a.gguf", "--mmproj", "/m/mmproj-a.gguf", *AT, "--jinja"]
    assert command("llama", file) == llama
    assert command("llama", Model("ggml-org/x-GGUF", None, "llama"))[1:3] == ["-hf", "ggml-org/x-GGUF"]


@pytest.mark.parametrize("name", ["vllm", "trtllm", "sglang"])
def test_each_module_gets_its_own_options(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path, monkeypatch)
    module = next(way.module for way in ENGINES[name].ways if way.module)
    (tmp_path / module.split(".")[0]).mkdir()
    (tmp_path / module.split(".")[0] / "__init__.py").write_text("raise ImportError('is not to be imported by us')")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = plan_engine(Wanted(engine=ENGINES[name], model=Model("Qwen/Qwen3", None, "vllm"))).plan.command
    assert words[:4] == (sys.executable, "-P", "-m", module)
    read = standin.READ[name](list(words[4:]))  # its documented options, and no others
    assert (read.model, read.host, read.port) == ("Qwen/Qwen3", "127.0.0.1", 8000)


def test_the_python_server_of_llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path, monkeypatch)
    (tmp_path / "llama_cpp").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    planned = plan_engine(Wanted(engine=ENGINES["llama"], model=Model("m", Path("/m/a.gguf"), "llama")))
    assert planned.plan.command == (sys.executable, "-P", "-m", "llama_cpp.server", "--model", "/m/a.gguf", *AT)
    assert planned.health == "/v1/models"
    with pytest.raises(EngineError, match="download a/b-GGUF"):
        plan_engine(Wanted(engine=ENGINES["llama"], model=Model("a/b-GGUF", None, "llama")))


@pytest.mark.parametrize(
    ("name", "version", "gpu", "image", "words"),
    [
        ("vllm", "v0.12.0", True, "vllm/vllm-openai:v0.12.0", ["--model", "/models/M"]),
        ("sglang", "", True, "lmsysorg/sglang:latest", ["python3", "-m", "sglang.launch_server", "--model-path"]),
        ("trtllm", "0.18.0", True, "nvcr.io/nvidia/tensorrt-llm/release:0.18.0", ["trtllm-serve", "/models/M"]),
        ("llama", "b7349", False, "ghcr.io/ggml-org/llama.cpp:server-b7349", ["-m", "/models/M"]),
        ("llama", "b7349", True, "ghcr.io/ggml-org/llama.cpp:server-cuda-b7349", ["-m", "/models/M"]),
        ("llama", "", False, "ghcr.io/ggml-org/llama.cpp:server", ["-m", "/models/M"]),
    ],
)
def test_containers(
    name: str, version: str, gpu: bool, image: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "M").mkdir()
    monkeypatch.setattr("penstock.engines.docker.has_gpu", lambda: gpu)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    model = Model("M", tmp_path / "M", name)
    built, launch = build_engine_command(ENGINES[name], model, "127.0.0.1", 8001, ("--x", "1"), version)
    assert built[:7] == ["docker", "run", "--rm", "--network", "host", "--name", f"penstock-{name}-8001"]
    at = built.index(image)
    assert built[at + 1 : at + 1 + len(words)] == words and built[-2:] == ["--x", "1"]
    assert ("--gpus" in built[:at]) == gpu
    assert f"{tmp_path / 'M'}:/models/M:ro" in built[:at] and launch.model == "/models/M"
    assert built[built.index("-e") + 1] == "HF_TOKEN" and "hf_secret" not in " ".join(built)


def test_the_gateway_reaches_an_engine_that_listens_elsewhere() -> None:
    hosts = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::1": "[::1]", "10.0.0.7": "10.0.0.7", "box": "box"}
    for listens, asked in hosts.items():
        config = yaml.safe_load(make_config("vllm", 8000, "a", "m", name_host(listens)))
        assert config["model_list"][0]["litellm_params"]["api_base"] == f"http://{asked}:8000/v1"


def test_a_file_is_mounted_with_its_neighbours(tmp_path: Path) -> None:
    model = Model("a", tmp_path / "q" / "a.gguf", "llama", tmp_path / "mmproj.gguf")
    built, launch = build_engine_command(ENGINES["llama"], model, "127.0.0.1", 8000, ())
    assert f"{tmp_path / 'q'}:/models:ro" in built and f"{tmp_path}:/projector:ro" in built
    assert (launch.model, launch.projector) == ("/models/a.gguf", "/projector/mmproj.gguf")
    with pytest.raises(EngineError, match="colon"):
        build_engine_command(ENGINES["llama"], Model("a", Path("/a:b/c.gguf"), "llama"), "127.0.0.1", 8000, ())


def test_what_is_missing_is_told_with_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path, monkeypatch)
    model = Model("m", None, "vllm")
    with pytest.raises(EngineError, match=r"neither SGLang \(looked for the Python package sglang\) nor docker is"):
        plan_engine(Wanted(engine=ENGINES["sglang"], model=model))
    programs(tmp_path, monkeypatch, "docker")
    assert command("sglang", model)[0] == "docker"
    with pytest.raises(EngineError, match="SGLang is not installed"):
        plan_engine(Wanted(engine=ENGINES["sglang"], model=model, runtime="native"))
    with pytest.raises(EngineError, match="no program"):
        plan_engine(Wanted(engine=ENGINES["vllm"], model=model, binary="/nowhere/vllm"))


def test_an_installed_engine_goes_before_its_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path, monkeypatch, "docker", "vllm")
    assert command("vllm", Model("m", None, "vllm"))[0] == "vllm"
    assert command("vllm", Model("m", None, "vllm"), runtime="docker")[0] == "docker"


# Models -----------------------------------------------------------------------------------------------------------


def test_the_engine_is_guessed_from_the_files(tmp_path: Path) -> None:
    assert guess_engine(str(make_model(tmp_path))) == "vllm"
    assert guess_engine(str(gguf(tmp_path / "GLM-GGUF" / "q4.gguf").parent)) == "llama"
    assert guess_engine(str(gguf(tmp_path / "blob"))) == "llama"
    (tmp_path / "trt").mkdir()
    (tmp_path / "trt" / "rank0.engine").write_bytes(b"x")
    assert guess_engine(str(tmp_path / "trt")) == "trtllm"
    assert guess_engine("x-GGUF") == guess_engine("ggml-org/gemma-GGUF") == "llama"
    assert guess_engine("Qwen/Qwen3-0.6B") == "vllm"


def test_the_file_of_a_folder(tmp_path: Path) -> None:
    for number in (2, 1, 3):
        gguf(tmp_path / "q" / f"big-{number:05}-of-00003.gguf")
    projector = gguf(tmp_path / "mmproj-F16.gguf")
    found = find_model(str(tmp_path))
    assert found.path == tmp_path / "q" / "big-00001-of-00003.gguf" and found.projector == projector
    gguf(tmp_path / "other.gguf")
    with pytest.raises(EngineError, match=r"other\.gguf, q/big-00001.*give the \.gguf file"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("named", ["/nowhere/model", "./nothing", "~/nothing-here", "missing.gguf"])
def test_a_path_that_leads_nowhere(named: str) -> None:
    with pytest.raises(EngineError, match="there is no model at"):
        find_model(named)


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(EngineError, match="is no GGUF file"):
        find_model(str(tmp_path / "notes.txt"))
    with pytest.raises(EngineError, match="neither a .gguf file"):
        find_model(str(tmp_path))


# Options and progress ---------------------------------------------------------------------------------------------


def test_options_from_a_mapping() -> None:
    given = {"max_model_len": 8192, "enable_auto_tool_choice": True, "seed": None, "x": False, "lora": ["a", "b"]}
    words = ("--max-model-len", "8192", "--enable-auto-tool-choice", "--lora", "a", "b")
    assert write_options(given) == words
    assert write_options({"tp_size": 2}, dashes=False) == ("--tp_size", "2") and write_options(None) == ()
    for wrong in ("--x 1", {"x": {"y": 1}}, {1: 2}):
        with pytest.raises(EngineError, match="args"):
            write_options(wrong)


@pytest.mark.parametrize(
    ("line", "percent"),
    [
        ("Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:01<00:03,  1.2s/it]", 25),
        ("Loading weights: 100%|##########| 617/617 [00:10<00:00]", 100),
        ("Capturing CUDA graphs (decode, FULL):  45%|####5     | 9/20", 45),
        ("Loading: 10%|# | 1/10 Loading: 20%|## | 2/10", 20),
        ("GPU KV cache usage: 12.5%, Prefix cache hit rate: 0.0%", None),
        ("INFO gpu_memory_utilization: 0.95", None),
    ],
)
def test_percent_of_bars(line: str, percent: float | None) -> None:
    assert read_bars(line) == percent


def test_percent_of_dots() -> None:
    assert read_dots("." * 37) == 37 and read_dots("." * 100 + "\n") == 100
    assert read_dots("loading ...") is None and read_dots("..") is None


def test_progress_is_told_every_few_seconds_and_each_ten_percent() -> None:
    progress = Progress(read_bars, 100.0)
    assert [progress.news(at) for at in (101.0, 104.9)] == ["", ""]
    assert progress.news(105.0) == "loading, 5 s"
    progress.feed("x: 9%|")
    assert progress.news(107.0) == ""
    progress.feed("x: 30%|")
    progress.feed("no bar here")
    assert progress.news(107.0) == "loading, 7 s, 30 %" and progress.news(108.5) == ""
