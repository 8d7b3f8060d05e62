"""A provider's quirks and a deployment's defaults, applied to a request's top level.

Everything that no rule names passes untouched, byte for byte: subtract, never enumerate. A value that is not what the
dialect says is left in for the upstream to refuse in its own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw

from penstock.core.ir import Loss
from penstock.core.providers.spec import NO_QUIRKS, Quirks

_ENCODE = msgspec.json.Encoder().encode
_NUMBER = msgspec.json.Decoder(float).decode
_STRING = msgspec.json.Decoder(str).decode
_MESSAGES = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_MAPPING = msgspec.json.Decoder(dict[str, object]).decode
_TOOL = b'"tool"'


class _Text(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A text part with nothing beside its text: one with ``cache_control`` must not be joined."""

    text: str


_TEXTS = msgspec.json.Decoder(list[_Text]).decode


def apply_quirks(fields: dict[str, Raw], quirks: Quirks, drop_unsupported: bool) -> list[Loss]:
    """Edits ``fields`` in place; what was taken away is returned. Renames, drops, clamps and replaces top-level keys.

    ``drop_unsupported``: LiteLLM's ``drop_params``. Without it, keys that somebody would miss are left in for the
    upstream to refuse. ``stream_options`` is no loss: its usage comes without it."""
    if quirks is NO_QUIRKS:
        return []
    losses: list[Loss] = []
    for old, new in quirks.rename.items():
        if (value := fields.pop(old, None)) is not None:
            fields.setdefault(new, value)
    for key in sorted(quirks.drop):
        if fields.pop(key, None) is not None:
            losses.append(Loss(key, "the provider refuses it"))
    if drop_unsupported:
        for key in sorted(quirks.unsupported):
            if fields.pop(key, None) is not None:
                losses.append(Loss(key, "the provider does not support it"))
    if not quirks.stream_usage:
        fields.pop("stream_options", None)
    losses += _clamped(fields, quirks)
    for key, words in quirks.values.items():
        _replace(fields, key, words)
    for key, words in quirks.weaken.items():
        if (word := _replace(fields, key, words)) is not None:
            losses.append(Loss(key, f"weakened to {word}"))
    if quirks.no_json_object and "response_format" in fields:
        _any_object(fields)
    if "messages" in fields and (quirks.drop_in_messages or quirks.flat_text):
        losses += _messages(fields, quirks)
    return losses


def _clamped(fields: dict[str, Raw], quirks: Quirks) -> Iterable[Loss]:
    for key, (low, high) in quirks.clamp.items():
        if key not in fields:
            continue
        try:
            value = _NUMBER(fields[key])
        except msgspec.DecodeError:
            continue
        if not low <= value <= high:
            fields[key] = Raw(_ENCODE(min(max(value, low), high)))
            yield Loss(key, f"clamped to {low}..{high}")


def _replace(fields: dict[str, Raw], key: str, words: Mapping[str, str]) -> str | None:
    """The word that took the place of the value; None when the value stays."""
    if key not in fields:
        return None
    try:
        word = words.get(_STRING(fields[key]))
    except msgspec.DecodeError:
        return None
    if word is not None:
        fields[key] = Raw(_ENCODE(word))
    return word


_ANY_OBJECT = Raw(
    b'{"type":"json_schema","json_schema":{"name":"object","schema":{"type":"object","additionalProperties":true}}}'
)


def _any_object(fields: dict[str, Raw]) -> None:
    """ "Any JSON object" as a schema. One with a schema of its own (Together's, llama.cpp's) is left alone."""
    try:
        if _MAPPING(fields["response_format"]) == {"type": "json_object"}:
            fields["response_format"] = _ANY_OBJECT
    except msgspec.DecodeError:
        return


def _messages(fields: dict[str, Raw], quirks: Quirks) -> list[Loss]:
    """Edits inside messages, needed by few providers: the list is decoded one level deep, and only if it holds a word
    that an edit looks for."""
    raw = bytes(fields["messages"])
    unwanted = [key for key in sorted(quirks.drop_in_messages) if b'"%b"' % key.encode() in raw]
    if not unwanted and not (quirks.flat_text and b'"text"' in raw):
        return []
    try:
        messages = _MESSAGES(raw)
    except msgspec.DecodeError:
        return []
    losses: list[Loss] = []
    flattened = False
    for number, message in enumerate(messages):
        if bytes(message.get("role", b"")) != _TOOL:
            for key in unwanted:
                if message.pop(key, None) is not None:
                    losses.append(Loss(f"messages.{number}.{key}", "the provider refuses it"))
        if quirks.flat_text and (flat := _flat(message.get("content"))) is not None:
            message["content"] = flat
            flattened = True
    if losses or flattened:
        fields["messages"] = Raw(_ENCODE(messages))
    return losses


def _flat(content: Raw | None) -> Raw | None:
    """A list of plain text parts as one string, joined without anything between (as LiteLLM does); else None."""
    if content is None or not bytes(content).startswith(b"["):
        return None
    try:
        return Raw(_ENCODE("".join(part.text for part in _TEXTS(content))))
    except msgspec.DecodeError:
        return None


def apply_defaults(fields: dict[str, Raw], defaults: Mapping[str, Raw], drop: Iterable[str]) -> None:
    """A deployment's default parameters (the request's own win) and its ``additional_drop_params``, top level only."""
    for key, value in defaults.items():
        if key == "extra_body":
            extra = msgspec.json.decode(value, type=dict[str, Raw])
            for name, inner in extra.items():
                fields.setdefault(name, inner)
        else:
            fields.setdefault(key, value)
    for key in drop:
        fields.pop(key, None)
