"""What a client is told of an upstream's trouble: status, type, code, LiteLLM's class, and never a secret."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.mock import Script, Step
from tests.door import HELLO, open_door

UPSTREAM = "sk-upstream-secret"
STREAM = {**HELLO, "stream": True}
BAD = "invalid_request_error"
ISE = "internal_server_error"

# status: (status for the client, type, LiteLLM's class). Clients of the LiteLLM proxy match on these words.
STATUSES = {
    400: (400, BAD, "BadRequestError"),
    401: (401, "authentication_error", "AuthenticationError"),
    402: (402, "billing_error", "PaymentRequiredError"),
    403: (403, "permission_error", "PermissionDeniedError"),
    404: (404, BAD, "NotFoundError"),
    408: (408, "timeout_error", "Timeout"),
    409: (409, BAD, "BadRequestError"),
    413: (413, BAD, "BadRequestError"),
    418: (418, BAD, "BadRequestError"),
    422: (422, BAD, "UnprocessableEntityError"),
    429: (429, "rate_limit_error", "RateLimitError"),
    500: (500, ISE, "InternalServerError"),
    502: (502, ISE, "BadGatewayError"),
    503: (503, ISE, "ServiceUnavailableError"),
    504: (504, ISE, "Timeout"),
    529: (529, "overloaded_error", "InternalServerError"),
    599: (599, ISE, "InternalServerError"),
}


def yaml(retries: int = 0, **params: object) -> str:
    more = "".join(f", {key}: {json.dumps(value)}" for key, value in params.items())
    return f"""
model_list:
  - model_name: m
    litellm_params: {{model: openai/real-model, api_base: "{{mock}}/v1", api_key: {UPSTREAM}{more}}}
