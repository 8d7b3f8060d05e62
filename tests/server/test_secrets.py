"""No secret of the gateway's is ever told: a real gateway, an upstream that repeats what it was sent in every field of
every answer that is no good one, and a look for it in all that clients, logs and records get."""

from __future__ import annotations

import base64
import html
import http.client
import json
import random
import socket
import string
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from penstock.core import eventstream
from tests.e2e.serving import serving

RANDOM = random.Random(7)
MASTER = "sk-master-0a8f6d1b2c3e4f"


def secret() -> str:
    """Letters that look like nothing: no vendor's prefix, no digit."""
    return "".join(RANDOM.choices(string.ascii_letters, k=40))


KEYS = {
    name: secret()
    for name in (
        "chat responses anthropic gemini bedrock signed cohere ollama completions vertex azure foundry watsonx "
        "databricks snowflake replicate hub infinity jina voyage header password environment passed strange"
    ).split()
}
KEYS["strange"] = "q!" + KEYS["strange"][:30] + '/+&"<x'

YAML = """
model_list:
  - {{model_name: chat, litellm_params: {{model: openai/sk-model-large, api_base: "{url}/v1", api_key: {k[chat]}}}}}
  - {{model_name: responses, litellm_params: {{model: openai/m, api_base: "{url}/v1/responses", api_key: {k[responses]}}}}}
  - {{model_name: anthropic, litellm_params: {{model: anthropic/claude-sonnet-4-5, api_base: "{url}", api_key: {k[anthropic]}}}}}
  - {{model_name: gemini, litellm_params: {{model: gemini/gemini-2.5-pro, api_base: "{url}", api_key: {k[gemini]}}}}}
  - {{model_name: bedrock, litellm_params: {{model: bedrock/amazon.nova-pro-v1:0, aws_bedrock_runtime_endpoint: "{url}", aws_region_name: us-east-1, api_key: {k[bedrock]}}}}}
  - {{model_name: signed, litellm_params: {{model: bedrock/amazon.nova-pro-v1:0, aws_bedrock_runtime_endpoint: "{url}", aws_region_name: us-east-1, aws_access_key_id: AKIDEXAMPLE, aws_secret_access_key: abcdefgh, aws_session_token: {k[signed]}}}}}
  - {{model_name: cohere, litellm_params: {{model: cohere_chat/command-a, api_base: "{url}/v2", api_key: {k[cohere]}}}}}
  - {{model_name: ollama, litellm_params: {{model: ollama_chat/llama3, api_base: "{url}", api_key: {k[ollama]}}}}}
  - {{model_name: completions, litellm_params: {{model: text-completion-openai/m, api_base: "{url}/v1", api_key: {k[completions]}}}}}
  - {{model_name: vertex, litellm_params: {{model: vertex_ai/gemini-2.5-pro, api_base: "{url}", vertex_project: p, vertex_location: us-central1, api_key: {k[vertex]}}}}}
  - {{model_name: azure, litellm_params: {{model: azure/gpt-4o, api_base: "{url}", api_version: 2024-10-21, api_key: {k[azure]}}}}}
  - {{model_name: foundry, litellm_params: {{model: azure_ai/mistral-large, api_base: "{url}", api_key: {k[foundry]}}}}}
  - {{model_name: watsonx, litellm_params: {{model: watsonx/ibm/granite, api_base: "{url}", project_id: p, token: {k[watsonx]}}}}}
  - {{model_name: databricks, litellm_params: {{model: databricks/dbrx, api_base: "{url}/serving-endpoints", api_key: {k[databricks]}}}}}
  - {{model_name: snowflake, litellm_params: {{model: snowflake/mistral, api_base: "{url}", api_key: {k[snowflake]}}}}}
  - {{model_name: replicate, litellm_params: {{model: replicate/meta/llama, api_base: "{url}/v1", api_key: {k[replicate]}}}}}
  - {{model_name: hub, litellm_params: {{model: huggingface/org/model, api_base: "{url}/v1", api_key: {k[hub]}}}}}
  - {{model_name: infinity, litellm_params: {{model: infinity/bge, api_base: "{url}", api_key: {k[infinity]}}}}}
  - {{model_name: jina, litellm_params: {{model: jina_ai/reranker, api_base: "{url}/v1", api_key: {k[jina]}}}}}
  - {{model_name: voyage, litellm_params: {{model: voyage/rerank-2, api_base: "{url}/v1", api_key: {k[voyage]}}}}}
  - {{model_name: header, litellm_params: {{model: openai/m, api_base: "{url}/v1", api_key: x, extra_headers: {{x-gate-token: {k[header]}}}}}}}
  - {{model_name: password, litellm_params: {{model: openai/m, api_base: "{url}/v1?api_key={k[password]}", api_key: x}}}}
  - {{model_name: environment, litellm_params: {{model: hosted_vllm/m, api_base: "{url}/v1"}}}}
  - {{model_name: strange, litellm_params: {{model: openai/m, api_base: "{url}/v1", api_key: '{k[strange]}'}}}}
router_settings: {{num_retries: 0}}
litellm_settings: {{json_logs: true, set_verbose: true}}
general_settings:
  master_key: {master}
  pass_through_endpoints:
    - {{path: /mine, target: "{url}/there", headers: {{Authorization: "Bearer os.environ/PASSED"}}}}
"""


