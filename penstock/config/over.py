"""Settings that are sent over HTTP and laid over those of the file: which there may be, and how the two become one.

They are read by the code that reads the file. What decides who may call, where things are kept, or whose code is run
stays the affair of who starts the gateway; and a value that is sent reads nothing of the gateway's own environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.config import keys
from penstock.config.addresses import hosts_in, is_metadata
from penstock.config.environ import REFUSED, variables_in
from penstock.config.problems import Problem, Problems, nearest
from penstock.config.secret import is_secret_name
from penstock.config.sent import ALL, node_of, refuse_variable, texts_in
from penstock.config.spec import SECRET_SPECS
from penstock.config.tree import Node

PLACE = "the database"
"""Where messages say that such a setting stands."""
Over = Mapping[str, Mapping[str, Any]]
"""Section -> key -> value."""
VARIABLES = "environment_variables"
TABLES = {"general_settings": keys.general, "litellm_settings": keys.litellm, "router_settings": keys.router}
SECTIONS = (*TABLES, VARIABLES)
STAYS = frozenset(
    """master_key no_auth require_master_key dangerously_permit_weak_or_unset_master_key custom_auth custom_key_generate
    custom_key_update custom_key_policy custom_sso
    database_url database_type database_args database_connect_timeout database_socket_timeout
    database_extra_connection_params allow_requests_on_db_unavailable stored_models_may_read enable_jwt_auth
    litellm_jwtauth oidc litellm_key_header_name enable_oauth2_auth enable_oauth2_proxy_auth use_x_forwarded_for
    trusted_proxy_ranges coordination_redis budget_sharing allowed_routes public_routes admin_only_routes
    metrics_token""".split()
)
"""Keys of `general_settings` that only the file has."""
STAYS_OF_LITELLM = frozenset(("require_auth_for_metrics_endpoint",))
CALLBACKS = frozenset(
    "callbacks success_callback failure_callback input_callback service_callback audit_log_callbacks "
    "batch_line_item_callbacks".split()
)
"""Keys of `litellm_settings` with names of callbacks. One with a dot is a path of Python, whose module is imported."""
_OWN = ("PENSTOCK_", "LITELLM_", "DATABASE_URL", "JWT_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_")
_ELSEWHERE = "is set where the gateway is started, in the config file or the environment, and not over HTTP"


def lay_over(document: Node | None, over: Over) -> Node:
    """Return a document with settings laid over it, key by key."""
    base: dict[str, Node] = dict(document.value) if document is not None and isinstance(document.value, dict) else {}
    for section, values in over.items():
        made = node_of(values, Problems(), PLACE)
        there = base.get(section)
        if made is None:
            continue
        mine = there.value if there is not None and isinstance(there.value, dict) else {}
        if section == "litellm_settings":
            made = Node(_without_code(made.value, mine), made.file, made.line)
        if there is None or not isinstance(there.value, dict):
            base[section] = made
        else:
            base[section] = Node({**there.value, **made.value}, there.file, there.line)
    return Node(base, PLACE, 0) if document is None else Node(base, document.file, document.line)


def _without_code(made: Mapping[str, Node], file: Mapping[str, Node]) -> dict[str, Node]:
    """Leave out of lists of callbacks what would load the operator's code, and does not stand in the file itself."""
    found = dict(made)
    for key in CALLBACKS & made.keys():
        own = file.get(key)
        listed = own.value if own is not None and isinstance(own.value, list) else () if own is None else (own,)
        known = {str(one.value) for one in listed}
        node = made[key]
        if isinstance(node.value, list):
            kept = [one for one in node.value if "." not in str(one.value) or str(one.value) in known]
            found[key] = Node(kept, node.file, node.line)
        elif "." in str(node.value) and str(node.value) not in known:
            del found[key]
    return found


def check_setting(section: str, key: str, value: Any, may: frozenset[str]) -> list[Problem]:
    """List what keeps a setting from being taken, whatever else is set. ``may``: variables that what is sent may name
    (`stored_models_may_read`)."""
    problems = Problems(slips="error")
    path = (section, key)
    if section == VARIABLES:
        name = key.upper()
        if name in REFUSED or name.startswith(_OWN):
            problems.error(PLACE, 0, path, _ELSEWHERE)
        elif not isinstance(value, str):
            problems.error(PLACE, 0, path, "expected text")
    elif (row := TABLES[section].get(key)) is None:
        near = nearest(key[:100], TABLES[section].names())
        hint = f", did you mean {near!r}?" if near else ""
        where = keys.elsewhere(key, TABLES[section])
        problems.error(PLACE, 0, path, f"unknown key{f', it belongs in {where}' if where else hint}")
    elif row.name in (STAYS if section == "general_settings" else STAYS_OF_LITELLM):
        problems.error(PLACE, 0, path, _ELSEWHERE)
    node = node_of(value, problems, PLACE)
    for where_, text in texts_in(node, path) if node is not None else ():
        for name in variables_in(text):
            refuse_variable(name, where_, may, problems, PLACE)
        if ALL not in may and any(is_metadata(host) for host in hosts_in(text)):
            message = "leads to a cloud's metadata service, which tells this machine's keys; give another address"
            problems.error(PLACE, 0, where_, message)
    return [problem for problem in problems.sorted() if problem.level == "error"]


def is_secret(section: str, key: str, value: Any) -> bool:
    """Tell whether a setting holds something that is not to be seen, by its name, the names within it, and by what
    kind of value it is."""
    if section == VARIABLES or is_secret_name(key):
        return True
    row = TABLES[section].get(key)
    return (row is not None and row.spec in SECRET_SPECS) or _holds_secret(value)


def _holds_secret(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(is_secret_name(str(name)) or _holds_secret(inner) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return any(map(_holds_secret, value))
    return isinstance(value, str) and "://" in value and ("@" in value or "?" in value)
