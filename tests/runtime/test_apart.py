"""What is translated apart is translated as it would be here: the same body, the same answer, the same losses."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from penstock.config import Secret
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import View, Wire
from penstock.core.envelope import seal
from penstock.core.errors import GatewayError
from penstock.core.ir import explode
from penstock.core.providers import PROVIDERS
from penstock.core.providers.spec import Quirks
from penstock.runtime import apart, lanes
from penstock.runtime.attempt import Attempt
from penstock.runtime.call import Call
from penstock.runtime.cross import cross_collected
from penstock.runtime.targets import Target
from tests.laws import work_shapes as shapes
from tests.runtime.made import attempt_of, call_of, target_of

ENV = {"AWS_REGION": "eu-west-1", "GROQ_API_KEY": "sk-of-the-environment"}


def there(attempt: Attempt, function: Callable[..., Any], *args: Any) -> apart._Done:
    """What a child makes of it: everything goes through pickle, and nothing else is shared."""
    job, function, args = pickle.loads(pickle.dumps((apart._job(attempt, True), function, args), 5))
    done: apart._Done = pickle.loads(pickle.dumps(apart._far(job, function, args), 5))
    return done


def target_at(tmp_path: Path, provider: str) -> Target | None:
    try:
        return target_of(tmp_path, ENV, model=f"{provider}/some-model", api_key="sk-secret", api_base="http://127.0.0.1/v1")
    except (AssertionError, IndexError):
        return None  # the row needs more than that


def quirks_of(target: Target, dialect: str) -> Quirks:
    return with_fields(target.provider.quirks_for(target.rules_of, dialect), edit=None)


def asked(client: str, **more: Any) -> dict[str, Any]:
    made = replace(shapes.rich(client, DIALECTS[client].family), output=None, tool_choice=None, stop=())
    wire = Wire(model="gemini-2.5-pro" if client == "gemini" else "m", family=DIALECTS[client].family, max_tokens=9)
    fields = json.loads(seal(DIALECTS[client].render_request(made, wire).fields))
    return {**fields, "model": "m", **more}


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_request_to_every_provider(tmp_path: Path, provider: str) -> None:
    target = target_at(tmp_path, provider)
    if target is None:
        return
    for dialect in [name for name in target.dialects if name in DIALECTS and name not in ("completions",)]:
        call = call_of(asked("openai_chat"))
        attempt = replace(attempt_of(call), target=target)
        quirks = quirks_of(target, dialect)
        try:
            here = lanes._body(attempt, quirks, dialect)
        except GatewayError as error:
            with pytest.raises(GatewayError) as told:
                there(replace(attempt, losses=()), lanes._body, quirks, dialect)
            assert (told.value.kind, told.value.message) == (error.kind, error.message)
            continue
        done = there(replace(attempt_of(call_of(asked("openai_chat"))), target=target), lanes._body, quirks, dialect)
        assert done.value == here, dialect
        assert done.changed.get("losses", ()) == attempt.losses and done.changed.get("lane", "") == attempt.lane


def test_no_secret_goes_to_a_child(tmp_path: Path) -> None:
    target = target_of(tmp_path, ENV, model="groq/x", api_key="sk-secret", extra_headers={"x-key": "sk-header"})
    attempt = replace(attempt_of(call_of(asked("openai_chat"))), target=target)
    data = pickle.dumps(apart._job(attempt, True), 5)
    assert isinstance(target.deployment.api_key, Secret) and b"messages" in data
    for secret in (b"sk-secret", b"sk-header", b"sk-of-the-environment"):
        assert secret not in data


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", ["openai_chat", "anthropic", "openai_responses", "ollama"])
def test_an_answer_for_every_client(tmp_path: Path, client: str, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.runtime.cross.mint", lambda prefix: f"{prefix}1")
    monkeypatch.setattr("time.time", lambda: 7.0)
    response = shapes.RESPONSES["calls"](3)
    data = DIALECTS["openai_chat"].render_response(response, View(model="m")).body
    encoder = DIALECTS["openai_chat"].encoder(View(model="m"))
    events = b"".join([encoder.feed(event) for event in explode(response)])
    target = target_of(tmp_path, model="openai/gpt-4o", api_key="k")

    def fresh() -> tuple[Call, Attempt]:
        call = call_of(asked(client), SURFACE_OF[client])
        return call, replace(attempt_of(call), target=target, stream=stream, lane="cross", client=DIALECTS[client])

    jobs: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [(lanes._whole, (data, "openai_chat", None, True))]
    if not stream:
        jobs.append((cross_collected, (events, DIALECTS["openai_chat"], None)))
    for function, args in jobs:
        call, attempt = fresh()
        function(attempt, *args)
        _, other = fresh()
        done = there(other, function, *args)
        assert done.sent is not None and done.sent.whole is not stream
        if client != "ollama":  # whose answers tell how long they took
            assert done.sent.body == call.exchange.out
        assert done.changed["usage"] == attempt.usage and done.changed.get("losses", ()) == attempt.losses


SURFACE_OF = {
    "openai_chat": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "openai_responses": "/v1/responses",
    "ollama": "/api/chat",
}


def test_what_is_kept_of_a_long_request_is_small() -> None:
    made = shapes.request(shapes.MESSAGES["systems"](3)[:3] + shapes.MESSAGES["turns"](50), shapes.tools(5))
    slim = apart._slim(made)
    assert [message.role for message in slim.messages] == ["system"] * 3 and slim.tools == made.tools
    with pytest.raises(GatewayError, match="'tools' has 10001 elements; at most 10000"):
        apart._slim(replace(made, tools=shapes.tools(10_001)))


def test_many_losses_are_told_in_few_words() -> None:
    attempt = attempt_of(call_of(asked("openai_chat")))
    many = tuple(shapes.request([]).messages) or tuple(apart.Loss(f"messages.{n}", "no place") for n in range(5000))
    few = apart._fewer(many)
    assert len(few) == 1001 and few[:1000] == many[:1000] and few[-1].why == "4000 more"
    assert apart._fewer(attempt.losses) == ()


def test_what_is_long() -> None:
    assert not apart.is_long(b"," * (apart.LARGE - 1)), "small, whatever is in it"
    assert not apart.is_long(b"x" * (apart.HUGE - 1)), "one text is no work"
    assert apart.is_long(b"x" * apart.HUGE) and apart.is_long(b"{" * apart.LARGE)
    attempt = attempt_of(call_of(asked("openai_chat")))
    assert not apart.is_long_request(attempt)
    attempt.send_fields({"messages": Raw(b"[" + b"1," * 100_000 + b"1]")})
    assert apart.is_long_request(attempt), "what earlier turns made of it counts"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a":[' + b"1," * 1_600_000 + b"1]}", "more than 1500000 values"),
        (b"{%b}" % b",".join(b'"%d":1' % n for n in range(20_000)), "20000 fields; at most 10000"),
        (b'{"a":"' + b",:" * 2_000_000 + b'"}', None),
        (b'{"a":1', "not valid JSON"),
    ],
)
def test_values_of_a_body_are_counted(body: bytes, said: str | None) -> None:
    if said is None:
        apart.check_values(body)
        return
    with pytest.raises(GatewayError, match=said) as told:
        apart.check_values(body)
    assert told.value.status == 400
