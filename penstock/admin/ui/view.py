"""How pages are made: a template, what it is given, and the headers that keep a page its own.

A page asks for what it shows by ``inner.ask``: the management URLs, as whoever is signed in. So what somebody may see
and do is judged in one place, there.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from penstock import __version__
from penstock.admin.ui import shapes, static
from penstock.admin.ui.menu import MENU, Entry
from penstock.admin.ui.sessions import OPEN_COOKIE, Sessions, cookies
from penstock.core.errors import GatewayError
from penstock.core.ops import forms
from penstock.runtime.route import Page

if TYPE_CHECKING:
    import jinja2
    import markupsafe

    from penstock.core.ops.forms import Part
    from penstock.runtime.call import Call

BASE = "/ui"
FORM_BYTES = 4 * 1024 * 1024
FORM_FIELDS = 2000
SAID_COOKIE = b"penstock_said"
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HTML = (
    b"text/html; charset=utf-8\r\ncontent-security-policy: %b\r\nx-content-type-options: nosniff\r\n"
    b"x-frame-options: DENY\r\nreferrer-policy: same-origin\r\ncache-control: no-store" % _POLICY
)


@functools.cache
def environment() -> jinja2.Environment:
    """Make what templates are read with. Everything that they are given is escaped."""
    import jinja2  # few gateways show a page right after their start

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("penstock.admin.ui"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(shapes.FILTERS)
    made.filters["json"] = in_script
    return made


def in_script(value: Any) -> markupsafe.Markup:
    """Write a value as the JSON of a ``script`` element that holds data: nothing in it ends the element."""
    import markupsafe

    text = as_json(value).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return markupsafe.Markup(text)


def sessions_of(gateway: Any) -> Sessions:
    """Return who knows who is signed in. Raises "no_route" where there are no pages."""
    found = gateway.gate.sessions
    if not isinstance(found, Sessions):
        raise GatewayError("no_route", "This gateway shows no pages.")
    return found


def render(gateway: Any, call: Call, template: str, status: int = 200, /, **given: Any) -> Page:
    """Make a page of a template. ``given``: what it shows. Beside that every template knows ``base`` (the path of all
    pages), ``caller``, ``menu``, ``here`` (its entry in it), ``token`` (what forms bring along) and ``said``."""
    exchange = call.exchange
    found = cookies(exchange.headers)
    more = b""
    if not gateway.identity.needs_key and OPEN_COOKIE not in found:
        fresh = secrets.token_urlsafe(16).encode()
        more += _cookie(call, OPEN_COOKIE, fresh)
        exchange.headers[b"cookie"] = exchange.headers.get(b"cookie", b"") + b"; %b=%b" % (OPEN_COOKIE, fresh)
    said = found.get(SAID_COOKIE)
    if said is not None:
        more += _cookie(call, SAID_COOKIE, b"", 0)
    caller = call.caller
    context = {
        "base": base_of(call),
        "call": call,
        "caller": caller,
        "menu": [(group, rows) for group, all_ in MENU if (rows := [one for one in all_ if one.seen_by(caller)])],
        "here": here(call.path),
        "token": sessions_of(gateway).token(exchange),
        "said": _read_said(said),
        "signs_in": gateway.identity.needs_key,
        "version": __version__,
        "static": lambda name: f"{base_of(call)}/static/{static.version()}/{name}",
        "partial": b"hx-request" in exchange.headers and b"hx-boosted" not in exchange.headers,
    }
    text = environment().get_template(template).render({**context, **given})
    return Page(status, _HTML + more, text.encode())


def base_of(call: Call) -> str:
    """Return the path that all pages are below, as the browser sees it."""
    return call.below + BASE


def here(path: str) -> Entry | None:
    """Find the entry of the menu that a path belongs to: the one with the longest path before it."""
    rest = path.removeprefix(BASE) or "/"
    fits = [one for _, rows in MENU for one in rows if rest == one.path or rest.startswith(one.path + "/")]
    return max(fits, key=lambda one: len(one.path), default=None)


def go(call: Call, path: str, said: str = "", bad: bool = False, more: bytes = b"") -> Page:
    """Send the browser to another page (a path below ``BASE``), which says a sentence once."""
    lines = b"text/plain\r\ncache-control: no-store\r\nlocation: %b" % (base_of(call) + path).encode()
    if said:
        lines += _cookie(call, SAID_COOKIE, quote(("!" if bad else ".") + said[:600]).encode(), 60)
    return Page(303, lines + more, b"")


def form_of(call: Call) -> dict[str, str]:
    """Read the form that a page sent: its fields by name, without what only proves where it comes from. Of a name that
    stands there several times the last one counts; see ``lists_of``."""
    return dict(_pairs(call))


def lists_of(call: Call) -> dict[str, list[str]]:
    """Read the same with every value of each name."""
    found: dict[str, list[str]] = {}
    for name, value in _pairs(call):
        found.setdefault(name, []).append(value)
    return found


def file_of(call: Call, name: str) -> tuple[str, bytes] | None:
    """Read a file of a form with files: its name and its bytes; None where none was chosen."""
    body = call.exchange.body
    for part in _parts(call):
        if part.name == name and part.filename:
            return part.filename, body[part.start : part.end]
    return None


def _has_files(call: Call) -> bool:
    return call.exchange.headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data")


def _parts(call: Call) -> list[Part]:
    return forms.parts(call.exchange.body, forms.boundary_of(call.exchange.headers.get(b"content-type")))


def _plain(call: Call) -> list[tuple[str, str]]:
    """Read what is no file in a form with files."""
    body = call.exchange.body
    found = [one for one in _parts(call) if one.filename is None]
    if sum(one.end - one.start for one in found) > FORM_BYTES:
        raise GatewayError("too_large", f"The fields of this form have over {FORM_BYTES} bytes.")
    return [(one.name, body[one.start : one.end].decode("utf-8", "replace")) for one in found]


def _pairs(call: Call) -> list[tuple[str, str]]:
    body = call.exchange.body
    if _has_files(call):
        return [(name, value.replace("\r\n", "\n")) for name, value in _plain(call) if name != "token"]
    if len(body) > FORM_BYTES:
        raise GatewayError("too_large", f"This form has over {FORM_BYTES} bytes.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS)
    except (ValueError, UnicodeDecodeError):
        raise GatewayError("bad_request", "This is no form of these pages.") from None
    return [(name, value.replace("\r\n", "\n")) for name, value in pairs if name != "token"]


def check_form(gateway: Any, call: Call) -> None:
    """Raise "forbidden" unless a form, or the header of a script, proves that a page of ours sent it."""
    given = call.exchange.headers.get(b"x-page-token", b"").decode("latin-1")
    if not given and _has_files(call):
        given = dict(_plain(call)).get("token", "")
    elif not given and call.exchange.body[:1] != b"{":
        fields = parse_qsl(call.exchange.body[:FORM_BYTES].decode("latin-1"), max_num_fields=FORM_FIELDS)
        given = dict(fields).get("token", "")
    sessions_of(gateway).check_token(call.exchange, given)


def set_cookie(call: Call, name: bytes, value: str, lasts: float) -> bytes:
    """Return the header line that has the browser keep a cookie for the pages; for 0 seconds: forget it."""
    return _cookie(call, name, value.encode(), lasts)


def _cookie(call: Call, name: bytes, value: bytes, lasts: float | None = None) -> bytes:
    age = b"" if lasts is None else b"; Max-Age=%d" % lasts
    secure = b"; Secure" if call.exchange.headers.get(b"x-forwarded-proto", b"").lower() == b"https" else b""
    path = base_of(call).encode()
    return b"\r\nset-cookie: %b=%b; Path=%b; HttpOnly; SameSite=Lax%b%b" % (name, value, path, age, secure)


def _read_said(value: bytes | None) -> Mapping[str, Any] | None:
    if not value:
        return None
    text = unquote(value.decode("latin-1"))
    return {"bad": text[:1] == "!", "text": text[1:]}


class Blank(dict[str, Any]):
    """Fields of which each that is not there reads as "": what a filter or a form says, and what an answer may leave
    out."""

    def __missing__(self, name: str) -> str:
        return ""


def as_json(value: Any) -> str:
    """Write a value for a script to read."""
    return msgspec.json.encode(value, enc_hook=str).decode()
