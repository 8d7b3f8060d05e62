"""Texts of white space, an answer that has begun, and who speaks first.

OpenAI takes a blank text anywhere; Claude and Converse refuse the whole request for one, for a begun answer that ends
in white space, and for a conversation that the assistant opens (anomalyco/opencode issue 31259, home-assistant/core
issue 175637). Claude from 4.6 on goes on with no begun answer at all (langchain-ai/deepagents issue 1585).

What is left out leaves an empty text or turn in its place, which every renderer skips: the places of all else stay.
"""

from __future__ import annotations

from msgspec.structs import replace

from penstock.core.fit.base import Takes, Undo
from penstock.core.ir import (
    Block,
    Document,
    Loss,
    Message,
    PlainText,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)

OPENING = "."
"""What the user says before an assistant that spoke first."""
GO_ON = "Continue."
"""What the user says after an answer that the model will not go on with by itself."""
_NOTHING = Text("")
_SYSTEM = ("system", "developer")


def fit_texts(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Leave out texts of white space, and trim or close an answer that has begun."""
    limits = takes.limits
    if (limits.blanks and limits.prefills) or request.dialect == takes.dialect:
        return request, None
    messages = request.messages
    if not limits.blanks and any(_is_blank(block) for message in messages for block in message.blocks):
        messages = tuple(
            _message(message, f"messages.{turn}", losses, limits.steers) for turn, message in enumerate(messages)
        )
    last = len(messages) - 1
    while last >= 0 and not says(messages[last]):
        last -= 1
    if last >= 0 and messages[last].role == "assistant":
        messages = _begun(messages, last, takes, losses)
    elif last > 0 and not limits.system_ends and messages[last].role in _SYSTEM:
        losses.append(Loss(f"messages.{last}", f"the user speaks last here: {GO_ON!r} is said after it"))
        messages = (*messages, Message("user", (Text(GO_ON),)))
    return (request if messages is request.messages else replace(request, messages=messages)), None


def open_by_user(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, int]:
    """Put a turn of the user's before an assistant that speaks first. Return its place, -1 for none."""
    if takes.limits.opens or request.dialect == takes.dialect:
        return request, -1
    messages = request.messages
    said = [place for place, message in enumerate(messages) if message.role not in _SYSTEM]
    place = next((place for place in said if says(messages[place])), said[-1] if said else -1)
    if place < 0 or (messages[place].role == "user" and says(messages[place])):
        return request, -1
    losses.append(Loss(f"messages.{place}", f"the user speaks first here: {OPENING!r} is said before it"))
    opening = Message("user", (Text(OPENING),))
    return replace(request, messages=(*messages[:place], opening, *messages[place:])), place


def says(message: Message) -> bool:
    """Tell whether a turn says anything: renderers skip one that does not."""
    return any(block != _NOTHING for block in message.blocks)


def _is_blank(block: Block) -> bool:
    kind = type(block)
    if kind is Text or kind is Refusal:
        text = block.text  # type: ignore[union-attr]
        return not text or text.isspace()
    if isinstance(block, Document):
        return isinstance(block.source, PlainText) and not block.source.text.strip()
    return kind is ToolResult and any(map(_is_blank, block.content))  # type: ignore[union-attr]


def _message(message: Message, at: str, losses: list[Loss], writes_all: bool) -> Message:
    """Return the turn without its blank texts. ``writes_all``: the API's renderer writes empty texts, too."""
    blocks = tuple(_block(block, f"{at}.blocks.{number}", losses) for number, block in enumerate(message.blocks))
    if writes_all or all(block == _NOTHING for block in blocks):
        blocks = tuple(block for block in blocks if block != _NOTHING)
    return message if blocks == message.blocks else replace(message, blocks=blocks)


def _block(block: Block, at: str, losses: list[Loss]) -> Block:
    if not _is_blank(block):
        return block
    if isinstance(block, ToolResult):
        parts = (_block(part, f"{at}.content.{number}", losses) for number, part in enumerate(block.content))
        return replace(block, content=tuple(parts))
    if block not in (_NOTHING, Refusal("")):
        losses.append(Loss(at, "text of white space only is refused"))
    return _NOTHING


def _begun(messages: tuple[Message, ...], last: int, takes: Takes, losses: list[Loss]) -> tuple[Message, ...]:
    blocks = messages[last].blocks
    if any(isinstance(block, ToolUse) for block in blocks):
        return messages
    if not takes.limits.prefills:
        losses.append(Loss(f"messages.{last}", f"no begun answer is gone on with here: {GO_ON!r} is said after it"))
        return (*messages, Message("user", (Text(GO_ON),)))
    for number in range(len(blocks) - 1, -1, -1):
        block = blocks[number]
        if isinstance(block, (Text, Refusal)) and block.text:
            if block.text == block.text.rstrip():
                return messages
            losses.append(Loss(f"messages.{last}.blocks.{number}.text", "white space at the end of it is refused"))
            trimmed = replace(block, text=block.text.rstrip())
            said = replace(messages[last], blocks=(*blocks[:number], trimmed, *blocks[number + 1 :]))
            return (*messages[:last], said, *messages[last + 1 :])
        if not isinstance(block, (Text, Refusal, Thinking)):
            return messages
    return messages
