"""Amazon Bedrock's Converse, ConverseStream and CountTokens, and the embeddings of InvokeModel.

Shapes: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and the service model that
botocore 1.44 carries. Streams are AWS event streams."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.mock import aws_messages, brain
from penstock.mock.bedrock_check import bad, check
from penstock.mock.brain import Answer, Ask, Result, Tool
from penstock.mock.embeddings import vector
from penstock.mock.openai_common import usage_as_told
from penstock.mock.reply import Exchange, Frame, Headers, Refused, Reply, encode

STREAM = "application/vnd.amazon.eventstream"
EXCEPTION = "!"  # before the name of a frame: an exception
ERRORS: dict[int, tuple[str, str]] = {
    400: ("ValidationException", "The request is not right. (mock)"),
    401: ("UnrecognizedClientException", "The security token included in the request is invalid. (mock)"),
    403: ("AccessDeniedException", "You don't have access to the model with the specified model ID. (mock)"),
    404: ("ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier."),
    408: ("ModelTimeoutException", "The model took too long to answer. (mock)"),
    413: ("ValidationException", "Input is too long for requested model. (mock)"),
    424: ("ModelErrorException", "The model failed. (mock)"),
    429: ("ThrottlingException", "Too many requests, please wait before trying again. (mock)"),
    500: ("InternalServerException", "The system encountered an unexpected error during processing. (mock)"),
    503: ("ServiceUnavailableException", "Bedrock is unable to process your request. (mock)"),
}
STOP = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use", "stop_sequence": "stop_sequence"}
_PATH = re.compile(r".*/model/(?P<model>.+)/(?P<method>converse|converse-stream|invoke|count-tokens)")


def handler(path: str) -> Callable[[Exchange], Reply] | None:
    """Find what answers a POST to this path; None for other people's paths."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    return {"invoke": invoke_reply, "count-tokens": count_reply}.get(found["method"], reply)


def model_in(path: str) -> str:
    """Find the model in a path, "" when there is none."""
    found = _PATH.fullmatch(path)
    return found["model"] if found is not None else ""


def headers_of(exchange: Exchange) -> Headers:
    """Make the headers of every answer."""
    return [("x-amzn-requestid", exchange.new_id("", 32))]


def error_reply(exchange: Exchange, exc: Refused) -> Reply:
    """Render the exception as AWS sends it: its name in a header, its text in the body."""
    kind, message = ERRORS.get(exc.status, ERRORS[500 if exc.status >= 500 else 400])
    headers = [*headers_of(exchange), ("x-amzn-errortype", f"{exc.type or kind}:http://internal.amazon.com/mock/")]
    return Reply(exc.status, headers + list(exc.headers.items()), encode({"message": exc.message or message}))


def error_frame(exc: Refused) -> Frame:
    """Render an exception inside a stream."""
    kind, message = ERRORS.get(exc.status, ERRORS[500])
    return Frame({"message": exc.message or message}, EXCEPTION + kind[0].lower() + kind[1:])


def packed(frame: Frame) -> bytes:
    """Render a frame as a message of the stream; keep-alives have no form."""
    if frame.data is None:
        return b""
    data = frame.data if isinstance(frame.data, bytes) else encode(frame.data)
    name = frame.name or "mockUnknown"
    if name.startswith(EXCEPTION):
        return aws_messages.exception(name[1:], data)
    return aws_messages.event(name, data)


def _body(exchange: Exchange) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(exchange.raw)
    except msgspec.DecodeError as exc:
        raise bad(f"The request body is not JSON: {exc}", kind="SerializationException") from exc
    if not isinstance(body, dict):
        raise bad("The request body is not an object.", kind="SerializationException")
    return body


def _model_of(exchange: Exchange) -> str:
    model = model_in(exchange.path)
    if model.startswith("missing"):
        raise bad(ERRORS[404][1], 404, "ResourceNotFoundException")
    return model


def reply(exchange: Exchange) -> Reply:
    """Answer Converse or ConverseStream. Raises Refused."""
    model = _model_of(exchange)
    body = _body(exchange)
    check(exchange, body, model)
    prompt = _tokens(body)
    if prompt > exchange.script.context_tokens:
        raise bad("Input is too long for requested model.")
    answer = brain.answer(_ask(body), exchange.step, lambda prefix: exchange.new_id("tooluse_", 22))
    talk = _Talk(exchange, body, answer, prompt)
    if exchange.path.endswith("/converse-stream"):
        return Reply(200, headers_of(exchange), content_type=STREAM, frames=talk.frames())
    return Reply(200, headers_of(exchange), encode(talk.whole()), tokens=answer.tokens)


