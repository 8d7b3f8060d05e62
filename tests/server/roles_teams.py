"""Who gets an answer at the URLs of teams, organizations and what is kept beside them; see ``test_roles.py``."""

from __future__ import annotations

from typing import Any

from tests.server.roles_keys import ADMINS_OF_T, WHO_MANAGE, WHO_SEE_ALL

# Of the team t and the organisation o, to which all of these belong.
INSIDE = WHO_SEE_ALL | ADMINS_OF_T | {"member"}
EVERY_KEY = INSIDE | {"internal", "internal_viewer", "foreign", "alone", "read_only"}
ABOVE = WHO_MANAGE | {"org_admin"}
WHO_RUN = WHO_MANAGE | ADMINS_OF_T
OF_O = WHO_SEE_ALL | {"org_admin"}  # the others are in a team of the organisation, and not in that

NOBODY = {"team_id": "t", "user_id": "nobody"}
ASKED: dict[tuple[str, str], tuple[str, Any]] = {
    ("GET", "/team/info"): ("/team/info?team_id=t", None),
    ("GET", "/team/permissions_list"): ("/team/permissions_list?team_id=t", None),
    ("GET", "/team/{team_id}/members/me"): ("/team/t/members/me", None),
    ("POST", "/team/new"): ("/team/new", {"organization_id": "o"}),
    ("POST", "/team/update"): ("/team/update", {"team_id": "t"}),
    ("PATCH", "/team/{team_id}"): ("/team/t", {}),
    ("POST", "/team/block"): ("/team/block", {"team_id": "t", "blocked": 1}),
    ("POST", "/team/unblock"): ("/team/unblock", {"team_id": "t"}),
    ("POST", "/team/model/add"): ("/team/model/add", {"team_id": "t", "models": ["m"]}),
    ("POST", "/team/model/delete"): ("/team/model/delete", {"team_id": "t", "models": ["few"]}),
    ("POST", "/team/permissions_update"): ("/team/permissions_update", {"team_id": "t", "team_member_permissions": []}),
    # A role that is none: what is asked is judged before it is refused, and nothing is changed.
    ("POST", "/team/member_add"): ("/team/member_add", {"team_id": "t", "member": {"user_id": "x", "role": "none"}}),
    ("POST", "/team/bulk_member_add"): ("/team/bulk_member_add", {"team_id": "t", "members": []}),
    ("POST", "/team/member_update"): ("/team/member_update", {"team_id": "t", "user_id": "member"}),
    ("POST", "/team/member_delete"): ("/team/member_delete", {"team_id": "t"}),
    ("GET", "/organization/info"): ("/organization/info?organization_id=o", None),
    ("POST", "/organization/info"): ("/organization/info", {"organizations": ["o"]}),
    ("POST", "/organization/member_add"): (
        "/organization/member_add",
        {"organization_id": "o", "member": {"user_id": "x", "role": "none"}},
    ),
    ("PATCH", "/organization/member_update"): ("/organization/member_update", {"organization_id": "o"}),
    ("DELETE", "/organization/member_delete"): ("/organization/member_delete", {"organization_id": "o"}),
    ("POST", "/project/new"): ("/project/new", {"team_id": "t"}),
    ("GET", "/team/{team_id}/callback"): ("/team/t/callback", None),
    ("POST", "/team/{team_id}/callback"): ("/team/t/callback", {"callback_name": "langfuse"}),
    ("POST", "/team/{team_id}/disable_logging"): ("/team/t/disable_logging", {}),
}
ROLES: dict[tuple[str, str], set[str]] = {
    ("GET", "/team/info"): INSIDE,
    ("GET", "/team/permissions_list"): INSIDE,
    ("GET", "/team/{team_id}/members/me"): {"team_admin", "member"},
    ("GET", "/team/list"): EVERY_KEY,
    ("GET", "/v2/team/list"): EVERY_KEY,
    ("GET", "/team/available"): EVERY_KEY,
    ("POST", "/team/new"): ABOVE,
    ("POST", "/team/update"): WHO_RUN,
    ("PATCH", "/team/{team_id}"): WHO_RUN,
    ("POST", "/team/block"): ABOVE,
    ("POST", "/team/unblock"): ABOVE,
    ("POST", "/team/model/add"): ABOVE,
    ("POST", "/team/model/delete"): ABOVE,
    ("POST", "/team/permissions_update"): WHO_RUN,
    ("POST", "/team/member_add"): WHO_RUN,
    ("POST", "/team/bulk_member_add"): WHO_RUN,
    ("POST", "/team/member_update"): WHO_RUN,
    ("POST", "/team/member_delete"): WHO_RUN,
    ("GET", "/organization/info"): OF_O,
    ("POST", "/organization/info"): OF_O,
    ("GET", "/organization/list"): EVERY_KEY,
    ("POST", "/organization/member_add"): ABOVE,
    ("PATCH", "/organization/member_update"): ABOVE,
    ("DELETE", "/organization/member_delete"): ABOVE,
    ("POST", "/project/new"): WHO_RUN,
    ("GET", "/project/list"): EVERY_KEY,
    ("GET", "/team/{team_id}/callback"): WHO_RUN,
    ("POST", "/team/{team_id}/callback"): WHO_RUN,
    ("POST", "/team/{team_id}/disable_logging"): WHO_RUN,
}
GROUPS = ("/v1/access_group", "/v1/unified_access_group")
# What is decided by the role alone.
MANAGED = """
    POST /organization/new  PATCH /organization/update  DELETE /organization/delete
    PATCH /v2/organization/{organization_id}
    POST /budget/new  POST /budget/update  POST /budget/delete  POST /tag/new  POST /tag/update  POST /tag/delete
    POST /access_group/new  PUT /access_group/{access_group}/update  DELETE /access_group/{access_group}/delete
    POST /credentials  PATCH /credentials/{credential_name:path}  DELETE /credentials/{credential_name:path}
"""
SEEN = """
    POST /budget/info  GET /budget/list  GET /budget/settings  POST /tag/info  GET /tag/list  GET /access_group/list
    GET /access_group/{access_group}/info  GET /credentials  GET /credentials/by_name/{credential_name:path}
    GET /credentials/by_model/{model_id:path}  GET /audit  GET /audit/{id}
"""
for text, who in ((MANAGED, WHO_MANAGE), (SEEN, WHO_SEE_ALL)):
    words = text.split()
    ROLES |= dict.fromkeys(zip(words[::2], words[1::2], strict=True), who)
for path in GROUPS:
    ROLES |= dict.fromkeys((("POST", path), ("PUT", path + "/{access_group_id}")), WHO_MANAGE)
    ROLES |= dict.fromkeys((("GET", path), ("GET", path + "/{access_group_id}")), WHO_SEE_ALL)
    ROLES["DELETE", path + "/{access_group_id}"] = WHO_MANAGE
# What is not there is 404 to everybody whom the gate lets in, so that nobody learns of it.
ROLES |= {
    ("POST", "/team/delete"): EVERY_KEY - {"read_only"},
    ("POST", "/project/update"): EVERY_KEY - {"read_only"},
    ("DELETE", "/project/delete"): EVERY_KEY - {"read_only"},
    ("GET", "/project/info"): EVERY_KEY,
    ("DELETE", "/team/{team_id}/callback/{callback_name}"): EVERY_KEY - {"read_only"},
}
