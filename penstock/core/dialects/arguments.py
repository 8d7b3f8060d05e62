"""A call's arguments as the object that an API wants."""

from __future__ import annotations

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode

_OBJECT = Decoder(dict[str, Raw]).decode
_EMPTY = Raw(b"{}")


def object_of(args: str) -> tuple[Raw, bool]:
    """Return the arguments as an object, and whether they were one.

    They are checked and never pasted: text that is not one whole JSON object could add fields to the body. Anything
    else a model wrote is carried as ``{"arguments": "<text>"}``."""
    if args in ("", "{}"):
        return _EMPTY, True
    try:
        _OBJECT(args)
        return Raw(args.strip().encode()), True
    except (msgspec.DecodeError, RecursionError):
        return (_EMPTY, True) if args.strip() in ("", "null") else (Raw(encode({"arguments": args})), False)
