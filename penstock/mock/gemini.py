"""Google's `generateContent`, whole and streamed (as events or as one array), `:countTokens`, and the model list; on
Vertex AI's paths as well, and there also Claude's `:rawPredict`.

Shapes: https://ai.google.dev/api/generate-content and the `google-genai` package's types (3.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from penstock.mock import anthropic, brain
from penstock.mock.brain import Answer, Ask, Result, Tool
from penstock.mock.embeddings import vector
from penstock.mock.gemini_check import bad, camel, check, is_new, listed, normal, seal
from penstock.mock.openai_common import logprobs_of, usage_as_told
from penstock.mock.reply import Exchange, Frame, Headers, Refused, Reply, encode

ERRORS: dict[int, tuple[str, str]] = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument. (mock)"),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials. (mock)"),
    403: ("PERMISSION_DENIED", "Method doesn't allow unregistered callers. (mock)"),
    404: ("NOT_FOUND", "Requested entity was not found. (mock)"),
    413: ("INVALID_ARGUMENT", "Request payload size exceeds the limit. (mock)"),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota. (mock)"),
    500: ("INTERNAL", "An internal error has occurred. (mock)"),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later. (mock)"),
    504: ("DEADLINE_EXCEEDED", "The request timed out. (mock)"),
}
STOP = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP", "stop_sequence": "STOP"}
_PATH = re.compile(r".*/models/(?P<model>.+):(?P<method>[a-zA-Z]+)")
_CLAUDE = "/publishers/anthropic/models/"


def error_object(exc: Refused) -> dict[str, Any]:
    """Make `{code, message, status}`, with the table's words where the exception says nothing; a bad key is a 400
    here."""
    word, message = ERRORS.get(exc.status, ERRORS[500 if exc.status >= 500 else 400])
    told: dict[str, Any] = {"code": exc.status, "message": exc.message or message, "status": word}
    if exc.code:
        reason = "type.googleapis.com/google.rpc.ErrorInfo"
        told["details"] = [{"@type": reason, "reason": exc.code, "domain": "googleapis.com"}]
    if exc.status == 429:
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}
        told["details"] = [*told.get("details", []), delay]
    return told


def error_reply(exchange: Exchange, exc: Refused) -> Reply:
    """Render the error as Google sends it; a stream that is no stream of events is an array of it."""
    body: Any = {"error": error_object(exc)}
    if exchange.path.endswith(":streamGenerateContent") and not _wants_events(exchange):
        body = [body]
    return Reply(exc.status, headers_of(exchange), encode(body), "application/json; charset=UTF-8")


def error_frame(exc: Refused) -> Frame:
    """Render an error inside a stream."""
    return Frame({"error": error_object(exc)})


def headers_of(exchange: Exchange) -> Headers:
    """Make the headers of every answer of Google's."""
    return [("vary", "X-Origin"), ("server-timing", "gfet4t7; dur=1"), ("x-frame-options", "SAMEORIGIN")]


def _wants_events(exchange: Exchange) -> bool:
    return "alt=sse" in exchange.query.split("&")


