"""``multipart/form-data`` (RFC 7578) in place: where the parts of a body are, and the body with one of them replaced.

No part is copied. A body is looked through once for its boundary; its plain fields become the JSON fields that the rest
of the gateway knows; its files stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
_PARAM = re.compile(rb';?\s*([!#$%&\'*+.^_`|~0-9a-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))', re.I)
_DISPOSITION = re.compile(rb"(?:^|\r\n)content-disposition:\s*form-data\s*((?:;[^\r\n]*)?)", re.I)


class Part(NamedTuple):
    """One part: where its boundary begins, ``start`` and ``end`` of its content. ``filename`` None: a plain field."""

    name: str
    filename: str | None
    begin: int
    start: int
    end: int


def boundary_of(content_type: bytes | None) -> bytes:
    """Raises "media_type" for another content type, or one without a boundary."""
    match = _TYPE.fullmatch(content_type or b"")
    found = _params(match[1]).get("boundary", b"") if match else b""
    if not found or len(found) > 70:  # RFC 2046, 5.1.1
        said = (content_type or b"nothing").decode("latin-1")[:120]
        text = f"The body must be a form: send 'Content-Type: multipart/form-data' with a boundary, not {said!r}."
        raise GatewayError("media_type", text)
    return found


def parts(body: bytes, boundary: bytes) -> list[Part]:
    """Every part in order. Raises "bad_request" for a body that is no form, or not a whole one."""
    mark = b"--" + boundary
    if body.startswith(mark):
        at = len(mark)
    else:
        at = body.find(b"\r\n" + mark)  # a preamble, which nobody reads
        if at < 0:
            raise _broken("its boundary is not in it")
        at += 2 + len(mark)
    found: list[Part] = []
    while True:
        if body.startswith(b"--", at):
            return found
        line = body.find(b"\r\n", at, at + 200)
        if line < 0 or body[at:line].strip():
            raise _broken("a boundary has no end")
        head = body.find(b"\r\n\r\n", line, line + MAX_HEAD)
        end = body.find(b"\r\n" + mark, line if head < 0 else head + 2)
        if head < 0 or end < 0:
            raise _broken("it is cut short")
        name, filename = _names(body[line + 2 : head])
        found.append(Part(name, filename, at - len(mark), head + 4, max(end, head + 4)))
        if len(found) > MAX_PARTS:
            raise _broken(f"it has over {MAX_PARTS} parts")
        at = end + 2 + len(mark)


def _names(head: bytes) -> tuple[str, str | None]:
    match = _DISPOSITION.search(head)
    params = _params(match[1]) if match else {}
    if "name" not in params:
        raise _broken("a part has no name")
    filename = params.get("filename")
    named = None if filename is None and "filename*" not in params else (filename or b"").decode("utf-8", "replace")
    return params["name"].decode("utf-8", "replace"), named


def _params(text: bytes) -> dict[str, bytes]:
    return {
        name.decode().lower(): re.sub(rb"\\(.)", rb"\1", quoted) if quoted else plain
        for name, quoted, plain in _PARAM.findall(text)
    }


def _broken(why: str) -> GatewayError:
    return GatewayError("bad_request", f"The body is not a multipart form: {why}.")


def fields_of(body: bytes, found: list[Part]) -> dict[str, Raw]:
    """The plain fields as JSON: texts, but for ``stream``, which is true or false. A name with ``[]`` is a list.
    So is one that stands twice, but for what the gateway acts on. Raises "bad_request" for that, for a field that is
    too long, or not UTF-8."""
    out: dict[str, Raw] = {}
    lists: dict[str, list[str | Raw]] = {}
    for part in found:
        if part.filename is not None:
            if part.name in _ACTED_ON:
                text = f"{part.name!r} is a file in this form; it must be a plain field."
                raise GatewayError("bad_request", text, param=part.name)
            continue
        if part.end - part.start > MAX_FIELD:
            text = f"{part.name!r} is over {MAX_FIELD} bytes long; a file has a file name."
            raise GatewayError("bad_request", text, param=part.name)
        try:
            value = body[part.start : part.end].decode("utf-8")
        except UnicodeDecodeError:
            text = f"{part.name!r} is not valid UTF-8; a file has a file name."
            raise GatewayError("bad_request", text, param=part.name) from None
        if part.name.endswith("[]") or part.name in lists:
            lists.setdefault(part.name, []).append(value)
        elif part.name in out:
            if part.name in _ACTED_ON:
                raise GatewayError("bad_request", f"The field {part.name!r} stands twice in the form.", param=part.name)
            lists[part.name] = [out.pop(part.name), value]
        elif part.name == "stream" and value.lower() in ("true", "false", "1", "0"):
            out[part.name] = Raw(b"true" if value.lower() in ("true", "1") else b"false")
        else:
            out[part.name] = Raw(encode(value))
    return out | {name: Raw(encode(values)) for name, values in lists.items()}


def file_of(found: list[Part], *names: str) -> Part | None:
    """The first file under one of the names."""
    return next((part for part in found if part.name in names and part.filename is not None), None)


def rewritten(
    body: bytes, boundary: bytes, found: list[Part], changes: Mapping[str, bytes], leave: frozenset[str]
) -> list[memoryview]:
    """The body with fields replaced (or added, before all others) and others left out, as pieces of the body and new
    bytes between them: nothing of the body is copied."""
    whole = memoryview(body)
    mark = b"--" + boundary
    pieces: list[memoryview] = []
    left = dict(changes)
    for part in found:
        if part.filename is None and part.name in changes:
            left.pop(part.name, None)
    for name, value in left.items():
        head = b'%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % (mark, name.encode())
        pieces.append(memoryview(head + value + b"\r\n"))
    for part in found:
        if part.filename is None and part.name in leave:
            continue
        if part.filename is None and part.name in changes:
            pieces.append(whole[part.begin : part.start])
            pieces.append(memoryview(changes[part.name] + b"\r\n"))
        else:
            pieces.append(whole[part.begin : part.end + 2])
    pieces.append(memoryview(mark + b"--\r\n"))
    return pieces


def chunks(pieces: list[memoryview], size: int = 128 * 1024) -> Iterator[memoryview]:
    """The pieces in portions of at most ``size`` bytes."""
    for piece in pieces:
        for at in range(0, len(piece), size):
            yield piece[at : at + size]
