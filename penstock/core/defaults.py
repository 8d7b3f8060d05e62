"""What a deployment says where requests do not: parameters in Chat's words, laid under a request in one place.

``Said`` is read once, when a target is built. Across dialects it is laid under the neutral request (``lay_under``). In
one dialect, whose bytes pass, what it changes in the rendering is changed in the client's own fields (``lay_in``), so
that the dialect's own renderer decides where a parameter stands and what it cannot be beside. Where the fields are
Chat's words themselves they are laid under as they are (``lay_words``). What the client says itself always wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from penstock.core.dialects import guided
from penstock.core.dialects.base import Dialect, Rendered
from penstock.core.dialects.openai_chat.names import NAME as CHAT
from penstock.core.dialects.openai_chat.names import SAMPLE
from penstock.core.dialects.openai_chat.request_in import ATTRIBUTES, parse_request
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.fit import Takes, fit
from penstock.core.ir import Loss, Opaque, Reasoning, Request, Tool
from penstock.core.paths import remove

R = TypeVar("R", bound=Request)
_MODEL = Raw(b'"m"')
_NULL = Raw(b"null")
_ENCODE = msgspec.json.Encoder().encode
_MAP = msgspec.json.Decoder(dict[str, Raw]).decode
_LIST = msgspec.json.Decoder(list[Raw]).decode
_ABSENT = (None, "", b"", ())
# Of a request, what no deployment says.
_THE_CLIENTS = frozenset(("model", "messages", "dialect", "stream", "extra"))
# Where settings of a body stand together: of these the parts are laid under one by one.
_CONTAINERS = frozenset(
    "generationConfig generation_config inferenceConfig additionalModelRequestFields options chat_template_kwargs "
    "nvext".split()
)
# What is long in a request and says nothing of its parameters.
_LONG = frozenset("system instructions systemInstruction system_instruction context images suffix".split())
WORDS = frozenset((CHAT, "completions", "sap"))
"""The dialects whose top level has Chat's words."""
_NO_COMPLETIONS = frozenset(
    "tools tool_choice functions function_call parallel_tool_calls response_format reasoning_effort reasoning thinking "
    "modalities audio prediction web_search_options verbosity".split()
)
_TOOL = Tool("f", schema=b'{"type":"object","properties":{}}')


class Said(Struct, frozen=True, eq=False):
    """A deployment's parameters, read. ``request``: in the neutral form, with nothing else in it. ``guided``: its form
    was asked for in vLLM's words."""

    request: Request
    values: Mapping[str, Any]
    guided: bool = False


def read_said(words: Mapping[str, Raw]) -> tuple[Said | None, dict[str, GatewayError]]:
    """Read parameters in Chat's words; None when there are none. Also returns those that nobody can read, each with
    what is wrong with it: they are left out."""
    wrong: dict[str, GatewayError] = {}
    for key, raw in words.items():
        try:
            parse_request({"model": _MODEL, **SAMPLE, key: raw})
        except GatewayError as error:
            wrong[key] = error
    kept = {key: raw for key, raw in words.items() if key not in wrong and raw != _NULL}
    if not kept:
        return None, wrong
    request = parse_request({"model": _MODEL, **SAMPLE, **kept})
    values = {
        name: value
        for name in request.__struct_fields__
        if name not in _THE_CLIENTS and (value := getattr(request, name)) not in _ABSENT
    }
    in_vllms_words = "response_format" not in kept and not guided.FIELDS.isdisjoint(kept)
    return Said(request, values, in_vllms_words), wrong


def lay_under(request: R, said: Said) -> R:
    """Give a request what it does not say itself."""
    given = {name: value for name, value in said.values.items() if getattr(request, name) in _ABSENT}
    extra = request.extra
    if said.request.extra:
        there = {opaque.kind for opaque in extra}
        added = [one for one in said.request.extra if one.kind not in there and not _says(request, one.kind)]
        if added:
            given["extra"] = (*extra, *added)
    return replace(request, **given) if given else request


def _says(request: Request, word: str) -> bool:
    """Tell whether a request says already what ``word`` of Chat's, which was not understood whole, is about."""
    attribute = ATTRIBUTES.get(word)
    return attribute is not None and getattr(request, attribute) not in _ABSENT


def of_said(loss: Loss, request: Request, said: Said) -> bool:
    """Tell whether a loss is of what the deployment said, not of the client's own."""
    name, _, rest = loss.path.partition(".")
    if name == "extra":
        return any(one.kind == rest and one in said.request.extra for one in request.extra)
    value = said.values.get(name)
    return value is not None and getattr(request, name) == value


def _rendered(request: Request, dialect: Dialect, takes: Takes) -> Rendered:
    """Render what a target takes of a request; what is not taken is among the losses."""
    fitted = fit(request, takes)
    rendered = dialect.render_request(fitted.request, takes.wire)
    return replace(rendered, losses=fitted.losses + fitted.told(rendered.losses))


def losses_of(said: Said, dialect: Dialect, takes: Takes) -> tuple[Loss, ...]:
    """List what of a deployment's parameters a target cannot carry, whatever the request is."""
    takes = replace(takes, drop_params=True)
    plain = Request(model=takes.wire.model, messages=said.request.messages, dialect=CHAT, tools=(_TOOL,))
    try:
        own = frozenset(_rendered(plain, dialect, takes).losses)
        told = _rendered(lay_under(plain, said), dialect, takes).losses
    except GatewayError:
        return ()  # what a target refuses altogether is told to each request
    return tuple(loss for loss in dict.fromkeys(told) if loss not in own)


