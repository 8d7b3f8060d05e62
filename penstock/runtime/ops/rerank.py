"""/rerank at a target."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.core.ops import rerank as rerank_wire
from penstock.core.ops import tei
from penstock.core.price import Units
from penstock.runtime.ids import mint
from penstock.runtime.ops.ask import ask, together
from penstock.runtime.ops.embeddings import batch_limit, note_batch_limit
from penstock.runtime.same import body_of, own_fields

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.runtime.attempt import Attempt


async def rerank(attempt: Attempt) -> None:
    """Make one try at /rerank."""
    call, form = attempt.call, rerank_wire.form_of(attempt.target.forms_of)
    attempt.lane = "same" if form == "cohere" else "cross"
    fields, attempt.losses = rerank_wire.request(own_fields(attempt), form)
    if form == "tei":
        ranked = await _in_pieces(attempt, fields)
    else:
        dialect = "cohere" if form == "cohere" else "openai_chat"
        ranked = rerank_wire.read(await ask(attempt, "rerank", body_of(fields, attempt), dialect=dialect))
    body = rerank_wire.answer(attempt.fields, ranked, call.asked, mint)
    attempt.usage = rerank_wire.usage_of(ranked)
    # A request is one search where nobody counts: what Cohere bills for up to a hundred documents.
    attempt.units = Units(queries=1 if ranked.searches is None else ranked.searches)
    call.outlet.whole(attempt, body)


async def _in_pieces(attempt: Attempt, fields: dict[str, Raw]) -> rerank_wire.Ranked:
    """Ask a server of Hugging Face's in requests of as many texts as it takes at once; when it says that it takes
    fewer, ask again."""
    limit = batch_limit(attempt.target, attempt.live)
    try:
        return await _asked(attempt, fields, limit)
    except GatewayError as error:
        told = note_batch_limit(attempt.target, attempt.live, error)
        if not told or told >= limit:
            raise tei.explained(error) from None
        return await _asked(attempt, fields, told)


async def _asked(attempt: Attempt, fields: dict[str, Raw], limit: int) -> rerank_wire.Ranked:
    made = rerank_wire.pieces(fields, limit)
    answers = await together(attempt, [partial(ask, attempt, "tei_rerank", body_of(body, attempt)) for _, body in made])
    return rerank_wire.joined([(at, rerank_wire.read(answer)) for (at, _), answer in zip(made, answers, strict=True)])
