"""What tests of pages send through their gateway."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from tests.e2e.serving import MASTER_KEY, Served


def send(gateway: Served, path: str, body: Any = None, key: str = MASTER_KEY, **headers: str) -> tuple[int, Any]:
    """Ask the gateway something; status, and what its JSON says. Without a body: GET."""
    lines = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(gateway.url + path, data, lines)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text[:1] in (b"{", b"[") else text
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def chat(
    gateway: Served, model: str = "gpt-4o", key: str = MASTER_KEY, headers: Any = None, **more: Any
) -> tuple[int, Any]:
    """Ask for a short answer."""
    body = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}], **more}
    return send(gateway, "/v1/chat/completions", body, key, **(headers or {}))
