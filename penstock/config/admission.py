"""What a config says about whom calls count against, out of ``general_settings`` and ``litellm_settings``, typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from msgspec import Struct

from penstock.core.admit import amount
from penstock.core.admit.holders import Bad
from penstock.core.admit.required import read_required

if TYPE_CHECKING:
    from penstock.config.models import Config

# Always looked at, in this order: so a tool can say whom it works for without anything being configured.
STANDARD = (b"x-litellm-customer-id", b"x-litellm-end-user-id")
KEYS = (
    "user_header_name",
    "user_header_mappings",
    "enforce_fallback_model_access",
    "disable_fallbacks_on_per_model_rate_limits",
    "enforce_user_param",
    "enforced_params",
    "service_account_settings",
    "reject_clientside_metadata_tags",
    "token_rate_limit_type",
    "fail_closed_rate_limit_enforcement",
)
LITELLM_KEYS = (
    "max_end_user_budget_id",
    "max_end_user_budget",
    "max_user_budget",
    "disable_end_user_cost_tracking",
    "validate_end_user_id_in_db",
    "extra_spend_tag_headers",
)
_ROLES = ("customer", "internal_user")


class AdmissionSettings(Struct, frozen=True, kw_only=True):
    """``customer_headers``: those that name the end user, the first that is there counts; ``user_headers``: those that
    name a user of ours. ``end_user_budget``: id of the budget of end users who have none of their own;
    ``end_user_most``: the same as picodollars, where no budget is named; ``counts_end_users``: what they spend is
    counted. ``fallbacks_too``: fallbacks of the config are
    for those only who may call them; ``stays_over``: they are not for who is over a limit in the model. ``counted``:
    which tokens limits count. ``names_end_user``: every request must say whom it is for. ``fails_closed``: what is
    limited is refused while processes that share limits cannot. ``required``: what every request must say, and
    ``of_services``: what those with keys of service accounts must, too. ``knows_end_users``: an end user that is no
    customer or user here counts as none. ``no_tags``: requests may not bring tags of their own; ``tag_headers``: those
    that are tags, by their names as the config has them."""

    customer_headers: tuple[bytes, ...] = STANDARD
    user_headers: tuple[bytes, ...] = ()
    end_user_budget: str = ""
    end_user_most: int | None = None
    counts_end_users: bool = True
    fallbacks_too: bool = False
    stays_over: bool = False
    counted: Literal["total", "input", "output"] = "total"
    names_end_user: bool = False
    fails_closed: bool = False
    required: tuple[str, ...] = ()
    of_services: tuple[str, ...] = ()
    knows_end_users: bool = False
    no_tags: bool = False
    tag_headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def demands(self) -> bool:
        """Tell whether it asks something of those, too, who have no limits."""
        return bool(self.names_end_user or self.required or self.no_tags)


def read_admission(config: Config) -> tuple[AdmissionSettings, list[str]]:
    """Read the settings, and collect a sentence for each that cannot be used."""
    general, litellm, problems = config.general.values, config.litellm.values, list[str]()
    customers, users = list(STANDARD), list[bytes]()
    for role, header in _mappings(general.get("user_header_mappings"), problems):
        (customers if role == "customer" else users).append(header)
    named = general.get("user_header_name")
    if named:
        customers.append(str(named).lower().encode())
    most = litellm.get("max_end_user_budget")
    if most is None:
        most = litellm.get("max_user_budget")
    settings = AdmissionSettings(
        customer_headers=tuple(dict.fromkeys(customers)),
        user_headers=tuple(dict.fromkeys(users)),
        end_user_budget=str(litellm.get("max_end_user_budget_id") or ""),
        end_user_most=None if most is None else amount.read(most),
        counts_end_users=not litellm.get("disable_end_user_cost_tracking"),
        fallbacks_too=bool(general.get("enforce_fallback_model_access")),
        stays_over=bool(general.get("disable_fallbacks_on_per_model_rate_limits")),
        counted=cast('Literal["total", "input", "output"]', general.get("token_rate_limit_type") or "total"),
        fails_closed=bool(general.get("fail_closed_rate_limit_enforcement")),
        names_end_user=bool(general.get("enforce_user_param")),
        required=_required("general_settings", general, problems),
        of_services=_required(
            "general_settings.service_account_settings", general.get("service_account_settings") or {}, problems
        ),
        no_tags=bool(general.get("reject_clientside_metadata_tags")),
        tag_headers=tuple(
            (name, name.lower().encode()) for name in config.litellm.values.get("extra_spend_tag_headers") or ()
        ),
        knows_end_users=bool(config.litellm.values.get("validate_end_user_id_in_db")),
    )
    return settings, problems


def _required(place: str, values: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    """Read ``enforced_params``. Names that cannot be read are demanded all the same: no request says them."""
    try:
        return read_required(values)
    except Bad as error:
        problems.append(f"{place}.{error}.")
        return (f"{place}.enforced_params",)


def _mappings(found: Any, problems: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield role and header of each entry of ``user_header_mappings``."""
    for number, entry in enumerate(found or ()):
        place = f"general_settings.user_header_mappings[{number}]"
        example = "{header_name: x-openwebui-user-id, litellm_user_role: customer}"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("header_name"), str):
            problems.append(f"{place} is left out: it must be as {example}.")
            continue
        role = str(entry.get("litellm_user_role", ""))
        if role not in _ROLES:
            problems.append(f"{place}.litellm_user_role is {role!r} and left out: write customer or internal_user.")
            continue
        yield role, entry["header_name"].lower().encode()
