"""Sessions of agents: which one a request is a part of, and what one may cost (``max_budget_per_session``)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import msgspec

from penstock.core.admit import amount
from penstock.core.admit.holders import Cap, Holder
from penstock.core.errors import OverSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Raw

    from penstock.core.admit.book import Refusal
    from penstock.core.admit.caller import Caller
    from penstock.core.errors import GatewayError
    from penstock.runtime.call import Call

LONGEST = 64 * 1024  # bytes of what a request says for the log
NAMES = ("litellm_session_id", "session_id", "litellm_trace_id")
"""Fields of a request that name its session, LiteLLM's."""
SAID = ("litellm_metadata", "metadata")
SESSION = "session:"
# "session_id" of the metadata itself, or within Claude Code's user_id: "user_..._session_UUID", or JSON in a text.
_IN_METADATA = re.compile(rb'"session_id"\s*:\s*"([^"\\]{1,256})"|session(?:_id\\"\s*:\s*\\"|_)([0-9a-fA-F-]{36})')
_text = msgspec.json.Decoder(str).decode


def session_of(headers: Mapping[bytes, bytes], fields: Mapping[str, Raw], says_nothing: bool = False) -> str:
    """Return the id of the session that a request is a part of, by LiteLLM's header or fields, by those of Claude Code
    or of Codex; "" where it says none. ``says_nothing``: it is known that no field is there."""
    found = headers.get(b"x-litellm-session-id") or headers.get(b"session_id") or headers.get(b"session-id")
    found = found or headers.get(b"x-claude-code-session-id")
    if found:
        return found[:256].decode("latin-1")
    return "" if says_nothing else _session(fields)


def _session(fields: Mapping[str, Raw]) -> str:
    for name in SAID:
        if name in fields and (match := _IN_METADATA.search(bytes(fields[name])[:LONGEST])):
            return (match[1] or match[2]).decode("utf-8", "replace")
    for name in NAMES:
        if name in fields:
            try:
                return _text(fields[name])[:256]
            except (msgspec.DecodeError, msgspec.ValidationError):
                return ""
    return ""


def holder_of(caller: Caller, call: Call) -> Holder | None:
    """Return the session of a call as somebody with a budget; None where its key sets none, or it names no session.
    Sessions of two keys are two, whatever they are called."""
    if caller.a_session is None:
        return None
    named = session_of(call.exchange.headers, call.fields)
    if not named:
        return None
    digest = hashlib.sha256(f"{caller.key}\0{named}".encode()).hexdigest()[:32]
    return Holder("session", digest, named[:64], caps=(Cap(caller.a_session),))


def over_session(refused: Refusal, status: int) -> GatewayError:
    """Make the error for a session whose budget does not cover a request: people read it, in their agents."""
    text = f"This session has a budget of {_told(refused.most)}, and {_told(refused.spent)} of it is spent"
    if refused.by_reservations:
        text += f"; the next request may cost up to {_told(refused.amount)}, for which there is no room left"
    text += ". Begin a new session, or ask whoever runs this gateway for a larger budget (max_budget_per_session)."
    return OverSession("over_budget", text, status=status)


def _told(pico: int) -> str:
    """Write an amount as people do: with cents, and with as many digits more as it has."""
    whole, _, rest = f"{amount.dollars(pico):.10f}".partition(".")
    return f"${whole}.{rest.rstrip('0').ljust(2, '0')}"
