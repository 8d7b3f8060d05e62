"""The same-dialect lane's request: the client's own fields with the few edits that config and provider call for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from penstock.core.defaults import WORDS, drop_fields, lay_body, lay_in, lay_words
from penstock.core.dialects import DIALECTS, EDITORS
from penstock.core.envelope import seal
from penstock.core.errors import GatewayError
from penstock.core.providers.apply import apply_quirks
from penstock.core.providers.constraints import ENGINES
from penstock.core.providers.fitting import plain_effort
from penstock.runtime.call import GATEWAY_FIELDS, OURS, REFUSED_FIELDS, refused_field

if TYPE_CHECKING:
    from penstock.core.dialects.base import Dialect
    from penstock.core.ir import Loss
    from penstock.core.providers.spec import Quirks
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.targets import Target

# What the content type of a dialect's streams holds.
_STREAM_TYPES: Mapping[str, bytes] = {name: dialect.stream_type for name, dialect in DIALECTS.items()}


def same_request(attempt: Attempt, given: dict[str, Raw], quirks: Quirks, dialect: str) -> bytes:
    """Render ``given``, fields of the client's, for the target: under the upstream's name of the model. Notes what is
    left out in ``attempt.losses``."""
    target = attempt.target
    fields = dict(given)
    if not OURS.isdisjoint(fields):
        fields = without_ours(fields, target)
    if "extra_body" in fields:
        merge(fields)
    fields["model"] = target.model_raw
    lost = _lay_defaults(attempt, fields, dialect) if target.lays else ()
    if target.cache_points:
        _mark_cache(target, fields, dialect)
    losses = apply_quirks(fields, quirks, target.drop_params)
    if "reasoning_effort" in fields:
        losses += plain_effort(fields)
    EDITORS[dialect].prepare(fields, attempt.stream, quirks.stream_usage)
    attempt.losses = (*lost, *losses)
    return seal(fields)


def _lay_defaults(attempt: Attempt, fields: dict[str, Raw], dialect: str) -> tuple[Loss, ...]:
    """Lay what the deployment says under fields in ``dialect``, in place; returns what of it does not fit beside
    them."""
    target = attempt.target
    lost: tuple[Loss, ...] = ()
    if dialect in WORDS:
        lay_words(fields, target.defaults, dialect)
    elif target.said is not None:
        lost = lay_in(fields, target.said, DIALECTS[dialect], target.takes_for(dialect))
    lay_body(fields, target.extra_body)
    drop_fields(fields, target.drop)
    return lost


def _mark_cache(target: Target, fields: dict[str, Raw], dialect: str) -> None:
    """Mark where the prompt is cached, if the target takes such marks in ``dialect``."""
    mark = EDITORS[dialect].mark_cache
    if mark is not None and (DIALECTS[dialect].caches or target.wire_for(dialect).cache_marks):
        mark(fields, target.cache_points)


def own_fields(attempt: Attempt) -> dict[str, Raw]:
    """Return the client's fields without those for the gateway, with the deployment's defaults."""
    target = attempt.target
    fields = without_ours(attempt.fields, target)
    fields.pop("metadata", None)  # a word for the log (seed C-09), and for no vendor of these operations
    if target.lays:
        lay_words(fields, target.defaults)
        lay_body(fields, target.extra_body)
        drop_fields(fields, target.drop)
    return fields


def without_ours(fields: dict[str, Raw], target: Target) -> dict[str, Raw]:
    """Leave out what is for the gateway: its own fields, and ``priority`` where the target has no queue that goes by
    it (engines have, and Cohere)."""
    ours = GATEWAY_FIELDS if target.guides in ENGINES or "cohere" in target.dialects else OURS
    return {key: value for key, value in fields.items() if key not in ours}


def body_of(fields: dict[str, Raw], attempt: Attempt) -> bytes:
    """Make the body for the wire, under the upstream's name of the model."""
    target = attempt.target
    fields["model"] = target.model_raw
    if target.seal is not None:
        target.seal(fields)
    return seal(fields)


def merge(fields: dict[str, Raw]) -> None:
    """Put what stands in ``extra_body`` at the top (LiteLLM's habit). Raises "bad_request"."""
    try:
        extra = msgspec.json.decode(fields.pop("extra_body"), type=dict[str, Raw])
    except msgspec.ValidationError:
        raise GatewayError("bad_request", "'extra_body' must be an object.", param="extra_body") from None
    for name in REFUSED_FIELDS:
        if name in extra:  # an upstream that is a gateway itself would obey it
            raise refused_field(name)
    for key, value in extra.items():
        if key not in GATEWAY_FIELDS and key != "model":
            fields[key] = value


def is_stream(stream: bool, dialect: Dialect, content_type: bytes) -> bool:
    """Tell whether an answer is a stream; ``stream``: one was asked for. Servers exist that label their event streams
    text/plain, or not at all; a page or a JSON answer is none."""
    if b"event-stream" in content_type or _STREAM_TYPES[dialect.name] in content_type:
        return True
    return stream and b"json" not in content_type and b"html" not in content_type
