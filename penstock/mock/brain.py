"""What the mock says, the same for every dialect: a small `Ask` in, an `Answer` out; no wire format here.

The rules, in this order: the step's own words; a tool result is quoted; a tool is called when the tool choice forces
it or the last user message says `call NAME {json}`; a JSON schema gets its minimal instance; else the user is echoed.
Tokens are counted by one rule: each run of white space with the next one to six visible characters is one token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from penstock.mock.schema import instance
from penstock.mock.script import Step

MEDIA_TOKENS = 85  # per image, document or sound
MESSAGE_TOKENS = 3  # per message, for the role
PREFIX = "mock/echo: "
_PIECE = re.compile(r"\s*\S{1,6}|\s+")
_CALL = re.compile(r"\bcall ([A-Za-z0-9_.:/-]+)\s*(?=\{)")
_WORDS = "one two three four five six seven eight nine ten".split()


def pieces(text: str) -> list[str]:
    """Split a text into its tokens; joined they are the text."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """Count the tokens of a text."""
    return len(_PIECE.findall(text))


def cut(text: str, size: int | None) -> list[str]:
    """Cut the text into the portions of events: one token each, or `size` characters."""
    if size is None:
        return _PIECE.findall(text)
    return [text[at : at + size] for at in range(0, len(text), size)]


@dataclass(slots=True)
class Tool:
    """A tool on offer. `custom` tools take free text; `namespace` is Responses' grouping."""

    name: str
    schema: Any = None
    custom: bool = False
    namespace: str | None = None


@dataclass(slots=True)
class Result:
    """A tool's result that follows the last assistant turn."""

    name: str
    text: str
    error: bool = False


@dataclass(slots=True)
class Ask:
    """What a request comes down to, whatever its dialect."""

    user: str = ""
    media: list[str] = field(default_factory=list)  # "image (image/png, 68 bytes)"
    results: list[Result] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    choice: str = "auto"  # auto, none, required
    only: frozenset[str] | None = None  # the tools that may be called
    parallel: bool = True
    schema: Any = None  # None: free text
    bare: bool = False  # the schema's value is text and comes without quotes
    max_tokens: int | None = None
    stops: list[str] = field(default_factory=list)
    think: str | None = None  # the effort's name when reasoning is on
    prefill: str = ""


@dataclass(slots=True)
class Call:
    """A tool call: `arguments` is JSON text (or free text of a custom tool)."""

    id: str
    name: str
    arguments: str
    custom: bool = False
    namespace: str | None = None


@dataclass(slots=True)
class Answer:
    """What is answered, whatever the dialect. `stop` is one of stop, length, tool, stop_sequence, refusal."""

    text: str = ""
    reasoning: str | None = None
    refusal: str | None = None
    calls: list[Call] = field(default_factory=list)
    stop: str = "stop"
    matched: str | None = None

    @property
    def reasoning_tokens(self) -> int:
        return count(self.reasoning) if self.reasoning else 0

    @property
    def tokens(self) -> int:
        """Count all output tokens, reasoning included; a tool call costs 4 more for its frame."""
        called = sum(count(call.arguments) + count(call.name) + 4 for call in self.calls)
        return self.reasoning_tokens + count(self.text) + count(self.refusal or "") + called


MakeId = Callable[[str], str]


def answer(ask: Ask, step: Step, make_id: MakeId, index: int = 0) -> Answer:
    """Make the answer to `ask` under `step`; `make_id("call_")` gives fresh ids, `index` is the choice's number."""
    made = Answer(reasoning=_reasoning(ask, step))
    if step.refusal is not None:
        made.refusal, made.stop = step.refusal, "refusal"
        return made
    made.calls = _scripted_calls(step, ask, make_id) if step.tool_calls is not None else []
    if not made.calls and step.text is None and step.length is None:
        made.calls = _calls(ask, make_id)
    if made.calls:
        made.text, made.stop = step.text or "", "tool"
        return made
    made.text = _text(ask, step, index)
    if step.malform and "u2028" in step.malform:
        made.text += " a\u2028b\u2029c\x85d"
    _limit(made, ask)
    return made


def _reasoning(ask: Ask, step: Step) -> str | None:
    if isinstance(step.reasoning, str):
        return step.reasoning
    if step.reasoning is False or (step.reasoning is None and ask.think is None):
        return None
    return f"mock reasoning ({ask.think or 'medium'}): the user said {len(ask.user)} characters"


