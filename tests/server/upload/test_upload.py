"""Uploads through the quick door: what the upstream gets, in which order things happen, what is billed."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest
from openai import AsyncOpenAI, AuthenticationError

from penstock.core.ops import forms
from penstock.runtime.ops import upload as uploads
from tests.door import Door, open_door, until
from tests.server.books import open_books
from tests.server.test_leaks import nothing_stays
from tests.server.upload.ear import (
    BOUNDARY,
    END,
    JSON,
    MIB,
    Ear,
    Sender,
    answer,
    chunked,
    head,
    part,
    upload,
    yaml,
)

pytestmark = pytest.mark.asyncio
FILE = bytes(range(256)) * (12 * 1024)  # 3 MiB
PATHS = ["/v1/audio/transcriptions", "/audio/transcriptions", "/v1/audio/translations", "/audio/translations"]


def told(body: bytes) -> list[tuple[str, str | None, bytes]]:
    return [(one.name, one.filename, body[one.start : one.end]) for one in forms.parts(body, BOUNDARY)]


@pytest.mark.parametrize("path", PATHS)
async def test_the_file_is_on_its_way_before_all_of_it_has_come(path, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        front = part("model", b"m") + part("language", b"en") + part("tags", b"mine") + part("file", FILE, "a.wav")[:-2]
        body = front + b"\r\n" + END
        async with Sender(door) as client:
            await client.send(head(len(body), path), body[: 2 * MIB])
            await until(lambda: bool(ear.requests) and ear.requests[0].size > MIB)
            [heard] = ear.requests
            await client.send(body[2 * MIB :])
            status, _, said = await client.one()
        wanted = body.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nwhisper-1\r\n").replace(part("tags", b"mine"), b"")
        assert (status, said) == (200, JSON)
        assert heard.length == heard.size == len(wanted) and heard.last == wanted[-20_000:]
        assert heard.first == wanted[:20_000] and heard.head.startswith(b"post /v1" + path.removeprefix("/v1").encode())
        assert heard.head.count(b"content-type: multipart/form-data") == 1
        [record] = door.records
        assert record.status == 200 and record.bytes_in == len(body) and record.tries == 1 and record.model == "m"


@pytest.mark.parametrize("whole", [True, False])
async def test_an_upload_of_a_key_with_a_budget_is_answered_charged_and_kept_from_exceeding_it(tmp_path, whole):
    body = part("model", b"m") + part("file", FILE, "a.wav") + END
    async with Ear() as ear, open_books(tmp_path, yaml(ear)) as door:
        key = await door.key("rich", max_budget=1000.0, rpm_limit=9)
        status, lines, said = await upload(door, body, whole=whole, authorization=f"Bearer {key}")
        assert (status, said) == (200, JSON), said
        assert lines["x-ratelimit-api_key-remaining-requests"] == "8"
        [entry] = await door.stored()
        assert entry.accounts[0] == door.account(key) and entry.model == "m" and entry.status == 200
        poor = await door.key("poor", max_budget=1e-9)
        status, _, said = await upload(door, body, whole=whole, authorization=f"Bearer {poor}")
        assert status == 422 and json.loads(said)["error"]["type"] == "budget_exceeded" and len(ear.requests) == 1


@pytest.mark.parametrize("order", ["model first", "file first"])
@pytest.mark.parametrize("whole", [True, False])
async def test_every_order_and_framing_gives_the_upstream_the_same_form(order, whole, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        parts = [part("model", b"m"), part("file", FILE, "a.wav"), part("response_format", b"json")]
        if order == "file first":
            parts = [parts[1], parts[2], parts[0]]
        body = b"".join(parts) + END
        status, headers, said = await upload(door, body, whole=whole)
        assert (status, said) == (200, JSON) and headers["x-litellm-response-cost"] == "0.0007"
        [heard] = ear.requests
        wanted = body.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nwhisper-1\r\n")
        assert heard.size == len(wanted) and heard.last == wanted[-20_000:] and heard.first == wanted[:20_000]
        # A length can be told unless nobody knows it: many servers want one.
        assert heard.length == (None if order == "model first" and not whole else len(wanted))
        assert door.records[0].cost == 7 * Decimal("0.0001") and door.records[0].bytes_in == len(body)


@pytest.mark.parametrize("whole", [True, False])
async def test_a_small_form_is_held_and_its_length_told(whole, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear, retries=1)) as door:
        ear.says = [answer(503, b"{}"), answer()]
        body = part("model", b"m") + part("file", b"x" * 900_000, "a.wav") + END
        status, headers, _ = await upload(door, body, whole=whole)
        assert status == 200 and headers["x-litellm-attempted-retries"] == "1"
        first, second = ear.requests
        assert first.length == second.length == second.size and first.hash.digest() == second.hash.digest()
        assert door.records[0].bytes_in == len(body)


async def test_fields_behind_the_file_count_and_the_length_is_kept(tmp_path):
    more = ", language: de, temperature: 0"
    async with Ear() as ear, open_door(tmp_path, yaml(ear, model="openai/gpt-4o-transcribe", more=more)) as door:
        ear.says = [answer(200, b'data: {"type":"transcript.text.done","text":"x"}\n\n', b"text/event-stream")]
        body = part("model", b"m") + part("file", FILE, "a.wav")
        body += part("tags", b"mine") + part("language", b"en") + part("stream", b"true") + END
        status, headers, said = await upload(door, body)
        assert status == 200 and headers["content-type"].startswith("text/event-stream") and b"transcript.text.done" in said
        [heard] = ear.requests
        end = heard.last[heard.last.rindex(b"\x00\x01\x02") :]
        assert b'"tags"' not in end and end.count(b'"language"') == 1 and b"\r\n\r\nen\r\n" in end
        assert b"\r\n\r\ntrue\r\n" in end and b'name="temperature"\r\n\r\n0' in end
        assert heard.length == heard.size and end.rstrip(b" \r\n").endswith(b"--" + BOUNDARY + b"--")
        assert door.records[0].stream


@pytest.mark.parametrize("late", [part("model", b"other"), part("api_key", b"sk-mine"), part("model", b"x", "f"), b""])
async def test_what_must_not_stand_behind_the_file_ends_the_upload(late, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        body = part("model", b"m") + part("file", FILE, "a.wav") + late + (END if late else b"")
        status, _, said = await upload(door, body)
        message = json.loads(said)["error"]["message"]
        assert status == 400 and ("twice" in message or "may not be set" in message or "file in this form" in message or "cut short" in message)
        [heard] = ear.requests
        await until(heard.gone.is_set)
        assert not heard.complete and b"sk-mine" not in heard.last
        await door.settle()
        assert door.records[0].fault == "client" and door.records[0].provider == "openai"


async def test_a_form_without_a_model_says_so(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        status, _, said = await upload(door, part("file", FILE, "a.wav") + END)
        assert status == 400 and "'model' is missing" in json.loads(said)["error"]["message"] and not ear.requests


@pytest.mark.parametrize("path", ["/v1/images/edits", "/images/edits"])
async def test_image_edits_are_passed_on_too_and_billed_by_a_size_behind_the_image(path, tmp_path):
    text = yaml("{mock}", model="openai/dall-e-x", more=", output_cost_per_image: 0.04")
    async with open_door(tmp_path, text) as door:
        fields = part("model", b"m") + part("prompt", b"a hat")
        image = part("image", FILE, "a.png") + part("size", b"512x512")
        for body in (fields + image, image + fields):
            status, headers, said = await upload(door, body + END, path=path)
            assert status == 200 and json.loads(said)["data"] and headers["x-litellm-response-cost"] == "0.04"
            sent = [(name, filename) for name, filename, _ in told(door.mock.received.pop().body)]
            assert sent == [(name, filename) for name, filename, _ in told(body + END)]
        # JSON with the image in it is held as a whole, whatever its size.
        big = json.dumps({"model": "m", "prompt": "p", "images": [{"image_url": "x" * 2 * MIB}]}).encode()
        status, _, _ = await door.post(big, path)
        assert status == 200 and door.mock.received[0].json["model"] == "dall-e-x"


def wav(seconds: int) -> bytes:
    """With a head that tells no length, as of a recording that was streamed."""
    head = b"RIFF\xff\xff\xff\xffWAVEfmt " + (16).to_bytes(4, "little") + b"\x01\x00\x01\x00"
    head += (8000).to_bytes(4, "little") + (16000).to_bytes(4, "little") + b"\x02\x00\x10\x00data\xff\xff\xff\xff"
    return head + b"\x01\x02" * 8000 * seconds


@pytest.mark.parametrize("order", ["model first", "file first"])
async def test_a_text_answer_is_billed_by_the_length_of_the_sound(order, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        ear.says = [answer(200, b"heard\n", b"text/plain")]
        parts = [part("model", b"m"), part("response_format", b"text"), part("file", wav(200), "a.wav")]
        body = b"".join(parts if order == "model first" else reversed(parts)) + END
        status, headers, said = await upload(door, body)
        assert (status, said, headers["content-type"]) == (200, b"heard\n", "text/plain")
        assert door.records[0].cost == 200 * Decimal("0.0001") and headers["x-litellm-response-cost"] == "0.02"


@pytest.mark.parametrize("kind", ["srt", "vtt", "verbose_json"])
async def test_every_format_of_an_answer_passes_and_is_billed(kind, tmp_path):
    text = yaml("{mock}")
    async with open_door(tmp_path, text) as door:
        body = part("model", b"m") + part("response_format", kind.encode()) + part("file", wav(100), "a.wav") + END
        status, _, said = await upload(door, body)
        assert status == 200 and said.startswith({"srt": b"1\n00:00", "vtt": b"WEBVTT", "verbose_json": b"{"}[kind])
        assert door.records[0].cost is not None and door.records[0].cost > 0


# ---- connections


async def test_the_connection_serves_what_comes_before_and_behind_an_upload(tmp_path):
    async with open_door(tmp_path, yaml("{mock}", model="openai/gpt-4o-transcribe")) as door:
        small = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
        chat = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(small), small)
        body = part("model", b"m") + part("file", FILE, "a.wav") + END
        held = part("model", b"m") + part("file", b"x" * 1000, "a.wav") + END
        async with Sender(door) as client:
            # Pipelined: nobody waits for an answer before the next request.
            sending = asyncio.ensure_future(
                client.send(chat, head(len(body)) + body, chat, head(None) + chunked(held), head(None) + chunked(body), chat)
            )
            answers = [await client.one() for _ in range(6)]
            await sending
        assert [status for status, _, _ in answers] == [200] * 6
        assert [b"mock heard" in said for _, _, said in answers] == [False, True, False, True, True, False]
        await door.settle()
        assert len(door.records) == 6 and [record.bytes_in for record in door.records][1:5] == [len(body), len(small), len(held), len(body)]


async def test_who_waits_for_a_continue_gets_one_when_the_body_is_wanted(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear), master_key="sk-master") as door:
        body = part("model", b"m") + part("file", FILE, "a.wav") + END
        expects = b"expect: 100-continue\r\nauthorization: Bearer sk-master\r\n"
        async with Sender(door) as client:
            await client.send(head(len(body), more=expects))
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(body)
            status, _, _ = await client.one()
            assert status == 200


@pytest.mark.parametrize(
    ("path", "more", "length", "status"),
    [
        ("/v1/audio/transcriptions", b"", 5 * MIB, 401),
        ("/v1/audio/transcriptions", b"authorization: Bearer sk-wrong\r\n", None, 401),
        ("/v1/audio/transcriptions", b"authorization: Bearer sk-master\r\n", 11 * MIB, 413),
        ("/v1/chat/completions", b"authorization: Bearer sk-master\r\n", 33 * MIB, 413),
    ],
)
async def test_who_may_not_send_is_told_before_the_body(path, more, length, status, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear), master_key="sk-master", max_upload=10 * MIB) as door:
        async with Sender(door) as client:
            await client.send(head(length, path, more + b"expect: 100-continue\r\n"))
            got, headers, said = await client.answer()
            assert got == status and headers["connection"] == "close" and "error" in json.loads(said)
        await door.settle()
        assert not ear.requests and [record.status for record in door.records] == [status]


async def test_no_page_and_no_surface_takes_an_upload_by_mistake(tmp_path):
    async with open_door(tmp_path) as door:
        body = part("model", b"m") + part("file", FILE, "a.wav") + END
        for path, status in (("/v1/audio/transcription", 404), ("/v1/chat/completions", 415), ("/v1/images/generations", 415)):
            got, _, said = await upload(door, body, path=path)
            assert got == status and "error" in json.loads(said), path
        assert not door.mock.received


@pytest.mark.parametrize("order", ["model first", "file first"])
async def test_an_upload_over_the_limit_is_ended_where_it_passes_it(order, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear), max_upload=4 * MIB) as door:
        baseline = asyncio.all_tasks()
        parts = [part("model", b"m"), part("file", FILE * 4, "a.wav")]
        body = b"".join(parts if order == "model first" else reversed(parts)) + END
        status, headers, said = await upload(door, body, whole=False)
        assert status == 413 and headers["connection"] == "close"
        assert "general_settings.max_file_size_mb" in json.loads(said)["error"]["message"]
        assert all(not heard.complete for heard in ear.requests)
        await settled(door, baseline)
        assert door.records[0].error == "too_large" and not door.records[0].provider.startswith("x")


async def settled(door: Door, baseline: set[asyncio.Task]) -> None:
    known = {task for task in asyncio.all_tasks() if "Ear._serve" in repr(task.get_coro())}
    await nothing_stays(door, baseline | known)


async def test_a_lower_limit_for_all_requests_is_one_for_uploads_too(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear), max_body=2 * MIB) as door:
        status, _, _ = await upload(door, part("model", b"m") + part("file", FILE, "a.wav") + END)
        assert status == 413 and not ear.requests


async def test_the_disk_may_be_full_and_the_error_says_what_helps(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("penstock.runtime.ops.spool.tempfile.TemporaryFile", full)
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        parts = [part("model", b"m"), part("file", FILE, "a.wav")]
        status, _, said = await upload(door, parts[1] + parts[0] + END)
        message = json.loads(said)["error"]["message"]
        assert status == 500 and "No space left" in message and "'model' before the file" in message
        status, _, _ = await upload(door, parts[0] + parts[1] + END)
        assert status == 200 and len(ear.requests) == 1


async def test_a_streamed_answer_does_not_begin_with_a_sign_of_life_in_the_middle_of_an_upload(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        body = part("model", b"m") + part("stream", b"true") + part("file", FILE, "a.wav") + END
        async with Sender(door) as client:
            await client.send(head(len(body)), body[:MIB])
            await until(lambda: bool(ear.requests))
            now = door.gateway.clock()
            door.gateway.clock = lambda: now + 60
            door.gateway.tick()
            [exchange] = door.gateway.active
            assert not exchange.responded
            await client.send(body[MIB:])
            status, _, said = await client.one()
            assert status == 200 and said == JSON


@pytest.mark.parametrize("size", [500_000, 20 * MIB])
async def test_openais_own_client_uploads_and_hears_an_early_refusal(size, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear), master_key="sk-master") as door:
        client = AsyncOpenAI(base_url=door.url + "/v1", api_key="sk-master", max_retries=0)
        heard = await client.audio.transcriptions.create(model="m", file=("a.wav", b"x" * size), language="en")
        assert heard.text == "heard" and ear.requests[0].size == ear.requests[0].length > size
        stranger = client.with_options(api_key="sk-wrong")
        with pytest.raises(AuthenticationError, match="not valid for this gateway"):
            await stranger.audio.transcriptions.create(model="m", file=("a.wav", b"x" * size))
        await client.close()
        await door.settle()
        assert [record.status for record in door.records] == [200, 401] and len(ear.requests) == 1


async def test_the_bound_is_what_the_docs_say():
    assert uploads.HELD == MIB
