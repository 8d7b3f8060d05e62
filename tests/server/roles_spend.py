"""Who gets an answer at the reports of spend; see ``test_roles.py``. What the answer has in it for each is in
``test_spend_reports.py``."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from typing import Any

from penstock.admin import activity, spend_bills, spend_global, spend_logs, spend_reports, spend_sessions, spend_sums
from penstock.stores.sql.address import read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.migrate import upgrade
from penstock.stores.sql.spend import SqlSpendStore
from tests.server.roles_keys import WHO_MANAGE, WHO_SEE_ALL

WITH_A_KEY = WHO_SEE_ALL | set("org_admin team_admin member internal internal_viewer foreign alone read_only".split())
DATES = "start_date=2026-11-01&end_date=2026-11-30"
ALL = (
    "/global/spend /global/spend/report /global/spend/teams /global/spend/all_tag_names /global/spend/end_users "
    "/global/all_end_users"
).split()
_PATHS = [route.path for of in (activity, spend_global, spend_logs, spend_reports, spend_sessions, spend_sums) for route in of.ROUTES]
ROLES: dict[tuple[str, str], set[str]] = {
    **{("GET", path): WHO_SEE_ALL if path in ALL else WITH_A_KEY for path in _PATHS if path != "/global/spend/reset"},
    ("POST", "/global/spend/end_users"): WHO_SEE_ALL,
    ("POST", "/global/spend/reset"): WHO_MANAGE,
    **{("POST", route.path): WHO_SEE_ALL for route in spend_bills.ROUTES},
    # Of another's.
    ("GET", "/key/spend/report"): WHO_SEE_ALL | {"org_admin", "team_admin", "member"},
    ("GET", "/user/spend/report"): WHO_SEE_ALL | {"member"},
    ("GET", "/team/spend/report"): WHO_SEE_ALL | {"org_admin", "team_admin", "member"},
    ("GET", "/team/daily/activity"): WHO_SEE_ALL | {"org_admin", "team_admin", "member"},
    ("GET", "/organization/spend/report"): WHO_SEE_ALL | {"org_admin"},
    ("GET", "/organization/daily/activity"): WHO_SEE_ALL | {"org_admin"},
    ("GET", "/user/daily/activity"): WHO_SEE_ALL | {"member"},
    ("GET", "/spend/users"): WHO_SEE_ALL | {"member"},
}
_BILL = "usage_date_utc,model,cost_usd\n2026-11-03,claude-haiku-4-5,1.5\n"
ASKED: dict[tuple[str, str], tuple[str, Any]] = {
    ("POST", "/spend/reconcile"): ("/spend/reconcile", {"bill": _BILL}),
    ("GET", "/key/spend/report"): (f"/key/spend/report?{DATES}&api_key={{red}}", None),
    ("GET", "/user/spend/report"): (f"/user/spend/report?{DATES}&user_id=member", None),
    ("GET", "/team/spend/report"): (f"/team/spend/report?{DATES}&team_id=t", None),
    ("GET", "/team/daily/activity"): (f"/team/daily/activity?{DATES}&team_ids=t", None),
    ("GET", "/organization/spend/report"): (f"/organization/spend/report?{DATES}&organization_id=o", None),
    ("GET", "/organization/daily/activity"): (f"/organization/daily/activity?{DATES}&organization_ids=o", None),
    ("GET", "/user/daily/activity"): (f"/user/daily/activity?{DATES}&user_id=member", None),
    ("GET", "/spend/users"): ("/spend/users?user_id=member", None),
}


class Spending:
    """The part of a gateway's storage that reports ask."""

    usable = connected = True

    def __init__(self, spend: SqlSpendStore) -> None:
        self.spend = spend


@cache
def spending() -> Spending:
    """A database in which nothing was spent, the same for all tests."""
    folder = tempfile.mkdtemp(prefix="penstock-roles-")
    atexit.register(shutil.rmtree, folder, True)
    database = Database(read_address(f"sqlite:///{folder}/penstock.db"))
    upgrade(database)
    return Spending(SqlSpendStore(database))
