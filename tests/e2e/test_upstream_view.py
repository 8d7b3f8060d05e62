"""What the upstream sees of a client's calls: nothing changed, nothing more, and its end when the client leaves."""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import time
from urllib.parse import urlsplit

import pytest
from openai import APIConnectionError, BadRequestError, OpenAI

from penstock.mock import Mock, Script, Step
from tests.e2e.conftest import MOCK_KEY
from tests.e2e.serving import MASTER_KEY, as_openai, get, seed3, until

ALIAS = "extraction-model-lmstudio"
ASK = [{"role": "user", "content": "Say something about water."}]
# Every field of the API, some of tomorrow's, and odd values that a parser with a model of the request would change.
EXTRA = {
    "temperature": 0.30000000000000004,
    "top_p": 1,
    "presence_penalty": -0.0,
    "logit_bias": {"50256": -100},
    "user": "user-\u2028-ü",
    "seed": 12345678901234567890,
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "prediction": {"type": "content", "content": "x"},
    "field_of_tomorrow": {"deep": [1, 2.50, 1e30, None, {"": ""}]},
    "top_k": 40,
    "min_p": 0.05,
    "chat_template_kwargs": {"enable_thinking": False},
}


@pytest.mark.parametrize("stream", [False, True])
def test_every_field_passes_untouched_but_model_and_stream_options(line_of_mock, mock, stream):
    options = {"stream_options": {"include_obfuscation": False}} if stream else {}
    messages = [
        {"role": "system", "content": ""},
        *ASK,
        {"role": "user", "content": [{"type": "text", "text": "x", "cache": 1}]},
    ]
    answer = line_of_mock.client().chat.completions.create(
        model=ALIAS, messages=messages, stream=stream, extra_body=EXTRA, **options
    )
    if stream:
        assert {chunk.model for chunk in answer} == {ALIAS}
    [got] = mock.wait(1)
    expected = {"model": "local-model", "messages": messages, "stream": stream, **EXTRA}
    if stream:
        expected["stream_options"] = {"include_obfuscation": False, "include_usage": True}
    assert got.json == expected
    assert got.path == "/v1/chat/completions"


def test_numbers_keep_their_digits(line_of_mock, mock):
    body = (
        b'{ "model":"extraction-model-lmstudio", "messages":[{"role":"user","content":"\\u00e9\\ud83c\\udf0a"}],'
        b'"seed":123456789012345678901234567890, "temperature":1.0,"top_p":0.10000000000000000001}'
    )
    line_of_mock.client().post(
        "/chat/completions", cast_to=object, content=body, options={"headers": {"content-type": "application/json"}}
    )
    [got] = mock.wait(1)
    for kept in (b"123456789012345678901234567890", b"1.0,", b"0.10000000000000000001", b"\\u00e9\\ud83c\\udf0a"):
        assert kept in got.body


def test_the_upstream_gets_its_own_key_and_nothing_of_the_clients(line_of_mock, mock):
    headers = {
        "cookie": "session=abc",
        "x-forwarded-for": "1.2.3.4",
        "x-api-key": MASTER_KEY,
        "openai-organization": "org-x",
    }
    line_of_mock.client().chat.completions.create(model=ALIAS, messages=ASK, extra_headers=headers)
    [got] = mock.wait(1)
    told = dict(got.headers)
    assert told["authorization"] == f"Bearer {MOCK_KEY}"
    assert MASTER_KEY not in str(got.headers)
    assert {"cookie", "x-forwarded-for", "x-api-key", "openai-organization", "x-stainless-lang"}.isdisjoint(told)


@pytest.mark.serial
def test_two_hundred_requests_use_one_connection(line_of_mock, mock):
    """Every answer is read to its end: OpenAI's client leaves at [DONE], and who leaves ends the upstream's answer."""
    url = urlsplit(line_of_mock.gateway.url)
    client = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
    headers = {"authorization": f"Bearer {MASTER_KEY}", "content-type": "application/json"}

    def ask(words: str, stream: bool) -> None:
        body = {"model": ALIAS, "messages": [{"role": "user", "content": words}], "stream": stream}
        client.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = client.getresponse()
        assert answer.status == 200 and (b"[DONE]" in answer.read()) is stream

    # A server is trusted to keep its connections behind streamed answers once it was seen to (``Slot.rest``).
    ask("first", True)
    time.sleep(0.5)
    before = mock.opened_ever
    for number in range(200):
        ask(str(number), number % 4 == 0)
    assert len({got.connection_id for got in mock.wait(201)[1:]}) == 1
    assert mock.opened_ever - before <= 1
    client.close()


