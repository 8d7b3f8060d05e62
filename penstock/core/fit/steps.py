"""The steps of the fit, in their order."""

from __future__ import annotations

from penstock.core.fit.base import Fitted, Step, Takes, Undo
from penstock.core.fit.client_tools import fit_client_tools
from penstock.core.fit.compaction import fit_compaction
from penstock.core.fit.forms import fit_forms
from penstock.core.fit.names import fit_names
from penstock.core.fit.natives import fit_natives
from penstock.core.fit.order import fit_order
from penstock.core.fit.search import fit_search
from penstock.core.fit.words import fit_words
from penstock.core.ir import Loss, Request

# Forms of tools go before names: what they make has a name, too.
STEPS: tuple[Step, ...] = (
    fit_natives,
    fit_forms,
    fit_client_tools,
    fit_search,
    fit_compaction,
    fit_words,
    fit_order,
    fit_names,
)


def fit(request: Request, takes: Takes) -> Fitted:
    """Fit a request to what its target takes. Raises ``GatewayError`` for what can neither be carried nor left out."""
    losses: list[Loss] = []
    undo: list[Undo] = []
    for step in STEPS:
        request, back = step(request, takes, losses)
        if back is not None:
            undo.append(back)
    return Fitted(request, tuple(losses), tuple(undo))
