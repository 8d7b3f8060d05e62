"""The vendor's own Python client reads what the dialect writes: streams, whole answers, parsed output, errors."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from penstock.core import envelope
from penstock.core.dialects import openai_responses as dialect
from penstock.core.dialects.base import View
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Choice,
    Citation,
    Opaque,
    Refusal,
    Request,
    Response,
    Seal,
    Text,
    Thinking,
    ToolUse,
    Usage,
    explode,
)

TOOL = {
    "type": "function",
    "name": "f",
    "description": "d",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": True,
}
SEARCH = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "x"},
}
BLOCKS: tuple[Block, ...] = (
    Thinking("A summary", summary=True, id="rs_1"),
    Thinking("more", Seal("anthropic", "c2ln"), summary=True, id="rs_1"),
    Thinking("raw thought"),
    Text("Hello ", citations=(Citation("https://example.com", "t", start=0, end=5),)),
    Text("world é\u2028!"),
    ToolUse("call_1", "f", '{"a": 1}'),
    ToolUse("call_2", "f", ""),
    ToolUse("call_3", "grep", "free text", "custom"),
    Opaque("openai_responses", "web_search_call", json.dumps(SEARCH).encode()),
)
ANSWER = Response(
    id="chatcmpl-1",
    model="real",
    choices=(Choice(BLOCKS, "tool_use"),),
    usage=Usage(fresh=10, cache_read=5, cache_write=2, output=7, reasoning=3),
)


class Seen:
    """What the client sent, parsed by the dialect; the server side of one call."""

    request: Request

    def __init__(self, answer: Response, error: GatewayError | None = None, after: int = 0) -> None:
        self.answer = answer
        self.error = error
        self.after = after
        numbers = itertools.count(100)
        self.mint = lambda prefix: f"{prefix}{next(numbers)}"

    def handle(self, call: httpx.Request) -> httpx.Response:
        self.request = dialect.parse_request(envelope.open_body(call.content))
        view = View(model=self.request.model, request=self.request, now=1_700_000_000, mint=self.mint)
        if not self.request.stream:
            if self.error is not None:
                status, body = dialect.render_error(self.error)
                return httpx.Response(status, content=body, headers={"content-type": "application/json"})
            body = dialect.render_response(self.answer, view).body
            return httpx.Response(200, content=body, headers={"content-type": "application/json"})
        content = b"".join(self._chunks(view))
        return httpx.Response(200, content=content, headers={"content-type": "text/event-stream"})

    def _chunks(self, view: View) -> Iterable[bytes]:
        encoder = dialect.encoder(view)
        for number, event in enumerate(explode(self.answer, 3)):
            if self.error is not None and number == self.after:
                yield encoder.fail(self.error)
                return
            yield encoder.feed(event)
            yield encoder.ping()

    def client(self) -> openai.OpenAI:
        http = httpx.Client(transport=httpx.MockTransport(self.handle))
        return openai.OpenAI(api_key="k", base_url="http://test/v1", http_client=http, max_retries=0)


def test_the_clients_stream_helper_gathers_the_answer() -> None:
    server = Seen(ANSWER)
    kinds: list[str] = []
    with server.client().responses.stream(model="asked", input="hi", tools=[TOOL]) as stream:  # type: ignore[list-item]
        text = ""
        for event in stream:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
        final = stream.get_final_response()
    assert text == "Hello world é\u2028!" == final.output_text
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds[-1] == "response.completed"
    assert [item.type for item in final.output] == [
        *("reasoning", "reasoning", "message", "function_call", "function_call", "custom_tool_call", "web_search_call")
    ]
    assert final.usage is not None and final.usage.input_tokens == 17 and final.usage.total_tokens == 24
    assert final.usage.input_tokens_details.cached_tokens == 5


def test_whole_and_streamed_answers_are_one() -> None:
    whole = Seen(ANSWER).client().responses.create(model="asked", input="hi", tools=[TOOL])  # type: ignore[list-item]
    with Seen(ANSWER).client().responses.stream(model="asked", input="hi", tools=[TOOL]) as stream:  # type: ignore[list-item]
        streamed = stream.get_final_response()
    assert _plain(streamed.to_dict()) == _plain(whole.to_dict())


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    for item in found["output"]:
        item.pop("parsed_arguments", None)
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return found


def test_the_types_hold_what_was_sent() -> None:
    """Strict: every field of the answer validates against the client's model."""
    raw = Seen(ANSWER).client().responses.with_raw_response.create(model="asked", input="hi", tools=[TOOL])  # type: ignore[list-item]
    body = json.loads(raw.http_response.content)
    model = openai.types.responses.Response.model_validate(body, strict=False)
    assert model.status == "completed" and model.model == "asked"
    assert model.output[2].type == "message"
    assert model.output[2].content[0].annotations[0].url == "https://example.com"  # type: ignore[union-attr]
    assert model.output[0].encrypted_content == "penstock.seal.anthropic.c2ln"  # type: ignore[union-attr]


class Weather(BaseModel):
    city: str
    celsius: int


