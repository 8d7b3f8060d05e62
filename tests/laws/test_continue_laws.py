"""Streams that go on: who is asked for the rest of an answer, and that beginning and rest are told as one."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.continuing.joined import Joined
from penstock.core.continuing.seam import Seam
from penstock.core.continuing.told import Told
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import View
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Choice,
    Close,
    Delta,
    End,
    Event,
    Open,
    Response,
    Seal,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
    Usage,
    collect,
    explode,
)
from penstock.core.route.plan import Outcome, Plan, Try, Wait
from tests.laws.test_route_laws import Run, failures, plans, run

CLIENTS = ("openai_chat", "anthropic", "openai_responses", "gemini", "ollama", "completions")

# Who is asked ---------------------------------------------------------------------------------------------------------


def after_a_break(script: Sequence[Outcome], last_word: bool) -> list[Outcome]:
    """A script as an engine tells it: once an answer has begun, every later failure is one behind that beginning.
    ``last_word``: the end of the script is one that nobody can go on behind."""
    out: list[Outcome] = []
    begun = False
    for number, outcome in enumerate(script):
        if outcome.error is not None and (begun or outcome.started):
            begun = True
            outcome = Outcome(outcome.error, True, not (last_word and number == len(script) - 1))
        out.append(outcome)
    return out


breaks = st.sampled_from(["broken_stream", "timeout", "upstream_overloaded"]).map(
    lambda kind: Outcome(GatewayError(kind, kind), True, True)
)


@st.composite
def continued(draw: st.DrawFn) -> tuple[Plan[str], Run]:
    plan = draw(plans())
    script = draw(st.lists(st.one_of(failures, failures, breaks, st.just(Outcome())), min_size=1, max_size=25))
    script = after_a_break(script, draw(st.booleans()))
    return plan, run(plan, script, draw(st.lists(st.integers(0, 5), max_size=30)))


@given(continued())
def test_after_the_first_byte_there_are_only_tries_that_go_on(pair):
    plan, ran = pair
    begun = False
    told = list(zip(ran.tries, ran.outcomes, strict=True))
    for number, (step, outcome) in enumerate(told):
        assert step.goes_on is begun
        if outcome.error is None or (outcome.started and not outcome.resumable):
            assert number == len(told) - 1, "nothing comes after success, or where nobody can go on"
        begun = begun or outcome.started
    for group, number in Counter(step.group for step in ran.tries).items():
        first = next(step.target for step in ran.tries if step.group == group)
        assert number <= plan.own.get(first, plan.retries) + 1, group


@given(continued())
def test_an_answer_that_nobody_goes_on_with_ends_in_the_error_that_broke_it_off(pair):
    _, ran = pair
    started = [outcome.error for outcome in ran.outcomes if outcome.started]
    if ran.outcomes[-1].error is None:
        assert ran.error is None
    elif started:
        assert ran.error is started[0]
    else:
        assert ran.error is not None


@given(continued())
def test_who_refuses_to_go_on_is_not_asked_again_and_others_are(pair):
    """A 400 to the rest of an answer tells of that target alone: the client's request was good enough for another."""
    _, ran = pair
    told = list(zip(ran.tries, ran.outcomes, strict=True))
    for number, (step, outcome) in enumerate(told):
        if outcome.resumable and outcome.error is not None and outcome.error.row.retry in ("no", "other"):
            if outcome.error.kind != "broken_stream":
                later = [other for other, _ in told[number + 1 :]]
                assert all((other.target, other.group) != (step.target, step.group) for other in later)


def test_a_broken_stream_goes_on_at_the_others_then_at_the_fallbacks():
    broken = Outcome(GatewayError("broken_stream", "cut"), True, True)
    down = Outcome(GatewayError("upstream_error", "down"), True, True)
    plan = Plan("a", {"a": ("a0", "a1"), "b": ("b0",)}, {"": ("b",)}, retries=1)
    ran = run(plan, [broken, down, Outcome()], [])
    assert ran.steps == [Try("a0", "a"), Try("a1", "a", True), Try("b0", "b", True)] and ran.error is None
    alone = run(Plan("a", {"a": ("a0",)}, {}, retries=1), [broken, Outcome()], [])
    assert [type(step) for step in alone.steps] == [Try, Wait, Try] and alone.error is None


# One stream -----------------------------------------------------------------------------------------------------------


