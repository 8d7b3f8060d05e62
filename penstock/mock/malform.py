"""The faults of `Step.malform`: some change the events, some their bytes, some the whole body."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from penstock.mock.reply import Frame, Reply, encode

HTML = (
    b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\n"
    b"<body><center><h1>502 Bad Gateway</h1></center><hr><center>penstock-mock</center></body></html>\n"
)
_CLOSING = ("message_stop", "response.completed", "response.incomplete", "messageStop", "metadata")
_FINISHING = ("message_delta", "response.completed", "response.incomplete", "messageStop")
_OPENING = ("message_start", "response.created")


def _closes(frame: Frame) -> bool:
    return frame.data == b"[DONE]" or frame.name in _CLOSING or _last_line(frame.data)


def _last_line(data: Any) -> bool:
    """Tell whether this is the last line of an Ollama stream."""
    return isinstance(data, dict) and data.get("done") is True


def _choices(data: Any) -> list[Any]:
    return data.get("choices") or [] if isinstance(data, dict) else []


def _candidates(data: Any) -> list[Any]:
    return data.get("candidates") or [] if isinstance(data, dict) else []


def _finishes(frame: Frame) -> bool:
    if _last_line(frame.data) or any(one.get("finishReason") for one in _candidates(frame.data)):
        return True
    return frame.name in _FINISHING or any(choice.get("finish_reason") for choice in _choices(frame.data))


def set_finish(data: Any, value: str | None) -> None:
    """Put `value` where the dialect keeps its finish reason: any dialect's event or whole answer."""
    if not isinstance(data, dict):
        return
    for candidate in _candidates(data):
        if candidate.get("finishReason") is not None:
            candidate["finishReason"] = value
    if data.get("stopReason") is not None:
        data["stopReason"] = value
    if data.get("done_reason") is not None:
        data["done_reason"] = value
    for choice in _choices(data):
        if choice.get("finish_reason") is not None:
            choice["finish_reason"] = value
    for holder in (data, data.get("delta"), data.get("response")):
        if isinstance(holder, dict):
            if holder.get("stop_reason") is not None:
                holder["stop_reason"] = value
            if holder.get("object") == "response" and holder.get("status") in ("completed", "incomplete"):
                holder["status"] = value


def drop_role(data: Any) -> None:
    """Take the role away, in an event or a whole answer of any dialect."""
    if not isinstance(data, dict):
        return
    holders = [data, data.get("message"), data.get("item")]
    holders += [choice.get(key) for choice in _choices(data) for key in ("delta", "message")]
    holders += data.get("output") or []
    for holder in holders:
        if isinstance(holder, dict):
            holder.pop("role", None)


def frames(source: Iterable[Frame], faults: frozenset[str]) -> Iterator[Frame]:
    """Yield the events with the faults that concern events."""
    changing = faults & {"no_finish_reason", "empty_finish_reason", "no_role"}
    for at, frame in enumerate(source):
        if changing:
            # stored responses share their items with the events; they must stay whole
            frame = Frame(copy.deepcopy(frame.data), frame.name, frame.tokens)
        if "missing_done" in faults and _closes(frame):
            continue
        if "no_finish_reason" in faults:
            set_finish(frame.data, None)
        if "empty_finish_reason" in faults:
            set_finish(frame.data, "")
        if "no_role" in faults:
            drop_role(frame.data)
        if "pings" in faults and at:
            yield Frame({"type": "ping"}, "ping") if _is_messages(frame) else Frame(None)
        twice = "duplicate_finish" in faults and _finishes(frame)
        twice = twice or ("duplicate_start" in faults and at == 0)
        yield frame
        if twice:
            yield frame
        if at == 0:
            yield from _after_first(frame, faults)


def _after_first(first: Frame, faults: frozenset[str]) -> Iterator[Frame]:
    if "empty_choices" in faults and isinstance(first.data, dict) and "choices" in first.data:
        yield Frame({**first.data, "choices": []})
    if "garbage_event" in faults:
        yield Frame(b"\x00not json {{{", "garbage")
    if "unknown_event" in faults:
        yield Frame({"type": "mock.unknown", "mock": True}, "mock.unknown" if first.name else None)


def _is_messages(frame: Frame) -> bool:
    return frame.name is not None and "_" in frame.name and not frame.name.startswith("response.")


Encode = Callable[[Frame], bytes]


def sse(faults: frozenset[str]) -> Encode:
    """Choose an encoder from event to bytes. Without faults it is the shortest way."""
    plain = not faults & {
        "no_space", "crlf", "cr", "comments", "bom", "invalid_utf8", "bad_json", "unterminated", "split_data"
    }  # fmt: skip
    if plain:
        return _sse_plain
    state = {"at": -1}

    def one(frame: Frame) -> bytes:
        state["at"] += 1
        return _sse_faulty(frame, faults, state["at"])

    return one


