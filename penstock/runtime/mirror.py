"""Copies of requests: a deployment's ``silent_model`` is asked the same, its answer is thrown away, and what it cost is
written down.

So a model is tried with real traffic before anybody depends on it. Nobody waits for a copy, and none fails a request:
where too many are under way, no more are made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import msgspec

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.runtime.call import Call
from penstock.runtime.exchange import CollectedExchange

if TYPE_CHECKING:
    from penstock.core.route.plan import Plan
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.means import Means
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target

log = logging.getLogger("penstock")
MOST = 100
"""Copies under way."""
_LEFT_OUT = frozenset("stream stream_options fallbacks context_window_fallbacks content_policy_fallbacks".split())
_NO_HEADERS = frozenset((b"authorization", b"x-api-key", b"content-length", b"content-encoding", b"x-request-id"))
_MARK = "is_silent_experiment"  # LiteLLM's word for it in the metadata of spend logs
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
_TRUE = msgspec.Raw(b"true")
Handle = Callable[[Call, "State", "Plan[Target]"], Awaitable[None]]


class CopiedExchange(CollectedExchange):
    """The exchange of a copy: what comes is counted, and not kept."""

    __slots__ = ()
    copied = True

    def write(self, data: bytes) -> None:
        self.bytes_out += len(data)


class Mirror:
    """Makes the copies of one process. ``handle``: answers a call, as the engine does."""

    def __init__(self, handle: Handle, means: Callable[[], Means]) -> None:
        self._handle = handle
        self._means = means
        self._under_way = 0
        self._told = ""

    def copy(self, attempt: Attempt) -> None:
        """Ask the silent model of a try's deployment what the try asks, beside it."""
        call, model = attempt.call, attempt.target.silent_model
        surface, state = call.surface, cast("State", call.known)
        if attempt.number != 1 or call.exchange.copied or surface is None or surface.read is not None:
            return
        if self._under_way >= MOST:
            self._tell(f"{MOST} copies for silent models are under way: no more are made until one is over")
            return
        try:
            plan = state.plan(model)
        except GatewayError as error:
            self._tell(f"The silent model {model!r:.120} of {attempt.target.label} cannot be asked: {error.message}")
            return
        self._under_way += 1
        beside = self._means().beside
        task = asyncio.get_running_loop().create_task(self._ask(call, model, state, plan))
        beside.add(task)
        task.add_done_callback(beside.discard)

    async def _ask(self, call: Call, model: str, state: State, plan: Plan[Target]) -> None:
        means = self._means()
        exchange = CopiedExchange(
            "POST",
            call.exchange.path,
            {name: value for name, value in call.exchange.headers.items() if name not in _NO_HEADERS},
            _body(call, model),
            client=call.exchange.client,
            started=means.clock(),
        )
        exchange.hushed = True
        copied = Call(exchange, means, call.caller, call.surface)
        copied.path, copied.params = call.path, call.params
        try:
            await self._handle(copied, state, plan)
        except Exception:  # boundary: a bug of ours in a copy is nobody's error
            log.exception("A copy for a silent model ended through a fault of the gateway (call %s)", copied.call_id)
        finally:
            self._under_way -= 1
            means.held.free(exchange)

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            log.warning("%s", text)


def _body(call: Call, model: str) -> bytes:
    """Write the body of a copy: whole, as nobody reads it while it comes, and marked for whoever reads the log."""
    fields: dict[str, msgspec.Raw] = {name: raw for name, raw in call.fields.items() if name not in _LEFT_OUT}
    fields["model"] = msgspec.Raw(_ENCODE(model))
    try:
        said = _OBJECT(fields.get("litellm_metadata") or fields.get("metadata") or b"{}")
    except BAD_JSON:
        said = {}
    fields["litellm_metadata"] = msgspec.Raw(_ENCODE({**said, _MARK: _TRUE}))
    return _ENCODE(fields)
