"""``/spend/sessions``: the requests of each session together, as a coding agent makes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from penstock.admin.forms import number_of, page
from penstock.admin.spend_asked import Asking, answered
from penstock.admin.spend_logs import check_work, times_of
from penstock.core.admit import amount
from penstock.core.admit.periods import text_of
from penstock.runtime.route import Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call

LAST = 7 * 86_400.0  # seconds, where no dates are named


async def sessions(gateway: Any, call: Call) -> Page:
    """List sessions with what their requests used and cost, the one that was heard of last first."""
    asking = Asking(gateway, call)
    number, size = number_of(asking.query, "page", 1, 1, 1000), number_of(asking.query, "page_size", 50, 1, 200)
    since, until = times_of(asking)
    since = time.time() - LAST if since is None else since
    whose = asking.named()
    await check_work(asking, whose, since, until)
    found = await answered(asking.store.sessions(whose, since, until, (number - 1) * size, size + 1))
    told = [
        {
            "session_id": one.id, "startTime": text_of(one.began), "endTime": text_of(one.ended),
            "duration_s": round(one.ended - one.began, 3), "requests": one.requests, "failed": one.failed,
            "spend": amount.dollars(one.cost), "prompt_tokens": one.input, "completion_tokens": one.output,
            "models": one.models,
        }
        for one in found[:size]
    ]  # fmt: skip
    return page({"sessions": told, "page": number, "page_size": size, "more": len(found) > size})


ROUTES = (Route("/spend/sessions", sessions),)
