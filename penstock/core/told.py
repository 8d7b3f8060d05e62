"""What any dialect's finished answer says it used: for those who are handed one and know nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from penstock.core.dialects.anthropic import usage as messages
from penstock.core.dialects.openai_chat.usage import read_usage as read_chat
from penstock.core.dialects.openai_responses.usage import read_usage as read_responses
from penstock.core.ir import Usage
from penstock.core.same import in_tier

_MESSAGE = Raw(b'"message"')


def usage_told(answer: Mapping[str, Raw]) -> Usage | None:
    """Read the counters of an answer's top level: of Chat (completions and embeddings, too), Responses or Messages;
    None when it tells none. Only Messages leaves cached tokens out of its input, so it is read by its own rules."""
    raw = answer.get("usage")
    if raw is None:
        return None
    if answer.get("type") == _MESSAGE:
        meter = messages.Meter()
        try:
            meter.feed(messages.read(raw))
        except msgspec.DecodeError:
            return None
        usage = meter.usage()
        return msgspec.structs.replace(usage, tier=meter.tier) if usage is not None and meter.tier else usage
    return in_tier(read_chat(raw) or read_responses(raw), answer.get("service_tier"))
