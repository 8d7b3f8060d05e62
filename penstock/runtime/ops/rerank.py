"""/rerank at a target."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.core.ops import rerank as forms
from penstock.core.ops import tei
from penstock.core.price import Units
from penstock.runtime import outlet
from penstock.runtime.cross import mint
from penstock.runtime.ops.ask import ask, own_fields, sealed, together
from penstock.runtime.ops.embeddings import batch_limit, learn

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.runtime.call import Call
    from penstock.runtime.http import Pool
    from penstock.runtime.targets import Target


async def rerank(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /rerank."""
    form = forms.form_of(target.forms_of)
    call.lane = "same" if form == "cohere" else "cross"
    fields, call.losses = forms.request(own_fields(call, target), form)
    if form == "tei":
        ranked = await _in_pieces(pool, call, target, fields)
    else:
        dialect = "cohere" if form == "cohere" else "openai_chat"
        job = partial(ask, pool, call, target, "rerank", sealed(fields, target), dialect=dialect)
        [answer] = await together(call, [job])
        ranked = forms.read(answer)
    body = forms.answer(call.fields, ranked, call.model, mint)
    call.usage = forms.usage_of(ranked)
    # A request is one search where nobody counts: what Cohere bills for up to a hundred documents.
    call.units = Units(queries=1 if ranked.searches is None else ranked.searches)
    call.first_at = call.clock()
    outlet.send_whole(call, body)


async def _in_pieces(pool: Pool, call: Call, target: Target, fields: dict[str, Raw]) -> forms.Ranked:
    """Of a server of Hugging Face's, which takes so many texts at once; one that takes less says so, and is asked
    again."""
    limit = batch_limit(target)
    try:
        return await _asked(pool, call, target, fields, limit)
    except GatewayError as error:
        told = learn(target, error)
        if not told or told >= limit:
            raise tei.explained(error) from None
        return await _asked(pool, call, target, fields, told)


async def _asked(pool: Pool, call: Call, target: Target, fields: dict[str, Raw], limit: int) -> forms.Ranked:
    made = forms.pieces(fields, limit)
    jobs = [partial(ask, pool, call, target, "tei_rerank", sealed(body, target)) for _, body in made]
    answers = await together(call, jobs)
    return forms.joined([(at, forms.read(answer)) for (at, _), answer in zip(made, answers, strict=True)])
