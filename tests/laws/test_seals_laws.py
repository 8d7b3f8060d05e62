"""Gemini's signatures go to every client that keeps them, and come back at the parts that they were on.

An answer of parts, some signed, goes whole and streamed to a client of each dialect; the client sends back all that it
got; what Google gets then is what it said.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import envelope, sse
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import View, Wire
from penstock.core.ir import Event
from tests.laws.streams import run_decoder, run_encoder

GEMINI = DIALECTS["gemini"]
WIRE = Wire(model="gemini-3-pro-preview", family="gemini")
_numbers = iter(range(10**9))
VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new{next(_numbers)}", now=7)


def signature(number: int) -> str:
    return base64.b64encode(f"signature {number}".encode()).decode()


@st.composite
def answers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Parts as Gemini writes them: thoughts, texts, calls, each of which may be signed; signatures alone, at the end or
    before a call. No two unsigned texts or thoughts follow each other: in a stream they are one."""
    parts: list[dict[str, Any]] = []
    before = ""
    for number in range(draw(st.integers(1, 5))):
        kinds = ["call", "text", "thought"]
        if before == "text":
            kinds = ["call", "thought", "alone"]
        elif before == "thought":
            kinds = ["call", "text"]
        kind = draw(st.sampled_from(kinds))
        part: dict[str, Any] = {"text": draw(st.sampled_from(["a", "Now.", "é\u2028"]))}
        if kind == "call":
            part = {"functionCall": {"name": draw(st.sampled_from(["f", "g"])), "args": {"n": number}}}
        elif kind == "alone":
            part = {"text": ""}
        elif kind == "thought":
            part["thought"] = True
        signed = kind == "alone" or draw(st.booleans())
        if signed:
            part["thoughtSignature"] = signature(number)
        before = "signed" if signed and kind != "text" else kind
        if signed and kind == "text":
            before = "signed text"
        parts.append(part)
    return parts


def told(parts: list[dict[str, Any]]) -> list[Any]:
    """What of an answer Google must see again: calls and texts with their signatures, and thoughts that are signed. A
    signature alone is that of the text before it."""
    out: list[list[Any]] = []
    for part in parts:
        sealed = part.get("thoughtSignature")
        if "functionCall" in part:
            call = part["functionCall"]
            out.append(["call", call["name"], call["args"], sealed])
        elif part.get("thought"):
            if sealed:
                out.append(["thought", part["text"], sealed])
        elif not part["text"]:
            if out and out[-1][0] == "text" and out[-1][-1] is None:
                out[-1][-1] = sealed
            else:
                out.append(["alone", sealed])
        else:
            out.append(["text", part["text"], sealed])
    return out


def whole_answer(parts: list[dict[str, Any]]) -> bytes:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    return json.dumps({"candidates": [candidate], "responseId": "r1"}).encode()


def streamed_answer(parts: list[dict[str, Any]]) -> list[Event]:
    """Each part in a chunk of its own; a text's words come before its signature."""
    pieces: list[dict[str, Any]] = []
    for part in parts:
        if "text" in part and "thoughtSignature" in part and part["text"] and not part.get("thought"):
            pieces += [{"text": part["text"]}, {"text": "", "thoughtSignature": part["thoughtSignature"]}]
        else:
            pieces.append(part)
    chunks: list[Any] = [{"candidates": [{"content": {"parts": [piece]}}], "responseId": "r1"} for piece in pieces]
    chunks.append({"candidates": [{"finishReason": "STOP"}]})
    return run_decoder(GEMINI.decoder(), [sse.encode(json.dumps(chunk).encode()) for chunk in chunks])


# Clients: what each keeps of a stream, and how it sends an answer back -------------------------------------------------


def data_of(stream: bytes) -> Iterable[dict[str, Any]]:
    for event in sse.Decoder().feed(stream):
        if event.data != b"[DONE]":
            yield json.loads(event.data)


