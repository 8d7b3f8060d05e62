"""Who gets an answer at the URLs of keys, users and customers where a handler decides; see ``test_roles.py``."""

from __future__ import annotations

from typing import Any

WHO_MANAGE = {"master", "proxy_admin", "manager"}
WHO_SEE_ALL = WHO_MANAGE | {"viewer"}
ADMINS_OF_T = {"org_admin", "team_admin"}
USERS = {"team_admin", "org_admin", "member", "internal", "internal_viewer", "foreign", "read_only"}

# What is asked: a key of the team t that is the member's, and a user of the organisation o, anew for each.
ASKED: dict[tuple[str, str], tuple[str, Any]] = {
    ("GET", "/key/info"): ("/key/info?key={red}", None),
    ("GET", "/v2/user/info"): ("/v2/user/info?user_id=member", None),
    ("POST", "/key/service-account/generate"): ("/key/service-account/generate", {"team_id": "t"}),
    ("POST", "/key/update"): ("/key/update", {"key": "{red}", "models": ["m"]}),
    ("POST", "/key/delete"): ("/key/delete", {"keys": ["{red}"]}),
    ("POST", "/key/block"): ("/key/block", {"key": "{red}"}),
    ("POST", "/key/unblock"): ("/key/unblock", {"key": "{red}"}),
    ("POST", "/key/regenerate"): ("/key/regenerate", {"key": "{red}"}),
    ("POST", "/key/{key}/regenerate"): ("/key/{red}/regenerate", {}),
    ("POST", "/key/{key}/reset_spend"): ("/key/{red}/reset_spend", {"reset_to": 0}),
    ("POST", "/user/new"): ("/user/new", {"organizations": ["o"]}),
    ("POST", "/user/update"): ("/user/update", {"user_id": "member", "user_alias": "M"}),
    ("POST", "/user/delete"): ("/user/delete", {"user_ids": ["{gone}"]}),
}
ROLES: dict[tuple[str, str], set[str]] = {
    ("GET", "/key/info"): WHO_SEE_ALL | ADMINS_OF_T | {"member"},
    ("GET", "/key/list"): WHO_SEE_ALL | USERS,
    ("GET", "/key/aliases"): WHO_SEE_ALL | USERS,
    ("GET", "/user/info"): WHO_SEE_ALL | USERS,
    ("GET", "/v2/user/info"): WHO_SEE_ALL | ADMINS_OF_T | {"member"},
    ("GET", "/user/list"): WHO_SEE_ALL | {"org_admin"},
    ("GET", "/user/available_users"): WHO_SEE_ALL,
    ("POST", "/key/generate"): WHO_MANAGE | ADMINS_OF_T | {"member", "internal", "foreign"},
    ("POST", "/key/service-account/generate"): WHO_MANAGE | ADMINS_OF_T,
    ("POST", "/key/update"): WHO_MANAGE | ADMINS_OF_T,
    ("POST", "/key/delete"): WHO_MANAGE | ADMINS_OF_T,
    ("POST", "/key/block"): WHO_MANAGE | ADMINS_OF_T,
    ("POST", "/key/unblock"): WHO_MANAGE | ADMINS_OF_T,
    ("POST", "/key/regenerate"): WHO_MANAGE | ADMINS_OF_T,
    ("POST", "/key/{key}/regenerate"): WHO_MANAGE | ADMINS_OF_T,
    ("POST", "/key/{key}/reset_spend"): WHO_MANAGE | ADMINS_OF_T,
    ("POST", "/key/bulk_update"): WHO_MANAGE,
    ("POST", "/user/new"): WHO_MANAGE | {"org_admin"},
    ("POST", "/user/update"): WHO_MANAGE | {"member"},
    ("POST", "/user/bulk_update"): WHO_MANAGE,
    ("POST", "/user/delete"): WHO_MANAGE | {"org_admin"},
}
for prefix in ("/customer", "/end_user"):
    ROLES |= {("POST", f"{prefix}/{name}"): WHO_MANAGE for name in ("new", "update", "delete", "block", "unblock")}
    ROLES |= {("GET", f"{prefix}/{name}"): WHO_SEE_ALL for name in ("info", "list")}
