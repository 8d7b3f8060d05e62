"""The public URLs that carry work: a row each. Pages (health, models, landing) are in ``pages``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.core.dialects import DIALECTS, EDITORS, completions
from penstock.core.dialects.base import Dialect
from penstock.core.errors import GatewayError
from penstock.core.ops import audio, embeddings, images, moderations, rerank
from penstock.core.providers.passing import dialect_at, provider_at
from penstock.runtime import counting, kept, lanes, ollama, ops
from penstock.runtime.call import require_list
from penstock.runtime.surface import Surface
from penstock.server import google, inpath

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.state import State

_MESSAGES_EXAMPLE = '[{"role": "user", "content": "Hello"}]'


def _check_messages(fields: Mapping[str, Raw]) -> None:
    require_list(fields, "messages", _MESSAGES_EXAMPLE)


def _check_input(fields: Mapping[str, Raw]) -> None:
    if not {"input", "prompt", "previous_response_id", "conversation"} & fields.keys():
        text = "The field 'input' is missing: send a string, or a list such as " + _MESSAGES_EXAMPLE + "."
        raise GatewayError("bad_request", text, param="input")


def _row(name: str, check: Callable[[Mapping[str, Raw]], None], *forward: bytes) -> Surface:
    return Surface(DIALECTS[name], lanes.run, check, EDITORS[name].wants_usage, forward)


_CHAT = _row("openai_chat", _check_messages)
_MESSAGES = _row("anthropic", _check_messages, b"anthropic-version", b"anthropic-beta")


def _streams(call: Call, fields: dict[str, Raw], state: State) -> None:
    """Fill in what Ollama's clients leave out: it streams unless it is told not to, and the oldest clients say ``name``
    for ``model``."""
    _named(fields)
    if bytes(fields.get("stream", b"null")) == b"null":
        fields["stream"] = Raw(b"true")


def _named(fields: dict[str, Raw]) -> None:
    if "model" not in fields and "name" in fields:
        fields["model"] = fields.pop("name")


def _single(call: Call, fields: dict[str, Raw], state: State) -> None:
    """Adapt a request of Ollama's that never streams: drop ``stream``, and take ``name`` for ``model``."""
    _named(fields)
    fields.pop("stream", None)


def _anything(fields: Mapping[str, Raw]) -> None:
    return None


_NDJSON = b"application/x-ndjson"
_OLLAMA = _row("ollama", _anything)._replace(attempt=ollama.run, adapt=_streams, stream_type=_NDJSON)
_OLLAMA_ONE = _OLLAMA._replace(adapt=_single)
# Everything that Ollama serves, for errors in its shape; other paths below /api/ are not its own.
_OLLAMA_PATH = re.compile(
    r"/api/(?:chat|generate|tags|show|ps|version|embed|embeddings|pull|push|create|copy|delete|blobs)(?:/|$)"
)


def find(path: str) -> Surface | None:
    """Find the surface at a path: a plain row, else the first pattern that fits."""
    surface = SURFACES.get(path)
    if surface is None:
        for pattern, row in PATTERNS:
            if pattern.fullmatch(path):
                return row
    return surface


def dialect_of(path: str, headers: Mapping[bytes, bytes]) -> Dialect:
    """Choose in whose shape an error about ``path`` is told (seed C-26: an Anthropic client's 401 and 404, too)."""
    surface = find(path)
    if surface is not None:
        return surface.dialect
    if _OLLAMA_PATH.match(path):
        return DIALECTS["ollama"]
    provider = provider_at(path)
    if provider is not None:  # that of the vendor's own, as far as it is spoken here
        return DIALECTS.get(dialect_at(provider, path[path.index("/", 1) :]), DIALECTS["openai_chat"])
    if google.is_google(path, headers):
        return DIALECTS["gemini"]
    if path.startswith("/v1/messages") or b"anthropic-version" in headers:
        return DIALECTS["anthropic"]
    return DIALECTS["openai_chat"]


_RESPONSES = _row("openai_responses", _check_input)._replace(attempt=kept.run)

# The small operations: OpenAI's errors, whatever the operation.
def _configured(key: str) -> Callable[[State], str]:
    """Make a function that finds the model of requests that name none: a key of general_settings, else the config's
    completion_model."""
    return lambda state: str(state.config.general.values.get(key) or state.default_model)


_COMPLETIONS = _row("completions", completions.check)._replace(attempt=ops.completions)
_EMBEDDINGS = _CHAT._replace(
    attempt=ops.embeddings,
    check=embeddings.check,
    adapt=_single,
    default_model=_configured("embedding_model"),
)
_RERANK = _CHAT._replace(attempt=ops.rerank, check=rerank.check, adapt=_single)
_MODERATIONS = _CHAT._replace(
    attempt=ops.moderations, check=moderations.check, adapt=_single, default_model=ops.moderation_model
)
_IMAGES = _CHAT._replace(
    attempt=ops.images_generations, check=images.check, default_model=_configured("image_generation_model")
)
_FORM = _CHAT._replace(check=_anything, read=ops.read_form, json=False, upload=True)
_TRANSCRIPTIONS = _FORM._replace(attempt=ops.transcriptions)
OPERATIONS: dict[str, Surface] = {
    "/completions": _COMPLETIONS,
    "/embeddings": _EMBEDDINGS,
    "/rerank": _RERANK,
    "/moderations": _MODERATIONS,
    "/images/generations": _IMAGES,
    "/images/edits": _IMAGES._replace(attempt=ops.images_edits, read=ops.read_either, json=False, upload=True),
    "/audio/speech": _CHAT._replace(attempt=ops.speech, check=audio.check_speech, adapt=_single),
    "/audio/transcriptions": _TRANSCRIPTIONS,
    "/audio/translations": _TRANSCRIPTIONS._replace(attempt=ops.translations),
}

# Method is POST for all.
SURFACES: dict[str, Surface] = {
    "/v1/chat/completions": _CHAT,
    "/chat/completions": _CHAT,
    "/v1/responses": _RESPONSES,
    "/responses": _RESPONSES,
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _MESSAGES._replace(attempt=counting.run, adapt=_single),
    "/api/chat": _OLLAMA,
    "/api/generate": _OLLAMA._replace(dialect=DIALECTS["ollama_generate"]),
    "/api/embed": _OLLAMA_ONE._replace(attempt=ollama.embed),
    "/api/embeddings": _OLLAMA_ONE._replace(attempt=ollama.embeddings),
    "/api/show": _OLLAMA_ONE._replace(attempt=ollama.show),
    **OPERATIONS,
    **{"/v1" + path: surface for path, surface in OPERATIONS.items()},
    "/v2/rerank": _RERANK,
}

# Surfaces whose path carries the model, asked in order after the plain ones.
_GEMINI = _row("gemini", google.check)._replace(adapt=google.adapt, key_in_query=True)
PATTERNS: list[tuple[re.Pattern[str], Surface]] = [
    (google.GENERATE, _GEMINI),
    (google.STREAM, _GEMINI),
    (google.COUNT, _GEMINI._replace(attempt=counting.run)),
    *inpath.rows({"/chat/completions": _CHAT, **OPERATIONS}),
]
