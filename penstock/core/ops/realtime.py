"""OpenAI's Realtime events: the model's name where it stands in them, and what a response used.

Most of what passes is audio in base64; only events in which a name or counts stand are read at all. Sources:
https://platform.openai.com/docs/api-reference/realtime-client-events and -server-events (``session.update``,
``session.created``, ``response.done``); audio that was read from the cache is counted in ``audio_tokens``, too.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage

_DECODE = msgspec.json.Decoder(dict[str, Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
_MODEL = b'"model"'
_DONE = b"response.done"
_HELD = ("session", "response")  # where a model's name may stand


class _Cached(Struct, gc=False):
    audio_tokens: int | None = None


class _Input(Struct, gc=False):
    cached_tokens: int | None = None
    audio_tokens: int | None = None
    cached_tokens_details: _Cached | None = None


class _Output(Struct, gc=False):
    audio_tokens: int | None = None


class _Usage(Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: _Input | None = None
    output_token_details: _Output | None = None


_USAGE = msgspec.json.Decoder(_Usage, strict=False)


class Told(NamedTuple):
    """An event for the client. ``kind``: its type, where it was read; "error" for one that holds an error."""

    data: bytes
    kind: str = ""
    usage: Usage | None = None


def read_usage(raw: Raw | None) -> Usage | None:
    """Read the counts of a ``response.done``; None where it tells none."""
    if raw is None:
        return None
    try:
        found = _USAGE.decode(raw)
    except BAD_JSON:
        return None
    if found.input_tokens is None and found.output_tokens is None:
        return None
    inside, outside = found.input_token_details or _Input(), found.output_token_details or _Output()
    total, output, cached = found.input_tokens or 0, found.output_tokens or 0, inside.cached_tokens or 0
    held = inside.cached_tokens_details
    heard = (inside.audio_tokens or 0) - ((held.audio_tokens or 0) if held is not None else 0)
    fresh = max(total - cached, 0)
    return Usage(
        fresh=fresh,
        cache_read=cached,
        output=output,
        audio_in=min(max(heard, 0), fresh),
        audio_out=min(outside.audio_tokens or 0, output),
    )


def for_upstream(data: bytes, asked: str, model: str) -> bytes:
    """Put the upstream's name of the model into a client's event, in the place of the one that was asked for. Raises
    "bad_request" for any other name: a session is one model's, which its key and its price were looked up for."""
    if _MODEL not in data:
        return data
    try:
        fields = _DECODE(data)
    except BAD_JSON:
        return data  # the upstream says what is wrong with it
    changed = False
    for key in _HELD:
        inner = _object(fields.get(key))
        if inner is None or "model" not in inner:
            continue
        named = _text(inner["model"])
        if named not in (asked, model):
            text = f"'{key}.model' is {named[:200]!r}: this session is one of {asked!r}; open another for it."
            raise GatewayError("bad_request", text, param=f"{key}.model")
        inner["model"] = Raw(_ENCODE(model))
        fields[key] = Raw(_ENCODE(inner))
        changed = True
    return _ENCODE(fields) if changed else data


def for_client(data: bytes, asked: str, model: str) -> Told:
    """Put the name that was asked for into a server's event, in the place of the upstream's, and read what it used."""
    done = _DONE in data[:400] or (_DONE in data and b'"usage"' in data)
    created = b"response.created" in data[:400]
    failed = b'"error"' in data
    if not (done or created or failed or _MODEL in data):
        return Told(data)
    try:
        fields = _DECODE(data)
    except BAD_JSON:
        return Told(data, "error")  # nobody knows what it says
    kind = _text(fields.get("type"))
    changed = False
    for key in _HELD:
        inner = _object(fields.get(key))
        if inner is not None and _text(inner.get("model")) == model:
            inner["model"] = Raw(_ENCODE(asked))
            fields[key] = Raw(_ENCODE(inner))
            changed = True
    usage = None
    if kind == "response.done":
        usage = read_usage((_object(fields.get("response")) or {}).get("usage"))
    if kind not in ("response.done", "response.created") and failed:
        kind = "error"
    return Told(_ENCODE(fields) if changed else data, kind, usage)


def error_event(error: GatewayError) -> bytes:
    """Render an error as an event of the session."""
    told = {"type": error.row.openai, "code": error.kind, "message": error.text, "param": error.param, "event_id": None}
    return _ENCODE({"type": "error", "event_id": "event_penstock", "error": told})


def _object(raw: Raw | None) -> dict[str, Raw] | None:
    if raw is None or bytes(memoryview(raw)[:1]) != b"{":
        return None
    try:
        return _DECODE(raw)
    except BAD_JSON:
        return None


def _text(raw: Raw | None) -> str:
    try:
        value = "" if raw is None else msgspec.json.decode(raw)
    except BAD_JSON:
        return ""
    return value if isinstance(value, str) else ""
