"""Who has limits: keys, teams, users, organisations, end users and tags, as typed values read from what is stored.

What is stored is LiteLLM's row as its API tells it: a JSON object with its names of fields. Here stands what admission
needs of it, once per row. A limit that cannot be read is an error and never no limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from penstock.core.admit import amount
from penstock.core.admit.periods import parse, time_of

Body = Mapping[str, Any]


class Bad(ValueError):
    """A field of a row that cannot be read. ``param``: its name; the message says what would be right."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


class Cap(Struct, frozen=True, gc=False):
    """At most ``most`` picodollars in each window of ``period`` ("" = ever), and ``more`` until a time. ``model``: of
    what is spent on that one alone."""

    most: int
    period: str = ""
    model: str = ""
    more: int = 0
    until: float = 0.0

    def at(self, now: float) -> int:
        """Return the cap that holds at a time."""
        return self.most + self.more if now < self.until else self.most


class Pace(Struct, frozen=True, gc=False):
    """How much at once and in a minute; None: as much as comes. ``a_day``: tokens in a day."""

    requests: int | None = None
    tokens: int | None = None
    parallel: int | None = None
    a_day: int | None = None


NO_PACE = Pace()
UNBOUND = 1 << 53  # more than any bound that can be written: what is counted, and keeps nobody out
NO_LIMITS: Mapping[str, Pace] = {}
NO_OUTPUTS: Mapping[str, int] = {}


class Holder(Struct, frozen=True):
    """Somebody with limits. ``kind``: "key", "team", "member", "user", "organization", "organization_member",
    "project", "customer", "tag"; ``id``: which one, a member's as ``team/user``. ``models``: names that it may call, ()
    = all. ``soft``: picodollars at which somebody is told. ``by_model``: its pace in one model. ``outputs``: tokens
    that are set aside for an answer whose request sets no limit, by model, "" for all others. ``dynamic``: bounds of a
    key's pace that do not hold while the model has no trouble, of "requests" and "tokens"."""

    kind: str
    id: str
    alias: str = ""
    models: tuple[str, ...] = ()
    blocked: bool = False
    caps: tuple[Cap, ...] = ()
    soft: int | None = None
    pace: Pace = NO_PACE
    by_model: Mapping[str, Pace] = NO_LIMITS
    outputs: Mapping[str, int] = NO_OUTPUTS
    dynamic: tuple[str, ...] = ()


def read_holder(kind: str, id_: str, body: Body, budget: Body | None = None) -> Holder:
    """Read a row. ``budget``: the row that its ``budget_id`` names; what the row says itself goes before it. Raises
    ``Bad``."""
    both = _laid_over(budget, body)
    return Holder(
        kind=kind,
        id=id_,
        alias=_text(body, "key_alias" if kind == "key" else f"{kind}_alias") or _text(body, "alias"),
        models=tuple(_models(both)),
        blocked=_flag(body, "blocked"),
        caps=tuple(_caps(both)),
        soft=read_money(both, "soft_budget"),
        pace=_pace(both),
        by_model=_by_model(both),
        outputs=_outputs(both),
        dynamic=_dynamic(body) if kind == "key" else (),
    )


def read_caps(body: Body, budget: Body | None = None) -> tuple[Cap, ...]:
    """Read the caps of a row alone, see ``read_holder``."""
    return tuple(_caps(_laid_over(budget, body)))


def _laid_over(budget: Body | None, body: Body) -> Body:
    return body if budget is None else {**budget, **{key: value for key, value in body.items() if value is not None}}


def _models(body: Body) -> list[str]:
    """Read the models that a row allows, with the access groups that it is given: these are more for who has a list,
    and nothing for who may call all."""
    models = _texts(body, "models") or _texts(body, "allowed_models")
    return [*models, *_texts(body, "access_group_ids")] if models else models


def _caps(body: Body) -> Iterator[Cap]:
    """Yield every cap of a row: its own, those of several windows, those of models."""
    most, period = read_money(body, "max_budget"), _period(body, "budget_duration")
    if most is not None:
        more, until = _increase(body)
        yield Cap(most, period, "", more, until)
    windows = body.get("budget_limits")
    if windows is not None:
        if not isinstance(windows, list):
            raise Bad("budget_limits", 'must be a list such as [{"budget_duration": "1d", "max_budget": 5}]')
        for entry in windows:
            most = read_money(entry, "max_budget", "budget_limits") if isinstance(entry, Mapping) else None
            if most is None:
                raise Bad("budget_limits", 'each must be as {"budget_duration": "1d", "max_budget": 5}')
            yield Cap(most, _period(entry, "budget_duration", "budget_limits"))
    models = _table(body, "model_max_budget")
    for model, entry in models.items():
        if isinstance(entry, int | float):
            entry = {"max_budget": entry, "budget_duration": body.get("budget_duration")}
        if not isinstance(entry, Mapping):
            raise Bad("model_max_budget", f'{model!r} must be as {{"budget_limit": 5, "time_period": "1d"}}')
        limit = "budget_limit" if "budget_limit" in entry else "max_budget"
        most = read_money(entry, limit, "model_max_budget")
        if most is not None:
            period = "time_period" if "time_period" in entry else "budget_duration"
            yield Cap(most, _period(entry, period, "model_max_budget"), model)


