"""/api/embed and /api/embeddings in terms of OpenAI's /v1/embeddings, for targets that speak that.

Pure: fields in, fields out. Who asks whom is in ``runtime.ollama``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.openai_chat.reading import integer, needed, opens, present, text, texts
from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Loss, Usage

_LOST = ("options", "truncate", "keep_alive")


class _Own(Struct, gc=False):
    prompt_eval_count: int = 0


_OWN = Decoder(_Own, strict=False).decode


def to_openai(fields: Mapping[str, Raw], model: Raw, legacy: bool) -> tuple[dict[str, Raw], tuple[Loss, ...]]:
    """Make the body for /v1/embeddings. ``legacy``: /api/embeddings, which takes one ``prompt``. Raises
    "bad_request"."""
    check(fields, legacy)
    out = {"model": model, "input": fields["prompt" if legacy else "input"], "encoding_format": Raw(b'"float"')}
    if (raw := present(fields, "dimensions")) is not None:
        out["dimensions"] = Raw(encode(integer(raw, "dimensions")))
    losses = [Loss(f"extra.{key}", "a field of Ollama only") for key in _LOST if present(fields, key) is not None]
    return out, tuple(losses)


def check(fields: Mapping[str, Raw], legacy: bool) -> None:
    """Check the input. Raises "bad_request" for one that is no text or list of texts."""
    key = "prompt" if legacy else "input"
    raw = needed(fields, key, "", "a text" if legacy else "a text or a list of texts")
    if not legacy and opens(raw, "["):
        texts(raw, key)
    else:
        text(raw, key)


def render(rows: list[Raw], usage: Usage, model: Raw, legacy: bool, elapsed: int) -> bytes:
    """Render the client's answer from vectors (JSON lists of floats) in the order of the inputs."""
    if legacy:
        return encode({"embedding": rows[0] if rows else []})
    told: dict[str, Any] = {"model": model, "embeddings": rows, "total_duration": elapsed, "load_duration": 0}
    return encode(told | {"prompt_eval_count": usage.fresh})


def own_usage(body: bytes) -> Usage | None:
    """Read the usage of Ollama's own answer, if it tells one."""
    try:
        count = _OWN(body).prompt_eval_count
    except BAD_JSON:
        return None
    return Usage(fresh=count) if count else None
