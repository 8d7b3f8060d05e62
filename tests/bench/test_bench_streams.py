"""The stream client counts what is there and says what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from bench import payloads, streams, upstream, verify

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n%s\r\n"
CHUNKED = HEAD % b"transfer-encoding: chunked\r\n"
CLOSING = HEAD % b"connection: close\r\n"


def _spec(port: int, **changes: object) -> streams.Spec:
    base = streams.Spec(
        port,
        "/v1/chat/completions",
        {"Content-Type": "application/json"},
        payloads.chat_body("m", stream=True).decode(),
        model=payloads.UPSTREAM_MODEL,
        concurrency=2,
        seconds=0.15,
        warmup=0.05,
        drain=0.5,
    )
    for name, value in changes.items():
        setattr(base, name, value)
    return base


async def _against(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> streams.Result:
    """Run the client against a server that gives `answer` to each request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            await answer(writer)
            await asyncio.sleep(0.005)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        return await streams.measure(_spec(server.sockets[0].getsockname()[1]))
    finally:
        server.close()


def _writes(*pieces: bytes, close: bool = False) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        if close:
            writer.close()

    return answer


async def test_good_streams_are_complete_and_without_fault() -> None:
    server, port = await upstream.start(0)
    result = await streams.measure(_spec(port))
    server.close()
    assert result.streams > 2
    assert result.complete == result.streams
    assert result.faults == {}
    assert result.compared >= 2
    assert result.ttft(0.5) > 0
    assert result.streams_per_second == pytest.approx(result.chunks / payloads.CHUNKS / result.seconds)


async def test_a_transfer_cut_off_is_truncated() -> None:
    frames = [b"%x\r\n%s\r\n" % (len(c), c) for c in payloads.CHAT_STREAM[:10]]
    result = await _against(_writes(CHUNKED, *frames, close=True))
    assert result.streams and result.complete == 0
    assert result.faults["truncated"] == result.wrong == result.streams


async def test_a_stream_without_done_is_not_complete_however_its_transfer_ends() -> None:
    result = await _against(_writes(CLOSING, *payloads.CHAT_STREAM, close=True))
    assert result.streams and result.complete == 0
    assert result.faults == {"done": result.streams}


async def test_a_close_delimited_stream_with_done_is_complete() -> None:
    result = await _against(_writes(CLOSING, *payloads.CHAT_STREAM, payloads.CHAT_DONE, close=True))
    assert result.complete == result.streams > 0
    assert result.faults == {}


async def test_a_stream_that_never_ends_is_unfinished() -> None:
    result = await _against(_writes(CHUNKED, *[b"%x\r\n%s\r\n" % (len(c), c) for c in payloads.CHAT_STREAM[:3]]))
    assert result.streams == 0
    assert result.faults == {"unfinished": 2}
    assert result.wrong == 2


async def test_errors_are_counted_apart() -> None:
    result = await _against(_writes(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}"))
    assert result.http_errors == result.streams > 0
    assert result.complete == 0
    assert result.example.startswith("HTTP/1.1 429")


async def test_the_head_may_come_in_pieces() -> None:
    frames = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in [*payloads.CHAT_STREAM, payloads.CHAT_DONE])
    whole = CHUNKED + frames + b"0\r\n\r\n"
    result = await _against(_writes(whole[:20], whole[20:90], whole[90:-3], whole[-3:]))
    assert result.complete == result.streams > 0
    assert result.faults == {}


def _stream(**edit: Callable[[list[dict]], list[dict]]) -> bytes:
    chunks = [json.loads(e) for e in verify.events(b"".join(payloads.CHAT_TOOLS_STREAM))]
    for change in edit.values():
        chunks = change(chunks)
    return b"".join(b"data: " + payloads.dumps(c) + b"\n\n" for c in chunks) + payloads.CHAT_DONE


def _set_index(chunks: list[dict]) -> list[dict]:
    for chunk in chunks:
        for choice in chunk["choices"]:
            for call in choice["delta"].get("tool_calls", []):
                call["index"] = 0
    return chunks


def _finish_stop(chunks: list[dict]) -> list[dict]:
    for chunk in chunks:
        for choice in chunk["choices"]:
            choice["finish_reason"] = choice["finish_reason"] and "stop"
    return chunks


@pytest.mark.parametrize(
    ("fault", "edit"),
    [
        ("tool_calls", _set_index),
        ("tool_calls", lambda c: [x for i, x in enumerate(c) if i != 30]),
        ("finish", _finish_stop),
        ("usage", lambda c: c[:-1]),
        ("role", lambda c: c[1:]),
        ("text", lambda c: [c[0], *c[2:]]),
    ],
)
def test_each_fault_has_its_name(fault: str, edit: Callable[[list[dict]], list[dict]]) -> None:
    assert fault in verify.chat_stream(_stream(edit=edit), payloads.UPSTREAM_MODEL, tools=True)


def test_an_untouched_stream_has_no_fault() -> None:
    assert verify.chat_stream(_stream(), payloads.UPSTREAM_MODEL, tools=True) == []
    assert verify.chat_whole(payloads.CHAT_WHOLE, payloads.UPSTREAM_MODEL) == []
    assert verify.chat_whole(payloads.CHAT_WHOLE, payloads.ALIAS) == ["model"]


def _translated() -> list[dict]:
    """What a right translation of the mock's tool stream into Messages looks like."""
    text = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    out: list[dict] = [{"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}}, text]
    delta = {"type": "text_delta", "text": payloads.TOOL_TEXT}
    out += [{"type": "content_block_delta", "index": 0, "delta": delta}, {"type": "content_block_stop", "index": 0}]
    for index, (call_id, name, arguments) in enumerate(payloads.TOOL_CALLS, 1):
        block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        out.append({"type": "content_block_start", "index": index, "content_block": block})
        piece = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
        out.append({"type": "content_block_delta", "index": index, "delta": piece})
        out.append({"type": "content_block_stop", "index": index})
    usage = {"input_tokens": 41, "output_tokens": 61}
    return [
        *out,
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage},
        {"type": "message_stop"},
    ]


def _messages(found: list[dict]) -> list[str]:
    return verify.messages_stream(b"".join(b"event: x\ndata: " + payloads.dumps(e) + b"\n\n" for e in found))


def test_messages_faults_have_their_names() -> None:
    good = _translated()
    assert _messages(good) == []
    assert "done" in _messages(good[:-1])
    assert "start" in _messages([good[0], *good])
    assert "order" in _messages([e for i, e in enumerate(good) if i != 3])
    assert "finish" in _messages([e for e in good if e["type"] != "message_delta"])
    assert "tool_calls" in _messages([e for i, e in enumerate(good) if i != 5])
    assert "text" in _messages([e for i, e in enumerate(good) if i != 2])
    assert _messages([{"type": "nonsense"}])
