"""Where the texts of decoded JSON stand, whatever its dialect: each can be read, and another put in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

# Keys under which stand ids, words of an API, inline bytes and what is sealed. All others hold text.
SILENT = frozenset(
    """id type role object model name tool_call_id tool_use_id call_id item_id response_id responseId
    previous_response_id previousResponseId status finish_reason finishReason stop_reason done_reason signature
    thoughtSignature thought_signature encrypted_content media_type mime_type mimeType format detail
    system_fingerprint service_tier modelVersion created_at createTime file_id fileUri image_url b64_json obfuscation
    phase event event_id logprobs logprobsResult usage usageMetadata embedding bytes""".split()
)
# Keys under which stands anybody's JSON: each string in it is text.
FREE = frozenset("input args arguments response output action operation variables parameters".split())
# Keys under which a string is JSON text, and what is put into it must be escaped.
JSON_TEXT = frozenset(("arguments", "partial_json"))
_LOGPROBS = ("logprobs", "logprobsResult")


class Spot(NamedTuple):
    """A text, and where it stands: under ``key`` of ``holder``. ``path``: how one gets there. ``free``: in anybody's
    JSON. ``in_json``: it is JSON text itself, or a piece of such."""

    holder: Any
    key: Any
    text: str
    path: tuple[Any, ...]
    free: bool
    in_json: bool


def spots(value: Any, free: bool = False) -> Iterator[Spot]:
    """Yield the texts in decoded JSON in the order they stand, without empty ones."""
    left: list[tuple[Any, Any, tuple[Any, ...], bool]] = _inside(value, (), free)[::-1]
    while left:
        holder, key, path, is_free = left.pop()
        value = holder[key]
        if isinstance(value, str):
            if value:
                yield Spot(holder, key, value, path, is_free, key in JSON_TEXT and not is_free)
        elif isinstance(value, dict | list):
            left += _inside(value, path, is_free)[::-1]


def _inside(value: Any, path: tuple[Any, ...], free: bool) -> list[tuple[Any, Any, tuple[Any, ...], bool]]:
    if isinstance(value, list):
        return [(value, place, (*path, _place(part, place)), free) for place, part in enumerate(value)]
    if not isinstance(value, dict):
        return []
    found = []
    for key, part in value.items():
        if free or (key not in SILENT and not (key == "data" and value.get("type") != "text")):
            found.append((value, key, (*path, key), free or (key in FREE and isinstance(part, dict | list))))
    return found


def _place(part: Any, place: int) -> Any:
    """Name an element of a list by its own ``index``, as streams do."""
    return part.get("index", place) if isinstance(part, dict) else place


def forget_logprobs(value: Any) -> None:
    """Take out what repeats a text token by token, for that would tell what was masked in it."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += [part for part in value if isinstance(part, dict | list)]
        elif isinstance(value, dict):
            for key in _LOGPROBS:
                if value.get(key) is not None:
                    value[key] = None
            left += [part for part in value.values() if isinstance(part, dict | list)]


def quoted(text: str) -> str:
    """Escape a text for a place inside of a JSON string."""
    return msgspec.json.encode(text)[1:-1].decode()


def put_texts(fields: dict[str, Raw], changes: Mapping[str, str], spared: frozenset[str]) -> dict[str, Raw]:
    """Return a body's top level with texts replaced, wherever they stand. ``spared``: fields that hold no texts. A text
    may be a whole JSON value, written out: then its strings are replaced by what that became."""
    changed: dict[str, Raw] = {}
    for name, raw in fields.items():
        if name in spared:
            continue
        box: dict[str, Any] = {"": msgspec.json.decode(raw)}
        if _put(box, changes):
            changed[name] = Raw(msgspec.json.encode(box[""]))
    return {name: changed.get(name, raw) for name, raw in fields.items()} if changed else fields


def _put(box: dict[str, Any], changes: Mapping[str, str]) -> bool:
    done = False
    left: list[tuple[Any, Any]] = [(box, "")]
    while left:
        holder, key = left.pop()
        value = holder[key]
        if isinstance(value, str):
            if value in changes:
                holder[key] = changes[value]
                done = True
            continue
        if not isinstance(value, dict | list):
            continue
        if key in FREE and (text := changes.get(msgspec.json.encode(value).decode())) is not None:
            try:
                holder[key] = msgspec.json.decode(text)
                done = True
                continue
            except msgspec.DecodeError:  # what is put in breaks it: each of its strings has its own turn
                pass
        if isinstance(value, list):
            left += [(value, place) for place in range(len(value))]
        else:
            free = key in FREE
            left += [(value, name) for name in value if free or name not in _WORDS]
    return done


_WORDS = frozenset(("role", "type", "model", "id", "tool_call_id", "tool_use_id", "call_id", "status"))