@pytest.mark.serial
@pytest.mark.parametrize("stream", [False, True])
async def test_the_upstream_sees_a_cancel_within_100_ms(line_of_mock, mock, stream):
    waits = []
    for _ in range(5):
        mock.reset()
        mock.script = Script.always(stall_after_events=3) if stream else Script.always(latency_ms=20_000)
        async with line_of_mock.asynchronous() as client:
            call = asyncio.ensure_future(client.chat.completions.create(model=ALIAS, messages=ASK, stream=stream))
            if stream:
                answer = await call
                await answer.__anext__()
                await answer.close()
            else:
                await asyncio.to_thread(mock.wait, 1)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            left = time.monotonic()
            [got] = mock.received
            while not got.closed_early:
                assert time.monotonic() - left < 5, "the upstream was never told"
                await asyncio.sleep(0.001)
            waits.append(time.monotonic() - left)
    assert statistics.median(waits) < 0.1, waits


@pytest.mark.serial
@pytest.mark.parametrize("stream", [False, True])
def test_a_clients_timeout_reaches_the_upstream_and_is_nobodys_fault(line_of_mock, mock, stream):
    mock.script = Script.always(latency_ms=20_000)
    with pytest.raises(APIConnectionError):
        line_of_mock.client(timeout=0.3).chat.completions.create(model=ALIAS, messages=ASK, stream=stream)
    [got] = mock.wait(1, complete=True)
    assert got.closed_early
    gateway = line_of_mock.gateway
    record = until(lambda: [r for r in gateway.records() if r["status"] == 499][-1:], 3)[0]
    assert record["error"] == "client_gone" and record["tries"] == 1
    told = json.loads(get(f"{gateway.url}/health", authorization=f"Bearer {MASTER_KEY}")[1])
    sick = {one["model_name"] for one in told["unhealthy_endpoints"]}
    assert ALIAS not in sick, "only the culprit pays"


@pytest.mark.parametrize("stream", [False, True])
def test_the_alias_stays_after_a_fallback(served, mock, stream):
    """The first upstream is dead; the fallback answers under the name that was asked for."""
    name = "extraction-model"
    with Mock.thread() as first:
        yaml = as_openai(seed3(first.url, "sk-first", mock.url, MOCK_KEY)).replace("num_retries: 2", "num_retries: 0")
        gateway = served(yaml, LITELLM_MASTER_KEY=MASTER_KEY)
        client = OpenAI(base_url=gateway.base_url, api_key=MASTER_KEY, max_retries=0)
        assert client.chat.completions.create(model=name, messages=ASK).choices
        first.queue([Step(status=400, error="temperature: must be at most 2")])
        with pytest.raises(BadRequestError, match="must be at most 2"):
            client.chat.completions.create(model=name, messages=ASK, temperature=9, stream=stream)
        assert len(first.received) == 2 and not mock.received, "no fallback for the client's own mistakes"
    raw = client.chat.completions.with_raw_response.create(model=name, messages=ASK, stream=stream)
    answer = raw.parse()
    chunks = list(answer) if stream else [answer]
    assert {chunk.model for chunk in chunks} == {name}
    assert raw.headers["x-litellm-model-group"] == "extraction-model-openai"
    assert raw.headers["x-litellm-attempted-fallbacks"] == "1"
    [got] = mock.wait(1)
    assert got.json["model"] == "gpt-4o-mini" and got.header("authorization") == f"Bearer {MOCK_KEY}"
    record = until(lambda: gateway.records()[2:], 3)[0]
    assert record["model"] == name and record["target"] == "openai/gpt-4o-mini" and record["status"] == 200


@pytest.mark.parametrize("malform", ["u2028", "crlf", "cr", "no_space", "comments", "pings", "bom", "split_data"])
def test_odd_but_legal_streams_are_read_as_they_are_meant(line_of_mock, mock, malform):
    mock.script = Script.always(malform=[malform], text="one\u2028two 世界 three", split_bytes=3)
    chunks = list(line_of_mock.client().chat.completions.create(model=ALIAS, messages=ASK, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].choices[0].finish_reason == "stop"
    if malform == "u2028":
        assert "\u2028" in text and "\u2029" in text and "\x85" in text
    else:
        assert text == "one\u2028two 世界 three"
