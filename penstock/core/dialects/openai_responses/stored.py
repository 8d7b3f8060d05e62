"""What the gateway needs to keep responses itself, so that ``previous_response_id`` works over any backend.

Pure helpers; where and how long responses are kept is the runtime's business. A kept response is its input items (with
those of the turns before it) and its answer's body. Sources: platform.openai.com/docs/guides/conversation-state and
docs/api-reference/responses/input-items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.openai_chat.reading import items, mapping, opens, optional_flag, present, text
from penstock.core.errors import GatewayError

_FIELDS = Decoder(dict[str, Raw]).decode
DEFAULT_LIMIT, MOST = 20, 100  # items on a page
_PREFIXES = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
    "reasoning": "rs_",
}


def keeps(fields: Mapping[str, Raw]) -> bool:
    """Tell whether a response to this request is to be kept: unless ``store`` is false."""
    return optional_flag(fields, "store", "") is not False


def previous_id(fields: Mapping[str, Raw]) -> str:
    """Return the id of the response that this request goes on from, "" for none."""
    raw = present(fields, "previous_response_id")
    return "" if raw is None else text(raw, "previous_response_id")


def input_items(fields: Mapping[str, Raw]) -> list[Raw]:
    """Return the request's own input as items: a string is a user's message."""
    raw = present(fields, "input")
    if raw is None:
        return []
    if opens(raw, '"'):
        content = [{"type": "input_text", "text": raw}]
        return [Raw(encode({"type": "message", "role": "user", "content": content}))]
    return items(raw, "input")


def output_items(body: bytes) -> list[Raw]:
    """Return the output items of a response's body."""
    raw = present(_FIELDS(body), "output")
    return [] if raw is None else items(raw, "output")


def stored(fields: Mapping[str, Raw], body: bytes) -> list[Raw]:
    """Return the items that a later turn begins with: this request's input (``expand_previous`` has put the earlier
    turns into it) and what was answered."""
    return [*input_items(fields), *output_items(body)]


def expand_previous(fields: Mapping[str, Raw], previous: Iterable[Raw]) -> dict[str, Raw]:
    """Replace ``previous_response_id`` by the items of the turns before (``stored``). The earlier ``instructions`` are
    not carried over, as the API's are not. An ``item_reference`` to an item that is among them is left out: the item is
    there."""
    before = list(previous)
    there = {_id(raw) for raw in before} - {""}
    own = [raw for raw in input_items(fields) if not (_is_reference(raw) and _id(raw) in there)]
    out = {key: value for key, value in fields.items() if key != "previous_response_id"}
    out["input"] = Raw(encode([*before, *own]))
    return out


def _is_reference(raw: Raw) -> bool:
    item = mapping(raw, "input")
    return bytes(item.get("type", b"")) == b'"item_reference"' or item.keys() == {"id"}


def _id(raw: Raw) -> str:
    found = present(mapping(raw, "input"), "id")
    return "" if found is None or not opens(found, '"') else text(found, "id")


def with_ids(found: Iterable[Raw], mint: Callable[[str], str]) -> list[Raw]:
    """Return the items as the API lists them: each has an id and a type, and a message its content in parts."""
    out = []
    for raw in found:
        item: dict[str, Any] = dict(mapping(raw, "input"))
        kind = _word(item, "type") or "message"
        made: dict[str, Any] = {"id": item.pop("id", None), "type": kind}
        if made["id"] is None or bytes(made["id"]) == b"null":
            made["id"] = mint(_PREFIXES.get(kind, "item_"))
        item.pop("type", None)
        content = item.get("content")
        if kind == "message" and isinstance(content, Raw) and opens(content, '"'):
            part = "output_text" if _word(item, "role") == "assistant" else "input_text"
            item["content"] = [{"type": part, "text": content}]
        if kind in _PREFIXES:
            made["status"] = item.pop("status", None) or "completed"
        out.append(Raw(encode({**made, **item})))
    return out


def _word(item: Mapping[str, Any], key: str) -> str:
    raw = item.get(key)
    return text(raw, key) if isinstance(raw, Raw) and opens(raw, '"') else ""


def input_items_page(found: Iterable[Raw], query: Mapping[str, str]) -> bytes:
    """Render the body for ``GET /v1/responses/{id}/input_items``. ``found``: the items, oldest first, with ids
    (``with_ids``). ``query``: ``limit`` (1 to 100, default 20), ``order`` ("asc" or "desc", the default) and ``after``,
    the id that the page begins behind. Raises "bad_request" for anything else."""
    order = query.get("order") or "desc"
    if order not in ("asc", "desc"):
        raise GatewayError("bad_request", f"'order' is {order!r}; it must be 'asc' or 'desc'.", param="order")
    limit = _limit(query.get("limit"))
    listed = list(found)
    if order == "desc":
        listed.reverse()
    ids = [_id(raw) for raw in listed]
    after = query.get("after")
    start = 0
    if after:
        if after not in ids:
            raise GatewayError(
                "bad_request", f"'after' is {after!r}; no item of this response has that id.", param="after"
            )
        start = ids.index(after) + 1
    page = slice(start, start + limit)
    shown = ids[page]
    return encode(
        {
            "object": "list",
            "data": listed[page],
            "first_id": shown[0] if shown else None,
            "last_id": shown[-1] if shown else None,
            "has_more": start + limit < len(listed),
        }
    )


def _limit(given: str | None) -> int:
    if not given:
        return DEFAULT_LIMIT
    if given.isascii() and given.isdigit() and 1 <= int(given) <= MOST:
        return int(given)
    raise GatewayError("bad_request", f"'limit' is {given!r}; it must be a number from 1 to {MOST}.", param="limit")