def _text(ask: Ask, step: Step, index: int) -> str:
    if step.text is not None:
        return step.text
    if step.length is not None:
        return " ".join(_WORDS[at % len(_WORDS)] for at in range(step.length))
    if ask.schema is not None:
        value = instance(ask.schema)
        return str(value) if ask.bare else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if ask.results:
        said = [f"tool {r.name} {'failed' if r.error else 'said'}: {r.text}" for r in ask.results]
        text = PREFIX + "; ".join(said)
        # a user may add words after the results in one turn (Claude Code does): they are echoed too
        text += f" | {ask.user}" if ask.user else ""
    else:
        text = PREFIX + ask.user
    if ask.media:
        text += f" | saw {len(ask.media)} " + ", ".join(ask.media)
    return text if index == 0 else f"{text} (choice {index})"


def _limit(made: Answer, ask: Ask) -> None:
    hits = [(made.text.find(stop), stop) for stop in ask.stops if stop and stop in made.text]
    if hits:
        at, made.matched = min(hits)
        made.text, made.stop = made.text[:at], "stop_sequence"
    if ask.max_tokens is None:
        return
    room = max(0, ask.max_tokens - made.reasoning_tokens)
    parts = pieces(made.text)
    if len(parts) > room:
        made.text, made.stop, made.matched = "".join(parts[:room]), "length", None


def _calls(ask: Ask, make_id: MakeId) -> list[Call]:
    tools = [tool for tool in ask.tools if ask.only is None or tool.name in ask.only]
    if ask.choice == "none" or not tools or (ask.results and ask.choice != "required"):
        return []
    by_name = {tool.name: tool for tool in tools}
    by_name |= {f"{tool.namespace}.{tool.name}": tool for tool in tools if tool.namespace}
    made = []
    for found in _CALL.finditer(ask.user):
        tool = by_name.get(found.group(1))
        text = _json_at(ask.user, found.end())
        if tool is not None and text is not None:
            made.append(_call(tool, text, make_id))
    if not made and ask.choice == "required":
        tool = tools[0]
        text = "mock input" if tool.custom else json.dumps(instance(tool.schema), separators=(",", ":"))
        made.append(_call(tool, text, make_id))
    return made if ask.parallel else made[:1]


def _call(tool: Tool, text: str, make_id: MakeId) -> Call:
    return Call(make_id("call_"), tool.name, text, tool.custom, tool.namespace)


def _json_at(text: str, at: int) -> str | None:
    try:
        _, end = json.JSONDecoder().raw_decode(text, at)
    except ValueError:
        return None
    return text[at:end]


def _scripted_calls(step: Step, ask: Ask, make_id: MakeId) -> list[Call]:
    offered = {tool.name: tool for tool in ask.tools}
    made = []
    for raw in step.tool_calls or ():
        arguments = raw.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, separators=(",", ":"))
        tool = offered.get(raw["name"], Tool(raw["name"]))
        call = _call(tool, text, make_id)
        call.id = raw.get("id") or call.id
        made.append(call)
    return made


# ---- small things every dialect needs --------------------------------------------------------------------------------


def media_label(kind: str, mime: str, data: str) -> str:
    """Describe media as `image (image/png, 68 bytes)`, from base64; a size that cannot be had is said so."""
    try:
        size = f"{len(base64.b64decode(data, validate=True))} bytes"
    except (binascii.Error, ValueError):
        size = "broken base64"
    return f"{kind} ({mime or 'unknown type'}, {size})"


def url_label(kind: str, url: str) -> str:
    """Describe a URL: `data:` URLs are looked into, others are named."""
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        return media_label(kind, head.split(";")[0], data)
    return f"{kind} ({url})"


def digest(*parts: object) -> str:
    """Hash anything printable to a stable hex digest."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()


def seal(seed: int, kind: str, text: str) -> str:
    """Sign `text` so that only a mock of the same seed issues and accepts it (base64)."""
    mac = hashlib.sha256(f"penstock-mock:{seed}:{kind}:{text}".encode()).digest()
    return base64.b64encode(b"penstock-mock:" + kind.encode() + b":" + mac).decode()


def seal_fits(seed: int, kind: str, text: str, signature: object) -> bool:
    """Tell whether `seal(seed, kind, text)` gave this signature."""
    return isinstance(signature, str) and signature == seal(seed, kind, text)
