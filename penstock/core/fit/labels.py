"""Labels of a request that are longer, or more, than an API takes: who asks, what it is filed under, what it is called.

Claude Code's user is a JSON text of 140 characters; OpenAI refuses the whole request for more than 64.
"""

from __future__ import annotations

from msgspec import DecodeError, Raw
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.errors import GatewayError
from penstock.core.fit.base import Takes, Undo
from penstock.core.fit.limits import Limits, Spelling
from penstock.core.fit.respell import respell
from penstock.core.ir import Loss, Request

_OBJECT = Decoder(dict[str, Raw]).decode
_STRING = Decoder(str).decode
_LONGEST_KEY, _LONGEST_VALUE = 64, 512
"""Of metadata: https://platform.openai.com/docs/api-reference/chat/create#chat-create-metadata."""


def fit_labels(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Leave out labels that the API does not take; names that only say which is which get another one. Raises
    "unsupported" for more tools than it takes."""
    limits = takes.limits
    if request.dialect == takes.dialect:
        return request, None
    if limits.tools and len(request.tools) > limits.tools:
        text = f"{takes.wire.model} takes at most {limits.tools} tools in a request; this one has {len(request.tools)}."
        raise GatewayError("unsupported", text, param="tools")
    output, spelling = request.output, limits.format_names
    if output is not None and spelling is not None and output.name:
        request = replace(request, output=replace(output, name=_spelled(output.name, spelling)))
    if request.user and 0 < limits.user < len(request.user):
        losses.append(Loss("user", f"longer than {limits.user} characters"))
        request = replace(request, user="")
    if request.cache_key and 0 < limits.cache_key < len(request.cache_key):
        key = request.cache_key
        if spelling is not None:
            request = replace(request, cache_key=respell(key, spelling))
    if request.metadata and limits.metadata:
        request = _metadata(request, limits, losses)
    return request, None


def _spelled(name: str, spelling: Spelling) -> str:
    return name if spelling.accepted.fullmatch(name) else respell(name, spelling)


def _metadata(request: Request, limits: Limits, losses: list[Loss]) -> Request:
    try:
        pairs = _OBJECT(request.metadata)
    except DecodeError:
        return request
    kept: dict[str, Raw] = {}
    for key, value in pairs.items():
        if len(kept) == limits.metadata:
            losses.append(Loss(f"metadata.{key}", f"at most {limits.metadata} pairs here"))
        elif len(key) > _LONGEST_KEY:
            losses.append(Loss(f"metadata.{key}", f"a key longer than {_LONGEST_KEY} characters"))
        elif not _is_short(value):
            losses.append(Loss(f"metadata.{key}", f"not a text of at most {_LONGEST_VALUE} characters"))
        else:
            kept[key] = value
    return request if len(kept) == len(pairs) else replace(request, metadata=encode(kept) if kept else b"")


def _is_short(value: Raw) -> bool:
    try:
        return len(_STRING(value)) <= _LONGEST_VALUE
    except DecodeError:
        return False