def lay_in(fields: dict[str, Raw], said: Said, dialect: Dialect, takes: Takes) -> tuple[Loss, ...]:
    """Change in a client's own fields, in place, what the deployment's parameters change in their rendering. Returns
    what was lost of these. The form of the answer is asked for elsewhere, see ``runtime.constrained``."""
    probe = {key: raw for key, raw in fields.items() if key not in _LONG}
    probe.update(dialect.sample)
    if "tools" in probe:
        probe["tools"] = _first(probe["tools"])
    own = replace(dialect.parse_request(probe), dialect=CHAT)  # the vendor's rules hold for what is not the client's
    both = lay_under(own, said)
    if own.output is None and both.output is not None:
        both = replace(both, output=None)
    if both is own:
        return ()
    takes = replace(takes, drop_params=True)  # what the client says itself is the vendor's to judge
    before, after = _rendered(own, dialect, takes), _rendered(both, dialect, takes)
    for key in before.fields.keys() - after.fields.keys():
        fields.pop(key, None)
    for key, raw in after.fields.items():
        had = before.fields.get(key)
        if had is None:
            _lay(fields, key, raw)
        elif had != raw and key not in dialect.sample:
            _change(fields, key, had, raw)
    return tuple(loss for loss in after.losses if loss not in before.losses)


def _first(tools: Raw) -> Raw:
    """Cut a list of tools to its first: what they are changes no parameter."""
    try:
        return Raw(_ENCODE(_LIST(tools)[:1]))
    except BAD_JSON:
        return tools


def _lay(fields: dict[str, Raw], key: str, raw: Raw) -> None:
    spelled = next((name for name in (key, _snake(key)) if name in fields), key)
    if fields.get(spelled, _NULL) == _NULL:
        fields[spelled] = raw
        return
    inner = _object(fields[spelled])
    added = _object(raw)
    if inner is not None and added is not None:
        fields[spelled] = Raw(_ENCODE({**added, **inner}))


def _change(fields: dict[str, Raw], key: str, had: Raw, raw: Raw) -> None:
    """Change one field as its rendering changed: an object part by part, as the client may have more in it."""
    spelled = next((name for name in (key, _snake(key)) if name in fields), key)
    before, after = _object(had), _object(raw)
    inner = _object(fields.get(spelled, Raw(b"{}")))
    if before is None or after is None or inner is None:
        fields[spelled] = raw
        return
    for name in before.keys() - after.keys():
        inner.pop(name, None)
    for name, value in after.items():
        if before.get(name) != value:
            inner[name] = value
    fields[spelled] = Raw(_ENCODE(inner))


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def _object(raw: Raw) -> dict[str, Raw] | None:
    if bytes(memoryview(raw)[:1]) != b"{":
        return None
    try:
        return _MAP(raw)
    except BAD_JSON:
        return None


# Fields that are Chat's words ---------------------------------------------------------------------------------------

# What says one thing in several words: who says it in one of them has said it.
_KIN = {
    word: frozenset(other for other, name in ATTRIBUTES.items() if name == attribute)
    for word, attribute in ATTRIBUTES.items()
}


def lay_words(fields: dict[str, Raw], words: Mapping[str, Raw], dialect: str = CHAT) -> None:
    """Lay parameters in Chat's words under fields in the same words, in place. A null says nothing."""
    said = {key for key, raw in fields.items() if raw != _NULL}
    for key, raw in words.items():
        if key in said or not said.isdisjoint(_KIN.get(key, ())):
            continue
        if dialect == "completions":
            if key in _NO_COMPLETIONS:
                continue
            key = "max_tokens" if key == "max_completion_tokens" else key
        fields[key] = raw


def lay_body(fields: dict[str, Raw], body: Mapping[str, Raw]) -> None:
    """Lay a deployment's ``extra_body`` under the fields of a body for the wire, as it is, in place."""
    for key, raw in body.items():
        if fields.get(key, _NULL) == _NULL:
            fields[key] = raw
        elif key in _CONTAINERS:
            _lay(fields, key, raw)


# What is left out always ----------------------------------------------------------------------------------------------


def leave_out(request: R, words: Iterable[str]) -> R:
    """Take parameters out of a request by their names in Chat (LiteLLM's ``additional_drop_params``)."""
    changes: dict[str, Any] = {}
    names = frozenset(words)
    plain = Request(model="", messages=())
    for word in names & ATTRIBUTES.keys():
        attribute = ATTRIBUTES[word]
        if attribute != "reasoning":
            changes[attribute] = getattr(plain, attribute)
        elif request.reasoning is not None:
            changes[attribute] = _reasoning_without(changes.get(attribute, request.reasoning), word)
    kept: tuple[Opaque, ...] = tuple(one for one in request.extra if one.kind not in names)
    if len(kept) != len(request.extra):
        changes["extra"] = kept
    return replace(request, **changes) if changes else request


def _reasoning_without(reasoning: Reasoning | None, word: str) -> Reasoning | None:
    if reasoning is None or word == "reasoning":
        return None
    parts = {"effort": ""} if word == "reasoning_effort" else {"budget": None, "mode": "", "display": ""}
    left = replace(reasoning, **parts)
    return left if left != Reasoning() else None


def drop_fields(fields: dict[str, Raw], paths: Iterable[str]) -> None:
    """Take what stands at ``paths`` out of a body's fields, in place: names, ``a.b``, ``a[0].b``, ``a[*].b``."""
    for path in paths:
        if fields.pop(path, None) is None and ("." in path or "[" in path):
            remove(fields, path)
