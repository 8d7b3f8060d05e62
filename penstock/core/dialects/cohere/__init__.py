"""Cohere's own chat API, ``POST /v2/chat``, whole and streamed.

The names of ``base.Dialect``; the parts are in ``request_in`` (with ``messages_in``), ``request_out`` (with
``messages_out``), ``answer``, ``stream_in``, ``stream_out``, ``citations``, ``usage``, ``logprobs``, ``errors`` and
``texts``. ``names`` says where the field lists come from.
"""

from __future__ import annotations

from penstock.core.dialects.cohere.answer import parse_response, render_response
from penstock.core.dialects.cohere.errors import parse_error, render_error
from penstock.core.dialects.cohere.names import FAMILY as family
from penstock.core.dialects.cohere.names import NAME as name
from penstock.core.dialects.cohere.request_in import parse_request
from penstock.core.dialects.cohere.request_out import adopt, forced, render_request
from penstock.core.dialects.cohere.stream_in import decoder
from penstock.core.dialects.cohere.stream_out import encoder
from penstock.core.dialects.cohere.texts import texts

__all__ = [
    "adopt",
    "decoder",
    "encoder",
    "family",
    "forced",
    "name",
    "parse_error",
    "parse_request",
    "parse_response",
    "render_error",
    "render_request",
    "render_response",
    "texts",
]
