"""A request of the log that another model is asked: what is sent, what both answers say, and where they differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

Fields = dict[str, Any]
CHAT = "/v1/chat/completions"
ANSWERABLE = {CHAT: CHAT, "/chat/completions": CHAT, "/v1/messages": "/v1/messages", "/v1/responses": "/v1/responses",
              "/responses": "/v1/responses"}  # fmt: skip
MOST_WORDS = 4000  # of an answer that is compared word by word
LONGEST = 200_000  # characters that are shown


def replayed(told: Fields, typed: Fields) -> tuple[str, Fields, str]:
    """Return where to ask, what, and what is wrong with what was typed."""
    model, text = typed.get("model", "").strip(), typed.get("text", "").strip()
    if not model:
        return "", {}, "Say which model is asked."
    kept = told.get("proxy_server_request")
    path = ANSWERABLE.get(told["metadata"].get("path", ""))
    if isinstance(kept, dict) and kept and path and "truncated" not in kept:
        return path, {**kept, "model": model, "stream": False}, ""
    if not text:
        return "", {}, "What the request asked is not kept, so write here what to ask."
    return CHAT, {"model": model, "messages": [{"role": "user", "content": text}]}, ""


def question_of(told: Fields) -> list[tuple[str, str]]:
    """Return what a request asked as pairs of who speaks and what; nothing where that is not kept."""
    found = told.get("messages")
    if isinstance(found, str):
        return [("prompt", found[:LONGEST])]
    if not isinstance(found, list):
        return []
    pairs = []
    for one in found[:200]:
        if isinstance(one, dict):
            pairs.append((str(one.get("role", one.get("type", ""))), "\n".join(_texts(one, 0))[:LONGEST]))
        else:
            pairs.append(("input", str(one)[:LONGEST]))
    return pairs


def answer_text(said: Any) -> str:
    """Return the text of an answer, whatever its dialect."""
    if not isinstance(said, dict):
        return ""
    parts: Any = said.get("choices") or said.get("content") or said.get("output") or said.get("candidates") or ()
    return "\n".join(_texts(parts, 0))[:LONGEST]


def _texts(value: Any, depth: int) -> Iterator[str]:
    """Yield the texts of messages and their parts, in order."""
    if depth > 8:
        return
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, list):
        for one in value[:1000]:
            yield from _texts(one, depth + 1)
    elif isinstance(value, dict):
        if value.get("name") and ("arguments" in value or "input" in value):
            yield f"{value['name']}({value.get('arguments', value.get('input'))})"
            return
        for name in ("message", "content", "parts", "text", "refusal", "tool_calls", "function"):
            if name in value:
                yield from _texts(value[name], depth + 1)


def differences(before: str, after: str) -> list[tuple[str, str]]:
    """Compare two answers word by word: pairs of "same", "gone" or "new", and the words."""
    old, new = _words(before), _words(after)
    found: list[tuple[str, str]] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=len(old) > 500).get_opcodes():
        if tag == "equal":
            found.append(("same", "".join(old[a:b])))
            continue
        found += [(how, text) for how, text in (("gone", "".join(old[a:b])), ("new", "".join(new[c:d]))) if text]
    return found


def _words(text: str) -> list[str]:
    return [part for line in text.splitlines(keepends=True) for part in _split(line)][:MOST_WORDS]


def _split(line: str) -> Iterable[str]:
    """Split a line behind each blank."""
    begin = 0
    for at, letter in enumerate(line):
        if letter in " \t\n":
            yield line[begin : at + 1]
            begin = at + 1
    if begin < len(line):
        yield line[begin:]
