"""Metrics of a gateway as a process: several workers as one, and a real Prometheus that reads them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.databases import install
from tests.e2e.conftest import MOCK_KEY
from tests.e2e.serving import MASTER_KEY, ROOT, clean_env, free_port, get, until
from tests.server.scraped import Scraped, told_names

ALERTS, DASHBOARD = ROOT / "docs/prometheus/alerts.yml", ROOT / "docs/grafana/penstock.json"
TOKEN = "sk-of-the-scraper-alone-55"
YAML = f"""
model_list:
  - model_name: m
    litellm_params: {{{{model: openai/real-model, api_base: "{{mock}}/v1", api_key: {MOCK_KEY},
                     input_cost_per_token: 0.001, output_cost_per_token: 0.002}}}}
general_settings: {{{{master_key: {MASTER_KEY}, metrics_token: {TOKEN}}}}}
"""


def ask(url: str, times: int, status: int = 200, model: str = "m") -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {MASTER_KEY}"}
    for _ in range(times):
        request = urllib.request.Request(f"{url}/v1/chat/completions", body, headers)
        try:
            with opener.open(request, timeout=10) as answer:
                assert answer.status == status and answer.read()
        except urllib.error.HTTPError as error:
            assert error.code == status, error.read()


def scrape(url: str) -> Scraped:
    status, body = get(f"{url}/metrics", authorization=f"Bearer {TOKEN}")
    assert status == 200, body
    return Scraped(body.decode())


def workers_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds workers through Linux's /proc")
def test_workers_are_scraped_as_one_and_one_that_is_killed_takes_no_counts_with_it(served, mock) -> None:
    gateway = served(YAML.format(mock=mock.url), "--workers", "3")
    until(lambda: scrape(gateway.url).sum("penstock_workers") == 3, 20.0)
    ask(gateway.url, 60)
    ask(gateway.url, 5, 400, "nobody")

    def counted() -> float:
        return scrape(gateway.url).sum("penstock_requests_total")

    until(lambda: counted() == 65, 10.0, "what a worker has counted is there for the others within a second")
    before = scrape(gateway.url)
    assert before.sum("penstock_spend_usd_total") > 0
    assert before.sum("litellm_proxy_total_requests_metric_total", status_code="400") == 5
    for victim in workers_of(gateway.pid)[:2]:
        os.kill(victim, signal.SIGKILL)
    for _ in range(30):
        assert counted() >= 65, "a counter went back"
    until(lambda: scrape(gateway.url).sum("penstock_workers") == 3, 30.0)
    ask(gateway.url, 40)
    until(lambda: counted() == 105, 10.0)
    after = scrape(gateway.url)
    assert after.sum("penstock_spend_usd_total") == pytest.approx(before.sum("penstock_spend_usd_total") * 100 / 60)
    assert after.sum("process_cpu_seconds_total") >= before.sum("process_cpu_seconds_total")
    status, body = get(f"{gateway.url}/metrics/series?minutes=10", authorization=f"Bearer {MASTER_KEY}")
    totals = json.loads(body)["totals"]
    assert status == 200 and (totals["requests"], totals["client_errors"]) == (105, 5)


# Prometheus -----------------------------------------------------------------------------------------------------------


def found(program: str) -> str:
    """The path of a program of Debian's package; skips where it is not there and cannot be installed."""
    why = install("prometheus", lambda: shutil.which("prometheus") and shutil.which("promtool"), ("prometheus",))
    if why:
        pytest.skip(why)
    path = shutil.which(program)
    assert path
    return path


def expressions() -> list[str]:
    """Every query of the dashboard."""
    board = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return queries + [one["expr"] for one in board["annotations"]["list"]]


