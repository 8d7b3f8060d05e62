"""Each function of the SDK, in process, against the mock: what was sent, and what came back."""

from __future__ import annotations

import asyncio
import base64
import copy
import gc
import io
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest

from penstock import sdk
from penstock.mock import Mock
from penstock.sdk.operations import OPERATIONS
from tests.sdk.conftest import ASKED, always

MODEL = "openai/gpt-4o-mini"
# Operation -> arguments, and what its answer says.
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "completion": (
        {"model": MODEL, "messages": ASKED},
        lambda answer: (
            answer.choices[0].message.content == "mock/echo: hello" == answer["choices"][0]["message"]["content"]
        ),
    ),
    "text_completion": (
        {"model": "openai/gpt-3.5-turbo-instruct", "prompt": "hello"},
        lambda answer: answer.choices[0].text.startswith("mock/echo"),
    ),
    "embedding": (
        {"model": "openai/text-embedding-3-small", "input": ["a", "b"], "dimensions": 3},
        lambda answer: [len(one.embedding) for one in answer.data] == [3, 3] and answer.data[1]["index"] == 1,
    ),
    "rerank": (
        {"model": "cohere/rerank-v3.5", "query": "b", "documents": ["a", "b"], "top_n": 1},
        lambda answer: len(answer.results) == 1 and "relevance_score" in answer.results[0],
    ),
    "moderation": ({"input": "hello"}, lambda answer: answer.results[0].flagged is False),
    "image_generation": (
        {"model": "openai/gpt-image-1", "prompt": "a cat"},
        lambda answer: bool(base64.b64decode(answer.data[0].b64_json)),
    ),
    "image_edit": (
        {"image": [b"\x89PNG\r\n\x1a\n", ("b.jpg", b"\xff\xd8\xff\xe0")], "prompt": "a cat", "model": "openai/gpt-image-1"},
        lambda answer: bool(base64.b64decode(answer.data[0].b64_json)),
    ),
    "speech": ({"model": "openai/tts-1", "input": "hello", "voice": "alloy"}, lambda answer: len(answer.content) > 10),
    "transcription": (
        {"model": "openai/whisper-1", "file": ("a.wav", b"RIFF1234", "audio/wav")},
        lambda answer: isinstance(answer.text, str) and answer.text,
    ),
    "responses": (
        {"model": MODEL, "input": "hello"},
        lambda answer: answer.output_text == "mock/echo: hello" and answer.status == "completed",
    ),
    "anthropic_messages": (
        {"model": MODEL, "messages": ASKED, "max_tokens": 50},
        lambda answer: answer.content[0].text == "mock/echo: hello" and answer.stop_reason == "end_turn",
    ),
}


def test_every_operation_has_a_case() -> None:
    assert CASES.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_function_answers(name: str, to: dict[str, Any], mock: Mock) -> None:
    given, good = CASES[name]
    answer = getattr(sdk, name)(**given, **to)
    assert good(answer), answer
    assert answer._hidden_params["litellm_call_id"]
    [sent] = mock.received
    headers = dict(sent.headers)
    assert "sk-of-the-call-8421" in headers["authorization"]
    assert b"sk-of-the-call" not in sent.body and b"api_base" not in sent.body


@pytest.mark.parametrize("name", CASES)
async def test_its_async_form_answers_in_a_running_loop(name: str, to: dict[str, Any]) -> None:
    given, good = CASES[name]
    assert good(await getattr(sdk, f"a{name}")(**given, **to))
    assert good(await getattr(sdk.AsyncClient(), name)(**given, **to))


def test_a_sync_call_in_a_running_loop_answers(to: dict[str, Any]) -> None:
    """In a notebook the loop runs, and cells call the plain form."""

    async def cell() -> Any:
        return sdk.completion(MODEL, ASKED, **to)

    assert asyncio.run(cell()).choices[0].message.content == "mock/echo: hello"


def test_parameters_go_upstream_and_what_is_ours_does_not(to: dict[str, Any], mock: Mock) -> None:
    sdk.completion(
        model=MODEL, messages=ASKED, temperature=0, max_tokens=7, metadata={"tags": ["a"], "trace": {"deep": 1}},
        num_retries=1, timeout=30, top_logits=3, extra_body={"top_k": 5}, top_p=None,
        extra_headers={"x-mine": "yes"}, drop_params=False, **to,
    )  # fmt: skip
    [sent] = mock.received
    wanted = {"model", "messages", "temperature", "max_tokens", "top_logits", "top_k"}
    assert set(sent.json) == wanted and sent.json["temperature"] == 0 and sent.json["top_k"] == 5
    assert dict(sent.headers)["x-mine"] == "yes"


