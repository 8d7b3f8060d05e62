"""A check of schemathesis: who brings no key gets a 401 wherever the document asks for one. Runs in its environment."""

from __future__ import annotations

import schemathesis


@schemathesis.check
def refused_without_key(ctx, response, case):
    wants_key = bool(case.operation.definition.raw.get("security"))
    if wants_key and response.status_code != 401:
        raise AssertionError(f"{case.method} {case.path} was answered with {response.status_code}, and not with 401")
