"""Anthropic's Messages API as a dialect: ``POST /v1/messages`` and ``/v1/messages/count_tokens``.

The parts are in ``request_in``, ``request_out`` (with ``turns`` and ``blocks_out``), ``answer``, ``stream_in``,
``stream_out``, ``errors``, ``count`` and ``texts``; ``blocks_in`` explains how fields that the neutral form lacks are
kept.
"""

from __future__ import annotations

from msgspec import Raw

from penstock.core.dialects.anthropic.answer import parse_response, render_response
from penstock.core.dialects.anthropic.count import count_fields, parse_count, parse_count_request, render_count
from penstock.core.dialects.anthropic.errors import parse_error, render_error
from penstock.core.dialects.anthropic.request_in import parse_request
from penstock.core.dialects.anthropic.request_out import render_request
from penstock.core.dialects.anthropic.stream_in import decoder
from penstock.core.dialects.anthropic.stream_out import encoder
from penstock.core.dialects.anthropic.texts import texts
from penstock.core.dialects.anthropic.wire import FAMILY, NAME
from penstock.core.dialects.base import Dialect

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
    caches=True,
    sample={"messages": Raw(b'[{"role":"user","content":"x"}]')},
    parse_count_request=parse_count_request,
    parse_count=parse_count,
    render_count=render_count,
    count_fields=count_fields,
)

__all__ = ["DIALECT"]
