"""Run the benchmark and print one table.

    python -m bench.run [--quick] [--arms a,b] [--shapes R1,R2] [--rounds N] [--out FILE] [--pure] [--penstock DIR]

Progress goes to stderr; the table goes to stdout and, with a .json of every round, to bench/results/. The exit code is
0 also when a target is missed: the run reports. It is 2 when the harness itself could not do its work.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import procs, shapes, table, tools
from bench.arms import ARMS, ORDER, Arm, Context
from bench.session import FULL, QUICK, Session, ShapeFailed

QUIET = 0.1
Rounds = dict[str, dict[str, list[float]]]


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Penstock beside its peers, as one table.")
    parser.add_argument("--quick", action="store_true", help="one short round: rough figures in two minutes")
    parser.add_argument("--arms", default=",".join(ORDER), help="default: %(default)s")
    parser.add_argument("--shapes", default=",".join(shapes.DEFAULT), help=f"of {','.join(shapes.ALL)}; or 'all'")
    parser.add_argument("--rounds", type=int, help="default: 3, with --quick 1")
    parser.add_argument("--out", type=Path, help="the markdown file; a .json is put beside it")
    parser.add_argument("--pure", action="store_true", help="this Penstock without compiled modules")
    parser.add_argument("--penstock", type=Path, help="source tree of another Penstock to measure")
    options = parser.parse_args(argv)
    options.arms = _names(parser, "--arms", options.arms, ORDER)
    options.shapes = _names(parser, "--shapes", options.shapes, shapes.ALL)
    options.settings = QUICK if options.quick else FULL
    if options.rounds is not None:
        if options.rounds < 1:
            parser.error(f"--rounds {options.rounds}: at least 1")
        options.settings = dataclasses.replace(options.settings, rounds=options.rounds)
    return options


def _names(parser: argparse.ArgumentParser, option: str, text: str, known: tuple[str, ...]) -> list[str]:
    asked = list(known) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in asked if name not in known]
    if wrong or not asked:
        parser.error(f"{option} {text}: {', '.join(wrong) or 'nothing'} is not one of {', '.join(known)}")
    return [name for name in known if name in asked]


def machine() -> dict[str, Any]:
    """What the figures depend on, without the host's name."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "system": platform.system(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "pinned": procs.can_pin(),
    }


