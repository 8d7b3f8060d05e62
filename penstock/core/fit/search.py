"""A web search of one vendor's is asked for as another's own, where the target has one.

Chat has it as the field ``web_search_options``, the others as a tool of a type of its own. Sources:
platform.openai.com/docs/guides/tools-web-search, platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool,
ai.google.dev/gemini-api/docs/google-search, openrouter.ai/docs/features/web-search. Left out by other gateways, the
model answers from memory (envoyproxy/ai-gateway issue 2124). What the answer cites comes back as citations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core import models
from penstock.core.fit.base import Takes, Undo
from penstock.core.ir import Loss, Opaque, Request, Tool, ToolChoice

CHAT, RESPONSES, MESSAGES, GEMINI = "openai_chat", "openai_responses", "anthropic", "gemini"
FIELD = "web_search_options"
_ANY = Decoder(dict[str, Any]).decode
_BAD = (msgspec.DecodeError, UnicodeError, RecursionError)
_GOOGLE = frozenset(("googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval"))
_PLACE = ("city", "region", "country", "timezone")


class WebSearch(Struct, frozen=True):
    """A search as it was asked for. ``size``: low, medium or high; ``place``: of the user; ``rest``: the names of what
    only one vendor has; ``at``: where it stands in the request."""

    at: str
    size: str = ""
    place: Mapping[str, str] = {}
    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    most: int | None = None
    rest: tuple[str, ...] = ()


def fit_search(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Ask for the web search as the target has it. Where it has none, the renderer tells the loss."""
    field = next((extra for extra in request.extra if extra.kind == FIELD and extra.dialect == CHAT), None)
    if field is None and all(tool.kind == "function" for tool in request.tools):
        return request, None
    if request.dialect == takes.dialect or takes.dialect not in _WRITERS or not _has_search(takes):
        return request, None
    found = list(_searches(request, field, takes.dialect))
    if not found:
        return request, None
    if takes.dialect == GEMINI and any(tool.kind == "function" for tool in request.tools):
        # "Multiple tools are supported only when they are all search tools."
        losses += [Loss(search.at, "Google searches only where no functions are offered") for _, search in found]
        return _without(request, found, field), None
    search = found[0][1]
    made, lost = _WRITERS[takes.dialect](search, takes)
    losses += [Loss(f"{search.at}.{name}", "the target's web search has no such setting") for name in lost]
    losses += [Loss(other.at, "one web search is asked for") for _, other in found[1:]]
    fitted = _without(request, found, field)
    if isinstance(made, Tool):
        fitted = replace(fitted, tools=(*fitted.tools, made))
    else:
        fitted = replace(fitted, extra=(*fitted.extra, made))
    names = {tool.name for tool, _ in found if tool is not None and tool.name}
    return _forced(fitted, names, takes.dialect, losses), None


def _without(request: Request, found: list[tuple[Tool | None, WebSearch]], field: Opaque | None) -> Request:
    """Take the searches out of a request."""
    gone = {id(tool) for tool, _ in found}
    return replace(
        request,
        tools=tuple(tool for tool in request.tools if id(tool) not in gone),
        extra=tuple(one for one in request.extra if one is not field),
    )


def _forced(request: Request, names: set[str], spoken: str, losses: list[Loss]) -> Request:
    """Carry a choice that forces the search: Claude Code's searches do. ``names``: those it went by."""
    choice = request.tool_choice
    native = [one for one in request.extra if one.kind == "tool_choice" and one.dialect == RESPONSES]
    if native and _reader(str(_fields(native[0].raw).get("type"))) is not None:
        request = replace(request, extra=tuple(one for one in request.extra if one is not native[0]))
    elif choice is None or choice.mode != "named" or choice.names[0] not in names:
        return request
    if spoken == MESSAGES:
        return replace(request, tool_choice=ToolChoice("named", ("web_search",)))
    if spoken == RESPONSES:
        forced = Opaque(RESPONSES, "tool_choice", b'{"type":"web_search"}')
        return replace(request, tool_choice=None, extra=(*request.extra, forced))
    losses.append(Loss("tool_choice", "a search cannot be forced here"))
    return replace(request, tool_choice=None)


def _has_search(takes: Takes) -> bool:
    """Tell whether the target searches."""
    model, official = takes.wire.model, takes.wire.official
    if takes.dialect == MESSAGES:
        return models.searches_in_messages(takes.model)
    if takes.dialect == GEMINI:
        return models.searches_in_gemini(model)
    if takes.dialect == RESPONSES:
        return models.searches_in_responses(model, official)
    return takes.wire.searches or models.searches_in_chat(model)


# Reading --------------------------------------------------------------------------------------------------------------


def _searches(request: Request, field: Opaque | None, spoken: str) -> Iterator[tuple[Tool | None, WebSearch]]:
    """Yield the searches that a request asks for; tools that are in the target's own words already stay."""
    if field is not None:
        yield None, _openai(_fields(field.raw), f"extra.{FIELD}")
    for number, tool in enumerate(request.tools):
        if tool.opaque is None or tool.opaque.dialect == spoken:
            continue
        reader = _reader(tool.kind)
        if reader is not None:
            yield tool, reader(_fields(tool.opaque.raw), f"tools.{number}")


def _reader(kind: str) -> Callable[[dict[str, Any], str], WebSearch] | None:
    if kind in _GOOGLE:
        return _googles
    if kind in ("web_search", "web_search_preview") or kind.startswith(("web_search_preview_", "web_search_2025_")):
        return _openai
    if kind.startswith("web_search_20"):
        return _anthropics
    return None


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        return _ANY(raw)
    except _BAD:
        return {}