def test_every_metric_that_the_dashboard_and_the_rules_name_is_told() -> None:
    rules = [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    variables = [
        one["definition"] for one in json.loads(DASHBOARD.read_text())["templating"]["list"] if "definition" in one
    ]
    named = {
        name
        for text in (*expressions(), *rules, *variables)
        for name in re.findall(r"\b(?:penstock|litellm|process)_\w+", text)
    }
    bare = {re.sub(r"_(?:total|bucket|sum|count)$", "", name) for name in named}
    assert len(bare) > 30 and bare - told_names() == set()


def test_the_dashboard_is_laid_out_without_gaps_or_overlaps() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        here = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & here and at["x"] + at["w"] <= 24, panel["title"]
        taken |= here


def test_the_rules_are_rules_and_fire_when_they_should(tmp_path: Path) -> None:
    promtool = found("promtool")
    cases = (Path(__file__).parent / "alerts_test.yml").read_text().replace("RULES", str(ALERTS))
    (tmp_path / "cases.yml").write_text(cases)
    for words in (["check", "rules", str(ALERTS)], ["test", "rules", str(tmp_path / "cases.yml")]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def prometheus(folder: Path, port: int, targets: list[int]) -> Iterator[str]:
    """Runs a Prometheus that scrapes gateways twice a second. Yields its address."""
    told = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{
            "job_name": "penstock",
            "authorization": {"credentials": TOKEN},
            "static_configs": [{"targets": [f"127.0.0.1:{one}" for one in targets]}],
        }],
    }  # fmt: skip
    (folder / "prometheus.yml").write_text(yaml.safe_dump(told))
    command = [found("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=clean_env(folder), stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: get(f"{url}/-/ready")[0] == 200, 30.0, "Prometheus is ready")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def query(url: str, text: str) -> Any:
    status, body = get(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': text})}")
    told = json.loads(body)
    assert status == 200 and told["status"] == "success", (text, body)
    return told["data"]["result"]


def value(url: str, text: str) -> float:
    rows = query(url, text)
    return float(rows[0]["value"][1]) if rows else 0.0


def test_a_prometheus_scrapes_it_and_answers_with_what_was_sent(served, mock, tmp_path: Path) -> None:
    found("prometheus")
    gateway = served(YAML.format(mock=mock.url))
    ask(gateway.url, 25)
    ask(gateway.url, 4, 400, "nobody")
    with prometheus(tmp_path, free_port(), [gateway.port]) as url:
        until(lambda: value(url, "sum(penstock_requests_total)") == 29, 20.0)
        assert value(url, 'up{job="penstock"}') == 1
        ask(gateway.url, 10)
        until(lambda: value(url, "sum(penstock_requests_total)") == 39, 20.0)
        assert value(url, 'sum(penstock_requests_total{status="400", model="unknown"})') == 4
        assert value(url, 'sum(litellm_proxy_total_requests_metric_total{requested_model="m"})') == 35
        spent = scrape(gateway.url).sum("penstock_spend_usd_total")
        assert spent > 0 and value(url, "sum(penstock_spend_usd_total)") == pytest.approx(spent)
        until(
            lambda: (
                value(url, "histogram_quantile(0.95, sum by (le) (rate(penstock_request_duration_seconds_bucket[1m])))")
                > 0
            ),
            20.0,
        )
        for text in expressions():
            for name, what in {"$__rate_interval": "1m", "$job": ".*", "$model": ".*"}.items():
                text = text.replace(name, what)
            query(url, text)
        rules = until(lambda: rules_of(url), 20.0)
        assert len(rules) == 16 and {rule["health"] for rule in rules} == {"ok"}, rules
        status, body = get(f"{url}/api/v1/metadata?metric=penstock_requests")
        [told] = json.loads(body)["data"]["penstock_requests"]  # OpenMetrics, which Prometheus asks for
        assert status == 200 and told["type"] == "counter" and told["help"]


def rules_of(url: str) -> list[dict[str, Any]]:
    """The rules, once each was evaluated."""
    groups = json.loads(get(f"{url}/api/v1/rules")[1])["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return rules if all(rule["health"] != "unknown" for rule in rules) else []