def _versions(names: list[str], context: Context, missing: dict[str, str], notes: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = ARMS[name].version(context)
            if ARMS[name].remark() != tools.AS_PUBLISHED:
                notes.append(f"{name} {found[name]} is installed {ARMS[name].remark()}")
        except tools.Unavailable as exc:
            missing[name] = str(exc)
            tools.say(f"{name}: not run: {exc}")
    found["wrk"] = tools.tool_version("wrk")
    return found


def _one_arm(session: Session, arm: Arm, wanted: list[str], rounds: Rounds, missing: dict[str, str]) -> None:
    """Start, check, measure and stop one arm in one round."""
    per_arm = rounds.setdefault(arm.name, {})
    with session.running(arm) as running:
        session.check(arm, running)
        for shape in wanted:
            if shape not in shapes.PER_ROUND or f"{arm.name} {shape}" in missing:
                continue
            if shape in shapes.TRANSLATED and not arm.translates:
                if arm.translates is False:
                    missing[f"{arm.name} {shape}"] = "does not take Messages for a Chat upstream"
                continue
            began = time.monotonic()
            try:
                seen = shapes.PER_ROUND[shape](session, arm, running)
            except ShapeFailed as exc:
                missing[f"{arm.name} {shape}"] = str(exc)
                tools.say(f"  {arm.name} {shape}: not run: {exc}")
                continue
            for key, value in seen.items():
                per_arm.setdefault(key, []).append(value)
            brief = ", ".join(f"{k} {v:.4g}" for k, v in list(seen.items())[:4])
            tools.say(f"  {arm.name} {shape} ({time.monotonic() - began:.0f} s): {brief}")


def _measure(session: Session, names: list[str], wanted: list[str], missing: dict[str, str]) -> Rounds:
    rounds: Rounds = {}
    for number in range(1, session.settings.rounds + 1):
        for name in [n for n in names if n not in missing]:
            tools.say(f"round {number} of {session.settings.rounds}: {name}")
            try:
                _one_arm(session, ARMS[name], wanted, rounds, missing)
            except (procs.StartFailed, ShapeFailed) as exc:
                missing[name] = f"round {number}: {exc}{session.stderr_of(name)}"
                tools.say(f"{name}: not run: {exc}")
    for shape in [s for s in shapes.ONCE if s in wanted]:
        for name in [n for n in names if n not in missing and n != "direct"]:
            if (shape == "R9" and not ARMS[name].falls_over) or (shape == "R8" and name != "penstock"):
                continue
            tools.say(f"{shape}: {name}")
            try:
                seen = shapes.ONCE[shape](session, ARMS[name])
            except (procs.StartFailed, ShapeFailed) as exc:
                missing[f"{name} {shape}"] = str(exc)
                continue
            rounds.setdefault(name, {}).update({key: [value] for key, value in seen.items()})
    return rounds


def report(meta: dict[str, Any], rounds: Rounds, missing: dict[str, str], notes: list[str]) -> str:
    """The whole result as markdown."""
    medians = {arm: {k: statistics.median(v) for k, v in by.items()} for arm, by in rounds.items()}
    host = meta["machine"]
    where = f"{host['cpu']}, {host['cores']} cores, {host['memory_gb']} GB, {host['system']} {host['kernel']}"
    cores = "one core for the thing measured, one for load and upstream" if host["pinned"] else "NOT PINNED to cores"
    how = f"median of {meta['rounds']} round(s){', quick' if meta['quick'] else ''}; took {meta['took_s']:.0f} s"
    lines = [
        f"# Benchmark of {meta['date']}",
        "",
        f"{where}; {cores}; {how}.",
        "",
        "Versions: " + "; ".join(f"{name} {version}" for name, version in meta["versions"].items()) + ".",
        "",
        table.render(medians, meta["arms"], meta["shapes"], missing),
        "",
        *(f"- {line}" for line in table.verdicts(medians, meta["shapes"])),
        "",
        *(f"- not run: {what}: {why}" for what, why in missing.items()),
        *(f"- note: {note}" for note in notes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _default_out(meta: dict[str, Any]) -> Path:
    host = meta["machine"]
    ident = hashlib.sha256(f"{host['cpu']}|{host['cores']}|{host['kernel']}".encode()).hexdigest()[:6]
    return tools.ROOT / "bench" / "results" / f"{meta['date'][:16].replace(':', '').replace(' ', '-')}-{ident}.md"


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    if not Path("/proc/self/stat").exists():
        tools.say("the benchmark needs Linux: it reads CPU time and memory from /proc")
        return 2
    began = time.monotonic()
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    missing: dict[str, str] = {}
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        root = options.penstock or (tools.ROOT if options.pure else tools.compiled_tree(notes))
        context = Context(folder, 0, root.resolve())
        try:
            versions = _versions(options.arms, context, missing, notes)
            if procs.can_pin():
                os.sched_setaffinity(0, {procs.LOAD_CORE})
            upstream = ARMS["direct"].start(context, procs.LOAD_CORE)
        except (tools.Unavailable, procs.StartFailed) as exc:
            tools.say(f"the harness cannot run: {exc}")
            return 2
        stack.callback(upstream.stop)
        context.upstream_port = upstream.port
        session = Session(context, upstream, options.settings, notes)
        rounds = _measure(session, options.arms, options.shapes, missing)
    if session.foreign > QUIET:
        notes.append(f"other processes took up to {session.foreign:.0%} of a core during a run: not a quiet machine")
    meta = {
        "date": now,
        "machine": machine(),
        "versions": versions,
        "arms": options.arms,
        "shapes": options.shapes,
        "quick": options.quick,
        "rounds": options.settings.rounds,
        "took_s": time.monotonic() - began,
    }
    text = report(meta, rounds, missing, notes)
    out = options.out or _default_out(meta)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    everything = {**meta, "measures": rounds, "not_run": missing, "notes": notes}
    out.with_suffix(".json").write_text(json.dumps(everything, indent=1) + "\n")
    sys.stdout.write(text)
    tools.say(f"saved {out} and {out.with_suffix('.json').name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