class Client:
    """Reads a stream as the client of a dialect does, and as the gateway reads it along."""

    def __init__(self, name: str) -> None:
        self.dialect = DIALECTS[name]
        self.framer, self.decoder = self.dialect.framer(), self.dialect.decoder()
        self.events: list[Event] = []
        self.told = Told()
        self.last = b""
        self.places: list[tuple[int, str]] = []  # numbers and items of Responses events

    def feed(self, data: bytes) -> None:
        for event in self.framer.feed(data):
            self.last = event.data
            if self.dialect.name == "openai_responses":
                fields = json.loads(event.data)
                self.places.append((fields["sequence_number"], fields.get("item_id", "")))
            for step in self.decoder.feed(event):
                self.events.append(step)
                self.told.feed(step)

    def close(self) -> None:
        self.events += self.decoder.close()


words = st.text("abc de\nfg hé本. 12", max_size=60)
ids = iter(range(1_000_000_000))


def view() -> View:
    return View(model="m", now=5, mint=lambda head: f"{head}{next(ids)}")


def answer(*blocks: Text | Thinking | ToolUse, used: int = 7) -> Response:
    reason = "tool_use" if isinstance(blocks[-1], ToolUse) else "stop"
    return Response(id="r_1", model="up", choices=(Choice(blocks, reason),), usage=Usage(fresh=3, output=used))


@pytest.mark.parametrize("name", CLIENTS)
@given(
    beginning=st.text("abc \n本", min_size=1, max_size=30),
    rests=st.lists(words, min_size=1, max_size=3),
    thought=st.booleans(),
    again=st.booleans(),
)
def test_a_beginning_and_its_rests_are_one_answer(name, beginning, rests, thought, again):
    """However often it breaks: one start, one open text, the numbers and ids of the first, one end, the sum of what was
    used. Each rest is told by an encoder that was made anew, of what the client has."""
    client = Client(name)
    thoughts = (Thinking("hm"),) if thought and name != "completions" else ()
    first = client.dialect.encoder(view())
    for event in explode(answer(*thoughts, Text(beginning + "!"))):
        if isinstance(event, Delta) and event.text.endswith("!"):
            client.feed(first.feed(Delta(event.index, event.text[:-1])))
            break
        client.feed(first.feed(event))
    said, used = beginning, Usage(fresh=1, output=1)
    for number, rest in enumerate(rests):
        assert client.told.can_go_on and client.told.text == said
        fresh = client.dialect.encoder(view())
        for event in client.told.events():
            fresh.feed(event)
        assert client.dialect.resume(fresh, client.last)
        joined = Joined(fresh, client.told, Seam(said, False, False), used)
        own = (Thinking("again"),) if again else ()
        over = number == len(rests) - 1
        for event in explode(answer(*own, Text(rest))):
            if event == Close(len(own)) and not over:
                break
            client.feed(joined.feed(event))
        if over:
            client.close()
        else:  # what is held back of it is never told
            held = client.told.text
            assert (said + rest).startswith(held) or held == said
            said = held
    events = client.events
    assert [sum(isinstance(event, kind) for event in events) for kind in (Start, Stop, End)] == [1, 1, 1]
    told = collect(events)
    texts = [block for block in told.choices[0].blocks if isinstance(block, Text)]
    assert len(texts) == 1 and texts[0].text.startswith(beginning) and rests[-1].endswith(texts[0].text[len(said) :])
    seen = [block.text for block in told.choices[0].blocks if isinstance(block, Thinking)]
    assert seen == [block.text for block in thoughts]
    if name == "openai_responses":
        assert [number for number, _ in client.places] == list(range(len(client.places)))
        assert len({item for _, item in client.places if item.startswith("msg_")}) == 1
    if name not in ("openai_chat", "completions"):  # which tell it on demand
        assert told.usage is not None and told.usage.output == 8


@pytest.mark.parametrize("name", [name for name in CLIENTS if name != "completions"])
def test_a_call_behind_the_rest_is_told_whole(name):
    client = Client(name)
    first = client.dialect.encoder(view())
    for event in list(explode(answer(Text("Let me lo"))))[:3]:
        client.feed(first.feed(event))
    said = client.told.text
    fresh = client.dialect.encoder(view())
    for event in client.told.events():
        fresh.feed(event)
    assert client.dialect.resume(fresh, client.last)
    joined = Joined(fresh, client.told, Seam(said, True, True), None)
    for event in explode(answer(Text("ok it up."), ToolUse("call_1", "find", '{"a":1}'))):
        client.feed(joined.feed(event))
    client.close()
    blocks = collect(client.events).choices[0].blocks
    assert blocks[0] == Text(said + "ok it up.")
    [call] = [block for block in blocks if isinstance(block, ToolUse)]
    assert (call.name, call.args.replace(" ", "")) == ("find", '{"a":1}')


