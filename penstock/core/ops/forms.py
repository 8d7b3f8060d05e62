"""``multipart/form-data`` (RFC 7578) in place: where the parts of a body are, and the body with one of them replaced.

No part is copied. A body is looked through once for its boundary; its plain fields become the JSON fields that the rest
of the gateway knows; its files stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Raw
from msgspec.json import encode

from penstock.core.errors import GatewayError

MAX_PARTS = 1000
MAX_HEAD = 16 * 1024
MAX_FIELD = 1024 * 1024  # bytes of a plain field; a file may be as long as the body
# Two of these would let a client be checked for one and served another.
_ACTED_ON = frozenset({"model", "stream", "response_format"})
_TYPE = re.compile(rb"\s*multipart/form-data\s*;(.*)", re.I | re.S)
_PARAM = re.compile(rb'\s*+([!#$%&\'*+.^_`|~0-9a-z-]++)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*+)"|([^\s;]++))', re.I)
_DISPOSITION = re.compile(rb"(?:^|\r\n)content-disposition:\s*form-data\s*((?:;[^\r\n]*)?)", re.I)


class Part(NamedTuple):
    """One part: where its boundary begins, ``start`` and ``end`` of its content. ``filename`` None: a plain field."""

    name: str
    filename: str | None
    begin: int
    start: int
    end: int


def boundary_of(content_type: bytes | None) -> bytes:
    """Read the boundary in a content type. Raises "media_type" for another type, or one without a boundary."""
    match = _TYPE.fullmatch(content_type or b"")
    found = _params(match[1]).get("boundary", b"") if match else b""
    if not found or len(found) > 70:  # RFC 2046, 5.1.1
        said = (content_type or b"nothing").decode("latin-1")[:120]
        text = f"The body must be a form: send 'Content-Type: multipart/form-data' with a boundary, not {said!r}."
        raise GatewayError("media_type", text)
    return found


def parts(body: bytes, boundary: bytes) -> list[Part]:
    """Split a form into its parts, in order. Raises "bad_request" for a body that is no form, or not a whole one."""
    mark = b"--" + boundary
    if body.startswith(mark):
        at = len(mark)
    else:
        at = body.find(b"\r\n" + mark)  # a preamble, which nobody reads
        if at < 0:
            raise broken("its boundary is not in it")
        at += 2 + len(mark)
    found: list[Part] = []
    while True:
        if body.startswith(b"--", at):
            return found
        line = body.find(b"\r\n", at, at + 200)
        if line < 0 or body[at:line].strip():
            raise broken("a boundary has no end")
        head = body.find(b"\r\n\r\n", line, line + MAX_HEAD)
        end = body.find(b"\r\n" + mark, line if head < 0 else head + 2)
        if head < 0 or end < 0:
            raise broken("it is cut short")
        name, filename = names(body[line + 2 : head])
        found.append(Part(name, filename, at - len(mark), head + 4, max(end, head + 4)))
        if len(found) > MAX_PARTS:
            raise broken(f"it has over {MAX_PARTS} parts")
        at = end + 2 + len(mark)


def names(head: bytes) -> tuple[str, str | None]:
    match = _DISPOSITION.search(head)
    params = _params(match[1]) if match else {}
    if "name" not in params:
        raise broken("a part has no name")
    filename = params.get("filename")
    named = None if filename is None and "filename*" not in params else (filename or b"").decode("utf-8", "replace")
    return params["name"].decode("utf-8", "replace"), named


def _params(text: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    at = 0
    while True:
        # Tried where a parameter begins, and nowhere else: a name without a value would be read anew from each letter.
        if (match := _PARAM.match(text, at)) is not None:
            name, quoted, plain = match.groups(b"")
            found[name.decode().lower()] = re.sub(rb"\\(.)", rb"\1", quoted) if quoted else plain
            at = match.end()
        at = text.find(b";", at) + 1
        if not at:
            return found


def broken(why: str) -> GatewayError:
    return GatewayError("bad_request", f"The body is not a multipart form: {why}.")


def fields_of(body: bytes, found: list[Part]) -> dict[str, Raw]:
    """Read the plain fields as JSON, see ``plain_fields``."""
    whole = memoryview(body)
    return plain_fields((one.name, one.filename, whole[one.start : one.end]) for one in found)


def plain_fields(found: Iterable[tuple[str, str | None, bytes | memoryview]]) -> dict[str, Raw]:
    """Read the plain fields out of (name, file name, content) as JSON: texts, but for ``stream``, which is true or
    false. A name with ``[]`` is a list. So is one that stands twice, but for what the gateway acts on. Raises
    "bad_request" for that, for a field that is too long, or not UTF-8. The content of files is not looked at."""
    out: dict[str, Raw] = {}
    lists: dict[str, list[str | Raw]] = {}
    for name, filename, content in found:
        if filename is not None:
            if name in _ACTED_ON:
                text = f"{name!r} is a file in this form; it must be a plain field."
                raise GatewayError("bad_request", text, param=name)
            continue
        if len(content) > MAX_FIELD:
            raise field(name, f"is over {MAX_FIELD} bytes long")
        try:
            value = str(content, "utf-8")
        except UnicodeDecodeError:
            raise field(name, "is not valid UTF-8") from None
        if name.endswith("[]") or name in lists:
            lists.setdefault(name, []).append(value)
        elif name in out:
            if name in _ACTED_ON:
                raise GatewayError("bad_request", f"The field {name!r} stands twice in the form.", param=name)
            lists[name] = [out.pop(name), value]
        elif name == "stream" and value.lower() in ("true", "false", "1", "0"):
            out[name] = Raw(b"true" if value.lower() in ("true", "1") else b"false")
        else:
            out[name] = Raw(encode(value))
    return out | {name: Raw(encode(values)) for name, values in lists.items()}


def field(name: str, fault: str) -> GatewayError:
    """Make the error for a plain field that looks like a file sent without a name."""
    return GatewayError("bad_request", f"{name!r} {fault}; a file has a file name.", param=name)


def file_of(found: list[Part], *names: str) -> Part | None:
    """Find the first file under one of the names."""
    return next((part for part in found if part.name in names and part.filename is not None), None)


def plan(
    boundary: bytes, found: list[Part], changes: Mapping[str, bytes], leave: frozenset[str]
) -> list[bytes | tuple[int, int]]:
    """Plan the form with fields replaced (or added, before all others) and others left out: new bytes, and between them
    what stays of the body, as (start, end)."""
    mark = b"--" + boundary
    pieces: list[bytes | tuple[int, int]] = []
    left = dict(changes)
    for part in found:
        if part.filename is None and part.name in changes:
            left.pop(part.name, None)
    for name, value in left.items():
        head = b'%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % (mark, name.encode())
        pieces.append(head + value + b"\r\n")
    for part in found:
        if part.filename is None and part.name in leave:
            continue
        if part.filename is None and part.name in changes:
            pieces += ((part.begin, part.start), changes[part.name] + b"\r\n")
        elif part.start == part.end:  # the line break may be missing behind a head with nothing after it
            pieces += ((part.begin, part.end), b"\r\n")
        else:
            pieces.append((part.begin, part.end + 2))
    pieces.append(mark + b"--\r\n")
    return pieces


def rewritten(
    body: bytes, boundary: bytes, found: list[Part], changes: Mapping[str, bytes], leave: frozenset[str]
) -> list[memoryview]:
    """Carry out ``plan``: return pieces of the body and new bytes between them. Nothing of the body is copied."""
    whole = memoryview(body)
    pieces = plan(boundary, found, changes, leave)
    return [whole[one[0] : one[1]] if isinstance(one, tuple) else memoryview(one) for one in pieces]


def chunks(pieces: list[memoryview], size: int = 128 * 1024) -> Iterator[memoryview]:
    """Yield the pieces in portions of at most ``size`` bytes."""
    for piece in pieces:
        for at in range(0, len(piece), size):
            yield piece[at : at + size]
