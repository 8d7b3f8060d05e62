"""Every client dialect on every upstream dialect, whole and streamed, through the vendors' own Python SDKs."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from tests.e2e.clients.faces import CLOCK, PDF, WEATHER, Face, Got, Image, Pdf
from tests.e2e.clients.upstreams import Upstream

PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic": "/v1/messages",
}


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def checked(got: Got, face: Face, upstream: Upstream, stream: bool, dropped: list[str] | None = None) -> None:
    """What holds for every answer, whatever was asked."""
    assert got.model == upstream.alias
    assert got.lane == ("same" if face.dialect == upstream.dialect else "cross")
    if dropped is not None:
        # OpenAI's fingerprint of its backend has no field elsewhere: reported, and of no weight.
        assert [path for path in got.dropped if path != "extra.system_fingerprint"] == dropped
    assert upstream.last.path == PATHS[upstream.dialect]
    assert upstream.body["model"] == upstream.model
    assert bool(upstream.body.get("stream")) is stream
    if stream:
        assert got.deltas == got.text
    assert got.input > 0 and got.output > 0
    assert got.headers["content-type"].startswith("text/event-stream" if stream else "application/json")


def test_plain_text(face: Face, upstream: Upstream, stream: bool) -> None:
    got = face.ask("two words \u2028 and ümlauts 🐧", model=upstream.alias, stream=stream)
    assert got.text == "mock/echo: two words \u2028 and ümlauts 🐧"
    assert got.stop == "end" and not got.calls
    checked(got, face, upstream, stream, dropped=[])


def test_a_system_prompt_and_earlier_turns(face: Face, upstream: Upstream, stream: bool) -> None:
    turns = [face.user("first"), {"role": "assistant", "content": "earlier answer"}, face.user("second")]
    got = face.ask(turns, model=upstream.alias, stream=stream, system="Answer in one word.")
    assert got.text == "mock/echo: second"
    assert upstream.system() == "Answer in one word."
    assert upstream.last.body.index(b"first") < upstream.last.body.index(b"earlier answer")
    checked(got, face, upstream, stream, dropped=[])


def test_a_tool_call_and_its_result(face: Face, upstream: Upstream, stream: bool) -> None:
    ask = [face.user('call get_weather {"city": "Pàris \\"x\\" \U0001f327"}')]
    got = face.ask(ask, model=upstream.alias, stream=stream, tools=[CLOCK, WEATHER])
    assert got.stop == "tool" and got.text == ""
    assert [(call.name, call.args) for call in got.calls] == [("get_weather", {"city": 'Pàris "x" \U0001f327'})]
    assert upstream.tool_names() == ["get_time", "get_weather"]
    checked(got, face, upstream, stream)

    again = [*ask, *got.turn, *face.results([(got.calls[0], "21 °C")])]
    got = face.ask(again, model=upstream.alias, stream=stream, tools=[CLOCK, WEATHER])
    assert got.text == "mock/echo: tool get_weather said: 21 °C"
    assert got.stop == "end"
    checked(got, face, upstream, stream)


def test_parallel_tool_calls_and_their_results(face: Face, upstream: Upstream, stream: bool) -> None:
    text = 'call get_weather {"city": "Rome"} call get_time {"zone": "UTC", "hours": 24} call get_weather {"city": "Oslo"}'
    ask = [face.user(text)]
    got = face.ask(ask, model=upstream.alias, stream=stream, tools=[WEATHER, CLOCK])
    told = [("get_weather", {"city": "Rome"}), ("get_time", {"zone": "UTC", "hours": 24}), ("get_weather", {"city": "Oslo"})]
    assert [(call.name, call.args) for call in got.calls] == told
    assert len({call.id for call in got.calls}) == 3

    answers = list(zip(got.calls, ["sunny", "noon", "snow"], strict=True))
    got = face.ask([*ask, *got.turn, *face.results(answers)], model=upstream.alias, stream=stream, tools=[WEATHER, CLOCK])
    for part in ("tool get_weather said: sunny", "tool get_time said: noon", "tool get_weather said: snow"):
        assert part in got.text
    checked(got, face, upstream, stream)


def test_parallel_calls_can_be_forbidden(face: Face, upstream: Upstream, stream: bool) -> None:
    text = 'call get_weather {"city": "Rome"} call get_weather {"city": "Oslo"}'
    got = face.ask(text, model=upstream.alias, stream=stream, tools=[WEATHER], parallel=False)
    assert [call.args for call in got.calls] == [{"city": "Rome"}]


@pytest.mark.parametrize("choice", ["required", "none", "get_time"])
def test_tool_choice(face: Face, upstream: Upstream, stream: bool, choice: str) -> None:
    got = face.ask(
        'call get_weather {"city": "Rome"}', model=upstream.alias, stream=stream, tools=[WEATHER, CLOCK], choice=choice
    )
    called = {"required": ["get_weather"], "none": [], "get_time": ["get_time"]}
    assert [call.name for call in got.calls] == called[choice]
    checked(got, face, upstream, stream)


@pytest.mark.parametrize("image", [Image(), Image("https://example.com/cat.png")], ids=["base64", "url"])
def test_vision(face: Face, upstream: Upstream, stream: bool, image: Image) -> None:
    got = face.ask([face.user("look", image)], model=upstream.alias, stream=stream)
    seen = "https://example.com/cat.png" if image.url else "image/png, 70 bytes"
    assert got.text == f"mock/echo: look | saw 1 image ({seen})"
    checked(got, face, upstream, stream, dropped=[])


def test_a_pdf(face: Face, upstream: Upstream, stream: bool) -> None:
    got = face.ask([face.user("read", Pdf("paper.pdf"))], model=upstream.alias, stream=stream)
    assert got.text.startswith("mock/echo: read | saw 1 ")
    assert "(application/pdf, 69 bytes)" in got.text
    assert PDF.encode() in upstream.last.body and b"paper.pdf" in upstream.last.body
    checked(got, face, upstream, stream, dropped=[])


class Person(BaseModel):
    name: str
    age: int


def test_structured_output_through_the_parse_helpers(face: Face, upstream: Upstream, stream: bool) -> None:
    got = face.ask("who?", model=upstream.alias, stream=stream, schema=Person)
    assert got.parsed == Person(name="mock", age=0)
    assert got.stop == "end" and not got.calls
    checked(got, face, upstream, stream)


def test_reasoning_and_its_replay(face: Face, upstream: Upstream, stream: bool) -> None:
    ask = [face.user('call get_weather {"city": "Rome"}')]
    got = face.ask(ask, model=upstream.alias, stream=stream, tools=[WEATHER], think="medium")
    assert upstream.effort() == "medium"
    if (face.dialect, upstream.dialect) == ("openai_chat", "openai_responses"):
        assert got.thinking == "", "summaries come on request only, and Chat has no field for it"
    else:
        assert got.thinking.startswith("mock reasoning (")
    assert got.stop == "tool"
    if upstream.dialect != "anthropic":
        assert got.reasoning > 0 or face.dialect == "anthropic"

    # The mock verifies signatures and encrypted content: a seal that came to harm is a 400 here.
    again = [*ask, *got.turn, *face.results([(got.calls[0], "warm")])]
    got = face.ask(again, model=upstream.alias, stream=stream, tools=[WEATHER], think="medium")
    assert got.text == "mock/echo: tool get_weather said: warm"
    if upstream.dialect != "openai_chat":
        sealed = b'"signature"' if upstream.dialect == "anthropic" else b'"encrypted_content"'
        assert sealed in upstream.last.body, "the seal goes back to the family that issued it"
    checked(got, face, upstream, stream)


def test_stop_sequences(face: Face, upstream: Upstream, stream: bool) -> None:
    if not face.can_stop:
        pytest.skip("the Responses API has no stop sequences")
    got = face.ask("one two three four", model=upstream.alias, stream=stream, stop=["three", "never"])
    if upstream.dialect == "openai_responses":
        assert got.dropped == ["stop"], "what the upstream cannot do is said"
        return
    assert got.text == "mock/echo: one two "
    both = face.dialect == upstream.dialect == "anthropic"
    assert got.stop == ("stop_sequence" if both else "end")
    if both:
        assert got.native.stop_sequence == "three"
    checked(got, face, upstream, stream, dropped=[])


def test_the_token_limit(face: Face, upstream: Upstream, stream: bool) -> None:
    got = face.ask("one two three four five six", model=upstream.alias, stream=stream, max_tokens=4)
    assert got.text == "mock/echo: one two"
    assert got.stop == "length"
    assert got.output == 4
    checked(got, face, upstream, stream, dropped=[])


def test_usage_has_the_upstreams_numbers(face: Face, upstream: Upstream, stream: bool) -> None:
    upstream.mock.script = upstream.script(cache_min_tokens=1)
    marked = {"cache_control": {"type": "ephemeral"}} if face.dialect == upstream.dialect == "anthropic" else None
    long = "a rather long prompt " * 60
    first = face.ask(long, model=upstream.alias, stream=stream, native=marked)
    second = face.ask(long, model=upstream.alias, stream=stream, native=marked)
    assert first.input == second.input
    assert first.output == second.output > 60
    assert first.cached == 0
    if marked or upstream.dialect != "anthropic":
        assert 200 < second.cached <= second.input
    checked(second, face, upstream, stream, dropped=[])

