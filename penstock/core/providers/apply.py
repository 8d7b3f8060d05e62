"""A provider's quirks, applied to a request's top level.

Everything that no rule names passes untouched, byte for byte: subtract, never enumerate. A value that is not what the
dialect says is left in for the upstream to refuse in its own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw

from penstock.core.fit.sampling import is_default, refusal
from penstock.core.ir import Loss
from penstock.core.providers.choosing import offer_chosen
from penstock.core.providers.spec import NO_QUIRKS, Quirks
from penstock.core.providers.turns import edit_turns

_ENCODE = msgspec.json.Encoder().encode
_NUMBER = msgspec.json.Decoder(float).decode
_STRING = msgspec.json.Decoder(str).decode
_MAPPING = msgspec.json.Decoder(dict[str, object]).decode
_FORMAT = msgspec.json.Decoder(dict[str, Raw]).decode
_JSON_OBJECT = Raw(b'{"type":"json_object"}')


def apply_quirks(fields: dict[str, Raw], quirks: Quirks, drop_unsupported: bool) -> list[Loss]:
    """Edit ``fields`` in place; return what was taken away. Renames, drops, clamps and replaces top-level keys.

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
    if quirks.refused:
        losses += _refused(fields, quirks.refused, drop_unsupported)
    if not quirks.stream_usage:
        fields.pop("stream_options", None)
    losses += _clamped(fields, quirks)
    for key, words in quirks.values.items():
        _replace(fields, key, words)
    for key, words in quirks.weaken.items():
        if (word := _replace(fields, key, words)) is not None:
            losses.append(Loss(key, f"weakened to {word}"))
    if not quirks.named_choice and "tool_choice" in fields:
        offer_chosen(fields)
    if quirks.no_json_object and "response_format" in fields:
        _any_object(fields)
    if quirks.no_formats and drop_unsupported and "response_format" in fields:
        losses += _format(fields, quirks.no_formats)
    if "messages" in fields:
        losses += edit_turns(fields, quirks)
    if quirks.fit is not None:
        losses += quirks.fit(fields, drop_unsupported)
    if quirks.edit is not None:
        quirks.edit(fields)
    return losses


def _refused(fields: dict[str, Raw], keys: frozenset[str], drop: bool) -> Iterable[Loss]:
    for key in sorted(keys & fields.keys()):
        try:
            value = _NUMBER(fields[key])
        except msgspec.DecodeError:
            continue  # null, or nothing that the dialect knows
        if is_default(key, value):
            continue
        if not drop:
            raise refusal(key)
        del fields[key]
        yield Loss(key, "this model takes no such setting")


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
    """Replace a value; return the word that took its place, None when the value stays."""
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
    """Write "any JSON object" as a schema. One with a schema of its own (Together's, llama.cpp's) is left alone."""
    try:
        if _MAPPING(fields["response_format"]) == {"type": "json_object"}:
            fields["response_format"] = _ANY_OBJECT
    except msgspec.DecodeError:
        return


def _format(fields: dict[str, Raw], refused: frozenset[str]) -> Iterable[Loss]:
    try:
        kind = _STRING(_FORMAT(fields["response_format"])["type"])
    except (msgspec.DecodeError, KeyError):
        return
    if kind not in refused:
        return
    if kind == "json_schema" and "json_object" not in refused:
        fields["response_format"] = _JSON_OBJECT
        yield Loss("response_format", "weakened to json_object: the provider enforces no schema")
    else:
        del fields["response_format"]
        yield Loss("response_format", f"the provider has no {kind}")
