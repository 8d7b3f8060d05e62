"""xAI: https://docs.x.ai/docs/guides/reasoning , https://docs.x.ai/docs/api-reference#chat-completions ."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.mock import Step
from tests.core.providers.quirks.vendor import chunk, stream, vendor, whole

PENALTIES = {"presence_penalty": 0.1, "frequency_penalty": 0.1, "stop": ["x"]}
# completion_tokens without the reasoning, total_tokens with it
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 3,
    "total_tokens": 33,
    "prompt_tokens_details": {"text_tokens": 10, "cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 20},
    "num_sources_used": 2,
}
SOURCES = ["https://a.test/1", "https://b.test/2"]


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ("grok-4", True),
        ("grok-4-fast-reasoning", True),
        ("grok-4.3", True),
        ("grok-code-fast-1", True),
        ("grok-3-mini", True),
        ("grok-4-fast-non-reasoning", False),
        ("grok-4.20-0309-non-reasoning", False),
        ("grok-3", False),
    ],
)
async def test_models_that_reason_refuse_penalties_and_stop(tmp_path: Path, model: str, refused: bool) -> None:
    async with vendor(tmp_path, f"xai/{model}") as xai:
        assert PENALTIES.items() <= (await xai.chat(**PENALTIES)).wire.items()  # left for the vendor to refuse
    async with vendor(tmp_path, f"xai/{model}", drop_params=True) as xai:
        chat, messages = await xai.chat(**PENALTIES), await xai.messages(stop_sequences=["x"])
    assert chat.dropped == (sorted(PENALTIES) if refused else [])
    assert ("stop" in messages.wire) is not refused


@pytest.mark.parametrize(
    ("model", "efforts"),
    [
        ("grok-3-mini", {"none": "low", "minimal": "low", "medium": "low", "high": "high"}),
        ("grok-4.3", {"none": "none", "minimal": "low", "medium": "medium", "xhigh": "high"}),
        ("grok-4.5", {"none": "low", "low": "low", "max": "high"}),
        ("grok-4.20-multi-agent", {"xhigh": "xhigh", "max": "xhigh", "minimal": "low"}),
    ],
)
async def test_efforts_differ_by_model(tmp_path: Path, model: str, efforts: dict[str, str]) -> None:
    # https://docs.x.ai/developers/model-capabilities/text/reasoning
    async with vendor(tmp_path, f"xai/{model}") as xai:
        for asked_for, sent in efforts.items():
            asked = await xai.chat(reasoning_effort=asked_for)
            assert asked.wire["reasoning_effort"] == sent
            assert asked.dropped == (["reasoning_effort"] if sent != asked_for else [])


@pytest.mark.parametrize("model", ["grok-4", "grok-4.20-reasoning", "grok-4-1-fast-reasoning", "grok-3"])
async def test_most_models_refuse_an_effort(tmp_path: Path, model: str) -> None:
    # "Specifying reasoning_effort parameter will get an error response"
    async with vendor(tmp_path, f"xai/{model}") as xai:
        messages = await xai.messages(thinking={"type": "enabled", "budget_tokens": 4096})
        chat = await xai.chat(reasoning_effort="low")
    assert "reasoning_effort" not in messages.wire and "reasoning_effort" in messages.dropped
    assert chat.wire["reasoning_effort"] == "low"


async def test_own_fields_pass(tmp_path: Path) -> None:
    own = {"search_parameters": {"mode": "auto"}, "deferred": False, "max_completion_tokens": 9}
    async with vendor(tmp_path, "xai/grok-4") as xai:
        assert own.items() <= (await xai.chat(**own)).wire.items()


async def test_reasoning_is_counted_beside_the_completion(tmp_path: Path) -> None:
    answer = whole({"content": "Four.", "reasoning_content": "Two and two."}, usage=USAGE)
    async with vendor(tmp_path, "xai/grok-3-mini") as xai:
        xai.answers(answer, answer)
        chat, messages = await xai.chat(), await xai.messages()
        records = xai.door.records
    assert chat.body["usage"] == USAGE and messages.blocks["thinking"]["thinking"] == "Two and two."
    assert messages.body["usage"]["output_tokens"] == 23
    for record in records:
        used = record.usage
        assert used is not None
        assert (used.fresh, used.cache_read, used.output, used.reasoning) == (6, 4, 23, 20)


async def test_citations_of_a_whole_answer(tmp_path: Path) -> None:
    # https://docs.x.ai/docs/guides/live-search#returning-citations : a list of URLs beside the choices
    answer = whole({"content": "So it is [1] and was [2]."}, citations=SOURCES)
    async with vendor(tmp_path, "xai/grok-4") as xai:
        xai.answers(answer, answer)
        chat, messages = await xai.chat(), await xai.messages()
    assert chat.body["citations"] == SOURCES
    first, second = (note["url_citation"] for note in chat.message["annotations"])
    assert first == {"url": SOURCES[0], "title": "", "start_index": 9, "end_index": 12}
    assert chat.message["content"][second["start_index"] : second["end_index"]] == "[2]"
    assert [cited["url"] for cited in messages.blocks["text"]["citations"]] == SOURCES


async def test_citations_of_a_stream_come_with_its_end(tmp_path: Path) -> None:
    answer = stream(
        chunk({"role": "assistant", "content": "So it is."}),
        chunk({"content": ""}, "stop", citations=SOURCES),
        {**chunk(), "choices": [], "usage": USAGE, "citations": SOURCES},
    )
    async with vendor(tmp_path, "xai/grok-4") as xai:
        xai.answers(answer, answer)
        chat, messages = await xai.chat(stream=True), await xai.messages(stream=True)
    (notes,) = chat.deltas("annotations")
    assert [note["url_citation"]["url"] for note in notes] == SOURCES and chat.done
    deltas = [event["delta"] for event in messages.events if event["type"] == "content_block_delta"]
    assert [delta["citation"]["url"] for delta in deltas if delta["type"] == "citations_delta"] == SOURCES


async def test_its_errors_are_strings(tmp_path: Path) -> None:
    # {"code": "...", "error": "..."}
    error = {"code": "Client specified an invalid argument", "error": "Model grok-4 does not support parameter stop."}
    async with vendor(tmp_path, "xai/grok-4") as xai:
        xai.answers(Step(status=400, body=error), Step(status=400, body=error))
        chat, messages = await xai.chat(), await xai.messages()
    assert chat.status == messages.status == 400
    assert "does not support parameter stop" in chat.body["error"]["message"]
    assert "does not support parameter stop" in messages.body["error"]["message"]


async def test_citations_of_a_stream_that_nobody_asked_for(tmp_path: Path) -> None:
    async with vendor(tmp_path, "xai/grok-4") as xai:
        xai.answers(stream(chunk({"content": "So."}), chunk({}, "stop", citations=SOURCES[:1])))
        messages = await xai.messages()
    assert [cited["url"] for cited in messages.blocks["text"]["citations"]] == SOURCES[:1]
