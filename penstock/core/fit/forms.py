"""Forms of tools that a target lacks are functions there, and come back as what they were.

Codex declares all of its tools as ``namespace`` groups, ``custom`` tools of free text and in ``additional_tools`` items
(theopenco/llmgateway pull request 3613, envoyproxy/ai-gateway pull request 2317); no API but OpenAI's Responses knows
any of them, and a request without its tools succeeds in silence. A tool of a namespace goes as ``<namespace>__<name>``;
the namespace ``functions`` is how OpenAI's models see plain functions, so its tools keep their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.dialects.openai_responses.names import ITEM_FIELDS, NAME
from penstock.core.dialects.openai_responses.request_in import read_tool
from penstock.core.fit import freeform
from penstock.core.fit.base import Takes, Undo
from penstock.core.fit.builtin import BUILTIN, CALLS, OUTPUTS, told
from penstock.core.fit.restoring import Form, Restored
from penstock.core.ir import Block, Loss, Message, Opaque, Request, Text, Tool, ToolChoice, ToolResult, ToolUse

_PLAIN_SPACE = "functions"
_CARRIERS = frozenset(("additional_tools", "tool_search_output"))  # items that bring tools along
_GROUPS = frozenset(("custom", "namespace", *BUILTIN))
_ITEMS = _CARRIERS | CALLS.keys() | OUTPUTS.keys()
_DEEPEST = 4  # namespaces in one another
_FIELDS = Decoder(dict[str, Raw]).decode
_LIST = Decoder(list[Raw]).decode
_BAD = (msgspec.DecodeError, UnicodeError, RecursionError)


def fit_forms(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Make functions of the tools whose forms the target lacks, in the declarations, in the calls before and in the
    choice. A grammar is told in the description and not enforced: that is a loss."""
    if request.dialect == takes.dialect:
        return request, None
    if takes.dialect == NAME:
        return _respelled(request), None
    if not _is_special(request):
        return request, None
    flat = _Flat(request, losses)
    flat.declare()
    messages = tuple(flat.turns())
    choice, extra = flat.choice()
    fitted = replace(request, tools=tuple(flat.tools), messages=messages, tool_choice=choice, extra=extra)
    forms = {name: form for form, name in flat.names.items() if form != Form("function", "", name)}
    return fitted, Restored(forms) if forms else None


def _is_special(request: Request) -> bool:
    for tool in request.tools:
        if tool.kind in _GROUPS:
            return True
    for message in request.messages:
        for block in message.blocks:
            kind = type(block)
            if kind is Opaque:
                word: str = block.kind  # type: ignore[union-attr]
                if word in _ITEMS or (word[:1] == ITEM_FIELDS and "namespace" in word):
                    return True
            elif (kind is ToolUse or kind is ToolResult) and block.kind == "custom":  # type: ignore[union-attr]
                return True
    return False


def _respelled(request: Request) -> Request:
    """Write Chat's ``custom`` tools as those of Responses, which are flat."""
    if not any(tool.kind == "custom" and tool.opaque is not None for tool in request.tools):
        return request
    return replace(request, tools=tuple(_flat_custom(tool) for tool in request.tools))


def _flat_custom(tool: Tool) -> Tool:
    if tool.kind != "custom" or tool.opaque is None or tool.opaque.dialect == NAME:
        return tool
    made: dict[str, Any] = {"type": "custom", "name": tool.name}
    if tool.description:
        made["description"] = tool.description
    form = format_of(tool)
    if form:
        made["format"] = {key: value for key, value in form.items() if key != "grammar"}
    return replace(tool, opaque=Opaque(NAME, "custom", encode(made)))


def format_of(tool: Tool) -> dict[str, Any]:
    """Return a custom tool's ``format`` with type, syntax and definition, as Responses has it and Chat nests it."""
    try:
        fields = _FIELDS(tool.opaque.raw) if tool.opaque is not None else {}
        inner = _FIELDS(fields["custom"]) if "custom" in fields else fields
        form: dict[str, Any] = msgspec.json.decode(inner.get("format", Raw(b"{}")), type=dict[str, Any])
    except _BAD:
        return {}
    nested = form.get("grammar")
    return {**form, **nested} if isinstance(nested, dict) else form


class _Declared(Struct, frozen=True):
    """A tool as it is declared, wherever that is."""

    form: Form
    tool: Tool
    at: str


