"""Files that pages bring along: style, scripts, what is vendored. Anybody may read them; a browser keeps them."""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from penstock.core.errors import GatewayError
from penstock.runtime.gate import shown
from penstock.runtime.route import Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call

TYPES = {
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
_KEPT = b"\r\nx-content-type-options: nosniff\r\ncache-control: public, max-age=31536000, immutable"


@functools.cache
def table() -> dict[str, tuple[bytes, bytes]]:
    """Read all files: by name, their type and their bytes."""
    found: dict[str, tuple[bytes, bytes]] = {}
    root = files("penstock.admin.ui").joinpath("static")
    for folder, prefix in ((root, ""), (root.joinpath("vendor"), "vendor/")):
        for one in folder.iterdir():
            type_ = TYPES.get(one.name.rpartition(".")[2])
            if type_ is not None:
                found[prefix + one.name] = type_, one.read_bytes()
    return found


@functools.cache
def version() -> str:
    """Return a digest of all files, which stands in their addresses: a new release is never read from a cache."""
    made = hashlib.sha256()
    for name, (_, data) in sorted(table().items()):
        made.update(name.encode() + b"\0" + data)
    return made.hexdigest()[:12]


def send(gateway: Any, call: Call) -> Page:
    """Send a file of the pages: a style, a script or a picture."""
    _, _, name = call.params["name"].partition("/")
    found = table().get(name)
    if found is None:
        raise GatewayError("no_route", f"There is no file {shown(name)!r} of the pages.")
    return Page(200, found[0] + _KEPT, found[1])
