"""The forms and levels of the log: with JSON every line is JSON, whoever wrote it; verbose says what became of each
request, and nothing of what was said in it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from penstock.runtime.trace import shown_url
from penstock.server.lines import level_of, wants_json
from penstock.server.options import ServeOptions
from tests.e2e.serving import ROOT, run_serve, serving

SECRET = "wqLzKpDyRmTbVnXcJhGf"
ZEBEDEE = "the patient is Zebedee"
YAML = """
model_list:
  - model_name: m
    litellm_params: {{model: openai/gpt-4o, api_base: "http://127.0.0.1:9/v1?api_key={secret}", api_key: {secret}, temperature: 0.5}}
  - model_name: f
    litellm_params: {{model: anthropic/claude-sonnet-4-5, api_base: "http://127.0.0.1:9", api_key: {secret}}}
  - model_name: bug
    litellm_params: {{model: openai/gpt-4o, api_base: "http://127.0.0.1:9/v1", api_key: {secret}}}
router_settings: {{num_retries: 0, fallbacks: [{{m: [f]}}]}}
a_key_that_nobody_knows: 1
"""
# Faults of our own, of libraries and of Python, put into the process as it starts.
FAULTS = """
import threading, warnings
def put():
    import penstock.runtime.engine as engine
    good = engine.Engine._try
    async def bad(self, call, *more):
        if call.model == "bug":
            warnings.warn("a library warns")
            import logging
            logging.getLogger("library").error("%d", "no number")
            threading.Thread(target=lambda: 1 / 0).start()
            raise RuntimeError("a fault of ours with SECRET in it")
        return await good(self, call, *more)
    engine.Engine._try = bad
import sys
if "serve" in sys.argv:
    put()
