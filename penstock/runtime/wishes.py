"""What a request says about its own way: tries, timeouts, fallbacks (LiteLLM's contract, 3.3 to 3.6, 4.1 and 4.4).

Fields of the body come before headers, both before the config. Nothing is read of a request that says none of it. Tags
and sessions are read where a choice goes by them (``routing``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.runtime.call import GATEWAY_FIELDS, REFUSED_FIELDS, refused_field
from penstock.runtime.explain import TELLS
from penstock.runtime.timeouts import of_stream, of_whole

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.runtime.http import Timeouts
    from penstock.runtime.targets import Target

_HEADERS = frozenset(
    (
        b"x-litellm-num-retries",
        b"x-litellm-timeout",
        b"x-litellm-stream-timeout",
        b"x-litellm-priority",
        b"x-penstock-priority",
    )
)
MOST_RETRIES = 20
MOST_PRIORITY = 2**31
# How long the client's library waits for an answer: OpenAI's for Python says the one, those for Node the other,
# Anthropic's for Python both, the second at times as "NOT_GIVEN".
_PATIENCE = (b"x-stainless-read-timeout", b"x-stainless-timeout")
ROUTING_HEADERS = _HEADERS.union(_PATIENCE, (TELLS,))
"""What a request's head may say about its routing: a request that has none of them is not asked for it."""
# Fields with fallbacks -> the kind of error that they are for; "" is for any other.
_KINDS = {
    "fallbacks": "",
    "context_window_fallbacks": "context_window",
    "content_policy_fallbacks": "content_policy",
}
_MAP = msgspec.json.Decoder(dict[str, Raw]).decode
_LIST = msgspec.json.Decoder(list[Raw]).decode
_ANY = msgspec.json.Decoder().decode
_NULL = Raw(b"null")
_EXAMPLE = '["other-model"] or [{"model": "other-model", "messages": [...]}]'


class Change(Struct, frozen=True):
    """Another request in the place of the client's, for one fallback. ``fields``: those that are other than its own."""

    group: str
    fields: Mapping[str, Raw]


class Wishes(Struct, frozen=True, kw_only=True):
    """What one request says. ``retries``: more tries per group. ``timeout`` and ``stream_timeout``: seconds, of each
    try. ``patience``: the client leaves after so many seconds without a byte; ``stream_patience``: the same, where no
    sign of life reaches it before. ``alone``: no fallbacks. ``fallbacks``: by kind of error, group -> keys of the
    groups to go to, instead of the config's; ``changes``: the keys that are not a group's name, and what they mean;
    ``places``: where each of these groups is named. ``priority``: lower is sooner. ``tier``: the vendor's service tier
    that it asks for."""

    retries: int | None = None
    timeout: float | None = None
    stream_timeout: float | None = None
    patience: float | None = None
    stream_patience: float | None = None
    alone: bool = False
    fallbacks: Mapping[str, Mapping[str, Sequence[str]]] = {}
    changes: Mapping[str, Change] = {}
    places: Mapping[str, str] = {}
    priority: int | None = None
    tier: str = ""

    @property
    def plans(self) -> bool:
        """Tell whether the plan is another than the config's."""
        return self.retries is not None or self.alone or bool(self.fallbacks)

    def change(self, attempt: Attempt) -> None:
        """Give an attempt at a changed request the fields of it."""
        change = self.changes.get(attempt.group)
        if change is not None:
            attempt.group = change.group
            attempt.send_fields({**attempt.fields, **change.fields})

    def timeouts(self, target: Target, stream: bool) -> Timeouts:
        """Return how long a target is waited for. What a deployment says of streams alone is not made longer by a
        ``timeout`` that is meant for whatever answer."""
        whole_timeouts, stream_timeouts = target.tiers.get(self.tier) or (target.timeouts, target.stream_timeouts)
        usual = stream_timeouts if stream else whole_timeouts
        patience = self.stream_patience if stream else self.patience
        if stream:
            wished = self.stream_timeout
            if wished is None and (wished := self.timeout) is not None:
                own, whole = usual.first_byte, whole_timeouts.first_byte
                if own is not None and own != whole:
                    wished = min(wished, own)
            if wished is not None:
                usual = of_stream(wished, wished)
        elif self.timeout is not None:
            usual = of_whole(self.timeout)
        if patience is not None and (usual.first_byte is None or patience < usual.first_byte):
            usual = replace(usual, first_byte=patience)
        return usual


