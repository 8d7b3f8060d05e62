"""Seed 1: the provider as a chat model of LangChain; by its expression language here, by LLMChain where that still is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.tools import tool
from pydantic import BaseModel

from penstock.mock import Mock, Script, Step, ThreadMock
from penstock.sdk.exceptions import class_of
from penstock.sdk.provider_factory import ProviderFactory
from tests.e2e.clients.install import python_client
from tests.seeds import las
from tests.seeds.las import ROOT, env_of, run_code

WIRES = {"openai": "openai/gpt-4o", "ollama": "ollama/llama3.2", "anthropic": "anthropic/claude-3-5-sonnet-20241022"}


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"rain in {city}"


@pytest.fixture
def mock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mock]:
    with ThreadMock() as running:
        for name, value in env_of(running.url).items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture(params=WIRES)
def llm(request: Any, mock: Mock) -> Any:
    return ProviderFactory.create("litellm", model=WIRES[request.param]).get_langchain_llm()


def test_s1_45_a_chain_of_expressions(llm, mock):
    chain = PromptTemplate.from_template("Tell me about {topic}") | llm | StrOutputParser()
    assert isinstance(llm, BaseChatModel) and chain.invoke({"topic": "AI"}) == "mock/echo: Tell me about AI"
    assert "".join(chain.stream({"topic": "tea"})) == "mock/echo: Tell me about tea"
    assert chain.batch([{"topic": "a"}, {"topic": "b"}]) == ["mock/echo: Tell me about a", "mock/echo: Tell me about b"]


async def test_s1_45_awaited_and_streamed(llm, mock):
    answer = await llm.ainvoke([SystemMessage("Be brief."), HumanMessage("hello")])
    assert answer.content == "mock/echo: hello" and answer.usage_metadata["total_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"
    whole = None
    async for part in llm.astream("hello"):
        whole = part if whole is None else whole + part
    assert whole.content == "mock/echo: hello" and whole.usage_metadata["total_tokens"] > 0


def test_s1_45_tools_and_what_they_said(llm, mock):
    mock.script = Script(queue=(Step(tool_calls=({"name": "get_weather", "arguments": {"city": "Rome"}},)),) * 2)
    model = llm.bind_tools([get_weather], tool_choice="any")
    asked = model.invoke("weather?")
    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [("get_weather", {"city": "Rome"})]
    whole = None
    for part in model.stream("and now?"):
        whole = part if whole is None else whole + part
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("get_weather", {"city": "Rome"})]
    said = ToolMessage(get_weather.invoke(asked.tool_calls[0]["args"]), tool_call_id=asked.tool_calls[0]["id"])
    assert "rain in Rome" in llm.bind_tools([get_weather]).invoke([HumanMessage("weather?"), asked, said]).content


def test_s1_45_arguments_that_are_no_json_are_told_as_such(mock):
    llm = ProviderFactory.create("litellm", model="openai/gpt-4o").get_langchain_llm()
    mock.script = Script.always(tool_calls=({"name": "get_weather", "arguments": "{city:"},))
    answer = llm.bind_tools([get_weather]).invoke("weather?")
    assert isinstance(answer, AIMessage) and answer.tool_calls == [] and answer.invalid_tool_calls[0]["args"] == "{city:"


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
def test_s1_45_structured_output(method, mock):
    llm = ProviderFactory.create("litellm", model="openai/gpt-4o").get_langchain_llm()
    if method == "json_mode":
        mock.script = Script.always(text='{"name": "Ada", "age": 36}')
    found = llm.with_structured_output(Person, method=method).invoke("Who?")
    assert isinstance(found, Person)
    schema = Person.model_json_schema()
    as_dict = llm.with_structured_output(schema, method=method).invoke("Who, then?")
    assert set(as_dict) == {"name", "age"}
    raw = llm.with_structured_output(Person, method=method, include_raw=True).invoke("Who?")
    assert raw["parsed"] == found and raw["parsing_error"] is None and isinstance(raw["raw"], AIMessage)
    with pytest.raises(ValueError, match="magic"):
        llm.with_structured_output(Person, method="magic")


def test_s1_45_errors_stop_words_and_options(mock):
    llm = ProviderFactory.create("litellm", model="openai/gpt-4o", temperature=0.1).get_langchain_llm(seed=7)
    llm.bind(stop=["END"]).invoke("x")
    asked = mock.received[-1].json
    assert (asked["stop"], asked["temperature"], asked["seed"]) == (["END"], 0.1, 7)
    mock.script = Script.always(status=401)
    with pytest.raises(class_of("AuthenticationError")):
        llm.invoke("x, again")


def test_s1_45_without_langchain_only_the_call_fails(mock, tmp_path):
    hidden = "import sys\nsys.modules['langchain_core'] = None\n"
    code = hidden + las.FACTORY + "try:\n    provider.get_langchain_llm()\nexcept ImportError as error:\n    print(error)"
    assert "pip install 'penstock[langchain]'" in run_code(code, mock.url, tmp_path)
    loads = "import sys, penstock.sdk.provider_factory; print('langchain_core' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


@pytest.mark.timeout(1000)  # the first run installs it
def test_s1_45_the_seeds_chain(mock, tmp_path):
    """Its imports are those of LangChain before 1.0, which has an environment of its own."""
    python = python_client("langchain-chains")
    assert run_code(las.LANGCHAIN + "print(result)", mock.url, tmp_path, python=python) == "mock/echo: Tell me about AI\n"
