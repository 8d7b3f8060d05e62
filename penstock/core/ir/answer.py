"""Values of an answer, whole and streamed, and what was lost on the way."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from penstock.core.ir.request import Block, Citation, Opaque, Reason, Seal


class Usage(Struct, frozen=True, gc=False):
    """Tokens, disjoint: all input = fresh + cache_read + cache_write + cache_write_1h; all output = output.

    ``reasoning`` and ``audio_out`` are parts of output, ``audio_in`` a part of fresh. ``estimated``: counted here
    because the upstream told nothing. ``tier``: the service tier that answered, where it has a price of its own (flex,
    priority, ...); set where a call is settled, and by a dialect only whose streams tell it last (Bedrock).
    ``billed``: (input, output) tokens that the vendor bills, where these are not the counted ones (Cohere): a price
    multiplies them instead."""

    fresh: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    estimated: bool = False
    tier: str = ""
    billed: tuple[int, int] | None = None

    @property
    def input(self) -> int:
        return self.fresh + self.cache_read + self.cache_write + self.cache_write_1h

    @property
    def total(self) -> int:
        return self.input + self.output


def added(usage: Usage | None, more: Usage) -> Usage:
    """Add the tokens of two calls; estimated when one of them is, the tier that of ``usage``."""
    if usage is None:
        return more
    sums = {name: getattr(usage, name) + getattr(more, name) for name in _COUNTERS}
    billed = None
    if usage.billed is not None or more.billed is not None:
        one, two = (each.billed or (each.input, each.output) for each in (usage, more))
        billed = (one[0] + two[0], one[1] + two[1])
    return replace(usage, estimated=usage.estimated or more.estimated, billed=billed, **sums)


_COUNTERS = tuple(name for name in Usage.__struct_fields__ if name not in ("estimated", "tier", "billed"))


class Choice(Struct, frozen=True):
    """One answer. ``stop_sequence``: the text that ended it, when the vendor tells. ``logprobs``: raw OpenAI JSON."""

    blocks: tuple[Block, ...]
    finish: Reason = "stop"
    stop_sequence: str = ""
    logprobs: bytes = b""


class Response(Struct, frozen=True, kw_only=True):
    """A whole answer. ``created``: unix seconds, 0 = the vendor gave none. ``extra``: unknown top-level fields."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    created: int = 0
    service_tier: str = ""
    extra: tuple[Opaque, ...] = ()


class Loss(Struct, frozen=True, gc=False):
    """Something that could not be carried. ``path`` is dotted, in the neutral form's words
    ("logit_bias", "messages.2.content.0.cache_control"); ``why`` is a short clause."""

    path: str
    why: str


# Events: a streamed answer is Start, then per block Open, Delta*, Close, then Stop per choice, then End.
# ---------------


class Start(Struct, frozen=True, gc=False):
    """The first event, and what it tells of the answer. ``usage``: what is known of the input at the start (Anthropic
    tells it), else None."""

    id: str
    model: str
    created: int = 0
    usage: Usage | None = None
    service_tier: str = ""


class Open(Struct, frozen=True, gc=False):
    """A block begins. ``index`` counts blocks over the whole stream from 0; ``block`` is its empty shell: text, args
    and citations empty, ids and names set, a call's seal where it is known by then. A block that never streams (Opaque,
    Image) comes whole in here."""

    index: int
    block: Block
    choice: int = 0


class Delta(Struct, frozen=True, gc=False):
    """More of block ``index``: text (of a Text, Refusal or Thinking), argument text (of a ToolUse), a seal, a
    citation."""

    index: int
    text: str = ""
    seal: Seal | None = None
    citation: Citation | None = None


class Logprobs(Struct, frozen=True, gc=False):
    """Raw OpenAI ``logprobs`` JSON of one chunk."""

    raw: bytes
    choice: int = 0


class Close(Struct, frozen=True, gc=False):
    index: int


class Stop(Struct, frozen=True, gc=False):
    """Why a choice ended."""

    reason: Reason
    sequence: str = ""
    choice: int = 0


class Other(Struct, frozen=True, gc=False):
    """An event only its own dialect understands: ``opaque.kind`` is the event's name."""

    opaque: Opaque


class End(Struct, frozen=True, gc=False):
    """The last event, exactly once, only after a complete answer. ``usage`` None: the upstream told nothing."""

    usage: Usage | None = None


Event = Start | Open | Delta | Logprobs | Close | Stop | Other | End