class Upstream:
    """Answers every request with ``script``, a head and a body."""

    def __init__(self) -> None:
        self.script: tuple[bytes, list[bytes]] = (b"", [])
        self.got: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            data = b""
            while b"\r\n\r\n" not in data:
                if not (more := sock.recv(65536)):
                    return
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            while length and len(body) < int(length[0][15:]):
                body += sock.recv(65536)
            self.got.append(head)
            first, parts = self.script
            sock.sendall(first)
            for part in parts:
                sock.sendall(part)
                time.sleep(0.002)


def writings(key: str) -> str:
    """The key as vendors and proxies write it."""
    basic = base64.b64encode(f"api:{key}".encode()).decode()
    return f"{key} Bearer {key} {quote(key, safe='')} Basic {basic} {html.escape(key)} {json.dumps(key)}"


def fields(key: str) -> dict[str, object]:
    """Every field that an error of any dialect has, and the key in each."""
    text = writings(key)
    inner = dict.fromkeys(("message", "type", "code", "param", "status", "detail", "msg", "reason"), text)
    inner |= {"details": [{"reason": key, "retryDelay": key}], "metadata": {"raw": text}}
    return inner


def bodies(key: str) -> dict[str, tuple[str, bytes]]:
    inner = fields(key)
    named = {**inner, "error": inner, "title": key, "__type": key, "id": key, "errorMessage": key, "data": key}
    return {
        "object": ("application/json", json.dumps({"error": inner, "type": "error"}).encode()),
        "details": ("application/json", json.dumps({"error": {**inner, "details": {"a": [writings(key)]}}}).encode()),
        "flat": ("application/json", json.dumps({**named, "error": key}).encode()),
        "plain fields": ("application/json", json.dumps({k: v for k, v in named.items() if k != "error"}).encode()),
        "list": ("application/json", json.dumps([{"error": inner}]).encode()),
        "listed": ("application/json", json.dumps({"errors": [inner], "trace": key}).encode()),
        "fastapi": ("application/json", json.dumps({"detail": [{"loc": [key], "msg": key, "type": key}]}).encode()),
        "utf8": ("application/json", json.dumps({"error": {"message": f"é {writings(key)}"}}, ensure_ascii=False).encode()),
        "html": ("text/html", f"<html><title>401</title><p>{html.escape(writings(key))}</p></html>".encode()),
        "text": ("text/plain", f"{'x' * 60} {key}: no. {writings(key)}".encode()),
        "long": ("text/plain", f"{'x' * 3980} {key}: no".encode()),
        "broken": ("application/json", f'{{"error": {{"message": "{key}'.encode()),
    }  # fmt: skip


def answer(status: int, content_type: str, body: bytes, key: str, framed: bool = True) -> tuple[bytes, list[bytes]]:
    line = json.dumps(key)[1:-1]
    head = (
        f"HTTP/1.1 {status} No\r\ncontent-type: {content_type}\r\nconnection: close\r\n"
        f'www-authenticate: Bearer realm="{line}"\r\nlocation: https://x.test/{quote(key, safe="")}?k={quote(key)}\r\n'
        f"x-echo: {line}\r\nretry-after: {line}\r\nx-amzn-errortype: {line}\r\nx-request-id: {line}\r\n"
    )
    if framed:
        head += f"content-length: {len(body)}\r\n"
    return head.encode() + b"\r\n", [body]