def encoder(content_type: str, faults: frozenset[str]) -> Encode:
    """Choose an encoder for a stream of this content type: server-sent events, a line of JSON each, AWS's messages."""
    if content_type.startswith("application/vnd.amazon.eventstream"):
        return eventstream(faults)
    if not content_type.startswith("application/x-ndjson"):
        return sse(faults)
    at = itertools.count()
    return lambda frame: _line(frame, faults, next(at))


def eventstream(faults: frozenset[str]) -> Encode:
    """Make an encoder of AWS's messages. A byte changed on the way (`invalid_utf8`) makes a wrong CRC; faults that only
    server-sent events can have are none."""
    from penstock.mock.bedrock import packed

    at = itertools.count()

    def one(frame: Frame) -> bytes:
        number = next(at)
        if "bad_json" in faults and number == 2:
            frame = Frame(encode(frame.data)[:-2], frame.name)
        data = packed(frame)
        if "invalid_utf8" in faults and number == 1:
            data = data[:-5] + b"\xff" + data[-4:]
        return data[:-3] if "unterminated" in faults and _closes(frame) else data

    return one


def _line(frame: Frame, faults: frozenset[str], at: int) -> bytes:
    """Render a frame as a line of JSON. `comments` and `pings` are blank lines here; faults that only server-sent
    events can have are none."""
    if frame.data is None:
        return b"\n"
    data = frame.data if isinstance(frame.data, bytes) else encode(frame.data)
    if "bad_json" in faults and at == 2:
        data = data[: len(data) // 2]
    if "invalid_utf8" in faults and at == 1:
        data = data[:-1] + b"\xff" + data[-1:]
    text = b"\n" + data if "comments" in faults else data
    if not ("unterminated" in faults and _closes(frame)):
        text += b"\r\n" if "crlf" in faults else b"\n"
    return b"\xef\xbb\xbf" + text if "bom" in faults and at == 0 else text


def _sse_plain(frame: Frame) -> bytes:
    if frame.data is None:
        return b": keep-alive\n\n"
    data = frame.data if isinstance(frame.data, bytes) else encode(frame.data)
    if frame.name is None:
        return b"data: " + data + b"\n\n"
    return b"event: " + frame.name.encode() + b"\ndata: " + data + b"\n\n"


def _sse_faulty(frame: Frame, faults: frozenset[str], at: int) -> bytes:
    space = b"" if "no_space" in faults else b" "
    data = frame.data if isinstance(frame.data, bytes) else encode(frame.data)
    if "bad_json" in faults and at == 2:
        data = data[: len(data) // 2]
    if "invalid_utf8" in faults and at == 1:
        data = data[:-1] + b"\xff" + data[-1:]
    if frame.data is None:
        return b": keep-alive\n\n"
    lines = [b": mock comment"] if "comments" in faults else []
    if frame.name is not None:
        lines.append(b"event:" + space + frame.name.encode())
    if "split_data" in faults and data.startswith(b"{"):
        lines.append(b"data:" + space + data[:1])
        data = data[1:]
    lines.append(b"data:" + space + data)
    end = b"\r\n" if "crlf" in faults else b"\r" if "cr" in faults else b"\n"
    text = b"".join(line + end for line in lines)
    if not ("unterminated" in faults and _closes(frame)):
        text += end
    return b"\xef\xbb\xbf" + text if "bom" in faults and at == 0 else text


def whole(reply: Reply, faults: frozenset[str], status: int | None) -> None:
    """Put the faults that concern a body into a reply, in place. `html` and `empty_body` replace a stream too."""
    if faults & {"html", "empty_body"}:
        reply.frames = None
        reply.body = HTML if "html" in faults else b""
        reply.content_type = "text/html" if "html" in faults else reply.content_type
        reply.status = status or reply.status
    elif reply.frames is None and reply.content_type.startswith("application/json"):
        reply.body = _json_body(reply.body, faults)
    if "wrong_content_type" in faults:
        reply.content_type = "text/plain"


def _json_body(body: bytes, faults: frozenset[str]) -> bytes:
    if faults & {"no_finish_reason", "empty_finish_reason", "no_role", "empty_choices"}:
        data = msgspec.json.decode(body)
        if "no_finish_reason" in faults:
            set_finish(data, None)
        if "empty_finish_reason" in faults:
            set_finish(data, "")
        if "no_role" in faults:
            drop_role(data)
        if "empty_choices" in faults and "choices" in data:
            data["choices"] = []
        body = encode(data)
    if "bad_json" in faults:
        body = body[: len(body) // 2]
    if "invalid_utf8" in faults:
        body = body[:-1] + b"\xff" + body[-1:]
    return b"\xef\xbb\xbf" + body if "bom" in faults else body
