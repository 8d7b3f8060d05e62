"""A provider's quirks inside ``messages``: keys, roles, order, and ids of calls.

Few providers need any of it. The list is decoded one level deep, and only when its bytes hold a word that an edit looks
for; without a change the client's own bytes go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b

import msgspec
from msgspec import Raw

from penstock.core.ir import Loss
from penstock.core.providers.spec import Quirks

_ENCODE = msgspec.json.Encoder().encode
_MESSAGES = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_CALLS = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_PARTS = msgspec.json.Decoder(list[Raw]).decode
_STRING = msgspec.json.Decoder(str).decode
_USER, _ASSISTANT, _TOOL = b'"user"', b'"assistant"', b'"tool"'
_TRUE = Raw(b"true")
_EMPTY = Raw(b'""')
_NULL = Raw(b"null")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

Turn = dict[str, Raw]


class _Text(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A text part with nothing beside its text: one with ``cache_control`` must not be joined."""

    text: str


_TEXTS = msgspec.json.Decoder(list[_Text]).decode


def edit_turns(fields: dict[str, Raw], quirks: Quirks) -> list[Loss]:
    """Edit ``fields["messages"]`` in place. What is taken away is returned; what is only put elsewhere (a joined
    message, another id) is no loss. A list that is not of the dialect is left for the upstream to refuse."""
    if not has_edits(quirks):  # a long conversation is not even looked at
        return []
    raw = bytes(fields["messages"])
    edits = [edit for wanted, edit in _EDITS if wanted(quirks, raw)]
    if not edits:
        return []
    try:
        turns = _MESSAGES(raw)
    except msgspec.DecodeError:
        return []
    losses: list[Loss] = []
    changed = False
    for edit in edits:
        changed |= edit(turns, quirks, losses)
    if changed:
        fields["messages"] = Raw(_ENCODE(turns))
    return losses


def has_edits(quirks: Quirks) -> bool:
    """Tell whether a provider's messages are looked at."""
    return bool(
        quirks.drop_in_messages
        or quirks.roles
        or quirks.flat_text
        or quirks.call_ids
        or quirks.rename_in_messages
        or quirks.bridge
        or quirks.prefill
        or quirks.alternate
        or quirks.calls_think
    )


def _role(turn: Turn) -> bytes:
    return bytes(turn.get("role", b""))


def _within(keys: Iterable[str], raw: bytes) -> bool:
    return any(b'"%b"' % key.encode() in raw for key in keys)


def _rename_roles(turns: list[Turn], quirks: Quirks, losses: list[Loss]) -> bool:
    words = {_ENCODE(old): (old, new) for old, new in quirks.roles.items()}
    changed = False
    for number, turn in enumerate(turns):
        if (found := words.get(_role(turn))) is not None:
            turn["role"] = Raw(_ENCODE(found[1]))
            losses.append(Loss(f"messages.{number}.role", f"the provider knows no {found[0]}; sent as {found[1]}"))
            changed = True
    return changed


def _rename_keys(turns: list[Turn], quirks: Quirks, losses: list[Loss]) -> bool:
    changed = False
    for turn in turns:
        if _role(turn) != _ASSISTANT:
            continue
        for old, new in quirks.rename_in_messages.items():
            if (value := turn.pop(old, None)) is not None:
                if value != _NULL:
                    turn.setdefault(new, value)
                changed = True
    return changed


def _drop_keys(turns: list[Turn], quirks: Quirks, losses: list[Loss]) -> bool:
    changed = False
    for number, turn in enumerate(turns):
        if _role(turn) == _TOOL:
            continue
        for key in sorted(quirks.drop_in_messages):
            if (value := turn.pop(key, None)) is not None:
                changed = True
                if value != _NULL:
                    losses.append(Loss(f"messages.{number}.{key}", "the provider refuses it"))
    return changed


def _flatten(turns: list[Turn], quirks: Quirks, losses: list[Loss]) -> bool:
    changed = False
    for turn in turns:
        if (flat := _flat(turn.get("content"))) is not None:
            turn["content"] = flat
            changed = True
    return changed


def _flat(content: Raw | None) -> Raw | None:
    """Join a list of plain text parts to one string, without anything between (as LiteLLM does); else None."""
    if content is None or not bytes(content).startswith(b"["):
        return None
    try:
        return Raw(_ENCODE("".join(part.text for part in _TEXTS(content))))
    except msgspec.DecodeError:
        return None


def short_id(id: str, length: int) -> str:
    """Return ``id`` if it is ``length`` ASCII letters and digits, else as many made of its hash: the same one every
    time, so that a call and its result still belong together."""
    if len(id) == length and id.isascii() and id.isalnum():
        return id
    number = int.from_bytes(blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).digest())
    out = ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        out += _DIGITS[digit]
    return out