def _increase(body: Body) -> tuple[int, float]:
    """Return what a budget is raised by for a time, and until when."""
    where = body if body.get("temp_budget_increase") is not None else _table(body, "metadata")
    more = read_money(where, "temp_budget_increase")
    if not more:
        return 0, 0.0
    return more, math.inf if where.get("temp_budget_expiry") is None else _time(where, "temp_budget_expiry")


def _pace(body: Body) -> Pace:
    names = ("rpm_limit", "tpm_limit", "max_parallel_requests", "tpd_limit")
    counts = [_count(body, name) for name in names]
    return NO_PACE if counts == [None] * 4 else Pace(*counts)


def _by_model(body: Body) -> Mapping[str, Pace]:
    """Read the paces in single models, which stand at the top or, as older clients write them, in ``metadata``."""
    tables = []
    for name in ("model_rpm_limit", "model_tpm_limit"):
        where = body if body.get(name) is not None else _table(body, "metadata")
        tables.append(_table(where, name))
    requests, tokens = tables
    if not requests and not tokens:
        return NO_LIMITS
    names = dict.fromkeys((*requests, *tokens))
    return {name: Pace(_count(requests, name), _count(tokens, name)) for name in names}


_OUTPUT, _OUTPUTS = "default_estimated_output_tokens", "default_estimated_output_tokens_per_model"


def _outputs(body: Body) -> Mapping[str, int]:
    """Read how long answers are thought to be, which stands where ``_by_model`` finds its tables."""
    where = {name: body if body.get(name) is not None else _table(body, "metadata") for name in (_OUTPUT, _OUTPUTS)}
    by_model = _table(where[_OUTPUTS], _OUTPUTS)
    found = {model: _count(by_model, model) for model in by_model} | {"": _count(where[_OUTPUT], _OUTPUT)}
    if 0 in found.values():
        raise Bad(_OUTPUTS if found[""] else _OUTPUT, "0 is no length of an answer: write a whole number from 1 on")
    outputs = {model: count for model, count in found.items() if count is not None}
    return outputs or NO_OUTPUTS


def _dynamic(body: Body) -> tuple[str, ...]:
    """Read which bounds are LiteLLM's ``dynamic``: a pace that may be exceeded until the model has trouble."""
    metadata, found = body.get("metadata"), list[str]()
    for name, bound in (("rpm_limit_type", "requests"), ("tpm_limit_type", "tokens")):
        said = body.get(name)
        if said is None and isinstance(metadata, Mapping):
            said = metadata.get(name)
        if said == "dynamic":
            found.append(bound)
    return tuple(found)


# Fields. --------------------------------------------------------------------------------------------------------------


def read_money(body: Body, name: str, within: str = "") -> int | None:
    """Read an amount. ``within``: the field of the row that it is a part of."""
    value = body.get(name)
    if value is None:
        return None
    found = amount.read(value)
    if found is None:
        raise Bad(within or name, f"{value!r:.60} is no amount of US dollars: write a number from 0 to 9,000,000")
    return found


def _count(body: Body, name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or not 0 <= value < 2**53:
        raise Bad(name, f"{value!r:.60} is no count: write a whole number from 0 on")
    return int(value)


def _period(body: Body, name: str, within: str = "") -> str:
    value = body.get(name)
    if value is None or value == "":
        return ""
    try:
        parse(str(value))
    except ValueError as error:
        raise Bad(within or name, str(error)) from None
    return str(value).strip().lower()


def _time(body: Body, name: str) -> float:
    value = body.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return time_of(str(value))
    except ValueError as error:
        raise Bad(name, str(error)) from None


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _texts(body: Body, name: str) -> list[str]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Bad(name, f"{value!r:.60} is no list of names")
    return value


def _flag(body: Body, name: str) -> bool:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise Bad(name, f"{value!r:.60} is neither true nor false")


def _table(body: Body, name: str) -> Body:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Bad(name, f"{value!r:.60} is no mapping")
    return value
