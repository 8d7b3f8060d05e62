"""What requests become on Bedrock, case by case: documents, files by address, thinking per family, defaults."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from msgspec import Raw

from penstock.core import envelope
from penstock.core.dialects import anthropic, bedrock, openai_chat
from penstock.core.dialects.base import Rendered
from penstock.core.dialects.bedrock.blocks_out import SEE_DOCUMENT, spelled
from penstock.core.dialects.bedrock.wire import wire_of
from penstock.core.ir import (
    Base64,
    Document,
    Image,
    Message,
    PlainText,
    Reasoning,
    Request,
    Text,
    ToolResult,
    ToolUse,
    Url,
)
from penstock.core.models import publisher, takes_schema_on_bedrock

OPUS = "us.anthropic.claude-opus-4-6-v1"
SONNET = "anthropic.claude-3-7-sonnet-20250219-v1:0"
NOVA = "us.amazon.nova-2-lite-v1:0"
OSS = "openai.gpt-oss-120b-1:0"
GPT = "us.openai.gpt-5.6-sol"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
ARN = "arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc"


def render(model: str, *blocks: Any, **fields: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The body and the losses of a request with one user turn."""
    messages = fields.pop("messages", None) or (Message("user", blocks or (Text("hi"),)),)
    rendered = bedrock.render_request(Request(model="m", messages=messages, **fields), wire_of(model))
    return body_of(rendered), {loss.path: loss.why for loss in rendered.losses}


def body_of(rendered: Rendered) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(envelope.seal(rendered.fields))
    return made


@pytest.mark.parametrize(
    ("model", "who"),
    [
        (OPUS, "anthropic"),
        (NOVA, "amazon"),
        (LLAMA, "meta"),
        (GPT, "openai"),
        ("apac.amazon.nova-lite-v1:0", "amazon"),
        ("arn:aws:bedrock:us-east-1::foundation-model/mistral.mistral-large-2402-v1:0", "mistral"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-6-v1", "anthropic"),
        (ARN, ""),
        ("claude-sonnet-4-5", "anthropic"),
        ("deepseek.v3-v1:0", "deepseek"),
    ],
)
def test_who_made_a_model(model: str, who: str) -> None:
    assert publisher(model) == who
    assert wire_of(model).family == {"anthropic": "anthropic", "": "bedrock"}.get(who, f"bedrock-{who}")


def test_which_models_enforce_a_schema() -> None:
    assert [takes_schema_on_bedrock(model) for model in (OPUS, OSS, GPT, SONNET, NOVA, LLAMA, ARN)] == [True] * 3 + [False] * 4


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("report", "report"),
        ("Q3 report (final) [2]", "Q3 report (final) [2]"),
        ("a.pdf", "a-pdf"),
        ("a  b\n c", "a b c"),
        ("é.txt", "-txt"),
        ("x" * 300, "x" * 200),
        ("", ""),
    ],
)
def test_names_of_documents(name: str, plain: str) -> None:
    assert spelled(name) == plain


def test_documents() -> None:
    pdf = Document(Base64("application/pdf", "JVBERi0="), "a.pdf", "side note", True)
    again = Document(Base64("application/pdf", "JVBERi0="), "a.pdf")
    text = Document(PlainText("x,y"))
    body, lost = render(OPUS, pdf, again, text)
    one, two, three, words = body["messages"][0]["content"]
    assert one["document"] == {
        "format": "pdf",
        "name": "a-pdf",
        "source": {"bytes": "JVBERi0="},
        "context": "side note",
        "citations": {"enabled": True},
    }
    assert two["document"]["name"] == "a-pdf-2" and three["document"]["name"] == "document"
    assert three["document"]["format"] == "txt" and base64.b64decode(three["document"]["source"]["bytes"]) == b"x,y"
    assert words == {"text": SEE_DOCUMENT}
    assert sorted(lost) == ["messages.0.blocks.0.name", "messages.0.blocks.1.name"]


@pytest.mark.parametrize(
    ("kind", "block"),
    [
        ("text/csv", {"document": {"format": "csv"}}),
        ("text/x-python", {"document": {"format": "txt"}}),
        ("application/json", {"document": {"format": "txt"}}),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", {"document": {"format": "docx"}}),
        ("video/mp4", {"video": {"format": "mp4"}}),
        ("image/png", {"image": {"format": "png"}}),
        ("application/zip", None),
    ],
)
def test_files_by_their_type(kind: str, block: Any) -> None:
    body, lost = render(OPUS, Text("look"), Document(Base64(kind, "AAAA")))
    rest = body["messages"][0]["content"][1:]
    if block is None:
        assert rest == [] and "application/zip" in lost["messages.0.blocks.1"]
        return
    (word,) = block
    assert rest[0][word]["format"] == block[word]["format"] and rest[0][word]["source"] == {"bytes": "AAAA"}


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("data:image/webp;base64,AAAA", {"format": "webp", "source": {"bytes": "AAAA"}}),
        ("s3://bucket/a.jpg", {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/a.jpg"}}}),
        ("https://example.com/a.png", None),
        ("data:image/bmp;base64,AAAA", None),
    ],
)
def test_images_by_address(url: str, made: Any) -> None:
    body, lost = render(OPUS, Text("look"), Image(Url(url)))
    rest = body["messages"][0]["content"][1:]
    assert rest == ([{"image": made}] if made else [])
    assert ("messages.0.blocks.1" in lost) is (made is None)


