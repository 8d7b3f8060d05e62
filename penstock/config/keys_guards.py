"""Key tables of the section `guardrails`. A row is (key, type, status, default, meaning)."""

from __future__ import annotations

from collections.abc import Mapping

MODES = ("pre_call", "during_call", "post_call", "logging_only")
"""When a guard may run."""

NAMES: Mapping[str, str] = {
    "litellm_content_filter": "content_filter",
    "content_filter": "content_filter",
    "regex": "content_filter",
    "banned_words": "content_filter",
    "hide-secrets": "secrets",
    "hide_secrets": "secrets",
    "secrets": "secrets",
}
"""What `guardrail` may say, and which guard (a key of ``guards.GUARDS``) that is."""

GUARD = (
    ("guardrail_name", "str", "acted", None, "its name here: requests, keys, teams and models choose it by that"),
    ("litellm_params", "mapping", "acted", None, "which guard it is, and its settings"),
    ("guardrail_info", "mapping", "acted", None, "what `/guardrails/list` tells of it"),
    ("guardrail_id", "str", "moot", None, "a guardrail of the file is known by its name"),
)

GUARD_PARAMS = (
    ("guardrail", "str", "acted", None, "which guard: see guards.md"),
    ("mode", "any", "acted", None, "when it runs: pre_call, during_call, post_call, logging_only; a list, or by tags"),
    ("default_on", "bool", "acted", False, "it runs for every request, whether or not that names it"),
    ("on_error", "one:allow,block", "acted", "block", "a call that could not be judged is refused, or goes on"),
    ("timeout", "wait", "acted", 10, "seconds in which it must have judged"),
)
