"""`Client` over a config, `Router`, and a client of a gateway elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock import sdk
from penstock.mock import Mock, Rule, Script, Step
from tests.door import open_door
from tests.sdk.conftest import ASKED, always


def entry(mock: Mock, name: str, model: str = "openai/gpt-4o-mini", **params: Any) -> dict[str, Any]:
    return {
        "model_name": name,
        "litellm_params": {"model": model, "api_base": f"{mock.url}/v1", "api_key": "k", **params},
    }


@pytest.mark.parametrize("as_file", [False, True])
def test_a_client_serves_the_names_of_its_config(as_file: bool, mock: Mock, tmp_path: Path) -> None:
    config: Any = {"model_list": [entry(mock, "mine", temperature=0.5)], "litellm_settings": {"drop_params": True}}
    if as_file:
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(config))
        config = str(path)
    client = sdk.Client(config)
    assert client.completion("mine", ASKED).model == "mine"
    assert mock.received[0].json["model"] == "gpt-4o-mini" and mock.received[0].json["temperature"] == 0.5
    with pytest.raises(sdk.BadRequestError, match="mine"):
        client.completion("other", ASKED)


def test_what_a_call_says_of_the_deployment_holds_for_that_call(mock: Mock) -> None:
    client = sdk.Client({"model_list": [entry(mock, "mine"), entry(mock, "other")]})
    client.completion("mine", ASKED, api_key="sk-another-77", extra_headers={"x-a": "b"})
    client.completion("mine", ASKED)
    first, second = (dict(one.headers) for one in mock.received)
    assert (first["authorization"], first["x-a"]) == ("Bearer sk-another-77", "b")
    assert second["authorization"] == "Bearer k" and "x-a" not in second


def test_a_call_s_fallback_may_bring_its_own_key_to_a_config(mock: Mock) -> None:
    mock.script = failing("gpt-4o-mini")
    client = sdk.Client({"model_list": [entry(mock, "mine")], "router_settings": {"num_retries": 0}})
    other = {"model": "openai/other", "api_base": f"{mock.url}/v1", "api_key": "k2", "temperature": 0.25}
    assert client.completion("mine", ASKED, fallbacks=[other]).choices
    last = mock.received[-1]
    assert last.json["model"] == "other" and last.json["temperature"] == 0.25
    assert dict(last.headers)["authorization"] == "Bearer k2"


def test_a_cache_of_the_config_answers(mock: Mock) -> None:
    client = sdk.Client({"model_list": [entry(mock, "m")], "litellm_settings": {"cache": True}})
    first, second = client.completion("m", ASKED), client.completion("m", ASKED)
    assert len(mock.received) == 1 and second.choices == first.choices
    assert (first._hidden_params["cache_hit"], second._hidden_params["cache_hit"]) == (False, True)
    assert second._hidden_params["response_cost"] == 0


def test_secrets_of_a_config_may_stand_in_the_environment(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-from-outside-1")
    sdk.Client({"model_list": [entry(mock, "m", api_key="os.environ/SOME_KEY")]}).completion("m", ASKED)
    assert dict(mock.received[0].headers)["authorization"] == "Bearer sk-from-outside-1"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"config": {"model_list": [{"model_name": "m"}], "router_settings": {"num_retries": "many"}}}, "num_retries"),
        ({"config": {}, "base_url": "http://x"}, "not both"),
        ({"api_key": "k"}, "base_url"),
        ({"config": "/nowhere/config.yaml"}, "no such file"),
    ],
)
def test_what_is_wrong_is_told_at_once(given: dict[str, Any], text: str, caplog: pytest.LogCaptureFixture) -> None:
    try:
        sdk.Client(**given)
    except ValueError as error:
        assert text in str(error)
    else:
        assert text in caplog.text


# Router ---------------------------------------------------------------------------------------------------------------


def failing(model: str, status: int = 500) -> Script:
    return Script(rules=[Rule(model=model, step=Step(status=status))])


def test_a_router_falls_back_and_tries_again(mock: Mock) -> None:
    mock.script = failing("bad")
    deployments = [entry(mock, "a", "openai/bad"), entry(mock, "b", "openai/good")]
    router = sdk.Router(model_list=deployments, fallbacks=[{"a": ["b"]}], num_retries=1, retry_after=0)
    answer = router.completion(model="a", messages=ASKED)
    assert answer.choices[0].message.content == "mock/echo: hello"
    assert [one.json["model"] for one in mock.received] == ["bad", "bad", "good"]
    assert answer._hidden_params["model_id"] and router.model_names == ["a", "b"]


async def test_a_router_balances_within_a_group(mock: Mock) -> None:
    deployments = [entry(mock, "m", "openai/one", weight=1), entry(mock, "m", "openai/two", weight=0)]
    router = sdk.Router(deployments, routing_strategy="simple-shuffle")
    for _ in range(5):
        await router.acompletion("m", ASKED)
    assert {one.json["model"] for one in mock.received} == {"one"}
    vectors = await router.aembedding(model="m", input=["a"])
    assert vectors.data[0].embedding


def test_a_router_s_list_may_change(mock: Mock) -> None:
    router = sdk.Router([{**entry(mock, "a"), "model_info": {"id": "first"}}])
    router.add_deployment({**entry(mock, "b"), "model_info": {"id": "second"}})
    assert router.completion("b", ASKED).model == "b" and len(router.get_model_list("b")) == 1
    assert router.delete_deployment("first") == {**entry(mock, "a"), "model_info": {"id": "first"}}
    assert router.delete_deployment("first") is None and router.model_names == ["b"]
    with pytest.raises(TypeError, match="numretries"):
        sdk.Router([], numretries=2)


def test_one_deployment_s_rest_is_known_to_the_next_call(mock: Mock) -> None:
    mock.script = failing("bad", 429)
    deployments = [entry(mock, "m", "openai/bad"), entry(mock, "m", "openai/good")]
    router = sdk.Router(deployments, num_retries=2, cooldown_time=60, retry_after=0)
    for _ in range(12):
        assert router.completion("m", ASKED).choices
    assert sum(one.json["model"] == "bad" for one in mock.received) <= 1


# A gateway elsewhere --------------------------------------------------------------------------------------------------


async def test_a_client_of_a_gateway_asks_it(tmp_path: Path) -> None:
    async with open_door(tmp_path, master_key="sk-master-of-this-test") as door:
        client = sdk.AsyncClient(base_url=f"{door.url}/v1", api_key="sk-master-of-this-test")
        answer = await client.completion("m", ASKED, metadata={"trace": "t"})
        assert answer.choices[0].message.content == "mock/echo: hello" and answer.model == "m"
        stream = await client.completion("m", ASKED, stream=True)
        assert "".join([one.choices[0].delta.content async for one in stream]) == "mock/echo: hello"
        message = await client.anthropic_messages(50, ASKED, "m")
        assert message.content[0].text == "mock/echo: hello"
        told = await client.responses("hello", "m")
        assert told.output_text == "mock/echo: hello"
        vectors = await client.embedding("m", ["a"], dimensions=2)
        assert len(vectors.data[0].embedding) == 2
        assert (await client.rerank("m", "a", ["b", "c"])).results
        paths = [one.path for one in door.mock.received]
        assert "/v1/embeddings" in paths and "/v1/rerank" in paths
        with pytest.raises(sdk.AuthenticationError):
            await sdk.AsyncClient(base_url=f"{door.url}/v1", api_key="sk-wrong").completion("m", ASKED)
        with pytest.raises(sdk.BadRequestError, match="no such model"):
            await client.completion("unknown", ASKED)
        door.mock.script = always(status=429, headers={"retry-after": "1"})
        count = len(door.mock.received)
        with pytest.raises(sdk.RateLimitError):
            await client.completion("m", ASKED)
        assert len(door.mock.received) == count + 1, "what the gateway tries again is not tried again here"
