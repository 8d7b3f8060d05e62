"""Replicate through the gateway: https://replicate.com/docs/reference/http , /docs/reference/streaming ."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import sse
from penstock.core.errors import GatewayError
from penstock.core.ir import Message, Request, Text, collect
from penstock.core.providers import replicate as pure
from penstock.core.providers.replicate import Decoder, head_for, path_of, read_prediction, render_input, same_house
from penstock.mock import Step
from penstock.runtime import replicate as effects
from tests.core.providers.quirks.vendor import CHAT_TOOLS, Vendor, vendor

LLAMA = "replicate/meta/meta-llama-3-70b-instruct"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "POLL", 0.01)


def calls(replicate: Vendor) -> list[str]:
    """Method and path of every call, ids as ID."""
    seen = [f"{call.method} {call.path}" for call in replicate.mock.received]
    return ["/".join("ID" if part.startswith("rp_") else part for part in line.split("/")) for line in seen]


# requests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "path", "version"),
    [
        ("meta/meta-llama-3-70b-instruct", "/models/meta/meta-llama-3-70b-instruct/predictions", ""),
        ("me/mine:2796ee94", "/predictions", "2796ee94"),
        ("llama-2-70b-chat:2796ee94", "/predictions", "2796ee94"),
        ("5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa", "/predictions", None),
        ("deployments/me/mine", "/deployments/me/mine/predictions", ""),
    ],
)
def test_where_a_prediction_is_made(model: str, path: str, version: str | None) -> None:
    assert path_of(model) == (path, model if version is None else version)


async def test_one_call_where_the_model_is_quick(tmp_path: Path) -> None:
    async with vendor(tmp_path, LLAMA) as replicate:
        asked = await replicate.chat(
            messages=[{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}],
            max_tokens=50,
            temperature=0.5,
            top_p=0.9,
            stop=["a", "b"],
            min_tokens=2,
        )
        received = replicate.mock.received[0]
    assert calls(replicate) == ["POST /v1/models/meta/meta-llama-3-70b-instruct/predictions"]
    assert received.header("authorization") == "Bearer sk-of-the-vendor"
    assert received.header("prefer") == "wait=5"
    assert asked.wire == {
        "input": {
            "system_prompt": "Be short.",
            "prompt": "hi",
            "max_tokens": 50,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop_sequences": "a,b",
            "min_tokens": 2,
        }
    }
    assert asked.message["content"] == "mock/echo: hi" and asked.body["model"] == "m"
    assert asked.body["usage"]["prompt_tokens"] > 0 and asked.dropped == []
    used = replicate.door.records[0].usage
    assert used is not None and not used.estimated


async def test_a_version_and_a_deployment(tmp_path: Path) -> None:
    async with vendor(tmp_path, "replicate/me/mine:2796ee94", supports_system_prompt=False, top_k=5) as replicate:
        asked = await replicate.chat(
            messages=[{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}]
        )
    assert calls(replicate) == ["POST /v1/predictions"]
    assert asked.wire == {"input": {"top_k": 5, "prompt": "Be short.\n\nhi"}, "version": "2796ee94"}
    async with vendor(tmp_path, "replicate/deployments/me/mine") as replicate:
        assert (await replicate.messages()).blocks["text"]["text"] == "mock/echo: hi"
    assert calls(replicate) == ["POST /v1/deployments/me/mine/predictions"]


def test_a_conversation_is_told_with_its_speakers() -> None:
    turns = (
        Message("user", (Text("Hello."),)),
        Message("assistant", (Text("Hi."),)),
        Message("user", (Text("Who are you?"),)),
    )
    made, losses = render_input(Request(model="m", messages=turns, max_tokens=5), "me/vicuna-13b:1", {}, None)
    assert json.loads(bytes(made["prompt"])) == "User: Hello.\n\nAssistant: Hi.\n\nUser: Who are you?\n\nAssistant:"
    assert json.loads(bytes(made["max_length"])) == 5 and losses == []
    prefilled = (*turns[:1], Message("assistant", (Text("I am"),)))
    made, _ = render_input(Request(model="m", messages=prefilled), "a/b", {}, None)
    assert json.loads(bytes(made["prompt"])) == "User: Hello.\n\nAssistant: I am"


async def test_what_a_prediction_cannot_carry_is_told(tmp_path: Path) -> None:
    image = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "https://a.test/x.png"}}]
    async with vendor(tmp_path, LLAMA) as replicate:
        asked = await replicate.chat(messages=[{"role": "user", "content": image}], tools=CHAT_TOOLS, user="u")
    assert asked.dropped == ["tools", "user", "messages.0.blocks.1"] and asked.wire["input"] == {"prompt": "what?"}
    async with vendor(tmp_path, LLAMA, on_unsupported="reject") as replicate:
        refused = await replicate.chat(tools=CHAT_TOOLS)
    assert refused.status == 400 and "tools" in refused.body["error"]["message"] and refused.wire is None


async def test_every_surface_reaches_a_prediction(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}]
    async with vendor(tmp_path, LLAMA) as replicate:
        bodies = {
            "/v1/responses": {"input": "hi"},
            "/api/chat": {"messages": turns, "stream": False},
            "/v1/completions": {"prompt": "hi"},
        }
        for path, body in bodies.items():
            status, _, raw = await replicate.door.post({"model": "m", **body}, path)
            assert status == 200 and b"mock/echo: hi" in raw, (path, raw)
        made = len(replicate.mock.received)
        status, _, raw = await replicate.door.post({"model": "m", "prompt": ["a", "b"]}, "/v1/completions")
        assert status == 400 and b"one prompt at a time" in raw and len(replicate.mock.received) == made


# waiting, streaming, cancelling -------------------------------------------------------------------------------------


async def test_a_slow_model_is_asked_for_until_it_is_done(tmp_path: Path) -> None:
    async with vendor(tmp_path, "replicate/slow/model") as replicate:
        asked = await replicate.messages()
        keys = {call.header("authorization") for call in replicate.mock.received}
        hosts = {call.header("host") for call in replicate.mock.received}
    assert calls(replicate) == ["POST /v1/models/slow/model/predictions"] + ["GET /v1/predictions/ID"] * 2
    assert asked.blocks["text"]["text"] == "mock/echo: hi"
    assert keys == {"Bearer sk-of-the-vendor"} and len(hosts) == 1


async def test_a_model_that_is_never_done_is_cancelled(tmp_path: Path) -> None:
    async with vendor(tmp_path, "replicate/stuck/model", timeout=0.3) as replicate:
        asked = await replicate.chat()
        await replicate.mock.wait_for(len(replicate.mock.received), complete=True)
        await asyncio.sleep(0.1)
    assert asked.status == 408 and "0.3 seconds" in asked.body["error"]["message"]
    assert calls(replicate)[-1] == "POST /v1/predictions/ID/cancel"


async def test_a_stream(tmp_path: Path) -> None:
    text = "One,\ntwo.\n\nThree"
    async with vendor(tmp_path, LLAMA) as replicate:
        replicate.mock.script = type(replicate.mock.script).always(text=text)
        chat = await replicate.chat(stream=True, stream_options={"include_usage": True})
        messages = await replicate.messages(stream=True)
        records = replicate.door.records
    assert calls(replicate)[:3] == [
        "POST /v1/models/meta/meta-llama-3-70b-instruct/predictions",
        "GET /v1/streams/ID",
        "GET /v1/predictions/ID",  # the tokens
    ]
    assert replicate.mock.received[0].json["stream"] is True and replicate.mock.received[0].header("prefer") is None
    assert replicate.mock.received[1].header("accept") == "text/event-stream"
    assert "".join(chat.deltas("content")) == text == messages.message_deltas("text")
    assert chat.done and chat.events[-1]["usage"]["completion_tokens"] > 0
    assert messages.events[-1]["type"] == "message_stop"
    assert all(record.usage is not None and not record.usage.estimated for record in records)


async def test_an_error_in_a_stream(tmp_path: Path) -> None:
    async with vendor(tmp_path, LLAMA) as replicate:
        step = Step(error_event_after=2, body_drip_ms=1, error="CUDA out of memory")
        replicate.answers(Step(), step, Step(), Step(), step, Step())
        chat = await replicate.chat(stream=True)
        await asyncio.sleep(0.1)
    assert chat.deltas("content") and not chat.done
    assert "CUDA out of memory" in chat.events[-1]["error"]["message"]


async def test_a_stream_that_breaks_off_is_no_answer(tmp_path: Path) -> None:
    async with vendor(tmp_path, LLAMA) as replicate:
        replicate.answers(Step(), Step(cut_after_events=2, cut="end", body_drip_ms=1))
        chat = await replicate.chat(stream=True)
        await asyncio.sleep(0.1)
    assert not chat.done and "error" in chat.events[-1]
    assert calls(replicate)[-1] == "POST /v1/predictions/ID/cancel"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_cancels_the_prediction(tmp_path: Path, stream: bool) -> None:
    async with vendor(tmp_path, LLAMA if stream else "replicate/stuck/model") as replicate:
        replicate.answers(Step(), Step(stall_after_events=1) if stream else Step())
        body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", replicate.door.port)
        writer.write(head.encode() + data)
        await replicate.mock.wait_for(2)
        await asyncio.sleep(0.05)
        writer.close()
        for _ in range(100):
            if calls(replicate)[-1].endswith("/cancel"):
                break
            await asyncio.sleep(0.02)
        await replicate.door.settle()
    assert calls(replicate)[-1] == "POST /v1/predictions/ID/cancel"
    assert replicate.door.records[0].error == "client_gone"
    assert reader is not None


# errors -------------------------------------------------------------------------------------------------------------


async def test_a_prediction_that_failed(tmp_path: Path) -> None:
    async with vendor(tmp_path, LLAMA) as replicate:
        replicate.answers(
            Step(finish_reason="failed", error="CUDA out of memory"),
            Step(finish_reason="failed", error="prompt is too long"),
            Step(finish_reason="canceled"),
        )
        failed, long, canceled = await replicate.chat(), await replicate.messages(), await replicate.chat()
    assert failed.status == 500 and "CUDA out of memory" in failed.body["error"]["message"]
    assert long.status == 400 and long.body["error"]["type"] == "invalid_request_error"
    assert canceled.status == 500


async def test_refusals_are_problem_details(tmp_path: Path) -> None:
    async with vendor(tmp_path, LLAMA) as replicate:
        replicate.answers(Step(status=402, error="You have insufficient credit."), Step(status=429), Step(status=422))
        poor, many, wrong = await replicate.chat(), await replicate.chat(), await replicate.chat()
    assert poor.status == 402 and "insufficient credit" in poor.body["error"]["message"]
    assert many.status == 429 and many.headers["retry-after"] == "1"
    assert wrong.status == 422


@pytest.mark.parametrize("body", ["null", "[]", '{"id": "x"}', "no json", '{"status": 3}', '{"status": "starting"}'])
async def test_what_is_no_prediction_is_a_broken_answer(tmp_path: Path, body: str) -> None:
    async with vendor(tmp_path, LLAMA) as replicate:
        replicate.answers(Step(body=body, headers={"content-type": "application/json"}))
        assert (await replicate.chat()).status == 502


async def test_the_key_goes_to_no_other_server(tmp_path: Path) -> None:
    async with vendor(tmp_path, LLAMA) as replicate:
        urls = {"get": "http://127.0.0.1:1/v1/predictions/x", "cancel": "http://127.0.0.1:1/x", "stream": "http://a.test/"}
        replicate.answers(*[Step(body={"id": "x", "status": "starting", "urls": urls})] * 2)
        whole, streamed = await replicate.chat(), await replicate.chat(stream=True)
    assert whole.status == 502 and "another server" in whole.body["error"]["message"]
    assert streamed.status == 502 and len(calls(replicate)) == 2


def test_which_server_is_the_same_house() -> None:
    own = "https://api.replicate.com/v1/predictions"
    assert same_house("https://api.replicate.com/v1/predictions/x", own)
    assert same_house("https://stream.replicate.com/v1/files/x", own)
    for other in (
        "http://stream.replicate.com/x",
        "https://stream.replicate.com.evil.test/x",
        "https://evilreplicate.com/x",
        "https://evil.test/.replicate.com",
        "https://[broken",
        "",
    ):
        assert not same_house(other, own), other
    assert not same_house("https://stream.replicate.com/x", "http://127.0.0.1:9/v1")


def test_the_head_of_another_call_keeps_the_credential() -> None:
    head = b"POST /v1/a HTTP/1.1\r\nhost: one.test\r\ncontent-type: application/json\r\nauthorization: Bearer k\r\n"
    assert head_for(head, b"GET", b"/b?c", b"two.test:9") == (
        b"GET /b?c HTTP/1.1\r\nhost: two.test:9\r\nauthorization: Bearer k\r\n"
    )


# the stream's decoder -----------------------------------------------------------------------------------------------


@given(st.lists(st.text(), max_size=5))
def test_the_text_of_a_stream_is_the_outputs(pieces: list[str]) -> None:
    decoder = Decoder("rp_1")
    events: list[Any] = []
    for piece in pieces:
        events += decoder.feed(pure.quoted(sse.Event(b"output", piece.encode("utf-8", "replace"))))
    events += decoder.feed(sse.Event(b"logs", b"loading"))
    events += [*decoder.feed(sse.Event(b"done", b"{}")), *decoder.close()]
    (choice,) = collect(events).choices
    expected = "".join(piece.encode("utf-8", "replace").decode() for piece in pieces)
    assert "".join(block.text for block in choice.blocks if isinstance(block, Text)) == expected
    assert choice.finish == "stop"


@pytest.mark.parametrize("data", [b'{"reason": "canceled"}', b'{"reason": "error"}'])
def test_a_done_with_a_reason_is_no_success(data: bytes) -> None:
    with pytest.raises(GatewayError, match="ended early"):
        list(Decoder().feed(sse.Event(b"done", data)))


def test_without_done_the_stream_is_broken() -> None:
    decoder = Decoder()
    list(decoder.feed(pure.quoted(sse.Event(b"output", b"a"))))
    with pytest.raises(GatewayError) as caught:
        list(decoder.close())
    assert caught.value.kind == "broken_stream"


@pytest.mark.parametrize(("output", "text"), [(["a", "b"], "ab"), ("ab", "ab"), ({"a": 1}, '{"a": 1}'), (None, "")])
def test_outputs_of_every_shape(output: Any, text: str) -> None:
    told = read_prediction(json.dumps({"id": "x", "status": "succeeded", "output": output}).encode())
    (choice,) = pure.response_of(told).choices
    assert choice.blocks == (Text(text),)
