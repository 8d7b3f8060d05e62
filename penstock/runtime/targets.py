"""Deployments of the config, ready to be called: everything about an upstream call that does not depend on the request.

A target is what the config says. It is made whole (``building``) and never changes; what traffic tells is in ``live``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.core.providers.wires import wire_in
from penstock.runtime.addressing import endpoint_of
from penstock.runtime.health import Health
from penstock.runtime.prices import charged, price_of

if TYPE_CHECKING:
    from penstock.config import Deployment
    from penstock.core.dialects.base import Dialect, Wire
    from penstock.core.providers.spec import Provider, Quirks
    from penstock.core.providers.watsonx import Edit
    from penstock.runtime.account import Account
    from penstock.runtime.attempts import Attempt
    from penstock.runtime.endpoint import Endpoint
    from penstock.runtime.http import Origin, Timeouts, Tls
    from penstock.runtime.prices import TargetPrice


class Made(msgspec.Struct, eq=False):
    """What a target made of itself at the first question, and keeps: results of pure functions, never settings."""

    endpoints: dict[str, Endpoint] = {}
    wires: dict[str, Wire] = {}
    price: TargetPrice | None = None

    def __repr__(self) -> str:
        return f"Made({', '.join(self.endpoints)})"


# Learned of a target while it serves. They go to ``Live``, and with them this and ``Target.__setattr__``.
_LEARNED = frozenset({"dialects", "health", "asked"})


class Target(msgspec.Struct, eq=False, kw_only=True, weakref=True):
    """One deployment. Read its fields; ``building.build_target`` makes it."""

    account: Final[Account]
    id: Final[str]
    live_id: Final[str]  # of its ``Live``
    # The account's, here again because every request reads them.
    deployment: Final[Deployment]
    provider: Final[Provider]
    settings: Final[Mapping[str, Any]]
    env: Final[Mapping[str, str]]
    tls: Final[Tls | None]
    model: Final[str]  # the name the upstream knows
    label: Final[str]
    # How it is reached.
    path_model: Final[str]  # in URLs; another where a model is reached by an ARN
    stream_names: Final[Mapping[str, str]]  # dialect -> what ``endpoint`` calls a stream in it
    timeouts: Final[Timeouts]
    stream_timeouts: Final[Timeouts]
    attempt: Final[Attempt | None]  # None: ``lanes.run`` does it all
    # What is said to it.
    model_raw: Final[Raw]
    rules_of: Final[str]  # whose quirks hold, where the model's name is the user's own
    forms_of: Final[str]  # whose bodies the small operations have
    wire: Final[Wire]
    guides: Final[str]
    defaults: Final[Mapping[str, Raw]]
    guided_defaults: Final[Mapping[str, Raw]]
    drop: Final[tuple[str, ...]]
    drop_params: Final[bool]
    edit: Final[Edit | None]  # of every chat's body, and ``seal`` of every other one: the account in it
    seal: Final[Edit | None]
    # How a call of it goes.
    on_unsupported: Final[str]
    validates: Final[bool]
    special: Final[bool]  # plain requests go through ``constrained``, too
    answer_lines: Final[bytes]
    # How it is chosen and shown.
    weight: Final[float | None]
    rpm: Final[int | None]
    tpm: Final[int | None]
    owner: Final[str]
    _made: Final[Made] = msgspec.field(default_factory=Made)
    # See _LEARNED. ``asked``: dialects that were asked for at run time, see ``speaks``.
    dialects: tuple[str, ...]
    health: Health = msgspec.field(default_factory=Health)
    asked: set[str] = msgspec.field(default_factory=set)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _LEARNED:
            raise AttributeError(f"a target never changes: {name}")
        msgspec.structs.force_setattr(self, name, value)

    def __repr__(self) -> str:
        return f"Target({self.label})"  # the environment and the endpoints hold keys

    def wire_for(self, dialect: str) -> Wire:
        """Tell what a renderer of ``dialect`` must know."""
        found = self._made.wires.get(dialect)
        if found is None:
            quirks = self._quirks(dialect)
            found = self._made.wires[dialect] = wire_in(dialect, self.wire, self.provider, self.rules_of, quirks)
        return found

    def operation(self, dialect: Dialect, stream: bool) -> str:
        """Name what ``endpoint`` calls a request in ``dialect``: streams may have a URL of their own."""
        if not stream:
            return dialect.name
        name: str = getattr(dialect, "stream_endpoint", dialect.name)
        return self.stream_names.get(name, name)

    def endpoint(self, what: str) -> Endpoint:
        """Find the endpoint of a dialect or operation. Raises "not_configured" naming the variable that is missing."""
        found = self._made.endpoints.get(what)
        if found is None:
            made = endpoint_of(self.account, what, self.path_model, self._quirks(what))
            found = self._made.endpoints[what] = made
        return found

    def _quirks(self, what: str) -> Quirks:
        """Take the row's quirks for this model, without what ``allowed_openai_params`` says that the upstream takes."""
        quirks = self.provider.quirks_for(self.rules_of, what.removesuffix("_stream"))
        if self.edit is not None and what in (*self.dialects, *self.stream_names.values()):
            quirks = replace(quirks, edit=self.edit)
        return quirks.allowing(frozenset(self.deployment.allowed_openai_params))

    @property
    def price(self) -> TargetPrice:
        """Look up what it costs and can do, at the first question."""
        found = self._made.price
        if found is None:
            name = self.provider.name
            listed = price_of(name, self.model, self.deployment)
            found = self._made.price = charged(listed, self.settings, name, self.model)
        return found

    @property
    def origin(self) -> Origin | None:
        """Return the host this target is on, None while its address is not configured."""
        try:
            return self.endpoint(self.dialects[0]).origin if self.dialects else None
        except GatewayError:
            return None
