"""OpenAI's Responses API as a dialect: ``POST /v1/responses`` and what hangs on it.

The parts are in ``request_in`` (with ``items_in``, ``parts``, ``reasoning``),
``request_out`` (with ``items_out``), ``answer``, ``echo``, ``stream_in``, ``stream_out`` (with ``items``), ``errors``
and ``texts``. For counts: ``count``; for summaries in the place of a conversation: ``compaction``. For the gateway's
own keeping of responses: ``stored``. For the same-dialect lane: ``same``.
"""

from __future__ import annotations

from msgspec import Raw

from penstock.core.dialects.base import Dialect
from penstock.core.dialects.openai_responses.answer import parse_response, render_response
from penstock.core.dialects.openai_responses.count import (
    count_fields,
    parse_count,
    parse_count_request,
    render_count,
)
from penstock.core.dialects.openai_responses.errors import parse_error, render_error
from penstock.core.dialects.openai_responses.names import FAMILY, NAME
from penstock.core.dialects.openai_responses.request_in import parse_request
from penstock.core.dialects.openai_responses.request_out import render_request
from penstock.core.dialects.openai_responses.resume import resume
from penstock.core.dialects.openai_responses.stream_in import decoder
from penstock.core.dialects.openai_responses.stream_out import encoder
from penstock.core.dialects.openai_responses.texts import texts

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
    parse_count_request=parse_count_request,
    parse_count=parse_count,
    render_count=render_count,
    count_fields=count_fields,
    sample={"input": Raw(b'"x"')},
    resume=resume,
)

__all__ = ["DIALECT"]
