"""Reading `multipart/form-data`, strictly: what a lenient reader lets pass would hide a client's fault."""

from __future__ import annotations

from email.message import Message
from typing import NamedTuple

from penstock.mock.reply import Exchange, Refused


class Part(NamedTuple):
    """One part. `filename` is None for a plain field."""

    name: str
    filename: str | None
    content_type: str
    data: bytes


def read_form(exchange: Exchange) -> list[Part]:
    """Split the body into its parts. Raises Refused 400 for what is no form, or is cut short."""
    head = Message()
    head["content-type"] = exchange.headers.get("content-type", "")
    boundary = head.get_param("boundary")
    if head.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise Refused(400, "The body must be multipart/form-data with a boundary.", "invalid_request_error")
    mark = b"--" + boundary.encode("latin-1")
    pieces = (b"\r\n" + exchange.raw).split(b"\r\n" + mark)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise Refused(400, "Could not parse multipart form: it has no end.", "invalid_request_error")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    lines, gap, data = piece.partition(b"\r\n\r\n")
    if not gap or not lines.startswith(b"\r\n"):
        raise Refused(400, "Could not parse multipart form: a part has no head.", "invalid_request_error")
    head = Message()
    for line in lines[2:].decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        head[name] = value.strip()
    named = head.get_param("name", header="content-disposition")
    if not isinstance(named, str):
        raise Refused(400, "Could not parse multipart form: a part has no name.", "invalid_request_error")
    return Part(named, head.get_filename(), head.get_content_type(), data)