def test_metadata_goes_where_the_vendor_takes_it(to: dict[str, Any], mock: Mock) -> None:
    sdk.responses("hello", "openai/responses/gpt-4o-mini", metadata={"a": "b"}, **to)
    sdk.anthropic_messages(
        9, ASKED, "anthropic/claude-sonnet-4-5", metadata={"user_id": "u"}, api_base=mock.url, api_key="k"
    )
    assert [one.path for one in mock.received] == ["/v1/responses", "/v1/messages"]
    assert [one.json["metadata"] for one in mock.received] == [{"a": "b"}, {"user_id": "u"}]


def test_names_of_models_may_hold_colons_and_more_slashes(to: dict[str, Any], mock: Mock) -> None:
    """S0-20: `openai/qwen3:14b-q4_K_M` keeps its colon."""
    sdk.completion("openai/qwen3:14b-q4_K_M", ASKED, **to)
    sdk.completion("openai/org/model", ASKED, **to)
    assert [one.json["model"] for one in mock.received] == ["qwen3:14b-q4_K_M", "org/model"]


def test_another_dialect_is_translated(mock: Mock) -> None:
    answer = sdk.completion("anthropic/claude-sonnet-4-5", ASKED, api_base=mock.url, api_key="k", max_tokens=20)
    assert answer.choices[0].message.content == "mock/echo: hello"
    assert mock.received[0].path == "/v1/messages"
    assert answer._hidden_params["response_cost"] > 0
    assert answer._hidden_params["custom_llm_provider"] == "anthropic"


def test_the_cost_is_the_price_of_the_usage(to: dict[str, Any]) -> None:
    answer = sdk.completion(MODEL, ASKED, **to)
    usage = answer.usage
    told = sdk.cost_per_token(MODEL, usage.prompt_tokens, usage.completion_tokens)
    assert answer._hidden_params["response_cost"] == pytest.approx(sum(told))
    assert sum(told) > 0
    assert sdk.completion_cost(answer, model=MODEL) == pytest.approx(sum(told))


