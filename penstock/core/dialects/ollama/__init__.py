"""Ollama's own API: /api/chat, and beside it (``generate``) /api/generate.

The reference: docs.ollama.com/api and ollama/ollama ``api/types.go``, ``server/routes.go``; its Python client 0.6.
"""

from __future__ import annotations

from msgspec import Raw

from penstock.core.dialects.base import Dialect
from penstock.core.dialects.ollama.answer import parse_response, render_response
from penstock.core.dialects.ollama.errors import parse_error, render_error
from penstock.core.dialects.ollama.lines import STREAM_TYPE
from penstock.core.dialects.ollama.lines import Lines as framer
from penstock.core.dialects.ollama.names import FAMILY, NAME
from penstock.core.dialects.ollama.request_in import parse_request
from penstock.core.dialects.ollama.request_out import render_request
from penstock.core.dialects.ollama.stream_in import Decoder as decoder
from penstock.core.dialects.ollama.stream_out import Encoder as encoder
from penstock.core.dialects.ollama.texts import texts

DIALECT = Dialect(
    name=NAME,
    family=FAMILY,
    parse_request=parse_request,
    render_request=render_request,
    parse_response=parse_response,
    render_response=render_response,
    decoder=decoder,
    encoder=encoder,
    parse_error=parse_error,
    render_error=render_error,
    texts=texts,
    framer=framer,
    stream_type=STREAM_TYPE,
    comments=False,
    sample={"messages": Raw(b'[{"role":"user","content":"x"}]')},
)

__all__ = ["DIALECT"]