def count_reply(exchange: Exchange) -> Reply:
    """Answer CountTokens. Raises Refused."""
    model = _model_of(exchange)
    told = _body(exchange)
    body = (told.get("input") or {}).get("converse")
    if not isinstance(body, dict) or set(told) != {"input"} or set(body) - {
        "messages", "system", "toolConfig", "additionalModelRequestFields"
    }:  # fmt: skip
        raise bad("CountTokens: input.converse takes messages, system, toolConfig and additionalModelRequestFields.")
    check(exchange, body, model)
    return Reply(200, headers_of(exchange), encode({"inputTokens": _tokens(body)}))


def invoke_reply(exchange: Exchange) -> Reply:
    """Answer InvokeModel for embeddings: Titan's one text, Cohere's texts. Raises Refused."""
    model, body = _model_of(exchange), _body(exchange)
    if "titan-embed" in model:
        return _titan(exchange, body, model)
    if "cohere.embed" in model:
        return _cohere(exchange, body)
    raise bad("This mock's InvokeModel serves embeddings only.")


def _titan(exchange: Exchange, body: dict[str, Any], model: str) -> Reply:
    known = {"inputText"} if "v1" in model else {"inputText", "dimensions", "normalize", "embeddingTypes"}
    strange = sorted(set(body) - known)
    if strange or not isinstance(body.get("inputText"), str) or not body["inputText"]:
        key = strange[0] if strange else "inputText"
        raise bad(f"Malformed input request: #: extraneous or missing key [{key}], please reformat your input.")
    size = body.get("dimensions", 1024)
    if size not in (256, 512, 1024):
        raise bad(f"Malformed input request: #/dimensions: {size} is not a valid enum value.")
    tokens = brain.count(body["inputText"])
    told = {"embedding": vector(body["inputText"], size), "inputTextTokenCount": tokens}
    return Reply(200, headers_of(exchange), encode(told))


def _cohere(exchange: Exchange, body: dict[str, Any]) -> Reply:
    strange = sorted(set(body) - {"texts", "input_type", "truncate", "embedding_types", "output_dimension", "images"})
    if strange:
        raise bad(f"Malformed input request: #: extraneous key [{strange[0]}] is not permitted.")
    texts, kind = body.get("texts"), body.get("input_type")
    if not isinstance(texts, list) or not 1 <= len(texts) <= 96 or not all(isinstance(text, str) for text in texts):
        raise bad("Malformed input request: #/texts: expected 1 to 96 texts.")
    if kind not in ("search_document", "search_query", "classification", "clustering"):
        raise bad("Malformed input request: required key [input_type] not found.")
    rows: Any = [vector(text, body.get("output_dimension", 1024)) for text in texts]
    wanted = body.get("embedding_types")
    told = {"id": exchange.new_id("", 32), "texts": texts, "embeddings": {"float": rows} if wanted else rows}
    told["response_type"] = "embeddings_by_type" if wanted else "embeddings_floats"
    tokens = str(sum(map(brain.count, texts)))
    return Reply(200, [*headers_of(exchange), ("x-amzn-bedrock-input-token-count", tokens)], encode(told))


# ---- reading the request ---------------------------------------------------------------------------------------------


def _texts(turn: dict[str, Any]) -> str:
    return "\n".join(block["text"] for block in turn["content"] if "text" in block)


def _media(blocks: list[Any]) -> list[str]:
    found = []
    for block in blocks:
        for kind in ("image", "document", "video", "audio"):
            if kind in block:
                source, form = block[kind]["source"], block[kind].get("format", "txt")
                place = source.get("s3Location", {}).get("uri")
                label = f"{kind}/{form}"
                data = source.get("bytes", "")
                found.append(f"{kind} ({place})" if place else brain.media_label(kind, label, data))
        if "toolResult" in block:
            found += _media(block["toolResult"]["content"])
    return found


def _result(result: dict[str, Any], names: dict[str, str]) -> Result:
    told = [block for block in result["content"] if block.keys() & {"text", "json"}]
    parts = [block["text"] if "text" in block else json.dumps(block["json"]) for block in told]
    return Result(names.get(result["toolUseId"], "?"), "\n".join(parts), result.get("status") == "error")


