"""Deployments of the config, ready to be called: everything about an upstream call that does not depend on the request.

A target is what the config says. It is made whole (``building``) and never changes; what traffic tells is in ``live``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from penstock.core.admit.estimate import dearest_of
from penstock.core.defaults import losses_of
from penstock.core.dialects import DIALECTS
from penstock.core.errors import GatewayError
from penstock.core.fit import Takes, limits_of
from penstock.core.models import ModelFacts, facts
from penstock.core.providers.modelled import with_model
from penstock.core.providers.wires import wire_in
from penstock.runtime.addressing import endpoint_of
from penstock.runtime.prices import price_of, with_terms

if TYPE_CHECKING:
    from penstock.config import Deployment
    from penstock.core.admit.estimate import Dearest
    from penstock.core.caching import Point
    from penstock.core.defaults import Said
    from penstock.core.dialects.base import Dialect, Wire
    from penstock.core.ir import Loss
    from penstock.core.providers.spec import Provider, Quirks
    from penstock.core.providers.watsonx import Edit
    from penstock.core.route.quotas import Quota
    from penstock.runtime.account import Account
    from penstock.runtime.attempts import Run
    from penstock.runtime.endpoint import Endpoint
    from penstock.runtime.http import Origin, Timeouts, Tls
    from penstock.runtime.prices import TargetPrice


NEEDS = {
    "vision": "supports_vision",
    "tools": "supports_function_calling",
    "schema": "supports_response_schema",
    "audio": "supports_audio_input",
}
"""What a request may need -> the field of the price map, or of ``model_info``, that says whether a model does it."""


class TargetCache(msgspec.Struct, eq=False):
    """What a target worked out at the first question, and keeps: results of pure functions, never settings."""

    endpoints: dict[str, Endpoint] = {}
    wires: dict[str, Wire] = {}
    takes: dict[str, Takes] = {}
    never: dict[str, tuple[Loss, ...]] = {}
    price: TargetPrice | None = None
    dearest: Dearest | None = None
    facts: tuple[int | None, frozenset[str]] | None = None

    def __repr__(self) -> str:
        return f"TargetCache({', '.join(self.endpoints)})"


class Target(msgspec.Struct, frozen=True, eq=False, kw_only=True, weakref=True):
    """One deployment. Read its fields; ``building.build_target`` makes it."""

    account: Account
    id: str
    live_id: str  # of its ``Live``
    # The account's, here again because every request reads them.
    deployment: Deployment
    provider: Provider
    settings: Mapping[str, Any]
    env: Mapping[str, str]
    tls: Tls | None
    model: str  # the name the upstream knows
    label: str
    engine: str  # the one of the config that serves it, "" for none
    # How it is reached.
    path_model: str  # in URLs; another where a model is reached by an ARN
    stream_names: Mapping[str, str]  # dialect -> what ``endpoint`` calls a stream in it
    timeouts: Timeouts
    stream_timeouts: Timeouts
    tiers: Mapping[str, tuple[Timeouts, Timeouts]]  # both by the request's ``service_tier``
    attempt: Run | None  # None: ``lanes.run`` does it all
    # What is said to it.
    model_raw: Raw
    rules_of: str  # whose quirks hold, where the model's name is the user's own
    forms_of: str  # whose bodies the small operations have
    wire: Wire
    guides: str
    said: Said | None  # what the deployment says where requests do not
    defaults: Mapping[str, Raw]  # the same in Chat's words, for fields in these words
    extra_body: Mapping[str, Raw]  # for the body as it goes out, whatever it speaks
    drop: tuple[str, ...]
    cache_points: tuple[Point, ...]  # where the prompt is cached
    lays: bool  # any of these
    says_form: bool  # of the answer
    drop_params: bool
    edit: Edit | None  # of every chat's body, and ``seal`` of every other one: the account in it
    seal: Edit | None
    # How a call of it goes.
    on_unsupported: str
    validates: bool
    special: bool  # plain requests go through ``constrained``, too
    only: str  # its only dialect, where plain requests in it need nothing but that lane; else ""
    answer_lines: bytes
    charged: bool  # discounts or margins may hold for it
    budgets: tuple[tuple[str, float], ...]  # names and seconds of those that its costs count against
    # How it is chosen and shown.
    weight: float | None
    rpm: int | None
    tpm: int | None
    quotas: tuple[Quota, ...]  # what it may use beside these
    silent_model: str  # a group that is asked the same beside it; "" for none
    stays: frozenset[bytes] | None  # names of clients' headers that do not go on with the others; None: none do
    order: int | None  # who is asked first, and only when they fail the next
    tags: tuple[str, ...]
    most: int | None  # requests at one time
    owner: str
    notes: tuple[str, ...]  # what of its entry does not hold, and why
    dialects: tuple[str, ...]  # of its row; those that were found are its ``Live``'s
    _cache: TargetCache = msgspec.field(default_factory=TargetCache)

    def __repr__(self) -> str:
        return f"Target({self.label})"  # the environment and the endpoints hold keys

    def wire_for(self, dialect: str) -> Wire:
        """Return what a renderer of ``dialect`` must know of the target."""
        found = self._cache.wires.get(dialect)
        if found is None:
            quirks = self._quirks(dialect)
            found = self._cache.wires[dialect] = wire_in(dialect, self.wire, self.provider, self.rules_of, quirks)
        return found

    def takes_for(self, dialect: str) -> Takes:
        """Return what a request in ``dialect`` is fitted to."""
        found = self._cache.takes.get(dialect)
        if found is None:
            wire, model = self.wire_for(dialect), facts(self.rules_of)
            if dialect == "anthropic" and wire.official and not model.maker:
                model = ModelFacts("anthropic")  # at its own host there is no other, whatever the name
            found = self._cache.takes[dialect] = Takes(
                dialect=dialect,
                wire=wire,
                model=model,
                limits=limits_of(dialect, model),
                drop_params=self.drop_params or self.deployment.on_unsupported in ("warn", "drop"),
                allowed=frozenset(self.deployment.allowed_openai_params),
                forced=DIALECTS[dialect].forced,
            )
        return found

    def never_carried(self, dialect: Dialect) -> tuple[Loss, ...]:
        """List what of the deployment's parameters cannot be carried in ``dialect``, whatever the request is."""
        found = self._cache.never.get(dialect.name)
        if found is None:
            said = self.said
            made = () if said is None else losses_of(said, dialect, self.takes_for(dialect.name))
            found = self._cache.never[dialect.name] = made
        return found

    def operation(self, dialect: Dialect, stream: bool) -> str:
        """Name what ``endpoint`` calls a request in ``dialect``: streams may have a URL of their own."""
        if not stream:
            return dialect.name
        name = dialect.stream_endpoint or dialect.name
        return self.stream_names.get(name, name)

    def endpoint(self, what: str) -> Endpoint:
        """Find the endpoint of a dialect or operation. Raises "not_configured" naming the variable that is missing."""
        found = self._cache.endpoints.get(what)
        if found is None:
            made = endpoint_of(self.account, what, self.path_model, self._quirks(what))
            found = self._cache.endpoints[what] = made
        return found

    def _quirks(self, what: str) -> Quirks:
        """Return the row's quirks for this model, without what ``allowed_openai_params`` says that the upstream
        takes."""
        dialect = what.removesuffix("_stream")
        quirks = with_model(self.provider.quirks_for(self.rules_of, dialect), facts(self.rules_of), dialect)
        if self.edit is not None and what in (*self.dialects, *self.stream_names.values()):
            quirks = replace(quirks, edit=self.edit)
        return quirks.allowing(frozenset(self.deployment.allowed_openai_params))

    @property
    def price(self) -> TargetPrice:
        """Look up what the model costs and can do, at the first question."""
        found = self._cache.price
        if found is None:
            name = self.provider.name
            listed = price_of(name, self.model, self.deployment)
            found = self._cache.price = with_terms(listed, self.settings, name, self.model)
        return found

    @property
    def dearest(self) -> Dearest:
        """Return the dearest that it may be."""
        found = self._cache.dearest
        if found is None:
            price = self.price
            found = self._cache.dearest = dearest_of(price.price, price.entry, price.terms)
        return found

    @property
    def vendor(self) -> str:
        """Return the name of its provider."""
        return self.provider.name

    @property
    def blocked(self) -> bool:
        """Tell whether it takes no traffic."""
        return bool(self.deployment.info.get("blocked"))

    @property
    def purse(self) -> str:
        """Return what its own budget is called."""
        return purse_of(self.live_id)

    @property
    def budget(self) -> tuple[float, float] | None:
        """Return the US dollars that it may cost in so many seconds; None where nobody said both."""
        return own_budget(self.deployment)

    @property
    def kind(self) -> str:
        """Return what kind of deployment it is, to the strategy that goes by the caller's confidence; "" for none."""
        return str(self.deployment.info.get("type") or "")

    @property
    def cooldown(self) -> float | None:
        """Return the seconds that it rests after failures, where that is not its group's."""
        seconds: float | None = self.deployment.params.get("cooldown_time")
        return seconds

    @property
    def allowed_fails(self) -> tuple[int | None, Mapping[str, int]]:
        """Return the failures before it rests, and the same by class of the error, where they are not its group's."""
        info = self.deployment.info
        return info.get("allowed_fails"), info.get("allowed_fails_policy") or {}

    @property
    def cost(self) -> float | None:
        """Return US dollars of an input token and an output token together, None where the price is not known."""
        price = self.price.price
        if price is None:
            return None
        rates = price.rates(0)
        return float(rates.fresh + rates.output)

    @property
    def tag_patterns(self) -> tuple[re.Pattern[str], ...]:
        """Return what the client's name is compared with where tags decide."""
        return self.deployment.tag_patterns

    @property
    def window(self) -> int | None:
        """Return the tokens that the model takes, None where that is not known."""
        return self._facts[0]

    @property
    def lacks(self) -> frozenset[str]:
        """Return what the model is known not to do, of the words in ``NEEDS``."""
        return self._facts[1]

    @property
    def _facts(self) -> tuple[int | None, frozenset[str]]:
        found = self._cache.facts
        if found is None:
            able, entry = self.price.capabilities, self.price.entry
            # Only what is said can be lacking: nobody knows what is not in the map.
            lacking = frozenset(word for word, field in NEEDS.items() if entry.get(field) is False)
            found = self._cache.facts = able.max_input_tokens, lacking
        return found

    @property
    def origin(self) -> Origin | None:
        """Return the host this target is on, None while its address is not configured."""
        try:
            return self.endpoint(self.dialects[0]).origin if self.dialects else None
        except GatewayError:
            return None


def purse_of(live_id: str) -> str:
    """Return what a deployment's own budget is called; no provider's name has a space."""
    return f"deployment {live_id}"


def own_budget(deployment: Deployment) -> tuple[float, float] | None:
    """Return the US dollars that a deployment may cost in so many seconds; None where nobody said both. (A limit of 0
    is none, as with LiteLLM.)"""
    limit, period = deployment.params.get("max_budget"), deployment.params.get("budget_duration")
    return (limit, period) if limit and period else None