def message_of(stream: bytes) -> dict[str, Any]:
    """As the ``anthropic`` client adds a stream up."""
    blocks: list[dict[str, Any]] = []
    for step in data_of(stream):
        if step["type"] == "content_block_start":
            blocks.append({**step["content_block"], "json": ""})
        elif step["type"] == "content_block_delta":
            block, delta = blocks[step["index"]], step["delta"]
            for key in ("text", "thinking"):
                block[key] = block.get(key, "") + delta[key] if key in delta else block.get(key, "")
            block["json"] += delta.get("partial_json", "")
            if "signature" in delta:
                block["signature"] = delta["signature"]
            if "citation" in delta:
                block["citations"] = [*block.get("citations", []), delta["citation"]]
    out = []
    for block in blocks:
        keys = {"text": ("text", "citations"), "thinking": ("thinking", "signature"), "tool_use": ("id", "name")}
        kept = {key: block[key] for key in ("type", *keys[block["type"]]) if key in block}
        out.append({**kept, "input": json.loads(block["json"] or "{}")} if block["type"] == "tool_use" else kept)
    return {"content": out}


def completion_of(stream: bytes) -> dict[str, Any]:
    """As LiteLLM's clients and the ``openai`` client add a stream up."""
    content, thoughts, calls = "", {}, {}
    for step in data_of(stream):
        for choice in step["choices"]:
            delta = choice["delta"]
            content += delta.get("content") or ""
            for thought in delta.get("thinking_blocks") or ():
                kept = thoughts.setdefault(thought["index"], {"type": "thinking", "thinking": "", "signature": ""})
                kept["thinking"] += thought.get("thinking", "")
                kept["signature"] += thought.get("signature", "")
            for call in delta.get("tool_calls") or ():
                kept = calls.setdefault(call["index"], {"function": {"arguments": ""}})
                kept.update({key: call[key] for key in ("id", "type", "extra_content") if key in call})
                kept["function"]["name"] = call["function"].get("name") or kept["function"].get("name")
                kept["function"]["arguments"] += call["function"].get("arguments") or ""
    made: dict[str, Any] = {"role": "assistant", "content": content or None}
    if thoughts:
        made["thinking_blocks"] = list(thoughts.values())
    if calls:
        made["tool_calls"] = list(calls.values())
    return {"choices": [{"message": made}]}


def response_of(stream: bytes) -> dict[str, Any]:
    return next(step["response"] for step in data_of(stream) if step["type"] == "response.completed")


def content_of(stream: bytes) -> dict[str, Any]:
    """As google-genai's chats keep a stream: each chunk's content."""
    parts = [part for step in data_of(stream) for part in step["candidates"][0]["content"]["parts"]]
    return {"candidates": [{"content": {"role": "model", "parts": [p for p in parts if p != {"text": ""}]}}]}


USER = {"role": "user", "content": "hi"}


