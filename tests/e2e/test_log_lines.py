"""One line per request on standard output, in text and in JSON; and whatever is asked, no secret in any of it."""

from __future__ import annotations

import json
import re
import urllib.request

import pytest

from penstock.mock import Step
from tests.e2e.conftest import MOCK_KEY
from tests.e2e.serving import MASTER_KEY, Served, get, until

SECRETS = {
    "master": MASTER_KEY,
    "upstream": MOCK_KEY,
    "environment": "sk-env-9d2f7c11aa77e0",
    "other provider": "gsk_env9d2f7c11aa77e0bb",
    "extra header": "tok-extra-header-5566aa",
    "client's wrong key": "sk-client-wrong-00aa11bb22",
    "client's cookie": "session-cookie-7788cc",
    "basic": "dXNlcjpwYXNzd29yZA==",
    "query": "sk-in-the-query-44dd",
    "content": "the patient's name is Zebedee",
    "database": "db-password-1199",
}


def config(url: str, more: str = "") -> str:
    return f"""
model_list:
  - model_name: m
    litellm_params:
      model: openai/real-model
      api_base: "{url}/v1"
      api_key: {MOCK_KEY}
      extra_headers: {{x-token: "{SECRETS["extra header"]}"}}
  - model_name: groq
    litellm_params: {{model: groq/llama-3, api_key: os.environ/GROQ_API_KEY, api_base: "{url}/openai/v1"}}
  - model_name: dead
    litellm_params:
      model: openai/x
      api_base: "http://user:{SECRETS["database"]}@127.0.0.1:9/v1"
      api_key: {MOCK_KEY}
router_settings: {{num_retries: 0}}
general_settings:
  master_key: os.environ/THE_MASTER_KEY
  database_url: "postgresql://u:{SECRETS["database"]}@127.0.0.1:1/x"
litellm_settings: {{set_verbose: true{more}}}
"""


ENVIRONMENT = {
    "THE_MASTER_KEY": MASTER_KEY,
    "OPENAI_API_KEY": SECRETS["environment"],
    "GROQ_API_KEY": SECRETS["other provider"],
}


def post(
    gateway: Served, body: object, path: str = "/v1/chat/completions", key: str = MASTER_KEY, **headers: str
) -> tuple[int, bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        gateway.url + path, data, {"content-type": "application/json", "authorization": f"Bearer {key}", **names}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def chat(text: str = "hello", **fields: object) -> dict:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


def test_the_text_line_has_every_figure(served, mock):
    gateway = served(config(mock.url), **ENVIRONMENT)
    _, body = post(gateway, chat())
    until(lambda: "key=master" in gateway.output(), 3)
    [line] = [line for line in gateway.output().splitlines() if "key=master" in line]
    found = re.fullmatch(
        r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) call=(?P<call>[0-9a-f-]{36}) key=master model=m "
        r"target=openai/real-model 200 (?P<ms>[\d.]+)ms ttft=(?P<ttft>[\d.]+)ms in=(?P<in>\d+) out=(?P<out>\d+) "
        r"bytes=(?P<bytes>\d+)",
        line,
    )
    assert found, line
    usage = json.loads(body)["usage"]
    assert (int(found["in"]), int(found["out"])) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert int(found["bytes"]) == len(body) and 0 < float(found["ttft"]) <= float(found["ms"])


