"""Whom a request is for, and which tags it has: what it says of them in headers and in its body.

The order is LiteLLM's (its ``get_end_user_id_from_request_body``): headers, then ``user``, then what Anthropic's and
OpenAI's clients have in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.runtime.routing import tags_of

if TYPE_CHECKING:
    from penstock.runtime.call import Call

LONGEST = 1024  # bytes of an id, characters of a tag
MOST_TAGS = 100
_INSIDE = (("litellm_metadata", "user"), ("metadata", "user_id"))
_SAYS = frozenset(("user", "litellm_metadata", "metadata", "safety_identifier"))
_TAGS = frozenset(("tags", "metadata", "litellm_metadata"))
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_VALUE = msgspec.json.Decoder().decode


def end_user_of(call: Call, headers: Sequence[bytes]) -> str:
    """Return the id of the end user that a request is for; "" where it names none. ``headers``: those that may. A
    digest stands for an id that is longer than any that can be kept."""
    sent, fields = call.exchange.headers, call.fields
    for name in headers:
        if name in sent and (named := in_headers(call, headers)):
            return named
    if _SAYS.isdisjoint(fields):
        return ""
    if "user" in fields and (found := _text(fields["user"])):
        return found
    for outer, inner in _INSIDE:
        if outer in fields:
            try:
                raw = _FIELDS(fields[outer]).get(inner)
            except BAD_JSON:
                continue
            if raw is not None and (found := _text(raw)):
                return found
    return _text(fields["safety_identifier"]) if "safety_identifier" in fields else ""


def in_headers(call: Call, names: Sequence[bytes]) -> str:
    """Return the id in the first of those headers that has one."""
    sent = call.exchange.headers
    for name in names:
        value = sent.get(name)
        if value is not None and (text := value.decode("latin-1").strip()):
            return _short(text.encode())
    return ""


def is_object(id_: str) -> bool:
    """Tell whether an id is a JSON object or array in a text: Claude Code names its session so in
    ``metadata.user_id``."""
    if id_[:1] not in ("{", "["):
        return False
    try:
        return isinstance(_VALUE(id_), dict | list)
    except BAD_JSON:
        return False


def request_tags(call: Call) -> tuple[str, ...]:
    """Return the tags of a request. Raises "bad_request" for more or longer ones than anybody needs."""
    if _TAGS.isdisjoint(call.fields) and b"x-litellm-tags" not in call.exchange.headers:
        return ()
    tags = tags_of(call)
    if len(tags) > MOST_TAGS:
        raise GatewayError("bad_request", f"'tags' has {len(tags)} tags; {MOST_TAGS} are the most.", param="tags")
    for tag in tags:
        if len(tag) > LONGEST:
            text = f"'tags' has one that is over {LONGEST} characters long, which no tag here may be."
            raise GatewayError("bad_request", text, param="tags")
    return tags


def header_tags(call: Call, headers: Sequence[tuple[str, bytes]]) -> list[str]:
    """Return the tags that headers stand for: ``name: value``. ``headers``: the names, as they are told and sent."""
    sent = ((shown, call.exchange.headers.get(name)) for shown, name in headers)
    return [f"{shown}: {value.decode('latin-1')}"[:LONGEST] for shown, value in sent if value]


def _text(raw: Raw) -> str:
    """Read an id, which some clients send as a number; "" for what is none."""
    data = bytes(raw)
    if len(data) > 6 * LONGEST + 2:
        return _short(data) if data[:1] == b'"' else ""
    value = _VALUE(data)
    if isinstance(value, str):
        return _short(value.strip().encode("utf-8", "surrogatepass"))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _short(text: bytes) -> str:
    if len(text) > LONGEST:
        return f"long:{blake2b(text, digest_size=16).hexdigest()}"
    return text.decode("utf-8", "surrogatepass")