def again(client: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The client's next request: all that it got, and a result for each call."""
    body: dict[str, Any] = {"model": "m"}
    if client == "anthropic":
        calls = [block["id"] for block in answer["content"] if block["type"] == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": id, "content": "R"} for id in calls]
        turns = [USER, {"role": "assistant", "content": answer["content"]}]
        return {**body, "max_tokens": 9, "messages": [*turns, {"role": "user", "content": results or "go on"}]}
    if client == "openai_responses":
        calls = [item["call_id"] for item in answer["output"] if item["type"] == "function_call"]
        results = [{"type": "function_call_output", "call_id": id, "output": "R"} for id in calls]
        return {**body, "input": [USER, *answer["output"], *(results or [USER])]}
    if client == "openai_chat":
        message = answer["choices"][0]["message"]
        calls = [call["id"] for call in message.get("tool_calls") or ()]
        results = [{"role": "tool", "tool_call_id": id, "content": "R"} for id in calls]
        return {**body, "messages": [USER, message, *(results or [USER])]}
    content = answer["candidates"][0]["content"]
    names = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
    results = [{"functionResponse": {"name": name, "response": {"output": "R"}}} for name in names]
    user = {"role": "user", "parts": [{"text": "hi"}]}
    return {"contents": [user, content, {"role": "user", "parts": results or [{"text": "go on"}]}]}


FOLD = {
    "anthropic": message_of,
    "openai_responses": response_of,
    "openai_chat": completion_of,
    "gemini": content_of,
}


def returned(client: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The model's parts as Google gets them again."""
    fields = envelope.open_body(json.dumps(again(client, answer)).encode())
    rendered = GEMINI.render_request(DIALECTS[client].parse_request(fields), WIRE)
    contents = json.loads(envelope.seal(rendered.fields))["contents"]
    return [part for one in contents if one["role"] == "model" for part in one["parts"]]


def unsubstituted(parts: list[Any]) -> list[Any]:
    """Without the vendor's own word, which stands in where no call of a step is signed."""
    return [[None if one == "skip_thought_signature_validator" else one for one in part] for part in parts]


def as_kept(client: str, parts: list[Any]) -> list[Any]:
    """In the order that the client keeps: a Chat message has thoughts, one text, calls."""
    if client != "openai_chat":
        return parts
    texts = [part for part in parts if part[0] == "text"]
    said = [["text", "".join(part[1] for part in texts), [part[2] for part in texts if part[2]]]] if texts else []
    return [*(p for p in parts if p[0] == "thought"), *said, *(p for p in parts if p[0] == "call")]


def as_seen(client: str, parts: list[Any]) -> list[Any]:
    if client != "openai_chat":
        return parts
    out: list[Any] = []
    for part in parts:
        if part[0] == "text":
            part = [*part[:2], [part[2]] if part[2] else []]
        if part[0] == "alone" and out and out[-1][0] == "text":
            out[-1][2].append(part[1])  # one text bears the signatures of all that it was made of
        else:
            out.append(part)
    return out


@given(answers())
def test_a_whole_answer_comes_back_with_its_signatures(parts: list[dict[str, Any]]) -> None:
    response = GEMINI.parse_response(whole_answer(parts))
    for client in FOLD:
        body = json.loads(DIALECTS[client].render_response(response, VIEW).body)
        back = unsubstituted(told(returned(client, body)))
        assert as_seen(client, back) == as_kept(client, told(parts)), client


@given(answers())
def test_a_streamed_answer_comes_back_with_its_signatures(parts: list[dict[str, Any]]) -> None:
    events = streamed_answer(parts)
    for client, fold in FOLD.items():
        stream = run_encoder(DIALECTS[client].encoder(VIEW), events)
        back = unsubstituted(told(returned(client, fold(stream))))
        assert as_seen(client, back) == as_kept(client, told(parts)), client


@given(answers())
def test_no_thought_without_words_stands_behind_a_text(parts: list[dict[str, Any]]) -> None:
    """Claude Code prints the last block: behind the text an empty line."""
    whole = json.loads(DIALECTS["anthropic"].render_response(GEMINI.parse_response(whole_answer(parts)), VIEW).body)
    streamed = message_of(run_encoder(DIALECTS["anthropic"].encoder(VIEW), streamed_answer(parts)))
    for answer in (whole, streamed):
        blocks = answer["content"]
        for before, after in zip(blocks, blocks[1:], strict=False):
            if before["type"] == "text" and after["type"] == "thinking" and not after["thinking"]:
                assert blocks[blocks.index(after) + 1]["type"] in ("tool_use", "text")
        assert blocks[-1]["type"] != "thinking" or blocks[-1]["thinking"]


@pytest.mark.parametrize("client", ["anthropic", "openai_responses"])
def test_a_signature_that_comes_behind_its_call_comes_back_too(client: str) -> None:
    """Google's compatible endpoint may tell it in a later chunk."""
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"n":0}'}}
    late = {"index": 0, "extra_content": {"google": {"thought_signature": signature(0)}}}
    chunks: list[Any] = [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in (call, late)]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    stream = b"".join(sse.encode(json.dumps(chunk).encode()) for chunk in chunks) + sse.DONE
    events = run_decoder(DIALECTS["openai_chat"].decoder(), [stream])
    back = returned(client, FOLD[client](run_encoder(DIALECTS[client].encoder(VIEW), events)))
    assert told(back) == [["call", "f", {"n": 0}, signature(0)]]
