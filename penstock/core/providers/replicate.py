"""Replicate: a chat as a prediction's input, and a prediction's output as an answer.

https://replicate.com/docs/reference/http#predictions.create , https://replicate.com/docs/reference/streaming ; names of
inputs and of models as LiteLLM has them (docs.litellm.ai/docs/providers/replicate). Pure: who calls is elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw, Struct

from penstock.core import sse
from penstock.core.dialects.prompts import split, write
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError, kind_of_status
from penstock.core.ir import (
    Choice,
    Close,
    Delta,
    End,
    Event,
    Loss,
    Open,
    Request,
    Response,
    Start,
    Stop,
    Text,
    Usage,
)
from penstock.core.providers.paths import in_path

NAME = "replicate"
RUNNING = frozenset({"starting", "processing"})
# Houses whose models take their system prompt apart; `supports_system_prompt` says it of any other.
_SYSTEM = ("meta/", "openai/", "anthropic/", "ibm-granite/", "mistralai/")
_SIMPLE = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed")
_LOST = (
    ("tools", "a prediction calls no tools"),
    ("tool_choice", "a prediction calls no tools"),
    ("parallel_tools", "a prediction calls no tools"),
    ("output", "a prediction's output has no format"),
    ("reasoning", "models have no common input for it; give the model's own"),
    ("n", "a prediction is one answer"),
    ("logprobs", "predictions tell none"),
    ("top_logprobs", "predictions tell none"),
    ("logit_bias", "models have no such input"),
    ("user", "models have no such input"),
    ("metadata", "models have no such input"),
    ("service_tier", "there are none"),
    ("store", "predictions are kept for an hour"),
    ("cache_key", "models have no such input"),
    ("verbosity", "models have no such input"),
    ("previous_id", "there is no conversation"),
    ("include", "there is nothing to include"),
)
_OWNER_NAME = re.compile(r"[^/:]+/[^/:]+")


def path_of(model: str) -> tuple[str, str]:
    """Return (path behind the base, version for the body or "") of `owner/name`, `owner/name:version`, `name:version`,
    `deployments/owner/name` or a bare version."""
    if model.startswith("deployments/"):
        return f"/{in_path(model, '/')}/predictions", ""
    if _OWNER_NAME.fullmatch(model):
        return f"/models/{in_path(model, '/')}/predictions", ""
    return "/predictions", model.rpartition(":")[2]


def render_input(
    request: Request, model: str, given: Mapping[str, Raw], supports_system: bool | None
) -> tuple[dict[str, Raw], list[Loss]]:
    """Render a prediction's `input`, and tell what it could not carry. ``given``: the deployment's own inputs, behind
    the request's. ``supports_system``: the model takes `system_prompt`; None: told by its name. Else it begins the
    prompt."""
    losses = [Loss(name, why) for name, why in _LOST if getattr(request, name)]
    apart = supports_system if supports_system is not None else model.startswith(_SYSTEM)
    system, turns = split(request.messages, losses)
    made: dict[str, Any] = {}
    if system and apart:
        made["system_prompt"] = system
        system = ""
    made["prompt"] = write(system, turns)
    if request.max_tokens is not None:
        made[_limit(model)] = request.max_tokens
    for name in _SIMPLE:
        if (value := getattr(request, name)) is not None:
            made[name] = value
    if request.stop:
        made["stop_sequences"] = ",".join(request.stop)
        if any("," in stop for stop in request.stop):
            losses.append(Loss("stop", "a comma separates the sequences here"))
    fields = {key: Raw(msgspec.json.encode(value)) for key, value in made.items()}
    for extra in request.extra:  # inputs of the model, and whatever else the client knows of
        fields[extra.kind] = Raw(extra.raw)
    return {**given, **fields}, losses


def _limit(model: str) -> str:
    """Return what the model calls the limit of its answer (LiteLLM's table, and OpenAI's models)."""
    if model.startswith("openai/"):
        return "max_completion_tokens"
    if "vicuna" in model or "flan" in model:
        return "max_length"
    return "max_new_tokens" if "llama-2" in model else "max_tokens"


# Answers ------------------------------------------------------------------------------------------------------------


class Prediction(Struct):
    """What is read of one. ``urls``: get, cancel, stream."""

    id: str = ""
    status: str = ""
    output: Any = None
    error: Any = None
    urls: dict[str, str | None] = {}
    metrics: dict[str, Any] | None = None
    created_at: Any = None


_DECODE = msgspec.json.Decoder(Prediction).decode


def read_prediction(body: bytes) -> Prediction:
    """Parse a prediction. Raises "broken_answer" for what is none."""
    try:
        found = _DECODE(body)
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is not a prediction: {error}.") from None
    if not found.status:
        raise GatewayError("broken_answer", "The upstream's answer is not a prediction: it has no status.")
    return found


def failure(message: str) -> GatewayError:
    """Make the error of a prediction that failed, or of its stream's `error`. Texts that speak of length or policy are
    known by them."""
    text = message.strip() or "The prediction failed without a message."
    kind = kind_of_status(400, text)
    return GatewayError(kind if kind in ("context_window", "content_policy") else "upstream_error", text)


def response_of(prediction: Prediction) -> Response:
    """Translate a finished prediction to an answer. Raises what it failed with."""
    if prediction.status != "succeeded":
        told = prediction.error if isinstance(prediction.error, str) else ""
        raise failure(told or f"The prediction ended as {prediction.status!r}.")
    blocks = (Text(_output(prediction.output)),)
    return Response(id=prediction.id, model="", choices=(Choice(blocks, "stop"),), usage=usage_of(prediction))


def _output(output: Any) -> str:
    """Return the output as text: language models give a list of pieces, or a text; anything else is shown as JSON."""
    if isinstance(output, str):
        return output
    if isinstance(output, list) and all(isinstance(piece, str) for piece in output):
        return "".join(output)
    return "" if output is None else json.dumps(output, ensure_ascii=False)


def usage_of(prediction: Prediction) -> Usage | None:
    """Read the tokens that predictions of language models tell in `metrics`; None when this one does not."""
    metrics = prediction.metrics or {}
    told, said = metrics.get("input_token_count"), metrics.get("output_token_count")
    if not isinstance(told, int) or not isinstance(said, int):
        return None
    return Usage(fresh=told, output=said)


def parse_error(status: int, body: bytes, retry_after: float | None) -> GatewayError:
    """Parse a refusal: RFC 7807's `{"title", "detail", "status"}`."""
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except BAD_JSON:
        found = {}
    words = [str(found[key]) for key in ("title", "detail") if found.get(key)]
    text = ": ".join(words) or body[:500].decode("utf-8", "replace") or f"The upstream answered with status {status}."
    kind = kind_of_status(status, text)
    own = kind not in ("context_window", "content_policy")
    return GatewayError(kind, text, status=status if own else None, retry_after=retry_after)