CHAT = {"messages": [{"role": "user", "content": "hi"}]}
SURFACES = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {**CHAT, "max_tokens": 5},
    "/v1beta/models/{model}:generateContent": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "/api/chat": CHAT,
    "/v1/completions": {"prompt": "hi"},
}
OPERATIONS = {
    "/v1/embeddings": {"input": "hi"},
    "/v1/rerank": {"query": "hi", "documents": ["a"]},
    "/v1/moderations": {"input": "hi"},
    "/v1/images/generations": {"prompt": "hi"},
    "/v1/audio/speech": {"input": "hi", "voice": "alloy"},
    "/v1/messages/count_tokens": {**CHAT, "max_tokens": 5},
}
# The surface of each target's own dialect, and one of another.
OWN = {
    "responses": "/v1/responses", "anthropic": "/v1/messages", "gemini": "/v1beta/models/{model}:generateContent",
    "vertex": "/v1beta/models/{model}:generateContent", "ollama": "/api/chat", "completions": "/v1/completions",
}  # fmt: skip
CHATS = sorted(set(KEYS) - {"infinity", "jina", "voyage", "passed"})


def surfaces(name: str, other: str) -> list[str]:
    own = OWN.get(name, "/v1/chat/completions")
    return [own] if name == "completions" else [*dict.fromkeys((own, "/v1/chat/completions", other))]


NOT_SERVED = {501, 404, 400}


