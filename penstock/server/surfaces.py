"""The public URLs that carry work: a row each. Pages (health, models, landing) are in ``pages``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Dialect
from penstock.core.ops import embeddings_google
from penstock.core.ops.texts import texts
from penstock.core.providers.pass_through import dialect_at, provider_at
from penstock.runtime import compaction, counting, ollama, ops, stored_responses
from penstock.runtime.chats import CHAT, INPUTS, MESSAGES, RESPONSES, TALK, chat_row
from penstock.runtime.operations import OPERATIONS, describe, take_anything, take_name, take_single
from penstock.runtime.surface import About, Surface
from penstock.server import google, inpath

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.state import State

_TEXTS = ("string", "array")


def _streams(call: Call, fields: dict[str, Raw], state: State) -> None:
    """Fill in what Ollama's clients leave out: it streams unless it is told not to, and the oldest clients say ``name``
    for ``model``."""
    take_name(fields)
    if bytes(fields.get("stream", b"null")) == b"null":
        fields["stream"] = Raw(b"true")


_NDJSON = b"application/x-ndjson"
_OLLAMA = chat_row("ollama", take_anything, About("Answer a chat in Ollama's form", streams=True))._replace(
    attempt=ollama.run, adapt=_streams, stream_type=_NDJSON
)
_GENERATE = _OLLAMA._replace(
    dialect=DIALECTS["ollama_generate"], about=About("Complete a prompt in Ollama's form", streams=True)
)
_OLLAMA_ONE = _OLLAMA._replace(adapt=take_single, forced_by="", cached="")
_OLLAMA_EMBED = _OLLAMA_ONE._replace(forced_by="embedding_model", cached="embedding", texts=texts, says=False)
# Everything that Ollama serves, for errors in its shape; other paths below /api/ are not its own.
_OLLAMA_PATH = re.compile(
    r"/api/(?:chat|generate|tags|show|ps|version|embed|embeddings|pull|push|create|copy|delete|blobs)(?:/|$)"
)


def find(path: str) -> Surface | None:
    """Find the surface at a path: a plain row, else the first pattern that fits."""
    surface = SURFACES.get(path)
    if surface is None:
        for row in PATTERNS:
            if row.pattern.fullmatch(path):
                return row.surface
    return surface


VENDORS = frozenset({b"x-goog-api-key", b"anthropic-version"})
"""Headers by which a vendor's client is known."""


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


_BESIDE: dict[str, Surface] = {
    "/responses/compact": RESPONSES._replace(
        attempt=compaction.run,
        adapt=take_single,
        cached="",
        about=About("Compact a conversation into a summary", one_of=INPUTS),
    ),
    "/responses/input_tokens": RESPONSES._replace(
        attempt=stored_responses.count,
        adapt=take_single,
        cached="",
        about=About("Count the tokens of an input", one_of=INPUTS),
    ),
}
# Method is POST for all.
SURFACES: dict[str, Surface] = {
    "/v1/chat/completions": CHAT,
    "/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES._replace(
        attempt=counting.run, adapt=take_single, cached="", about=About("Count the tokens of messages", needs=TALK)
    ),
    "/api/chat": _OLLAMA,
    "/api/generate": _GENERATE,
    "/api/embed": _OLLAMA_EMBED._replace(attempt=ollama.embed, about=describe("Embed texts in Ollama's form")),
    "/api/embeddings": _OLLAMA_EMBED._replace(
        attempt=ollama.embeddings, about=describe("Embed one text in Ollama's older form")
    ),
    "/api/show": _OLLAMA_ONE._replace(attempt=ollama.show, about=About("Describe a model in Ollama's form", "models")),
    **_BESIDE,
    **{"/v1" + path: surface for path, surface in _BESIDE.items()},
    **OPERATIONS,
    **{"/v1" + path: surface for path, surface in OPERATIONS.items()},
    "/v2/rerank": OPERATIONS["/rerank"],
}

# Surfaces whose path carries the model, asked in order after the plain ones.
_CONTENTS = ("contents", "generateContentRequest", "generate_content_request")
_GEMINI = chat_row("gemini", google.check, About("Generate content in Google's form", one_of=_CONTENTS))._replace(
    adapt=google.adapt, key_in_query=True
)
_GEMINI_STREAM = _GEMINI._replace(about=About("Stream content in Google's form", one_of=_CONTENTS, streams=True))
_GEMINI_COUNT = _GEMINI._replace(
    attempt=counting.run,
    cached="",
    texts=texts,
    about=About("Count the tokens of content in Google's form", one_of=_CONTENTS),
)
_GEMINI_EMBED = _GEMINI._replace(
    attempt=ops.embed_content,
    check=partial(embeddings_google.check, batch=False),
    forced_by="embedding_model",
    cached="embedding",
    texts=texts,
    says=False,
    about=describe("Embed content in Google's form", content="object"),
)
_GEMINI_BATCH = _GEMINI_EMBED._replace(
    attempt=ops.batch_embed_contents,
    check=partial(embeddings_google.check, batch=True),
    about=describe("Embed several contents in Google's form", requests="array"),
)
PATTERNS: list[inpath.Pattern] = [
    inpath.Pattern(google.GENERATE, _GEMINI, google.templates("generateContent")),
    inpath.Pattern(google.STREAM, _GEMINI_STREAM, google.templates("streamGenerateContent")),
    inpath.Pattern(google.COUNT, _GEMINI_COUNT, google.templates("countTokens")),
    inpath.Pattern(google.EMBED, _GEMINI_EMBED, google.templates("embedContent")),
    inpath.Pattern(google.BATCH_EMBED, _GEMINI_BATCH, google.templates("batchEmbedContents")),
    *inpath.rows({"/chat/completions": CHAT, **OPERATIONS}),
]
