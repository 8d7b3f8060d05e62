"""Who may see and who may change what is managed: one place for all of it.

The master key and proxy admins may do everything, a proxy admin viewer may see everything. An admin of an organisation
has what is in it, an admin of a team what is in that; a user has the own keys and the own row, a key itself. Whoever
may not see a thing is told what he is told of a thing that does not exist. The rules are LiteLLM's where it has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.core.admit.caller import ADMIN_VIEWER, INTERNAL_VIEWER, PROXY_ADMIN
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller
    from penstock.runtime.keyring import Keyring

Fields = Mapping[str, Any]


class Scope:
    """What one caller may see and change. Asks the keyring who is an admin of what."""

    def __init__(self, caller: Caller, keyring: Keyring) -> None:
        self.caller = caller
        self._rows = keyring

    # Whose admin one is. ----------------------------------------------------------------------------------------------

    def runs_organization(self, organization: object) -> bool:
        """Tell whether the caller's user is an admin of an organisation."""
        if not self.caller.user or not isinstance(organization, str) or not organization:
            return False
        member = self._rows.body("organization_member", f"{organization}/{self.caller.user}")
        return member is not None and member.get("user_role") == "org_admin"

    def in_organization(self, organization: object) -> bool:
        """Tell whether the caller belongs to an organisation."""
        if not isinstance(organization, str) or not organization:
            return False
        if self.caller.organization == organization:
            return True
        return self._rows.body("organization_member", f"{organization}/{self.caller.user}") is not None

    def runs_team(self, team: object) -> bool:
        """Tell whether the caller's user is an admin of a team, or of the organisation that the team is in."""
        if not isinstance(team, str) or not team:
            return False
        row = self._rows.body("team", team)
        if row is None:
            return False
        if self.runs_organization(row.get("organization_id")):
            return True
        member = self._rows.body("member", f"{team}/{self.caller.user}") if self.caller.user else None
        return member is not None and member.get("role") == "admin"

    def in_team(self, team: object) -> bool:
        """Tell whether the caller belongs to a team."""
        if not isinstance(team, str) or not team:
            return False
        return self.caller.team == team or self._rows.body("member", f"{team}/{self.caller.user}") is not None

    def may_in_team(self, team: object, route: str) -> bool:
        """Tell whether members of a team may do that themselves: its ``team_member_permissions`` name the route."""
        row = self._rows.body("team", team) if isinstance(team, str) and self.in_team(team) else None
        return row is not None and route in (row.get("team_member_permissions") or ())

    # What one may. ----------------------------------------------------------------------------------------------------

    def sees_key(self, key: Fields) -> bool:
        caller = self.caller
        if caller.views or (caller.key and caller.key == key.get("token")):
            return True
        if caller.user and caller.user == key.get("user_id"):
            return True
        team = key.get("team_id")
        if self.in_team(team) and (not key.get("user_id") or self.may_in_team(team, "/key/info")):
            return True  # a team's members see its keys that are no user's, and the others' where the team lets them
        return self.runs_team(team) or self.runs_organization(key.get("organization_id"))

    def changes_key(self, key: Fields, route: str = "") -> bool:
        """Tell whether the caller may change a key, or make it as it is. A key of nobody cannot change itself: its
        limits would be its own affair. ``route``: of the call, which a team may have opened to its members."""
        caller = self.caller
        if caller.admin:
            return True
        if caller.views or caller.role == INTERNAL_VIEWER:
            return False
        team = key.get("team_id")
        if self.runs_team(team) or self.runs_organization(key.get("organization_id")):
            return True
        if team:
            return bool(caller.user) and caller.user == key.get("user_id") and self.may_in_team(team, route)
        return bool(caller.user) and caller.user == key.get("user_id") and not key.get("organization_id")

    def governs_key(self, key: Fields) -> bool:
        """Tell whether the caller may block a key and set back what it spent: its owner's admins, not its owner."""
        if self.caller.admin:
            return True
        return self.runs_team(key.get("team_id")) or self.runs_organization(key.get("organization_id"))

    def takes_key(self, key: Fields) -> bool:
        """Tell whether the caller may have the secret of a key: of one that is a user's, and so may what that user may,
        nobody gets it who might be less than he is."""
        owner = key.get("user_id")
        if self.caller.admin or not owner or owner == self.caller.user:
            return True
        row = self._rows.body("user", owner) or {}
        return row.get("user_role") not in (PROXY_ADMIN, ADMIN_VIEWER, "org_admin")

    def sees_team(self, team: Fields) -> bool:
        name = team.get("team_id")
        if self.caller.views or self.in_team(name):
            return True
        return self.runs_team(name) or self.runs_organization(team.get("organization_id"))

    def changes_team(self, team: Fields) -> bool:
        return self.caller.admin or self.runs_team(team.get("team_id"))

    def sees_user(self, user: object) -> bool:
        return self.caller.views or (bool(self.caller.user) and self.caller.user == user)

    def sees_organization(self, organization: object) -> bool:
        return self.caller.views or self.in_organization(organization)

    def changes_organization(self, organization: object) -> bool:
        return self.caller.admin or self.runs_organization(organization)


def need_admin(caller: Caller, what: str) -> None:
    """Raise "forbidden" for whoever is no proxy admin."""
    if not caller.admin:
        raise GatewayError("forbidden", f"Only proxy admin can be used to {what}.")


def need_view(caller: Caller, what: str) -> None:
    """Raise "forbidden" for whoever may not see everything."""
    if not caller.views:
        raise GatewayError("forbidden", f"Only proxy admins and their viewers may {what}.")
