"""The small operations as ``Surface.attempt`` functions: one try at one target each.

Keys, retries, fallbacks, headers and records are the engine's, as for chats. What goes over the wire is in
``penstock.core.ops``.
"""

from __future__ import annotations

from penstock.runtime.ops.completions import completions
from penstock.runtime.ops.embeddings import embeddings
from penstock.runtime.ops.embeddings_google import batch_embed_contents, embed_content
from penstock.runtime.ops.media import (
    images_edits,
    images_generations,
    read_either,
    read_form,
    speech,
    transcriptions,
    translations,
)
from penstock.runtime.ops.moderations import moderation_model, moderations
from penstock.runtime.ops.rerank import rerank

__all__ = [
    "batch_embed_contents",
    "completions",
    "embed_content",
    "embeddings",
    "images_edits",
    "images_generations",
    "moderation_model",
    "moderations",
    "read_either",
    "read_form",
    "rerank",
    "speech",
    "transcriptions",
    "translations",
]
