"""Google's ``generateContent`` as a dialect: the Gemini API and Vertex AI, whole and streamed, and ``:countTokens``.

The parts are in ``request_in``, ``request_out`` (with ``turns``, ``parts_out``,
``thinking`` and ``schema``), ``answer``, ``stream_in``, ``stream_out``, ``errors``, ``count`` and ``texts``;
``parts_in`` explains how fields that the neutral form lacks are kept and where signatures go.
"""

from __future__ import annotations

from msgspec import Raw

from penstock.core.dialects.base import Dialect
from penstock.core.dialects.gemini.answer import parse_response, render_response
from penstock.core.dialects.gemini.count import count_request, parse_count, parse_count_request, render_count
from penstock.core.dialects.gemini.errors import parse_error, render_error
from penstock.core.dialects.gemini.request_in import parse_request
from penstock.core.dialects.gemini.request_out import forced, render_request
from penstock.core.dialects.gemini.stream_in import decoder
from penstock.core.dialects.gemini.stream_out import encoder
from penstock.core.dialects.gemini.texts import texts
from penstock.core.dialects.gemini.wire import FAMILY, NAME

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
    stream_endpoint="gemini_stream",
    sample={"contents": Raw(b'[{"role":"user","parts":[{"text":"x"}]}]')},
    forced=forced,
    comments=False,  # Google's own clients take one for the beginning of an error
    parse_count_request=parse_count_request,
    parse_count=parse_count,
    render_count=render_count,
    count_request=count_request,
)

__all__ = ["DIALECT"]