class _Flat:
    """A request being made flat. ``tools``: those that go; ``names``: the functions' names by what they stand for."""

    def __init__(self, request: Request, losses: list[Loss]) -> None:
        self._request = request
        self._losses = losses
        self._places: dict[Form, int] = {}
        self._taken: set[str] = set()
        self._customs: dict[str, list[Form]] = {}  # declared ones, by their names
        self.tools: list[Tool] = []
        self.names: dict[Form, str] = {}

    # Declarations

    def declare(self) -> None:
        """Declare every tool of the request, those in its items after the others. What is declared again takes the
        place of what it was: Codex repeats its items."""
        every = list(self._declared())
        # Plain functions keep their names, whatever else is called so.
        self._taken = {found.form.name for found in every if found.form.kind == "function" and not found.form.space}
        for found in every:
            self._add(found)

    def _declared(self) -> Iterator[_Declared]:
        for number, tool in enumerate(self._request.tools):
            yield from _declared(tool, "", f"tools.{number}", 0)
        for turn, message in enumerate(self._request.messages):
            for place, block in enumerate(message.blocks):
                if type(block) is Opaque and block.kind in _CARRIERS and block.dialect == NAME:
                    at = f"messages.{turn}.blocks.{place}.tools"
                    for number, raw in enumerate(_tools_in(block)):
                        yield from _declared(read_tool(raw, f"{at}.{number}"), "", f"{at}.{number}", 0)

    def _add(self, found: _Declared) -> None:
        form, tool = found.form, found.tool
        made: Tool | None = None
        if form.kind == "function":
            made = replace(tool, name=self.name(form))
        elif form.kind == "custom":
            made = replace(self._custom(tool, found.at), name=self.name(form))
            if form not in self._places:
                self._customs.setdefault(form.name, []).append(form)
        elif form.kind in BUILTIN and tool.opaque is not None and tool.opaque.dialect == NAME:
            made = BUILTIN[form.kind].tool(tool.opaque.raw)
            made = replace(made, name=self.name(form)) if made is not None else None
        if made is None:
            made = tool  # the vendor's own: the renderer tells the loss
        if form in self._places:
            self.tools[self._places[form]] = made
        else:
            self._places[form] = len(self.tools)
            self.tools.append(made)

    def _custom(self, tool: Tool, at: str) -> Tool:
        form = format_of(tool)
        lines = [tool.description, "The tool takes free text: all of it is the value of `input`."]
        if form.get("definition"):
            syntax = form.get("syntax") or "given"
            lines.append(f"The text must match this {syntax} grammar:\n{form['definition']}")
            self._losses.append(Loss(f"{at}.format", "the grammar is told to the model, not enforced"))
        return Tool(tool.name, "\n\n".join(line for line in lines if line), freeform.SCHEMA)

    def name(self, form: Form) -> str:
        """Return the function's name for a tool; the same in every turn, unless the tools around it change."""
        known = self.names.get(form)
        if known is None:
            known = form.name
            if form.space and form.space != _PLAIN_SPACE:
                known = f"{form.space}{'' if form.space.endswith('__') else '__'}{form.name}"
            if known in self._taken and form != Form("function", "", known):
                said = encode([form.kind, form.space, form.name])
                known = f"{known}_{blake2b(said, digest_size=4).hexdigest()}"
            self._taken.add(known)
            self.names[form] = known
        return known

    # Calls and results

    def turns(self) -> Iterator[Message]:
        for message in self._request.messages:
            blocks = tuple(self._blocks(message.blocks))
            if blocks or not message.blocks:
                yield message if blocks == message.blocks else replace(message, blocks=blocks)

    def _blocks(self, blocks: tuple[Block, ...]) -> Iterator[Block]:
        space = ""
        for block in blocks:
            if type(block) is Opaque and block.dialect == NAME:
                if block.kind[:1] == ITEM_FIELDS and "namespace" in block.kind:
                    space, rest = _space_of(block)
                    if rest is not None:
                        yield rest
                    continue
                if block.kind in _ITEMS:
                    yield from self._item(block)
                    continue
            elif type(block) is ToolUse:
                yield self._call(block, space)
                space = ""
                continue
            elif type(block) is ToolResult and block.kind == "custom":
                yield replace(block, kind="function")
                continue
            yield block

    def _call(self, call: ToolUse, space: str) -> ToolUse:
        if call.kind == "function" and not space:
            return call
        form = Form(call.kind, space, call.name)
        if form not in self.names:  # Codex tells a tool of its namespace "functions" without that
            meant = self._customs.get(call.name, ()) if call.kind == "custom" and not space else ()
            form = meant[0] if len(meant) == 1 else form
        name = self.name(form)
        args = freeform.to_args(call.args) if call.kind == "custom" else call.args
        return replace(call, name=name, kind="function", args=args)

    def _item(self, block: Opaque) -> Iterator[Block]:
        """Translate the item of a built-in tool's call, or of what that returned."""
        try:
            item = _FIELDS(block.raw)
        except _BAD:
            return
        id = _text(item, "call_id") or _text(item, "id")
        if block.kind in CALLS:
            row = CALLS[block.kind]
            yield ToolUse(id, self.name(Form(row.kind, "", row.kind)), row.args(item))
        elif block.kind in OUTPUTS:
            words, failed = told(item)
            if block.kind == "tool_search_output":
                words = ", ".join(_names_in(block, self)) or "No tool was found."
                words = f"Found, and can be called now: {words}" if words[-1:] != "." else words
            yield ToolResult(id, (Text(words),) if words else (), failed)

    # The choice

    def choice(self) -> tuple[ToolChoice | None, tuple[Opaque, ...]]:
        """Return the choice by the functions' names, and what is left in ``extra``."""
        choice, extra = self._request.tool_choice, self._request.extra
        for opaque in extra:
            if opaque.dialect == NAME and opaque.kind == "tool_choice":
                found = self._foreign_choice(opaque)
                if found is not None:
                    return found, tuple(other for other in extra if other is not opaque)
        if choice is not None and choice.names:
            names = tuple(dict.fromkeys(name for given in choice.names for name in self._named(given)))
            choice = replace(choice, names=names[:1] if choice.mode == "named" else names)
        return choice, extra

    def _named(self, name: str, space: str = "") -> list[str]:
        """Find the functions that a name in a choice may mean."""
        if Form("function", "", name) in self.names and not space:
            return [name]
        found = [
            known for form, known in self.names.items() if form.name == name and (not space or space == form.space)
        ]
        return found or [name]

    def _foreign_choice(self, opaque: Opaque) -> ToolChoice | None:
        """Read a choice that only the vendor knows, as far as it is about tools that the client runs."""
        fields = _FIELDS(opaque.raw)
        kind = _text(fields, "type")
        if Form(kind, "", kind) in self.names:
            return ToolChoice("named", (self.names[Form(kind, "", kind)],))
        if kind != "allowed_tools" or "tools" not in fields:
            return None
        names: list[str] = []
        for raw in _LIST(fields["tools"]):
            tool = _FIELDS(raw)
            word, name = _text(tool, "type"), _text(tool, "name")
            if word == "namespace":
                names += [known for form, known in self.names.items() if form.space == name]
            elif word in BUILTIN:
                names += self._named(word)
            elif name:
                names += self._named(name, _text(tool, "namespace"))
        allowed = tuple(dict.fromkeys(names))
        return ToolChoice("allowed", allowed, _text(fields, "mode") == "required") if allowed else None


