"""Anthropic's Messages API as a dialect: ``POST /v1/messages`` and ``/v1/messages/count_tokens``.

The names of ``base.Dialect``; the parts are in ``request_in``, ``request_out`` (with ``turns`` and ``blocks_out``),
``answer``, ``stream_in``, ``stream_out``, ``errors``, ``count`` and ``texts``; ``blocks_in`` explains how fields that
the neutral form lacks are kept.
"""

from __future__ import annotations

from penstock.core.dialects.anthropic.answer import parse_response, render_response
from penstock.core.dialects.anthropic.count import count_fields, parse_count, parse_count_request, render_count
from penstock.core.dialects.anthropic.errors import parse_error, render_error
from penstock.core.dialects.anthropic.request_in import parse_request
from penstock.core.dialects.anthropic.request_out import render_request
from penstock.core.dialects.anthropic.stream_in import decoder
from penstock.core.dialects.anthropic.stream_out import encoder
from penstock.core.dialects.anthropic.texts import texts
from penstock.core.dialects.anthropic.wire import FAMILY as family
from penstock.core.dialects.anthropic.wire import NAME as name

__all__ = [
    "count_fields",
    "decoder",
    "encoder",
    "family",
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
    "texts",
]
