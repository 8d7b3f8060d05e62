"""The surfaces of the small operations, in OpenAI's shape: the server puts URLs before them, a program in this process
calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.core.dialects import completions
from penstock.core.ops import audio, embeddings, images, moderations, rerank
from penstock.core.ops.texts import texts
from penstock.runtime import ops
from penstock.runtime.chats import CHAT, chat_row
from penstock.runtime.surface import About, Surface

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.state import State

_TEXTS = ("string", "array")


def take_name(fields: dict[str, Raw]) -> None:
    """Take ``name`` for ``model``, as the oldest clients of Ollama say it."""
    if "model" not in fields and "name" in fields:
        fields["model"] = fields.pop("name")


def take_single(call: Call, fields: dict[str, Raw], state: State) -> None:
    """Adapt a request that is never streamed: drop ``stream``, and take ``name`` for ``model``."""
    take_name(fields)
    fields.pop("stream", None)


def take_anything(fields: Mapping[str, Raw]) -> None:
    """Let any fields pass: what is wrong with them the surface finds where it reads them."""
    return None


def describe(
    summary: str,
    file: str = "",
    answer: str = "application/json",
    streams: bool = False,
    **needs: str | tuple[str, ...],
) -> About:
    """Describe a small operation for the document of all URLs. ``needs``: its fields, and their JSON types."""
    return About(summary, "operations", needs, (), file, answer, streams)


_COMPLETIONS = chat_row(
    "completions", completions.check, describe("Complete a prompt", prompt=_TEXTS, streams=True)
)._replace(attempt=ops.completions, cached="text_completion")
_EMBEDDINGS = CHAT._replace(
    attempt=ops.embeddings,
    check=embeddings.check,
    adapt=take_single,
    forced_by="embedding_model",
    cached="embedding",
    texts=texts,
    says=False,
    about=About("Embed texts, or a conversation as one", "operations", one_of=("input", "messages")),
)
_RERANK = CHAT._replace(
    attempt=ops.rerank,
    check=rerank.check,
    adapt=take_single,
    forced_by="",
    cached="rerank",
    texts=texts,
    about=describe("Rank documents by a query", query="string", documents="array"),
)
_MODERATIONS = CHAT._replace(
    attempt=ops.moderations,
    check=moderations.check,
    adapt=take_single,
    default_model=ops.moderation_model,
    forced_by="moderation_model",
    cached="",
    texts=texts,
    says=False,
    about=describe("Judge texts", input=_TEXTS),
)
_IMAGES = CHAT._replace(
    attempt=ops.images_generations,
    check=images.check,
    forced_by="image_generation_model",
    cached="",
    texts=texts,
    about=describe("Make images of a text", prompt="string", streams=True),
)
_EDITS = _IMAGES._replace(
    attempt=ops.images_edits,
    read=ops.read_either,
    json=False,
    upload=True,
    about=describe("Change images by a text", "image", prompt="string", streams=True),
)
_SPEECH = CHAT._replace(
    attempt=ops.speech,
    check=audio.check_speech,
    adapt=take_single,
    forced_by="",
    cached="",
    texts=texts,
    about=describe("Speak a text", answer="audio/*", input="string"),
)
_FORM = CHAT._replace(
    check=take_anything, read=ops.read_form, json=False, upload=True, forced_by="", cached="", texts=texts
)
_TRANSCRIPTIONS = _FORM._replace(
    attempt=ops.transcriptions, cached="transcription", about=describe("Write down what is said", "file", streams=True)
)
_TRANSLATIONS = _FORM._replace(attempt=ops.translations, about=describe("Write down in English what is said", "file"))
OPERATIONS: dict[str, Surface] = {
    "/completions": _COMPLETIONS,
    "/embeddings": _EMBEDDINGS,
    "/rerank": _RERANK,
    "/moderations": _MODERATIONS,
    "/images/generations": _IMAGES,
    "/images/edits": _EDITS,
    "/audio/speech": _SPEECH,
    "/audio/transcriptions": _TRANSCRIPTIONS,
    "/audio/translations": _TRANSLATIONS,
}
