"""The question stands last where an API wants it there.

Claude Code puts reminders of the system's behind what the user says; Cohere refuses a conversation whose last message
is neither a user's nor a tool's.
"""

from __future__ import annotations

from msgspec.structs import replace

from penstock.core.fit.base import Takes, Undo
from penstock.core.fit.texts import says
from penstock.core.ir import Loss, Message, Request, ToolResult

_SYSTEM = ("system", "developer")


def fit_order(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Put the system turns at the end before the question, or before the calls that its results answer: those between
    calls and results, too, which are told behind both."""
    turns = request.messages
    if takes.limits.system_ends or not turns or request.dialect == takes.dialect:
        return request, None
    last = _spoken_before(turns, len(turns))
    if last < 0 or turns[last].role != "user":
        return request, None
    at = last
    if _answers(turns[last]):
        caller = _spoken_before(turns, last)
        at = caller if caller >= 0 else last
    late = [number for number in range(at + 1, len(turns)) if number != last and says(turns[number])]
    if not late:
        return request, None
    losses += [Loss(f"messages.{number}", "told before the question") for number in late]
    order = [*late, *(number for number in range(at, len(turns)) if number not in late)]
    return replace(request, messages=(*turns[:at], *(turns[number] for number in order))), None


def _spoken_before(turns: tuple[Message, ...], end: int) -> int:
    """Return the place of the last turn before ``end`` that says anything and is no system turn; -1 for none."""
    while end and (turns[end - 1].role in _SYSTEM or not says(turns[end - 1])):
        end -= 1
    return end - 1


def _answers(turn: Message) -> bool:
    return any(isinstance(block, ToolResult) for block in turn.blocks)
