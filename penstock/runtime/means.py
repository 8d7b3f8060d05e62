"""What calls work with: the engine's, lent to each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from penstock.runtime.held import Held
    from penstock.runtime.http import Pool
    from penstock.runtime.live import Lives
    from penstock.runtime.trace import Trace  # circle: it reads calls, which have means
    from penstock.stores.base import Store
    from penstock.stores.shared import Shared


class Means(NamedTuple):
    """What calls share. ``pool``: connections to upstreams. ``store``: what is kept between requests. ``lives``: what
    is known of deployments. ``clock``: seconds, as the event loop counts them. ``beside``: tasks that outlive the
    request they came from, held here for as long as they run. ``held``: what all requests hold in memory. ``trace``:
    says what happens to each; None where nobody asked. ``shared``: what processes share; None where there is nothing
    to share it through."""

    pool: Pool
    store: Store
    lives: Lives
    clock: Callable[[], float]
    beside: set[asyncio.Task[None]]
    held: Held
    trace: Trace | None = None
    shared: Shared | None = None
