"""The service beside what the seeds promise: tools in every form, settings that cannot be, sums, pictures, places."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import threading
import time
from typing import Any

import pytest

from penstock import sdk
from penstock.mock import Mock, Script, Step
from penstock.sdk import Client
from penstock.sdk.background import background
from penstock.sdk.costs import MOST_MODELS, OTHERS, Costs
from penstock.sdk.exceptions import class_of
from penstock.sdk.service import LiteLLMConfig, LiteLLMService, ToolDefinition
from tests.sdk.conftest import ASKED

PNG = b"\x89PNG\r\n\x1a\n" + bytes(10)


@pytest.fixture
def svc(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> LiteLLMService:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_API_BASE", f"{mock.url}/v1")
    return LiteLLMService(LiteLLMConfig(default_provider="openai", default_model="gpt-4o"))


def calls(*names: str) -> Script:
    made = tuple({"name": name, "arguments": {"n": number}} for number, name in enumerate(names))
    return Script(queue=(Step(tool_calls=made), Step(text="done")))


def tools(*names: str) -> list[ToolDefinition]:
    return [ToolDefinition(name, name, {"type": "object", "properties": {"n": {"type": "integer"}}}) for name in names]


# Tools ----------------------------------------------------------------------------------------------------------------


def test_calls_of_one_answer_run_side_by_side_and_keep_their_order(svc: LiteLLMService, mock: Mock) -> None:
    mock.script = calls("a", "b", "a")
    meet = threading.Barrier(3, timeout=10)
    told = contextvars.ContextVar("told", default="")
    told.set("the caller's")

    def handler(n: int) -> dict[str, Any]:
        meet.wait()
        time.sleep(0.05 * (3 - n))
        return {"n": n, "context": told.get()}

    result = svc.chat_with_tools(ASKED, tools("a", "b"), {"a": handler, "b": handler})
    said = [message["content"] for message in mock.received[-1].json["messages"] if message["role"] == "tool"]
    assert said == [f'{{"n": {n}, "context": "the caller\'s"}}' for n in range(3)]
    assert result["response"] == "done" and result["rounds"] == 1 and result["cost"] > 0
    assert [one["name"] for one in result["tool_calls"]] == ["a", "b", "a"]
    assert result["messages"][0] == ASKED[0] and result["messages"][-1]["content"] == "done" and len(ASKED) == 1


async def test_async_handlers_in_both_forms_and_plain_ones_leave_the_loop_free(svc: LiteLLMService, mock: Mock) -> None:
    meet = asyncio.Barrier(2)

    async def later(n: int) -> str:
        async with asyncio.timeout(10):
            await meet.wait()
        return f"later {n}"

    def plain(n: int) -> str:
        time.sleep(0.05)
        return f"plain {n}"

    mock.script = calls("later", "plain", "later")
    result = await svc.achat_with_tools(ASKED, tools("later", "plain"), {"later": later, "plain": plain})
    assert [one["result"] for one in result["tool_calls"]] == ["later 0", "plain 1", "later 2"]

    async def alone(n: int) -> str:
        await asyncio.sleep(0)
        return f"alone {n}"

    mock.script = calls("alone", "alone")
    result = svc.chat_with_tools(ASKED, tools("alone"), {"alone": alone})  # in a thread whose own loop runs
    assert [one["result"] for one in result["tool_calls"]] == ["alone 0", "alone 1"]


@pytest.mark.parametrize("awaited", [False, True])
async def test_an_error_of_a_handler_is_told_and_cut(awaited: bool, svc: LiteLLMService, mock: Mock) -> None:
    def handler(n: int) -> str:
        raise KeyError("x" * 10_000)

    mock.script = calls("a")
    if awaited:
        result = await svc.achat_with_tools(ASKED, tools("a"), {"a": handler})
    else:
        result = svc.chat_with_tools(ASKED, tools("a"), {"a": handler})
    (call,) = result["tool_calls"]
    assert call["error"].startswith("KeyError: ") and len(call["result"]) < 3000
    assert result["messages"][-2]["content"] == call["result"]


def test_a_chat_with_tools_has_bounds_and_no_stream(svc: LiteLLMService) -> None:
    with pytest.raises(TypeError, match="no stream"):
        svc.chat_with_tools(ASKED, tools("a"), {}, stream=True)
    with pytest.raises(ValueError, match="max_rounds is 0"):
        svc.chat_with_tools(ASKED, tools("a"), {}, max_rounds=0)


def test_an_answer_without_a_choice_is_an_end(svc: LiteLLMService) -> None:
    empty = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
    result = svc.chat_with_tools(ASKED, tools("a"), {}, mock_response=empty)
    assert (result["response"], result["finish_reason"], result["rounds"]) == ("", None, 0)


def test_a_tool_may_stand_in_any_call(to: dict[str, Any], mock: Mock) -> None:
    sdk.completion("openai/gpt-4o", ASKED, tools=tools("a"), **to)
    assert mock.received[-1].json["tools"] == [tools("a")[0].to_openai()]


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("default_provider", "opnai", "did you mean 'openai'"),
        ("default_model", "", "the name of a model"),
        ("temperature", -1, "0 or more"),
        ("temperature", "hot", "a number"),
        ("max_tokens", 0, "1 or more"),
        ("max_tokens", True, "a whole number"),
        ("ollama_base_url", "localhost:11434", "a URL"),
        ("enable_caching", "yes", "True or False"),
    ],
)
def test_a_setting_that_cannot_be_changes_nothing(name: str, value: object, said: str, svc: LiteLLMService) -> None:
    before = vars(svc.config).copy()
    with pytest.raises(ValueError, match=said) as raised:
        svc.update_config(**{name: value})
    assert name in str(raised.value) and repr(str(value)) in str(raised.value)
    assert vars(svc.config) == before
    setattr(svc.config, name, value)
    with pytest.raises(ValueError, match=said):
        svc._setup_litellm()


def test_a_name_that_is_no_setting(svc: LiteLLMService) -> None:
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        svc.update_config(temprature=1)
    with pytest.raises(TypeError, match="names, not 5"):
        svc.chat_completion(ASKED, model=5)  # type: ignore[arg-type]


def test_defaults_that_a_model_does_not_take_are_left_out(svc: LiteLLMService, mock: Mock) -> None:
    svc.chat_completion(ASKED, model="o3")
    assert "temperature" not in mock.received[-1].json and mock.received[-1].json["max_completion_tokens"] == 4096
    svc.chat_completion(ASKED, max_completion_tokens=5)
    assert mock.received[-1].json["max_completion_tokens"] == 5 and "max_tokens" not in mock.received[-1].json


# Answers that are kept ------------------------------------------------------------------------------------------------


def test_what_one_keeps_is_no_others(svc: LiteLLMService, mock: Mock) -> None:
    other = LiteLLMService(svc.config)
    for one in (svc, other, svc, other):
        one.chat_completion(ASKED)
    assert len(mock.received) == 2
    svc.chat_completion(ASKED, api_key="sk-of-somebody-else")
    assert len(mock.received) == 3


def test_clients_with_other_places_do_not_empty_each_others(mock: Mock, to: dict[str, Any]) -> None:
    clients = [
        Client({"litellm_settings": {"cache": True, "cache_params": {"type": "local", "max_size_mb": size}}})
        for size in (3, 4)
    ]
    for _ in range(3):
        for one in clients:
            one.completion("openai/gpt-4o", ASKED, **to)
    assert len(mock.received) == 2
    Client().completion("openai/gpt-4o", ASKED, **to)
    assert len(mock.received) == 3


def test_settings_without_models_hold_for_every_model(mock: Mock, to: dict[str, Any], caplog: Any) -> None:
    client = Client({"litellm_settings": {"drop_params": True, "num_retries": 0}})
    client.completion("openai/o3", ASKED, temperature=0.5, **to)
    assert "temperature" not in mock.received[-1].json
    mock.script = Script.always(status=500)
    with pytest.raises(class_of("InternalServerError")):
        client.completion("openai/gpt-4o", ASKED, **to)
    assert len(mock.received) == 2
    assert not [record for record in caplog.records if "no models are configured" in record.getMessage()]
    with pytest.raises(ValueError, match="drop_params"):
        Client({"litellm_settings": {"drop_params": "perhaps"}})


# Sums -----------------------------------------------------------------------------------------------------------------


def test_streams_and_failures_are_summed_up(svc: LiteLLMService, mock: Mock) -> None:
    parts = list(svc.chat_completion(ASKED, stream=True))
    assert "".join(part.choices[0].delta.content for part in parts if part.choices) == "mock/echo: hello"
    told = svc.costs()
    assert told["requests"] == 1 and told["total_cost"] > 0 and told["completion_tokens"] > 0
    mock.script = Script.always(status=400)
    with pytest.raises(class_of("BadRequestError")):
        svc.chat_completion([{"role": "user", "content": "no"}])
    assert svc.costs()["failed"] == 1 and svc.costs()["requests"] == 1
    mock.script = Script()
    svc.create_embedding("x", model="text-embedding-3-small")
    assert set(svc.costs()["by_model"]) == {"openai/gpt-4o", "openai/text-embedding-3-small"}
    svc.reset_costs()
    assert svc.costs()["requests"] == 0 and svc.costs()["by_model"] == {}


def test_sums_of_names_that_callers_make_up_are_bounded(svc: LiteLLMService) -> None:
    from penstock.core.record import Record

    costs = Costs()
    for number in range(MOST_MODELS + 50):
        costs.add(Record(at=0, call_id="", request_id="", key="", client="", method="", path="", model=f"m{number}"))
    told = costs.told()
    assert told["requests"] == MOST_MODELS + 50 and told["by_model"][OTHERS]["requests"] == 50
    assert told["unpriced"] == MOST_MODELS + 50 and len(told["by_model"]) == MOST_MODELS + 1


# Pictures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["bytes", "path", "base64", "data"])
def test_a_picture_in_every_form(form: str, svc: LiteLLMService, mock: Mock, tmp_path: Any) -> None:
    wanted = "data:image/png;base64," + base64.b64encode(PNG).decode()
    (tmp_path / "a.png").write_bytes(PNG)
    given = {"bytes": PNG, "path": tmp_path / "a.png", "base64": wanted.partition(",")[2], "data": wanted}
    svc.vision_completion("what?", given[form])
    assert mock.received[-1].json["messages"][0]["content"][1]["image_url"]["url"] == wanted


# The loop -------------------------------------------------------------------------------------------------------------


def test_work_is_ended_by_closing_and_is_cancelled_from_both_sides(mock: Mock, to: dict[str, Any]) -> None:
    mock.script = Script.always(latency_ms=20_000)
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            sdk.completion("openai/gpt-4o", ASKED, **to)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    there = background()
    while not there.active:
        time.sleep(0.01)
    sdk.close()
    thread.join(10)
    assert isinstance(raised[0], RuntimeError) and "closed" in str(raised[0]) and not there.active

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await sdk.acompletion("openai/gpt-4o", ASKED, **to)
        for _ in range(500):
            if not background().active:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the call goes on for nobody")

    asyncio.run(leave())
    mock.script = Script.always(text="good")
    assert sdk.completion("openai/gpt-4o", ASKED, **to).choices[0].message.content == "good"


def test_what_is_asked_while_the_sdk_is_closed_ends_one_way_or_the_other(mock: Mock, to: dict[str, Any]) -> None:
    ends: list[str] = []
    sdk.completion("openai/gpt-4o", ASKED, **to)

    def ask() -> None:
        for _ in range(50):
            try:
                ends.append(sdk.completion("openai/gpt-4o", ASKED, **to).choices[0].message.content)
            except RuntimeError as error:
                ends.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        time.sleep(0.01)
        sdk.close()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    assert len(ends) == 400 and all(end == "mock/echo: hello" or "closed" in end for end in ends), set(ends)
