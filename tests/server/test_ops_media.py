"""Moderations, images, forms and sound through the quick door: what the upstream is asked, what the client gets, what is
billed, and what happens when it breaks."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from penstock.mock import Script, Step
from tests.door import open_door
from tests.server.test_ops import decoded, yaml

# ---- moderations


@pytest.mark.parametrize("path", ["/v1/moderations", "/moderations"])
async def test_moderations(path, tmp_path):
    async with open_door(tmp_path, yaml("openai/omni-moderation-latest")) as door:
        status, headers, body = await door.post({"input": ["hello", "we attack at dawn"]}, path)
        told = decoded(body)
        assert status == 200 and [row["flagged"] for row in told["results"]] == [False, True]
        assert told["model"] == "m" and headers["x-litellm-response-cost"] == "0"
        assert door.mock.received[0].json == {"input": ["hello", "we attack at dawn"], "model": "omni-moderation-latest"}


async def test_a_moderation_without_a_model_anywhere_says_so(tmp_path):
    async with open_door(tmp_path) as door:
        status, _, body = await door.post({"input": "x"}, "/v1/moderations")
        assert status == 400 and "'model' is missing" in decoded(body)["error"]["message"]


async def test_the_configured_moderation_model_is_asked(tmp_path):
    text = yaml() + "general_settings: {moderation_model: m}\n"
    async with open_door(tmp_path, text) as door:
        status, _, _ = await door.post({"input": "x"}, "/v1/moderations")
        assert status == 200 and door.mock.received[0].json["model"] == "real-model"


async def test_a_verdict_without_flagged_gets_one(tmp_path):
    async with open_door(tmp_path) as door:
        door.mock.script = Script.always(body={"id": "x", "model": "y", "results": [{"categories": {"pii": True}}, {"categories": {"pii": False}}]})
        _, _, body = await door.post({"model": "m", "input": "x"}, "/v1/moderations")
        assert [row["flagged"] for row in decoded(body)["results"]] == [True, False]


# ---- images


@pytest.mark.parametrize("path", ["/v1/images/generations", "/images/generations"])
async def test_images_are_billed_by_the_picture_or_by_tokens(path, tmp_path):
    async with open_door(tmp_path, yaml("openai/dall-e-x", output_cost_per_image="0.04")) as door:
        status, headers, body = await door.post({"model": "m", "prompt": "a cat", "n": 2}, path)
        assert status == 200 and len(decoded(body)["data"]) == 2
        assert headers["x-litellm-response-cost"] == "0.08"
        assert door.mock.received[0].path == "/v1/images/generations"
    async with open_door(tmp_path, yaml("openai/gpt-image-1")) as door:
        _, headers, body = await door.post({"model": "m", "prompt": "a cat"}, path)
        usage = decoded(body)["usage"]
        cost = usage["input_tokens"] * Decimal("5e-6") + usage["output_tokens"] * Decimal("4e-5")
        assert door.records[0].cost == cost and door.records[0].usage.output == 100


async def test_streamed_images_pass_and_are_counted(tmp_path):
    async with open_door(tmp_path, yaml("openai/gpt-image-1")) as door:
        _, headers, body = await door.post({"model": "m", "prompt": "a cat", "stream": True}, "/v1/images/generations")
        assert headers["content-type"].startswith("text/event-stream")
        assert body.count(b"event: image_generation.") == 2 and door.records[0].usage.output == 100


# ---- forms: image edits, transcriptions, translations

BOUNDARY = "xYzBoundary"
WAV = b"RIFF" + b"\x00" * 4 + b"WAVEfmt " + (16).to_bytes(4, "little") + b"\x01\x00\x01\x00" + (8000).to_bytes(4, "little") + (16000).to_bytes(4, "little") + b"\x02\x00\x10\x00data" + (32000).to_bytes(4, "little") + b"\x01\x02" * 16000  # fmt: skip


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    out = b""
    for name, filename, data in parts:
        extra = f'; filename="{filename}"\r\nContent-Type: audio/wav' if filename else ""
        out += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + data + b"\r\n"
    return out + f"--{BOUNDARY}--\r\n".encode()


async def send_form(door, path: str, body: bytes, **headers: str):
    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}", **headers}
    return await door.ask("POST", path, body, kind)


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/audio/transcriptions", "/v1/audio/translations", "/audio/translations"])
async def test_a_transcription_reaches_the_upstream_with_its_own_model(path, tmp_path):
    async with open_door(tmp_path, yaml("openai/whisper-1")) as door:
        body = form(("file", "a.wav", WAV), ("model", None, b"m"), ("language", None, b"en"), ("tags", None, b"x"))
        status, headers, answer = await send_form(door, path, body)
        assert status == 200 and decoded(answer)["text"] == f"mock heard {len(WAV)} bytes of a.wav"
        [sent] = door.mock.received
        assert sent.path == "/v1" + path.removeprefix("/v1")
        assert sent.header("content-length") == str(len(sent.body)) and sent.header("transfer-encoding") is None
        assert b"\r\n\r\nwhisper-1\r\n" in sent.body and WAV in sent.body and b"\r\n\r\nen\r\n" in sent.body
        assert b'"tags"' not in sent.body, "a field for the gateway"
        assert door.records[0].cost == 2 * Decimal("0.0001") and headers["x-litellm-response-cost"] == "0.0002"


@pytest.mark.parametrize(("kind", "starts"), [("text", b"mock heard"), ("srt", b"1\n00:00"), ("vtt", b"WEBVTT"), ("verbose_json", b"{")])
async def test_every_format_of_a_transcription_is_billed(kind, starts, tmp_path):
    async with open_door(tmp_path, yaml("openai/whisper-1")) as door:
        body = form(("model", None, b"m"), ("response_format", None, kind.encode()), ("file", "a.wav", WAV))
        status, headers, answer = await send_form(door, "/v1/audio/transcriptions", body)
        assert status == 200 and answer.startswith(starts)
        assert headers["content-type"].startswith("application/json" if starts == b"{" else "text/plain")
        assert door.records[0].cost == 2 * Decimal("0.0001")


async def test_a_streamed_transcription(tmp_path):
    async with open_door(tmp_path, yaml("openai/gpt-4o-transcribe")) as door:
        body = form(("model", None, b"m"), ("stream", None, b"true"), ("file", "a.wav", WAV))
        status, headers, answer = await send_form(door, "/v1/audio/transcriptions", body)
        assert status == 200 and headers["content-type"].startswith("text/event-stream")
        assert b"transcript.text.delta" in answer and b"transcript.text.done" in answer
        assert door.records[0].usage.audio_in == 20 and door.records[0].stream and door.records[0].cost > 0


async def test_a_form_is_sent_again_on_a_retry(tmp_path):
    async with open_door(tmp_path, yaml("openai/whisper-1").replace("num_retries: 0", "num_retries: 1")) as door:
        door.mock.queue([Step(status=503)])
        body = form(("model", None, b"m"), ("file", "a.wav", WAV))
        status, _, _ = await send_form(door, "/v1/audio/transcriptions", body)
        first, second = door.mock.received
        assert status == 200 and first.body == second.body


async def test_image_edits_take_forms_and_json(tmp_path):
    async with open_door(tmp_path, yaml("openai/gpt-image-1")) as door:
        body = form(("image[]", "a.png", b"\x89PNG1"), ("image[]", "b.png", b"\x89PNG2"), ("prompt", None, b"merge"), ("model", None, b"m"))
        status, _, answer = await send_form(door, "/v1/images/edits", body)
        assert status == 200 and decoded(answer)["data"][0]["b64_json"]
        assert door.mock.received[0].body.count(b"\x89PNG") == 2
        status, _, _ = await door.post({"model": "m", "prompt": "p", "images": [{"image_url": "x"}]}, "/v1/images/edits")
        assert status == 200 and door.mock.received[1].json["model"] == "gpt-image-1"
        assert door.mock.received[1].header("content-type") == "application/json"


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        (b"{}", "application/json", 415, "must be a form"),
        (b"x", "multipart/form-data", 415, "with a boundary"),
        (b"x", f"multipart/form-data; boundary={BOUNDARY}", 400, "its boundary is not in it"),
        (form(("model", None, b"m"))[:-20], f"multipart/form-data; boundary={BOUNDARY}", 400, "cut short"),
        (form(("file", "a", b"x")), f"multipart/form-data; boundary={BOUNDARY}", 400, "'model' is missing"),
        (form(("model", None, b"m"), ("model", None, b"n")), f"multipart/form-data; boundary={BOUNDARY}", 400, "stands twice"),
        (form(("model", "f", b"m")), f"multipart/form-data; boundary={BOUNDARY}", 400, "is a file in this form"),
    ],
)
async def test_bad_forms_never_reach_an_upstream(body, kind, status, says, tmp_path):
    async with open_door(tmp_path) as door:
        got, _, answer = await door.ask("POST", "/v1/audio/transcriptions", body, {"content-type": kind})
        assert got == status and says in decoded(answer)["error"]["message"] and not door.mock.received


async def test_a_web_page_may_not_send_forms_to_an_open_gateway(tmp_path):
    """A form is a request that a browser sends without asking first; its Origin is what gives it away."""
    async with open_door(tmp_path) as door:
        body = form(("model", None, b"m"), ("file", "a.wav", WAV))
        status, _, _ = await send_form(door, "/v1/audio/transcriptions", body, origin="https://evil.example")
        assert status == 403 and not door.mock.received


# ---- speech


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/audio/speech"])
async def test_speech_is_streamed_and_billed_by_the_character(path, tmp_path):
    async with open_door(tmp_path, yaml("openai/tts-1")) as door:
        status, headers, body = await door.post({"model": "m", "input": "Hello there", "voice": "alloy"}, path)
        assert status == 200 and headers["content-type"] == "audio/mpeg" and body[:4] == b"RIFF"
        assert headers["transfer-encoding"] == "chunked" and headers["x-litellm-call-id"]
        [record] = door.records
        assert record.cost == 11 * Decimal("1.5e-5") and record.bytes_out == len(body)
        assert door.mock.received[0].json == {"model": "tts-1", "input": "Hello there", "voice": "alloy"}
        await door.settle()


async def test_speech_that_breaks_off_is_cut_off_and_never_ends_well(tmp_path):
    async with open_door(tmp_path, yaml("openai/tts-1")) as door:
        door.mock.script = Script.always(cut_after_bytes=2000)
        body = json.dumps({"model": "m", "input": "Hello there, this is long", "voice": "alloy"}).encode()
        head = b"POST /v1/audio/speech HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        answer = await door.raw(head % len(body) + body)
        assert answer.startswith(b"HTTP/1.1 200") and not answer.endswith(b"0\r\n\r\n") and b'"error"' not in answer
        await door.settle()
        [record] = door.records
        assert record.error in ("broken_stream", "broken_answer") and record.fault == "upstream"


async def test_speech_errors_before_the_first_sound_are_json(tmp_path):
    async with open_door(tmp_path, yaml("openai/tts-1")) as door:
        door.mock.script = Script.always(status=429, error="Slow down.")
        status, headers, body = await door.post({"model": "m", "input": "x", "voice": "alloy"}, "/v1/audio/speech")
        assert status == 429 and "Slow down." in decoded(body)["error"]["message"] and headers["retry-after"]
        status, _, body = await door.post({"model": "m", "voice": "alloy"}, "/v1/audio/speech")
        assert status == 400 and "'input' is missing" in decoded(body)["error"]["message"]


async def test_speech_as_events(tmp_path):
    async with open_door(tmp_path, yaml("openai/gpt-4o-mini-tts")) as door:
        asked = {"model": "m", "input": "Hello", "voice": "alloy", "stream_format": "sse"}
        _, headers, body = await door.post(asked, "/v1/audio/speech")
        assert headers["content-type"].startswith("text/event-stream") and b"speech.audio.done" in body
        assert door.records[0].usage.output == 10


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/moderations", "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/images/generations", "/v1/completions"])
async def test_every_operation_wants_a_key_and_a_post(path, tmp_path):
    async with open_door(tmp_path, master_key="sk-master") as door:
        status, _, body = await door.post({"model": "m"}, path)
        assert status == 401 and "error" in decoded(body)
        status, headers, _ = await door.ask("GET", path, headers={"authorization": "Bearer sk-master"})
        assert status == 405 and headers["allow"] == "POST" and not door.mock.received
