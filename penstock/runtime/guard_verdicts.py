"""What follows from what a guard found, and from that it found nothing one could use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.core.errors import GatewayError
from penstock.core.guarding.ran import BLOCKED, FLAGGED, MASKED, Ran
from penstock.core.guarding.rules import ACTIONS, BLOCK, FLAG, MASK, Finding, TooMuch
from penstock.guards.base import Unreachable

_VERDICTS = {BLOCK: BLOCKED, MASK: MASKED, FLAG: FLAGGED}
_LONGEST = 300  # characters of what kept a guard from judging


def count(ran: Ran, kind: str, action: str) -> None:
    """Count something that a guard found, and what is to be done with it."""
    ran.count(kind[:64], _VERDICTS[action])


def refuse(ran: Ran) -> None:
    """Raise "guardrail" where a guard blocks. What it found is told by its kind."""
    if ran.verdict == BLOCKED:
        kinds = ", ".join(ran.kinds)
        text = f"Content blocked: {kinds} detected by the guardrail {ran.name!r} ({ran.mode})."
        raise GatewayError("guardrail", text)


def checked(findings: Any, texts: Sequence[str]) -> Sequence[Finding]:
    """Check what a guard says it found. Raises ``ValueError``."""
    if isinstance(findings, str) or not isinstance(findings, Sequence):
        raise ValueError("it did not return a list of findings")
    for one in findings:
        if not isinstance(one, Finding) or one.action not in ACTIONS or not isinstance(one.kind, str):
            raise ValueError("it returned something that is no finding")
        if not 0 <= one.text < max(1, len(texts)) or not 0 <= one.start <= one.end:
            raise ValueError("it returned a finding in no text")
        if one.action == MASK and (not texts or one.end > len(texts[one.text])):
            raise ValueError("it would mask what is not there")
    return findings


def why(error: Exception) -> str:
    """Say why a guard could not judge, without its own words, in which anything may stand."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, TooMuch | Unreachable | ValueError) and error.args and len(str(error)) < _LONGEST:
        return str(error)
    return f"it raised {type(error).__name__}"


def header(name: str) -> str:
    """Return a guard's name as a header may have it."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name.encode("ascii", "replace").decode())[:64]
