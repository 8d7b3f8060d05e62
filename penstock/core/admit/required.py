"""What requests must say: the operator's ``enforced_params``, those of a key, and those of its team."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from penstock.core.admit.holders import Bad
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError

NAME = "enforced_params"
MOST, LONGEST = 100, 200  # names, and characters of one
_OBJECT = msgspec.json.Decoder(dict[str, Raw]).decode
_STAND_IN = {"metadata": "litellm_metadata"}  # where a vendor's own ``metadata`` takes nothing but what it knows


def read_required(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Read what a row demands, at its top or in its ``metadata``. Raises ``Bad``."""
    metadata = body.get("metadata")
    found = body.get(NAME) or (metadata.get(NAME) if isinstance(metadata, Mapping) else None)
    if found is None:
        return ()
    if not isinstance(found, list | tuple) or len(found) > MOST or not all(map(_is_name, found)):
        raise Bad(NAME, f"must be a list of up to {MOST} names of fields, such as ['user', 'metadata.generation_name']")
    return tuple(found)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST


def check_required(fields: Mapping[str, Raw], names: Iterable[str]) -> None:
    """Refuse a request that does not say what it must: null says nothing. A dot leads into an object. Raises
    "bad_request", in LiteLLM's words."""
    for name in names:
        if not _says(fields, name):
            path = f"[{']['.join(name.split('.'))}]" if "." in name else name
            text = f"BadRequest please pass param={path} in request body. This is a required param ({NAME})."
            raise GatewayError("bad_request", text, param=name)


def _says(fields: Mapping[str, Raw], name: str) -> bool:
    first, _, rest = name.partition(".")
    for key in (first, _STAND_IN.get(first)):
        raw = None if key is None else fields.get(key)
        if raw is None or (len(memoryview(raw)) == 4 and bytes(raw) == b"null"):
            continue
        if not rest:
            return True
        try:
            if _says(_OBJECT(raw), rest):
                return True
        except BAD_JSON:
            continue
    return False
