"""Seed 1 imports `litellm`: the shim is built, installed into an environment of its own, and the seed's blocks run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.mock import Mock, Script, ThreadMock
from tests.seeds import las
from tests.seeds.las import ROOT, run_code
from tests.sinks.made import SERVICES, environment
from tests.sinks.vendors import open_vendor

SHIM = ROOT / "shim"
ASK = "completion(model='openai/gpt-4o-mini', messages=[{'role': 'user', 'content': 'hi'}]"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-w", str(folder), str(SHIM)]
    subprocess.run(command, check=True, timeout=110, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the shim, Penstock and what that needs; and no LiteLLM."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    found = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(found), "install", "-q", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*pip, str(wheel)], check=True, timeout=110, capture_output=True)
    (site_of(found) / "dependencies.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    return found


def site_of(python: Path) -> Path:
    return next((python.parent.parent / "lib").glob("python*/site-packages"))


@pytest.fixture
def mock() -> Iterator[Mock]:
    with ThreadMock() as running:
        yield running


def run(code: str, mock: Mock, python: Path, folder: Path) -> str:
    return run_code(code, mock.url, folder, python=python).strip()


def test_s1_52_it_is_installed_by_pip_and_lies_nowhere_where_litellm_does(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {"penstock_litellm_shim", "penstock_litellm_shim.pth"} <= tops and "litellm" not in tops
    told = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "Name: penstock-litellm-shim" in told and "Requires-Dist: penstock" in told


@pytest.mark.parametrize(
    ("status", "name"),
    [(429, "RateLimitError"), (401, "AuthenticationError"), (400, "InvalidRequestError"), (503, "ServiceUnavailableError")],
)
def test_s1_46_and_s1_47_the_seeds_except_branches(status, name, mock, python, tmp_path):
    mock.script = Script.always(status=status)
    before = "from services.litellm_service import get_litellm_service\nsvc = get_litellm_service()\n"
    before += "messages = [{'role': 'user', 'content': 'Hello!'}]\n"
    quick = las.ERRORS.replace("messages=messages", "messages=messages, num_retries=0")
    assert run(before + quick + "print(caught)", mock, python, tmp_path) == name


def test_s1_49_the_seeds_callback(mock, python, tmp_path):
    code = las.CALLBACKS + las.SERVICE + "litellm.flush()"
    told, printed = sorted(run(code, mock, python, tmp_path).split("\n"))
    assert printed == "mock/echo: Hello!" and told.startswith("Model: ollama/llama3.2, Tokens: Usage(prompt_tokens=")
    four = "import litellm\ndef told(kwargs, response, start, end): print(kwargs['model'], response.choices[0].message.content, end >= start)\n"
    code = four + f"litellm.success_callback = [told]\nlitellm.{ASK})\nlitellm.flush()"
    assert run(code, mock, python, tmp_path) == "openai/gpt-4o-mini mock/echo: hi True"


@pytest.mark.parametrize("name", ["langfuse", "helicone"])
async def test_s1_48_the_seeds_names_of_services(name, mock, python, tmp_path):
    async with open_vendor(SERVICES[name][0]()) as vendor:
        code = f"import litellm\nlitellm.success_callback = [{name!r}]\nlitellm.{ASK})\nlitellm.flush()\nlitellm.close()"
        await asyncio.to_thread(run_code, code, mock.url, tmp_path, python=python, **environment(name, vendor))
        assert vendor.wrong == [] and len(set(vendor.taken)) == 1


def test_messages_are_kept_from_callbacks_where_the_module_says_so(mock, python, tmp_path):
    code = f"""
import litellm
litellm.turn_off_message_logging = True
litellm.success_callback = [lambda kwargs, response, start, end: print(litellm.turn_off_message_logging, "mock/echo" in str(kwargs) + str(response))]
litellm.{ASK})
litellm.flush()
"""
    assert run(code, mock, python, tmp_path) == "True False"


def test_the_module_is_litellms_in_what_programs_use(mock, python, tmp_path):
    code = f"""
import asyncio, litellm, inspect
from litellm import acompletion, completion, Router, ModelResponse, token_counter, embedding
from litellm.exceptions import ContextWindowExceededError, Timeout
from litellm.integrations.custom_logger import CustomLogger
from litellm.types.utils import ModelResponse as Same
from litellm.utils import supports_vision
from litellm.caching import Cache
assert Same is ModelResponse is litellm.ModelResponse and issubclass(Timeout, Exception)
assert issubclass(litellm.RateLimitError, Exception) and litellm.exceptions.RateLimitError is litellm.RateLimitError
answer = {ASK})
print(answer.choices[0].message.content, type(answer) is ModelResponse)
print(asyncio.run(a{ASK})).choices[0].message.content, inspect.iscoroutinefunction(acompletion))
print(litellm.completion_cost(answer) > 0, supports_vision("gpt-4o"), litellm.model_cost["gpt-4o"]["max_input_tokens"])
print("".join(part.choices[0].delta.content for part in {ASK}, stream=True)))
print(litellm.anthropic.messages.create(model="anthropic/claude-3-5-haiku-20241022", max_tokens=9, messages=[{{"role": "user", "content": "hi"}}])["content"][0]["text"])
print(len(litellm.batch_completion("openai/gpt-4o-mini", [[{{"role": "user", "content": "hi"}}]] * 2)))
"""
    printed = run(code, mock, python, tmp_path).split("\n")
    hi = "mock/echo: hi"
    assert printed == [f"{hi} True", f"{hi} True", "True True 128000", hi, hi, "2"]


SETTINGS = f"""
import json, litellm
from litellm import completion
seen = {{}}

