"""Callbacks of teams and keys as they are kept: which there may be, what they may say, and their variables sealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from penstock.config.addresses import hosts_in, is_metadata
from penstock.config.environ import variables_in
from penstock.config.problems import Problems
from penstock.config.sent import ALL, refuse_variable
from penstock.core.admit.caller import BOTH
from penstock.core.errors import GatewayError
from penstock.sinks import ADDRESSES, CLOUDS, EVERYWHERE, OWN
from penstock.stores.kinds import MASK
from penstock.stores.models_directory import seal_values
from penstock.stores.sealing import MISSING, NoCipher

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.core.admit.caller import Caller

Fields = dict[str, Any]
TYPES = ("success", "failure", BOTH)
_MOST = 20
_PARAM = "metadata.logging"


def check_callback(gateway: Any, caller: Caller, name: str, kind: str, variables: Mapping[str, Any]) -> None:
    """Raise "bad_request" for a callback that could not be called, and for one that reads or reaches what whoever sends
    it may not."""
    if name not in OWN:
        text = f"callback_name: {name!r:.60} is none that a team or a key may have: {', '.join(OWN)}."
        raise GatewayError("bad_request", text, param="callback_name")
    if kind not in TYPES:
        text = f"callback_type: {kind!r:.60} is none of {', '.join(TYPES)}."
        raise GatewayError("bad_request", text, param="callback_type")
    known = {*OWN[name].split(), EVERYWHERE}
    state = gateway.state
    may = frozenset(state.config.general.values.get("stored_models_may_read") or ())
    for key, value in variables.items():
        where = f"callback_vars.{key[:60]}"
        if key.lower() not in known:
            text = f"{where}: there is none of that name for {name}, which has {', '.join(sorted(known))}."
            raise GatewayError("bad_request", text, param=where)
        if not isinstance(value, str | bool | int):
            raise GatewayError("bad_request", f"{where}: must be a text.", param=where)
        problems = Problems(slips="error")
        for variable in variables_in(str(value)):
            refuse_variable(variable, ("callback_vars", key), may, problems)
        if found := problems.sorted():
            raise GatewayError("bad_request", f"{where}: {found[0].message}", param=where)
        if key.lower() in ADDRESSES:
            _check_address(state, caller, where, str(value), may)


def _check_address(state: Any, caller: Caller, where: str, value: str, may: frozenset[str]) -> None:
    """Refuse an address that the gateway must not ask. Somebody who is no admin reaches the services themselves, what
    the operator sends to, and hosts that the operator allows: not what only this machine can see."""
    if any(is_metadata(host) for host in hosts_in(value)) and ALL not in may:
        text = f"{where}: leads to a cloud's metadata service, which tells this machine's keys; give another address."
        raise GatewayError("bad_request", text, param=where)
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https"):
        raise GatewayError("bad_request", f"{where}: must be an address such as https://{min(CLOUDS)}.", param=where)
    if caller.admin or host in CLOUDS:
        return
    allowed = {urlsplit(state.env.get(name.upper()) or "").netloc for name in ADDRESSES}
    allowed |= set(state.config.litellm.values.get("user_url_allowed_hosts") or ())
    if parts.netloc not in allowed and host not in allowed:
        text = f"{where}: only proxy admins may send to {host[:100]!r}, which user_url_allowed_hosts does not name."
        raise GatewayError("forbidden", text, param=where)


def seal(desk: Desk, place: str, variables: Mapping[str, Any]) -> Mapping[str, str]:
    """Seal the variables of a callback. Raises "not_installed" where they cannot be kept."""
    if not variables:
        return {}
    try:
        if desk.sealer is None:
            raise NoCipher(None, MISSING)
        return seal_values(desk.sealer, place, variables)
    except NoCipher:
        raise GatewayError("not_installed", f"callback_vars cannot be kept: {MISSING}.") from None


def take_logging(gateway: Any, desk: Desk, caller: Caller, id_: str, before: Mapping[str, Any], body: Fields) -> None:
    """Check and seal the callbacks that a key's body has in its metadata. Those that came back as they were shown stay
    as they are."""
    metadata = body.get("metadata") or {}
    given = metadata.get("logging")
    kept = (before.get("metadata") or {}).get("logging")
    if given is None or given == kept:
        return
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > _MOST:
        raise GatewayError("bad_request", f"{_PARAM}: must be a list of at most {_MOST} callbacks.", param=_PARAM)
    known = {one["callback_name"]: one for one in kept or () if isinstance(one, Mapping)}
    taken = []
    for one in given:
        if not isinstance(one, Mapping) or not isinstance(one.get("callback_name"), str):
            text = f'{_PARAM}: each must be such as {{"callback_name": "langfuse", "callback_vars": {{...}}}}.'
            raise GatewayError("bad_request", text, param=_PARAM)
        name, kind = one["callback_name"], str(one.get("callback_type") or BOTH)
        variables = one.get("callback_vars") or {}
        if not isinstance(variables, Mapping):
            raise GatewayError("bad_request", f"{_PARAM}: callback_vars must be an object.", param=_PARAM)
        old = (known.get(name) or {}).get("callback_vars") or {}
        shown = {key: old[key] for key, value in variables.items() if value == MASK and key in old}
        fresh = {key: value for key, value in variables.items() if key not in shown}
        check_callback(gateway, caller, name, kind, fresh)
        sealed = {**shown, **seal(desk, f"key/{id_}/{name}", fresh)}
        taken.append({"callback_name": name, "callback_type": kind, "callback_vars": sealed})
    body["metadata"] = {**metadata, "logging": taken}
