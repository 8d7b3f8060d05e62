"""The question stands last where an API wants it there.

Claude Code puts reminders of the system's behind what the user says; Cohere refuses a conversation whose last message
is neither a user's nor a tool's.
"""

from __future__ import annotations

from msgspec.structs import replace

from penstock.core.fit.base import Takes, Undo
from penstock.core.ir import Loss, Message, Request, ToolResult

_SYSTEM = ("system", "developer")


def fit_order(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Put the system turns at the end before the question, or before the calls that its results answer."""
    turns = request.messages
    if takes.limits.system_ends or not turns or turns[-1].role not in _SYSTEM or request.dialect == takes.dialect:
        return request, None
    end = len(turns)
    while end and turns[end - 1].role in _SYSTEM:
        end -= 1
    at = end - 1
    if at < 0 or turns[at].role != "user":
        return request, None
    if _answers(turns[at]) and at:
        at -= 1
    losses += [Loss(f"messages.{number}", "told before the question") for number in range(end, len(turns))]
    return replace(request, messages=(*turns[:at], *turns[end:], *turns[at:end])), None


def _answers(turn: Message) -> bool:
    return any(isinstance(block, ToolResult) for block in turn.blocks)
