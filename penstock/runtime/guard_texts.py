"""The texts of a request for its guards, and how others are put in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.core.envelope import seal
from penstock.core.errors import GatewayError
from penstock.core.guarding.spots import put_texts
from penstock.runtime import apart
from penstock.runtime.call import GATEWAY_FIELDS

if TYPE_CHECKING:
    from penstock.runtime.call import Call

_SPARED = GATEWAY_FIELDS | {"model", "stream", "metadata", "user", "tools", "functions", "stream_options"}


def _listed(texts: Callable[[Mapping[str, Raw]], Iterable[str]], fields: Mapping[str, Raw]) -> list[str]:
    return list(texts(fields))


async def texts_of(call: Call, large: bool) -> list[str]:
    """Collect the texts of a request."""
    surface = call.surface
    assert surface is not None
    texts = surface.texts or surface.dialect.texts
    return await apart.plain(_listed, texts, call.fields) if large else list(texts(call.fields))


def _changed(
    texts: Callable[[Mapping[str, Raw]], Iterable[str]], fields: dict[str, Raw], changes: Mapping[str, str]
) -> dict[str, Raw] | None:
    """Return a request's fields with its texts changed; None where one of these stands where it cannot be changed."""
    made = put_texts(fields, changes, _SPARED)
    return None if any(text in changes for text in texts(made)) else made


async def put_changes(call: Call, changes: Mapping[str, str], large: bool) -> None:
    """Put changed texts into a request: for upstreams, caches and notes it is as if the client had sent them."""
    surface = call.surface
    assert surface is not None
    texts = surface.texts or surface.dialect.texts
    if large:
        fields = await apart.plain(_changed, texts, call.fields, changes)
    else:
        fields = _changed(texts, call.fields, changes)
    if fields is None:
        raise GatewayError("guard_failed", "What a guardrail masks in this request stands where it cannot be masked.")
    if call.exchange.upload is not None:
        text = "A guardrail would mask a field of this upload, which is passed on as it is."
        raise GatewayError("guard_failed", text)
    call.fields, call.request = fields, None
    call.exchange.body = seal(fields)
