"""The steps of the fit, in their order."""

from __future__ import annotations

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
from penstock.core.ir import Audio, Document, Image, Loss, Opaque, Request, ToolResult, ToolUse

_ODD = "a tool that is no function"
_TOOLS = "tools"
_CUSTOM = "a call or result of a custom tool"
_EXTRA = "a field that is kept as it came"
_Mark = type | str

# The steps, with what each of them is about: where a request has none of it, the step has nothing to do and is not
# asked; None for a step that is about every request. Forms of tools go before names: what they make has a name, too.
# Texts before thinking, which depends on what is left of the last turn; thinking before sampling, which depends on
# whether there is any.
_FORMS: tuple[tuple[Step, frozenset[_Mark] | None], ...] = (
    (fit_natives, frozenset((_ODD,))),
    (fit_forms, frozenset((_ODD, _CUSTOM, Opaque))),
)
_OTHERS: tuple[tuple[Step, frozenset[_Mark] | None], ...] = (
    (fit_client_tools, frozenset((_ODD,))),
    (fit_search, frozenset((_ODD, _EXTRA))),
    (fit_compaction, frozenset((Opaque,))),
    (fit_words, frozenset((Opaque,))),
    (fit_order, None),
    (fit_names, frozenset((_TOOLS, ToolUse))),
    (fit_ids, frozenset((ToolUse,))),
    (fit_media, frozenset((Image, Document, Audio))),
    (fit_texts, None),
    (fit_labels, None),
    (fit_thinking, None),
    (fit_sampling, None),
)
STEPS = _FORMS + _OTHERS
_plans: dict[tuple[bool, frozenset[_Mark]], tuple[Step, ...]] = {}  # few: there are a dozen marks


def fit(request: Request, takes: Takes) -> Fitted:
    """Fit a request to what its target takes. Raises ``GatewayError`` for what can neither be carried nor left out."""
    losses: list[Loss] = []
    undo: list[Undo] = []
    marks, asked = marks_of(request), request
    for step in _plan(True, marks):
        request, back = step(request, takes, losses)
        if back is not None:
            undo.append(back)
    if request is not asked:  # forms of tools make calls of what was none
        marks = marks_of(request)
    for step in _plan(False, marks):
        request, back = step(request, takes, losses)
        if back is not None:
            undo.append(back)
    request, opened = open_by_user(request, takes, losses)  # last of all: it moves the places that losses name
    return Fitted(request, tuple(losses), tuple(undo), opened)


def marks_of(request: Request) -> frozenset[_Mark]:
    """Tell what a request has: the types of its blocks, also of those in results, and the marks above."""
    marks: set[_Mark] = set()
    for message in request.messages:
        for block in message.blocks:
            kind = type(block)
            marks.add(kind)
            if kind is ToolUse or kind is ToolResult:
                if block.kind == "custom":  # type: ignore[union-attr]
                    marks.add(_CUSTOM)
                if kind is ToolResult:
                    marks.update(map(type, block.content))  # type: ignore[union-attr]
    if request.tools:
        marks.add(_TOOLS)
        for tool in request.tools:
            if tool.kind != "function":
                marks.add(_ODD)
    if request.extra:
        marks.add(_EXTRA)
    return frozenset(marks)


def _plan(forms: bool, marks: frozenset[_Mark]) -> tuple[Step, ...]:
    """List the steps that have something to do where these marks are."""
    plan = _plans.get((forms, marks))
    if plan is None:
        rows = _FORMS if forms else _OTHERS
        made = (step for step, about in rows if about is None or not about.isdisjoint(marks))
        plan = _plans[forms, marks] = tuple(made)
    return plan
