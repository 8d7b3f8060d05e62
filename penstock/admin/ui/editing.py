"""Forms of what is managed: shown, and shown again with what was typed and what is wrong with it, until it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.admin.ui import fields
from penstock.admin.ui.inner import Told, ask
from penstock.admin.ui.lists import NOTHING_KEPT, keeps
from penstock.admin.ui.view import go, lists_of, render
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.admin.ui.fields import Section
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

Fields = dict[str, Any]


class Form(NamedTuple):
    """A form. ``to``: the path that it is sent to; ``back``: the page behind "Cancel", which is shown when nothing was
    changed; ``row``: what is changed, None for what is made anew."""

    title: str
    parts: tuple[Section, ...]
    to: str
    back: str
    button: str
    row: Fields | None = None

    @property
    def when(self) -> str:
        """Return which of the fields are shown."""
        return "new" if self.row is None else "change"


def show(
    gateway: Any, call: Call, form: Form, texts: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None, error: str = "", status: int = 200,
) -> Page:  # fmt: skip
    """Show a form. ``texts``: what stands in its fields, else what its row says."""
    texts = fields.texts_of(form.parts, form.row or {}) if texts is None else texts
    return render(
        gateway, call, "access/form.html", status, form=form, texts=texts, wrong=wrong or {}, error=error,
        parts=fields.shown(form.parts, texts, wrong or {}, form.when), models=models_of(gateway, call),
    )  # fmt: skip


async def send(gateway: Any, call: Call, form: Form, path: str, more: Fields, method: str = "POST") -> Told | Page:
    """Send what was typed into a form to a URL; return its answer where that took it, else the page that says why not.
    ``more``: of the body what is no field of the form."""
    texts = fields.typed(form.parts, lists_of(call))
    before = None if form.row is None else fields.texts_of(form.parts, form.row)
    body, wrong = fields.body_of(form.parts, texts, before, form.row or {})
    if not wrong:
        if form.row is not None and not body:
            return go(call, form.back, "Nothing was changed.")
        told = await ask(gateway, call, method, path, {**more, **body})
        if told.good:
            return told
    for field in fields.fields_of(form.parts):
        if field.kind == "secret":  # what was typed there is not sent back
            texts[field.name] = ""
    if wrong:
        return show(gateway, call, form, texts, wrong, status=400)
    param = fields.param_of(told.said, form.parts)
    error = "" if param else told.error
    return show(gateway, call, form, texts, {param: told.error} if param else {}, error, told.status)


def models_of(gateway: Any, call: Call) -> list[str]:
    """Return the names that a form offers: those that the caller may call; none, where they are too many."""
    names = sorted(gateway.names_for(call))
    return names if len(names) <= fields.MOST_BOXES else []


def nothing_kept(gateway: Any, call: Call) -> Page | None:
    """Return the page that says so where nothing is kept; None where keys and teams are."""
    return None if keeps(gateway) else render(gateway, call, "access/none.html", text=NOTHING_KEPT)


def check_kept(gateway: Any) -> None:
    """Raise "no_database" where nothing is kept."""
    if not keeps(gateway):
        raise GatewayError("no_database", NOTHING_KEPT)
