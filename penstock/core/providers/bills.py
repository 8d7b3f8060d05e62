"""Bills of providers, as they export them: what each day and model cost.

OpenAI: the costs file of its usage page (CSV) and ``GET /v1/organization/costs``. Anthropic: the cost file of its
console (CSV) and ``GET /v1/organizations/cost_report``, whose amounts are cents. AWS: Cost and Usage Reports, old and
2.0 (CSV).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

Fields = Mapping[str, Any]


class Billed(NamedTuple):
    """What a model cost on a day (UTC), in dollars. ``model``: as the bill names it, "" where it does not."""

    day: str
    model: str
    cost: Decimal


class Bill(NamedTuple):
    """A form of bills. ``providers``: whose, as the ledger names them; ``columns``: by which a file of it is known."""

    name: str
    providers: tuple[str, ...]
    columns: tuple[str, ...]
    read: Callable[[Fields], Billed | None]


class Unreadable(ValueError):
    """A bill is in none of the known forms, or a row of it cannot be read."""


def bill_of(columns: Collection[str]) -> Bill:
    """Return the form of a file with these columns. Raises ``Unreadable`` with the forms that would do."""
    for bill in BILLS:
        if set(bill.columns) <= set(columns):
            return bill
    known = "; ".join(f"{bill.name}: {', '.join(bill.columns)}" for bill in BILLS)
    raise Unreadable(f"its columns are none of a known bill ({known})")


def read_rows(bill: Bill, rows: Iterable[Fields]) -> Iterator[Billed]:
    """Yield what the rows of a file say. Raises ``Unreadable`` that names the row."""
    for number, fields in enumerate(rows, 2):
        try:
            found = bill.read(fields)
        except (ValueError, KeyError, TypeError, OverflowError, OSError, InvalidOperation) as error:
            raise Unreadable(f"row {number} of {bill.name} cannot be read: {error}") from None
        if found is not None and found.cost:
            yield found


def read_pages(document: Any) -> tuple[Bill, list[Billed]]:
    """Read an answer of a provider's cost API, or a list of them (its pages). Raises ``Unreadable``."""
    pages = document if isinstance(document, list) else [document]
    buckets = [bucket for page in pages if isinstance(page, Mapping) for bucket in _list(page.get("data"))]
    if not buckets or not all(isinstance(bucket, Mapping) for bucket in buckets):
        raise Unreadable("it is no answer of /v1/organization/costs or /v1/organizations/cost_report")
    theirs = "starting_at" in buckets[0]
    bill, told = (ANTHROPIC, _anthropic_row) if theirs else (OPENAI, _openai_row)
    try:
        rows = [told(bucket, result) for bucket in buckets for result in _list(bucket.get("results"))]
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
        raise Unreadable(f"a result of {bill.name} cannot be read: {error!r:.100}") from None
    return bill, list(read_rows(bill, rows))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _anthropic_row(bucket: Fields, result: Any) -> Fields:
    cents = Decimal(str(result["amount"]))
    return {"usage_date_utc": bucket["starting_at"], "model": result.get("model"), "cost_usd": cents / 100}


def _openai_row(bucket: Fields, result: Any) -> Fields:
    amount = result["amount"]["value"]
    return {"start_time": bucket["start_time"], "line_item": result.get("line_item"), "amount_value": amount}


def _openai(fields: Fields) -> Billed | None:
    amount = fields["amount_value"]
    if amount in (None, ""):
        return None  # a day on which nothing was used
    day = datetime.fromtimestamp(float(fields["start_time"]), UTC).date().isoformat()
    return Billed(day, str(fields.get("line_item") or "").partition(",")[0].strip(), _money(amount))


def _anthropic(fields: Fields) -> Billed | None:
    return Billed(str(fields["usage_date_utc"])[:10], str(fields.get("model") or ""), _money(fields["cost_usd"]))


def _cur(fields: Fields) -> Billed | None:
    """Read a row of the 2.0 form. Models of other vendors are products of their own there."""
    product = f"{fields.get('line_item_product_code') or ''} {fields.get('product_product_name') or ''} "
    product += str(fields.get("line_item_line_item_description") or "")
    if "bedrock" not in product.lower():
        return None
    if fields.get("line_item_line_item_type") in ("Tax", "Credit", "Refund", "Fee", "RIFee"):
        return None
    usage = str(fields.get("line_item_usage_type") or "")
    model = _REGION.sub("", _TOKENS.sub("", usage))
    if usage.startswith("MP:") or "_" in model:
        model = _EDITION.sub("", str(fields.get("product_product_name") or "")).strip() or model
    return Billed(str(fields["line_item_usage_start_date"])[:10], model, _money(fields["line_item_unblended_cost"]))


def _old_cur(fields: Fields) -> Billed | None:
    return _cur({new: fields.get(old) for new, old in _OLD.items()})


def _money(value: Any) -> Decimal:
    found = Decimal(str(value).strip() or "0")
    if not found.is_finite():
        raise ValueError(f"{value!r:.40} is no amount")
    return found


_TOKENS = re.compile(r"-(?:mantle-)?(?:(?:input|output)-tokens|cache-(?:read|write)-input-token-count).*$", re.I)
_REGION = re.compile(r"^[A-Z]{2,4}[0-9]+-")
_EDITION = re.compile(r"\s*\(Amazon Bedrock Edition\)", re.I)
_OLD = {
    "line_item_product_code": "lineItem/ProductCode",
    "product_product_name": "product/ProductName",
    "line_item_line_item_description": "lineItem/LineItemDescription",
    "line_item_line_item_type": "lineItem/LineItemType",
    "line_item_usage_type": "lineItem/UsageType",
    "line_item_usage_start_date": "lineItem/UsageStartDate",
    "line_item_unblended_cost": "lineItem/UnblendedCost",
}
OPENAI = Bill("OpenAI's costs", ("openai",), ("start_time", "amount_value", "line_item"), _openai)
ANTHROPIC = Bill("Anthropic's costs", ("anthropic",), ("usage_date_utc", "model", "cost_usd"), _anthropic)
_BEDROCK = ("bedrock", "bedrock_mantle")
BILLS = (
    OPENAI,
    ANTHROPIC,
    Bill("AWS's Cost and Usage Report", _BEDROCK, ("line_item_usage_start_date", "line_item_unblended_cost"), _cur),
    Bill("AWS's old Cost and Usage Report", _BEDROCK, ("lineItem/UsageStartDate", "lineItem/UnblendedCost"), _old_cur),
)


def same_name(model: str) -> str:
    """Return what a model's names have in common: ``Claude Haiku 4.5`` in a bill is ``claude-haiku-4-5-20251001``, or
    ``us.anthropic.claude-haiku-4-5-20251001-v1:0``, to the ledger. The words of a name, without its vendor, date and
    version, in the order of the alphabet."""
    name = model.lower().rpartition("/")[2][:200]
    name = _VENDOR.sub("", name)
    name = _DATE.sub("", _VERSION.sub("", name))
    return " ".join(sorted(_WORD.findall(name)))


_VENDOR = re.compile(r"^(?:[a-z][a-z0-9-]{0,30}\.){1,3}(?=[a-z])")
_VERSION = re.compile(r"-v[0-9]{1,3}(?::[0-9]{1,3})?$")
_DATE = re.compile(r"[-@](?:20[0-9]{6}|20[0-9]{2}-[0-9]{2}-[0-9]{2}|latest)\b")
_WORD = re.compile(r"[a-z]+|[0-9]+")
