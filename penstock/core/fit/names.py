"""Names of tools that an API does not take go under others, and come back as they were.

Claude Code's MCP tools have names of over 64 characters, others have dots in them; OpenAI, Bedrock and Gemini refuse
the whole request for one (cline/cline issue 11885). The new name depends on the old one alone, so that it is the same
in every turn, and needs no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from penstock.core.fit.base import Takes, Undo
from penstock.core.fit.respell import respell
from penstock.core.ir import Block, Event, Loss, Message, Open, Request, Response, ToolUse


def fit_names(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Rename the tools whose names the API does not take. Nothing is lost: their descriptions say what they do."""
    spelling = takes.limits.tool_names
    if spelling is None:
        return request, None
    accepts, names = spelling.accepted.fullmatch, dict.fromkeys(_names(request))
    if all(map(accepts, names)):
        return request, None
    taken = {name for name in names if accepts(name)}
    foreign = [name for name in names if name not in taken]
    new: dict[str, str] = {}
    for name in foreign:
        new[name] = respell(name, spelling, taken)
        taken.add(new[name])
    choice = request.tool_choice
    if choice is not None:
        choice = replace(choice, names=tuple(new.get(name, name) for name in choice.names))
    fitted = replace(
        request,
        tools=tuple(replace(tool, name=new[tool.name]) if tool.name in new else tool for tool in request.tools),
        tool_choice=choice,
        messages=tuple(_message(message, new) for message in request.messages),
    )
    return fitted, Renamed({short: name for name, short in new.items()})


def _names(request: Request) -> Iterator[str]:
    for tool in request.tools:
        if tool.kind == "function" or tool.kind == "custom":
            yield tool.name
    for message in request.messages:
        for block in message.blocks:
            if type(block) is ToolUse:
                yield block.name


def _message(message: Message, new: dict[str, str]) -> Message:
    if not any(type(block) is ToolUse and block.name in new for block in message.blocks):
        return message
    return replace(message, blocks=tuple(_renamed(block, new) for block in message.blocks))


def _renamed(block: Block, names: dict[str, str]) -> Block:
    if type(block) is ToolUse and block.name in names:
        return replace(block, name=names[block.name])
    return block


class Renamed(Struct, frozen=True):
    """Gives calls the client's names again. ``names``: the API's -> the client's."""

    names: dict[str, str]

    def response(self, response: Response) -> Response:
        choices = (
            replace(choice, blocks=tuple(_renamed(block, self.names) for block in choice.blocks))
            for choice in response.choices
        )
        return replace(response, choices=tuple(choices))

    def filter(self) -> Renamed:
        return self

    def feed(self, event: Event) -> Iterable[Event]:
        if type(event) is Open:
            block = _renamed(event.block, self.names)
            if block is not event.block:
                return (replace(event, block=block),)
        return (event,)
