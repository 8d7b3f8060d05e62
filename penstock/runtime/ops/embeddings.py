"""/v1/embeddings at a target: as many requests as its limit makes necessary, one answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.core.envelope import seal
from penstock.core.errors import GatewayError
from penstock.core.ops import embeddings as embedding_wire
from penstock.core.ops import embeddings_bedrock as bedrock
from penstock.core.ops import tei
from penstock.core.ops.embeddings_own import tei_wanted
from penstock.core.providers.bedrock import BEDROCK
from penstock.core.providers.huggingface import HUB
from penstock.core.providers.urls import at_own_host, given_base
from penstock.runtime.ops.ask import ask, together
from penstock.runtime.same import body_of, own_fields

if TYPE_CHECKING:
    from penstock.core.ops.embeddings import Form, Vectors
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.live import Live
    from penstock.runtime.targets import Target

LIMIT = "embedding_batch_size"
"""Of a deployment's ``model_info``: how many inputs one request may have, instead of the provider's known limit."""

# form.own -> (operation, dialect of its errors)
_ASKED = {
    "cohere": ("cohere_embed", "cohere"),
    "tei": ("tei_embed", "openai_chat"),
    "hub": ("hub_embed", "openai_chat"),
}


async def embeddings(attempt: Attempt) -> None:
    """Make one try at /v1/embeddings."""
    fields = own_fields(attempt)
    form, parts = await vectors(attempt, fields)
    own = form.ollama or form.own or attempt.target.provider.name == BEDROCK
    attempt.lane = "cross" if own else "same"
    attempt.losses = embedding_wire.losses(fields, form)
    body, attempt.usage = embedding_wire.answer(attempt.fields, parts, attempt.call.model_raw)
    attempt.call.outlet.whole(attempt, body)


async def vectors(attempt: Attempt, fields: Mapping[str, Raw]) -> tuple[Form, list[Vectors]]:
    """Return the vectors of ``fields`` (of OpenAI's shape, whoever the client is), asked for in the target's own form.
    A server of Hugging Face's that takes less at once than was sent is asked again, in the size that it told."""
    target = attempt.target
    form = form_of(target, attempt.live, fields)
    if embedding_wire.messages(fields) is not None:
        body = body_of(embedding_wire.talk_request(fields, form, target.label), attempt)
        return form, [embedding_wire.read(await ask(attempt, "embeddings", body), form)]
    if target.provider.name == BEDROCK:
        asked = [bedrock.request(fields, batch, target.model) for batch in embedding_wire.batches(fields, form.limit)]
        jobs = [partial(ask, attempt, "embeddings", body, dialect=BEDROCK) for body in asked]
        return form, [bedrock.read(answer) for answer in await together(attempt, jobs)]
    try:
        return form, await _asked(attempt, fields, form)
    except GatewayError as error:
        limit = note_batch_limit(target, attempt.live, error)
        if not limit or limit >= (form.limit or limit + 1):
            raise tei.explained(error) if target.provider.name in tei.NAMES else error from None
        form = form._replace(limit=limit)
        return form, await _asked(attempt, fields, form)


async def _asked(attempt: Attempt, fields: Mapping[str, Raw], form: Form) -> list[Vectors]:
    what, dialect = ("ollama_embed", "ollama") if form.ollama else _ASKED.get(form.own, ("embeddings", "openai_chat"))
    batches = embedding_wire.batches(fields, embedding_wire.limit_of(fields, form))
    made = [embedding_wire.request(fields, form, batch) for batch in batches]
    bodies = [seal(one) if form.own in ("tei", "hub") else body_of(one, attempt) for one in made]
    jobs = [partial(ask, attempt, what, body, dialect=dialect) for body in bodies]
    return [embedding_wire.read(answer, form) for answer in await together(attempt, jobs)]


def form_of(target: Target, live: Live, fields: Mapping[str, Raw]) -> Form:
    """Find the form that the target takes. Raises "not_configured" for a limit that is none."""
    limit = own_limit(target)
    if target.provider.name == BEDROCK:
        known = bedrock.form_of(target.model)
        return known if limit is None else known._replace(limit=limit)
    form = embedding_wire.form_of(target.forms_of, target.wire.official, live.speaks(target), limit)
    if target.provider.name in tei.NAMES:
        return _hugging_face(target, live, fields, form)
    return form


def own_limit(target: Target) -> int | None:
    """Return the deployment's own limit. Raises "not_configured" for one that is none."""
    limit = target.deployment.info.get(LIMIT)
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        text = f"model_info.{LIMIT} of {target.deployment.model_name!r} is {limit!r}; it must be a whole number from 1."
        raise GatewayError("not_configured", text)
    return limit


def _hugging_face(target: Target, live: Live, fields: Mapping[str, Raw], form: Form) -> Form:
    """Choose the form for Hugging Face: the hub's own inference where there is no address; a server's ``/embed`` where
    the address is that, or where the request has what only that reads; else its ``/v1/embeddings``, which counts
    tokens."""
    form = form._replace(limit=min(form.limit, live.batch or form.limit))
    base = target.deployment.api_base
    if target.provider.name == HUB and at_own_host(target.provider, base, target.env):
        return form._replace(own="hub")
    given = (given_base(target.provider, base, target.env) or "").partition("?")[0].rstrip("/")
    return form._replace(own="tei") if given.endswith("/embed") or tei_wanted(fields) else form


def note_batch_limit(target: Target, live: Live, error: GatewayError) -> int:
    """Remember what a server of Hugging Face's says that it takes at once; 0 when it says nothing of it."""
    limit = tei.limit_in(error) if target.provider.name in tei.NAMES else 0
    if limit:
        live.batch = limit
    return limit


def batch_limit(target: Target, live: Live) -> int:
    """Tell how many texts a server of Hugging Face's is sent at once."""
    limit = own_limit(target) or tei.LIMIT
    return min(limit, live.batch or limit)
