"""OpenAI's Responses API as a dialect: ``POST /v1/responses`` and what hangs on it.

The names of ``base.Dialect``; the parts are in ``request_in`` (with ``items_in``, ``parts``, ``reasoning``),
``request_out`` (with ``items_out``), ``answer``, ``echo``, ``stream_in``, ``stream_out`` (with ``items``), ``errors``
and ``texts``. For the gateway's own keeping of responses: ``stored``. For the same-dialect lane: ``same``.
"""

from __future__ import annotations

from penstock.core.dialects.openai_responses.answer import parse_response, render_response
from penstock.core.dialects.openai_responses.errors import parse_error, render_error
from penstock.core.dialects.openai_responses.names import FAMILY as family
from penstock.core.dialects.openai_responses.names import NAME as name
from penstock.core.dialects.openai_responses.request_in import parse_request
from penstock.core.dialects.openai_responses.request_out import render_request
from penstock.core.dialects.openai_responses.stream_in import decoder
from penstock.core.dialects.openai_responses.stream_out import encoder
from penstock.core.dialects.openai_responses.texts import texts

__all__ = [
    "decoder",
    "encoder",
    "family",
    "name",
    "parse_error",
    "parse_request",
    "parse_response",
    "render_error",
    "render_request",
    "render_response",
    "texts",
]
