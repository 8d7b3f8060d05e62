"""``validate: true``: the answer is checked, repaired once, and both calls are accounted for."""

from __future__ import annotations

import json

import pytest

from penstock.mock import Script, Step
from penstock.runtime import schema_check
from tests.door import HELLO, open_door

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
GOOD, BAD, WORSE = '{"city": "Rome"}', '{"town": "secret-word"}', "no JSON at all"
YAML = """
model_list:
  - model_name: m
    litellm_params: {model: PROVIDER/real, api_base: "{mock}/v1", api_key: sk-upstreamMORE}
    model_info: {input_cost_per_token: 0.001, output_cost_per_token: 0.01}
router_settings: {num_retries: 2}
SETTINGS
"""
SURFACES = {
    "/v1/chat/completions": {**HELLO, "response_format": FORMAT},
    "/v1/responses": {"model": "m", "input": "hi", "text": {"format": {"type": "json_schema", **FORMAT["json_schema"]}}},
    "/v1/messages": {**HELLO, "max_tokens": 99, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "/api/chat": {**HELLO, "format": SCHEMA, "stream": False},
}


def yaml(provider: str = "mock", more: str = "", settings: str = "") -> str:
    text = YAML.replace("PROVIDER", provider).replace("MORE", more).replace("SETTINGS", settings)
    return text.replace("{mock}/v1", "{mock}") if provider in ("anthropic", "gemini", "ollama") else text


def saying(*texts: str) -> Script:
    return Script(queue=tuple(Step(text=text) for text in texts))


def text_of(path: str, answer: bytes) -> str:
    body = json.loads(answer)
    if path == "/v1/responses":
        return body["output"][-1]["content"][0]["text"]
    if path == "/v1/messages":
        return body["content"][-1]["text"]
    return body["message"]["content"] if path == "/api/chat" else body["choices"][0]["message"]["content"]


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize("provider", ["mock", "openai", "ollama", "hosted_vllm"])
async def test_an_answer_that_conforms_is_passed_on_and_says_so(tmp_path, path, provider):
    async with open_door(tmp_path, yaml(provider), script=saying(GOOD)) as door:
        status, headers, answer = await door.post({**SURFACES[path], "validate": True}, path)
        assert status == 200 and text_of(path, answer) == GOOD
        assert headers["x-penstock-validated"] == "ok" and headers["x-litellm-attempted-retries"] == "0"
        assert len(door.mock.received) == 1 and "validate" not in door.mock.received[0].json
        assert "validate" not in headers.get("x-penstock-dropped", "")


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize("provider", ["mock", "openai", "ollama", "gemini", "hosted_vllm"])
async def test_an_answer_that_does_not_is_repaired_once(tmp_path, path, provider):
    """In the same lane and across lanes; the second call holds the first answer and the fault, and both are billed."""
    async with open_door(tmp_path, yaml(provider), script=saying(BAD, GOOD)) as door:
        status, headers, answer = await door.post({**SURFACES[path], "validate": True}, path)
        assert status == 200 and text_of(path, answer) == GOOD, answer
        assert headers["x-penstock-validated"] == "repaired" and headers["x-litellm-attempted-retries"] == "1"
        first, second = (received.json for received in door.mock.received)
        (record,) = door.records
    told = json.dumps(second)
    assert "secret-word" in told and '\\"city\\" is a required property' in told
    for key in ("response_format", "text", "format", "output_config", "generationConfig"):
        assert second.get(key) == first.get(key)
    assert record.tries == 2 and record.status == 200
    assert record.usage.input > 2 * record.usage.output > 0
    cost = record.usage.fresh * 0.001 + (record.usage.cache_read + record.usage.cache_write) * 0 + record.usage.output * 0.01
    assert float(record.cost) == pytest.approx(cost, rel=0.05)
    assert float(headers["x-litellm-response-cost"]) == pytest.approx(float(record.cost))


@pytest.mark.parametrize("path", SURFACES)
async def test_two_bad_answers_are_an_error_that_names_what_failed(tmp_path, path):
    async with open_door(tmp_path, yaml(), script=saying(BAD, WORSE)) as door:
        status, headers, answer = await door.post({**SURFACES[path], "validate": True}, path)
        assert status == 502 and headers["x-penstock-validated"] == "failed"
        assert b"required property" in answer and b"not JSON" in answer and b"JSONSchemaValidationError" in answer
        assert b"secret-word" not in answer, "what the model wrote is not for logs"
        assert len(door.mock.received) == 2, "one repair and no more, whatever num_retries says"
        (record,) = door.records
    assert (record.error, record.fault, record.tries) == ("invalid_output", "nobody", 2)
    assert record.usage.output > 3 and record.cost > 0


async def test_an_error_of_the_second_call_still_bills_the_first(tmp_path):
    script = Script(queue=(Step(text=BAD), Step(status=500)))
    async with open_door(tmp_path, yaml(), script=script) as door:
        status, headers, answer = await door.post({**SURFACES["/v1/chat/completions"], "validate": True})
        assert status == 502 and headers["x-penstock-validated"] == "failed" and b"second call failed" in answer
        assert door.records[0].usage.output > 0 and door.records[0].cost > 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("provider", ["mock", "ollama"])
@pytest.mark.parametrize("texts", [(GOOD,), (BAD, GOOD), (BAD, WORSE)])
async def test_a_stream_is_held_until_it_is_known_to_be_right(tmp_path, path, provider, texts):
    async with open_door(tmp_path, yaml(provider), script=saying(*texts)) as door:
        status, headers, answer = await door.post({**SURFACES[path], "stream": True, "validate": True}, path)
        record = door.records[0]
        assert len(door.mock.received) == len(texts)
    if texts[-1] is WORSE:
        assert status == 502 and b"JSONSchemaValidationError" in answer
        return
    assert status == 200 and "text/event-stream" in headers["content-type"]
    assert headers["x-penstock-validated"] == ("ok" if len(texts) == 1 else "repaired")
    assert b"town" not in answer and b"Rome" in answer.replace(b'"}}]}', b"") or b"Rome" in answer
    assert {"/v1/chat/completions": b"[DONE]", "/v1/messages": b"message_stop"}.get(path, b"completed") in answer
    assert record.tries == len(texts) and record.usage.output > 0


@pytest.mark.parametrize(
    ("fields", "bad", "good"),
    [
        ({"guided_choice": ["yes", "no"]}, "maybe", "yes"),
        ({"guided_regex": r"\d{3}"}, "1234", "123"),
        ({"guided_json": SCHEMA}, BAD, GOOD),
        ({"guided_json": {"type": "array", "items": {"type": "integer"}}}, "[1.5]", "[1]"),
        ({"response_format": {"type": "json_object"}}, "[1]", "{}"),
    ],
)
async def test_every_kind_of_form_is_checked(tmp_path, fields, bad, good):
    async with open_door(tmp_path, yaml("hosted_vllm"), script=saying(bad, good)) as door:
        status, headers, answer = await door.post({**HELLO, **fields, "validate": True})
        assert (status, headers["x-penstock-validated"]) == (200, "repaired"), answer
        assert text_of("", answer) == good


async def test_a_wrapped_choice_is_checked_bare(tmp_path):
    async with open_door(tmp_path, yaml("openai"), script=saying('{"value":"maybe"}', '{"value":"no"}')) as door:
        _, headers, answer = await door.post({**HELLO, "guided_choice": ["yes", "no"], "validate": True})
        assert headers["x-penstock-validated"] == "repaired" and text_of("", answer) == "no"
        assert door.mock.received[1].json["messages"][-2:][0] == {"role": "assistant", "content": "maybe"}


async def test_what_gives_no_text_is_not_checked(tmp_path):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    script = Script(queue=(Step(tool_calls=({"name": "f", "arguments": {}},)), Step(text=WORSE)))
    async with open_door(tmp_path, yaml(), script=script) as door:
        body = {**SURFACES["/v1/chat/completions"], "tools": tools, "validate": True}
        status, headers, _ = await door.post(body)
        assert status == 200 and "x-penstock-validated" not in headers
        status, headers, _ = await door.post({**HELLO, "validate": True})
        assert status == 200 and "x-penstock-validated" not in headers, "no form was asked for"


@pytest.mark.parametrize(
    ("more", "settings"), [(", validate: true", ""), ("", "litellm_settings: {enable_json_schema_validation: true}")]
)
async def test_a_deployment_or_the_settings_can_ask_for_it(tmp_path, more, settings):
    chat = SURFACES["/v1/chat/completions"]
    async with open_door(tmp_path, yaml(more=more, settings=settings), script=saying(BAD, GOOD, WORSE, WORSE)) as door:
        _, headers, _ = await door.post(chat)
        assert headers["x-penstock-validated"] == "repaired"
        status, headers, _ = await door.post({**chat, "validate": False})
        assert status == 200 and "x-penstock-validated" not in headers
        status, headers, _ = await door.post(HELLO)
        assert status == 200 and "x-penstock-validated" not in headers


async def test_the_field_may_stand_in_extra_body(tmp_path):
    async with open_door(tmp_path, yaml(), script=saying(GOOD)) as door:
        body = {**SURFACES["/v1/chat/completions"], "extra_body": {"validate": True, "top_k": 4}}
        _, headers, _ = await door.post(body)
        sent = door.mock.received[-1].json
        assert headers["x-penstock-validated"] == "ok" and sent["top_k"] == 4
        assert "validate" not in sent and "extra_body" not in sent


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "objct"}, "objct"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "other documents"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"type": "string", "pattern": "("}, "pattern"),
    ],
)
async def test_a_bad_schema_is_a_400_before_anyone_is_asked(tmp_path, schema, why):
    async with open_door(tmp_path, yaml()) as door:
        for path in ("/v1/chat/completions", "/v1/messages"):
            body = {**HELLO, "max_tokens": 9, "guided_json": schema, "validate": True}
            status, _, answer = await door.post(body, path)
            assert status == 400 and b"not valid" in answer and why.encode() in answer, answer
        assert door.mock.received == []