def read_wishes(call: Call, most: int, keep_alive: float) -> Wishes | None:
    """Read what a request says about its own way; None when that is nothing. Tags in ``metadata``, which no vendor
    takes, leave its fields.

    ``most``: fallbacks that a request may name. ``keep_alive``: seconds of silence in a stream after which its client
    gets a sign of life, 0 for never. Raises "bad_request" that names key, value and what would be right."""
    fields, headers = call.fields, call.exchange.headers
    said = headers.get(_PATIENCE[0]) or headers.get(_PATIENCE[1])
    usual = None if said is None else _patient(said, keep_alive)
    if not call.says and _HEADERS.isdisjoint(headers):
        return usual
    if "metadata" in fields:
        _take_tags(fields)
    for key in fields:
        if key.startswith("mock_testing_"):
            text = f"{key!r} is for tests of a gateway, and not served here: leave it out."
            raise GatewayError("bad_request", text, param=key)
    found: dict[str, Any] = {}
    for name, key, header, read in _ROWS:
        raw = fields.get(key)
        if raw is not None and raw != _NULL:
            found[name] = read(key, _value(raw))
        elif header is not None and header in headers:
            found[name] = read(header.decode(), headers[header].decode("latin-1"))
    if b"x-litellm-priority" in headers and "priority" not in found:
        found["priority"] = _priority("x-litellm-priority", headers[b"x-litellm-priority"].decode("latin-1"))
    if not _KINDS.keys().isdisjoint(fields):
        check = call.surface.check if call.surface is not None else None
        found |= _Fallbacks(fields, call.model, most, check).read()
    if not found:
        return usual
    return Wishes(**found) if usual is None else replace(usual, **found)


# Single values -------------------------------------------------------------------------------------------------------


def _value(raw: Raw) -> Any:
    try:
        return _ANY(raw)
    except msgspec.DecodeError:  # a number that no float holds
        return bytes(raw).decode()


def _wrong(key: str, value: object, wanted: str) -> NoReturn:
    shown = msgspec.json.encode(value).decode()
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    key = key if len(key) <= 120 else f"{key[:117]}..."
    raise GatewayError("bad_request", f"{key!r} must be {wanted}, not {shown}.", param=key)


def _number(value: object) -> float:
    """Return a finite number, also out of a text (headers and forms have nothing else); NaN for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    if isinstance(value, str) and len(value) > 40:
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _whole(value: object) -> int | None:
    number = _number(value)
    return int(number) if number == number // 1 else None


def _seconds(key: str, value: object) -> float:
    number = _number(value)
    if not number > 0:
        _wrong(key, value, "a number of seconds above 0, such as 30")
    return number


def _retries(key: str, value: object) -> int:
    number = _whole(value)
    if number is None or not 0 <= number <= MOST_RETRIES:
        _wrong(key, value, f"a whole number from 0 to {MOST_RETRIES}")
    return number


def _priority(key: str, value: object) -> int:
    number = _whole(value)
    if number is None or abs(number) >= MOST_PRIORITY:
        _wrong(key, value, "a whole number, lower for sooner, such as 0")
    return number


def _switch(key: str, value: object) -> bool:
    if value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        _wrong(key, value, "true or false")
    return value


def _tier(key: str, value: object) -> str:
    """Return the service tier; what is none is for the vendor to refuse."""
    return value if isinstance(value, str) else ""


_ROWS: tuple[tuple[str, str, bytes | None, Callable[[str, object], object]], ...] = (
    ("retries", "num_retries", b"x-litellm-num-retries", _retries),
    ("timeout", "timeout", b"x-litellm-timeout", _seconds),
    ("stream_timeout", "stream_timeout", b"x-litellm-stream-timeout", _seconds),
    ("priority", "priority", b"x-penstock-priority", _priority),
    ("alone", "disable_fallbacks", None, _switch),
    ("tier", "service_tier", None, _tier),
)


@lru_cache(256)
def _patient(said: bytes, keep_alive: float) -> Wishes | None:
    """Read how long a library waits. It is no word of the user's: what is no number of seconds is no error."""
    seconds = _number(said.decode("latin-1"))
    if not seconds > 0:
        return None
    kept_waiting = 0 < keep_alive < seconds  # its clock starts anew with each sign of life
    return Wishes(patience=seconds, stream_patience=None if kept_waiting else seconds)