def _place(given: object) -> dict[str, str]:
    """Read where the user is: Chat nests it once more."""
    fields = given if isinstance(given, dict) else {}
    inner = fields.get("approximate")
    fields = inner if isinstance(inner, dict) else fields
    return {key: fields[key] for key in _PLACE if isinstance(fields.get(key), str) and fields[key]}


def _texts(given: object) -> tuple[str, ...]:
    return tuple(text for text in given if isinstance(text, str)) if isinstance(given, list) else ()


def _rest(fields: Mapping[str, Any], *known: str) -> tuple[str, ...]:
    said = {key: value for key, value in fields.items() if key not in ("type", "name", *known)}
    return tuple(key for key, value in said.items() if value not in (None, {}, [], ""))


def _openai(fields: dict[str, Any], at: str) -> WebSearch:
    given = fields.get("filters")
    filters = given if isinstance(given, dict) else {}
    size = fields.get("search_context_size")
    return WebSearch(
        at,
        size if isinstance(size, str) else "",
        _place(fields.get("user_location")),
        _texts(filters.get("allowed_domains")),
        _texts(filters.get("blocked_domains")),
        rest=_rest(fields, "search_context_size", "user_location", "filters"),
    )


def _anthropics(fields: dict[str, Any], at: str) -> WebSearch:
    most = fields.get("max_uses")
    return WebSearch(
        at,
        "",
        _place(fields.get("user_location")),
        _texts(fields.get("allowed_domains")),
        _texts(fields.get("blocked_domains")),
        most if isinstance(most, int) else None,
        _rest(fields, "user_location", "allowed_domains", "blocked_domains", "max_uses"),
    )


def _googles(fields: dict[str, Any], at: str) -> WebSearch:
    """Read Google's tool, whose settings are in the one value that it has."""
    inner = next((value for key, value in fields.items() if key in _GOOGLE and isinstance(value, dict)), {})
    excluded = inner.get("excludeDomains", inner.get("exclude_domains"))
    return WebSearch(at, blocked=_texts(excluded), rest=_rest(inner, "excludeDomains", "exclude_domains"))


# Writing: the tool or the field, and the names of what it cannot say --------------------------------------------------

_Made = tuple[Tool | Opaque, list[str]]


def _as_anthropics(search: WebSearch, takes: Takes) -> _Made:
    made: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search"}
    lost = list(search.rest)
    if search.most is not None:
        made["max_uses"] = search.most
    if search.allowed:
        made["allowed_domains"] = search.allowed
        if search.blocked:
            lost.append("blocked_domains")  # the API refuses both at once
    elif search.blocked:
        made["blocked_domains"] = search.blocked
    if search.place:
        made["user_location"] = {"type": "approximate", **search.place}
    if search.size:
        lost.append("search_context_size")
    return _tool(MESSAGES, made["type"], made, "web_search"), lost


def _as_responses(search: WebSearch, takes: Takes) -> _Made:
    made: dict[str, Any] = {"type": "web_search"}
    filters = {"allowed_domains": search.allowed, "blocked_domains": search.blocked}
    if search.allowed or search.blocked:
        made["filters"] = {key: value for key, value in filters.items() if value}
    if search.place:
        made["user_location"] = {"type": "approximate", **search.place}
    if search.size:
        made["search_context_size"] = search.size
    lost = list(search.rest) + (["max_uses"] if search.most is not None else [])
    return _tool(RESPONSES, "web_search", made, ""), lost


def _as_chats(search: WebSearch, takes: Takes) -> _Made:
    made: dict[str, Any] = {}
    if search.size:
        made["search_context_size"] = search.size
    if search.place:
        made["user_location"] = {"type": "approximate", "approximate": search.place}
    lost = list(search.rest) + _given(search, "max_uses", "allowed_domains", "blocked_domains")
    return Opaque(CHAT, FIELD, encode(made)), lost


def _as_googles(search: WebSearch, takes: Takes) -> _Made:
    key = "googleSearch" if models.generation(takes.wire.model) >= 2 else "googleSearchRetrieval"
    inner: dict[str, Any] = {}
    lost = list(search.rest) + _given(search, "search_context_size", "user_location", "max_uses", "allowed_domains")
    if search.blocked and takes.wire.call_ids:
        lost.append("blocked_domains")
    elif search.blocked:  # Vertex AI alone has it
        inner["excludeDomains"] = search.blocked
    return _tool(GEMINI, key, {key: inner}, key), lost


def _given(search: WebSearch, *names: str) -> list[str]:
    """Return those of the names that the search has a value for."""
    values = {
        "search_context_size": bool(search.size),
        "user_location": bool(search.place),
        "max_uses": search.most is not None,
        "allowed_domains": bool(search.allowed),
        "blocked_domains": bool(search.blocked),
    }
    return [name for name in names if values[name]]


def _tool(dialect: str, kind: str, made: dict[str, Any], name: str) -> Tool:
    return Tool(name, kind=kind, opaque=Opaque(dialect, kind, encode(made)))


_WRITERS: Mapping[str, Callable[[WebSearch, Takes], _Made]] = {
    MESSAGES: _as_anthropics,
    RESPONSES: _as_responses,
    CHAT: _as_chats,
    GEMINI: _as_googles,
}
