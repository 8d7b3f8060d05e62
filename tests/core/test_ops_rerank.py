"""Laws of rerank: every make of upstream says the same in its own words; and what audio and images are billed by."""

from __future__ import annotations

import json
import wave
from decimal import Decimal
from io import BytesIO

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.core.ops import audio, images, moderations, rerank


def fields(**values: object) -> dict[str, Raw]:
    return {key: Raw(msgspec.json.encode(value)) for key, value in values.items()}


def told_by(form: str, scores: list[float]) -> bytes:
    rows = list(enumerate(scores))
    if form == "tei":
        return json.dumps([{"index": n, "score": s} for n, s in rows]).encode()
    results = [{"index": n, "relevance_score": s} for n, s in rows]
    return json.dumps({"data" if form == "voyage" else "results": results, "usage": {"total_tokens": 4}}).encode()


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=12),
    st.sampled_from(["cohere", "jina", "voyage", "tei"]),
    st.one_of(st.none(), st.integers(1, 15)),
    st.booleans(),
)
def test_the_best_come_first_and_no_more_than_asked(scores, form, top, shown):
    documents = [f"d{n}" for n in range(len(scores))]
    asked = {"query": "q", "documents": documents, "return_documents": shown, **({"top_n": top} if top else {})}
    told = json.loads(rerank.answer(fields(**asked), rerank.read(told_by(form, scores)), "m", lambda prefix: prefix + "1"))
    ranked = sorted(range(len(scores)), key=lambda n: -scores[n])[:top]
    assert [row["relevance_score"] for row in told["results"]] == [scores[n] for n in ranked]
    assert all(scores[row["index"]] == row["relevance_score"] for row in told["results"])
    assert all(row.get("document") == ({"text": documents[row["index"]]} if shown else None) for row in told["results"])
    assert told["id"] and told["model"] == "m"


@pytest.mark.parametrize("body", [b"", b"{}", b"5", b'{"results":[{"index":0}]}', b'[{"index":"x","score":1}]', b"<html>"])
def test_what_is_no_ranking(body):
    with pytest.raises(GatewayError) as caught:
        rerank.read(body)
    assert caught.value.kind == "broken_answer"


def test_a_document_that_nobody_sent_is_a_broken_answer():
    ranked = rerank.read(b'{"results":[{"index":7,"relevance_score":1}]}')
    with pytest.raises(GatewayError) as caught:
        rerank.answer(fields(query="q", documents=["a"]), ranked, "m", str)
    assert caught.value.kind == "broken_answer"


def test_coheres_own_meta_stays():
    ranked = rerank.read(b'{"id":"i","results":[],"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":3}}}')
    told = json.loads(rerank.answer(fields(query="q", documents=["a"]), ranked, "m", str))
    assert ranked.searches == 3 and told["meta"]["api_version"] == {"version": "2"} and told["id"] == "i"


def test_a_moderation_keeps_what_it_does_not_know():
    body, usage = moderations.answer(b'{"id":"x","model":"real","results":[{"flagged":false,"new":1}],"usage":{"prompt_tokens":3}}', Raw(b'"m"'))
    assert json.loads(body)["results"] == [{"flagged": False, "new": 1}] and json.loads(body)["model"] == "m"
    assert usage is not None and usage.fresh == 3


def test_images_count_by_size_or_by_tokens():
    usage, units = images.read(b'{"data":[{},{}]}', fields(prompt="x", size="512x512"))
    assert usage is None and units is not None and (units.images, units.size) == (2, "512x512")
    usage, units = images.read(b'{"data":[{}],"usage":{"input_tokens":5,"output_tokens":9}}', fields(prompt="x"))
    assert units is None and usage is not None and (usage.fresh, usage.output) == (5, 9)


@pytest.mark.parametrize(
    ("kind", "body", "seconds"),
    [
        (b"application/json", b'{"text":"x","usage":{"type":"duration","seconds":3.5}}', "3.5"),
        (b"application/json", b'{"text":"x","duration":"7.25"}', "7.25"),
        (b"text/plain", b"1\n00:00:00,000 --> 00:00:04,500\na\n\n2\n00:00:04,500 --> 01:02:03,250\nb\n", "3723.250"),
        (b"text/vtt", b"WEBVTT\n\n00:01.000 --> 00:09.000\nx\n", "9.000"),
    ],
)
def test_how_long_a_sound_was(kind, body, seconds):
    assert audio.heard(kind, body).units.seconds == Decimal(seconds)


def test_plain_text_tells_no_length():
    assert audio.heard(b"text/plain", b"hello") == audio.Used()


@given(st.integers(1, 4000), st.sampled_from([8000, 16000, 44100]))
def test_a_wav_file_tells_its_length(samples, rate):
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(b"\0\0" * samples)
    assert audio.wav_seconds(memoryview(file.getvalue())) == (Decimal(samples) / rate).quantize(Decimal("0.001"))


@given(st.binary(max_size=80))
def test_any_bytes_are_measured_without_a_fault(data):
    assert audio.wav_seconds(memoryview(data)) is None
    length = audio.wav_seconds(memoryview(b"RIFF0000WAVE" + data))
    assert length is None or length >= 0