def ask(**more):
    return {ASK}, **more)

litellm.drop_params = True
ask(model="openai/o3", temperature=0.3) if False else completion(model="openai/o3", messages=[{{"role": "user", "content": "hi"}}], temperature=0.3)
litellm.drop_params = False
litellm.api_key = "sk-of-the-module"
ask()
litellm.api_key = None
litellm.openai_key = "sk-of-openai"
ask()
litellm.openai_key = None
litellm.headers = {{"x-team": "red"}}
ask(extra_headers={{"x-own": "1"}})
litellm.headers = None
litellm.model_alias_map = {{"small": "openai/gpt-4o-mini"}}
completion(model="small", messages=[{{"role": "user", "content": "hi"}}])
litellm.cache = litellm.Cache(type="local")
print([ask()._hidden_params["cache_hit"] for _ in range(2)], ask(caching=False)._hidden_params["cache_hit"])
litellm.cache = None
print(ask()._hidden_params["cache_hit"])
litellm.max_budget = 1e-9
try:
    ask()
except litellm.BudgetExceededError as error:
    print(error.max_budget, error.current_cost == litellm._current_cost > 0)
litellm.max_budget = 0
litellm.num_retries = 0
litellm.set_verbose = True
import logging
print(logging.getLogger("penstock").level == logging.DEBUG, litellm.set_verbose)
litellm.set_verbose = False
litellm.telemetry = False
litellm.suppress_debug_info = True
litellm.input_callback = []
"""


def test_settings_of_the_module_are_acted_on(mock, python, tmp_path):
    printed = run(SETTINGS, mock, python, tmp_path).split("\n")
    assert printed == ["[False, True] False", "False", "1e-09 True", "True True"]
    asked = mock.received
    heads = [dict(one.headers) for one in asked]
    assert "temperature" not in asked[0].json
    assert [head["authorization"] for head in heads[1:4]] == ["Bearer sk-of-the-module", "Bearer sk-of-openai", "Bearer sk-openai"]
    assert (heads[3]["x-team"], heads[3]["x-own"]) == ("red", "1") and "x-team" not in heads[4]
    assert asked[4].json["model"] == "gpt-4o-mini"


REFUSED = """
import json, litellm
told = {}
for name, value in (("pre_call_rules", [print]), ("modify_params", True), ("success_calback", []), ("telemetry", True), ("cache", {}),
                    ("success_callback", "langfuse"), ("max_budget", "much"), ("custom_provider_map", [{}]), ("ssl_verify", {"a": 1})):
    try:
        setattr(litellm, name, value)
    except (AttributeError, ValueError) as error:
        told[name] = str(error)
for code in ("litellm.input_callback.append(print)", "litellm.ocr", "litellm.cache = litellm.Cache(type='nowhere')"):
    try:
        exec(code)
    except (AttributeError, ValueError) as error:
        told[code] = str(error)
print(json.dumps(told))
"""


def test_a_setting_that_would_change_nothing_is_refused_by_its_name(mock, python, tmp_path):
    told = json.loads(run(REFUSED, mock, python, tmp_path))
    assert len(told) == 12
    for name, text in told.items():
        word = name.removeprefix("litellm.").split(".")[0].split(" ")[0]
        assert word in text, (name, text)


def test_it_does_not_stand_in_for_a_litellm_that_is_there(mock, python, tmp_path):
    real = site_of(python) / "litellm"
    real.mkdir()
    try:
        (real / "__init__.py").write_text("real = True\n")
        code = "try:\n    import litellm\nexcept ImportError as error:\n    print(error)"
        said = run(code, mock, python, tmp_path)
        assert str(real) in said and "pip uninstall penstock-litellm-shim" in said
    finally:
        (real / "__init__.py").unlink()
        for left in sorted(real.rglob("*"), reverse=True):
            left.unlink() if left.is_file() else left.rmdir()
        real.rmdir()
    (tmp_path / "litellm").mkdir()  # somebody's folder of notes is no package
    assert run(f"import litellm; print(litellm.{ASK}).choices[0].message.content)", mock, python, tmp_path) == "mock/echo: hi"