SEALED = Seal("anthropic", "sig")
NEVER: dict[str, list[Event]] = {
    "nothing began": [],
    "a thought half out": [Start("", ""), Open(0, Thinking("")), Delta(0, "hm")],
    "a sealed thought": [Start("", ""), Open(0, Thinking("")), Delta(0, seal=SEALED), Close(0), Open(1, Text(""))],
    "a redacted thought": [Start("", ""), Open(0, Thinking("", redacted=True))],
    "a call half out": [Start("", ""), Open(0, Text("")), Delta(0, "x"), Close(0), Open(1, ToolUse("c", "f", ""))],
    "a text that is over": [Start("", ""), Open(0, Text("")), Delta(0, "x"), Close(0)],
    "two choices": [Start("", ""), Open(0, Text("")), Open(1, Text(""), 1)],
    "a stop": [Start("", ""), Open(0, Text("")), Delta(0, "x"), Stop("stop")],
    "too much": [Start("", ""), Open(0, Text("")), *[Delta(0, "x" * 300_000)] * 4],
}


@pytest.mark.parametrize("why", NEVER)
def test_what_is_never_continued(why):
    told = Told()
    for event in NEVER[why]:
        told.feed(event)
    assert not told.can_go_on


# The seam -------------------------------------------------------------------------------------------------------------


def join(text: str, pieces: Sequence[str], begun: bool) -> str:
    seam = Seam(text, begun, begun)
    return text + "".join([seam.feed(piece) for piece in pieces]) + seam.close()


@given(words, words, st.booleans(), st.lists(st.integers(0, 60), max_size=8))
def test_any_cut_of_the_rest_gives_the_same_text(text, rest, begun, cuts):
    marks = [0, *sorted(cuts), len(rest)]
    pieces = [rest[a:b] for a, b in zip(marks, marks[1:], strict=False)]
    assert join(text, pieces, begun) == join(text, [rest], begun)


@given(words, words, st.booleans())
def test_of_the_rest_nothing_is_left_out_but_its_beginning(text, rest, begun):
    told = join(text, [rest], begun)
    assert told.startswith(text) and rest.endswith(told[len(text) :])
    gone = rest[: len(rest) - len(told) + len(text)]
    assert not gone.strip() or gone.strip() in text


LONG = " ".join(map(str, range(900)))


@pytest.mark.parametrize(
    ("text", "rest", "begun", "whole"),
    [
        ("The quick brown fox", " jumps", False, "The quick brown fox jumps"),
        ("The quick brown fox", "brown fox jumps", False, "The quick brown fox jumps"),
        ("The quick brown fox ", "brown fox jumps", False, "The quick brown fox jumps"),
        ("The quick brown fox", "The quick brown fox jumps", False, "The quick brown fox jumps"),
        ("The quick brown fox", "The quick brown fox jumps", True, "The quick brown fox jumps"),
        ("The quick brown fox ", " jumps", True, "The quick brown fox jumps"),
        ("The quick brown fox\n", "\n\njumps", True, "The quick brown fox\n\njumps"),
        ("def f():\n", "    return 1", False, "def f():\n    return 1"),
        ("def f():\n", "\n    return 1", True, "def f():\n    return 1"),
        ("10, 10, 10, 10, ", "10, 10, 10", False, "10, 10, 10, 10, 10, 10, 10"),
        ("a can", "can", True, "a cancan"),
        ("I sa", "id so", False, "I said so"),
        ("", " x", True, " x"),
        (LONG, LONG + " and on", True, LONG + " and on"),
        (LONG, LONG[:1500] + "x", True, LONG + LONG[:1500] + "x"),
        ("x " * 300 + "and so it ended", "so it ended. Truly.", False, "x " * 300 + "and so it ended. Truly."),
    ],
)
def test_seams(text, rest, begun, whole):
    assert join(text, rest, begun) == join(text, [rest], begun) == whole


def test_a_long_echo_takes_no_time():
    """A megabyte that is said again, four characters at a time: looked at anew for each it would take minutes."""
    text = " ".join(map(str, range(150_000)))
    began = time.perf_counter()
    seam = Seam(text, True, True)
    assert not any(seam.feed(text[at : at + 4]) for at in range(0, len(text), 4))
    assert seam.feed(" on") + seam.close() == " on" and seam.cut == len(text)
    assert time.perf_counter() - began < 1.0