def test_parsed_output() -> None:
    said = Response(id="", model="", choices=(Choice((Text('{"city": "Paris", "celsius": 18}'),)),))
    server = Seen(said)
    parsed = server.client().responses.parse(model="asked", input="hi", text_format=Weather)
    assert parsed.output_parsed == Weather(city="Paris", celsius=18)
    assert server.request.output is not None and server.request.output.name == "Weather"
    with server.client().responses.stream(model="asked", input="hi", text_format=Weather) as stream:
        assert stream.get_final_response().output_parsed == Weather(city="Paris", celsius=18)


def test_the_answer_repeats_the_request() -> None:
    server = Seen(ANSWER)
    answer = server.client().responses.create(
        model="asked",
        instructions="Be brief.",
        input="hi",
        tools=[TOOL, {"type": "mcp", "server_label": "x", "server_url": "https://x", "authorization": "secret"}],  # type: ignore[list-item]
        tool_choice={"type": "function", "name": "f"},
        temperature=0.5,
        top_p=0.9,
        metadata={"a": "1"},
        parallel_tool_calls=False,
        previous_response_id="resp_before",
        store=False,
        truncation="auto",
        max_output_tokens=100,
        max_tool_calls=3,
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low", "format": {"type": "json_object"}},
        service_tier="flex",
        safety_identifier="s",
        prompt_cache_key="p",
        user="u",
        top_logprobs=2,
    )
    body = answer.to_dict()
    assert body["instructions"] == "Be brief." and body["previous_response_id"] == "resp_before"
    assert body["tools"][0] == TOOL and "authorization" not in body["tools"][1]
    assert body["tool_choice"] == {"type": "function", "name": "f"}
    assert (body["temperature"], body["top_p"], body["max_output_tokens"], body["max_tool_calls"]) == (0.5, 0.9, 100, 3)
    assert body["metadata"] == {"a": "1"} and body["parallel_tool_calls"] is False and body["store"] is False
    assert body["truncation"] == "auto" and body["service_tier"] == "flex" and body["user"] == "u"
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["text"] == {"verbosity": "low", "format": {"type": "json_object"}}
    assert (body["safety_identifier"], body["prompt_cache_key"], body["top_logprobs"]) == ("s", "p", 2)


def test_a_client_that_asks_for_summaries_gets_thoughts_as_summaries() -> None:
    said = Response(id="", model="", choices=(Choice((Thinking("deep", Seal("anthropic", "x")), Text("hi"))),))
    client = Seen(said).client()
    with client.responses.stream(model="asked", input="hi", reasoning={"summary": "auto"}) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert "response.reasoning_summary_text.delta" in kinds and "response.reasoning_text.delta" not in kinds
    assert final.output[0].summary[0].text == "deep"  # type: ignore[union-attr]


def test_a_refusal_and_a_cut_answer() -> None:
    refused = Response(id="", model="", choices=(Choice((Refusal("No."),), "refusal"),))
    with Seen(refused).client().responses.stream(model="asked", input="hi") as stream:
        final = stream.get_final_response()
    assert final.output[0].content[0].refusal == "No."  # type: ignore[union-attr]
    cut = Response(id="", model="", choices=(Choice((Text("abc"),), "length"),))
    answer = Seen(cut).client().responses.create(model="asked", input="hi")
    assert answer.status == "incomplete" and answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output[0].status == "incomplete"  # type: ignore[union-attr]
    last = list(Seen(cut).client().responses.create(model="asked", input="hi", stream=True))[-1]
    assert last.type == "response.incomplete"


@pytest.mark.parametrize("after", [0, 1, 6])
def test_an_error_in_a_stream_raises_in_the_client(after: int) -> None:
    error = GatewayError("upstream_error", "The engine died.")
    with pytest.raises(openai.APIError, match="The engine died."):
        with Seen(ANSWER, error, after).client().responses.stream(model="asked", input="hi") as stream:
            stream.until_done()


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("bad_request", openai.BadRequestError),
        ("unauthorized", openai.AuthenticationError),
        ("no_route", openai.NotFoundError),
        ("upstream_rate_limit", openai.RateLimitError),
        ("upstream_error", openai.InternalServerError),
    ],
)
def test_errors_are_typed(kind: str, raised: type[openai.APIStatusError]) -> None:
    with pytest.raises(raised) as caught:
        Seen(ANSWER, GatewayError(kind, "Why.", param="x")).client().responses.create(model="asked", input="hi")
    assert "Why." in caught.value.message and caught.value.param == "x"


def test_a_conversation_goes_round() -> None:
    """What the client got back it sends again with its tool's output, and the dialect reads it as it was meant."""
    server = Seen(ANSWER)
    client = server.client()
    first = client.responses.create(model="asked", input="hi")
    items: list[Any] = [item.to_dict() for item in first.output]
    client.responses.create(
        model="asked", input=[*items, {"type": "function_call_output", "call_id": "call_1", "output": "1"}]
    )
    blocks = server.request.messages[0].blocks
    assert blocks[0] == Thinking("A summary", summary=True, id="rs_1")
    assert blocks[1] == Thinking("more", Seal("anthropic", "c2ln"), summary=True, id="rs_1")
    assert [block for block in blocks if isinstance(block, ToolUse)] == [
        ToolUse("call_1", "f", '{"a": 1}'),
        ToolUse("call_2", "f", "{}"),
        ToolUse("call_3", "grep", "free text", "custom"),
    ]
    assert Text("Hello ", citations=(Citation("https://example.com", "t", start=0, end=5),)) in blocks
