"""/v1/embeddings at a target: as many requests as its limit makes necessary, one answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.core.ops import embeddings as forms
from penstock.core.ops import embeddings_bedrock as bedrock
from penstock.core.providers.bedrock import BEDROCK
from penstock.runtime import outlet
from penstock.runtime.ops.ask import ask, own_fields, sealed, together

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.http import Pool
    from penstock.runtime.targets import Target

LIMIT = "embedding_batch_size"
"""Of a deployment's ``model_info``: how many inputs one request may have, instead of the provider's known limit."""


async def embeddings(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /v1/embeddings."""
    fields = own_fields(call, target)
    form, parts = await vectors(pool, call, target, fields)
    call.lane = "cross" if form.ollama or target.provider.name == BEDROCK else "same"
    body, call.usage = forms.answer(call.fields, parts, call.model_raw)
    call.first_at = call.clock()
    outlet.send_whole(call, body)


async def vectors(
    pool: Pool, call: Call, target: Target, fields: Mapping[str, Raw]
) -> tuple[forms.Form, list[forms.Vectors]]:
    """The vectors of ``fields`` (of OpenAI's shape, whoever the client is), asked for in the target's own form."""
    form = form_of(target)
    if target.provider.name == BEDROCK:
        asked = [bedrock.request(fields, batch, target.model) for batch in forms.batches(fields, form.limit)]
        jobs = [partial(ask, pool, call, target, "embeddings", body, dialect=BEDROCK) for body in asked]
        return form, [bedrock.read(answer) for answer in await together(call, jobs)]
    what, dialect = ("ollama_embed", "ollama") if form.ollama else ("embeddings", "openai_chat")
    bodies = [
        sealed(forms.request(fields, form, batch), target) for batch in forms.batches(fields, form.limit)
    ]
    jobs = [partial(ask, pool, call, target, what, body, dialect=dialect) for body in bodies]
    return form, [forms.read(answer, form) for answer in await together(call, jobs)]


def form_of(target: Target) -> forms.Form:
    """Raises "not_configured" for a limit that is none."""
    limit = target.deployment.info.get(LIMIT)
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        text = f"model_info.{LIMIT} of {target.deployment.model_name!r} is {limit!r}; it must be a whole number from 1."
        raise GatewayError("not_configured", text)
    if target.provider.name == BEDROCK:
        known = bedrock.form_of(target.model)
        return known if limit is None else known._replace(limit=limit)
    return forms.form_of(target.forms_of, target.wire.official, target.dialects, limit)
