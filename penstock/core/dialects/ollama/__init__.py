"""Ollama's own API: /api/chat, and beside it (``generate``) /api/generate.

The reference: docs.ollama.com/api and ollama/ollama ``api/types.go``, ``server/routes.go``; its Python client 0.6.
"""

from __future__ import annotations

from penstock.core.dialects.base import View
from penstock.core.dialects.ollama.answer import parse_response, render_response
from penstock.core.dialects.ollama.errors import parse_error, render_error
from penstock.core.dialects.ollama.lines import Lines
from penstock.core.dialects.ollama.names import NAME
from penstock.core.dialects.ollama.request_in import parse_request
from penstock.core.dialects.ollama.request_out import adopt, render_request
from penstock.core.dialects.ollama.stream_in import Decoder
from penstock.core.dialects.ollama.stream_out import Encoder
from penstock.core.dialects.ollama.texts import texts

name = NAME
family = "ollama"
stream_type = b"application/x-ndjson"


def framer() -> Lines:
    """One JSON object a line."""
    return Lines()


def decoder() -> Decoder:
    """A decoder for one stream of an upstream."""
    return Decoder()


def encoder(view: View) -> Encoder:
    """An encoder for one stream to a client."""
    return Encoder(view)


__all__ = [
    "adopt",
    "decoder",
    "encoder",
    "family",
    "framer",
    "name",
    "parse_error",
    "parse_request",
    "parse_response",
    "render_error",
    "render_request",
    "render_response",
    "stream_type",
    "texts",
]