""".replace("SECRET", SECRET)


def ask(port: int, body: object, path: str = "/v1/chat/completions") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, raw, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def chat(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": ZEBEDEE}], "top_k": 3, "metadata": {"a": 1}}


def lines_of(output: str) -> list[dict[str, Any]]:
    """Every line as JSON: one that is none fails the test."""
    found = []
    for line in output.splitlines():
        told = json.loads(line)
        assert isinstance(told, dict) and told["level"] in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), line
        assert "time" in told
        found.append(told)
    return found


WAYS: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "config": ("litellm_settings: {json_logs: true}\n", (), {}),
    "general": ("general_settings: {json_logs: true}\n", ("--workers", "2"), {}),
    "flag": ("", ("--log-format", "json", "--local"), {}),
    "json-logs": ("", ("--json-logs", "--workers", "2"), {}),
    "variable": ("", (), {"JSON_LOGS": "True"}),
    "section": ("environment_variables: {JSON_LOGS: true}\n", ("--debug",), {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_with_json_every_line_is_json(tmp_path: Path, way: str) -> None:
    more, arguments, env = WAYS[way]
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    yaml = YAML.format(secret=SECRET) + more
    with serving(tmp_path, yaml, *arguments, PYTHONPATH=f"{tmp_path}:{ROOT}", **env) as served:
        assert ask(served.port, b"{no json") == 400
        assert ask(served.port, chat("nobody")) == 400
        assert ask(served.port, chat("m")) == 500
        assert ask(served.port, chat("bug")) == 500
        served.says("a fault of ours")
        (tmp_path / "config.yaml").write_text("model_list: [\n")
        served.send(signal.SIGHUP)
        served.says("SIGHUP")
        with socket.create_connection(("127.0.0.1", served.port)) as nonsense:
            nonsense.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
            nonsense.recv(100)
        assert served.stop() == 0
    told = lines_of(served.output())
    said = "\n".join(str(line.get("message")) for line in told)
    assert "a_key_that_nobody_knows" in said and "Penstock" in said and "a library warns" in said
    assert "no number" in said and "ZeroDivisionError" in said
    assert sum(line.get("status") == 500 for line in told) >= 2
    assert any("RuntimeError" in line.get("traceback", "") for line in told)
    assert SECRET not in served.output()


def test_a_start_that_fails_is_told_in_json(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_serve(tmp_path, "--port", port, "--json-logs")
        assert done.returncode == 1 and "in use" in lines_of(done.stdout + done.stderr)[-1]["message"]
    (tmp_path / "bad.yaml").write_text("model_list: [\n")
    done = run_serve(tmp_path, "--config", "bad.yaml", "--port", "0", JSON_LOGS="1")
    assert done.returncode == 1 and lines_of(done.stdout + done.stderr)


@pytest.mark.parametrize("yaml", [None, YAML.format(secret=SECRET)], ids=["no config", "config"])
def test_a_well_known_key_is_warned_of_once(tmp_path: Path, yaml: str | None) -> None:
    with serving(tmp_path, yaml, "--json-logs", PENSTOCK_MASTER_KEY="sk-1234") as served:
        served.stop()
    assert sum("everybody knows" in line.get("message", "") for line in lines_of(served.output())) == 1


def verbose(tmp_path: Path, more: str = "", *arguments: str, **env: str) -> str:
    with serving(tmp_path, YAML.format(secret=SECRET) + more, *arguments, **env) as served:
        ask(served.port, chat("m"))
        ask(served.port, {}, "/openai/v1/files?key=abc")
        served.stop()
    return served.output()


SPELLINGS: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "--verbose": ("", ("--verbose",), {}),
    "--debug": ("", ("--debug",), {}),
    "--detailed_debug": ("", ("--detailed_debug",), {}),
    "litellm_settings": ("litellm_settings: {set_verbose: true}\n", (), {}),
    "general_settings": ("general_settings: {set_verbose: true}\n", (), {}),
    "LITELLM_LOG": ("", (), {"LITELLM_LOG": "DEBUG"}),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_verbose_says_what_became_of_a_request(tmp_path: Path, spelling: str) -> None:
    more, arguments, env = SPELLINGS[spelling]
    output = verbose(tmp_path, more, *arguments, **env)
    assert "for 'm': openai/gpt-4o" in output and "fallbacks: 'f': anthropic/claude-sonnet-4-5" in output
    assert "try 1: openai/gpt-4o at http://127.0.0.1:9/v1/chat/completions?api_key=[redacted] (lane same" in output
    assert "added: temperature; changed: model; left out: metadata" in output
    assert "try 1: connect, status 500" in output and " ms (another try may follow)" in output
    assert "try 2: anthropic/claude-sonnet-4-5 at http://127.0.0.1:9/v1/messages (lane cross" in output
    assert "dropped: " in output or "translated to: " in output
    assert "is passed through to http://127.0.0.1:9/v1/files?api_key=[redacted]" in output
    assert SECRET not in output and "key=abc" not in output
    assert ZEBEDEE not in output  # what is said is not logged unless that is asked for


def test_bodies_are_logged_when_asked_for_and_without_secrets(tmp_path: Path) -> None:
    output = verbose(tmp_path, "litellm_settings: {set_verbose: true, log_raw_request_response: true}\n")
    assert ZEBEDEE in output and '"role":"user"' in output and SECRET not in output


def test_a_quiet_log_has_no_lines_of_what_went_well(tmp_path: Path) -> None:
    def lines(level: str) -> str:
        with serving(tmp_path, YAML.format(secret=SECRET), LITELLM_LOG=level) as served:
            ask(served.port, chat("nobody"))
            ask(served.port, chat("bug"))
            served.stop()
        return served.output()

    usual = lines("INFO")
    assert "model=nobody" in usual and "try 1" not in usual
    quiet = lines("ERROR")
    assert "model=nobody" not in quiet and "model=bug" in quiet
    assert "LITELLM_LOG is 'LOUD' and no level" in lines("LOUD")


def test_who_wins() -> None:
    plain, told, quiet = ServeOptions(), ServeOptions(json_logs=True), ServeOptions(json_logs=False)
    assert wants_json(told, {}) and not wants_json(quiet, {"JSON_LOGS": "true"})
    assert wants_json(plain, {"JSON_LOGS": "1"}) and not wants_json(plain, {"JSON_LOGS": "False"})
    assert level_of(plain, {}) == 20 and level_of(plain, {"LITELLM_LOG": "error"}) == 40
    assert level_of(ServeOptions(verbose=True), {"LITELLM_LOG": "ERROR"}) == 10
    assert level_of(plain, {"LITELLM_LOG": "nonsense"}) == 20


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h/a?x=1", "https://h/a?x=1"),
        ("https://h/a?api_key=abc&key=x&v=2", "https://h/a?api_key=[redacted]&key=[redacted]&v=2"),
        ("https://h:8/a", "https://h:8/a"),
    ],
)
def test_addresses_are_shown_without_what_is_secret_in_them(url: str, shown: str) -> None:
    assert shown_url(url) == shown
