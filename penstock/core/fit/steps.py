"""The steps of the fit, in their order."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.fit.base import Fitted, Step, Takes, Undo
from penstock.core.fit.client_tools import fit_client_tools
from penstock.core.fit.compaction import fit_compaction
from penstock.core.fit.forms import fit_forms
from penstock.core.fit.ids import fit_ids
from penstock.core.fit.labels import fit_labels
from penstock.core.fit.media import fit_media
from penstock.core.fit.names import fit_names
from penstock.core.fit.natives import fit_natives
from penstock.core.fit.order import fit_order
from penstock.core.fit.sampling import fit_sampling
from penstock.core.fit.search import fit_search
from penstock.core.fit.texts import fit_texts, open_by_user
from penstock.core.fit.thinking import fit_thinking
from penstock.core.fit.words import fit_words
from penstock.core.ir import Audio, Document, Image, Loss, Request, ToolResult, ToolUse

# Forms of tools go before names: what they make has a name, too. Texts before thinking, which depends on what is left
# of the last turn; thinking before sampling, which depends on whether there is any.
STEPS: tuple[Step, ...] = (
    fit_natives,
    fit_forms,
    fit_client_tools,
    fit_search,
    fit_compaction,
    fit_words,
    fit_order,
    fit_names,
    fit_ids,
    fit_media,
    fit_texts,
    fit_labels,
    fit_thinking,
    fit_sampling,
)
# Steps that have nothing to do where none of these blocks is: most conversations are texts.
_ABOUT: Mapping[Step, frozenset[type]] = {
    fit_ids: frozenset((ToolUse,)),
    fit_media: frozenset((Image, Document, Audio, ToolResult)),
}


def fit(request: Request, takes: Takes) -> Fitted:
    """Fit a request to what its target takes. Raises ``GatewayError`` for what can neither be carried nor left out."""
    losses: list[Loss] = []
    undo: list[Undo] = []
    kinds: set[type] | None = None
    for step in STEPS:
        if step in _ABOUT:
            if kinds is None:  # now, since forms of tools make calls of what was none
                kinds = {type(block) for message in request.messages for block in message.blocks}
            if kinds.isdisjoint(_ABOUT[step]):
                continue
        request, back = step(request, takes, losses)
        if back is not None:
            undo.append(back)
    request, opened = open_by_user(request, takes, losses)  # last of all: it moves the places that losses name
    return Fitted(request, tuple(losses), tuple(undo), opened)
