"""What is said to those who ask for a path or a method that is not there."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.runtime.outlet import safe

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange

JSON = b"content-type: application/json\r\n"


def wrong_method(exchange: Exchange, allowed: tuple[str, ...]) -> GatewayError:
    """405 that names what would do; ``upstream_type`` carries the Allow header."""
    names = ", ".join(allowed)
    text = f"{exchange.method} is not allowed for {shown(exchange.path)}; use {names}."
    return GatewayError("method", text, upstream_type=names)


def no_route(exchange: Exchange, paths: list[str]) -> GatewayError:
    """404 with the nearest of ``paths``."""
    near = difflib.get_close_matches(exchange.path.rstrip("/"), paths, 1, 0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    return GatewayError("no_route", f"There is nothing at {exchange.method} {shown(exchange.path)}.{hint}")


def shown(path: str) -> str:
    """A path or name of a client's, fit for a message."""
    text = "".join(c if c.isprintable() else "?" for c in path)
    return text if len(text) <= 200 else text[:197] + "..."


def check_type(content_type: bytes | None) -> None:
    """JSON bodies must say so. A web page can post some other types to a local gateway without asking first (CORS
    "simple requests": forms and plain text), so this is a guard and not a formality. Plain bytes are none of these, and
    it is what aiohttp calls JSON that it was given as bytes: LiteLLM's client of Ollama sends it so."""
    if content_type is None or content_type == b"application/json":
        return
    kind = content_type.partition(b";")[0].strip().lower()
    if kind not in (b"application/json", b"application/octet-stream") and not kind.endswith(b"+json"):
        said = safe(content_type.decode("latin-1")).decode()
        text = f"The body must be JSON: send 'Content-Type: application/json', not {said!r}."
        raise GatewayError("media_type", text)
