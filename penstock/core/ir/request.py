"""Values of a request: blocks, turns, tools, parameters."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Role = Literal["system", "developer", "user", "assistant"]
Reason = (
    str  # "stop" | "length" | "tool_use" | "filter" | "refusal" | "pause" | "context" | "other:<the vendor's word>"
)


class Opaque(Struct, frozen=True, gc=False):
    """JSON that only ``dialect`` understands. ``kind`` is its ``type`` field (or the field's name), ``raw`` its
    text."""

    dialect: str
    kind: str
    raw: bytes


class Seal(Struct, frozen=True, gc=False):
    """Continuation data that only ``family`` ("anthropic", "openai", "gemini", ...) can read."""

    family: str
    data: str

    def pack(self, native: str) -> str:
        """Return the text to hand to a client whose dialect's own family is ``native``: foreign seals carry their
        owner."""
        return self.data if self.family == native else f"{_PACK}{self.family}.{self.data}"


_PACK = "penstock.seal."


def unpack_seal(text: str, native: str) -> Seal | None:
    """Read the seal in a ``signature`` or ``encrypted_content`` field of a dialect whose own family is ``native``."""
    if not text:
        return None
    if text.startswith(_PACK):
        family, _, data = text[len(_PACK) :].partition(".")
        return Seal(family, data)
    return Seal(native, text)


class CacheMark(Struct, frozen=True, gc=False):
    """A prompt-cache breakpoint after a block (Anthropic ``cache_control``). ``ttl`` "" means the vendor's default
    (5m)."""

    ttl: str = ""


class Base64(Struct, frozen=True, gc=False):
    """Inline bytes, still in base64 as they came."""

    media_type: str
    data: str


class Url(Struct, frozen=True, gc=False):
    url: str
    media_type: str = ""


class FileId(Struct, frozen=True, gc=False):
    """A file kept by a vendor's Files API: of use to ``family`` only."""

    family: str
    id: str


class PlainText(Struct, frozen=True, gc=False):
    """A document given as text."""

    text: str


Source = Base64 | Url | FileId | PlainText


class Citation(Struct, frozen=True, gc=False):
    """Where a piece of text came from. ``start``/``end`` are character offsets in the text block, -1 when unknown.

    ``opaque`` is the vendor's own form, given back to the same dialect. A citation crosses dialects only by ``url``.
    """

    url: str = ""
    title: str = ""
    quote: str = ""
    start: int = -1
    end: int = -1
    opaque: Opaque | None = None


class Text(Struct, frozen=True):
    text: str
    cache: CacheMark | None = None
    citations: tuple[Citation, ...] = ()


class Refusal(Struct, frozen=True, gc=False):
    """The model declined, in its own words (OpenAI ``refusal``)."""

    text: str


class Thinking(Struct, frozen=True, gc=False):
    """Reasoning. ``redacted``: only the seal may be kept (Anthropic ``redacted_thinking``). ``summary``: the vendor's
    summary of it rather than the thought itself (OpenAI Responses ``summary``). ``id``: the vendor's item id, if
    any."""

    text: str
    seal: Seal | None = None
    redacted: bool = False
    summary: bool = False
    id: str = ""


class Image(Struct, frozen=True, gc=False):
    source: Source
    detail: str = ""
    cache: CacheMark | None = None


class Document(Struct, frozen=True, gc=False):
    """A PDF, a text file or any other file. ``name`` is the file name or title, ``context`` Anthropic's side note."""

    source: Source
    name: str = ""
    context: str = ""
    citations: bool | None = None
    cache: CacheMark | None = None


class Audio(Struct, frozen=True, gc=False):
    """Audio in. ``format`` is "wav", "mp3", ..."""

    data: str
    format: str


class ToolUse(Struct, frozen=True, gc=False):
    """A call the model asks for. ``args`` is the raw JSON text of the arguments ("" while none came); for
    ``kind="custom"`` it is free text. ``seal``: a thought signature bound to the call (Gemini)."""

    id: str
    name: str
    args: str
    kind: str = "function"
    cache: CacheMark | None = None
    seal: Seal | None = None


class ToolResult(Struct, frozen=True):
    """What a call returned: stands in a ``user`` message. ``content`` holds Text, Image, Document or Opaque."""

    id: str
    content: tuple[Block, ...] = ()
    is_error: bool = False
    kind: str = "function"
    cache: CacheMark | None = None


Marked = Text | Image | Document | ToolUse | ToolResult
"""The blocks that a ``cache`` breakpoint can stand behind."""
Block = Text | Refusal | Thinking | Image | Document | Audio | ToolUse | ToolResult | Opaque


class Message(Struct, frozen=True):
    """One turn. Tool results are blocks of a ``user`` turn; system prompts are turns too, in the place they stood."""

    role: Role
    blocks: tuple[Block, ...]
    name: str = ""


class Tool(Struct, frozen=True, gc=False):
    """A function the model may call. ``schema`` is raw JSON text (b"" = no parameters). Any other tool (custom,
    namespace, web_search, a vendor's server tool) has ``kind`` = its type and ``opaque`` = all of it."""

    name: str
    description: str = ""
    schema: bytes = b""
    strict: bool | None = None
    kind: str = "function"
    cache: CacheMark | None = None
    opaque: Opaque | None = None


class ToolChoice(Struct, frozen=True, gc=False):
    """Which tools the model may or must call. ``mode``: auto | none | required (some tool) | named (``names[0]``) |
    allowed (``names``, with ``required``)."""

    mode: str
    names: tuple[str, ...] = ()
    required: bool = False


class Reasoning(Struct, frozen=True, gc=False):
    """How hard to think. ``effort``: none|minimal|low|medium|high|xhigh|max; ``budget``: tokens; ``mode``:
    ""|enabled|adaptive|disabled; ``summary``: auto|concise|detailed; ``display``: Anthropic's summarized|omitted."""

    effort: str = ""
    budget: int | None = None
    mode: str = ""
    summary: str = ""
    display: str = ""


class OutputFormat(Struct, frozen=True, gc=False):
    """Structured output. ``kind``: json_object | json_schema | text, and the constraints of engines: choice | regex |
    grammar | structural_tag. ``schema`` is raw JSON text (of a structural_tag: the tag itself), ``choices`` the texts
    of which one is the answer, ``source`` a regular expression (it matches the whole answer) or a grammar. ``options``:
    vLLM's further settings, a raw JSON object."""

    kind: str
    name: str = ""
    schema: bytes = b""
    strict: bool | None = None
    description: str = ""
    choices: tuple[str, ...] = ()
    source: str = ""
    options: bytes = b""


class Request(Struct, frozen=True, kw_only=True):
    """A chat request. Absent means None/empty: a default is never invented on the way in."""

    model: str
    messages: tuple[Message, ...]
    dialect: str = ""  # who parsed it: the owner of ``extra``
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: bytes = b""  # raw JSON object
    reasoning: Reasoning | None = None
    output: OutputFormat | None = None
    verbosity: str = ""
    user: str = ""
    metadata: bytes = b""  # raw JSON object
    service_tier: str = ""
    store: bool | None = None
    cache_key: str = ""  # prompt_cache_key
    previous_id: str = ""  # previous_response_id
    include: tuple[str, ...] = ()
    stream: bool = False
    stream_usage: bool | None = None  # the client asked for usage in the stream
    extra: tuple[Opaque, ...] = ()  # top-level fields nobody here knows; ``kind`` is the key
