"""vLLM's words for structured output, which clients use on every surface: ``guided_*`` and ``structured_outputs``.

``guided_json`` (a schema, or its text), ``guided_regex``, ``guided_choice`` and ``guided_grammar`` are those of vLLM up
to 0.11. ``structured_outputs`` holds the same without the prefix from 0.10.2 on, and since 0.12 it alone is read: the
older names are ignored there without a word (docs.vllm.ai/en/latest/features/structured_outputs,
github.com/vllm-project/vllm/issues/53975). What the client asks for in its dialect's own words wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Raw
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import OutputFormat

NEW = "structured_outputs"
NAME = "guided_json"  # the name of a schema that came without one
KINDS = ("json", "json_object", "regex", "choice", "grammar", "structural_tag")
_OLD = {f"guided_{kind}": kind for kind in KINDS[:5]} | {"structural_tag": "structural_tag"}
_SPACE = "guided_whitespace_pattern"
FIELDS = frozenset((*_OLD, _SPACE, NEW))
CONSTRAINTS = frozenset(("choice", "regex", "grammar", "structural_tag"))
"""The kinds of ``OutputFormat`` that no dialect but Gemini's has words for: engines have fields of their own."""
MOST_CHOICES = 10_000

_NULL = Raw(b"null")
_MAP = Decoder(dict[str, Raw]).decode
_STR = Decoder(str).decode
_BOOL = Decoder(bool).decode
_STRS = Decoder(list[str]).decode


def read(fields: Mapping[str, Raw]) -> OutputFormat | None:
    """Read what these fields ask for; None when nothing. Raises "bad_request" for a value of the wrong type, an empty
    list of choices, and two constraints that are not the same."""
    if FIELDS.isdisjoint(fields):
        return None
    found: dict[str, OutputFormat] = {}
    options: dict[str, Raw] = {}
    for key, kind in _OLD.items():
        if (raw := fields.get(key, _NULL)) != _NULL and (wanted := _READERS[kind](raw, key)) is not None:
            found[key] = wanted
    if (space := fields.get(_SPACE, _NULL)) != _NULL:
        options["whitespace_pattern"] = space
    if (whole := fields.get(NEW, _NULL)) != _NULL:
        try:
            inner = _MAP(whole)
        except BAD_JSON:
            words = ", ".join(KINDS)
            raise _wrong(NEW, f'an object with one of {words}, such as {{"choice": ["yes", "no"]}}') from None
        for kind, raw in inner.items():
            if raw == _NULL:
                continue
            reader = _READERS.get(kind)
            if reader is None:
                options[kind] = raw
            elif (wanted := reader(raw, f"{NEW}.{kind}")) is not None:
                found[f"{NEW}.{kind}"] = wanted
    if not found:
        return None
    (name, first), *others = found.items()
    for other, wanted in others:
        if wanted != first:
            text = f"'{name}' and '{other}' ask for different forms of one answer: send one of them."
            raise GatewayError("bad_request", text, param=other)
    return replace(first, options=encode(options)) if options else first


def _wrong(path: str, want: str) -> GatewayError:
    return GatewayError("bad_request", f"'{path}' must be {want}.", param=path)


def _json(raw: Raw, path: str) -> OutputFormat:
    try:
        if bytes(memoryview(raw)[:1]) == b'"':
            raw = Raw(_STR(raw).encode())
        _MAP(raw)
    except BAD_JSON:
        raise _wrong(path, "a JSON schema, an object") from None
    return OutputFormat("json_schema", NAME, bytes(raw))


def _object(raw: Raw, path: str) -> OutputFormat | None:
    try:
        return OutputFormat("json_object") if _BOOL(raw) else None
    except BAD_JSON:
        raise _wrong(path, "true or false") from None


def _source(kind: str, want: str) -> Callable[[Raw, str], OutputFormat]:
    def reader(raw: Raw, path: str) -> OutputFormat:
        try:
            return OutputFormat(kind, source=_STR(raw))
        except BAD_JSON:
            raise _wrong(path, want) from None

    return reader


