"""LiteLLM's own Python client in front of the gateway: its answers, its streams, its exception classes.

One process asks everything, for LiteLLM takes seconds to import. It has an environment of its own and is never imported
here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Rule, Step
from tests.e2e.clients.cli import run
from tests.e2e.clients.doc_blocks import run_block
from tests.e2e.clients.faces import PNG
from tests.e2e.clients.install import python_client
from tests.e2e.clients.upstreams import GUIDE_MODEL, Upstream, config
from tests.e2e.serving import LLAMA_KEY, MASTER_KEY, Llama, Served, serving

pytestmark = pytest.mark.timeout(1000)  # the first run installs the client
SCRIPT = Path(__file__).parent / "python" / "lite.py"
DIALECTS = ("openai_chat", "openai_responses", "anthropic")
LONG = {"message": "This model's maximum context length is 10 tokens.", "code": "context_length_exceeded"}
POLICY = {"message": "Invalid prompt: it was flagged as potentially violating our usage policy.", "code": "invalid_prompt"}

# What the upstream answers -> (LiteLLM's class, status). Its client has no class of its own for some of OpenAI's errors:
# those are its APIError or BadRequestError with the status in them, behind its own proxy, too.
ERRORS: dict[str, tuple[Step, str, int]] = {
    "fail with 400": (Step(status=400), "BadRequestError", 400),
    "fail with 401": (Step(status=401), "AuthenticationError", 401),
    "fail with 403": (Step(status=403), "APIError", 403),
    "fail with 404": (Step(status=404), "NotFoundError", 404),
    "fail with 408": (Step(status=408), "Timeout", 408),
    "fail with 422": (Step(status=422), "BadRequestError", 422),
    "fail with 429": (Step(status=429), "RateLimitError", 429),
    "fail with 500": (Step(status=500), "InternalServerError", 500),
    "fail with 502": (Step(status=502), "BadGatewayError", 502),
    "fail with 503": (Step(status=503), "ServiceUnavailableError", 503),
    "fail with 504": (Step(status=504), "Timeout", 504),
    "fail by length": (Step(status=400, error=LONG), "ContextWindowExceededError", 400),
    "fail by policy": (Step(status=400, error=POLICY), "ContentPolicyViolationError", 400),
}


@pytest.fixture(scope="module")
def found(
    gateway: Served,
    session_upstreams: dict[str, Upstream],
    maybe_llama: Llama | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Any]]:
    """Everything that the script found out, and under "guide" what arrived upstream of the guide's call."""
    python = python_client("litellm")
    for upstream in session_upstreams.values():
        upstream.reset()
    rules = [Rule(contains=prompt, step=step) for prompt, (step, _, _) in ERRORS.items()]
    chat = session_upstreams["openai_chat"]
    chat.mock.script = chat.script(rules=rules)
    folder = tmp_path_factory.mktemp("litellm")
    urls = {dialect: upstream.mock.url for dialect, upstream in session_upstreams.items()}
    with serving(folder, config(urls, None, LLAMA_KEY)) as unlocked:
        told = ask(
            python,
            folder,
            gateway,
            " ".join(f"via-{dialect}" for dialect in DIALECTS),
            OPEN=unlocked.url,
            ERRORS=json.dumps(list(ERRORS)),
        )
    told["guide"] = [seen for seen in chat.mock.received if GUIDE_MODEL.encode() in seen.body]
    if maybe_llama is not None:
        real = "whole streamed asynchronous_stream structured responses messages"
        told |= ask(python, folder, gateway, "llama", CASES=real)
    yield told
    for upstream in session_upstreams.values():
        upstream.reset()


