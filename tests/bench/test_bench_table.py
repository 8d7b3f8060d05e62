"""The table shows every arm, run or not, and a verdict per target."""

from __future__ import annotations

import pytest

from bench import load, procs, run, shapes, table
from bench.arms import ARMS, ORDER

MEDIANS = {
    "nginx": {"r2_per_s": 50_000.0, "r2_cpu_us": 20.0, "r1_added_p50_ms": 0.1, "r1_added_p99_ms": 0.2},
    "penstock": {"r2_per_s": 20_000.0, "r2_cpu_us": 50.0, "r1_added_p50_ms": 0.25, "r1_added_p99_ms": 0.4},
    "litellm": {"r2_per_s": 100.0},
}


def test_every_cell_has_a_figure_or_says_why_not() -> None:
    text = table.render(MEDIANS, ORDER, ["R2"], {"portkey": "npm is not installed", "litellm R2": "timeout"})
    rows = [line for line in text.splitlines() if line.startswith("| R2 |")]
    assert len(rows) == len([r for r in table.ROWS if r[0] == "R2"])
    assert rows[0] == "| R2 | **requests/s**, 64 connections | - | 50,000 | 20,000 | 100 | not run |"
    assert rows[1].split("|")[6].strip() == "not run", "a shape that failed on one arm is not silently absent"
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_verdicts_say_ok_missed_and_not_measured() -> None:
    lines = table.verdicts(MEDIANS, ["R1", "R2"])
    assert "R2 penstock/litellm requests/s: 200x, wanted >= 100x: ok" in lines
    assert "R2 penstock/nginx requests/s: 0.4x, wanted >= 0.3x: ok" in lines
    assert "R2 penstock/nginx requests per CPU second: 0.4x, wanted >= 0.3x: ok" in lines
    assert "R1 penstock/nginx added p50: 2.5x, wanted <= 2x: MISSED" in lines
    assert "R1 penstock/nginx added p99: 2x, wanted <= 3x: ok" in lines
    assert "R2 penstock/portkey requests/s: not measured, wanted >= 12x" in lines
    assert not [line for line in lines if line.startswith("R3")]


def test_no_ratio_over_an_added_latency_below_zero() -> None:
    noisy = {**MEDIANS, "nginx": {**MEDIANS["nginx"], "r1_added_p99_ms": -0.1}}
    assert "R1 penstock/nginx added p99: not measured, wanted <= 3x" in table.verdicts(noisy, ["R1"])


def test_every_target_and_row_names_a_known_shape() -> None:
    assert {row[0] for row in table.ROWS} == set(shapes.ALL)
    assert {t.text.split(" ")[0] for t in table.TARGETS} <= set(shapes.ALL)
    assert tuple(ARMS) == ORDER


def test_the_report_takes_medians_and_lists_what_was_not_run() -> None:
    host = {"cpu": "c", "cores": 2, "memory_gb": 1, "system": "Linux", "kernel": "6", "pinned": True}
    meta = {"date": "2026-11-20 09:00 UTC", "machine": host, "versions": {"nginx": "1"}, "arms": ["nginx", "portkey"]}
    meta |= {"shapes": ["R2"], "quick": False, "rounds": 3, "took_s": 1.0}
    text = run.report(meta, {"nginx": {"r2_per_s": [1.0, 300.0, 20.0]}}, {"portkey": "no npm"}, ["a note"])
    assert "| R2 | **requests/s**, 64 connections | 20 | not run |" in text
    assert "- not run: portkey: no npm" in text
    assert "- note: a note" in text


def test_wrk_result_is_read_in_ms_and_its_absence_is_an_error() -> None:
    line = 'noise\nBENCH {"us":2000000,"requests":500,"p50_us":120.0,"p99_us":900.0,"non_2xx":2,"errors":1}\n'
    seen = load.parse(line)
    assert (seen.per_second, seen.p50_ms, seen.p99_ms, seen.non_2xx, seen.errors) == (250, 0.12, 0.9, 2, 1)
    with pytest.raises(ValueError, match="no result"):
        load.parse("unable to connect")


@pytest.mark.parametrize("argv", [["--arms", "ngins"], ["--shapes", "R99"], ["--rounds", "0"], ["--arms", ","]])
def test_wrong_options_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run.main(argv)
    assert stopped.value.code == 2
    assert argv[1] in capsys.readouterr().err


def test_cpu_and_memory_of_this_process_are_seen() -> None:
    import os

    before = procs.cpu_seconds([os.getpid()])
    while procs.cpu_seconds([os.getpid()]) - before < 0.02:
        sum(range(20_000))
    assert procs.rss_mb([os.getpid()]) > 5
    assert os.getpid() in procs.tree(os.getppid())
