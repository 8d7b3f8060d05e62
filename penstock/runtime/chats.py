"""The surfaces of the chat dialects: the server puts URLs before them, a program in this process calls them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.core.dialects import DIALECTS, EDITORS
from penstock.core.errors import GatewayError
from penstock.runtime import lanes, stored_responses
from penstock.runtime.call import require_list
from penstock.runtime.surface import About, Surface

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt

_EXAMPLE = '[{"role": "user", "content": "Hello"}]'


def chat_row(name: str, check: Callable[[Mapping[str, Raw]], None], about: About, *forward: bytes) -> Surface:
    """Make the surface of a dialect. ``check``: what it insists on; ``forward``: request headers that pass upstream in
    the same dialect."""
    usage = EDITORS[name].wants_usage
    return Surface(
        DIALECTS[name], lanes.run, check, usage, forward, forced_by="completion_model", cached="completion", about=about
    )


def _check_messages(fields: Mapping[str, Raw]) -> None:
    require_list(fields, "messages", _EXAMPLE)


def _check_input(fields: Mapping[str, Raw]) -> None:
    if not fields.keys() & INPUTS:
        text = "The field 'input' is missing: send a string, or a list such as " + _EXAMPLE + "."
        raise GatewayError("bad_request", text, param="input")


TALK: Mapping[str, str] = {"messages": "array"}
INPUTS = ("input", "prompt", "previous_response_id", "conversation")
CHAT = chat_row("openai_chat", _check_messages, About("Answer a chat", needs=TALK, streams=True))
_NO_THREAD = b'{"error_code":"thread_unsupported_request"}'


def _messages(attempt: Attempt) -> Awaitable[None]:
    """Make one try on the Messages surface. A thread, whose earlier turns only Anthropic keeps, is refused by any other
    target: engines ignore the field and answer 200 without the conversation, while at this error the vendor's clients
    send it whole, and no thread again (KarpelesLab/teamclaude pull request 378)."""
    if "thread" in attempt.fields and bytes(attempt.fields["thread"]) != b"null":
        target = attempt.target
        name = DIALECTS["anthropic"].name
        if not (target.provider.name == name and target.wire_for(name).official and lanes.choose(attempt) == name):
            text = f"'thread': {target.label} keeps no message threads. Send the whole conversation, without 'thread'."
            raise GatewayError("bad_request", text, param="thread", details=_NO_THREAD)
    return lanes.run(attempt)


MESSAGES = chat_row(
    "anthropic",
    _check_messages,
    About("Answer messages in Anthropic's form", needs=TALK, streams=True),
    b"anthropic-version",
    b"anthropic-beta",
)._replace(attempt=_messages)
RESPONSES = chat_row(
    "openai_responses",
    _check_input,
    About("Answer a request of OpenAI's Responses", one_of=INPUTS, streams=True),
)._replace(attempt=stored_responses.run, cached="responses")
