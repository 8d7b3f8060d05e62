"""What the mock is told to do: `Script` (a whole run), `Rule` (when), `Step` (one answer's behaviour).

Everything is optional: an empty `Script()` answers faithfully and at once. Durations are milliseconds, sizes
are bytes, counts start at 1. A wrong key or value raises `ScriptError` (a ValueError) with one line per problem,
each naming the key, the value and what would be right.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

DIALECTS = ("openai_chat", "openai_responses", "anthropic", "ollama", "gemini", "bedrock", "cohere", "replicate")

MALFORMS: dict[str, str] = {
    "bad_json": "the whole body, or the third event, is JSON cut in the middle",
    "wrong_content_type": "`content-type: text/plain`, whatever the body is",
    "html": "an HTML error page instead of the answer (status 200 unless `status` says otherwise)",
    "empty_body": "no body at all",
    "missing_done": "no `[DONE]` (Chat), no `message_stop` (Messages), no `response.completed` (Responses)",
    "no_finish_reason": "the finish reason is null to the end",
    "empty_finish_reason": 'the finish reason is `""`',
    "duplicate_finish": "the closing event is sent twice",
    "duplicate_start": "the opening event is sent twice",
    "no_role": "the first event (or the message) has no role",
    "empty_choices": "Chat: an event with `choices: []` after the first event; a whole answer has no choices",
    "garbage_event": "an event `garbage` whose data is not JSON, after the first event",
    "unknown_event": "an event of a type that no SDK knows, valid JSON, after the first event",
    "u2028": "U+2028, U+2029 and U+0085 inside the text, not escaped",
    "pings": "before every event but the first a `ping` event (Messages), a comment (the others)",
    "no_space": "`data:` without the space after the colon",
    "crlf": "SSE lines end in CRLF",
    "cr": "SSE lines end in CR alone",
    "comments": "a comment line before every event",
    "bom": "a byte order mark before the first event or the body",
    "invalid_utf8": "the byte FF inside the second event or the body",
    "unterminated": "the last event has no blank line after it",
    "split_data": "every event's JSON is spread over two `data:` lines",
}


class ScriptError(ValueError):
    """A script that cannot be obeyed. `str()` is one line per problem: `where: what is wrong; what would be right`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _key(kind: str, doc: str) -> Any:
    return field(default=None, metadata={"kind": kind, "doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How one request is answered. Every field is optional; `None` means "faithfully, at once"."""

    # time
    latency_ms: float | None = _key("ms", "wait before the status line")
    ttft_ms: float | None = _key("ms", "wait between the head and the first event (or the body)")
    tokens_per_second: float | None = _key("positive", "pace of the tokens; a whole answer waits for all of them")
    stall_after_events: int | None = _key("count", "send so many events, then nothing")
    stall_after_bytes: int | None = _key("count", "send so many body bytes, then nothing")
    stall_ms: float | None = _key("ms", "how long a stall lasts; without it, until the client leaves")
    header_drip_ms: float | None = _key("ms", "send the head one byte at a time, with this pause")
    body_drip_ms: float | None = _key("ms", "send the body one byte at a time, with this pause")
    # content
    text: str | None = _key("text", "the answer's text")
    length: int | None = _key("count", "a filler text of exactly so many tokens")
    chunk_size: int | None = _key("size", "characters per text event (default: one token)")
    tool_calls: tuple[Mapping[str, Any], ...] | None = _key(
        "calls", "list of `{name, arguments}`; arguments: an object, or a string that is sent as it is"
    )
    whole_arguments: bool | None = _key(
        "flag", "streamed tool calls come in one piece: no argument deltas, the opening or the closing event has it all"
    )
    interleave_calls: bool | None = _key("flag", "Chat: the deltas of parallel tool calls take turns")
    citations: tuple[Mapping[str, Any], ...] | None = _key(
        "objects", "citations (Messages) or annotations (OpenAI) of the text, as they go on the wire"
    )
    extra_blocks: tuple[Mapping[str, Any], ...] | None = _key(
        "objects", "content blocks (Messages) or output items (Responses) before the answer, as they go on the wire"
    )
    answer_fields: Mapping[str, Any] | None = _key(
        "object",
        "fields laid over the whole answer; over every chunk (Chat), over the first event's message (Messages)",
    )
    reasoning_field: str | None = _key(
        "one of reasoning_content|reasoning", "Chat: the field that carries the reasoning"
    )
    reasoning: str | bool | None = _key("text or flag", "reasoning text; true: a standard one; false: none")
    redacted: bool | None = _key("flag", "Messages: a `redacted_thinking` block before the answer")
    refusal: str | None = _key("text", "refuse with this text")
    finish_reason: str | None = _key("text", "the finish reason, stop reason or status, as it goes on the wire")
    model: str | None = _key("text", "the `model` in the answer (default: the one that was asked for)")
    usage: str | Mapping[str, Any] | None = _key(
        "usage", "`absent`, `zero`, `every_chunk`, or an object laid over the usage"
    )
    # errors
    status: int | None = _key("status", "HTTP status; from 400 on the body is an error in the path's dialect")
    error: str | Mapping[str, Any] | None = _key("error", "the error's message, or fields laid over the error object")
    body: Any = _key("any", "this body instead of any other: a string as it is, anything else as JSON")
    headers: Mapping[str, str | None] | None = _key("headers", "headers to add or replace; null removes one")
    error_event_after: int | None = _key("count", "after so many events one error event, then the end of the stream")
    # malformed
    malform: tuple[str, ...] | None = _key("malforms", "list of faults, see below")
    # the connection
    cut_after_events: int | None = _key("count", "end after so many events, as `cut` says")
    cut_after_bytes: int | None = _key("count", "end after so many body bytes, as `cut` says")
    cut: str | None = _key("one of close|rst|end", "close: FIN; rst: RST; end: the HTTP framing ends properly")
    hangup: str | None = _key(
        "one of before_answer|in_headers|after_headers", "hang up there (RST unless `cut: close`)"
    )
    keep_alive: bool | None = _key("flag", "false: `connection: close`, and close")
    idle_close_ms: float | None = _key("ms", "close the idle connection so long after the answer, unannounced")
    # HTTP framing
    framing: str | None = _key("one of length|chunked|close", "how the body is delimited")
    split_bytes: int | None = _key("size", "one write (and one chunk) per so many body bytes")
    gzip: bool | None = _key("flag", "compress, whatever was asked for")
    interim: tuple[int, ...] | None = _key("interims", "1xx answers before the real one")
    huge_header: int | None = _key("count", "a header `x-mock-huge` of so many bytes")
    header_count: int | None = _key("count", "so many headers `x-mock-0`, `x-mock-1`, ...")
    extra_bytes: str | None = _key("text", "bytes after the end of the body")
    wrong_length: int | None = _key("int", "added to content-length: positive promises too much, negative too little")
    bad_chunk: bool | None = _key("flag", "the second chunk has a size that is not hexadecimal")
    status_line: str | None = _key("text", "the status line, as it is")

    def __post_init__(self) -> None:
        problems: list[str] = []
        for spec in fields(self):
            value = getattr(self, spec.name)
            if value is None:
                continue
            checked, wrong = _check(spec.metadata["kind"], value)
            if wrong:
                problems.append(f"{spec.name}: {_show(value)} is not right; {wrong}")
            elif checked is not value:
                object.__setattr__(self, spec.name, checked)
        if problems:
            raise ScriptError(problems)

    def over(self, below: Step) -> Step:
        """Return this step, with `below`'s values where this one says nothing."""
        if self is NOTHING or self == NOTHING:
            return below
        if below == NOTHING:
            return self
        merged = {name: getattr(self, name) for name in STEP_KEYS}
        return Step(**{name: getattr(below, name) if value is None else value for name, value in merged.items()})

    @property
    def plain(self) -> bool:
        """Tell whether the answer can be written in one go: the step says nothing about time, framing or the
        connection."""
        return all(getattr(self, name) is None for name in _EFFECT_KEYS)


@dataclass(slots=True, kw_only=True)
class Rule:
    """`step` answers the requests that fit every condition. Globs: `*` and `?`."""

    path: str | None = _key("text", "glob on the path, without the query")
    method: str | None = _key("text", "`GET`, `POST`, ...")
    model: str | None = _key("text", "glob on the request's `model`")
    header: Mapping[str, str | None] | None = _key("headers", "name to glob; null: the header must be absent")
    contains: str | None = _key("text", "the body has this text")
    stream: bool | None = _key("flag", "the request asks for a stream, or does not")
    nth: tuple[int, ...] | None = _key("counts", "number or list: which of the requests that fit all the rest, from 1")
    every: int | None = _key("size", "each so-many-th of the requests that fit all the rest")
    step: Step = field(default_factory=Step)

    def __post_init__(self) -> None:
        problems = _check_fields(self, "")
        if problems:
            raise ScriptError(problems)


@dataclass(slots=True, kw_only=True)
class Mix:
    """One share of a random mix: chosen with probability `weight / sum of weights`, by the script's seed."""

    weight: float = field(default=1.0, metadata={"kind": "weight", "doc": "share of the requests"})
    step: Step = field(default_factory=Step)


@dataclass(slots=True, kw_only=True)
class Script:
    """A whole run. A request takes the first that exists of: the next queued step, the first rule that fits, a draw
    from `mix`; each is laid over `default`."""

    seed: int = field(default=0, metadata={"kind": "int", "doc": "same seed and same requests: same bytes"})
    dialects: frozenset[str] = field(
        default=frozenset(DIALECTS),
        metadata={"kind": "dialects", "doc": "which are spoken; the paths of the others answer 404"},
    )
    models: tuple[str, ...] = field(
        default=("mock/echo",), metadata={"kind": "texts", "doc": "what `/v1/models` lists; any other name works too"}
    )
    sockets: bool = field(
        default=True, metadata={"kind": "flag", "doc": "WebSockets of Realtime and Responses; without them a 426"}
    )
    context_tokens: int = field(
        default=1_000_000, metadata={"kind": "count", "doc": "a longer prompt is a context length error"}
    )
    max_body_bytes: int = field(
        default=32 * 1024 * 1024, metadata={"kind": "count", "doc": "a longer request body is a 413"}
    )
    cache_min_tokens: int | None = field(
        default=None,
        metadata={"kind": "count", "doc": "shortest cached prefix (default: OpenAI 1024, Anthropic 1)"},
    )
    unknown_fields: str = field(
        default="dialect",
        metadata={
            "kind": "one of dialect|accept|reject",
            "doc": "unknown top-level request fields; dialect: Messages rejects them, OpenAI's two accept them",
        },
    )
    default: Step = field(default_factory=Step)
    queue: tuple[Step, ...] = ()
    rules: tuple[Rule, ...] = ()
    mix: tuple[Mix, ...] = ()

    def __post_init__(self) -> None:
        problems = _check_fields(self, "")
        if problems:
            raise ScriptError(problems)
        self.queue, self.rules, self.mix = tuple(self.queue), tuple(self.rules), tuple(self.mix)

    @classmethod
    def always(cls, **step: Any) -> Script:
        """Make a script whose every answer is `Step(**step)`."""
        return cls(default=Step(**step))


STEP_KEYS = tuple(spec.name for spec in fields(Step))
_CONTENT_KEYS = frozenset(
    "text length chunk_size tool_calls whole_arguments interleave_calls citations extra_blocks answer_fields"
    " reasoning_field reasoning redacted refusal finish_reason model usage status error body headers"
    " error_event_after malform".split()
)
_EFFECT_KEYS = tuple(name for name in STEP_KEYS if name not in _CONTENT_KEYS)
NOTHING = Step()


# ---- checking values -------------------------------------------------------------------------------------------------


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_number(kind: str, value: Any) -> tuple[Any, str]:
    whole = _number(value) and isinstance(value, int)
    rules = {
        "ms": (_number(value) and value >= 0, "a number of milliseconds from 0 on"),
        "positive": (_number(value) and value > 0, "a number above 0"),
        "weight": (_number(value) and value >= 0, "a number from 0 on"),
        "count": (whole and value >= 0, "a whole number from 0 on"),
        "size": (whole and value >= 1, "a whole number from 1 on"),
        "int": (whole, "a whole number"),
        "status": (whole and 200 <= value <= 999, "an HTTP status from 200 to 999"),
    }
    good, right = rules[kind]
    return value, "" if good else right


def _check_list(kind: str, value: Any) -> tuple[Any, str]:
    items = tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    if kind == "malforms":
        for item in items:
            if item not in MALFORMS:
                return value, f"{_show(item)} is no fault" + did_you_mean(str(item), MALFORMS)
        return items, ""
    if kind == "dialects":
        for item in items:
            if item not in DIALECTS:
                return value, f"{_show(item)} is no dialect" + did_you_mean(str(item), DIALECTS)
        return frozenset(items), ""
    if kind == "calls":
        good = all(isinstance(item, Mapping) and isinstance(item.get("name"), str) for item in items)
        return items, "" if good else "a list of objects with `name` and `arguments`"
    if kind == "objects":
        return items, "" if all(isinstance(item, Mapping) for item in items) else "a list of objects"
    if kind == "texts":
        return items, "" if all(isinstance(item, str) for item in items) else "a list of texts"
    low, high, right = (100, 199, "1xx statuses") if kind == "interims" else (1, 10**9, "whole numbers from 1 on")
    good = all(_number(item) and isinstance(item, int) and low <= item <= high for item in items)
    return items, "" if good else right


def _check(kind: str, value: Any) -> tuple[Any, str]:
    """Check a value. Return it (lists as tuples), and what would be right if it is wrong, else ""."""
    if kind in ("ms", "positive", "weight", "count", "size", "int", "status"):
        return _check_number(kind, value)
    if kind in ("malforms", "dialects", "calls", "objects", "texts", "interims", "counts"):
        return _check_list(kind, value)
    if kind.startswith("one of "):
        allowed = kind[7:].split("|")
        return value, "" if value in allowed else f"one of {', '.join(allowed)}"
    if kind == "headers":
        good = isinstance(value, Mapping) and all(
            isinstance(name, str) and (text is None or isinstance(text, (str, int))) for name, text in value.items()
        )
        if not good:
            return value, "an object of header names to texts"
        return {name: None if text is None else str(text) for name, text in value.items()}, ""
    if kind == "usage":
        good = isinstance(value, Mapping) or value in ("absent", "zero", "every_chunk")
        return value, "" if good else "absent, zero, every_chunk, or an object"
    simple: dict[str, tuple[tuple[type, ...], str]] = {
        "text": ((str,), "a text (quote it)"),
        "flag": ((bool,), "true or false"),
        "text or flag": ((str, bool), "a text, true or false"),
        "object": ((Mapping,), "an object"),
        "error": ((str, Mapping), "a message or an object"),
        "any": ((object,), "anything"),
    }
    types, right = simple[kind]
    return value, "" if isinstance(value, types) else right


def _check_fields(thing: Any, where: str) -> list[str]:
    problems = []
    for spec in fields(thing):
        value = getattr(thing, spec.name)
        if value is None or "kind" not in spec.metadata:
            continue
        checked, wrong = _check(spec.metadata["kind"], value)
        if wrong:
            problems.append(f"{where}{spec.name}: {_show(value)} is not right; {wrong}")
        elif checked is not value:
            setattr(thing, spec.name, checked)
    return problems


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Render `; did you mean X?`, or the list of what is known when nothing is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(names)}"


# ---- reading scripts -------------------------------------------------------------------------------------------------

T = TypeVar("T")


def _keys(cls: Any) -> dict[str, Field[Any]]:
    return {spec.name: spec for spec in fields(cls) if "kind" in spec.metadata}


def _read(cls: type[T], raw: object, where: str, problems: list[str], extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the known keys of `raw` with right values; everything else becomes a problem."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        problems.append(f"{where or 'script'}: {_show(raw)} is not right; an object of keys")
        return {}
    known = _keys(cls)
    good: dict[str, Any] = {}
    for name, value in raw.items():
        if name in extra:
            continue
        if name not in known:
            problems.append(
                f"{where}{'.' if where else ''}{name}: unknown key" + did_you_mean(str(name), [*known, *extra])
            )
            continue
        if value is None:
            continue
        checked, wrong = _check(known[name].metadata["kind"], value)
        if wrong:
            problems.append(f"{where}{'.' if where else ''}{name}: {_show(value)} is not right; {wrong}")
        else:
            good[name] = checked
    return good


def _list(raw: object, where: str, problems: list[str]) -> list[Any]:
    if raw is None:
        return []
    if isinstance(raw, list):
        return raw
    problems.append(f"{where}: {_show(raw)} is not right; a list")
    return []


def parse_step(raw: object) -> Step:
    """Parse one step from plain data (the keys of `Step`). Raises ScriptError."""
    problems: list[str] = []
    step = Step(**_read(Step, raw, "", problems))
    if problems:
        raise ScriptError(problems)
    return step


def parse_script(raw: object) -> Script:
    """Parse a script from plain data (what YAML or JSON gives). Raises ScriptError with every problem at once."""
    problems: list[str] = []
    top = _read(Script, raw, "", problems, ("default", "queue", "rules", "mix"))
    source: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    top["default"] = Step(**_read(Step, source.get("default"), "default", problems))
    queue = _list(source.get("queue"), "queue", problems)
    top["queue"] = tuple(Step(**_read(Step, item, f"queue[{at}]", problems)) for at, item in enumerate(queue))
    for name, cls, condition in (("rules", Rule, "when"), ("mix", Mix, "")):
        made = []
        for at, item in enumerate(_list(source.get(name), name, problems)):
            where = f"{name}[{at}]"
            if not isinstance(item, Mapping):
                problems.append(f"{where}: {_show(item)} is not right; an object of keys")
                continue
            outer = ("do", condition) if condition else ("do", "weight")
            for key in item:
                if key not in outer:
                    problems.append(f"{where}.{key}: unknown key" + did_you_mean(str(key), outer))
            given = item.get("when") if condition else {k: v for k, v in item.items() if k == "weight"}
            known = _read(cls, given, f"{where}.when" if condition else where, problems)
            made.append(cls(**known, step=Step(**_read(Step, item.get("do"), f"{where}.do", problems))))
        top[name] = tuple(made)
    if problems:
        raise ScriptError(problems)
    return Script(**top)


def load_script(path: str) -> Script:
    """Read a YAML or JSON file. Raises OSError if it cannot be read, ScriptError if it cannot be obeyed."""
    import yaml  # only the command line reads files; importing the mock stays cheap

    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ScriptError([f"{path}: not YAML: {str(exc).splitlines()[0]}"]) from exc
    try:
        return parse_script(raw)
    except ScriptError as exc:
        raise ScriptError([f"{path}: {line}" for line in exc.problems]) from exc
