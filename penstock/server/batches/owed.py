"""What a provider's batch has used: paid once, by whoever made it, at the price of batches.

It is known when the batch has ended: where its description tells it (OpenAI), from that, else from its results
(Anthropic), which are read through and kept nowhere. Whoever looks first at a batch that has ended has it paid; the
change of what is kept of it, which one of all processes wins, says who that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.core.admit.caller import Caller
from penstock.core.batches.kept import ANTHROPIC, COMPLETED, ENDED, KeptBatch
from penstock.core.batches.used import ResultsMeter, used_of_batch
from penstock.core.providers.pass_through import provider_at
from penstock.runtime.call import Call
from penstock.runtime.credential import credential_for
from penstock.runtime.exchange import CollectedExchange
from penstock.runtime.pass_through import PassThrough
from penstock.server.batches.common import stored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from penstock.core.ir import Usage
    from penstock.server.gateway import Gateway

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ReadExchange(CollectedExchange):
    """An exchange whose answer is read as it comes, and not kept."""

    __slots__ = ("meter",)

    def __init__(self, path: str, headers: Mapping[bytes, bytes], client: str, started: float) -> None:
        super().__init__("GET", path, headers, client=client, started=started)
        self.meter = ResultsMeter()

    def write(self, data: bytes) -> None:
        self.bytes_out += len(data)
        if self.status == 200:
            self.meter.feed(data)


def is_over(told: Mapping[str, Any]) -> bool:
    """Tell whether a batch that is described so has ended."""
    return told.get("status") in ENDED or told.get("processing_status") == "ended"


async def pay_once(gateway: Gateway, asker: Caller, kept: KeptBatch, shown: bytes, told: dict[str, Any],
                   read: Callable[[str], Awaitable[ResultsMeter | None]]) -> None:  # fmt: skip
    """Charge the maker of a batch that has ended, unless that was done. ``shown``: its description as it
    came, ``told`` the same. ``read``: reads results at a path of its provider; None where they cannot be read, and it
    is paid by who comes next. Raises "no_database"."""
    used = used_of_batch(shown)
    if not used and (path := _results_at(kept, told)):
        meter = await read(path)
        if meter is None:
            return
        used = meter.used
    store = gateway.batches.store
    found: KeptBatch | None = kept
    while found is not None and not found.finished:
        if await stored(store.change(found.changed(shown=shown.decode(), status=COMPLETED))):
            owner = _payer(gateway, asker, found)
            for model, usage in used.items():
                _charge(gateway, owner, found, model, usage)
            return
        found = await stored(store.batch(found.id))


def _results_at(kept: KeptBatch, told: Mapping[str, Any]) -> str:
    """Return where the provider has the results of a batch, "" where it has none."""
    if kept.form == ANTHROPIC:
        return f"/v1/messages/batches/{kept.id}/results" if told.get("results_url") else ""
    file = told.get("output_file_id")
    return f"/v1/files/{file}/content" if isinstance(file, str) and _ID.fullmatch(file) else ""


def _payer(gateway: Gateway, asker: Caller, kept: KeptBatch) -> Caller:
    """Return who pays for a batch: its maker, as he is now; where he is gone, nobody but the books, under his name."""
    if asker.tenant == kept.owner:
        return asker
    return gateway.batches.find_owner(kept.owner) or Caller(kept.owner, False, tenant=kept.owner)


def _charge(gateway: Gateway, owner: Caller, kept: KeptBatch, model: str, usage: Usage) -> None:
    """Record what a batch has used of a model, as a request of its owner's."""
    state, path = gateway.state, "batches" if kept.form != ANTHROPIC else "messages/batches"
    exchange = CollectedExchange(
        "GET", f"/{kept.provider}/v1/{path}/{kept.id}", client=kept.client, started=gateway.clock()
    )
    provider = provider_at(exchange.path)
    call = Call(exchange, gateway.engine.means, owner)
    call.known, call.batched = state, True
    if provider is not None:
        PassThrough.owed(call, kept.provider, model, credential_for(state, provider, model), usage)
    if gateway.engine.admission is not None:
        gateway.engine.admission.admit_owed(call)
    call.outlet.page(call, 200, b"application/json", b"{}")
    gateway.engine.record(call, None)
    gateway.end(exchange)
