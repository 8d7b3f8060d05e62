"""What each vendor's Python SDK can do besides asking: lists, counts, stored responses, tool runners, async clients."""

from __future__ import annotations

from collections.abc import Callable

import anthropic
import openai
import pytest

from penstock.mock import Rule, Step
from tests.e2e.clients.faces import WEATHER, Face
from tests.e2e.clients.upstreams import Upstream
from tests.e2e.serving import MASTER_KEY, Served


def test_the_model_list_has_the_shape_of_who_asks(face: Face, upstreams: dict[str, Upstream]) -> None:
    listed = list(face.client.models.list())
    assert {"via-openai_chat", "via-anthropic", "via-openai_responses"} <= {model.id for model in listed}
    if face.dialect == "anthropic":
        assert all(model.type == "model" and model.display_name for model in listed)
    else:
        assert all(model.object == "model" for model in listed)
    one = face.client.models.retrieve("via-anthropic")
    assert one.id == "via-anthropic"


def test_tokens_are_counted_for_every_upstream(face_of: Callable[..., Face], upstream: Upstream) -> None:
    face = face_of("anthropic")
    short = face.client.messages.count_tokens(model=upstream.alias, messages=[face.user("hello there")])
    long = face.client.messages.count_tokens(
        model=upstream.alias,
        system="You are a weather service.",
        messages=[face.user("hello there " * 200)],
        tools=[face.tool(WEATHER)],
    )
    assert 0 < short.input_tokens < 40
    assert long.input_tokens > short.input_tokens + 300
    asked = [request.path for request in upstream.mock.received]
    own = ["/v1/messages/count_tokens"] * 2
    assert asked == (own if upstream.dialect == "anthropic" else []), "an upstream that can count is asked"