def _ask(body: dict[str, Any]) -> Ask:
    limits = body.get("inferenceConfig") or {}
    more = body.get("additionalModelRequestFields") or {}
    config = body.get("toolConfig") or {"tools": []}
    choice = config.get("toolChoice") or {}
    specs = [tool["toolSpec"] for tool in config["tools"] if "toolSpec" in tool]
    ask = Ask(
        tools=[Tool(spec["name"], spec["inputSchema"]["json"]) for spec in specs],
        choice="required" if "any" in choice or "tool" in choice else "auto",
        only=frozenset((choice["tool"]["name"],)) if "tool" in choice else None,
        max_tokens=limits.get("maxTokens"),
        stops=list(limits.get("stopSequences") or []),
        think=_thinks(more),
    )
    turns = body["messages"]
    if turns[-1]["role"] == "assistant":
        ask.prefill, turns = _texts(turns[-1]), turns[:-1]
    last = turns[-1]
    calls = [b["toolUse"] for turn in turns for b in turn["content"] if "toolUse" in b]
    names = {call["toolUseId"]: call["name"] for call in calls}
    ask.user, ask.media = _texts(last), _media(last["content"])
    ask.results = [_result(block["toolResult"], names) for block in last["content"] if "toolResult" in block]
    form = (body.get("outputConfig") or {}).get("textFormat")
    if form:
        ask.schema = json.loads(form["structure"]["jsonSchema"]["schema"])
    return ask


def _thinks(more: dict[str, Any]) -> str | None:
    thinking = more.get("thinking") or {}
    if thinking.get("type") == "enabled":
        return f"budget {thinking.get('budget_tokens')}"
    if thinking.get("type") == "adaptive":
        return str((more.get("output_config") or {}).get("effort", "adaptive"))
    nova = more.get("reasoningConfig") or {}
    told = nova.get("maxReasoningEffort") if nova.get("type") == "enabled" else more.get("reasoning_effort")
    return None if told is None else str(told)


def _tokens(body: dict[str, Any]) -> int:
    total = brain.MESSAGE_TOKENS * len(body["messages"])
    tools = (body.get("toolConfig") or {}).get("tools") or []
    total += sum(brain.count(encode(tool).decode()) for tool in tools)
    for block in [*(body.get("system") or []), *(b for turn in body["messages"] for b in turn["content"])]:
        if block.keys() & {"image", "document", "video", "audio"}:
            total += brain.MEDIA_TOKENS
        else:
            total += brain.count(block["text"] if "text" in block else encode(block).decode())
    return total


