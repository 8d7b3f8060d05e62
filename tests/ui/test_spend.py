"""The pages of what was spent, and of a provider's bill."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.serving import Served
from tests.ui.browser import Browser
from tests.ui.filled import Filled, api, fill

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def filled(gateway: Served) -> Filled:
    """What is in the gateway of this file."""
    return fill(gateway, gateway.log.parent)


def days_ago(count: int) -> str:
    return (datetime.now(UTC).date() - timedelta(days=count)).isoformat()


def bill_of(filled: Filled, path: Path, more: float) -> Path:
    """A bill of Anthropic's as the ledger has it, and so much more for the last of its days."""
    lines = ["usage_date_utc,model,cost_usd"]
    told = api(
        filled.served,
        f"/spend/summary?group_by=day&provider=anthropic&start_date={days_ago(20)}&end_date={days_ago(1)}",
    )
    for number, one in enumerate(reversed(told["days"])):
        cost = one["spend"] + (more if number == 0 else 0)
        if cost:
            lines.append(f"{one['date']},Claude Sonnet 4.5,{cost:.6f}")
    file = path / "cost.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_which_key_spent_most_yesterday_takes_at_most_four_clicks(filled: Filled, admin: Browser) -> None:
    admin.goto("/ui")
    clicks = ("link=Spend", "link=Yesterday", "link=Key")
    for target in clicks:
        admin.click(target)
    assert len(clicks) <= 4
    assert "grace-notebooks" in admin.text("tbody tr:first-child") and "$40" in admin.text("tbody tr:first-child")
    assert days_ago(1) in admin.text(".tiles")
    admin.check()


def test_it_is_grouped_filtered_and_exported(filled: Filled, admin: Browser) -> None:
    sums = {}
    for by, first in (("model", "gpt-4o"), ("model_group", "claude"), ("provider", "openai"), ("team", "Search"),
                      ("user", "grace@example.com"), ("tag", "nightly"), ("day", days_ago(20)), ("customer", "")):  # fmt: skip
        assert admin.goto(f"/ui/spend?by={by}") == 200
        assert first in admin.text("tbody"), by
        sums[by] = admin.text(".tile .value")
    assert len({sums[by] for by in ("model", "model_group", "provider", "day")}) == 1
    admin.goto("/ui/spend?by=model&team=t-search")
    assert "team Search" in admin.text() and admin.text(".tile .value") != sums["model"]
    admin.click("summary >> text=Other days")
    admin.fill(since=days_ago(3), until=days_ago(2), provider="openai")
    admin.click("button=Show")
    assert days_ago(3) in admin.text(".tiles") and "anthropic" not in admin.text("tbody")
    href = admin.do("eval", code="document.querySelector('a[download]').href")
    assert "provider=openai" in href and f"since={days_ago(3)}" in href
    text = admin.do("eval", code=f"fetch({href!r}).then((answer) => answer.text())")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows and {row["model"] for row in rows} <= {"gpt-4o", "gpt-4o-mini"}
    shown = api(
        filled.served,
        f"/spend/summary?start_date={days_ago(3)}&end_date={days_ago(2)}&provider=openai&team_id=t-search",
    )
    assert sum(float(row["spend"]) for row in rows) == pytest.approx(shown["total"]["spend"])
    admin.goto("/ui/spend?range=7d&since=2020-01-01&until=nonsense&by=nothing")
    assert admin.do("count", target="[aria-current=true]") == 2
    admin.goto("/ui/spend?since=2020-01-01&until=2020-01-02")
    assert "Nothing was spent in these days" in admin.text()
    admin.goto("/ui/spend?by=user&team=t-search")
    assert "Sums are kept of one of" in admin.text("[role=alert]")


def test_a_bill_is_compared_by_day_and_model(filled: Filled, admin: Browser, tmp_path: Path) -> None:
    admin.goto("/ui/reconcile")
    admin.click("button=Compare")
    assert "Choose the file" in admin.text("[role=alert]")
    admin.fill(text="what,is,this\n1,2,3")
    admin.click("button=Compare")
    assert "none of a known bill" in admin.text("[role=alert]")
    admin.do("upload", target="[name=bill]", files=str(bill_of(filled, tmp_path, 2.5)))
    admin.fill(text="")
    admin.click("button=Compare")
    text = admin.text()
    assert "Anthropic's costs" in text and "-$2.50" in text and "same" in text
    assert admin.do("count", target="tbody .chip.good") >= 3
    admin.check()
    admin.do("upload", target="[name=bill]", files=str(bill_of(filled, tmp_path, 0)))
    admin.click("button=Compare")
    assert admin.do("count", target="tbody .chip.bad") == 0


def test_spend_is_read_without_scripts_and_ones_own_alone(filled: Filled, browser: Browser) -> None:
    browser.open(script=False)
    browser.sign_in(filled.keys["ada-laptop"])
    browser.goto("/ui/spend?by=key&range=90d")
    assert "ada-laptop" in browser.text("tbody") and "search-backend" not in browser.text("tbody")
    assert "Team" not in browser.text("nav[aria-label=By]")
    assert browser.goto("/ui/reconcile") == 403
    browser.goto("/ui/spend?by=model&user=grace")
    assert "may not see" in browser.text("[role=alert]")


def test_they_look_good(filled: Filled, admin: Browser, tmp_path: Path) -> None:
    admin.shots("spend", "/ui/spend?by=key")
    assert admin.do("paints")["shifts"] < 0.02
    admin.shots("reconcile", "/ui/reconcile")
    admin.do("upload", target="[name=bill]", files=str(bill_of(filled, tmp_path, 2.5)))
    admin.click("button=Compare")
    admin.do("shot", path="artifacts/reconcile-bill.png")