async def test_a_grammar_cannot_be_checked(tmp_path):
    async with open_door(tmp_path, yaml("hosted_vllm", ", validate: true")) as door:
        status, _, answer = await door.post({**HELLO, "guided_grammar": "root ::= x", "validate": True})
        assert status == 400 and b"'validate' cannot check a grammar" in answer
        status, headers, _ = await door.post({**HELLO, "guided_grammar": "root ::= x"})
        assert status == 200 and "x-penstock-validated" not in headers


async def test_without_the_library_it_is_said_what_to_install(tmp_path, monkeypatch):
    def absent(name: str):
        raise ImportError(name)

    monkeypatch.setattr(schema_check, "import_module", absent)
    async with open_door(tmp_path, yaml()) as door:
        status, _, answer = await door.post({**SURFACES["/v1/chat/completions"], "validate": True})
        assert status == 501 and b"penstock[validate]" in answer and door.mock.received == []


async def test_a_plain_completion_has_no_second_turn(tmp_path):
    async with open_door(tmp_path, yaml("hosted_vllm"), script=saying("maybe")) as door:
        body = {"model": "m", "prompt": "hi", "guided_choice": ["yes", "no"], "validate": True}
        status, headers, answer = await door.post(body, "/v1/completions")
        assert status == 502 and headers["x-penstock-validated"] == "failed" and b"no second turn" in answer
        assert len(door.mock.received) == 1 and door.records[0].usage.output > 0


async def test_an_upstreams_own_error_stays_what_it_is(tmp_path):
    async with open_door(tmp_path, yaml(), script=Script(default=Step(status=429))) as door:
        status, headers, _ = await door.post({**SURFACES["/v1/chat/completions"], "validate": True, "num_retries": 0})
        assert status == 429 and "x-penstock-validated" not in headers


async def test_a_stream_that_breaks_off_is_no_answer_to_check(tmp_path):
    script = Script(queue=(Step(text=GOOD, malform=("missing_done", "no_finish_reason")),), default=Step(text=GOOD))
    async with open_door(tmp_path, yaml("mock"), script=script) as door:
        body = {**SURFACES["/v1/messages"], "stream": True, "validate": True}
        status, headers, answer = await door.post(body, "/v1/messages")
        assert status == 200 and b"message_stop" in answer and headers["x-penstock-validated"] == "ok"
        assert len(door.mock.received) == 2, "it was tried again as any broken stream"
