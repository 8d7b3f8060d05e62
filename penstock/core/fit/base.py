"""The one shape that every step of the fit has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Struct

from penstock.core.dialects.base import Wire
from penstock.core.fit.limits import Limits
from penstock.core.ir import Event, Loss, Request, Response
from penstock.core.models import ModelFacts


class Takes(Struct, frozen=True, kw_only=True):
    """What a target takes. ``dialect``: the one that is spoken to it. ``model``: the facts of its model, whoever serves
    it. ``limits``: those of the API. ``drop_params``: whether what the model refuses may be left out, instead of an
    error."""

    dialect: str
    wire: Wire
    model: ModelFacts
    limits: Limits
    drop_params: bool = False


class Filter(Protocol):
    """What undoes a step in a stream's events."""

    def feed(self, event: Event) -> Iterable[Event]: ...


class Undo(Protocol):
    """What undoes a step in an answer: whole, or by a new filter for each stream."""

    def response(self, response: Response) -> Response: ...
    def filter(self) -> Filter: ...


Step = Callable[[Request, Takes, list[Loss]], tuple[Request, Undo | None]]
"""Fits one kind of thing. Returns the request itself when there is nothing to do, appends what it takes away to the
losses, and raises ``GatewayError`` for what can neither be carried nor left out."""


class Fitted(Struct, frozen=True):
    """A request that its target takes. ``undo``: of the steps that have one, in the order in which they were done."""

    request: Request
    losses: tuple[Loss, ...] = ()
    undo: tuple[Undo, ...] = ()
