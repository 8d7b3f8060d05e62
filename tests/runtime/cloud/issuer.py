"""A token endpoint on a loopback port, in a thread: what it was asked, and what it is told to answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Asked(NamedTuple):
    """One request; ``form``: the fields of its body (first value each), ``json``: its body where that is JSON."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]
    json: Any


class Issuer:
    """``answers`` by path (a whole object), else ``answer``; ``status`` and ``delay`` (seconds) are for all."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.status = 200
        self.delay = 0.0
        self.raw: bytes | None = None
        self.location = ""
        self.answer: Any = {"access_token": "tok-1", "expires_in": 3600, "token_type": "Bearer"}
        self.answers: dict[str, Any] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.serve(self)

            def do_GET(self) -> None:
                outer.serve(self)

            def log_message(self, *args: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        parts = urlsplit(handler.path)
        is_json = "json" in handler.headers.get("content-type", "")
        headers = {name.lower(): value for name, value in handler.headers.items()}
        form = {} if is_json else _first(parse_qs(body.decode()))
        self.asked.append(
            Asked(handler.command, parts.path, _first(parse_qs(parts.query)), headers, form, json.loads(body) if is_json else None)
        )
        time.sleep(self.delay)
        told = self.raw if self.raw is not None else json.dumps(self.answers.get(parts.path, self.answer)).encode()
        handler.send_response(self.status)
        if self.location:
            handler.send_header("location", self.location)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(told)))
        handler.end_headers()
        handler.wfile.write(told)


def _first(fields: dict[str, list[str]]) -> dict[str, str]:
    return {key: values[0] for key, values in fields.items()}


@contextmanager
def issuing() -> Iterator[Issuer]:
    """An ``Issuer``, closed at the end; no account of an earlier test is remembered."""
    from penstock.runtime.cloud import tokens

    made = Issuer()
    tokens._SHARED.clear()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        tokens._SHARED.clear()
