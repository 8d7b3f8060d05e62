"""How each target is held to a choice, a regular expression or a grammar.

An engine has fields of its own for it; a vendor that knows JSON schemas gets a choice as one (``dialects.wrapped``).
What a target has nothing for is named in ``Lowered.lost``: a constraint is never left out in silence.

``guides`` of a provider says which engine's fields it takes:

* ``vllm``: ``structured_outputs`` and beside it the ``guided_*`` field of the same meaning. Each release reads one of
  them and ignores the other (0.6.5 to 0.9 the old, 0.12 and later the new; between them both say the same), so nobody
  needs to know the release. docs.vllm.ai/en/latest/features/structured_outputs
* ``sglang``: ``regex``, ``ebnf``, and ``response_format`` for a structural tag.
  docs.sglang.ai/advanced_features/structured_outputs.html
* ``trtllm``: ``response_format`` with ``type`` regex, ebnf or structural_tag (tensorrt_llm/serve/openai_protocol.py).
* ``llama_cpp``: ``grammar``, in GBNF. github.com/ggml-org/llama.cpp/tree/master/tools/server
* ``patterns``: JSON schemas whose ``pattern`` is enforced, too: Ollama, which makes a grammar of the schema with
  llama.cpp's own converter, and OpenAI's own host, which in strict mode enforces a keyword or refuses the request
  (platform.openai.com/docs/guides/structured-outputs).
* "": JSON schemas, of which ``enum`` is all that is relied on.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct
from msgspec.json import encode

from penstock.core.dialects import guided, wrapped
from penstock.core.grammar import Unsupported, choices_gbnf, choices_regex, regex_gbnf
from penstock.core.ir import OutputFormat, Request

ENGINE_DIALECTS = frozenset(("openai_chat", "completions"))
"""Where engines read the fields of their own: OpenAI's shapes, the Chat and the older one."""
_FIELD = {kind: f"guided_{kind}" for kind in ("choice", "regex", "grammar")} | {"structural_tag": "structural_tag"}


class Lowered(Struct, frozen=True):
    """How a constraint is asked for at a target. ``output``: what is left for the dialect to say itself. ``fields``:
    top-level fields beside it. ``wrapped``: the answer is an object with the text in it. ``lost``: why the target
    cannot be held to it, "" when it can."""

    output: OutputFormat | None = None
    fields: dict[str, Raw] = {}
    wrapped: bool = False
    lost: str = ""


def name_of(output: OutputFormat) -> str:
    """Return the field that asks for it, for messages."""
    return _FIELD.get(output.kind, output.kind)


def lower(request: Request, guides: str, dialect: str, native_schema: bool = True) -> Lowered | None:
    """Choose how ``request.output`` is asked for in ``dialect`` at a target with ``guides``; None when the dialect's
    renderer needs no help. ``native_schema`` as in ``base.Wire``."""
    output = request.output
    if output is None or output.kind not in guided.CONSTRAINTS:
        return None
    if guides in ENGINES and dialect in ENGINE_DIALECTS:
        try:
            return Lowered(fields=ENGINES[guides](output))
        except Unsupported as error:
            return Lowered(lost=str(error))
    if dialect == "gemini" and output.kind == "choice" and not request.tools:
        return None
    if output.kind == "choice":
        return Lowered(wrapped.choice(output.choices), wrapped=True)
    if output.kind == "regex" and guides == "patterns" and native_schema:
        return Lowered(wrapped.regex(output.source), wrapped=True)
    return Lowered(lost="it has no such constraint")


def _vllm(output: OutputFormat) -> dict[str, Raw]:
    if output.kind == "structural_tag":
        value: object = output.schema.decode()
    else:
        value = output.choices if output.kind == "choice" else output.source
    return vllm_fields(name_of(output), output.kind, Raw(encode(value)), output.options)


def vllm_fields(old: str, kind: str, value: Raw, options: bytes) -> dict[str, Raw]:
    """Write both spellings of one constraint."""
    inner: dict[str, Raw] = {kind: value}
    fields = {old: value}
    if options:
        given = msgspec.json.decode(options, type=dict[str, Raw])
        inner |= given
        if "whitespace_pattern" in given:
            fields["guided_whitespace_pattern"] = given["whitespace_pattern"]
    return {**fields, guided.NEW: Raw(encode(inner))}


def _sglang(output: OutputFormat) -> dict[str, Raw]:
    if output.kind == "structural_tag":
        return {"response_format": _tag(output.schema)}
    if output.kind == "grammar":
        return {"ebnf": Raw(encode(output.source))}
    return {"regex": Raw(encode(_expression(output)))}


def _trtllm(output: OutputFormat) -> dict[str, Raw]:
    if output.kind == "structural_tag":
        return {"response_format": _tag(output.schema)}
    kind, value = ("ebnf", output.source) if output.kind == "grammar" else ("regex", _expression(output))
    return {"response_format": Raw(encode({"type": kind, kind: value}))}


def _llama_cpp(output: OutputFormat) -> dict[str, Raw]:
    if output.kind == "structural_tag":
        raise Unsupported("llama.cpp has no structural tags")
    if output.kind == "choice":
        grammar = choices_gbnf(output.choices)
    else:
        grammar = output.source if output.kind == "grammar" else regex_gbnf(output.source)
    return {"grammar": Raw(encode(grammar))}


def _expression(output: OutputFormat) -> str:
    return choices_regex(output.choices) if output.kind == "choice" else output.source


def _tag(raw: bytes) -> Raw:
    """Add its type to a tag, since both engines take it as a ``response_format``; older ones of vLLM do not."""
    fields = msgspec.json.decode(raw, type=dict[str, Raw])
    return Raw(encode({"type": "structural_tag", **fields}))


ENGINES = {"vllm": _vllm, "sglang": _sglang, "trtllm": _trtllm, "llama_cpp": _llama_cpp}
GUIDES = (*ENGINES, "patterns")
