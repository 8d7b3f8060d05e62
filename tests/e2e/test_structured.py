"""Real constraints on a real engine: what llama-server writes conforms, by whatever surface it was asked.

Its model has random weights and writes nonsense, so nothing conforms by chance."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from tests.e2e.conftest import LLAMA_KEY, MASTER_KEY
from tests.e2e.serving import serving, until

SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}, "size": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["city", "size"],
    "additionalProperties": False,
}
CHOICES = ['say "yes"', "back\\slash", "line\nbreak", "é\u2028\U0001f600", "[a-z]", "tab\t{2}"]
YAML = """
model_list:
  - model_name: m
    litellm_params: {model: llama_cpp/tiny, api_base: URL, api_key: KEY}
  - model_name: plain
    litellm_params: {model: openai/tiny, api_base: URL/v1, api_key: KEY}
  - model_name: free
    litellm_params: {model: openai/tiny, api_base: URL/v1, api_key: KEY, on_unsupported: warn}
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY, json_logs: true}
"""
SURFACES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Go."}]},
    "/v1/responses": {"input": "Go."},
    "/v1/messages": {"messages": [{"role": "user", "content": "Go."}]},
    "/api/chat": {"messages": [{"role": "user", "content": "Go."}]},
    "/v1beta/models/m:generateContent": {"contents": [{"role": "user", "parts": [{"text": "Go."}]}]},
    "/v1/completions": {"prompt": "Go."},
}


@pytest.fixture(scope="module")
def gateway(llama, tmp_path_factory):
    yaml = YAML.replace("URL", llama.url).replace("KEY", LLAMA_KEY)
    with serving(tmp_path_factory.mktemp("structured"), yaml, LITELLM_MASTER_KEY=MASTER_KEY) as served:
        yield served


def ask(gateway, path: str = "/v1/chat/completions", model: str = "m", **fields) -> tuple[httpx.Response, str]:
    body = {"model": model, "temperature": 1.0, **SURFACES[path], **fields}
    if path == "/v1/messages":
        body["max_tokens"] = 200
    if path.startswith("/v1beta"):
        body.pop("temperature")
    if path == "/api/chat":
        body["stream"] = False
    url = gateway.base_url.removesuffix("/v1") + path
    answer = httpx.post(url, json=body, headers={"authorization": f"Bearer {MASTER_KEY}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer, text_of(path, answer)


def text_of(path: str, answer: httpx.Response) -> str:
    if "event-stream" in answer.headers["content-type"]:
        chunks = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: {")]
        return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
    body = answer.json()
    if path == "/v1/responses":
        return "".join(part["text"] for item in body["output"] if item["type"] == "message" for part in item["content"])
    if path == "/v1/messages":
        return "".join(block["text"] for block in body["content"] if block["type"] == "text")
    if path == "/api/chat":
        return body["message"]["content"]
    if path.startswith("/v1beta"):
        return "".join(part["text"] for part in body["candidates"][0]["content"]["parts"])
    return body["choices"][0]["text"] if "text" in body["choices"][0] else body["choices"][0]["message"]["content"]


@pytest.mark.parametrize("path", SURFACES)
def test_a_choice_of_any_characters(gateway, path):
    seen = set()
    for seed in range(4):
        _, text = ask(gateway, path, guided_choice=CHOICES, **({} if path.startswith("/v1beta") else {"seed": seed}))
        assert text in CHOICES
        seen.add(text)
    assert path.startswith("/v1beta") or len(seen) > 1 or path in ("/api/chat", "/v1/messages"), "nobody chose for it"


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize("pattern", [r"^[A-F]{3}-\d{2,4}$", r"(yes|no)( please)?!", r'"\w{1,9}" \[[^\]\n]{1,5}\]', r"é\.\x41"])
def test_an_expression(gateway, path, pattern):
    _, text = ask(gateway, path, guided_regex=pattern)
    assert re.fullmatch(pattern, text), text


@pytest.mark.parametrize("path", SURFACES)
def test_a_schema(gateway, path):
    for field in ({"guided_json": SCHEMA}, {"structured_outputs": {"json": SCHEMA}}):
        _, text = ask(gateway, path, **field)
        value = json.loads(text)
        assert value["city"] in ("Rome", "Oslo") and 1 <= value["size"] <= 99 and len(value) == 2


def test_a_grammar_and_a_stream(gateway):
    _, text = ask(gateway, guided_grammar='root ::= ("ab" | "cd"){3}', stream=True)
    assert re.fullmatch("(ab|cd){3}", text)
    _, text = ask(gateway, guided_choice=CHOICES, stream=True)
    assert text in CHOICES


def test_a_name_that_says_nothing_of_the_engine_gets_the_choice_as_a_schema(gateway):
    for stream in (False, True):
        _, text = ask(gateway, model="plain", guided_choice=CHOICES, stream=stream)
        assert text in CHOICES


def test_what_is_enforced_is_valid_and_what_is_not_is_told(gateway):
    answer, _ = ask(gateway, guided_json=SCHEMA, validate=True)
    assert answer.headers["x-penstock-validated"] == "ok"
    answer, _ = ask(gateway, guided_regex=r"\d{3}", validate=True)
    assert answer.headers["x-penstock-validated"] == "ok"
    with pytest.raises(AssertionError, match="JSONSchemaValidationError"):
        ask(gateway, model="free", guided_regex=r"\d{3}", validate=True, max_tokens=20)
    (record,) = until(lambda: [r for r in gateway.records() if r.get("error")], 5)
    assert record["tries"] == 2 and record["error"] == "invalid_output" and record["tokens_out"] > 20
