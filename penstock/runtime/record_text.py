"""A request's record as one line: for people, or as JSON for machines."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import msgspec

from penstock.core.price import plain
from penstock.core.record import Record

_second: tuple[int, str] = (0, "")
_STAMP = "%s.%03dZ"
# One form for the whole line: a third of what it costs to put its parts together, and each request has one.
_NAMED = "%s call=%s key=%s model=%s target=%s %d %.1fms%s bytes=%d%s\n"
_UNNAMED = "%s call=%s key=%s %s %s %d %.1fms%s bytes=%d%s\n"
_FIRST, _TOKENS = " ttft=%.1fms", " in=%d out=%d"


def stamp(at: float) -> str:
    """Render Unix time as RFC 3339 in UTC with milliseconds; the part down to the second is made once a second."""
    global _second
    whole = int(at)
    if _second[0] != whole:
        _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return _STAMP % (_second[1], int((at - whole) * 1000))


LONGEST = 300  # characters of a client's own words in a line


def _word(text: str) -> str:
    """Render a name or path of a client's as one word: what would end the line or look like another field is quoted."""
    if len(text) > LONGEST:
        text = text[:LONGEST] + "..."
    return text if text.isprintable() and " " not in text else ascii(text)


_name = lru_cache(1024)(_word)  # names come again and again; paths may be anything and are not kept


def _compact(value: object) -> str:
    """Render what the gateway itself found out as JSON in one word, however long it is."""
    text = msgspec.json.encode(value).decode()
    return text if text.isprintable() and " " not in text else ascii(text)


def as_text(r: Record) -> str:
    """Render a record as ``2026-11-20T09:00:00.123Z call=.. key=.. model=.. target=.. 200 12.3ms in=9 out=3
    cost=0.00005 bytes=812``."""
    usage, found, more = r.usage, "", ""
    if r.ttft_ms is not None:
        found = _FIRST % r.ttft_ms
    if usage is not None:
        found += _TOKENS % (usage.input, usage.output)
        if usage.estimated:
            found += "~"
    if r.cost is not None:
        found += " cost=" + plain(r.cost)
    if r.cache_hit:
        found += " cache=hit"
    if r.continued:
        found += f" continued={r.continued}"
    if r.guards:
        found += " guards=" + _word(",".join([f"{ran.name}:{ran.verdict}" for ran in r.guards]))
    if r.route is not None:
        more = " route=" + _compact(r.route)
    if r.error:
        more += f" error={r.error} {r.message!r}"
    when, key = stamp(r.at), _name(r.key) or "-"
    if r.model:
        told = when, r.call_id, key, _name(r.model), _name(r.target) or "-", r.status, r.ms, found, r.bytes_out, more
        return _NAMED % told
    return _UNNAMED % (when, r.call_id, key, r.method, _word(r.path), r.status, r.ms, found, r.bytes_out, more)


def as_json(r: Record) -> str:
    """Render a record as one line of JSON; keys as in the text form, times in milliseconds."""
    line: dict[str, object] = {
        "time": stamp(r.at),
        "level": "INFO" if r.status < 500 else "ERROR",
        "call_id": r.call_id,
        "request_id": r.request_id,
        "key": r.key or None,
        "method": r.method,
        "path": r.path,
        "model": r.model or None,
        "target": r.target or None,
        "status": r.status,
        "ms": round(r.ms, 3),
        "ttft_ms": None if r.ttft_ms is None else round(r.ttft_ms, 3),
        "tokens_in": r.usage.input if r.usage else None,
        "tokens_out": r.usage.output if r.usage else None,
        "cost": None if r.cost is None else float(r.cost),
        "bytes": r.bytes_out,
        "stream": r.stream,
        "tries": r.tries,
    }
    if r.continued:
        line["continued"] = r.continued
    if r.cache_hit:
        line["cache_hit"] = True
    if r.guards:
        line["guards"] = r.guards
    if r.route is not None:
        line["route"] = r.route
    if r.dropped:
        line["dropped"] = r.dropped
    if r.error:
        line["error"] = r.error
        line["message"] = r.message
    return msgspec.json.encode(line).decode() + "\n"


def quiet(render: Callable[[Record], str]) -> Callable[[Record], str]:
    """Make a rendering of failures of ours and of upstreams only: a log that is told to be quiet has no others."""
    return lambda record: render(record) if record.status >= 500 else ""
