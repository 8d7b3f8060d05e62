"""How management calls are read: bodies as typed fields, parameters of the query, pages of a list, and who asks.

A form is a struct in which everything is optional: ``UNSET`` where a field was not sent, None where it was null, which
to LiteLLM are two things. What it does not name is ignored, as LiteLLM does; a name that is nearly one of it is told in
``warnings``, because a limit that was misspelt is no limit.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET

from penstock.core.admit.holders import Bad
from penstock.core.envelope import read_as
from penstock.core.errors import GatewayError
from penstock.runtime.route import JSON, Page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call

MOST_BYTES = 1024 * 1024  # of a body: it is read in the event loop
LARGEST_PAGE = 1000
_SECRET = frozenset({"key", "keys", "new_key", "new_master_key", "password", "credential_values"})  # never told back
_NO_DATABASE = (
    "Nothing is kept by this gateway, so there are no keys, teams or budgets. Set general_settings.master_key (or "
    "general_settings.database_url, or start with --state-dir), and restart."
)
F = TypeVar("F", bound=msgspec.Struct)
Fields = dict[str, Any]


def desk_of(gateway: Any) -> Desk:
    """Return where things are changed. Raises "bad_request" where nothing is kept."""
    desk: Desk | None = getattr(gateway, "desk", None)
    if desk is None:
        raise GatewayError("bad_request", _NO_DATABASE)
    return desk


def body_of(call: Call) -> Fields:
    """Read a body as a JSON object; one that is empty is one without fields. Raises "bad_request", "too_large"."""
    body = call.exchange.body
    return read_as(body, Fields, MOST_BYTES) if body else {}


def read(call: Call, form: type[F]) -> F:
    """Read a body as a form. Raises a 422 that names the field, its value and what would be right."""
    return convert(body_of(call), form)


def convert(fields: Mapping[str, Any], form: type[F]) -> F:
    """Read fields as a form; see ``read``."""
    try:
        return msgspec.convert(fields, form, strict=False)
    except msgspec.ValidationError as error:
        text = str(error)
        what, _, where = text.partition(" - at `$.")
        where = where.rstrip("`")
        if what.startswith("Object missing required field `"):
            where, what = ".".join(filter(None, (where, what.split("`")[1]))), "is missing"
        name = where.partition(".")[0].partition("[")[0]
        value = f" (it is {fields[name]!r:.60})" if name in fields and name not in _SECRET else ""
        said = f"{where}: {what[:1].lower() + what[1:]}{value}" if where else what
        raise GatewayError("bad_request", f"{said}.", param=where or None, status=422) from None


def given(form: msgspec.Struct) -> Fields:
    """Return what of a form was sent, null included."""
    return {name: value for name in form.__struct_fields__ if (value := getattr(form, name)) is not UNSET}


def misspelt(call: Call, form: type[msgspec.Struct]) -> list[str]:
    """List a sentence for each field of a body that is none of the form and nearly one of it."""
    known = form.__struct_fields__
    told = []
    for name in body_of(call):
        near = [] if name in known else difflib.get_close_matches(name[:60], known, 1, 0.8)
        if near:
            told.append(f"{name[:60]!r} is ignored: did you mean {near[0]!r}?")
    return told


def refused(error: Bad) -> GatewayError:
    """Make the error for a limit that cannot be read."""
    return GatewayError("bad_request", f"{error}.", param=error.param)


def query_of(call: Call) -> dict[str, str]:
    """Read the query; of a name that stands there twice the last one counts."""
    return dict(parse_qsl(call.exchange.query.decode("latin-1"), keep_blank_values=True, max_num_fields=100))


def number_of(query: Mapping[str, str], name: str, default: int, least: int = 0, most: int = LARGEST_PAGE) -> int:
    """Read a whole number of the query. Raises a 422 where it is none, or not between the bounds."""
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        text = f"{name}: {text[:40]!r} is no whole number from {least} to {most}."
        raise GatewayError("bad_request", text, param=name, status=422)
    return int(text)


def flag_of(query: Mapping[str, str], name: str, default: bool = False) -> bool:
    """Read yes or no of the query."""
    text = query.get(name, "").lower()
    if text in ("", "true", "1", "yes", "false", "0", "no"):
        return text in ("true", "1", "yes") if text else default
    raise GatewayError("bad_request", f"{name}: {text[:40]!r} is neither true nor false.", param=name, status=422)


def author(call: Call) -> str:
    """Return who makes a change, for its history: ``x-litellm-changed-by`` of an admin's, who asks for somebody."""
    caller = call.caller
    said = call.exchange.headers.get(b"x-litellm-changed-by", b"")
    if said and caller.admin:
        return said.decode("latin-1")[:200]
    return caller.user or caller.alias or "a caller without a key"


def page(answer: Any, status: int = 200) -> Page:
    """Render an answer."""
    return Page(status, JSON, msgspec.json.encode(answer, enc_hook=str))


def missing(kind: str, id_: str) -> GatewayError:
    """Make the error for what does not exist, or not for who asks: both are told alike."""
    return GatewayError("no_object", f"There is no {kind.replace('_', ' ')} {id_[:120]!r} here, or none for you.")
