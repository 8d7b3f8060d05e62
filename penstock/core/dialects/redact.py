"""Takes keys and tokens out of text that came from elsewhere, before it reaches a client, a log or a record.

Vendors repeat the key they were given ("Incorrect API key provided: sk-..."), proxies repeat whole headers. The list
is of shapes that vendors document for their keys, plus the headers and query fields that carry them.
"""

from __future__ import annotations

import re

MASK = "[redacted]"

_HEADER = re.compile(
    r"(?i)\b(authorization|proxy-authorization|x-api-key|api-key|x-goog-api-key|ocp-apim-subscription-key)"
    r"(\\?[\"']?\s*[:=]\s*\\?[\"']?)(?:(?:bearer|basic)\s+)?[^\s\"'\\,;}]+"
)
_SCHEME = re.compile(r"(?i)\b(bearer|basic)(\s+)(?=[^\s]*[0-9_.=*-])[A-Za-z0-9._~+/=*-]{8,}")
_QUERY = re.compile(r"(?i)([?&](?:key|api[-_]key|access[-_]token|token|sig|signature)=)[^&\s\"'<>]+")
_FIELD = re.compile(
    r"(?i)\b((?:api[-_ ]?key|access[-_ ]?token|secret[-_ ]?key|client[-_ ]?secret|password)"
    r"\\?[\"']?\s*[:=]\s*\\?[\"']?)"
    r"(?!\[redacted\])[A-Za-z0-9._~+/=*-]{6,}"
)
# Keys by their prefix. ``*`` is in because vendors mask the middle and leave both ends readable.
_KEY = re.compile(
    r"(?<![\w-])(?:sk|pk|rk)-[A-Za-z0-9_*.-]{5,}"  # OpenAI, Anthropic, DeepSeek, OpenRouter, LiteLLM, Langfuse
    # A name may begin alike (pplx-70b-online, xai-grok-4-fast): a key has a long run without a hyphen, or is masked.
    r"|(?<![\w-])(?:gsk|xai|hf|pplx|nvapi|fw|csk|r8|tgp_v1|ghp|gho|github_pat|glpat|sk_live|sk_test)[_-]"
    r"(?=[A-Za-z0-9_-]*(?:\*|[A-Za-z0-9]{12}))[A-Za-z0-9_*-]{8,}"
    r"|\bAIza[A-Za-z0-9_*-]{20,}"  # Google
    r"|\bya29\.[A-Za-z0-9_*-]{10,}"  # Google OAuth
    r"|\b(?:AKIA|ASIA)[A-Z0-9*]{12,}"  # AWS
    r"|(?<![\w-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"  # JWT
)
# Each of them but AIza, ya29. and AKIA, which end with their first other character anyway, is looked for only where a
# run of its characters begins: "eyJ-eyJ-..." has as many beginnings as it is long, and each was read to the end (82 kB
# held everybody up for 8 s).
LONGEST = 32 * 1024
"""Characters of a text that are searched and kept: nobody shows more of it."""
_BEYOND = 512  # characters behind them that are searched, and not kept: a key that is cut in two looks like none


def scrub(text: str) -> str:
    """Replace everything in ``text`` that looks like a credential by ``[redacted]``, and cut it to ``LONGEST``.
    Idempotent."""
    long = len(text) > LONGEST
    if long:
        text = text[: LONGEST + _BEYOND]
    text = _HEADER.sub(rf"\1\2{MASK}", text)
    text = _SCHEME.sub(rf"\1\2{MASK}", text)
    text = _KEY.sub(MASK, text)
    text = _QUERY.sub(rf"\1{MASK}", text)
    text = _FIELD.sub(rf"\1{MASK}", text)
    return text[: min(LONGEST, len(text) - _BEYOND)] if long else text
