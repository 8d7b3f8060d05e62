"""Management URLs of settings as they changed: of a whole section, what a change would do, who changed what, and back.

Each change of settings is a revision: its rows of the audit log, which have what was there before and is there now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin import configs
from penstock.admin.configforms import Change, Changes, Rollback
from penstock.admin.desk import away
from penstock.admin.forms import author, desk_of, missing, number_of, page, query_of, read
from penstock.admin.rows import post
from penstock.admin.settings import Setting
from penstock.config.over import SECTIONS, STAYS, TABLES, is_secret
from penstock.core.admit.periods import text_of
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN, VIEW
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import MASK

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.stores.base import Audited

Fields = dict[str, Any]
MOST_ROWS = 1000  # of the audit log that are gone through
_ABSENT: Any = object()


async def section(gateway: Any, call: Call) -> Page:
    """List the settings of a section (`section`), each with its value and where that comes from."""
    settings, name = configs.settings_of(gateway), query_of(call).get("section", "")
    table = TABLES.get(name)
    if table is None:
        text = f"section: {name[:60]!r} is none of {', '.join(TABLES)}."
        raise GatewayError("bad_request", text, param="section")
    served, stored = gateway.state.config.raw.get(name) or {}, settings.stored().get(name, {})
    told = []
    for key, row in table.rows.items():
        if "*" in key or row.status != "acted":
            continue
        value = served.get(key)
        secret = value is not None and is_secret(name, key, value)
        told.append(
            {
                "name": key,
                "type": row.spec.partition(":")[0],
                "choices": row.spec.partition(":")[2].split(",") if row.spec.startswith("one:") else None,
                "meaning": row.meaning,
                "default": row.default,
                "value": MASK if secret else configs.masked(value, key),
                "source": "database" if key in stored else "file" if value is not None else "unset",
                "editable": not (name == configs.GENERAL and key in STAYS),
            }
        )
    return page({"section": name, "settings": told})


async def change(gateway: Any, call: Call) -> Page:
    """Change settings, or tell what changing them would do (`preview`)."""
    form = read(call, Changes)
    given = [_setting(gateway, one) for one in form.changes]
    if not given:
        raise GatewayError("bad_request", "changes is empty: name a setting at least.", param="changes")
    return await _apply(gateway, call, given, form.preview)


async def _apply(gateway: Any, call: Call, given: list[Setting], preview: bool, warnings: Iterable[str] = ()) -> Page:
    settings = configs.settings_of(gateway)
    told: Fields = {"changes": _changes(gateway, given), "preview": preview}
    if preview:
        before, after, found = await settings.preview(given, configs.may_read(gateway))
        told |= {"effect": _effect(gateway, before, after, given)}
    else:
        found = await settings.change(given, author(call), configs.may_read(gateway))
    return page({**told, "warnings": [*warnings, *found]})


def _setting(gateway: Any, one: Change) -> Setting:
    if one.section not in SECTIONS:
        text = f"section: {one.section[:60]!r} is none of {', '.join(SECTIONS)}."
        raise GatewayError("bad_request", text, param="section")
    if configs.holds_mask(one.value):
        text = f"{one.section}.{one.key[:100]} holds {MASK!r}, which stands for a secret: send the value itself."
        raise GatewayError("bad_request", text, param=f"{one.section}.{one.key[:100]}")
    if one.section == configs.LITELLM and one.key in configs.OF_CALLBACKS and one.value is not None:
        configs.check_callbacks(gateway, one.key, one.value)
    return Setting(one.section, one.key, one.value)


def _changes(gateway: Any, given: Iterable[Setting]) -> list[Fields]:
    """Tell what each setting is now, and what it is to be; None for what the file says."""
    raw = gateway.state.config.raw
    told = []
    for one in given:
        before = (raw.get(one.section) or {}).get(one.key)
        secret = is_secret(one.section, one.key, one.value if one.value is not None else before)
        told.append(
            {
                "name": one.id,
                "before": MASK if secret and before is not None else configs.masked(before, one.key),
                "after": MASK if secret and one.value is not None else configs.masked(one.value, one.key),
            }
        )
    return told


def _effect(gateway: Any, before: Any, after: Any, given: Iterable[Setting]) -> list[str]:
    """Tell in sentences what a change does to models and keys that are there."""
    old, new = ({one.id: one for one in loaded.config.deployments} for loaded in (before, after))
    names = [sorted({one.model_name for one in of.values()}) for of in (old, new)]
    gone, added = sorted({*names[0]} - {*names[1]}), sorted({*names[1]} - {*names[0]})
    told = []
    if added:
        told.append(f"Models that are new: {_list(added)}.")
    if gone:
        told.append(f"Models that go: {_list(gone)}. {_keys_of(gateway, gone)}")
    changed = sorted({one.model_name for id_, one in new.items() if id_ not in old} - {*added})
    if changed:
        told.append(f"Deployments that are made anew, with nothing known of their health yet: {_list(changed)}.")
    sections = {one.section for one in given}
    if configs.ROUTER in sections and not (added or gone or changed):
        told.append(
            f"It holds for the next request to each of {len(names[1]):,} models; those under way go on as they began."
        )
    elif not told:
        told.append("No model and no key is touched.")
    return told


def _keys_of(gateway: Any, gone: list[str]) -> str:
    """Count the keys that name a model that goes."""
    wanted, count = {*gone}, 0
    for row in desk_of(gateway).keyring.rows("key"):
        models = msgspec.json.decode(row.body, type=_Models).models
        count += bool(models and not wanted.isdisjoint(models))
    return f"{count:,} keys name one of them." if count else "No key names one of them."


class _Models(msgspec.Struct):
    models: list[str] | None = None


def _list(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


# What was changed. ----------------------------------------------------------------------------------------------------


async def revisions(gateway: Any, call: Call) -> Page:
    """List the changes of settings, the last one first: who, when, and what it was before."""
    query = query_of(call)
    number, size = number_of(query, "page", 1, 1, 1000), number_of(query, "page_size", 20, 1, 100)
    found = _grouped(await _audits(gateway))
    shown = [_revision(rows) for rows in found[(number - 1) * size : number * size]]
    return page({"revisions": shown, "total": len(found), "page": number, "total_pages": -(-len(found) // size)})


async def rollback(gateway: Any, call: Call) -> Page:
    """Set settings back to what they were before a revision (`id`), or tell what that would do (`preview`)."""
    form = read(call, Rollback)
    found = _grouped(await _audits(gateway))
    at = next((number for number, rows in enumerate(found) if rows[0].id == form.id), None)
    if at is None:
        raise missing("revision", form.id)
    before: dict[str, Any] = {}
    for rows in found[: at + 1]:  # the oldest counts, which comes last
        for one in rows:
            before[one.row] = _value(one.before)
    given, warnings = list[Setting](), list[str]()
    for name, value in before.items():
        place, _, key = name.partition(".")
        if value is _ABSENT:
            warnings.append(f"{name} stays as it is: it holds a secret, which no revision keeps. Set it by hand.")
        else:
            given.append(Setting(place, key, value))
    if not given:
        raise GatewayError("bad_request", " ".join(warnings), param="id")
    return await _apply(gateway, call, given, form.preview, warnings)


async def _audits(gateway: Any) -> tuple[Audited, ...]:
    configs.settings_of(gateway)
    try:
        found, _ = await desk_of(gateway).store.audits({"kind": "setting"}, 0, MOST_ROWS)
    except OSError as error:
        raise away(error) from None
    return found


def _grouped(found: Iterable[Audited]) -> list[list[Audited]]:
    """Put together what was changed at once."""
    groups: list[list[Audited]] = []
    for one in found:
        if groups and groups[-1][0].at == one.at and groups[-1][0].who == one.who:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _revision(rows: list[Audited]) -> Fields:
    first = rows[0]
    changes = [{"name": one.row, "before": _told(one.before), "after": _told(one.after)} for one in rows]
    return {"id": first.id, "at": text_of(first.at), "who": first.who, "changes": changes}


def _value(body: bytes) -> Any:
    """Return the value of a setting's body: None for none, ``_ABSENT`` where it is a secret."""
    if not body:
        return None
    fields: Mapping[str, Any] = msgspec.json.decode(body)
    return fields.get("plain", _ABSENT)


def _told(body: bytes) -> Any:
    value = _value(body)
    return MASK if value is _ABSENT else configs.masked(value)


ROUTES = (
    Route("/config/section", section, role=VIEW),
    Route("/config/revisions", revisions, role=VIEW),
    post("/config/change", change, Changes, ADMIN),
    post("/config/rollback", rollback, Rollback, ADMIN),
)
