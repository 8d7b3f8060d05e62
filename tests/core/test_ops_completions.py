"""Laws of completions: what a chat answered comes out as a completion, whole or streamed, and back."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects import completions as ops
from penstock.core.dialects import openai_chat
from penstock.core.dialects.base import View, Wire
from penstock.core.errors import GatewayError
from penstock.core.ir import Choice, Collector, Refusal, Response, Text, Thinking, Usage, explode
from penstock.core.providers.operations import is_native

TEXTS = st.text(max_size=30)
FINISHES = st.sampled_from(["stop", "length"])
ROW = {
    "token": "ab",
    "logprob": -0.5,
    "bytes": [97, 98],
    "top_logprobs": [{"token": "ab", "logprob": -0.5, "bytes": None}],
}


def fields(**values: object) -> dict[str, Raw]:
    return {"model": Raw(b'"m"'), **{key: Raw(msgspec.json.encode(value)) for key, value in values.items()}}


@st.composite
def responses(draw):
    choices = tuple(Choice((Text(draw(TEXTS)),), draw(FINISHES)) for _ in range(draw(st.integers(1, 3))))
    return Response(
        id="cmpl-1", model="real", choices=choices, usage=Usage(fresh=draw(st.integers(1, 9)), output=3), created=5
    )


def view(request=None) -> View:
    return View(model="alias", request=request, now=7)


@given(responses())
def test_whole_answers_survive_there_and_back(response):
    rendered = ops.render_response(response, view())
    back = ops.parse_response(rendered.body)
    assert rendered.losses == () and back.model == "alias"
    assert [(_said(a), a.finish) for a in back.choices] == [(_said(b), b.finish) for b in response.choices]
    assert back.usage == response.usage


def _said(choice: Choice) -> str:
    return "".join(block.text for block in choice.blocks)


@given(responses(), st.integers(1, 7), st.integers(1, 40), st.booleans())
def test_streams_say_what_whole_answers_say_however_they_are_cut(response, piece, cut, echo):
    request = ops.parse_request(fields(prompt="Once", echo=echo))
    encoder = ops.encoder(view(request))
    data = b"".join(encoder.feed(event) for event in explode(response, piece))
    decoder, lines, collector = ops.decoder(), sse.Decoder(), Collector()
    for at in range(0, len(data), cut):
        for event in lines.feed(data[at : at + cut]):
            for step in decoder.feed(event):
                collector.feed(step)
    for step in decoder.close():
        collector.feed(step)
    whole = json.loads(ops.render_response(response, view(request)).body)
    told = collector.response()
    said = {n: _said(choice) for n, choice in enumerate(told.choices)}
    assert [said.get(n, "") for n in range(len(whole["choices"]))] == [choice["text"] for choice in whole["choices"]]
    assert [choice.finish for choice in told.choices] == [choice["finish_reason"] for choice in whole["choices"]]
    assert told.usage == response.usage and told.id == "cmpl-1"


@given(st.lists(TEXTS, min_size=1, max_size=4), st.booleans(), st.integers(1, 3))
def test_each_prompt_is_one_chat_and_its_answers_follow_it(prompts, echo, n):
    requests = ops.parse_all(fields(prompt=prompts, echo=echo, n=n))
    assert [
        request.messages[-1].blocks[0].text if request.messages[-1].blocks else "" for request in requests
    ] == prompts
    one = msgspec.structs.replace(requests[0], echo=tuple(text for request in requests for text in request.echo))
    echoes = [ops.echo_of(one, choice) for choice in range(n * len(prompts))]
    assert echoes == [prompt if echo else "" for prompt in prompts for _ in range(n)]


def test_a_prompt_becomes_a_chat_with_all_its_fields():
    request = ops.parse_request(
        fields(prompt="Hi", max_tokens=5, stop=["."], logprobs=3, seed=1, min_p=0.1, stream=True)
    )
    rendered = openai_chat.render_request(request, Wire(model="real"))
    told = {key: json.loads(bytes(raw)) for key, raw in rendered.fields.items()}
    assert told["messages"] == [{"role": "user", "content": "Hi"}] and told["model"] == "real"
    assert (told["stop"], told["logprobs"], told["top_logprobs"], told["seed"], told["min_p"]) == (
        ["."],
        True,
        3,
        1,
        0.1,
    )
    assert rendered.losses == ()


@pytest.mark.parametrize(
    ("asked", "lost"),
    [
        ({"best_of": 3}, ["extra.best_of"]),
        ({"best_of": 2, "n": 2}, []),
        ({"echo": True, "logprobs": 1}, ["extra.prompt_logprobs"]),
    ],
)
def test_what_a_chat_cannot_do_is_a_loss(asked, lost):
    rendered = openai_chat.render_request(ops.parse_request(fields(prompt="Hi", **asked)), Wire(model="real"))
    assert [loss.path for loss in rendered.losses] == lost


def test_logprobs_change_their_form_and_count_from_the_start_of_the_text():
    raw = json.dumps({"content": [ROW, {**ROW, "token": "c"}]}).encode()
    response = Response(id="x", model="y", choices=(Choice((Text("abc"),), logprobs=raw),))
    request = ops.parse_request(fields(prompt="1234", echo=True))
    told = json.loads(ops.render_response(response, view(request)).body)["choices"][0]["logprobs"]
    assert told["tokens"] == ["ab", "c"] and told["text_offset"] == [4, 6] and told["top_logprobs"][0] == {"ab": -0.5}
    back = ops.parse_response(ops.render_response(response, view()).body).choices[0]
    assert [row["token"] for row in json.loads(back.logprobs)["content"]] == ["ab", "c"]


def test_thoughts_are_a_loss_and_refusals_are_text():
    response = Response(id="x", model="y", choices=(Choice((Thinking("hm"), Refusal("No."))),))
    rendered = ops.render_response(response, view())
    assert json.loads(rendered.body)["choices"][0]["text"] == "No."
    assert [loss.path for loss in rendered.losses] == ["choices.0.blocks.0"]


def test_more_than_one_prompt_and_tokens_are_told_apart():
    with pytest.raises(ops.Several):
        ops.parse_request(fields(prompt=["a", "b"]))
    with pytest.raises(GatewayError) as caught:
        ops.parse_request(fields(prompt=[1, 2]))
    assert caught.value.kind == "unsupported" and caught.value.param == "prompt"


def test_a_chat_becomes_a_prompt():
    """As LiteLLM sends a chat to `text-completion-openai/`."""
    chat = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "bye"},
        ],
        "max_completion_tokens": 9,
        "stop": ["X"],
        "logprobs": True,
        "top_logprobs": 2,
        "best_of": 3,
        "verbosity": "low",
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    request = openai_chat.DIALECT.parse_request(
        {key: msgspec.Raw(json.dumps(value).encode()) for key, value in chat.items()}
    )
    rendered = ops.render_request(request, Wire(model="real"))
    assert {key: json.loads(bytes(raw)) for key, raw in rendered.fields.items()} == {
        "model": "real",
        "prompt": "Be brief.\n\nUser: hi\n\nAssistant: hello\n\nUser: bye\n\nAssistant:",
        "max_tokens": 9,
        "stop": ["X"],
        "logprobs": 2,
        "best_of": 3,
    }
    assert sorted(loss.path for loss in rendered.losses) == ["output", "tools", "verbosity"]
    alone = ops.render_request(ops.parse_request(fields(prompt="x")), Wire(model="real"))
    assert json.loads(bytes(alone.fields["prompt"])) == "x" and alone.losses == ()


def test_the_texts_that_guards_see():
    assert list(ops.texts(fields(prompt=["a", "b"], suffix="c"))) == ["a", "b", "c"]
    assert list(ops.texts(fields(prompt=[1, 2]))) == []


@pytest.mark.parametrize(
    ("provider", "model", "official", "mode", "native"),
    [
        ("openai", "gpt-4o", True, "", False),
        ("openai", "gpt-3.5-turbo-instruct", True, "", True),
        ("openai", "local", False, "", None),
        ("openai", "local", False, "chat", False),
        ("hosted_vllm", "base", False, "", None),
        ("anthropic", "claude-x", True, "", False),
    ],
)
def test_where_the_operation_is_to_be_had(provider, model, official, mode, native):
    assert is_native(provider, model, official, mode) is native
