"""Ask a gateway of the tree that this runs in: with a key and a budget, whole and streamed, in its own dialect and in
another, from the cache, wrongly, and of an upstream that fails. Exits with 1 where an answer is not what it should be.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from penstock.mock import Script, ThreadMock

MASTER = "sk-master-of-the-self-test"
CONFIG = """
model_list:
  - {{model_name: m, litellm_params: {{model: openai/gpt-4o, api_base: "{url}/v1", api_key: sk-upstream}}}}
  - {{model_name: m, litellm_params: {{model: anthropic/claude-sonnet-4-5, api_base: "{url}", api_key: sk-upstream}}}}
  - {{model_name: dead, litellm_params: {{model: openai/gpt-4o, api_base: "http://127.0.0.1:9/v1", api_key: sk-up}}}}
router_settings: {{routing_strategy: latency-based-routing, num_retries: 1}}
litellm_settings: {{cache: true, cache_params: {{type: local}}}}
general_settings: {{master_key: {master}}}
"""


def ask(port: int, path: str, body: dict[str, object] | None, key: str, status: int = 200) -> bytes:
    """Return the body of an answer; AssertionError where it has another status. Without a body it is a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        told = answer.read()
    finally:
        connection.close()
    assert answer.status == status, f"{path}: {answer.status} and not {status}: {told[:500]!r}"
    return told


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("nobody listens")


def try_all(port: int) -> None:
    """Ask everything."""
    limits = {"max_budget": 1, "rpm_limit": 1000, "tpm_limit": 10**6}
    key = json.loads(ask(port, "/key/generate", limits, MASTER))["key"]
    for number in range(6):
        said = [{"role": "user", "content": f"Say {number}."}]
        chat = {"model": "m", "messages": said}
        whole = json.loads(ask(port, "/v1/chat/completions", chat, key))
        assert whole["model"] == "m" and whole["usage"]["total_tokens"] > 0, whole
        held = json.loads(ask(port, "/v1/chat/completions", chat, key))
        assert held["choices"] == whole["choices"], held
        for path, end in (("/v1/chat/completions", b"data: [DONE]"), ("/v1/messages", b"event: message_stop")):
            body = {"model": "m", "messages": said, "stream": True, "max_tokens": 30 + number}
            assert end in ask(port, path, body, key), path
        ask(port, "/v1/messages", {"model": "m", "messages": said, "max_tokens": 50}, key)
        ask(port, "/v1/responses", {"model": "m", "input": "hello"}, key)
    ask(port, "/v1/chat/completions", {"model": "m", "messages": []}, "sk-nobody", 401)
    ask(port, "/v1/chat/completions", {"model": "none-such", "messages": said}, key, 400)
    ask(port, "/v1/chat/completions", {"model": "dead", "messages": said}, key, 500)
    info = json.loads(ask(port, f"/key/info?key={key}", None, key))["info"]
    assert 0 < info["spend"] < 1, info


def main() -> int:
    """Serve, ask, stop."""
    with tempfile.TemporaryDirectory() as folder, ThreadMock(Script.always()) as mock, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        config, log = Path(folder, "config.yaml"), Path(folder, "log")
        config.write_text(CONFIG.format(url=mock.url, master=MASTER), encoding="utf-8")
        command = [sys.executable, "-m", "penstock", "serve", "--config", str(config), "--port", str(port)]
        with log.open("wb") as told:
            process = subprocess.Popen([*command, "--state-dir", folder], stdout=told, stderr=told)
        try:
            wait_for(port, process)
            try_all(port)
        except (AssertionError, OSError) as error:
            print(f"{error}\n{log.read_text(encoding='utf-8')[-3000:]}", file=sys.stderr)
            return 1
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
        text = log.read_text(encoding="utf-8")
        if code or "Traceback" in text:
            print(f"exit {code}\n{text[-3000:]}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
