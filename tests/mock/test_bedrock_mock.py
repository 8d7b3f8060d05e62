"""The mock of Bedrock: AWS's own client reads it, its table of shapes is the service's, it refuses what the real one
refuses, and whatever JSON comes it answers 200 or a 4xx."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import eventstream
from penstock.mock import Mock, Script, Step
from penstock.mock.bedrock import packed
from penstock.mock.bedrock_check import SHAPES

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
USER: Any = {"role": "user", "content": [{"text": "go"}]}
SHAPE = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
TOOL: Any = {"toolSpec": {"name": "f", "inputSchema": {"json": SHAPE}}}
CALL: Any = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "f", "input": {}}}]}
RESULT: Any = {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "ok"}]}}]}


def asked(body: Any, model: str = CLAUDE, method: str = "converse", **script: Any) -> Any:
    mock = Mock(Script(**script), keep=0)
    raw = json.dumps(body).encode()
    _, reply = mock.respond(mock.record("POST", f"/model/{model}/{method}".encode(), [], raw, 1), len(raw))
    return reply


# AWS's own client -----------------------------------------------------------------------------------------------------


@pytest.fixture
def client(sync_mock: Any) -> Any:
    session = pytest.importorskip("botocore.session")
    config = pytest.importorskip("botocore.config")
    made = session.Session()
    made.set_credentials("AKID", "secret")
    options = config.Config(retries={"max_attempts": 0})
    return made.create_client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=sync_mock.url, config=options
    )


def test_the_vendors_client_reads_whole_answers(client: Any, sync_mock: Any) -> None:
    told = client.converse(
        modelId=CLAUDE,
        messages=[{"role": "user", "content": [{"text": 'call f {"x":"y"}'}]}],
        toolConfig={"tools": [TOOL]},
        additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 1024}},
    )
    thought, call = told["output"]["message"]["content"]
    assert thought["reasoningContent"]["reasoningText"]["signature"]
    assert call["toolUse"]["input"] == {"x": "y"} and told["stopReason"] == "tool_use"
    assert told["usage"]["totalTokens"] == told["usage"]["inputTokens"] + told["usage"]["outputTokens"]


def test_the_vendors_client_reads_streams(client: Any, sync_mock: Any) -> None:
    image = {"image": {"format": "png", "source": {"bytes": b"png"}}}
    turns = [{"role": "user", "content": [{"text": "hi there"}, image]}]
    events = list(client.converse_stream(modelId=CLAUDE, messages=turns)["stream"])
    kinds = [next(iter(event)) for event in events]
    assert kinds[0] == "messageStart" and kinds[-3:] == ["contentBlockStop", "messageStop", "metadata"]
    text = "".join(e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e)
    assert text == "mock/echo: hi there | saw 1 image (image/png, 3 bytes)"
    assert events[-1]["metadata"]["usage"]["outputTokens"] > 5


def test_the_vendors_client_reads_exceptions(client: Any, sync_mock: Any) -> None:
    sync_mock.script = Script.always(status=429)
    with pytest.raises(client.exceptions.ThrottlingException):
        client.converse(modelId=CLAUDE, messages=[USER])
    sync_mock.script = Script.always(error_event_after=2, error={"message": "words"})
    with pytest.raises(Exception, match=r"\(internalServerException\).*words"):
        list(client.converse_stream(modelId=CLAUDE, messages=[USER])["stream"])


def test_the_table_of_shapes_is_the_services_own() -> None:
    """Every structure of the table has the members, the required ones and the words that the service model has."""
    loaders = pytest.importorskip("botocore.loaders")
    shapes = loaders.Loader().load_service_model("bedrock-runtime", "service-2")["shapes"]
    later = {"error", "toolAddition", "toolRemoval"}  # of system turns and answers only

    def same(ours: Any, name: str) -> None:
        theirs = shapes[name]
        ours = SHAPES.get(ours, ours) if isinstance(ours, str) else ours
        if ours in ("doc", "any") or name == "GuardrailConverseImageBlock":
            return
        if isinstance(ours, list):
            same(ours[0], theirs["member"]["shape"])
        elif isinstance(ours, dict):
            members = theirs["members"]
            assert {key.lstrip("!") for key in ours if key} == set(members) - later - {"modelId"}, name
            assert {key[1:] for key in ours if key[:1] == "!"} == set(theirs.get("required", ())) - {"modelId"} or (
                name == "ConverseStreamRequest"
            ), name
            assert ("" in ours) == bool(theirs.get("union")), name
            for key, inner in ours.items():
                if key:
                    same(inner, members[key.lstrip("!")]["shape"])
        elif ours[0] == "|":
            assert set(ours[1:].split("|")) == set(theirs["enum"]), name

    same("request", "ConverseStreamRequest")


# What is refused ------------------------------------------------------------------------------------------------------


def document(name: str) -> Any:
    return {"document": {"format": "txt", "name": name, "source": {"bytes": "YQ=="}}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "messages"),
        ({"messages": []}, "must start with a user message"),
        ({"messages": [CALL]}, "must start with a user message"),
        ({"messages": [USER], "nonsense": 1}, "nonsense"),
        ({"messages": [USER, USER]}, "must alternate"),
        ({"messages": [{"role": "user", "content": [{"text": " "}]}]}, "is blank"),
        ({"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]}, "Exactly one member"),
        ({"messages": [{"role": "user", "content": [{"image": {"format": "bmp", "source": {}}}]}]}, "enum value set"),
        ({"messages": [USER, CALL, RESULT]}, "toolConfig field must be defined"),
        ({"messages": [USER, CALL, USER], "toolConfig": {"tools": [TOOL]}}, "Expected toolResult blocks"),
        ({"messages": [USER, {"role": "assistant", "content": [{"text": "x"}]}, RESULT]}, "exceeds the number"),
        ({"messages": [{"role": "user", "content": [document("a")]}]}, "text block is required"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}, document("a.txt")]}]}, "file name can only"),
        (
            {"messages": [{"role": "user", "content": [{"text": "x"}, document("a"), document("a")]}]},
            "duplicate document names",
        ),
        ({"messages": [USER], "inferenceConfig": {"temperature": 1.5}}, "between 0 and 1"),
        ({"messages": [USER], "inferenceConfig": {"maxTokens": 0}}, "integer"),
        ({"messages": [USER], "toolConfig": {"tools": []}}, "greater than or equal to 1"),
        ({"messages": [USER], "toolConfig": {"tools": [TOOL], "toolChoice": {"tool": {"name": "g"}}}}, "tool g"),
        ({"messages": [USER], "additionalModelRequestFields": {"min_p": 1}}, "extraneous key [min_p]"),
        (
            {
                "messages": [USER],
                "inferenceConfig": {"maxTokens": 1000},
                "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            },
            "must be greater than",
        ),
    ],
)
def test_what_the_real_api_refuses(body: Any, words: str) -> None:
    reply = asked(body)
    assert reply.status == 400 and words in json.loads(reply.body)["message"], reply.body
    assert dict(reply.headers)["x-amzn-errortype"].startswith("ValidationException")


def test_what_it_takes() -> None:
    turns = {"messages": [USER, CALL, RESULT], "toolConfig": {"tools": [TOOL]}}
    told = json.loads(asked(turns).body)
    assert told["output"]["message"]["content"] == [{"text": "mock/echo: tool f said: ok"}]
    marked = {"messages": [{"role": "user", "content": [{"text": "x"}, {"cachePoint": {"type": "default"}}]}]}
    assert "cacheWriteInputTokens" in json.loads(asked(marked).body)["usage"]
    assert asked(marked, "meta.llama3-70b-instruct-v1:0").status == 403
    assert asked({"messages": [USER]}, "missing/x").status == 404
    assert json.loads(asked({"input": {"converse": {"messages": [USER]}}}, method="count-tokens").body) == {
        "inputTokens": 4
    }


LEAF = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "user", "assistant", "text", "f"])
KEYS = "role content text toolUse toolResult toolUseId name input image source bytes tools toolSpec document".split()
ANY = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
FIELDS = "messages system toolConfig inferenceConfig additionalModelRequestFields outputConfig".split()


@given(st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=4), st.sampled_from(["converse", "converse-stream"]), st.booleans())
@settings(max_examples=250, deadline=None)
def test_any_body_gets_an_answer(odd: dict[str, Any], method: str, sound: bool) -> None:
    reply = asked({**({"messages": [USER]} if sound else {}), **odd}, method=method, unknown_fields="accept")
    assert 200 <= reply.status < 500
    if reply.frames is not None:
        assert list(reply.frames)
    elif reply.status >= 400:
        assert msgspec.json.decode(reply.body)["message"]


def folded(frames: Any) -> Any:
    """A stream as the whole answer it was."""
    blocks: dict[int, Any] = {}
    told: dict[str, Any] = {}
    for frame in frames:
        data = {key: value for key, value in frame.data.items() if key != "p"}
        at = data.get("contentBlockIndex")
        if frame.name == "contentBlockStart":
            blocks[at] = {"toolUse": {**data["start"]["toolUse"], "input": ""}}
        elif frame.name == "contentBlockDelta":
            (kind, piece), *_ = data["delta"].items()
            if kind == "text":
                blocks[at] = {"text": blocks.get(at, {"text": ""})["text"] + piece}
            elif kind == "toolUse":
                blocks[at]["toolUse"]["input"] += piece["input"]
            elif kind == "reasoningContent":
                held = blocks.setdefault(at, {"text": ""})
                held["text"] += piece.get("text", "")
                held.update({k: v for k, v in piece.items() if k != "text"})
        elif frame.name in ("messageStop", "metadata"):
            told |= data
    return [blocks[at] for at in sorted(blocks)], told


@given(
    st.builds(Step, text=st.none() | st.text(max_size=20), reasoning=st.none() | st.booleans(), chunk_size=st.none() | st.integers(1, 5)),
    st.sampled_from(["hi", 'call f {"x":"one"} then call f {"x":"two"}']),
)
@settings(max_examples=60, deadline=None)
def test_a_stream_is_the_whole_answer(step: Step, text: str) -> None:
    body = {"messages": [{"role": "user", "content": [{"text": text}]}], "toolConfig": {"tools": [TOOL]}}
    whole = json.loads(asked(body, default=step).body)
    blocks, told = folded(asked(body, method="converse-stream", default=step).frames)
    spoken = []
    for block in whole["output"]["message"]["content"]:
        if "toolUse" in block:
            spoken.append({"toolUse": {**block["toolUse"], "input": json.dumps(block["toolUse"]["input"], separators=(",", ":"))}})
        else:
            spoken.append(block if "text" in block else block["reasoningContent"]["reasoningText"])
    assert blocks == spoken and told["stopReason"] == whole["stopReason"] and told["usage"] == whole["usage"]


def test_frames_are_messages_of_the_framing() -> None:
    reply = asked({"messages": [USER]}, method="converse-stream")
    raw = b"".join(packed(frame) for frame in reply.frames)
    events = eventstream.Decoder().feed(raw)
    assert [event.name for event in events][:2] == [b"messageStart", b"contentBlockDelta"]