def _take_tags(fields: dict[str, Raw]) -> None:
    """Take the tags for the gateway out of ``metadata``, whose values are strings to a vendor."""
    raw = fields["metadata"]
    if b'"tags"' not in bytes(raw):
        return
    try:
        metadata = _MAP(raw)
    except BAD_JSON:
        return  # for who it is meant for to refuse
    tags = metadata.pop("tags", _NULL)
    if bytes(tags)[:1] != b"[":
        return
    fields.setdefault("tags", tags)
    if metadata:
        fields["metadata"] = Raw(msgspec.json.encode(metadata))
    else:
        del fields["metadata"]


# Fallbacks -----------------------------------------------------------------------------------------------------------


class _Fallbacks:
    """Reads the fallbacks that a request names: models, changed requests, or rows as a config has them."""

    def __init__(
        self, fields: Mapping[str, Raw], model: str, most: int, check: Callable[[Mapping[str, Raw]], None] | None
    ) -> None:
        self._fields, self._model, self._most, self._check = fields, model, most, check
        self._changes: dict[str, Change] = {}
        self._places: dict[str, str] = {}

    def read(self) -> dict[str, Any]:
        tables = {
            kind: self._table(key) for key, kind in _KINDS.items() if key in self._fields and self._fields[key] != _NULL
        }
        return {"fallbacks": tables, "changes": self._changes, "places": self._places} if tables else {}

    def _table(self, key: str) -> dict[str, list[str]]:
        raw = self._fields[key]
        if bytes(raw)[:1] == b"{":  # one row, as a config may have it
            items = [raw]
        else:
            try:
                items = _LIST(raw)
            except BAD_JSON:
                _wrong(key, _value(raw), f"a list of models, such as {_EXAMPLE}")
        table: dict[str, list[str]] = {}
        count = 0
        for number, item in enumerate(items):
            for group, name in self._item(f"{key}[{number}]", item):
                table.setdefault(group, []).append(name)
                count += 1
                if count > self._most:
                    text = (
                        f"{key!r} names more than {self._most} models, the most here (router_settings.max_fallbacks)."
                    )
                    raise GatewayError("bad_request", text, param=key)
        return table

    def _item(self, place: str, raw: Raw) -> Iterator[tuple[str, str]]:
        """Yield (group, key of the fallback) of an item."""
        first = bytes(raw)[:1]
        if first == b'"':
            yield self._model, self._named(place, _value(raw))
        elif first == b"{":
            fields = _MAP(raw)
            if "model" in fields:
                yield self._model, self._changed(place, fields)
                return
            for group, names in fields.items():
                try:
                    found = msgspec.json.decode(names, type=list[str])
                except msgspec.DecodeError:
                    _wrong(f"{place}.{group}", _value(names), 'a list of models, such as ["other-model"]')
                for number, name in enumerate(found):
                    yield group, self._named(f"{place}.{group}[{number}]", name)
        else:
            _wrong(place, _value(raw), "a model's name or an object with 'model'")

    def _named(self, place: str, name: str) -> str:
        self._places.setdefault(name, place)
        return name

    def _changed(self, place: str, fields: dict[str, Raw]) -> str:
        name = _value(fields.pop("model"))
        if not isinstance(name, str) or not name:
            _wrong(f"{place}.model", name, "a model's name")
        self._places.setdefault(name, place)
        if not fields:
            return name
        for key in fields:
            if key in REFUSED_FIELDS:
                raise refused_field(key)
            if key in GATEWAY_FIELDS or key == "stream":
                text = f"{place}.{key} may not be set for one fallback: say it for the whole request."
                raise GatewayError("bad_request", text, param=place)
        if self._check is not None:
            self._check({**self._fields, **fields})
        made = f"{name} ({place})"
        self._changes[made] = Change(name, fields)
        return made