@pytest.mark.parametrize("by", ["option", "litellm_settings"])
def test_the_json_line_has_the_same_and_every_line_is_json(served, mock, by):
    arguments = ["--log-format", "json"] if by == "option" else []
    gateway = served(config(mock.url, "" if arguments else ", json_logs: true"), *arguments, **ENVIRONMENT)
    mock.queue([Step(), Step(ttft_ms=60), Step(status=429), Step(cut_after_events=2)])
    _, whole = post(gateway, chat(), x_request_id="from-the-client")
    post(gateway, chat(stream=True))
    post(gateway, chat())
    post(gateway, chat(stream=True))
    post(gateway, chat(), key="sk-wrong-key-123456")
    get(f"{gateway.url}/v1/models", authorization=f"Bearer {MASTER_KEY}")
    first, second, third, fourth, fifth, sixth = until(lambda: len(gateway.records()) == 6 and gateway.records(), 3)
    assert {"time", "call_id", "ms", "ttft_ms"} <= set(first)
    expected = {
        "level": "INFO",
        "request_id": "from-the-client",
        "key": "master",
        "method": "POST",
        "path": "/v1/chat/completions",
        "model": "m",
        "target": "openai/real-model",
        "status": 200,
        "tokens_in": 4,
        "tokens_out": 3,
        "bytes": len(whole),
        "stream": False,
        "tries": 1,
    }
    assert {name: first[name] for name in expected} == expected
    assert (
        second["stream"] and second["ttft_ms"] >= 55 and second["ms"] >= second["ttft_ms"] and second["tokens_out"] == 3
    )
    assert third["status"] == 429 and third["error"] == "upstream_rate_limit" and third["tokens_out"] is None
    assert fourth["status"] == 502 and fourth["error"] == "broken_stream" and fourth["tokens_out"] > 0
    # Its database cannot be reached: whether there is such a key, nobody can say.
    assert fifth["status"] == 503 and fifth["error"] == "no_database" and fifth["key"] is None and fifth["target"] is None
    assert sixth["path"] == "/v1/models" and sixth["status"] == 200 and sixth["key"] == "master"
    after = gateway.output().partition("curl ")[2].splitlines()[1:]
    assert len(after) >= 6 and all(isinstance(json.loads(line)["time"], str) for line in after)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_in_any_output(served, mock, form):
    """Everything verbose, everything that can go wrong, every secret in every place; then the whole log is searched."""
    gateway = served(config(mock.url), "--log-format", form, "--verbose", **ENVIRONMENT)
    answers = [
        post(gateway, chat(SECRETS["content"]), cookie=SECRETS["client's cookie"]),
        post(gateway, chat(SECRETS["content"], stream=True)),
        post(gateway, chat(), key=SECRETS["client's wrong key"]),
        post(gateway, chat(), authorization=f"Basic {SECRETS['basic']}"),
        post(gateway, chat(), x_litellm_api_key=SECRETS["client's wrong key"]),
        post(gateway, chat(), path=f"/v1/chat/completions?api_key={SECRETS['query']}"),
        post(gateway, chat(), path=f"/v1/nothing?key={SECRETS['query']}"),
        post(gateway, {**chat(), "model": "dead"}),
        post(gateway, {**chat(), "model": "groq"}),
        post(gateway, {**chat(SECRETS["content"]), "api_key": SECRETS["client's wrong key"]}),
        post(gateway, b'{"model": "m", "messages": [{"content": "' + SECRETS["content"].encode()),
        post(gateway, chat(), proxy_authorization=f"Basic {SECRETS['basic']}"),
    ]
    words = " ".join(f"{name}: {value}." for name, value in SECRETS.items() if name in ("upstream", "environment"))
    for step in (
        Step(status=401, error=f"Incorrect API key provided: {MOCK_KEY}"),
        Step(status=500, body=f"<html>authorization: Bearer {MOCK_KEY}</html>"),
        Step(status=500, error=words),
        Step(body=words),
        Step(body={"error": {"message": words}}),
        Step(hangup="before_answer"),
    ):
        mock.queue([step])
        answers.append(post(gateway, chat()))
    for step in (
        Step(error_event_after=2, error=words),
        Step(malform=["garbage_event"]),
        Step(cut_after_events=2, cut="rst"),
    ):
        mock.queue([step])
        answers.append(post(gateway, chat(stream=True)))
    answers.append(get(f"{gateway.url}/health", authorization=f"Bearer {MASTER_KEY}"))
    answers.append(get(f"{gateway.url}/v1/models", authorization=f"Bearer {MASTER_KEY}"))
    assert [status for status, _ in answers[-2:]] == [200, 200]
    answers.append(get(f"{gateway.url}/"))
    until(lambda: gateway.output().count("401") >= 4, 3)
    assert gateway.stop() == 0
    shown = gateway.output()
    assert "Traceback" not in shown and "gateway_bug" not in shown
    assert shown.count("/v1/chat/completions") + shown.count("call=") > 15
    for name, secret in SECRETS.items():
        assert secret not in shown, f"{name} is in the log"
        assert name == "content" or not any(secret.encode() in body for _, body in answers), f"{name} is in an answer"
