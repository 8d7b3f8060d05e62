"""``guided_json`` in the same-dialect lane: vLLM's bare schema as the structured output of the dialect at hand.

Engines that know the field get it untouched; any other would ignore it in silence. What the client asks for in the
dialect's own words wins.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.errors import GatewayError

_NAME = "guided_json"
_FIELDS = Decoder(dict[str, Raw]).decode


def lift(fields: dict[str, Raw], dialect: str) -> None:
    """Replaces ``guided_json`` (a schema, or its text) in a request's top level. Raises "bad_request" for no object."""
    raw = fields.pop(_NAME)
    try:
        if bytes(memoryview(raw)[:1]) == b'"':
            raw = Raw(msgspec.json.decode(raw, type=str).encode())
        _FIELDS(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise GatewayError("bad_request", "'guided_json' must be a JSON schema, an object.", param=_NAME) from None
    if dialect == "openai_chat":
        if _absent(fields, "response_format"):
            schema = {"name": _NAME, "schema": raw}
            fields["response_format"] = Raw(encode({"type": "json_schema", "json_schema": schema}))
    elif dialect == "openai_responses":
        _inside(fields, "text", {"type": "json_schema", "name": _NAME, "schema": raw})
    elif dialect == "anthropic":
        _inside(fields, "output_config", {"type": "json_schema", "schema": raw})


def _inside(fields: dict[str, Raw], key: str, wanted: dict[str, object]) -> None:
    """``format`` inside an object that may hold more."""
    held = {} if _absent(fields, key) else _FIELDS(fields[key])
    if "format" not in held:
        fields[key] = Raw(encode({**held, "format": wanted}))


def _absent(fields: dict[str, Raw], key: str) -> bool:
    return key not in fields or fields[key] == Raw(b"null")