class Stand:
    """The gateway and the upstream, and what clients were told."""

    def __init__(self, served, upstream: Upstream) -> None:
        self.served, self.upstream = served, upstream

    def ask(self, path: str, body: object, method: str = "POST") -> tuple[int, bytes]:
        """All that the client gets, as bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=10)
        try:
            headers = {"authorization": f"Bearer {MASTER}", "content-type": "application/json"}
            connection.request(method, path, json.dumps(body).encode(), headers)
            told = connection.getresponse()
            head = "\r\n".join(f"{name}: {value}" for name, value in told.getheaders())
            try:
                return told.status, head.encode("latin-1") + b"\r\n\r\n" + told.read()
            except http.client.IncompleteRead as cut:
                return told.status, head.encode("latin-1") + b"\r\n\r\n" + cut.partial
        finally:
            connection.close()

    def chat(self, name: str, path: str, body: dict, **more: object) -> tuple[int, bytes]:
        if more.get("stream"):
            path = path.replace(":generateContent", ":streamGenerateContent")
        return self.ask(path.replace("{model}", name), {"model": name, **body, **more})


@pytest.fixture(scope="module")
def stand(tmp_path_factory) -> Iterator[Stand]:
    upstream = Upstream()
    yaml = YAML.format(url=upstream.url, k=KEYS, master=MASTER)
    env = {"HOSTED_VLLM_API_KEY": KEYS["environment"], "PASSED": KEYS["passed"]}
    with serving(tmp_path_factory.mktemp("secrets"), yaml, **env) as served:
        stand = Stand(served, upstream)
        yield stand
        time.sleep(0.3)
    log = served.output()
    for name, key in KEYS.items():
        assert_hidden(name, key, log.encode())
    assert MASTER not in log
    upstream.listener.close()


def assert_hidden(name: str, key: str, told: bytes) -> None:
    text = told.decode("utf-8", "replace")
    for form in (key, quote(key, safe=""), html.escape(key), json.dumps(key)[1:-1], json.dumps(json.dumps(key))[3:-3]):
        at = text.find(form)
        assert at < 0, f"the key of {name} in {text[max(0, at - 300) : at + 80]!r}"
    for shift in range(3):
        core = base64.b64encode(b"x" * shift + key.encode()).decode()[4:-4]
        assert core not in text, f"the key of {name} in base64 in {text[:2000]!r}"


@pytest.mark.parametrize("name", CHATS)
def test_no_error_of_a_chat_tells_the_key(stand: Stand, name: str) -> None:
    key = KEYS[name]
    for surface in surfaces(name, "/v1/messages"):
        for kind, (content_type, body) in bodies(key).items():
            for status in (401, 400, 503) if kind == "object" else (302, 404) if kind == "html" else (403,):
                stand.upstream.script = answer(status, content_type, body, key)
                for stream in (False, True):
                    got, told = stand.chat(name, surface, SURFACES[surface], stream=stream)
                    assert got >= 400, (name, surface, kind, told)
                    assert_hidden(name, key, told)
                    if kind in ("object", "text") and status != 302:
                        assert b"[redacted]" in told, (name, surface, kind, told)


@pytest.mark.parametrize("name", ["chat", "bedrock", "cohere", "ollama", "infinity", "jina", "voyage", "azure", "gemini", "watsonx"])
@pytest.mark.parametrize("path", OPERATIONS)
def test_no_error_of_an_operation_tells_the_key(stand: Stand, name: str, path: str) -> None:
    key = KEYS[name]
    for content_type, body in bodies(key).values():
        for status in (401, 500):
            stand.upstream.script = answer(status, content_type, body, key)
            got, told = stand.chat(name, path, OPERATIONS[path])
            assert got >= 400 or "count_tokens" in path
            assert_hidden(name, key, told)
            if got in NOT_SERVED:
                break


@pytest.mark.parametrize("name", CHATS)
def test_a_200_that_is_an_error_tells_no_key(stand: Stand, name: str) -> None:
    key = KEYS[name]
    surface = OWN.get(name, "/v1/chat/completions")
    for kind, (content_type, body) in bodies(key).items():
        # Of no dialect an error: an answer without its content. The list is IBM's, in Chat.
        if kind in ("plain fields", "fastapi") or (kind == "listed" and name in OWN and name != "completions"):
            continue
        stand.upstream.script = answer(200, content_type, body, key)
        for stream in (False, True):
            got, told = stand.chat(name, surface, SURFACES[surface], stream=stream)
            if b"[redacted]" not in told and got == 200 and kind in ("utf8", "details", "object"):
                pytest.fail(f"{name} {kind} {told!r}")
            assert_hidden(name, key, told)


def sse(*events: object, name: str = "") -> bytes:
    return b"".join((f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(e).encode() + b"\n\n" for e in events)


def streams(name: str, key: str) -> list[tuple[str, bytes, bytes]]:
    """(content type, good first events, the error) of each way in which a target's stream ends in an error."""
    events, inner = "text/event-stream", fields(key)
    error = {"error": inner}
    if name in ("bedrock", "signed"):
        begin = eventstream.event("messageStart", b'{"role":"assistant"}')
        begin += eventstream.event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"hi"}}')
        bad = eventstream.exception("modelStreamErrorException", json.dumps({**inner, "originalMessage": key}).encode())
        return [("application/vnd.amazon.eventstream", begin, bad)]
    if name == "anthropic":
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
        begin = sse({"type": "message_start", "message": message}, name="message_start")
        return [(events, begin, sse({"type": "error", **error}, name="error"))]
    if name in ("gemini", "vertex"):
        begin = sse({"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "index": 0}]})
        return [(events, begin, sse({"error": {**inner, "code": 401}})), (events, begin, sse(error))]
    if name == "responses":
        made = {"id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress", "model": "m", "output": []}
        begin = sse({"type": "response.created", "sequence_number": 0, "response": made}, name="response.created")
        failed = {"type": "response.failed", "sequence_number": 1, "response": {**made, "status": "failed", **error}}
        return [
            (events, begin, sse({**inner, "type": "error", "sequence_number": 1})),
            (events, begin, sse(inner, name="error")),
            (events, begin, sse(error)),
            (events, begin, sse(failed, name="response.failed")),
        ]
    if name == "ollama":
        begin = json.dumps({"model": "m", "message": {"role": "assistant", "content": "hi"}, "done": False}).encode()
        return [("application/x-ndjson", begin + b"\n", json.dumps({"error": writings(key)}).encode() + b"\n")]
    if name == "cohere":
        begin = sse({"type": "message-start", "id": "x", "delta": {"message": {"role": "assistant"}}})
        end = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": writings(key)}}
        return [(events, begin, sse(end)), (events, begin, sse({"message": writings(key), "id": key}))]
    piece = {"text": "hi"} if name == "completions" else {"delta": {"role": "assistant", "content": "hi"}}
    begin = sse({"id": "c", "object": "x", "created": 1, "model": "m", "choices": [{"index": 0, **piece}]})
    beside = {"id": "c", "choices": [{"index": 0, **piece, "finish_reason": "error"}], **error}
    listed = {"errors": [inner], "status_code": 400}
    return [(events, begin, sse(error)), (events, begin, sse(beside)), (events, begin, sse(listed)), (events, begin, sse({"error": writings(key)}))]


@pytest.mark.parametrize("name", [name for name in CHATS if name != "replicate"])
def test_no_error_within_a_stream_tells_the_key(stand: Stand, name: str) -> None:
    key = KEYS[name]
    # Engines that were found to speak more than their rows say get another dialect on the third.
    for surface in surfaces(name, "/v1/responses"):
        for content_type, begin, bad in streams(name, key):
            if surface == "/v1/responses" and b'"errors"' in bad:
                continue
            halves = [bad[: len(bad) // 2], bad[len(bad) // 2 :]]
            for parts in ([begin, bad], [begin, *halves], [bad]):
                first, _ = answer(200, content_type, b"", key, framed=False)
                stand.upstream.script = (first, parts)
                _, told = stand.chat(name, surface, SURFACES[surface], stream=True)
                assert_hidden(name, key, told)
                assert b"[redacted]" in told or surface != OWN.get(name, "/v1/chat/completions"), (surface, bad, told)
                assert b"error" in told


def test_replicates_predictions_tell_no_key(stand: Stand) -> None:
    key = KEYS["replicate"]
    made = {"id": "p1", "status": "failed", "error": writings(key), "urls": {}, "output": None}
    stand.upstream.script = answer(201, "application/json", json.dumps(made).encode(), key)
    for stream in (False, True):
        _, told = stand.chat("replicate", "/v1/chat/completions", CHAT, stream=stream)
        assert_hidden("replicate", key, told)
        assert b"[redacted]" in told


PASSED = {
    "/openai/v1/files": "strange", "/anthropic/v1/messages": "anthropic", "/gemini/v1beta/models": "gemini",
    "/cohere/v2/chat": "cohere", "/bedrock/model/amazon.nova-pro-v1:0/converse": "signed", "/azure/openai/models": "azure",
    "/vertex_ai/v1/projects/p/locations/us-central1/models": "vertex", "/mine": "passed",
    "/replicate/v1/predictions": "replicate", "/jina_ai/v1/rerank": "jina",
}  # fmt: skip


@pytest.mark.parametrize("path", PASSED)
def test_what_is_passed_through_tells_no_key(stand: Stand, path: str) -> None:
    name = PASSED[path]
    # The credential that a prefix takes may be another entry's of the same vendor: what was sent is what is told.
    stand.upstream.script = answer(200, "text/plain", b"", "none")
    stand.upstream.got.clear()
    stand.ask(path, CHAT)
    [sent] = stand.upstream.got
    [key] = {key for key in KEYS.values() if key.encode() in sent}
    for content_type, body in bodies(key).values():
        for status in (401, 302, 500, 200):
            stand.upstream.script = answer(status, content_type, body, key)
            got, told = stand.ask(path, CHAT)
            assert got == status
            if status != 200:
                assert_hidden(name, key, told)
            else:  # bodies of successes are not searched; heads and errors under status 200 are
                assert_hidden(name, key, told.partition(b"\r\n\r\n")[0])
                if b'"error": {' in body or b'"error": "' in body:
                    assert_hidden(name, key, told)
            assert b"content-length: %d" % len(told.partition(b"\r\n\r\n")[2]) in told.lower()
        assert stand.ask(path, None, "HEAD")[0] == 200
    for content_type, begin, bad in streams("chat", key):
        for cut in (0, 20, len(bad) // 2, len(bad) - 5):
            stand.upstream.script = (answer(200, content_type, b"", key, framed=False)[0], [begin + bad[:cut], bad[cut:]])
            _, told = stand.ask(path, {**CHAT, "stream": True})
            assert_hidden(name, key, told)
            assert begin[:40] in told


def test_names_of_models_are_told_as_they_are(stand: Stand) -> None:
    text = "The model `sk-model-large` does not exist or you do not have access to it."
    stand.upstream.script = answer(404, "application/json", json.dumps({"error": {"message": text}}).encode(), "none")
    _, told = stand.chat("chat", "/v1/chat/completions", CHAT)
    assert text.encode() in told