def _choice(raw: Raw, path: str) -> OutputFormat:
    want = 'a list of texts, such as ["yes", "no"]'
    try:
        choices = tuple(dict.fromkeys(_STRS(raw)))
    except BAD_JSON:
        raise _wrong(path, want) from None
    if not choices:
        raise _wrong(path, f"{want}; this one is empty")
    if len(choices) > MOST_CHOICES:
        raise _wrong(path, f"a list of at most {MOST_CHOICES} texts; this one has {len(choices)}")
    return OutputFormat("choice", choices=choices)


def _tag(raw: Raw, path: str) -> OutputFormat:
    """Read an object, or its text, as vLLM takes it."""
    try:
        if bytes(memoryview(raw)[:1]) == b'"':
            raw = Raw(_STR(raw).encode())
        _MAP(raw)
    except BAD_JSON:
        raise _wrong(path, "an object with begin and end tags and their schemas, or its JSON text") from None
    return OutputFormat("structural_tag", schema=bytes(raw))


_READERS: dict[str, Callable[[Raw, str], OutputFormat | None]] = {
    "json": _json,
    "json_object": _object,
    "regex": _source("regex", "a regular expression, a text"),
    "choice": _choice,
    "grammar": _source("grammar", "a grammar, a text"),
    "structural_tag": _tag,
}

# In a request's top level ---------------------------------------------------------------------------------------------

_INSIDE = {"openai_responses": "text", "anthropic": "output_config"}
_PLAIN = {"openai_chat": "response_format", "completions": "response_format", "ollama": "format"}
_PLAIN["ollama_generate"] = "format"
_GEMINI = ("responseMimeType", "responseSchema", "responseJsonSchema", "_responseJsonSchema")


def named(fields: Mapping[str, Raw]) -> tuple[str, ...]:
    """Return the fields of ours that are there, as they are called."""
    return tuple(key for key in fields if key in FIELDS)


def given(fields: Mapping[str, Raw], dialect: str) -> bool:
    """Tell whether the client asks for a form in its dialect's own words, which win."""
    if dialect == "gemini":
        config = _object_at(fields, "generationConfig") or _object_at(fields, "generation_config")
        return any(not _absent(config, key) for key in (*_GEMINI, *map(_snake, _GEMINI)))
    inside = _INSIDE.get(dialect)
    if inside is not None:
        return not _absent(_object_at(fields, inside), "format") or not _absent(fields, "output_format")
    plain = _PLAIN.get(dialect, "response_format")
    return not _absent(fields, plain) and not (plain == "format" and fields[plain] == Raw(b'""'))


def lift(fields: dict[str, Raw], output: OutputFormat, dialect: str) -> bool:
    """Write a JSON schema (or "any object") where the dialect has it. False: it has no place at the top level."""
    schema = Raw(output.schema)
    if dialect in ("openai_chat", "completions"):
        described: dict[str, object] = {"type": output.kind}
        if output.schema:
            described["json_schema"] = {"name": output.name or NAME, "schema": schema}
        fields["response_format"] = Raw(encode(described))
    elif dialect == "openai_responses":
        named_schema = {"name": output.name or NAME, "schema": schema} if output.schema else {}
        _inside(fields, "text", {"type": output.kind, **named_schema})
    elif dialect == "anthropic" and output.schema:
        _inside(fields, "output_config", {"type": "json_schema", "schema": schema})
    elif dialect in ("ollama", "ollama_generate"):
        fields["format"] = schema if output.schema else Raw(b'"json"')
    else:
        return False
    return True


def _inside(fields: dict[str, Raw], key: str, wanted: dict[str, object]) -> None:
    """Set ``format`` inside an object that may hold more."""
    fields[key] = Raw(encode({**_object_at(fields, key), "format": wanted}))


def _object_at(fields: Mapping[str, Raw], key: str) -> dict[str, Raw]:
    if _absent(fields, key):
        return {}
    try:
        return _MAP(fields[key])
    except BAD_JSON:
        raise _wrong(key, "an object") from None


def _absent(fields: Mapping[str, Raw], key: str) -> bool:
    return fields.get(key, _NULL) == _NULL


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