def quoted(event: sse.Event) -> sse.Event:
    """Quote the text of an `output` as a JSON string: line breaks in it mean something, unlike those in JSON."""
    if event.name != b"output":
        return event
    return sse.Event(event.name, msgspec.json.encode(event.data.decode("utf-8", "replace")))


class Decoder:
    """A prediction's stream of events: `output` (``quoted``), `logs`, `error`, `done`. See ``base.StreamDecoder``."""

    def __init__(self, id: str = "") -> None:
        self._start = Start(id, "")
        self._started = False
        self.done = False
        self.usage: Usage | None = None  # of the finished prediction, for those who ask before ``close``

    def feed(self, event: sse.Event) -> Iterable[Event]:
        if event.name == b"error":
            raise failure(_detail(event.data))
        if event.name == b"done":
            reason = _reason(event.data)
            if reason:
                raise failure(f"The prediction ended early: {reason}.")
            self.done = True
        if event.name != b"output" or self.done:
            return ()
        out: list[Event] = []
        if not self._started:
            self._started = True
            out += [self._start, Open(0, Text(""))]
        if text := msgspec.json.decode(event.data, type=str):
            out.append(Delta(0, text))
        return out

    def close(self) -> Iterable[Event]:
        if not self.done:
            raise GatewayError("broken_stream", "The upstream's stream ended before the answer was complete.")
        out: list[Event] = [] if self._started else [self._start, Open(0, Text(""))]
        return [*out, Close(0), Stop("stop"), End(self.usage)]


def _detail(data: bytes) -> str:
    try:
        found = msgspec.json.decode(data)
    except BAD_JSON:
        return data.decode("utf-8", "replace")
    return str(found.get("detail") or found) if isinstance(found, dict) else str(found)


def _reason(data: bytes) -> str:
    """Read the reason in a `done` (`{"reason": "canceled"}`); "" for one that is complete."""
    try:
        return str(msgspec.json.decode(data, type=dict[str, Any]).get("reason") or "")
    except BAD_JSON:
        return ""


# URLs of a prediction -----------------------------------------------------------------------------------------------


def same_house(url: str, own: str) -> bool:
    """Tell whether the key may be sent to ``url``, which an answer of ``own`` named: the same server, or Replicate's
    own hosts for each other (streams are on another one), over TLS."""
    try:
        there, here = urlsplit(url), urlsplit(own)
        if (there.scheme, there.netloc) == (here.scheme, here.netloc):
            return True
        hosts = (there.hostname or "", here.hostname or "")
    except ValueError:
        return False
    return there.scheme == "https" and all(host.endswith(".replicate.com") for host in hosts)


def head_for(head: bytes, method: bytes, target: bytes, host: bytes) -> bytes:
    """Make the head of a request to another path and host of the same house: the lines of ``head``, with its
    credential."""
    lines = head.split(b"\r\n")[1:]
    kept = [line for line in lines if not line.lower().startswith((b"host:", b"content-type:"))]
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, host) + b"\r\n".join(kept)
