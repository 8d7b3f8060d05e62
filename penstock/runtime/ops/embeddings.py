"""/v1/embeddings at a target: as many requests as its limit makes necessary, one answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from msgspec import Raw

from penstock.core.envelope import seal
from penstock.core.errors import GatewayError
from penstock.core.ops import embeddings as forms
from penstock.core.ops import embeddings_bedrock as bedrock
from penstock.core.ops import tei
from penstock.core.ops.embeddings_own import tei_wanted
from penstock.core.providers.bedrock import BEDROCK
from penstock.core.providers.huggingface import HUB
from penstock.core.providers.urls import at_own_host, given_base
from penstock.runtime import outlet
from penstock.runtime.ops.ask import ask, own_fields, sealed, together

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.http import Pool
    from penstock.runtime.targets import Target

LIMIT = "embedding_batch_size"
"""Of a deployment's ``model_info``: how many inputs one request may have, instead of the provider's known limit."""

# form.own -> (operation, dialect of its errors)
_ASKED = {
    "cohere": ("cohere_embed", "cohere"),
    "tei": ("tei_embed", "openai_chat"),
    "hub": ("hub_embed", "openai_chat"),
}
_learned: WeakKeyDictionary[Target, int] = WeakKeyDictionary()  # what servers said that they take at once


async def embeddings(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /v1/embeddings."""
    fields = own_fields(call, target)
    form, parts = await vectors(pool, call, target, fields)
    call.lane = "cross" if form.ollama or form.own or target.provider.name == BEDROCK else "same"
    call.losses = forms.losses(fields, form)
    body, call.usage = forms.answer(call.fields, parts, call.model_raw)
    call.first_at = call.clock()
    outlet.send_whole(call, body)


async def vectors(
    pool: Pool, call: Call, target: Target, fields: Mapping[str, Raw]
) -> tuple[forms.Form, list[forms.Vectors]]:
    """The vectors of ``fields`` (of OpenAI's shape, whoever the client is), asked for in the target's own form. A
    server of Hugging Face's that takes less at once than was sent is asked again, in the size that it told."""
    form = form_of(target, fields)
    if target.provider.name == BEDROCK:
        asked = [bedrock.request(fields, batch, target.model) for batch in forms.batches(fields, form.limit)]
        jobs = [partial(ask, pool, call, target, "embeddings", body, dialect=BEDROCK) for body in asked]
        return form, [bedrock.read(answer) for answer in await together(call, jobs)]
    try:
        return form, await _asked(pool, call, target, fields, form)
    except GatewayError as error:
        limit = learn(target, error)
        if not limit or limit >= (form.limit or limit + 1):
            raise tei.explained(error) if target.provider.name in tei.NAMES else error from None
        form = form._replace(limit=limit)
        return form, await _asked(pool, call, target, fields, form)


async def _asked(
    pool: Pool, call: Call, target: Target, fields: Mapping[str, Raw], form: forms.Form
) -> list[forms.Vectors]:
    what, dialect = ("ollama_embed", "ollama") if form.ollama else _ASKED.get(form.own, ("embeddings", "openai_chat"))
    made = [forms.request(fields, form, batch) for batch in forms.batches(fields, forms.limit_of(fields, form))]
    bodies = [seal(one) if form.own in ("tei", "hub") else sealed(one, target) for one in made]
    jobs = [partial(ask, pool, call, target, what, body, dialect=dialect) for body in bodies]
    return [forms.read(answer, form) for answer in await together(call, jobs)]


def form_of(target: Target, fields: Mapping[str, Raw]) -> forms.Form:
    """Raises "not_configured" for a limit that is none."""
    limit = own_limit(target)
    if target.provider.name == BEDROCK:
        known = bedrock.form_of(target.model)
        return known if limit is None else known._replace(limit=limit)
    form = forms.form_of(target.forms_of, target.wire.official, target.dialects, limit)
    if target.provider.name in tei.NAMES:
        return _hugging_face(target, fields, form)
    return form


def own_limit(target: Target) -> int | None:
    """The deployment's own limit. Raises "not_configured" for one that is none."""
    limit = target.deployment.info.get(LIMIT)
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        text = f"model_info.{LIMIT} of {target.deployment.model_name!r} is {limit!r}; it must be a whole number from 1."
        raise GatewayError("not_configured", text)
    return limit


def _hugging_face(target: Target, fields: Mapping[str, Raw], form: forms.Form) -> forms.Form:
    """The hub's own inference where there is no address; a server's ``/embed`` where the address is that, or where the
    request has what only that reads; else its ``/v1/embeddings``, which counts tokens."""
    form = form._replace(limit=min(form.limit, _learned.get(target, form.limit)))
    base = target.deployment.api_base
    if target.provider.name == HUB and at_own_host(target.provider, base, target.env):
        return form._replace(own="hub")
    given = (given_base(target.provider, base, target.env) or "").partition("?")[0].rstrip("/")
    return form._replace(own="tei") if given.endswith("/embed") or tei_wanted(fields) else form


def learn(target: Target, error: GatewayError) -> int:
    """What a server of Hugging Face's says that it takes at once, remembered; 0 when it says nothing of it."""
    limit = tei.limit_in(error) if target.provider.name in tei.NAMES else 0
    if limit:
        _learned[target] = limit
    return limit


def batch_limit(target: Target) -> int:
    """How many texts a server of Hugging Face's is sent at once."""
    limit = own_limit(target) or tei.LIMIT
    return min(limit, _learned.get(target, limit))
