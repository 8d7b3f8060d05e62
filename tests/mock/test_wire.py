"""Every way to misbehave, seen at byte level with a raw socket, on plain asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import Any

import pytest

from penstock.mock import Mix, Mock, Rule, Script, Step
from tests.mock.conftest import both_loops, chat, dechunk, parse, post, talk

CHAT = "/v1/chat/completions"


def body(stream: bool = False, text: str = "a b c") -> bytes:
    return json.dumps(chat(text, stream=stream)).encode()


async def whole(mock: Mock, **step: Any) -> tuple[int, dict[str, str], bytes]:
    mock.script = Script.always(**step)
    return parse(await talk(mock, post(CHAT, body())))


async def streamed(mock: Mock, **step: Any) -> tuple[list[bytes], bool]:
    """Chunks of a stream, and whether the HTTP body ended properly."""
    mock.script = Script.always(**step)
    status, headers, raw = parse(await talk(mock, post(CHAT, body(stream=True))))
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    return dechunk(raw)


def datas(chunks: list[bytes]) -> list[bytes]:
    events = [event for event in b"".join(chunks).split(b"\n\n") if event]
    return [line[6:] for event in events for line in event.split(b"\n") if line.startswith(b"data: ")]


# ---- the plain ways --------------------------------------------------------------------------------------------------


@both_loops
async def test_each_event_is_its_own_chunk_and_the_body_ends(mock: Mock) -> None:
    chunks, ended = await streamed(mock)
    assert ended and chunks[-1] == b"data: [DONE]\n\n"
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)
    assert len(chunks) == 8  # role, "mock/e", "cho:", " a", " b", " c", finish, [DONE]


async def test_same_seed_same_bytes_other_seed_other_bytes() -> None:
    runs = []
    for seed in (7, 7, 8):
        async with Mock(Script(seed=seed)) as mock:
            runs.append([await talk(mock, post(CHAT, body(stream))) for stream in (False, True, False)])
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][0] != runs[0][2]  # ids differ from request to request


@both_loops
async def test_keep_alive_pipelining_and_expect_continue(mock: Mock) -> None:
    one = post(CHAT, body()).replace(b"connection: close\r\n", b"")
    expecting = one.replace(b"host: mock\r\n", b"host: mock\r\nexpect: 100-continue\r\n")
    got = await talk(mock, one + expecting + post(CHAT, body(stream=True)))
    assert got.count(b"HTTP/1.1 200 OK") == 3 and got.count(b"HTTP/1.1 100 Continue") == 1
    assert {one.connection_id for one in mock.received} == {1}
    await mock.wait_for(3, complete=True)
    assert mock.connections == {}


@both_loops
async def test_pipelined_slow_answers_keep_their_order_and_end_with_the_client(mock: Mock) -> None:
    mock.queue([Step(latency_ms=20, text="first"), Step(latency_ms=1, text="second"), Step(stall_after_events=1)])
    one = post(CHAT, body()).replace(b"connection: close\r\n", b"")
    got = await talk(mock, one + one + post(CHAT, body(stream=True)), seconds=0.3, until_eof=False)
    assert got.index(b"first") < got.index(b"second")
    third = (await mock.wait_for(3, complete=True))[2]
    assert third.closed_early and third.sent_events == 1
    await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) == 1


@both_loops
async def test_http_1_0_gets_no_chunks(mock: Mock) -> None:
    old = post(CHAT, body(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"connection: close\r\n", b"")
    _, headers, raw = parse(await talk(mock, old))
    assert "transfer-encoding" not in headers and raw.endswith(b"data: [DONE]\n\n")


@both_loops
async def test_not_http_gets_a_400_and_a_closed_connection(mock: Mock) -> None:
    status, headers, _ = parse(await talk(mock, b"\x16\x03\x01 nonsense\r\n\r\n"))
    assert (status, headers["connection"]) == (400, "close")


@both_loops
async def test_paths(mock: Mock) -> None:
    async def status(request: bytes) -> int:
        return parse(await talk(mock, request))[0]

    assert await status(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n") == 200
    head = await talk(mock, b"HEAD / HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert parse(head)[0] == 200 and parse(head)[2] == b""
    assert await status(post("/v1/nothing", b"{}")) == 404
    assert await status(post("/chat/completions", body())) == 200
    assert await status(post("/api/x/v1/chat/completions?api-version=1", body())) == 200
    assert await status(post("http://mock" + CHAT, body())) == 200
    assert mock.received[-1].path == CHAT
    upgrade = b"GET /v1/responses HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n"
    assert await status(upgrade) == 426
    assert mock.received[-2].query == ""


# ---- time ------------------------------------------------------------------------------------------------------------


@both_loops
async def test_latency_ttft_and_pace(mock: Mock) -> None:
    async def timed(stream: bool, **step: Any) -> tuple[float, float, float]:
        """Seconds to the head, to the first event, to the end."""
        mock.script = Script.always(**step)
        reader, writer = await asyncio.open_connection(mock.host, mock.port)
        start = time.perf_counter()
        writer.write(post(CHAT, body(stream)))
        await reader.readuntil(b"\r\n\r\n")
        head = time.perf_counter() - start
        await reader.read(1)
        first = time.perf_counter() - start
        await reader.read()
        writer.close()
        return head, first, time.perf_counter() - start

    head, first, _ = await timed(True, latency_ms=60, ttft_ms=60)
    assert 0.055 < head < 0.115 and 0.115 < first < 0.4
    _, first, end = await timed(True, tokens_per_second=50)  # five tokens: 0.1 s
    assert first < 0.09 and 0.095 < end < 0.4
    _, _, end = await timed(False, tokens_per_second=50)
    assert 0.095 < end < 0.4
    mock.script = Script.always(header_drip_ms=1)  # uvloop's timers count whole milliseconds
    start = time.perf_counter()
    assert parse(await talk(mock, b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"))[0] == 200
    assert time.perf_counter() - start > 0.1


@both_loops
async def test_stalls_hold_the_stream_until_the_client_leaves(mock: Mock) -> None:
    mock.script = Script.always(stall_after_events=2)
    got = await talk(mock, post(CHAT, body(stream=True)), seconds=0.15, until_eof=False)
    assert len(dechunk(parse(got)[2])[0]) == 2
    received = (await mock.wait_for(1, complete=True))[0]
    assert received.closed_early and not received.complete and received.sent_events == 2
    mock.script = Script.always(stall_after_bytes=10, stall_ms=50)
    start = time.perf_counter()
    assert json.loads(parse(await talk(mock, post(CHAT, body())))[2])["object"] == "chat.completion"
    assert time.perf_counter() - start > 0.045


@both_loops
async def test_a_slow_reader_stops_the_stream_and_gets_all_of_it(mock: Mock) -> None:
    mock.script = Script.always(length=30_000)
    reader, writer = await asyncio.open_connection(mock.host, mock.port, limit=1024)
    writer.write(post(CHAT, body(stream=True)))
    await asyncio.sleep(0.15)
    held = mock.received[0].sent_events
    assert 0 < held < 30_000
    got = b""
    while piece := await reader.read(1 << 20):
        got += piece
    writer.close()
    assert got.endswith(b"0\r\n\r\n") and got.count(b"data: ") == 30_003


# ---- cuts and hang-ups -----------------------------------------------------------------------------------------------


@both_loops
async def test_cuts(mock: Mock) -> None:
    chunks, ended = await streamed(mock, cut_after_events=3)
    assert (len(chunks), ended) == (3, False)
    chunks, ended = await streamed(mock, cut_after_events=3, cut="end")
    assert (len(chunks), ended) == (3, True)
    chunks, ended = await streamed(mock, cut_after_events=8)
    assert (chunks[-1], ended) == (b"data: [DONE]\n\n", False)
    chunks, ended = await streamed(mock, cut_after_bytes=50)
    assert (len(b"".join(chunks)), ended) == (50, False)
    _, headers, raw = await whole(mock, cut_after_bytes=50)
    assert len(raw) == 50 < int(headers["content-length"])
    mock.script = Script.always(cut_after_bytes=50, cut="rst")
    for stream in (False, True):
        reader, writer = await asyncio.open_connection(mock.host, mock.port)
        writer.write(post(CHAT, body(stream)))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        got = b""
        with pytest.raises(ConnectionResetError):
            while True:
                got += await reader.readexactly(1)
        writer.close()
        assert len(b"".join(dechunk(got)[0]) if stream else got) == 50
    assert not any(one.closed_early for one in mock.received)


@both_loops
async def test_hangups(mock: Mock) -> None:
    ends = {"before_answer": b"", "in_headers": b"\r\n", "after_headers": b"\r\n\r\n"}
    for hangup in ("before_answer", "in_headers", "after_headers"):
        mock.script = Script.always(hangup=hangup)
        with pytest.raises(ConnectionResetError):
            await talk(mock, post(CHAT, body()))
        mock.script = Script.always(hangup=hangup, cut="close")
        got = await talk(mock, post(CHAT, body()))
        assert got.startswith(b"HTTP/1.1 200") is (hangup != "before_answer")
        assert (ends[hangup] in got, b"\r\n\r\n" in got) == (True, hangup == "after_headers")


@both_loops
async def test_client_that_leaves_is_seen(mock: Mock) -> None:
    mock.script = Script.always(latency_ms=500)
    reader, writer = await asyncio.open_connection(mock.host, mock.port)
    writer.write(post(CHAT, body()))
    await mock.wait_for(1)
    writer.close()
    received = (await mock.wait_for(1, complete=True))[0]
    assert received.closed_early and mock.hangups == 1


@both_loops
async def test_idle_close_and_no_keep_alive(mock: Mock) -> None:
    request = post(CHAT, body()).replace(b"connection: close\r\n", b"")
    for stream_step in ({"idle_close_ms": 0}, {"idle_close_ms": 30}):
        mock.script = Script.always(**stream_step)
        got = await talk(mock, request)  # comes back only because the mock closes
        assert b"connection: close" not in got and b"chat.completion" in got
    mock.script = Script.always(keep_alive=False)
    assert b"connection: close" in await talk(mock, request)


# ---- framing ---------------------------------------------------------------------------------------------------------


@both_loops
async def test_framings(mock: Mock) -> None:
    _, headers, raw = await whole(mock, framing="close")
    assert "content-length" not in headers and json.loads(raw)["object"] == "chat.completion"
    _, headers, raw = await whole(mock, framing="chunked", split_bytes=10)
    chunks, ended = dechunk(raw)
    assert ended and {len(chunk) for chunk in chunks[:-1]} == {10} and json.loads(b"".join(chunks))
    _, headers, raw = await whole(mock, gzip=True)
    assert headers["content-encoding"] == "gzip" and json.loads(gzip.decompress(raw))["object"] == "chat.completion"
    chunks, _ = await streamed(mock, gzip=True)
    assert gzip.decompress(b"".join(chunks)).endswith(b"data: [DONE]\n\n")
    _, headers, raw = await whole(mock, wrong_length=7)
    assert int(headers["content-length"]) == len(raw) + 7
    _, _, raw = await whole(mock, extra_bytes="HTTP/1.1 200 OK\r\n")
    assert raw.endswith(b"}HTTP/1.1 200 OK\r\n")
    mock.script = Script.always(bad_chunk=True)
    assert b"\r\nZZ\r\n" in await talk(mock, post(CHAT, body(stream=True)))


@both_loops
async def test_heads(mock: Mock) -> None:
    _, headers, _ = await whole(mock, huge_header=9000, header_count=50)
    assert len(headers["x-mock-huge"]) == 9000 and headers["x-mock-49"] == "mock"
    _, headers, _ = await whole(mock, headers={"Server": "other", "x-request-id": None, "x-new": "1"})
    assert headers["server"] == "other" and headers["x-new"] == "1" and "x-request-id" not in headers
    mock.script = Script.always(interim=[102, 103])
    got = await talk(mock, post(CHAT, body()))
    assert [line.split()[1] for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.1")] == [b"102", b"103", b"200"]
    mock.script = Script.always(status_line="HTTP/9.9 nonsense")
    assert (await talk(mock, post(CHAT, body()))).startswith(b"HTTP/9.9 nonsense\r\nserver: penstock-mock\r\n")


# ---- malformed content -----------------------------------------------------------------------------------------------


@both_loops
async def test_malformed_bodies(mock: Mock) -> None:
    _, headers, raw = await whole(mock, malform=["wrong_content_type"])
    assert headers["content-type"] == "text/plain" and json.loads(raw)
    status, headers, raw = await whole(mock, malform="html", status=502)
    assert (status, headers["content-type"]) == (502, "text/html") and raw.startswith(b"<!DOCTYPE html>")
    _, headers, raw = await whole(mock, malform=["empty_body"])
    assert headers["content-length"] == "0" and raw == b""
    _, _, raw = await whole(mock, malform=["bad_json"])
    with pytest.raises(ValueError):
        json.loads(raw)
    _, _, raw = await whole(mock, malform=["invalid_utf8"])
    with pytest.raises(UnicodeDecodeError):
        raw.decode()
    _, _, raw = await whole(mock, malform=["bom"])
    assert raw.startswith(b"\xef\xbb\xbf{")
    made = json.loads((await whole(mock, malform=["no_finish_reason", "no_role"]))[2])["choices"][0]
    assert made["finish_reason"] is None and "role" not in made["message"]
    assert json.loads((await whole(mock, malform=["empty_choices"]))[2])["choices"] == []
    assert json.loads((await whole(mock, body={"detail": "Not Found"}, status=404))[2]) == {"detail": "Not Found"}
    assert (await whole(mock, body="plain words"))[2] == b"plain words"


@both_loops
async def test_malformed_streams(mock: Mock) -> None:
    async def events(fault: str) -> list[Any]:
        chunks, ended = await streamed(mock, malform=[fault])
        assert ended
        return [json.loads(data) if data.startswith(b"{") else data for data in datas(chunks)]

    def finishes(found: list[Any]) -> list[Any]:
        return [
            c["finish_reason"]
            for e in found
            if isinstance(e, dict)
            for c in e["choices"]
            if c["finish_reason"] is not None
        ]

    assert (await events("missing_done"))[-1] != b"[DONE]"
    assert finishes(await events("no_finish_reason")) == []
    assert finishes(await events("empty_finish_reason")) == [""]
    assert finishes(await events("duplicate_finish")) == ["stop", "stop"]
    assert "role" not in (await events("no_role"))[0]["choices"][0]["delta"]
    assert (await events("empty_choices"))[1]["choices"] == []
    twice = await events("duplicate_start")
    assert twice[0] == twice[1]
    assert b"\x00not json {{{" in await events("garbage_event")
    assert {"type": "mock.unknown", "mock": True} in await events("unknown_event")


@both_loops
async def test_malformed_sse_bytes(mock: Mock) -> None:
    async def raw(fault: str) -> bytes:
        return b"".join((await streamed(mock, malform=[fault]))[0])

    assert b"data:{" in await raw("no_space") and b"data: " not in await raw("no_space")
    assert (await raw("crlf")).endswith(b"data: [DONE]\r\n\r\n") and b"}\n" not in await raw("crlf")
    assert (await raw("cr")).endswith(b"data: [DONE]\r\r") and b"\n" not in await raw("cr")
    assert (await raw("comments")).startswith(b": mock comment\ndata: {")
    assert (await raw("bom")).startswith(b"\xef\xbb\xbfdata: ")
    assert "\u2028".encode() in await raw("u2028") and "\x85".encode() in await raw("u2028")
    assert (await raw("unterminated")).endswith(b"data: [DONE]\n")
    assert b'data: {\ndata: "id"' in await raw("split_data")
    broken = (await raw("bad_json")).split(b"\n\n")[2]
    with pytest.raises(ValueError):
        json.loads(broken[6:])
    with pytest.raises(UnicodeDecodeError):
        (await raw("invalid_utf8")).decode()


@both_loops
async def test_usage_on_every_chunk(mock: Mock) -> None:
    chunks, _ = await streamed(mock, usage="every_chunk")
    rows = [json.loads(data) for data in datas(chunks)[:-1]]
    assert all(row["usage"]["completion_tokens"] == 5 for row in rows)


# ---- which step ------------------------------------------------------------------------------------------------------


@both_loops
async def test_queue_rules_default_and_mix(mock: Mock) -> None:
    async def statuses(count: int, model: str = "m", *headers: str) -> list[int]:
        sent = json.dumps({**chat(), "model": model}).encode()
        return [parse(await talk(mock, post(CHAT, sent, *headers)))[0] for _ in range(count)]

    mock.script = Script(
        default=Step(headers={"x-default": "1"}),
        rules=(
            Rule(model="gpt-*", nth=(2,), step=Step(status=429)),
            Rule(header={"x-team": "a*"}, step=Step(status=403)),
            Rule(every=3, model="gpt-*", step=Step(status=500)),
        ),
    )
    mock.queue([Step(status=503), Step()])
    assert await statuses(2, "gpt-1") == [503, 200]
    # rule 1 takes the second; the third rule counts only what reaches it, so its third is the fourth request
    assert await statuses(5, "gpt-1") == [200, 429, 200, 500, 200]
    assert await statuses(1, "other", "x-team: alpha") == [403]
    assert b"x-default: 1" in await talk(mock, post(CHAT, body()))
    draws = []
    for seed in (1, 1, 2):
        mock.reset()
        mock.script = Script(seed=seed, mix=(Mix(weight=2), Mix(step=Step(status=500))))
        draws.append(await statuses(30))
    assert draws[0] == draws[1] != draws[2] and 3 <= draws[0].count(500) <= 17
