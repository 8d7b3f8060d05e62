"""Words of Ollama's API that more than one file needs."""

from __future__ import annotations

from datetime import UTC, datetime

from penstock.core.dialects.endings import Words, is_other

NAME = "ollama"
FAMILY = "ollama"
GENERATE = "ollama_generate"

# ``Opaque.kind`` of a key inside ``options`` that has no neutral meaning, and of a message's own unknown field.
OPTION = "options."
MESSAGE = "message."

# Every key of ``options`` (ollama/ollama, api/types.go, ``Options`` and ``Runner``; and ``draft_num_predict`` of 0.13).
# Clients of other dialects and deployments in a config write them at the top, as LiteLLM has them.
OPTIONS = frozenset(
    """num_keep seed num_predict top_k top_p min_p tfs_z typical_p repeat_last_n temperature repeat_penalty
    presence_penalty frequency_penalty mirostat mirostat_tau mirostat_eta penalize_newline stop numa num_ctx num_batch
    num_gpu main_gpu low_vram f16_kv logits_all vocab_only use_mmap use_mlock num_thread embedding_only""".split()
)
TOP = frozenset(("keep_alive", "think", "truncate", "shift", "format"))  # Ollama's own fields at the top

# done_reason: server/routes.go and llm/server.go; "load" and "unload" answer a request without a prompt.
REASONS_IN = {"stop": "stop", "length": "length", "load": "other:load", "unload": "other:unload"}
REASONS_IN["content_filter"] = "filter"  # ours, for clients: the server has no such thing
WORDS = Words("done_reason", REASONS_IN, {"error": "upstream_error"})
REASONS_OUT = {"length": "length", "context": "length", "filter": "content_filter", "refusal": "content_filter"}

# Base64 of the first bytes of what is told apart by them: images have no media type on the wire.
_MAGIC = (("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))


def media_type(data: str) -> str:
    """Guess the media type of base64 image data, by how it begins."""
    return next((kind for start, kind in _MAGIC if data.startswith(start)), "image/jpeg")


def reason_in(word: str, called: bool, said: bool) -> str:
    """Return the neutral reason for a ``done_reason``, which is "stop" after tool calls, too. Older servers tell none.
    See ``Words.read`` for what it raises."""
    reason = WORDS.read(word or "stop", said)
    return "tool_use" if reason == "stop" and called else reason


def reason_out(reason: str) -> str:
    """Return the nearest ``done_reason``; for a reason that nobody knows that of an answer which was cut off."""
    if reason.startswith("other:") and reason[6:] in ("load", "unload"):
        return reason[6:]
    return "length" if is_other(reason) else REASONS_OUT.get(reason, "stop")


def timestamp(seconds: int) -> str:
    """Write unix seconds as a ``created_at``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def seconds(text: str | None) -> int:
    """Return the unix seconds of a ``created_at``; 0 for what is no time."""
    try:
        return max(0, int(datetime.fromisoformat(text or "").timestamp()))
    except (ValueError, OverflowError):
        return 0