def test_a_key_that_is_set_later_counts(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(sdk.AuthenticationError, match="OPENAI_API_KEY"):
        sdk.completion(MODEL, ASKED)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{mock.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first-0001")
    sdk.completion(MODEL, ASKED)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-second-0002")
    sdk.completion(MODEL, ASKED)
    assert [dict(one.headers)["authorization"] for one in mock.received] == [
        "Bearer sk-first-0001", "Bearer sk-second-0002",
    ]  # fmt: skip


def test_a_fallback_answers_with_a_key_of_its_own(to: dict[str, Any], mock: Mock) -> None:
    mock.script = type(mock.script)(rules=[_rule("gpt-4o-mini")])
    answer = sdk.completion(
        MODEL,
        ASKED,
        num_retries=0,
        fallbacks=[{"model": "openai/other", "api_base": to["api_base"], "api_key": "k2"}],
        **to,
    )
    assert answer.choices[0].message.content == "mock/echo: hello"
    assert [one.json["model"] for one in mock.received] == ["gpt-4o-mini", "other"]
    assert dict(mock.received[1].headers)["authorization"] == "Bearer k2"
    assert answer._hidden_params["additional_headers"]["x-litellm-attempted-fallbacks"] == "1"


def _rule(model: str) -> Any:
    from penstock.mock import Rule, Step

    return Rule(model=model, step=Step(status=500))


def test_retries_are_made_as_often_as_asked(to: dict[str, Any], mock: Mock) -> None:
    mock.script = always(status=500)
    with pytest.raises(sdk.InternalServerError) as caught:
        sdk.completion(MODEL, ASKED, num_retries=2, **to)
    assert len(mock.received) == 3 and caught.value.num_retries == 2


def test_a_timeout_is_one(to: dict[str, Any], mock: Mock) -> None:
    mock.script = always(latency_ms=3000)
    with pytest.raises(sdk.Timeout) as caught:
        sdk.completion(MODEL, ASKED, timeout=0.2, num_retries=0, **to)
    assert caught.value.status_code == 408


def test_a_class_of_pydantic_is_a_strict_schema(to: dict[str, Any], mock: Mock) -> None:
    from pydantic import BaseModel

    class Inner(BaseModel):
        name: str = "x"

    class Shape(BaseModel):
        inner: Inner

    sdk.completion(MODEL, ASKED, response_format=Shape, **to)
    sent = mock.received[0].json["response_format"]["json_schema"]
    assert sent["name"] == "Shape" and sent["strict"] is True
    assert sent["schema"]["additionalProperties"] is False and sent["schema"]["required"] == ["inner"]
    assert sent["schema"]["$defs"]["Inner"]["required"] == ["name"]


def test_an_answer_s_message_may_be_sent_again(to: dict[str, Any], mock: Mock) -> None:
    message = sdk.completion(MODEL, ASKED, **to).choices[0].message
    sdk.completion(MODEL, [*ASKED, message, *ASKED], **to)
    assert mock.received[1].json["messages"][1]["content"] == "mock/echo: hello"


@pytest.mark.parametrize("kind", ["bytes", "file", "path"])
def test_a_file_may_be_bytes_or_open_or_a_path(kind: str, to: dict[str, Any], mock: Mock, tmp_path: Any) -> None:
    path = tmp_path / 'so"und.wav'
    path.write_bytes(b"RIFF\r\n--x")
    given: Any = {"bytes": b"RIFF\r\n--x", "file": io.BytesIO(b"RIFF\r\n--x"), "path": path}[kind]
    answer = sdk.transcription("openai/whisper-1", given, language="en", timestamp_granularities=["word"], **to)
    assert answer.text
    sent = mock.received[0].body
    assert b"RIFF\r\n--x\r\n--" in sent and b'name="language"' in sent and b'name="timestamp_granularities[]"' in sent


@pytest.mark.parametrize("several", [True, False])
def test_pictures_are_sent_as_what_they_are(several: bool, to: dict[str, Any], mock: Mock, tmp_path: Path) -> None:
    (tmp_path / "b.webp").write_bytes(b"RIFF0000WEBPVP8 ")
    first = ("a b.png", io.BytesIO(b"\x89PNG\r\n\x1a\n1"))
    image = [first, tmp_path / "b.webp"] if several else first
    answer = sdk.image_edit(image, "a hat", mask=b"\x89PNG\r\n\x1a\n2", n=2, size="256x256", **to)
    assert len(answer.data) == 2 and isinstance(answer, sdk.ImageResponse)
    sent = mock.received[0].body
    assert b'name="model"\r\n\r\ndall-e-2\r\n' in sent and b'name="n"\r\n\r\n2\r\n' in sent
    name = b"image[]" if several else b"image"
    assert b'name="%b"; filename="a b.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n1\r\n' % name in sent
    assert (b'filename="b.webp"\r\nContent-Type: image/webp' in sent) is several
    assert b'name="mask"; filename="mask"\r\nContent-Type: image/png' in sent


def test_a_batch_keeps_its_order_and_its_failures(to: dict[str, Any], mock: Mock) -> None:
    several = [[{"role": "user", "content": f"number {number}"}] for number in range(12)]
    found = sdk.batch_completion(MODEL, [*several, []], **to)
    texts = [one.choices[0].message.content for one in found[:12]]
    assert texts == [f"mock/echo: number {number}" for number in range(12)]
    assert isinstance(found[12], sdk.BadRequestError)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (((), {}), "misses the argument 'messages'"),
        ((("m",), {"model": "n", "messages": ASKED}), "multiple values for argument 'model'"),
        ((("m", ASKED), {"model_list": []}), "Router"),
        ((tuple("x" * 40), {}), "positional arguments"),
    ],
)
def test_wrong_arguments_are_told_as_of_any_function(given: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        sdk.completion(*given[0], **given[1])


def test_the_environment_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert sdk.validate_environment("openai/gpt-4o") == {
        "keys_in_environment": False,
        "missing_keys": ["OPENAI_API_KEY"],
    }
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert sdk.validate_environment("gpt-4o") == {"keys_in_environment": True, "missing_keys": []}
    assert sdk.validate_environment("ollama/llama3") == {"keys_in_environment": True, "missing_keys": []}
    assert sdk.validate_environment("nobody/x") == {"keys_in_environment": False, "missing_keys": []}


def test_what_is_known_beside_an_answer_is_made_when_somebody_looks_and_holds_no_request(to: dict[str, Any]) -> None:
    class Said(list[Any]):
        pass

    said = Said(ASKED)
    there = weakref.ref(said)
    answers = [sdk.completion(MODEL, said, **to) for _ in range(2)]
    del said
    gc.collect()
    assert there() is None  # though nobody has looked yet, and the answers are kept
    looked, copied = answers[0], pickle.loads(pickle.dumps(answers[1]))
    assert "_hidden_params" not in looked.__dict__
    assert looked._hidden_params["response_cost"] > 0
    assert looked._response_headers is looked._hidden_params["additional_headers"]
    assert looked._response_headers["x-litellm-call-id"] == looked._hidden_params["litellm_call_id"]
    assert looked._hidden_params is looked._hidden_params and looked._response_ms > 0
    assert copied._hidden_params == answers[1]._hidden_params != looked._hidden_params
    assert copied == answers[1] and copy.deepcopy(looked)._response_headers == looked._response_headers