def _shorten_ids(turns: list[Turn], quirks: Quirks, losses: list[Loss]) -> bool:
    changed = False
    for turn in turns:
        changed |= _shorten(turn, "tool_call_id", quirks.call_ids)
        raw = turn.get("tool_calls")
        if raw is None:
            continue
        try:
            calls = _CALLS(raw)
        except msgspec.DecodeError:
            continue
        if sum(_shorten(call, "id", quirks.call_ids) for call in calls):
            turn["tool_calls"] = Raw(_ENCODE(calls))
            changed = True
    return changed


def _shorten(holder: dict[str, Raw], key: str, length: int) -> bool:
    try:
        id = _STRING(holder[key])
    except (KeyError, msgspec.DecodeError):
        return False
    short = short_id(id, length)
    if short == id:
        return False
    holder[key] = Raw(_ENCODE(short))
    return True


def _think(turns: list[Turn], quirks: Quirks, losses: list[Loss]) -> bool:
    changed = False
    for turn in turns:
        if _role(turn) == _ASSISTANT and "tool_calls" in turn and "reasoning_content" not in turn:
            turn["reasoning_content"] = _EMPTY
            changed = True
    return changed


def _alternate(turns: list[Turn], quirks: Quirks, losses: list[Loss]) -> bool:
    runs: list[list[Turn]] = []
    for turn in turns:
        if runs and _role(turn) in (_USER, _ASSISTANT) and _alike(runs[-1][-1], turn):
            runs[-1].append(turn)
        else:
            runs.append([turn])
    changed = len(runs) != len(turns)
    for run in runs:
        if len(run) > 1:
            run[0]["content"] = _joined([turn.get("content", _NULL) for turn in run])
    turns[:] = [run[0] for run in runs]
    return changed


def _alike(first: Turn, second: Turn) -> bool:
    """Tell whether the second message may stand behind the first one as one: both are of one role and hold no more than
    text or parts."""
    if _role(first) != _role(second) or first.get("name") != second.get("name"):
        return False
    return _is_plain(second) and _is_plain(first)


def _is_plain(turn: Turn) -> bool:
    if not turn.keys() <= {"role", "content", "name"}:
        return False
    content = turn.get("content", _NULL)
    try:
        return content == _NULL or _parts(content) is not None
    except msgspec.DecodeError:
        return False


def _joined(contents: list[Raw]) -> Raw:
    """Join the contents of neighbours, all at once: one after the other, the first would be copied for each of them.
    Texts stand a blank line apart; from the first list of parts on, all is parts."""
    texts: list[str] = []
    parts: list[Raw] | None = None
    for content in contents:
        if content == _NULL:
            continue
        if parts is None and bytes(memoryview(content)[:1]) == b'"':
            texts.append(_STRING(content))
            continue
        if parts is None:
            parts = _parts(Raw(_ENCODE("\n\n".join(texts)))) if texts else []
        parts += _parts(content)
    if parts is None:
        return Raw(_ENCODE("\n\n".join(texts))) if texts else _NULL
    return Raw(_ENCODE(parts))


def _parts(content: Raw) -> list[Raw]:
    if bytes(memoryview(content)[:1]) == b'"':
        return [Raw(_ENCODE({"type": "text", "text": _STRING(content)}))]
    return _PARTS(content)


def _bridge(turns: list[Turn], quirks: Quirks, losses: list[Loss]) -> bool:
    out: list[Turn] = []
    for turn in turns:
        if out and _role(out[-1]) == _TOOL and _role(turn) == _USER:
            out.append({"role": Raw(_ASSISTANT), "content": Raw(_ENCODE(quirks.bridge))})
        out.append(turn)
    changed = len(out) != len(turns)
    turns[:] = out
    return changed


def _prefill(turns: list[Turn], quirks: Quirks, losses: list[Loss]) -> bool:
    last = turns[-1] if turns else {}
    if _role(last) != _ASSISTANT or "tool_calls" in last or quirks.prefill in last:
        return False
    last[quirks.prefill] = _TRUE
    return True


_Wanted = Callable[[Quirks, bytes], bool]
_Edit = Callable[[list[Turn], Quirks, list[Loss]], bool]

# Whether an edit has anything to look for, and the edit, in the order in which they are made.
_EDITS: tuple[tuple[_Wanted, _Edit], ...] = (
    (lambda quirks, raw: _within(quirks.roles, raw), _rename_roles),
    (lambda quirks, raw: _within(quirks.rename_in_messages, raw), _rename_keys),
    (lambda quirks, raw: _within(quirks.drop_in_messages, raw), _drop_keys),
    (lambda quirks, raw: quirks.flat_text and b'"text"' in raw, _flatten),
    (lambda quirks, raw: quirks.call_ids > 0 and b'"tool_call' in raw, _shorten_ids),
    (lambda quirks, raw: quirks.calls_think and b'"tool_calls"' in raw, _think),
    (lambda quirks, raw: quirks.alternate, _alternate),
    (lambda quirks, raw: bool(quirks.bridge) and _TOOL in raw, _bridge),
    (lambda quirks, raw: bool(quirks.prefill) and _ASSISTANT in raw, _prefill),
)
