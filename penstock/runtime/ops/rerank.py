"""/rerank at a target."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from penstock.core.ops import rerank as forms
from penstock.core.price import Units
from penstock.runtime import outlet
from penstock.runtime.cross import mint
from penstock.runtime.ops.ask import ask, own_fields, sealed, together

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.http import Pool
    from penstock.runtime.targets import Target


async def rerank(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /rerank."""
    form = forms.form_of(target.forms_of)
    call.lane = "same" if form == "cohere" else "cross"
    fields, call.losses = forms.request(own_fields(call, target), form)
    what = "tei_rerank" if form == "tei" else "rerank"
    [answer] = await together(call, [partial(ask, pool, call, target, what, sealed(fields, target))])
    ranked = forms.read(answer)
    body = forms.answer(call.fields, ranked, call.model, mint)
    call.usage = forms.usage_of(ranked)
    # A request is one search where nobody counts: what Cohere bills for up to a hundred documents.
    call.units = Units(queries=1 if ranked.searches is None else ranked.searches)
    call.first_at = call.clock()
    outlet.send_whole(call, body)
