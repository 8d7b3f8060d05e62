"""The neutral form: what a request, an answer and a streamed step mean, in no vendor's words.

Values only. No I/O, no clock, no ids minted here. Everything is a frozen ``msgspec.Struct`` (cheap to make: a streamed
event costs a fraction of a microsecond), compares by value and never changes after it was made: a second attempt sees
exactly what the first one saw.

Three rules hold everywhere:

* JSON that a model or a user wrote (tool arguments, schemas, unknown fields) is kept as the *text* that came, never
  re-serialised: key order, number spelling and escapes survive.
* What we do not understand is an ``Opaque`` that knows its dialect; it goes back to that dialect untouched and is a
  ``Loss`` everywhere else.
* A ``Seal`` (a signature, encrypted reasoning) belongs to the model family that issued it and is replayed to no other.
"""

from __future__ import annotations

from penstock.core.ir.answer import (
    Choice,
    Close,
    Delta,
    End,
    Event,
    Logprobs,
    Loss,
    Open,
    Other,
    Response,
    Start,
    Stop,
    Usage,
    added,
)
from penstock.core.ir.fold import Collector, canon, collect, explode, join_logprobs, shell
from penstock.core.ir.request import (
    Audio,
    Base64,
    Block,
    CacheMark,
    Citation,
    Document,
    FileId,
    Image,
    Marked,
    Message,
    Opaque,
    OutputFormat,
    PlainText,
    Reason,
    Reasoning,
    Refusal,
    Request,
    Role,
    Seal,
    Source,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Url,
    unpack_seal,
)

__all__ = [
    "Audio",
    "Base64",
    "Block",
    "CacheMark",
    "Choice",
    "Citation",
    "Close",
    "Collector",
    "Delta",
    "Document",
    "End",
    "Event",
    "FileId",
    "Image",
    "Logprobs",
    "Loss",
    "Marked",
    "Message",
    "Opaque",
    "Open",
    "Other",
    "OutputFormat",
    "PlainText",
    "Reason",
    "Reasoning",
    "Refusal",
    "Request",
    "Response",
    "Role",
    "Seal",
    "Source",
    "Start",
    "Stop",
    "Text",
    "Thinking",
    "Tool",
    "ToolChoice",
    "ToolResult",
    "ToolUse",
    "Url",
    "Usage",
    "canon",
    "collect",
    "explode",
    "join_logprobs",
    "shell",
    "added",
    "unpack_seal",
]
