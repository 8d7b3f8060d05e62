"""Whether an answer that nobody checked has the form that was asked for: one that has not is not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from penstock.runtime import schema_check
from penstock.runtime.answer_check import texts_of
from penstock.runtime.schema_check import Bad, Check, Slow

if TYPE_CHECKING:
    from penstock.core.ir import Request, Response


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


async def has_form(check: Check, response: Response) -> bool:
    """Tell whether every text of an answer passes a check."""
    for text in texts_of(response):
        try:
            if await schema_check.run(check, text) is not None:
                return False
        except (Bad, Slow):
            return False
    return True
