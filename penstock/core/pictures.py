"""Pictures as programs give them -> the address that stands in a message: a URL, or a data URI."""

from __future__ import annotations

import base64

_JPEG = "/9j/"  # how the base64 of every JPEG begins
# How a picture's bytes begin -> its media type. WebP has its size between the two words.
_BEGINS = ((b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))


def address_of_text(given: str) -> str:
    """Return the address of a picture: a URL or a data URI as it is, bare base64 of a PNG or JPEG as a data URI."""
    if "://" in given or given.startswith("data:"):
        return given
    return f"data:image/{'jpeg' if given.startswith(_JPEG) else 'png'};base64,{given}"


def address_of_bytes(given: bytes) -> str:
    """Return a data URI of a picture's bytes: PNG, JPEG, GIF or WebP, told by how they begin."""
    kind = next((kind for begins, kind in _BEGINS if given.startswith(begins)), "png")
    return f"data:image/{kind};base64,{base64.b64encode(given).decode()}"