# Thinking -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "asked", "made", "lost"),
    [
        (OPUS, Reasoning(effort="high"), {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, []),
        (OPUS, Reasoning(mode="enabled", budget=4096), {"thinking": {"type": "enabled", "budget_tokens": 4096}}, []),
        (OPUS, Reasoning(effort="none"), {"thinking": {"type": "disabled"}}, []),
        (SONNET, Reasoning(effort="low"), {"thinking": {"type": "enabled", "budget_tokens": 1024}}, []),
        (SONNET, Reasoning(effort="none"), None, []),
        (NOVA, Reasoning(effort="low"), {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, []),
        (
            NOVA,
            Reasoning(mode="enabled", budget=20000),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
            ["max_tokens", "temperature"],
        ),
        (OSS, Reasoning(effort="medium"), {"reasoning_effort": "medium"}, []),
        (OSS, Reasoning(effort="none"), None, ["reasoning"]),
        (GPT, Reasoning(effort="max"), {"reasoning": {"effort": "max"}}, []),
        (GPT, Reasoning(effort="none"), {"reasoning": {"effort": "none"}}, []),
        (GPT, Reasoning(effort="minimal"), {"reasoning": {"effort": "low"}}, ["reasoning.effort"]),
        (LLAMA, Reasoning(effort="high"), None, ["reasoning"]),
        (ARN, Reasoning(effort="medium"), {"thinking": {"type": "enabled", "budget_tokens": 4096}}, []),
    ],
)
def test_thinking_in_the_models_words(model: str, asked: Reasoning, made: Any, lost: list[str]) -> None:
    body, losses = render(model, reasoning=asked, max_tokens=50_000, temperature=1.0)
    assert body.get("additionalModelRequestFields") == made and sorted(losses) == lost


def test_a_budget_stays_under_the_limit() -> None:
    body, lost = render(SONNET, reasoning=Reasoning(effort="high"), max_tokens=4000)
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 3000 and list(lost) == ["reasoning.effort"]
    body, lost = render(SONNET, reasoning=Reasoning(effort="low"), max_tokens=500)
    assert body["inferenceConfig"]["maxTokens"] == 1524 and list(lost) == ["max_tokens"]


@pytest.mark.parametrize(
    ("model", "made"),
    [
        (OPUS, {"top_k": 5}),
        (NOVA, {"inferenceConfig": {"topK": 5}}),
        ("cohere.command-r-v1:0", {"k": 5}),
        (LLAMA, None),
    ],
)
def test_top_k_in_the_models_words(model: str, made: Any) -> None:
    body, lost = render(model, top_k=5)
    assert body.get("additionalModelRequestFields") == made and ("top_k" in lost) is (made is None)


# Tools ----------------------------------------------------------------------------------------------------------------


def test_tools_of_before_are_declared_again() -> None:
    messages = (
        Message("user", (Text("go"),)),
        Message("assistant", (ToolUse("functions.f:0", "f", "{}"),)),
        Message("user", (ToolResult("functions.f:0", (), True),)),
    )
    body, lost = render(OPUS, messages=messages)
    (tool,) = body["toolConfig"]["tools"]
    assert tool["toolSpec"]["name"] == "f" and "tools" in lost
    result = body["messages"][2]["content"][0]["toolResult"]
    assert result == {"toolUseId": "functions.f:0", "content": [{"text": "(no output)"}], "status": "error"}
    body, lost = render(LLAMA, messages=messages)
    assert "status" not in body["messages"][2]["content"][0]["toolResult"]
    assert "messages.2.blocks.0.is_error" in lost


# Defaults and unknown fields ------------------------------------------------------------------------------------------


def raws(**fields: Any) -> dict[str, Raw]:
    return {key: Raw(json.dumps(value).encode()) for key, value in fields.items()}


def test_fields_that_nobody_knows() -> None:
    chat = raws(
        model="m",
        messages=[{"role": "user", "content": "hi"}],
        min_p=0.1,
        prediction={"type": "content", "content": "x"},
        requestMetadata={"a": "b"},
        additionalModelRequestFields={"min_p": 0.9, "other": 1},
    )
    rendered = bedrock.render_request(openai_chat.parse_request(chat), wire_of(LLAMA))
    body = body_of(rendered)
    assert body["additionalModelRequestFields"] == {"min_p": 0.1, "other": 1}
    assert body["requestMetadata"] == {"a": "b"} and [loss.path for loss in rendered.losses] == ["extra.prediction"]
    messages = raws(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}], container="c", anthropic_beta=["x"]
    )
    rendered = bedrock.render_request(anthropic.parse_request(messages), wire_of(OPUS))
    assert body_of(rendered)["additionalModelRequestFields"] == {"anthropic_beta": ["x"]}
    assert [loss.path for loss in rendered.losses] == ["extra.container"]
