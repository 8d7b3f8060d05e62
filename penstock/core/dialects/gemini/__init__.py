"""Google's ``generateContent`` as a dialect: the Gemini API and Vertex AI, whole and streamed, and ``:countTokens``.

The names of ``base.Dialect``; the parts are in ``request_in``, ``request_out`` (with ``turns``, ``parts_out``,
``thinking`` and ``schema``), ``answer``, ``stream_in``, ``stream_out``, ``errors``, ``count`` and ``texts``;
``parts_in`` explains how fields that the neutral form lacks are kept and where signatures go.
"""

from __future__ import annotations

from penstock.core.dialects.gemini.answer import parse_response, render_response
from penstock.core.dialects.gemini.count import count_request, parse_count, parse_count_request, render_count
from penstock.core.dialects.gemini.errors import parse_error, render_error
from penstock.core.dialects.gemini.request_in import parse_request
from penstock.core.dialects.gemini.request_out import adopt, forced, render_request
from penstock.core.dialects.gemini.stream_in import decoder
from penstock.core.dialects.gemini.stream_out import encoder
from penstock.core.dialects.gemini.texts import texts
from penstock.core.dialects.gemini.wire import FAMILY as family
from penstock.core.dialects.gemini.wire import NAME as name

stream_endpoint = "gemini_stream"

__all__ = [
    "adopt",
    "count_request",
    "decoder",
    "encoder",
    "family",
    "forced",
    "name",
    "parse_count",
    "parse_count_request",
    "parse_error",
    "parse_request",
    "parse_response",
    "render_count",
    "render_error",
    "render_request",
    "render_response",
    "stream_endpoint",
    "texts",
]