def _declared(tool: Tool, space: str, at: str, depth: int) -> Iterator[_Declared]:
    """Yield a tool, or those in it when it is a namespace. What the namespace says of all stands with the first."""
    if tool.kind != "namespace":
        name = tool.name or tool.kind
        yield _Declared(Form(tool.kind, space if tool.kind not in BUILTIN else "", name), tool, at)
        return
    if depth >= _DEEPEST or tool.opaque is None:
        return
    about = tool.description
    for number, raw in enumerate(_tools_in(tool.opaque)):
        inner = f"{at}.tools.{number}"
        for found in _declared(read_tool(raw, inner), tool.name, inner, depth + 1):
            if about:
                told_ = f"{found.tool.description}\n\nOf all tools of {tool.name}: {about}".strip()
                found = _Declared(found.form, replace(found.tool, description=told_), found.at)
                about = ""
            yield found


def _tools_in(opaque: Opaque) -> list[Raw]:
    """Return the tools of an item or a namespace."""
    try:
        return _LIST(_FIELDS(opaque.raw).get("tools", b"[]"))
    except _BAD:
        return []


def _names_in(opaque: Opaque, flat: _Flat) -> list[str]:
    found = [read_tool(raw, "tools") for raw in _tools_in(opaque)]
    return [flat.name(one.form) for tool in found for one in _declared(tool, "", "tools", 0)]


def _space_of(block: Opaque) -> tuple[str, Opaque | None]:
    """Split the fields beside a call into its namespace and the others."""
    fields = _FIELDS(block.raw)
    space = _text(fields, "namespace")
    rest = {key: value for key, value in fields.items() if key != "namespace"}
    return space, Opaque(NAME, ITEM_FIELDS + ",".join(rest), encode(rest)) if rest else None


def _text(fields: Mapping[str, Raw], key: str) -> str:
    raw = fields.get(key)
    return msgspec.json.decode(raw, type=str) if raw is not None and bytes(raw)[:1] == b'"' else ""
