"""The mock's own URLs under `/__mock__/`: what came, which connections are open, a new script at run time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from penstock.mock.reply import Reply, encode
from penstock.mock.script import ScriptError, parse_script

if TYPE_CHECKING:
    from penstock.mock.server import Mock, Received  # circle: these pages show and set what their server holds

PREFIX = "/__mock__/"
_SECRET = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie")


def reply(mock: Mock, received: Received) -> Reply:
    """Answer one debug URL; a 404 lists the ones that exist."""
    name, method = received.path[len(PREFIX) :].strip("/"), received.method
    if name == "requests" and method == "GET":
        secrets = "1" in parse_qs(received.query).get("secrets", [])
        return _json(200, {"requests": [_row(one, secrets) for one in list(mock.received)]})
    if name == "requests" and method == "DELETE":
        gone = len(mock.received)
        mock.reset()
        return _json(200, {"deleted": gone})
    if name == "connections" and method == "GET":
        return _json(200, _connections(mock))
    if name == "script" and method == "POST":
        try:
            mock.script = parse_script(msgspec.json.decode(received.body))
        except msgspec.DecodeError as exc:
            return _json(400, {"error": f"the script is not JSON: {exc}"})
        except ScriptError as exc:
            return _json(400, {"error": "the script cannot be obeyed", "problems": exc.problems})
        return _json(200, {"ok": True})
    known = ["GET requests", "DELETE requests", "GET connections", "POST script"]
    return _json(
        404,
        {"error": f"no {method} {received.path}", "known": [f"{k.split()[0]} {PREFIX}{k.split()[1]}" for k in known]},
    )


def _json(status: int, value: Any) -> Reply:
    return Reply(status, [], encode(value))


def mask(value: str) -> str:
    """Mask a secret: show its hash and, of a long one, the last four characters."""
    hashed = hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"sha256:{hashed} ...{value[-4:] if len(value) > 11 else ''}"


def _row(one: Received, secrets: bool) -> dict[str, Any]:
    shown = [(n, v if secrets or n not in _SECRET else mask(v)) for n, v in one.headers]
    return {
        "number": one.number,
        "method": one.method,
        "path": one.path,
        "query": one.query,
        "headers": shown,
        "body": None if one.json is not None else one.body.decode("utf-8", "replace"),
        "json": one.json,
        "body_bytes": len(one.body),
        "at": one.at,
        "connection_id": one.connection_id,
        "status": one.status,
        "sent_bytes": one.sent_bytes,
        "sent_events": one.sent_events,
        "complete": one.complete,
        "closed_early": one.closed_early,
    }


def _connections(mock: Mock) -> dict[str, Any]:
    rows = [
        {
            "id": number,
            "requests": connection.requests,
            "busy": connection.current is not None and not connection.current.path.startswith(PREFIX),
        }
        for number, connection in list(mock.connections.items())
    ]
    return {"open": len(rows), "opened_ever": mock.opened_ever, "client_hangups": mock.hangups, "connections": rows}
