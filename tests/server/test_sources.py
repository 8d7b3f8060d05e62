"""The sources of deployments: each is asked, a broken one keeps what it gave last, and the others go on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest

from penstock.config import Config, Deployment, Problem
from penstock.core.providers import engines as table
from penstock.core.providers.engines import Engine
from penstock.mock import Mock, Script, Step
from penstock.runtime.state import State
from penstock.server.sources import base
from penstock.server.sources import engines as found
from penstock.server.sources.base import Broken, Source, SourceContent, gather
from penstock.server.sources.engines import EnginesSource
from penstock.server.sources.file import FileSource
from penstock.server.sources.mock import PLACE
from penstock.server.sources.registered import sources_of
from tests.e2e.serving import clean_env, serving

MODEL = "model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: k}}]\n"


class Told(Source):
    """A source that gives, or raises, what the test says next."""

    def __init__(self, name: str, *answers: SourceContent | Exception | None) -> None:
        self.name = name
        self.answers = list(answers)
        self.heard: list[Config] = []

    async def load(self, config: Config) -> SourceContent:
        self.heard.append(config)
        answer = self.answers.pop(0)
        if answer is None:
            await asyncio.sleep(60)
        if isinstance(answer, SourceContent):
            return answer
        assert answer is not None
        raise answer


def deployments(*names: str) -> tuple[Deployment, ...]:
    return tuple(Deployment(id=name, model_name=name, model=name) for name in names)


def given(*names: str, settings: bool = False) -> SourceContent:
    return SourceContent(deployments(*names), Config() if settings else None)


def names(config: Config | None) -> list[str]:
    assert config is not None
    return [deployment.model_name for deployment in config.deployments]


def said(problems: Iterable[Problem]) -> list[tuple[str, str]]:
    return [(problem.level, str(problem)) for problem in problems]


async def test_all_are_asked_in_their_order_and_know_what_came_before() -> None:
    first, second = Told("a file", given("x", settings=True)), Told("a database", given("y"))
    config, problems = await gather([first, second])
    assert names(config) == ["x", "y"] and problems == []
    assert names(second.heard[0]) == ["x"] and names(first.heard[0]) == []


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Broken("is full of holes"), "is full of holes"),
        (None, "did not answer within 0.05 s"),
        (ZeroDivisionError("secret"), "could not be asked (ZeroDivisionError)"),
        (TimeoutError(), "did not answer within 0.05 s"),
    ],
)
async def test_a_broken_source_keeps_what_it_gave_last_and_says_so(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception | None, reason: str
) -> None:
    monkeypatch.setattr(base, "PATIENCE", 0.05)
    first = Told("a file", given("x", settings=True), trouble, given("z", settings=True))
    second = Told("engines", given("y"), given("y2"), given("y3"))
    await gather([first, second])
    config, problems = await gather([first, second])
    assert names(config) == ["x", "y2"]
    assert said(problems) == [("error", f"a file: {reason}; what it gave last stays")]
    assert (first.trouble, second.trouble) == (reason, "")
    config, problems = await gather([first, second])
    assert names(config) == ["z", "y3"] and problems == [] and first.trouble == ""


async def test_a_source_that_never_answered_gives_nothing_and_the_others_serve() -> None:
    first, second = Told("a file", given("x", settings=True)), Told("a database", Broken("is down"))
    config, problems = await gather([first, second])
    assert names(config) == ["x"]
    assert said(problems) == [("error", "a database: is down; it gives nothing until a reload")]


async def test_without_settings_there_is_no_config() -> None:
    source = Told("a file", Broken("has errors", (Problem("f", 3, "a.b", "is wrong", "error"),)))
    config, problems = await gather([source])
    assert config is None and said(problems) == [("error", "f:3: a.b: is wrong")] and source.trouble == "has errors"


async def test_at_the_start_nobody_is_asked_twice() -> None:
    first, second = Told("a file", given("x", settings=True)), Told("engines", given("y"))
    await gather([first])
    config, _ = await gather([first, second], again=False)
    assert names(config) == ["x", "y"] and len(first.heard) == 1


async def test_an_id_that_an_earlier_source_has_is_left_out() -> None:
    sources = [Told("a file", given("x", settings=True)), Told("a database", given("x", "y"))]
    config, problems = await gather(sources)
    assert names(config) == ["x", "y"]
    assert said(problems) == [("warning", "a database: the deployment 'x' is left out: a file has one of the same id")]


# The config file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "# nothing\n", "model_list: []\n", "general_settings: {max_file_size_mb: 5}\n"])
async def test_a_file_without_models_takes_none_away(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(MODEL)
    sources = sources_of(path, dict)
    assert names((await gather(sources))[0]) == ["m"]
    path.write_text(text)
    config, problems = await gather(sources)
    assert names(config) == ["m"]
    assert "names no models any more (if that is meant, restart); what it gave last stays" in str(problems[-1])


async def test_a_gateway_may_start_without_models_and_get_some_later(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("")
    sources = sources_of(path, dict)
    assert names((await gather(sources))[0]) == []
    path.write_text("general_settings: {max_file_size_mb: 5}\n")
    config, _ = await gather(sources)
    assert config is not None and config.general.values == {"max_file_size_mb": 5} and not sources[0].trouble
    path.write_text(MODEL)
    assert names((await gather(sources))[0]) == ["m"]


async def test_a_file_sees_the_variables_as_they_are_now(tmp_path: Path) -> None:
    path, environ = tmp_path / "config.yaml", {"M": "one"}
    path.write_text(MODEL.replace("model_name: m", "model_name: os.environ/M"))
    sources = sources_of(path, lambda: dict(environ))
    assert names((await gather(sources))[0]) == ["one"]
    environ["M"] = "two"
    assert names((await gather(sources))[0]) == ["two"]


# Without a file -------------------------------------------------------------------------------------------------------


async def test_without_a_file_a_reload_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = {"data": [{"id": "qwen", "owned_by": "vllm"}]}
    environ: dict[str, str] = {}
    async with Mock(Script(default=Step(body=listing))) as vllm:
        row = Engine(name="vLLM", provider="hosted_vllm", port=vllm.port, owned_by="vllm")
        monkeypatch.setattr(table, "ENGINES", (row,))
        monkeypatch.setattr(found, "PATIENCE", 0.2)
        sources = sources_of(None, lambda: dict(environ))
        try:
            first, _ = await gather(sources)
            assert names(first) == ["mock/echo", "hosted_vllm/qwen"]
            environ |= {"OPENAI_API_KEY": "sk-a", "LITELLM_MASTER_KEY": "sk-new-master"}
            vllm.script = Script(default=Step(body={"data": [{"id": "glm", "owned_by": "vllm"}]}))
            config, _ = await gather(sources)
            assert names(config) == ["openai/*", "mock/echo", "hosted_vllm/glm"]
            assert config is not None and config.general.master_key == "sk-new-master"
            assert first is not None
            mocks = [next(d for d in c.deployments if d.model_name == "mock/echo") for c in (first, config)]
            assert mocks[0] == mocks[1], "the mock that stands goes on"
        finally:
            for source in sources:
                await source.close()


@pytest.mark.parametrize("step", [Step(latency_ms=3000), Step(status=503), Step(hangup="before_answer")])
async def test_an_engine_that_is_too_busy_to_answer_keeps_its_models(
    monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    monkeypatch.setattr(found, "PATIENCE", 0.2)
    source = EnginesSource()
    try:
        async with Mock(Script(default=Step(body={"data": [{"id": "qwen", "owned_by": "vllm"}]}))) as vllm:
            row = Engine(name="vLLM", provider="hosted_vllm", port=vllm.port, owned_by="vllm")
            monkeypatch.setattr(table, "ENGINES", (row,))
            await source.load(Config())
            vllm.script = Script(default=step)
            busy = await source.load(Config())
            assert [d.model_name for d in busy.deployments] == ["mock/echo", "hosted_vllm/qwen"]
            text = f"local engines: vLLM at http://127.0.0.1:{vllm.port} gave no list of its models; those known stay"
            assert said(busy.problems) == [("warning", text)]
        gone = await source.load(Config())
        assert [d.model_name for d in gone.deployments] == ["mock/echo"] and gone.problems == ()
    finally:
        await source.close()


async def test_a_reload_with_an_error_that_is_new_changes_nothing(tmp_path: Path) -> None:
    """A bad entry is left out at the start. Later the same slip would take a model away that is served."""
    good = "  - {model_name: a, litellm_params: {model: openai/x}}\n"
    bad = "  - {model_name: b, litellm_params: {model: openai/x, timeout: soon}}\n"
    path = tmp_path / "c.yaml"
    path.write_text("model_list:\n" + good + bad)
    source = FileSource(path, dict)
    first = await source.load(Config())
    assert [d.model_name for d in first.deployments] == ["a"] and [p.level for p in first.problems] == ["error"]
    source.last = first
    path.write_text("model_list:\n" + good.replace("a,", "c,") + bad)
    assert [d.model_name for d in (await source.load(Config())).deployments] == ["c"]
    path.write_text("model_list:\n" + good.replace("x}", "x, rpm: many}") + bad)
    with pytest.raises(Broken) as caught:
        await source.load(Config())
    assert "errors that it had not before" in caught.value.reason and len(caught.value.problems) == 2


MOCKED = "model_list: [{model_name: try, litellm_params: {model: mock/echo}}]\n"


async def test_the_mock_is_started_for_a_config_that_names_it_and_stays_over_reloads(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: k}}]\n")
    sources = sources_of(path, dict)
    config, _ = await gather(sources)
    assert config is not None and PLACE not in config.environment, "nobody wants it"
    path.write_text(MOCKED)
    config, problems = await gather(sources)
    assert config is not None and not problems
    place = config.environment[PLACE]
    target = State(config, config.environment).targets[0]
    assert str(target.origin) == place.removesuffix("/v1")
    again, _ = await gather(sources)
    assert again is not None and again.environment[PLACE] == place
    for source in sources:
        await source.close()


async def test_a_mock_that_is_elsewhere_is_not_started_here(tmp_path):
    path = tmp_path / "config.yaml"
    for text, environ in ((MOCKED, {PLACE: "http://127.0.0.1:9/v1"}), (MOCKED.replace("echo", 'echo, api_base: "http://127.0.0.1:9/v1"'), {})):
        path.write_text(text)
        sources = sources_of(path, lambda environ=environ: environ)
        config, _ = await gather(sources)
        assert config is not None and config.environment.get(PLACE) == environ.get(PLACE)
        assert str(State(config, config.environment).targets[0].origin) == "http://127.0.0.1:9"


def test_mock_echo_answers_in_a_gateway_and_is_nothing_to_warn_of(tmp_path):
    with serving(tmp_path, MOCKED) as served:
        body = json.dumps({"model": "try", "messages": [{"role": "user", "content": "hello"}]}).encode()
        request = urllib.request.Request(f"{served.base_url}/chat/completions", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["choices"][0]["message"]["content"] == "mock/echo: hello"
    told = subprocess.run([sys.executable, "-m", "penstock", "check", "config.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False, env=clean_env(tmp_path))
    assert (told.returncode, told.stdout.strip()) == (0, "0 errors, 0 warnings"), told