# ---- writing the answer ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Talk:
    exchange: Exchange
    body: dict[str, Any]
    answer: Answer
    prompt: int

    def usage(self) -> dict[str, Any] | None:
        """Count the usage. Half of a prompt with cache points is read from the cache the second time, and written the
        first."""
        used: dict[str, Any] = {"inputTokens": self.prompt, "outputTokens": self.answer.tokens}
        text = encode([self.body.get("system"), self.body["messages"], self.body.get("toolConfig")]).decode()
        if '"cachePoint"' in text:
            key = brain.digest("bedrock cache", encode(self.body.get("system")), encode(self.body["messages"][:1]))
            half, seen = self.prompt // 2, self.exchange.memory.seen(key)
            used["inputTokens"] = self.prompt - half
            used["cacheReadInputTokens"] = half if seen else 0
            used["cacheWriteInputTokens"] = 0 if seen else half
            if not seen:
                used["cacheDetails"] = [{"ttl": "1h" if '"ttl":"1h"' in text else "5m", "inputTokens": half}]
        used["totalTokens"] = self.prompt + self.answer.tokens
        return usage_as_told(self.exchange, used)

    def blocks(self) -> list[dict[str, Any]]:
        answer, step, seed = self.answer, self.exchange.step, self.exchange.script.seed
        made: list[dict[str, Any]] = []
        if step.redacted:
            made.append({"reasoningContent": {"redactedContent": brain.seal(seed, "redacted", "")}})
        if answer.reasoning is not None:
            told = {"text": answer.reasoning, "signature": brain.seal(seed, "thinking", answer.reasoning)}
            made.append({"reasoningContent": {"reasoningText": told}})
        made += [dict(block) for block in step.extra_blocks or ()]
        words = answer.text if answer.refusal is None else answer.refusal
        if words and step.citations:
            made.append({"citationsContent": {"content": [{"text": words}], "citations": list(step.citations)}})
        elif words:
            made.append({"text": words})
        for call in answer.calls:
            use = {"toolUseId": call.id, "name": call.name, "input": _args(call.arguments), "type": "tool_use"}
            made.append({"toolUse": use})
        return made

    def reason(self) -> str:
        told = self.exchange.step.finish_reason
        if told is not None:
            return told
        return "guardrail_intervened" if self.answer.refusal is not None else STOP[self.answer.stop]

    def rest(self) -> dict[str, Any]:
        """Make what stands beside the message, and in a stream's ``metadata``."""
        rest: dict[str, Any] = {"metrics": {"latencyMs": 1}}
        used = self.usage()
        if used is not None:
            rest["usage"] = used
        if self.body.get("serviceTier"):
            rest["serviceTier"] = self.body["serviceTier"]
        if self.body.get("performanceConfig"):
            rest["performanceConfig"] = self.body["performanceConfig"]
        if (self.body.get("guardrailConfig") or {}).get("trace") == "enabled":
            rest["trace"] = {"guardrail": {"modelOutput": [self.answer.text]}}
        return {**rest, **(self.exchange.step.answer_fields or {})}

    def whole(self) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.blocks()}
        ended = {"additionalModelResponseFields": {"stop_sequence": self.answer.matched}}
        return {"output": {"message": message}, "stopReason": self.reason(), **ended, **self.rest()}

    def frames(self) -> Iterator[Frame]:
        yield self._frame("messageStart", {"role": "assistant"})
        at = 0
        for block in self.blocks():
            yield from self._block(block, at)
            yield self._frame("contentBlockStop", {"contentBlockIndex": at})
            at += 1
        ended = {"delta": {"stop_sequence": self.answer.matched}}
        yield self._frame("messageStop", {"stopReason": self.reason(), "additionalModelResponseFields": ended})
        yield self._frame("metadata", self.rest())

    def _frame(self, name: str, data: dict[str, Any], tokens: int = 0) -> Frame:
        """Make a frame with padding, as the service has it, so that lengths tell nothing."""
        return Frame({**data, "p": "abcdefghijklmnopqrstuvwxyz"[: 1 + len(name) % 26]}, name, tokens)

    def _block(self, block: dict[str, Any], at: int) -> Iterator[Frame]:
        kind = next(iter(block))
        inner = block[kind]
        if kind == "toolUse" and inner.get("type") != "server_tool_use":
            start = {"toolUse": {key: inner[key] for key in ("toolUseId", "name", "type")}}
            yield self._frame("contentBlockStart", {"start": start, "contentBlockIndex": at})
            text = encode(inner["input"]).decode()
            pieces = [text] if self.exchange.step.whole_arguments else brain.cut(text, self.exchange.step.chunk_size)
            for piece in pieces:
                yield self._delta(at, {"toolUse": {"input": piece}}, brain.count(piece))
        elif kind == "toolUse":
            start = {"toolUse": {key: inner[key] for key in ("toolUseId", "name", "type")}}
            yield self._frame("contentBlockStart", {"start": start, "contentBlockIndex": at})
            yield self._delta(at, {"toolUse": {"input": encode(inner["input"]).decode()}})
        elif kind == "toolResult":
            start = {"toolResult": {key: value for key, value in inner.items() if key != "content"}}
            yield self._frame("contentBlockStart", {"start": start, "contentBlockIndex": at})
            yield self._delta(at, {"toolResult": inner["content"]})
        elif kind == "reasoningContent" and "redactedContent" in inner:
            yield self._delta(at, {"reasoningContent": inner})
        elif kind == "reasoningContent":
            told = inner["reasoningText"]
            yield from self._pieces(at, told["text"], lambda piece: {"reasoningContent": {"text": piece}})
            yield self._delta(at, {"reasoningContent": {"signature": told["signature"]}})
        else:
            words = block["text"] if kind == "text" else "".join(part["text"] for part in inner["content"])
            yield from self._pieces(at, words, lambda piece: {"text": piece})
            for cited in [] if kind == "text" else inner["citations"]:
                yield self._delta(at, {"citation": cited})

    def _pieces(self, at: int, text: str, make: Callable[[str], dict[str, Any]]) -> Iterator[Frame]:
        for piece in brain.cut(text, self.exchange.step.chunk_size):
            yield self._delta(at, make(piece), brain.count(piece))

    def _delta(self, at: int, delta: dict[str, Any], tokens: int = 0) -> Frame:
        return self._frame("contentBlockDelta", {"contentBlockIndex": at, "delta": delta}, tokens)


def _args(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {"mock_invalid_json": arguments}
