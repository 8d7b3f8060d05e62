"""From an answer as it went out to an entry that may be given: whole, complete, and in the form that was asked for.

It is looked at when somebody asks for it, or before it leaves this process. Most answers are never asked for again.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import View
from penstock.core.errors import GatewayError
from penstock.core.kept import Entry, is_complete
from penstock.runtime import schema_check
from penstock.runtime.answer_check import texts_of
from penstock.runtime.apart import is_long
from penstock.runtime.aside import in_thread
from penstock.runtime.cross import collect_stream
from penstock.runtime.http import in_task
from penstock.runtime.ids import mint
from penstock.runtime.schema_check import Bad, Check, Slow

if TYPE_CHECKING:
    from penstock.core.ir import Request, Response

log = logging.getLogger("penstock")


async def ripen(entry: Entry, request: Request | None) -> Entry | None:
    """Make an entry that may be given of one that nobody has looked at; None where it may not. ``request``: what it
    answers, where that can be read."""
    if not entry.raw:
        return entry
    try:
        if is_long(entry.body):
            response, body = await in_thread(partial(_read, entry, request))
        else:
            response, body = _read(entry, request)
    except (GatewayError, sse.TooLong) as error:  # the client had it as it was; nobody else is to
        log.debug("An answer is not kept: %s", error)
        return None
    if not is_complete(response):
        return None
    check = None if request is None or entry.checked else check_of(request)
    if check is not None and not await _has_form(check, response):
        return None
    return replace(entry, body=body, raw=False, streamed=False)


def _read(entry: Entry, request: Request | None) -> tuple[Response, bytes]:
    """Read an answer; a streamed one is written whole. Raises "broken_answer", "broken_stream", ``sse.TooLong``."""
    dialect = DIALECTS[entry.dialect]
    if not entry.streamed:
        return dialect.parse_response(entry.body), entry.body
    response = collect_stream(entry.body, dialect)
    if response.usage is None:  # a client that streams and does not ask for it is not told; the next one may be
        response = replace(response, usage=entry.usage)
    view = View(model=entry.model, request=request, now=response.created or int(time.time()), mint=mint)
    return response, dialect.render_response(response, view).body


# The form that was asked for ------------------------------------------------------------------------------------------


def check_of(request: Request) -> Check | None:
    """Make the check for the form that a request asks for; None where there is nothing to check. Without the library
    that knows schemas an answer to one is known to be an object at least."""
    output = request.output
    if output is None or output.kind not in ("json_schema", "json_object", "choice", "regex"):
        return None
    if output.kind == "choice":
        return Check("choice", msgspec.json.encode(output.choices))
    missing = output.kind in ("json_schema", "regex") and schema_check.missing() is not None
    if output.kind == "regex":
        return None if missing else Check("regex", output.source.encode())
    if output.kind == "json_object" or missing or not output.schema:
        return Check("json_object", b"")
    return Check("json_schema", output.schema)


async def _has_form(check: Check, response: Response) -> bool:
    """Tell whether every text of an answer passes a check."""
    await in_task()  # checks wait for processes
    for text in texts_of(response):
        try:
            if await schema_check.run(check, text) is not None:
                return False
        except (Bad, Slow):
            return False
    return True
