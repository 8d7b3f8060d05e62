"""``:embedContent`` and ``:batchEmbedContents`` at a target: in Google's own form where it is Google's, else in that of
/v1/embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.count import text_size, tokens
from penstock.core.ir import Usage
from penstock.core.ops import embeddings_google as google_wire
from penstock.core.ops.embeddings import in_encoding, total
from penstock.core.providers.google import GEMINI
from penstock.runtime.ops.ask import ask
from penstock.runtime.ops.embeddings import vectors
from penstock.runtime.same import own_fields

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt


async def embed_content(attempt: Attempt) -> None:
    """Make one try at ``:embedContent``."""
    await _embed(attempt, False)


async def batch_embed_contents(attempt: Attempt) -> None:
    """Make one try at ``:batchEmbedContents``."""
    await _embed(attempt, True)


async def _embed(attempt: Attempt, batch: bool) -> None:
    call, target = attempt.call, attempt.target
    given = {key: raw for key, raw in attempt.fields.items() if key not in ("model", "stream")}
    if target.provider.name == GEMINI and GEMINI in attempt.live.speaks(target):
        attempt.lane = "same"
        what = "gemini_batch_embed" if batch else "gemini_embed"
        body = await ask(attempt, what, google_wire.own_body(given, batch, target.path_model), dialect=GEMINI)
        size = sum(text_size(bytes(raw)) for raw in given.values())
        attempt.usage = google_wire.own_usage(body) or Usage(fresh=tokens(size), estimated=True)
    else:
        attempt.lane = "cross"
        cohere = "cohere" in attempt.live.speaks(target)
        asked = google_wire.to_openai(given, batch, cohere)
        attempt.losses = asked.losses
        own = {key: raw for key, raw in own_fields(attempt).items() if key not in attempt.fields}
        fields = {**own, **asked.fields, "model": target.model_raw}
        _, parts = await vectors(attempt, fields)
        rows = [in_encoding(row, "float") for part in parts for row in part.rows]
        attempt.usage = total(fields, parts)
        body = google_wire.render(rows, attempt.usage, batch)
    call.outlet.whole(attempt, body)
