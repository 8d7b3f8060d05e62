"""Names that become a part of a URL's path: of models and deployments, the config's and those that clients send."""

from __future__ import annotations

import re
from urllib.parse import quote

from penstock.core.errors import GatewayError

_FOREIGN = re.compile(r"[\x00-\x1f\x7f?#\\]|%[0-9A-Fa-f]{2}")


def in_path(name: str, safe: str = "") -> str:
    """Quote a name for a path; characters of ``safe`` stay. Raises "bad_request" for what servers and proxies take for
    more than a name, however often they decode it: dot segments, percent-encoding, `?`, `#`, backslashes, control
    characters; with a slash in ``safe`` also for empty segments."""
    segments = name.split("/")
    if any(segment.partition(";")[0] in (".", "..") for segment in segments):
        raise _bad(name, "a dot segment (. or ..)")
    if found := _FOREIGN.search(name):
        raise _bad(name, repr(found[0]))
    if "/" in safe and len(segments) > 1 and not all(segments):
        raise _bad(name, "an empty segment (//)")
    return quote(name, safe=safe)


def _bad(name: str, what: str) -> GatewayError:
    shown = name if len(name) <= 120 else name[:117] + "..."
    text = f"The model's name {shown!r} has {what}, which no model has; it would stand in the request's address."
    return GatewayError("bad_request", text, param="model")