def test_beta_messages_pass_with_their_headers(face_of: Callable[..., Face], upstreams: dict[str, Upstream]) -> None:
    face, upstream = face_of("anthropic"), upstreams["anthropic"]
    made = face.client.beta.messages.create(
        model=upstream.alias,
        max_tokens=50,
        betas=["context-management-2025-06-27", "interleaved-thinking-2025-05-14"],
        context_management={"edits": [{"type": "clear_tool_uses_20250919"}]},
        messages=[face.user("hello")],
    )
    assert made.content[0].text == "mock/echo: hello" and made.model == upstream.alias
    assert upstream.last.header("anthropic-beta") == "context-management-2025-06-27,interleaved-thinking-2025-05-14"
    assert upstream.last.header("anthropic-version")
    assert upstream.body["context_management"] == {"edits": [{"type": "clear_tool_uses_20250919"}]}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_tool_runner_goes_round_the_loop(face_of: Callable[..., Face], upstream: Upstream, stream: bool) -> None:
    """The runner wants Anthropic to keep the conversation (``thread``), and does without when told to."""
    face = face_of("anthropic")
    if upstream.dialect == "anthropic":
        refused = {"type": "invalid_request_error", "details": {"error_code": "thread_unsupported_request"}}
        upstream.mock.script = upstream.script(
            rules=[Rule(contains='"thread"', step=Step(status=400, error={"message": "Not here.", **refused}))]
        )
    asked = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: its name
        """
        asked.append(city)
        return f"rain in {city}"

    runner = face.client.beta.messages.tool_runner(
        model=upstream.alias,
        max_tokens=200,
        tools=[get_weather],
        messages=[face.user('call get_weather {"city": "Bonn"}')],
        stream=stream,
    )
    last = runner.until_done()
    assert asked == ["Bonn"]
    assert last.content[0].text == "mock/echo: tool get_weather said: rain in Bonn"
    assert face.statuses == [400, 200, 200]


def test_a_thread_is_refused_in_the_words_that_the_sdk_knows(face_of: Callable[..., Face], upstream: Upstream) -> None:
    face = face_of("anthropic")
    with pytest.raises(anthropic.types.ThreadUnsupportedRequestError):
        face.client.beta.messages.create(
            model=upstream.alias, max_tokens=50, thread={"type": "create"}, messages=[face.user("more")]
        )
    assert not upstream.mock.received


def test_an_error_keeps_the_vendors_error_code(
    face_of: Callable[..., Face], upstreams: dict[str, Upstream]
) -> None:
    face, upstream = face_of("anthropic"), upstreams["anthropic"]
    lost = {"type": "not_found_error", "message": "Gone.", "details": {"error_code": "thread_not_found"}}
    upstream.mock.script = upstream.script(
        rules=[Rule(contains="go on", nth=1, step=Step(status=404, error=lost))]
    )
    with pytest.raises(anthropic.NotFoundError) as caught:
        face.client.beta.messages.create(
            model=upstream.alias,
            max_tokens=50,
            messages=[face.user("go on")],
        )
    assert caught.value.error_code == "thread_not_found"


def test_several_choices_and_logprobs_in_chat(face_of: Callable[..., Face], upstreams: dict[str, Upstream]) -> None:
    face, upstream = face_of("openai_chat"), upstreams["openai_chat"]
    made = face.client.chat.completions.create(
        model=upstream.alias, n=3, logprobs=True, top_logprobs=2, messages=[face.user("hello")]
    )
    assert [choice.index for choice in made.choices] == [0, 1, 2]
    assert "".join(row.token for row in made.choices[0].logprobs.content) == made.choices[0].message.content
    with face.client.chat.completions.stream(
        model=upstream.alias, n=2, logprobs=True, messages=[face.user("hello")]
    ) as events:
        for _ in events:
            pass
        streamed = events.get_final_completion()
    assert streamed.choices[1].message.content == "mock/echo: hello (choice 1)"
    assert streamed.choices[1].logprobs.content


# Stored responses
# ------------------------------------------------------------------------------------------------------


def test_previous_response_id_works_for_any_upstream(face_of: Callable[..., Face], upstream: Upstream) -> None:
    face = face_of("openai_responses")
    responses = face.client.responses
    tools = [face.tool(WEATHER)]
    first = responses.create(model=upstream.alias, input='call get_weather {"city": "Ulm"}', tools=tools)
    call = next(item for item in first.output if item.type == "function_call")
    second = responses.create(
        model=upstream.alias,
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "fog"}],
        tools=tools,
    )
    assert second.output_text == "mock/echo: tool get_weather said: fog"
    assert second.previous_response_id == first.id
    with responses.stream(model=upstream.alias, previous_response_id=second.id, input="and now?") as events:
        for _ in events:
            pass
        third = events.get_final_response()
    assert third.output_text == "mock/echo: and now?"


def test_responses_are_kept_read_and_deleted(face_of: Callable[..., Face], upstream: Upstream) -> None:
    responses = face_of("openai_responses").client.responses
    made = responses.create(model=upstream.alias, input="remember this")
    assert responses.retrieve(made.id).output_text == made.output_text
    items = list(responses.input_items.list(made.id))
    assert [item.content[0].text for item in items] == ["remember this"]
    with pytest.raises(openai.BadRequestError):
        responses.cancel(made.id)
    responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        responses.retrieve(made.id)


def test_what_may_not_be_stored_is_not(face_of: Callable[..., Face], upstream: Upstream) -> None:
    responses = face_of("openai_responses").client.responses
    made = responses.create(model=upstream.alias, input="forget this", store=False)
    with pytest.raises(openai.NotFoundError):
        responses.retrieve(made.id)


def test_a_response_streams_its_full_sequence_of_events(face_of: Callable[..., Face], upstream: Upstream) -> None:
    face = face_of("openai_responses")
    kinds, numbers = [], []
    for event in face.client.responses.create(model=upstream.alias, input="a b", stream=True):
        kinds.append(event.type)
        numbers.append(event.sequence_number)
    assert numbers == list(range(len(numbers)))
    once = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    assert once == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_a_message_streams_its_full_sequence_of_events(face_of: Callable[..., Face], upstream: Upstream) -> None:
    face = face_of("anthropic")
    kinds = []
    for event in face.client.messages.create(
        model=upstream.alias,
        max_tokens=2000,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[face.user("a b")],
        stream=True,
    ):
        kinds.append(f"{event.type}.{event.content_block.type}" if event.type == "content_block_start" else event.type)
    once = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    block = ["content_block_delta", "content_block_stop"]
    assert [kind for kind in once if kind != "ping"] == [
        "message_start",
        "content_block_start.thinking",
        *block,
        "content_block_start.text",
        *block,
        "message_delta",
        "message_stop",
    ]


# Async clients
# ----------------------------------------------------------------------------------------------------------


async def test_the_async_clients_stream_too(gateway: Served, upstream: Upstream) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=MASTER_KEY, max_retries=0) as client:
        async with client.chat.completions.stream(
            model=upstream.alias, messages=[{"role": "user", "content": "hi"}]
        ) as events:
            assert (await events.get_final_completion()).choices[0].message.content == "mock/echo: hi"
        async with client.responses.stream(model=upstream.alias, input="hi") as responses:
            assert (await responses.get_final_response()).output_text == "mock/echo: hi"
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=MASTER_KEY, max_retries=0) as client:
        async with client.messages.stream(
            model=upstream.alias, max_tokens=50, messages=[{"role": "user", "content": "hi"}]
        ) as messages:
            assert await messages.get_final_text() == "mock/echo: hi"


async def test_anthropics_other_ways_to_send_the_key(gateway: Served, upstreams: dict[str, Upstream]) -> None:
    for how in ({"default_headers": {"x-api-key": MASTER_KEY}}, {"auth_token": MASTER_KEY}):
        async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=None, max_retries=0, **how) as client:
            made = await client.messages.create(
                model="via-openai_chat", max_tokens=50, messages=[{"role": "user", "content": "hi"}]
            )
            assert made.content[0].text == "mock/echo: hi"
