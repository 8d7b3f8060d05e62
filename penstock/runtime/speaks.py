"""Which dialects an engine of the user's really speaks: asked once, remembered, forgotten when it turns out wrong.

vLLM, SGLang, llama.cpp, LM Studio and Ollama learned Messages and Responses at some version. An empty JSON object is
sent to the path: 404, 405 or 501 mean that nothing is there (as does a 200: LM Studio answers paths it does not know
with one, and nobody answers an empty request), 429 and 502 to 504 that it is too early to tell (llama.cpp while it
loads its model), any other answer that something read it. No model runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.runtime.http import Timeouts, TransportError

if TYPE_CHECKING:
    from penstock.runtime.http import Pool
    from penstock.runtime.live import Live
    from penstock.runtime.targets import Target

ABSENT = frozenset({404, 405, 501})
_LATER = frozenset({429, 502, 503, 504})
_PATIENCE = Timeouts(connect=2.0, first_byte=5.0, stall=5.0, total=5.0, pool=2.0)


async def discover_dialects(pool: Pool, target: Target, live: Live) -> None:
    """Add to ``live.dialects`` what a target turns out to speak. One that does not answer is asked again later."""
    for dialect in target.provider.may_speak:
        if dialect in live.speaks(target) or dialect in live.asked:
            continue
        try:
            endpoint = target.endpoint(dialect)
            answer = await pool.send(endpoint.origin, endpoint.head, b"{}", _PATIENCE, tls=target.tls)
        except (TransportError, GatewayError):
            return
        answer.close()
        if answer.status in _LATER:
            return
        live.asked.add(dialect)
        if answer.status not in ABSENT and answer.status >= 300:
            live.dialects = (*live.dialects, dialect)


def forget_dialect(live: Live, dialect: str, status: int) -> bool:
    """Forget a dialect that was discovered, after a refusal that says that it is not spoken after all; tell whether it
    was. It is not used until it is discovered again (a 404 may also mean that the engine has another model now)."""
    if status in ABSENT and dialect in live.asked and dialect in live.dialects:
        live.asked.discard(dialect)
        live.dialects = tuple(name for name in live.dialects if name != dialect)
        return True
    return False
