"""`penstock spend reconcile`: bills in the forms in which providers export them, beside the ledger."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.providers.bills import Unreadable, bill_of, read_pages, same_name
from penstock.stores.sql.address import read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.migrate import prepare
from penstock.stores.sql.spend import SqlSpendStore
from tests.cli.test_spend import run
from tests.server.spending import DAY, NOON, spent

# The columns of the files as of 2026: OpenAI's and Anthropic's pages, AWS's data dictionary. Figures are invented.
OPENAI = """start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,user_id,api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source
1763337600,1763424000,2026-11-17T00:00:00+00:00,2026-11-18T00:00:00+00:00,,,,,,,,,,,,,
1794960000,1795046400,2026-11-18T00:00:00+00:00,2026-11-19T00:00:00+00:00,0.30000000000,usd,1,,"gpt-4o-2024-08-06, input",,,,org-x,,P,,
1794960000,1795046400,2026-11-18T00:00:00+00:00,2026-11-19T00:00:00+00:00,0.70000000000,usd,1,,"gpt-4o-2024-08-06, output",,,,org-x,,P,,
1795046400,1795132800,2026-11-19T00:00:00+00:00,2026-11-20T00:00:00+00:00,2.5,usd,1,,"o3-mini, input",,,,org-x,,P,,
"""
ANTHROPIC = """usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed,api_key_id,api_key_status
2026-11-18,Claude Haiku 4.5,Default,k,message,≤ 200k,input_no_cache,0.4,0.4,token,not_available,,apikey_01,active
2026-11-18,Claude Haiku 4.5,Default,k,message,≤ 200k,output,0.6,0.6,token,not_available,,apikey_01,active
2026-11-19,Claude Sonnet 3.5,Default,k,message,≤ 200k,output,2.5,2.5,token,not_available,,apikey_01,active
"""
CUR = """line_item_usage_start_date,line_item_product_code,line_item_line_item_type,line_item_usage_type,line_item_unblended_cost,product_product_name,line_item_line_item_description
2026-11-18T00:00:00Z,AmazonBedrock,Usage,USE1-Claude3Haiku-input-tokens,0.25,Amazon Bedrock,tokens
2026-11-18T05:00:00Z,AmazonBedrock,Usage,USE1-Claude3Haiku-output-tokens,0.5,Amazon Bedrock,tokens
2026-11-18T05:00:00Z,AmazonBedrock,Usage,USE1-Claude3Haiku-cache-read-input-token-count,0.25,Amazon Bedrock,tokens
2026-11-19T05:00:00Z,4zpu2jv8aaaaaaa,Usage,MP:USE1_InputTokenCount-Units,2.5,Claude Sonnet 3.5 (Amazon Bedrock Edition),AWS Marketplace
2026-11-19T05:00:00Z,AmazonBedrock,Tax,,9.5,Amazon Bedrock,tax
2026-11-19T05:00:00Z,AmazonEC2,Usage,BoxUsage:t3.micro,7.5,Amazon Elastic Compute Cloud,a machine
"""
OLD = {"line_item_usage_start_date": "lineItem/UsageStartDate", "line_item_product_code": "lineItem/ProductCode",
       "line_item_line_item_type": "lineItem/LineItemType", "line_item_usage_type": "lineItem/UsageType",
       "line_item_unblended_cost": "lineItem/UnblendedCost", "product_product_name": "product/ProductName",
       "line_item_line_item_description": "lineItem/LineItemDescription"}  # fmt: skip
OPENAI_PAGE = {"object": "page", "has_more": False, "data": [
    {"object": "bucket", "start_time": 1794960000, "end_time": 1795046400, "results": [
        {"object": "organization.costs.result", "amount": {"value": 1.0, "currency": "usd"}, "line_item": "gpt-4o-2024-08-06, input"}]},
    {"object": "bucket", "start_time": 1795046400, "end_time": 1795132800, "results": [
        {"object": "organization.costs.result", "amount": {"value": "2.5", "currency": "usd"}, "line_item": "o3-mini, input"}]}]}  # fmt: skip
ANTHROPIC_PAGE = {"data": [
    {"starting_at": "2026-11-18T00:00:00Z", "ending_at": "2026-11-19T00:00:00Z", "results": [
        {"currency": "USD", "amount": "100.0", "model": "claude-haiku-4-5-20251001", "token_type": "output_tokens"}]},
    {"starting_at": "2026-11-19T00:00:00Z", "ending_at": "2026-11-20T00:00:00Z", "results": [
        {"currency": "USD", "amount": "250", "model": "claude-3-5-sonnet-20241022"}]}], "has_more": False}  # fmt: skip


def old(text: str) -> str:
    head, _, rest = text.partition("\n")
    return ",".join(OLD[name] for name in head.split(",")) + "\n" + rest


FILES = {
    "openai.csv": (OPENAI, "openai", ("gpt-4o", "o3-mini")),
    "openai.json": (json.dumps([OPENAI_PAGE]), "openai", ("gpt-4o", "o3-mini")),
    "anthropic.csv": (ANTHROPIC, "anthropic", ("claude-haiku-4-5-20251001", "claude-3-5-sonnet-20241022")),
    "anthropic.json": (json.dumps(ANTHROPIC_PAGE), "anthropic", ("claude-haiku-4-5", "claude-3-5-sonnet-latest")),
    "cur.csv": (CUR, "bedrock", ("us.anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-5-sonnet-20241022-v2:0")),
    "old-cur.csv": (old(CUR), "bedrock", ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-5-sonnet-20241022-v2:0")),
}


def database(tmp_path: Path, provider: str, models: tuple[str, str], second: float = 2.5) -> str:
    url = f"sqlite:///{tmp_path}/penstock.db"
    made = Database(read_address(url))
    prepare(made, "a check")
    entries = [
        spent("a", "k", NOON, 0.75, target=models[0], provider=provider), spent("b", "k", NOON, 0.25, target=models[0], provider=provider),
        spent("c", "k", NOON + DAY, second, target=models[1], provider=provider, estimated=True),
        spent("d", "k", NOON, 50.0, target=models[0], provider="another"),
    ]  # fmt: skip
    asyncio.run(SqlSpendStore(made).append(entries, {}, {}))
    made.close()
    return url


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packed", [False, True])
def test_a_bill_and_a_ledger_that_agree(tmp_path: Path, name: str, packed: bool):
    text, provider, models = FILES[name]
    url = database(tmp_path, provider, models)
    file = tmp_path / (name + ".gz" if packed else name)
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    out = run("reconcile", "--bill", str(file), "--url", url, "--fail-over", "0").stdout
    assert "Bill 3.5000 $, ledger 3.5000 $: +0.0000 $ (+0.00 %), 0 of 2 lines shown." in out
    assert "2026-11-18 to 2026-11-19" in out
    lines = run("reconcile", "--bill", str(file), "--url", url, "--all").stdout.splitlines()
    assert len(lines) == 1 + 1 + 2 + 1 + 1, "both models were matched"
    assert lines[3].split()[-2:] == ["1", "1"], "one request, whose usage was counted here"


def test_what_differs_is_shown_and_may_be_an_error(tmp_path: Path):
    url = database(tmp_path, "openai", ("gpt-4o", "gpt-5"), 2.0)
    file = tmp_path / "bill.csv"
    file.write_text(OPENAI)
    out = run("reconcile", "--bill", str(file), "--url", url, "--fail-over", "1", code=1).stdout
    rows = [line.split() for line in out.splitlines()]
    assert ["2026-11-19", "gpt-5", "0.0000", "2.0000", "+2.0000", "-", "1", "1"] in rows
    assert ["2026-11-19", "o3-mini", "2.5000", "0.0000", "-2.5000", "-100.00", "0", "0"] in rows
    assert "ledger 3.0000 $: -0.5000 $ (-14.29 %), 2 of 3 lines shown." in out
    run("reconcile", "--bill", str(file), "--url", url, "--fail-over", "20")
    out = run("reconcile", "--bill", str(file), "--url", url, "--provider", "another").stdout
    assert "ledger 50.0000 $" in out


def test_a_bill_without_models_is_compared_by_day(tmp_path: Path):
    url = database(tmp_path, "openai", ("gpt-4o", "o3-mini"))
    file = tmp_path / "bill.csv"
    file.write_text("start_time,amount_value,line_item\n1794960000,1,\n1795046400,2.5,\n")
    lines = run("reconcile", "--bill", str(file), "--url", url, "--all").stdout.splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [["2026-11-18", "all"], ["2026-11-19", "all"]]
    assert "+0.0000 $" in lines[-1]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.csv", "a,b\n1,2\n", "usage_date_utc"), ("x.csv", "", "none of a known bill"), ("x.json", "{}", "cost_report"),
        ("x.json", "{", "Expecting"), ("x.csv", "usage_date_utc,model,cost_usd\n2026-11-18,m,much\n", "row 2"),
        ("x.csv", "start_time,amount_value,line_item\nsoon,1,m\n", "row 2"), ("x.csv.gz", "no gzip", "gzip"),
        ("x.csv", "usage_date_utc,model,cost_usd\n2026-11-18,m,0\n", "nothing that cost"),
        ("x.csv", "usage_date_utc,model,cost_usd\n2026-11-18,m,NaN\n", "no amount"), ("x.json", '[{"data":[5]}]', "cost_report"),
    ],
)  # fmt: skip
def test_what_is_no_bill_is_told(tmp_path: Path, name: str, text: str, says: str):
    (tmp_path / name).write_text(text)
    assert says in run("reconcile", "--bill", str(tmp_path / name), "--url", f"sqlite:///{tmp_path}/x.db", code=1).output


@pytest.mark.parametrize(
    "names",
    [
        ("Claude Haiku 4.5", "claude-haiku-4-5-20251001", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5@20251001"),
        ("gpt-4o-2024-08-06", "gpt-4o", "openai/gpt-4o"), ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"),
        ("Claude3Sonnet", "anthropic.claude-3-sonnet-20240229-v1:0"), ("gemini-2.5-pro", "models/gemini-2.5-pro"),
    ],
)  # fmt: skip
def test_names_of_one_model_are_one(names: tuple[str, ...]):
    assert len({same_name(name) for name in names}) == 1


def test_names_of_several_models_are_several():
    names = "gpt-4o gpt-4o-mini gpt-4.1 gpt-4.1-mini gpt-4 gpt-5 o3 o3-mini claude-3-opus claude-3-5-sonnet claude-3-sonnet".split()
    assert len({same_name(name) for name in names}) == len(names)


_JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["data", "results", "amount", "value", "starting_at", "start_time", "model"]), inner, max_size=4),
)  # fmt: skip


@given(st.text(max_size=300), _JSON)
def test_whatever_stands_there_is_read_or_refused(text: str, document: object):
    assert isinstance(same_name(text), str)
    try:
        read_pages(document)
    except Unreadable:
        pass
    with pytest.raises(Unreadable):
        bill_of([text])


def test_a_result_without_an_amount_is_refused():
    for page in (OPENAI_PAGE, ANTHROPIC_PAGE):
        broken = json.loads(json.dumps(page))
        del broken["data"][0]["results"][0]["amount"]
        with pytest.raises(Unreadable, match="amount"):
            read_pages(broken)