router_settings: {{num_retries: {retries}}}
"""


def error_of(body: bytes) -> dict:
    told = json.loads(body)
    assert set(told) == {"error"} and {"message", "type", "param", "code"} <= set(told["error"]), told
    return told["error"]


@pytest.mark.parametrize("asked", [HELLO, STREAM], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", STATUSES)
async def test_every_status_of_an_upstream(status, asked, tmp_path):
    expected, kind, name = STATUSES[status]
    async with open_door(tmp_path) as door:
        door.mock.script = Script.always(status=status, error={"message": "Their very words.", "param": "temperature"})
        got, headers, body = await door.post(asked)
        error = error_of(body)
        assert got == expected and headers["content-type"] == "application/json"
        assert error["type"] == kind and error["code"] == str(expected) and error["param"] == "temperature"
        assert error["message"] == f"litellm.{name}: {name}: OpenAIException - Their very words."
        assert headers["x-litellm-call-id"] and headers["x-litellm-model-id"]
        [record] = door.records
        assert record.status == expected and record.error and record.target == "openai/real-model"
        await door.settle()


@pytest.mark.parametrize("asked", [HELLO, STREAM], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("step", "status", "says"),
    [
        (Step(status=502, malform=["html"]), 502, "502 Bad Gateway"),
        (Step(status=500, malform=["empty_body"]), 500, "500"),
        (Step(status=400, body="plain words"), 400, "plain words"),
        (Step(status=400, body={"detail": "FastAPI's way"}), 400, "FastAPI's way"),
        (Step(status=400, body={"error": "a bare string"}), 400, "a bare string"),
        (Step(status=400, body=["a list"]), 400, "a list"),
        (Step(status=503, body="\udcff\udcfe not UTF-8"), 503, "not UTF-8"),
        (Step(status=500, error="cut", cut_after_bytes=9), 500, "500"),
        (Step(status=301, headers={"location": "http://elsewhere.example/"}, body=""), 502, "301"),
        (Step(status=304, body=""), 502, "304"),
    ],
)
async def test_error_answers_of_any_shape(step, status, says, asked, tmp_path):
    async with open_door(tmp_path) as door:
        door.mock.script = Script(default=step)
        got, headers, body = await door.post(asked)
        error = error_of(body)
        assert got == status and error["code"] == str(status) and says in error["message"]
        assert headers["content-type"] == "application/json"
        await door.settle()


BROKEN = {
    "bad JSON": (Step(malform=["bad_json"]), {502}),
    "HTML with 200": (Step(malform=["html"]), {502}),
    "empty": (Step(malform=["empty_body"]), {502}),
    "a list": (Step(body=[1]), {502}),
    "a string": (Step(body='"text"'), {502}),
    "null": (Step(body="null"), {502}),
    "error under 200": (
        Step(body={"error": {"message": "Their very words.", "type": "server_error", "code": None}}),
        {500},
    ),
    "429 under 200": (Step(body={"error": {"message": "Their very words.", "code": 429}}), {429}),
    "error as a string under 200": (Step(body={"error": "Their very words."}), {500}),
    "no such status": (Step(status_line="HTTP/1.1 nonsense"), {502}),
    "too long": (Step(wrong_length=50, keep_alive=False), {502}),
    "bad chunk": (Step(framing="chunked", split_bytes=20, bad_chunk=True), {502}),
    "hang-up before the answer": (Step(hangup="before_answer"), {500, 502}),
    "FIN before the answer": (Step(hangup="before_answer", cut="close"), {500, 502}),
    "hang-up after the headers": (Step(hangup="after_headers"), {502}),
    "cut in the first event": (Step(cut_after_bytes=5), {502}),
    "204": (Step(status=204, body=""), {502}),
}


WHOLE_ONLY = ("too long", "bad chunk")  # faults of a body with a length; MIDWAY has their like


@pytest.mark.parametrize(
    ("name", "asked"),
    [pytest.param(n, HELLO, id=f"{n}-whole") for n in BROKEN]
    + [pytest.param(n, STREAM, id=f"{n}-streamed") for n in BROKEN if n not in WHOLE_ONLY],
)
async def test_broken_answers_before_the_first_chunk_have_a_proper_status(name, asked, tmp_path):
    step, statuses = BROKEN[name]
    if asked is STREAM and name == "bad JSON":
        step = Step(body='data: {"id":\n\n', headers={"content-type": "text/event-stream"})
    async with open_door(tmp_path) as door:
        door.mock.script = Script(default=step)
        got, headers, body = await door.post(asked)
        error = error_of(body)
        assert got in statuses and error["code"] == str(got), (got, error)
        assert headers["content-type"] == "application/json"
        if "under 200" in name:
            assert "Their very words." in error["message"]
        [record] = door.records
        assert record.status == got and record.fault == "upstream"
        await door.settle()


async def test_a_wrong_content_type_is_read_for_what_it_is(tmp_path):
    async with open_door(tmp_path) as door:
        door.mock.script = Script.always(malform=["wrong_content_type"])
        got, headers, body = await door.post(HELLO)
        assert got == 200 and json.loads(body)["model"] == "m" and headers["content-type"] == "application/json"
        got, headers, body = await door.post(STREAM)
        assert got == 200 and headers["content-type"].startswith("text/event-stream")
        assert body.endswith(b"data: [DONE]\n\n") and b"mock/echo: hello" in joined(body)


async def test_a_whole_answer_to_a_streaming_client_and_the_other_way_round(tmp_path):
    """Servers exist that do not stream, and servers that always do."""
    async with open_door(tmp_path) as door:
        door.mock.queue([Step()])
        _, _, whole = await door.post(HELLO)
        door.mock.queue([Step(body=json.loads(whole))])
        got, headers, body = await door.post(STREAM)
        assert got == 200 and headers["content-type"].startswith("text/event-stream")
        assert body.endswith(b"data: [DONE]\n\n") and joined(body) == b"mock/echo: hello"
        _, _, streamed = await door.post(STREAM)
        door.mock.queue([Step(body=streamed.decode(), headers={"content-type": "text/event-stream"})])
        got, _, body = await door.post(HELLO)
        assert got == 200 and json.loads(body)["choices"][0]["message"]["content"] == "mock/echo: hello"


def joined(body: bytes) -> bytes:
    """The text of a streamed answer."""
    text = ""
    for line in body.decode().split("\n"):
        if line.startswith("data: {"):
            for choice in json.loads(line[6:]).get("choices", []):
                text += choice["delta"].get("content") or ""
    return text.encode()


MIDWAY = {
    "FIN": (Step(cut_after_events=3), 502),
    "RST": (Step(cut_after_events=3, cut="rst"), 502),
    "proper end without [DONE]": (Step(cut_after_events=3, cut="end"), 502),
    "cut inside an event": (Step(cut_after_bytes=1100), 502),
    "garbage": (Step(malform=["garbage_event"], body_drip_ms=0.1), 502),
    "bad JSON": (Step(malform=["bad_json"]), 502),
    "invalid UTF-8": (Step(malform=["invalid_utf8"]), 502),
    "bad chunk": (Step(bad_chunk=True), 502),
    "error event": (Step(error_event_after=3, error="Their very words."), 500),
    "error event with a code": (Step(error_event_after=3, error={"message": "Their very words.", "code": 429}), 429),
    "overloaded": (Step(error_event_after=3, error={"message": "Their very words.", "type": "overloaded_error"}), 529),
    "stall": (Step(stall_after_events=3), 408),
    "no finish reason, no [DONE]": (Step(malform=["no_finish_reason", "missing_done"]), 502),
}


@pytest.mark.parametrize("name", MIDWAY)
async def test_trouble_in_mid_stream_is_told_in_the_stream_and_never_done(name, tmp_path):
    step, status = MIDWAY[name]
    async with open_door(tmp_path, yaml(stream_timeout=0.3)) as door:
        # Slow enough that the first events are out before the trouble comes.
        paced = Step(text="one two three four five six seven eight nine ten", tokens_per_second=50)
        door.mock.script = Script(default=step.over(paced))
        head = json.dumps(STREAM).encode()
        start = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        answer = await door.raw(start + b"content-length: %d\r\n\r\n%b" % (len(head), head))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"[DONE]" not in answer
        events = [line[6:] for line in answer.split(b"\n") if line.startswith(b"data: ")]
        assert len(events) >= 2 and b'"choices"' in events[0]
        error = error_of(events[-1])
        assert error["code"] == str(status)
        assert answer.endswith(b"\n\n\r\n0\r\n\r\n"), "a proper end, so that the error is not lost in a reset"
        if "error event" in name or name == "overloaded":
            assert "Their very words." in error["message"]
        [record] = door.records
        assert record.status == status and record.stream and record.fault == "upstream" and record.ttft_ms is not None
        assert record.usage is not None and record.usage.output > 0, "what was answered is accounted for"
        await door.settle()


async def test_streams_that_are_only_odd_still_end_well(tmp_path):
    async with open_door(tmp_path) as door:
        for faults in (
            ["missing_done"],
            ["no_finish_reason"],
            ["empty_choices"],
            ["no_role"],
            ["unknown_event"],
            ["unterminated"],
        ):
            door.mock.script = Script.always(malform=faults)
            got, _, body = await door.post(STREAM)
            assert got == 200 and body.endswith(b"data: [DONE]\n\n") and body.count(b"[DONE]") == 1, faults
            assert b"mock/echo: hello" in joined(body)
            await door.settle()


SECRETS = (
    "sk-proj-AbCdEf0123456789AbCdEf",
    "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "x-api-key: 0123456789abcdef0123456789abcdef",
    f"Incorrect API key provided: {UPSTREAM}",
)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "how", ["status", "text", "under 200", "event", "first event", "200 that is no JSON", "garbage event"]
)
async def test_secrets_are_cut_out_of_an_upstreams_words(how, secret, tmp_path):
    words = f"Before. {secret} After."
    told = {"message": words, "type": "server_error", "param": None, "code": None}
    step = {
        "status": Step(status=401, error=words),
        "text": Step(status=500, body=words),
        "under 200": Step(body={"error": told}),
        "event": Step(error_event_after=2, error=words),
        "first event": Step(error_event_after=0, error=words),
        "200 that is no JSON": Step(body=words),
        "garbage event": Step(body=f"data: {words}\n\n", headers={"content-type": "text/event-stream"}),
    }[how]
    async with open_door(tmp_path) as door:
        door.mock.script = Script(default=step)
        _, headers, body = await door.post(STREAM if "event" in how else HELLO)
        shown = body.decode() + str(headers) + repr(door.records[0])
        for part in secret.replace(":", " ").split():
            assert len(part) < 15 or part not in shown
        assert "Before." in body.decode()


async def test_retry_after_is_passed_on(tmp_path):
    async with open_door(tmp_path) as door:
        for sent, got in (("7", "7"), ("0.2", "1"), ("120", "120")):
            door.mock.script = Script.always(status=429, headers={"retry-after": sent})
            for asked in (HELLO, STREAM):
                status, headers, body = await door.post(asked)
                assert status == 429 and headers["retry-after"] == got
                assert error_of(body)["type"] == "rate_limit_error"
        door.mock.script = Script.always(status=429, headers={"retry-after": "soon\x01"})
        assert "retry-after" not in (await door.post(HELLO))[1]


@pytest.mark.parametrize("asked", [HELLO, STREAM], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("step", "calls"),
    [
        (Step(status=500), 3),
        (Step(status=503), 3),
        (Step(status=529), 3),
        (Step(status=408), 3),
        (Step(status=429, headers={"retry-after": "0"}), 3),
        (Step(status=429, headers={"retry-after": "60"}), 1),
        (Step(hangup="before_answer"), 3),
        (Step(cut_after_events=0), 3),
        (Step(body="", headers={"content-type": "text/event-stream"}), 3),
        (Step(malform=["html"]), 3),
        (Step(status=400), 1),
        (Step(status=422), 1),
        (Step(status=404), 1),
        (Step(status=413), 1),
    ],
)
async def test_retries_are_as_many_as_num_retries_says(step, calls, asked, tmp_path, no_pauses):
    if asked is HELLO and step.cut_after_events is not None:
        step = Step(cut_after_bytes=3)
    async with open_door(tmp_path, yaml(retries=2)) as door:
        door.mock.script = Script(default=step)
        status, headers, _ = await door.post(asked)
        assert status >= 400
        assert len(door.mock.received) == calls == door.records[0].tries
        assert headers["x-litellm-attempted-retries"] == str(calls - 1)
        assert len({got.body for got in door.mock.received}) == 1, "every try is the same request"
        [record] = door.records
        assert record.status == status


async def test_a_retry_that_succeeds_is_a_success_and_mid_stream_there_is_none(tmp_path, no_pauses):
    async with open_door(tmp_path, yaml(retries=2)) as door:
        for asked in (HELLO, STREAM):
            door.mock.reset()
            door.mock.queue([Step(status=500), Step(hangup="before_answer")])
            status, headers, body = await door.post(asked)
            assert status == 200 and headers["x-litellm-attempted-retries"] == "2" and b'"error"' not in body
            assert len(door.mock.received) == 3
        door.mock.reset()
        door.mock.queue([Step(cut_after_events=3)])
        status, _, body = await door.post(STREAM)
        assert status == 200 and b'"error"' in body and b"[DONE]" not in body
        assert len(door.mock.received) == 1


async def test_a_dead_upstream_a_slow_one_and_an_unknown_host(tmp_path):
    async with open_door(tmp_path, yaml(timeout=0.2, stream_timeout=0.2)) as door:
        door.mock.script = Script.always(latency_ms=5_000)
        for asked in (HELLO, STREAM):
            status, _, body = await door.post(asked)
            assert (
                status == 408 and error_of(body)["type"] == "timeout_error" and "Timeout" in error_of(body)["message"]
            )
        await door.mock.stop()
        for asked in (HELLO, STREAM):
            status, _, body = await door.post(asked)
            assert status == 500 and "APIConnectionError" in error_of(body)["message"]
            assert UPSTREAM not in body.decode()
    nowhere = yaml().replace("{mock}/v1", "http://no-such-host.invalid/v1")
    async with open_door(tmp_path, nowhere) as door:
        status, _, body = await door.post(HELLO)
        assert status == 500 and "no-such-host.invalid" in error_of(body)["message"]
        await door.settle()


async def test_what_came_before_the_trouble_is_the_clients_even_in_one_packet(tmp_path):
    def event(text: str) -> bytes:
        chunk = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + event("one "))
        await asyncio.sleep(0.05)
        writer.write(event("two ") + event("three") + b"data: {nonsense\n\n" + event("four"))
        await asyncio.sleep(0.05)
        writer.close()

    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with open_door(tmp_path, yaml().replace("{mock}", address)) as door:
        _, _, body = await door.post(STREAM)
        events = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: ")]
        assert [e["choices"][0]["delta"]["content"] for e in events[:-1]] == ["one ", "two ", "three"]
        assert events[-1]["error"]["code"] == "502" and b"[DONE]" not in body
        await door.settle()
    server.close()


@pytest.mark.parametrize("step", [{"cut": "rst"}, {"cut": "close"}, {"cut": "end"}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_an_error_in_band_costs_the_connections_next_request_nothing(tmp_path, path, step):
    """The connection was closed behind the error without a word: a client that sent its next request at once got a
    reset, and no SDK may send a request a second time that could have been read."""
    body = {"model": "m", "max_tokens": 99, "stream": True}
    body |= {"input": "a b c d e f g"} if "responses" in path else {"messages": HELLO["messages"]}
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nanthropic-version: 2023-06-01\r\n"
    request = f"{head}content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data
    async with open_door(tmp_path, yaml()) as door:
        door.mock.queue([Step(cut_after_events=3, tokens_per_second=500, **step)])
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request)
        broken = await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.write(request)
        whole = await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()
        assert whole.startswith(b"HTTP/1.1 200") and b"BadGateway" not in whole
        assert b"[DONE]" not in broken and b"message_stop" not in broken and b"response.completed" not in broken
        await door.settle()
        assert [(record.status, bool(record.error)) for record in door.records] == [(502, True), (200, False)]


@pytest.mark.parametrize("cut", [{"cut": "rst"}, {"cut": "close"}, "hang"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("model", ["openai/x", "anthropic/x"])
async def test_a_stream_that_was_whole_is_whole_however_its_connection_ends(tmp_path, model, path, cut):
    """An upstream that died behind its last event left the client with an error after `[DONE]`, and the record too."""
    base = "{mock}" if model.startswith("anthropic") else "{mock}/v1"
    entry = {"model": model, "api_base": base, "api_key": "k", "stream_timeout": 0.2}
    config = json.dumps({"model_list": [{"model_name": "m", "litellm_params": entry}]})
    body = {"model": "m", "max_tokens": 99, "stream": True}
    body |= {"input": "a b c d"} if "responses" in path else {"messages": HELLO["messages"]}
    async with open_door(tmp_path, config) as door:
        _, _, whole = await door.post(body, path, **{"anthropic-version": "2023-06-01"})
        [served] = door.mock.received
        at = served.sent_events
        door.mock.queue([Step(stall_after_bytes=served.sent_bytes) if cut == "hang" else Step(cut_after_events=at, **cut)])
        status, _, again = await door.post(body, path, **{"anthropic-version": "2023-06-01"})
        assert status == 200 and door.mock.received[1].sent_events == at
        assert again.count(b"data: ") == whole.count(b"data: ") and b"APIConnectionError" not in again
        assert [(record.status, record.error) for record in door.records] == [(200, "")] * 2
        assert door.records[0].usage == door.records[1].usage
        await door.settle()
