"""The SDKs on a real llama-server: through Chat (its first dialect here) and through whatever it speaks natively.

The model's words are nonsense, its wire format is the real thing: shapes are asserted, never words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from pydantic import BaseModel

from tests.e2e.clients.faces import Face, Tool
from tests.e2e.serving import Llama

# Few words to choose from: random ones come to no end.
WEATHER = Tool("get_weather", "The weather of a city", {"city": {"type": "string", "enum": ["Rome", "Oslo"]}})


@pytest.fixture(params=["llama", "llama-native"])
def alias(request: pytest.FixtureRequest, llama: Llama) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_text(face: Face, alias: str, stream: bool) -> None:
    got = face.ask("Say something.", model=alias, stream=stream, system="Be brief.")
    assert got.stop in ("end", "length") and got.model == alias
    assert got.input > 5 and got.output > 0
    if stream:
        assert got.deltas == got.text
    native = face.dialect == "openai_chat" or (face.dialect, alias) == ("anthropic", "llama-native")
    assert got.lane == ("same" if native else "cross"), "Chat, and Messages once it was found to speak it"


def test_the_token_limit(face: Face, alias: str, stream: bool) -> None:
    got = face.ask("Say something.", model=alias, stream=stream, max_tokens=3)
    assert got.output <= 3 and (got.stop == "length" or got.output < 3)


def test_a_forced_call_and_its_result(face: Face, alias: str, stream: bool) -> None:
    ask = [face.user("The weather in Rome?")]
    got = face.ask(ask, model=alias, stream=stream, tools=[WEATHER], choice="required", parallel=False)
    assert got.stop == "tool" and {call.name for call in got.calls} == {"get_weather"}
    assert got.calls[0].args["city"] in ("Rome", "Oslo") and got.calls[0].id
    results = face.results([(call, "21 degrees") for call in got.calls])
    got = face.ask([*ask, *got.turn, *results], model=alias, stream=stream)
    assert got.stop in ("end", "length") and got.input > 20, "its first word may be its last"


class Person(BaseModel):
    name: Literal["Ada", "Bob"]
    grown: bool


def test_a_schema(face: Face, alias: str, stream: bool) -> None:
    got = face.ask("Who?", model=alias, stream=stream, schema=Person)
    assert isinstance(got.parsed, Person), "llama.cpp enforces schemas on Chat only, so that is where it is asked"


def test_an_overlong_prompt_is_a_typed_error(face: Face, alias: str) -> None:
    with pytest.raises(face.errors.BadRequestError) as caught:
        face.ask("word " * 90_000, model=alias)
    assert "context" in str(caught.value)


def test_counting(face_of: Callable[..., Face], alias: str) -> None:
    face = face_of("anthropic")
    counted = face.client.messages.count_tokens(model=alias, messages=[face.user("hello there")])
    assert 0 < counted.input_tokens < 100