def handler(path: str) -> Callable[[Exchange], Reply] | None:
    """Find what answers a POST to this path; None for other people's paths."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    method = found["method"]
    if _CLAUDE in path:
        return claude_reply if method in ("rawPredict", "streamRawPredict") else None
    answers = {"generateContent": reply, "streamGenerateContent": reply, "countTokens": count_reply}
    return {**answers, "embedContent": embed_reply, "batchEmbedContents": embed_reply}.get(method)


def model_in(path: str) -> str:
    """Find the model in a path, "" when there is none."""
    found = _PATH.fullmatch(path)
    return found["model"] if found is not None else ""


def models_reply(exchange: Exchange, model: str | None) -> Reply:
    """Answer `GET /v1beta/models`, with all models or one of them. Raises Refused 404."""
    rows = [_model(name) for name in exchange.script.models]
    if model is None:
        return Reply(200, headers_of(exchange), encode({"models": rows}))
    for row in rows:
        if row["name"] == f"models/{model}":
            return Reply(200, headers_of(exchange), encode(row))
    raise _missing(model)


def _model(name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": f"{name} (mock)",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def _missing(model: str) -> Refused:
    text = f"models/{model} is not found for API version v1beta, or is not supported for generateContent."
    return Refused(404, text)


def _body(exchange: Exchange) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(exchange.raw)
    except msgspec.DecodeError as exc:
        raise bad(f"Invalid JSON payload received. {exc}") from exc
    if not isinstance(body, dict):
        raise bad("Invalid JSON payload received. Expected an object.")
    return body


def _model_of(exchange: Exchange) -> str:
    found = _PATH.fullmatch(exchange.path)
    assert found is not None  # the route asked the same
    if found["model"].startswith("missing"):
        raise _missing(found["model"])
    return found["model"]


def embed_reply(exchange: Exchange) -> Reply:
    """Answer `:embedContent` and `:batchEmbedContents`. Raises Refused."""
    body, model, batch = _body(exchange), _model_of(exchange), exchange.path.endswith(":batchEmbedContents")
    rows, count = [], 0
    for at, raw in enumerate(body.get("requests") or [] if batch else [body]):
        one = camel(raw)
        if batch and one.get("model") != f"models/{model}":
            raise bad(f"BatchEmbedContentsRequest.requests[{at}].model: the model must be that of the path.")
        parts = (one.get("content") or {}).get("parts") or []
        text = " ".join(part.get("text", "") for part in ([parts] if isinstance(parts, dict) else parts))
        if not text:
            raise bad("content is empty.")
        size = one.get("outputDimensionality") or camel(one.get("embedContentConfig") or {}).get("outputDimensionality")
        rows.append({"values": vector(text, size or 8)})
        count += brain.count(text)
    told = {"embeddings": rows} if batch else {"embedding": rows[0]}
    return Reply(200, headers_of(exchange), encode({**told, "usageMetadata": {"promptTokenCount": count}}))


def count_reply(exchange: Exchange) -> Reply:
    """Answer `:countTokens`. Raises Refused."""
    body = camel(_body(exchange))
    whole = normal(dict(body.get("generateContentRequest") or body))
    _model_of(exchange)
    if not whole["contents"]:
        raise bad("* CountTokensRequest.contents: contents is not specified\n")
    return Reply(200, headers_of(exchange), encode({"totalTokens": _tokens(whole)}))


def reply(exchange: Exchange) -> Reply:
    """Answer `:generateContent` or `:streamGenerateContent`. Raises Refused."""
    model = _model_of(exchange)
    body = normal(_body(exchange))
    check(exchange, body, model)
    prompt = _tokens(body)
    limit = exchange.script.context_tokens
    if prompt > limit:
        raise bad(f"The input token count ({prompt}) exceeds the maximum number of tokens allowed ({limit}).")
    ask = _ask(body)
    count = body["generationConfig"].get("candidateCount") or 1
    answers = [brain.answer(ask, exchange.step, lambda _: exchange.new_id("", 8), at) for at in range(count)]
    talk = _Talk(exchange, body, model, answers, prompt)
    if not exchange.path.endswith(":streamGenerateContent"):
        tokens = sum(answer.tokens for answer in answers)
        return Reply(200, headers_of(exchange), encode(talk.whole()), tokens=tokens)
    if _wants_events(exchange):
        return Reply(200, headers_of(exchange), content_type="text/event-stream", frames=talk.frames())
    chunks = b",\r\n".join(encode(frame.data) for frame in talk.frames())
    return Reply(200, headers_of(exchange), b"[" + chunks + b"]", "application/json; charset=UTF-8")


def claude_reply(exchange: Exchange) -> Reply:
    """Answer for Claude on Vertex AI: Messages with the model in the path and a version in the body. Raises Refused."""
    body = _body(exchange)
    if body.pop("anthropic_version", None) != "vertex-2023-10-16":
        raise bad('anthropic_version: Field required, must be "vertex-2023-10-16"')
    model = _model_of(exchange)
    counting = model == "count-tokens"
    if not counting and "model" in body:
        raise bad("model: Extra inputs are not permitted")
    if bool(body.get("stream")) != exchange.path.endswith(":streamRawPredict"):
        raise bad("stream: use streamRawPredict for streams, and for nothing else")
    raw = encode(body if counting else {"model": model, **body})
    inner = replace(exchange, raw=raw, headers={**exchange.headers, "anthropic-version": "2023-06-01"})
    return anthropic.count_reply(inner) if counting else anthropic.reply(inner)


# ---- reading the request ---------------------------------------------------------------------------------------------


def _texts(content: dict[str, Any]) -> str:
    return "\n".join(part["text"] for part in content["parts"] if part.get("text") and not part.get("thought"))


def _media(parts: list[Any]) -> list[str]:
    found = []
    for part in parts:
        part = camel(part)
        blob, file = camel(part.get("inlineData")), camel(part.get("fileData"))
        if blob:
            mime = str(blob.get("mimeType", ""))
            found.append(brain.media_label(mime.partition("/")[0] or "file", mime, str(blob.get("data", ""))))
        elif file:
            found.append(f"file ({file.get('fileUri')})")
        elif part.get("functionResponse"):
            found += _media(part["functionResponse"].get("parts") or [])
    return found


def _result(response: dict[str, Any]) -> Result:
    told = response.get("response") or {}
    for key, failed in (("output", False), ("error", True)):
        if set(told) == {key}:
            value = told[key]
            return Result(response["name"], value if isinstance(value, str) else encode(value).decode(), failed)
    return Result(response["name"], encode(told).decode())


def _ask(body: dict[str, Any]) -> Ask:
    config = body["generationConfig"]
    calling = camel(camel(body.get("toolConfig") or {}).get("functionCallingConfig") or {})
    mode = str(calling.get("mode") or "AUTO").upper()
    allowed = calling.get("allowedFunctionNames")
    ask = Ask(
        tools=[
            Tool(declared["name"], _lower(declared.get("parametersJsonSchema") or declared.get("parameters")))
            for tool in body["tools"]
            for declared in map(camel, listed(tool.get("functionDeclarations")))
        ],
        choice={"ANY": "required", "NONE": "none"}.get(mode, "auto"),
        only=frozenset(allowed) if allowed else None,
        max_tokens=config.get("maxOutputTokens"),
        stops=list(config.get("stopSequences") or []),
    )
    contents = body["contents"]
    if contents[-1].get("role") == "model" and len(contents) > 1:
        ask.prefill = _texts(contents[-1])
        contents = contents[:-1]
    last = contents[-1]
    ask.user, ask.media = _texts(last), _media(last["parts"])
    ask.results = [_result(part["functionResponse"]) for part in last["parts"] if part.get("functionResponse")]
    if config.get("responseMimeType") == "application/json":
        ask.schema = config.get("responseJsonSchema") or _lower(config.get("responseSchema")) or {"type": "object"}
    if config.get("responseMimeType") == "text/x.enum":
        ask.schema, ask.bare = _lower(config["responseSchema"]), True
    ask.think = _thinks(camel(config.get("thinkingConfig") or {}))
    return ask


def _thinks(config: dict[str, Any]) -> str | None:
    if config.get("thinkingLevel"):
        return str(config["thinkingLevel"]).lower()
    budget = config.get("thinkingBudget")
    if budget:
        return f"budget {budget}"
    return "dynamic" if config.get("includeThoughts") and budget is None else None


def _lower(schema: Any) -> Any:
    """Turn Google's type names into JSON Schema's."""
    if isinstance(schema, Mapping):
        return {
            key: value.lower() if key == "type" and isinstance(value, str) else _lower(value)
            for key, value in schema.items()
        }
    return [_lower(one) for one in schema] if isinstance(schema, list) else schema


def _tokens(body: dict[str, Any]) -> int:
    total = brain.MESSAGE_TOKENS * len(body["contents"]) + sum(brain.count(encode(t).decode()) for t in body["tools"])
    for content in [*body["contents"], body.get("systemInstruction") or {"parts": []}]:
        for part in content["parts"]:
            if part.get("inlineData") or part.get("fileData"):
                total += brain.MEDIA_TOKENS
            else:
                total += brain.count(part["text"] if isinstance(part.get("text"), str) else encode(part).decode())
    return total


# ---- writing the answer ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Talk:
    exchange: Exchange
    body: dict[str, Any]
    model: str
    answers: list[Answer]
    prompt: int

    def usage(self) -> dict[str, Any] | None:
        thoughts = sum(answer.reasoning_tokens for answer in self.answers)
        said = sum(answer.tokens for answer in self.answers) - thoughts
        usage: dict[str, Any] = {"promptTokenCount": self.prompt, "candidatesTokenCount": said}
        if self.body.get("cachedContent"):
            usage["cachedContentTokenCount"] = self.prompt // 2
        if thoughts:
            usage["thoughtsTokenCount"] = thoughts
        usage["totalTokenCount"] = self.prompt + said + thoughts
        usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": self.prompt}]
        return usage_as_told(self.exchange, usage)

    def parts(self, answer: Answer) -> list[dict[str, Any]]:
        seed = self.exchange.script.seed
        shown = camel(self.body["generationConfig"].get("thinkingConfig") or {}).get("includeThoughts")
        signed = is_new(self.model) or answer.reasoning is not None
        made: list[dict[str, Any]] = []
        if answer.reasoning is not None and (shown or self.exchange.step.reasoning):
            made.append({"text": answer.reasoning, "thought": True})
        made += [dict(part) for part in self.exchange.step.extra_blocks or ()]
        if answer.text:
            made.append({"text": answer.text})
            if signed and not answer.calls:
                made[-1]["thoughtSignature"] = seal(seed, "")
        for place, call in enumerate(answer.calls):
            part: dict[str, Any] = {"functionCall": {"name": call.name, "args": _args(call.arguments)}}
            if is_new(self.model):
                part["functionCall"]["id"] = call.id
            if signed and place == 0:
                part["thoughtSignature"] = seal(seed, call.name)
            made.append(part)
        return made

    def ending(self, answer: Answer) -> dict[str, Any]:
        told = self.exchange.step.finish_reason
        ending: dict[str, Any] = {"finishReason": told if told is not None else STOP.get(answer.stop, "OTHER")}
        if self.exchange.step.citations:
            ending["citationMetadata"] = {"citations": list(self.exchange.step.citations)}
        return ending

    def tail(self) -> dict[str, Any]:
        usage = self.usage()
        tail: dict[str, Any] = {} if usage is None else {"usageMetadata": usage}
        tail["modelVersion"] = self.exchange.model(self.model)
        tail["responseId"] = brain.digest("response", self.exchange.script.seed, self.exchange.number)[:22]
        return {**tail, **(self.exchange.step.answer_fields or {})}

    @property
    def blocked(self) -> bool:
        return any(answer.refusal is not None for answer in self.answers)

    def block(self) -> dict[str, Any]:
        """Answer a prompt that is refused: without candidates."""
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **self.tail()}

    def whole(self) -> dict[str, Any]:
        if self.blocked:
            return self.block()
        candidates = []
        for at, answer in enumerate(self.answers):
            content = {"parts": self.parts(answer), "role": "model"}
            candidate = {"content": content, **self.ending(answer), "index": at}
            told = self._logprobs(answer)
            if told:
                candidate["logprobsResult"] = told
            candidates.append(candidate)
        return {"candidates": candidates, **self.tail()}

    def _logprobs(self, answer: Answer) -> dict[str, Any] | None:
        config = self.body["generationConfig"]
        if not config.get("responseLogprobs"):
            return None
        rows = logprobs_of(brain.pieces(answer.text), config.get("logprobs") or 0, self.exchange.script.seed)
        chosen = [{"token": row["token"], "logProbability": row["logprob"]} for row in rows]
        tops = [
            {"candidates": [{"token": t["token"], "logProbability": t["logprob"]} for t in row["top_logprobs"]]}
            for row in rows
        ]
        return {"chosenCandidates": chosen, "topCandidates": tops}

    def frames(self) -> Iterator[Frame]:
        if self.blocked:
            yield Frame(self.block())
            return
        tail = self.tail()
        for at, answer in enumerate(self.answers):
            for part in self.parts(answer):
                yield from self._pieces(part, at, tail)
        last = [self._last(at, answer) for at, answer in enumerate(self.answers)]
        yield Frame({"candidates": last, **tail})

    def _last(self, at: int, answer: Answer) -> dict[str, Any]:
        last = {"content": {"parts": [{"text": ""}], "role": "model"}, **self.ending(answer), "index": at}
        told = self._logprobs(answer)
        return {**last, "logprobsResult": told} if told else last

    def _pieces(self, part: dict[str, Any], at: int, tail: dict[str, Any]) -> Iterator[Frame]:
        """Yield a text in portions, its signature with the last; any other part whole."""
        pieces = brain.cut(part["text"], self.exchange.step.chunk_size) if part.get("text") else [None]
        signature = {"thoughtSignature": part["thoughtSignature"]} if "thoughtSignature" in part else {}
        plain = {key: value for key, value in part.items() if key != "thoughtSignature"}
        for number, piece in enumerate(pieces):
            shown = plain if piece is None else {**plain, "text": piece}
            if number == len(pieces) - 1:
                shown = {**shown, **signature}
            content = {"parts": [shown], "role": "model"}
            yield Frame({"candidates": [{"content": content, "index": at}], **tail}, None, brain.count(piece or ""))


def _args(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {"mock_invalid_json": arguments}
