"""Forms of what is managed, as tables of fields: how each is shown, and how what was typed becomes the body of a call.

A form for a change sends only the fields that are not as they were shown; one that was emptied is sent as null, which
takes the field away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

Fields = dict[str, Any]
MOST_BOXES = 60  # models that are shown as a box each; of more the names are typed in


class Field(NamedTuple):
    """A field of a form. ``kind``: "text", "secret", "money", "count", "list" (one a line), "json", "flag", "choice" or
    "models"; ``options``: of a choice, value and text. ``when``: "" for both, "new" or "change"."""

    name: str
    label: str
    kind: str = "text"
    help: str = ""
    options: tuple[tuple[str, str], ...] = ()
    when: str = ""
    needed: bool = False


class Section(NamedTuple):
    """Fields under a title. ``folded``: shown once somebody asks for it, or where something in it is set."""

    title: str
    fields: tuple[Field, ...]
    folded: bool = True


def texts_of(sections: Iterable[Section], row: Mapping[str, Any]) -> dict[str, str]:
    """Return what a form shows of a row: the text of each field."""
    hidden = names_of(sections)
    metadata = row.get("metadata") or {}
    found = {}
    for field in fields_of(sections):
        value = row.get(field.name)
        if value is None and field.name != "metadata":
            value = metadata.get(field.name)
        if field.name == "metadata":
            value = {name: one for name, one in metadata.items() if name not in hidden}
        found[field.name] = text_of(field, value)
    return found


def text_of(field: Field, value: Any) -> str:
    """Write a value as it is typed in."""
    if value is None or value == [] or value == {} or value == "":
        return ""
    if field.kind == "flag":
        return "true" if value is True else ""
    if field.kind in ("list", "models") and isinstance(value, list):
        return "\n".join(str(one) for one in value)
    if field.kind == "json":
        return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=1).decode()
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() else repr(value)
    return str(value)


def typed(sections: Iterable[Section], lists: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return what was typed into a form: the text of each field."""
    found = {}
    for field in fields_of(sections):
        values = list(lists.get(field.name, ()))
        if field.kind == "models":
            more = [one for text in lists.get(f"{field.name}_more", ()) for one in _items(text)]
            found[field.name] = "\n".join(dict.fromkeys([one for value in values for one in _items(value)] + more))
        else:
            found[field.name] = values[-1] if field.kind == "secret" and values else "".join(values[-1:]).strip()
    return found


def body_of(
    sections: Iterable[Section], texts: Mapping[str, str], before: Mapping[str, str] | None, row: Mapping[str, Any]
) -> tuple[Fields, dict[str, str]]:
    """Return the body of a call, and what is wrong with which field. ``before``: what the form showed, None for what is
    made anew; ``row``: what it was made of."""
    sections = tuple(sections)
    body: Fields = {}
    wrong: dict[str, str] = {}
    for field in fields_of(sections):
        text = texts.get(field.name, "")
        if before is None and (not text or field.when == "change"):
            continue
        if before is not None and (field.when == "new" or _same(field, text, before.get(field.name, ""))):
            continue
        try:
            body[field.name] = value_of(field, text)
        except ValueError as error:
            wrong[field.name] = str(error)
    if "metadata" in body:
        hidden = names_of(sections)
        kept = {name: value for name, value in (row.get("metadata") or {}).items() if name in hidden}
        body["metadata"] = {**kept, **(body["metadata"] or {})}
    return body, wrong


def value_of(field: Field, text: str) -> Any:
    """Read what was typed into a field; None for nothing. Raises ``ValueError`` that says what would be right."""
    if field.kind == "flag":
        return text == "true"
    if field.kind in ("list", "models"):
        return _items(text)
    if not text:
        return None
    if field.kind == "money":
        return _number(text.replace("$", "").replace(",", ""), float, "an amount of US dollars, such as 5 or 0.50")
    if field.kind == "count":
        return _number(text.replace(",", ""), int, "a whole number, such as 60")
    if field.kind == "json":
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"This is no JSON: {str(error)[:120]}") from None
    return text


def fields_of(sections: Iterable[Section]) -> Iterable[Field]:
    """Yield the fields of all sections."""
    for section in sections:
        yield from section.fields


def names_of(sections: Iterable[Section]) -> frozenset[str]:
    """Return the names of all fields."""
    return frozenset(field.name for field in fields_of(sections)) | {"logging"}


def shown(
    sections: Iterable[Section], texts: Mapping[str, str], wrong: Mapping[str, str], when: str
) -> list[dict[str, Any]]:
    """Return what the template of a form is given: the sections that are shown, and which of them stand open."""
    found = []
    for section in sections:
        fields = [one for one in section.fields if one.when in ("", when)]
        if fields:
            used = any(texts.get(one.name) for one in fields) or any(one.name in wrong for one in fields)
            found.append({"title": section.title, "fields": fields, "open": used or not section.folded})
    return found


def param_of(told: Any, sections: Iterable[Section]) -> str:
    """Return the field that an error is about; "" for none of a form's."""
    error = told.get("error") if isinstance(told, Mapping) else None
    param = str(error.get("param") or "") if isinstance(error, Mapping) else ""
    head = param.partition(".")[0].partition("[")[0]
    return head if any(field.name == head for field in fields_of(sections)) else ""


def _items(text: str) -> list[str]:
    return [one for line in text.replace(",", "\n").split("\n") if (one := line.strip())]


def _same(field: Field, text: str, before: str) -> bool:
    if field.kind in ("list", "models"):
        return _items(text) == _items(before) if field.kind == "list" else set(_items(text)) == set(_items(before))
    return text.strip() == before.strip()


def _number(text: str, of: type[float] | type[int], right: str) -> float | int:
    try:
        return of(text.strip())
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not {right}.") from None
