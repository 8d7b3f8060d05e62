"""Cohere's own chat API, ``POST /v2/chat``, whole and streamed.

The parts are in ``request_in`` (with ``messages_in``), ``request_out`` (with
``messages_out``), ``answer``, ``stream_in``, ``stream_out``, ``citations``, ``usage``, ``logprobs``, ``errors`` and
``texts``. ``names`` says where the field lists come from.
"""

from __future__ import annotations

from msgspec import Raw

from penstock.core.dialects.base import Dialect
from penstock.core.dialects.cohere.answer import parse_response, render_response
from penstock.core.dialects.cohere.errors import parse_error, render_error
from penstock.core.dialects.cohere.names import FAMILY, NAME
from penstock.core.dialects.cohere.request_in import parse_request
from penstock.core.dialects.cohere.request_out import forced, render_request
from penstock.core.dialects.cohere.stream_in import decoder
from penstock.core.dialects.cohere.stream_out import encoder
from penstock.core.dialects.cohere.texts import texts

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
    sample={"messages": Raw(b'[{"role":"user","content":"x"}]')},
    forced=forced,
)

__all__ = ["DIALECT"]
