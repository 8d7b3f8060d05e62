"""A choice of tools for servers that hold the model to a call, and not to a certain one: the others are not offered."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

_ENCODE = msgspec.json.Encoder().encode
_NO_TOOLS = Raw(b"[]")


class _Named(Struct, frozen=True):
    name: str = ""


class _Tool(Struct, frozen=True):
    """A tool, or the choice of one: a function, or one of the custom kind."""

    function: _Named = _Named()
    custom: _Named = _Named()

    @property
    def name(self) -> str:
        """Return the tool's name, whichever kind it is of."""
        return self.function.name or self.custom.name


class _Allowed(Struct, frozen=True):
    mode: str = "auto"
    tools: tuple[_Tool, ...] = ()


class _Choice(_Tool, frozen=True):
    allowed_tools: _Allowed | None = None


_CHOICE = msgspec.json.Decoder(_Choice).decode
_TOOLS = msgspec.json.Decoder(list[Raw]).decode
_TOOL = msgspec.json.Decoder(_Tool).decode


def offer_chosen(fields: dict[str, Raw]) -> None:
    """Offer only the tools that a Chat request's ``tool_choice`` names, and require a call where it did. A name that is
    no tool's is left for the upstream to refuse."""
    if bytes(memoryview(fields["tool_choice"])[:1]) != b"{":
        return
    try:
        choice = _CHOICE(fields["tool_choice"])
        offered = [(_TOOL(tool).name, tool) for tool in _TOOLS(fields.get("tools", _NO_TOOLS))]
    except msgspec.DecodeError:
        return
    allowed = choice.allowed_tools
    names = {choice.name} if allowed is None else {tool.name for tool in allowed.tools}
    kept = {name: tool for name, tool in offered if name in names}
    if not kept or len(kept) < len(names):
        return
    if len(kept) < len(offered):
        fields["tools"] = Raw(_ENCODE(list(kept.values())))
    fields["tool_choice"] = Raw(_ENCODE("required" if allowed is None else allowed.mode))
