"""Patterns and words: LiteLLM's ``litellm_content_filter``, and our ``regex`` and ``banned_words``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from penstock.config.guards import GuardSettings
from penstock.core.guarding.lint import BadPattern
from penstock.core.guarding.patterns import PREBUILT
from penstock.core.guarding.rules import ACTIONS, BLOCK, LONGEST, MASK, Rule
from penstock.guards.base import Guard, Unusable
from penstock.guards.expressions import compile_expression

MOST_WORDS = 10_000
WORD = "BANNED_WORD"
_MASKED_WORD = "[KEYWORD_REDACTED]"
_GROUP = 500  # words of one expression


class ContentFilter(Guard):
    """Finds patterns and words. ``patterns``: prebuilt ones by name, or expressions. ``blocked_words``: with the action
    of each; ``banned_words``: a plain list, with the ``action`` of all."""

    def __init__(self, settings: GuardSettings) -> None:
        super().__init__(settings)
        params = settings.params
        otherwise = action_of(params, "action", BLOCK)
        self.rules = (*_patterns(params, otherwise), *_words(params, otherwise))
        if not self.rules:
            raise Unusable("", "says nothing to look for: give it patterns, regex, blocked_words or banned_words")


def action_of(params: Mapping[str, Any], name: str, otherwise: str, path: str = "") -> str:
    """Read an action. Raises ``Unusable`` for what is none."""
    said = params.get(name)
    if said is None:
        return otherwise
    action = str(said).lower()
    action = {"redact": MASK, "deny": BLOCK, "log": "flag"}.get(action, action)
    if action not in ACTIONS:
        raise Unusable(f"{path}.{name}" if path else name, f"{said!r} is no action; known: {', '.join(ACTIONS)}")
    return action


def listed(params: Mapping[str, Any], name: str) -> list[Any]:
    """Read a list. Raises ``Unusable`` for what is none."""
    value = params.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unusable(name, f"expected a list, got {type(value).__name__}")
    return value


def _patterns(params: Mapping[str, Any], otherwise: str) -> Iterator[Rule]:
    form = params.get("pattern_redaction_format")
    for key in ("patterns", "regex"):
        for number, entry in enumerate(listed(params, key)):
            path = f"{key}[{number}]"
            said = {"pattern": entry} if isinstance(entry, str) else entry
            if not isinstance(said, Mapping):
                raise Unusable(path, "expected an expression, or a mapping with pattern or pattern_name")
            rule = _pattern(said, path, action_of(said, "action", otherwise, path), key, number)
            # LiteLLM's own words stand for what it masks; of ours each value has a number of its own.
            put = str(said.get("replacement") or "")
            if not put and form:
                put = str(form).replace("{pattern_name}", rule.kind.upper())
            yield replace(rule, put=put)


def _pattern(said: Mapping[str, Any], path: str, action: str, key: str, number: int) -> Rule:
    name = said.get("pattern_name")
    if said.get("pattern_type") == "prebuilt" or (name and not said.get("pattern")):
        rule = PREBUILT.get(str(name))
        if rule is None:
            raise Unusable(f"{path}.pattern_name", f"there is no pattern {name!r}; known: {', '.join(PREBUILT)}")
        return replace(rule, action=action)
    source = said.get("pattern")
    if not isinstance(source, str) or not source:
        raise Unusable(f"{path}.pattern", "is missing: an expression, or pattern_name for one of the prebuilt ones")
    try:
        find, reach = compile_expression(source, said.get("ignore_case", True) is not False)
    except BadPattern as error:
        raise Unusable(f"{path}.pattern", str(error)) from None
    kind = str(said.get("name") or name or f"{key}_{number + 1}")
    return Rule(kind, find, action, reach)


def _words(params: Mapping[str, Any], otherwise: str) -> Iterator[Rule]:
    by_action: dict[str, list[str]] = {}
    entries = [("blocked_words", one) for one in listed(params, "blocked_words")]
    entries += [("blocked_words_file", one) for one in _from_file(params)]
    entries += [("banned_words", one) for one in listed(params, "banned_words")]
    if len(entries) > MOST_WORDS:
        raise Unusable("", f"names {len(entries)} words; at most {MOST_WORDS} are looked for")
    for number, (key, entry) in enumerate(entries):
        path = f"{key}[{number}]"
        said = {"keyword": entry} if isinstance(entry, str) else entry
        word = said.get("keyword") or said.get("word") if isinstance(said, Mapping) else None
        if not isinstance(word, str) or not word.strip() or len(word) > LONGEST // 4:
            raise Unusable(path, "expected a word, or a mapping with keyword and action")
        by_action.setdefault(action_of(said, "action", otherwise, path), []).append(word.strip())
    tag = str(params.get("keyword_redaction_tag") or _MASKED_WORD)
    for action, words in by_action.items():
        for at in range(0, len(words), _GROUP):
            yield word_rule(words[at : at + _GROUP], action, tag)


def word_rule(words: list[str], action: str, put: str) -> Rule:
    """Make the rule that finds any of some words: as words, and not within others; in any case, and however much white
    space is between two of them."""
    ordered = sorted(dict.fromkeys(words), key=len, reverse=True)
    forms = [r"\s{1,3}".join(re.escape(part) for part in word.split()) for word in ordered]
    bounded = [
        (r"(?<!\w)" if _is_letter(word[0]) else "") + form + (r"(?!\w)" if _is_letter(word[-1]) else "")
        for word, form in zip(ordered, forms, strict=True)
    ]
    reach = max(len(word) + 3 * len(word.split()) for word in ordered)
    # Some letters are two in the other case: a word of these has no mark.
    lower = [word.split()[0].lower() for word in ordered]
    marks = tuple(lower) if len(lower) <= 20 and all(word.isascii() for word in ordered) else ()
    spaceless = all(len(word.split()) == 1 for word in ordered)
    find = re.compile("|".join(bounded), re.IGNORECASE)
    return Rule(WORD, find, action, reach, marks, put=put if action == MASK else "", spaceless=spaceless)


def _is_letter(char: str) -> bool:
    return char.isalnum() or char == "_"


def _from_file(params: Mapping[str, Any]) -> list[Any]:
    """Read the words of a file: YAML-like JSON as LiteLLM's (``blocked_words: [...]``), or one on each line."""
    name = params.get("blocked_words_file")
    if not name:
        return []
    try:
        text = Path(str(name)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable("blocked_words_file", f"cannot be read: {error}") from None
    return _lines(text)


def _lines(text: str) -> list[Any]:
    try:
        value = msgspec.yaml.decode(text) if "blocked_words:" in text else None
    except (msgspec.DecodeError, ImportError):
        value = None
    if isinstance(value, Mapping) and isinstance(value.get("blocked_words"), list):
        return list(value["blocked_words"])
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
