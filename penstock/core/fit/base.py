"""The one shape that every step of the fit has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Struct

from penstock.core.dialects.base import Wire
from penstock.core.dialects.structured import Forced
from penstock.core.fit.limits import Limits
from penstock.core.ir import Event, Loss, Request, Response
from penstock.core.models import ModelFacts


def _plan_nothing(request: Request, wire: Wire) -> Forced | None:
    """Plan no tool in the place of a schema."""
    return None


class Takes(Struct, frozen=True, kw_only=True):
    """What a target takes. ``dialect``: the one that is spoken to it. ``model``: the facts of its model, whoever serves
    it. ``limits``: those of the API and of the model there. ``drop_params``: whether what the model refuses may be left
    out, instead of an error. ``allowed``: parameters that the deployment says are taken after all. ``forced``: the
    tool that stands in for a schema in the dialect."""

    dialect: str
    wire: Wire
    model: ModelFacts
    limits: Limits
    drop_params: bool = False
    allowed: frozenset[str] = frozenset()
    forced: Callable[[Request, Wire], Forced | None] = _plan_nothing


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
    """A request that its target takes. ``undo``: of the steps that have one, in the order in which they were done.
    ``opened``: the place of a turn that was put in before the client's first one; -1 for none."""

    request: Request
    losses: tuple[Loss, ...] = ()
    undo: tuple[Undo, ...] = ()
    opened: int = -1

    def told(self, losses: tuple[Loss, ...]) -> tuple[Loss, ...]:
        """Name what a renderer lost of this request by the places of the client's own turns."""
        if self.opened < 0:
            return losses
        return tuple(_before(loss, self.opened) for loss in losses)


def _before(loss: Loss, opened: int) -> Loss:
    head, dot, rest = loss.path.partition(".")
    number, _, inner = rest.partition(".")
    if head != "messages" or not number.isdigit() or int(number) <= opened:
        return loss
    return Loss(".".join((head, str(int(number) - 1), *([inner] if inner else []))), loss.why)