def ask(python: Path, folder: Path, gateway: Served, models: str, **env: str) -> dict[str, Any]:
    done = run([python, SCRIPT], folder, GATEWAY=gateway.url, KEY=MASTER_KEY, PNG=PNG, MODELS=models, **env)
    assert done.code == 0, done
    told: dict[str, Any] = json.loads(done.out.splitlines()[-1])  # LiteLLM prints hints above
    return told


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_call_of_the_client(found: dict[str, Any], dialect: str) -> None:
    model = f"via-{dialect}"
    hello = "mock/echo: hello"
    chat = {"text": hello, "finish": "stop", "model": model, "counted": True}
    rain = "mock/echo: tool get_weather said: rain"
    call = {"name": "get_weather", "args": {"city": "Rome"}}
    assert {name: value for name, value in found.items() if name.endswith(f" {model}")} == {
        f"{name} {model}": value
        for name, value in {
            "whole": chat,
            "streamed": {**chat, "deltas": hello, "many": True},
            "asynchronous": chat,
            "asynchronous_stream": hello,
            "tools": {**call, "finish": "tool_calls", "text": rain},
            "tools_streamed": {**call, "id": True},
            "structured": {"name": "Ada", "grown": False},
            "vision": "mock/echo: look | saw 1 image (image/png, 70 bytes)",
            "through_litellm_proxy": {**chat, "model": f"litellm_proxy/{model}"},  # its client writes that itself
            "through_messages": {**call, "finish": "tool_calls", "text": rain},
            "through_ollama": hello,
            "responses": {"text": hello, "status": "completed", "model": model, "counted": True},
            "responses_streamed": {"text": hello, "last": "response.completed"},
            "messages": {"text": hello, "stop": "end_turn", "model": model},
        }.items()
    }


def test_s0_20_the_call_of_a_services_guide(found: dict[str, Any]) -> None:
    """Seed S0-20: any key where none is needed, a colon in the model's name, and a bare schema as `guided_json`."""
    assert found["seed"] == {"text": {"city": "Rome"}, "model": GUIDE_MODEL, "kind": "ModelResponse"}
    (seen,) = found["guide"]
    assert seen.json["model"] == GUIDE_MODEL and "guided_json" not in seen.json
    form = seen.json["response_format"]
    assert form["type"] == "json_schema" and form["json_schema"]["schema"]["required"] == ["city"]


def test_embeddings_texts_and_what_the_headers_say(found: dict[str, Any]) -> None:
    assert found["embedding"] == {"rows": 2, "floats": True, "same": True, "counted": True}
    assert found["text_completion"] == "mock/echo: hello"
    assert found["cost_header"] == {"cost": True, "id": True}


@pytest.mark.parametrize("streamed", ["", "streamed "], ids=["whole", "streamed"])
@pytest.mark.parametrize("prompt", ERRORS)
def test_errors_are_litellms_classes(found: dict[str, Any], prompt: str, streamed: str) -> None:
    _, name, status = ERRORS[prompt]
    told = found[f"error {streamed}{prompt}"]
    assert (told["error"], told["status"]) == (name, status), told


def test_refusals_of_the_gateway_itself(found: dict[str, Any]) -> None:
    wrong_key, unknown = found["wrong_key"], found["unknown_model"]
    assert (wrong_key["error"], wrong_key["status"]) == ("AuthenticationError", 401)
    assert "sk-wrong" not in wrong_key["says"]
    assert (unknown["error"], unknown["status"]) == ("BadRequestError", 400)
    assert "nobody-has-this" in unknown["says"]


def test_a_real_engine(found: dict[str, Any], llama: Llama) -> None:
    for name in ("whole", "streamed"):
        told = found[f"{name} llama"]
        assert told["model"] == "llama" and told["finish"] in ("stop", "length") and told["counted"], told
    assert found["streamed llama"]["deltas"] == found["streamed llama"]["text"]
    assert isinstance(found["asynchronous_stream llama"], str)
    assert found["structured llama"]["name"] in ("Ada", "Bob")
    assert found["responses llama"]["status"] in ("completed", "incomplete")
    assert found["messages llama"]["stop"] in ("end_turn", "max_tokens")


def test_the_block_of_the_documentation(tmp_path: Path) -> None:
    done = run_block(python_client("litellm"), "import litellm", tmp_path / "block")
    assert done.code == 0 and done.out.split("\n")[:-1] == ["mock/echo: hello", "mock/echo"], done
