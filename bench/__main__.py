"""Command line: `python -m bench`. Runs every scenario on every subject in interleaved rounds and prints the report."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine, measure, report, scenarios
from bench.subjects import Bare, Direct, Nginx, Signalbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.scenarios import Scenario
    from bench.subjects import Subject


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the gateway beside references.")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=float, help="length of each measurement (default 5)")
    parser.add_argument("--only", default="", metavar="A,B", help=f"scenarios: {', '.join(scenarios.ALL)}, trace")
    parser.add_argument("--subjects", default="direct,nginx,bare,signalbox", metavar="A,B", help="these, and payloads")
    parser.add_argument("--strategy", default="weighted", help="strategy of the gateway's profile (default weighted)")
    parser.add_argument("--streams", type=int, help="streams at once (default 256)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything works")
    parser.add_argument("--own-load", action="store_true", help="the own generator also where wrk could be used")
    parser.add_argument("--simulated", action="store_true", help="the simulated upstream also where nginx could be")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="replay a trace (TIMESTAMP, ContextTokens) as well")
    parser.add_argument("--speed", type=float, default=20.0, help="how much faster than it happened (default 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report there too")
    return parser.parse_args(given)


def chosen_scenarios(options: argparse.Namespace) -> list[Scenario]:
    known = dict(scenarios.ALL)
    if options.trace is not None:
        known["trace"] = scenarios.traced(options.trace, options.speed, options.seconds or 60.0)
    names = [name for name in options.only.split(",") if name] or list(known)
    unknown = set(names) - set(known)
    if unknown:
        raise SystemExit(f"bench: no scenario {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    found = [known[name] for name in names]
    if options.quick:
        return [scenarios.quick(one) for one in found]
    if options.seconds is not None:
        found = [replace(one, seconds=options.seconds) for one in found]
    if options.streams is not None:
        found = [
            replace(one, streams=options.streams, title=f"Streams, {options.streams} at once, 100 events/s each")
            if one.mode == "streams"
            else one
            for one in found
        ]
    return found


def chosen_subjects(options: argparse.Namespace, *, nginx: bool) -> list[Subject]:
    ours = Signalbox(options.strategy), Signalbox(options.strategy, payloads=True)
    known: dict[str, Subject] = {one.name: one for one in (Direct(), Nginx(), Bare(), *ours)}
    names = [name for name in options.subjects.split(",") if name]
    unknown = set(names) - set(known)
    if unknown:
        raise SystemExit(f"bench: no subject {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if not nginx and "nginx" in names:
        sys.stderr.write("bench: nginx is not installed: no ratios to it\n")
        names.remove("nginx")
    return [known[name] for name in names]


def run(options: argparse.Namespace) -> tuple[dict[str, Any], list[tuple[Scenario, str, dict[str, dict[str, Any]]]]]:
    """Everything measured, raw and in medians."""
    facts = machine.facts()
    nginx, wrk = facts["nginx"] is not None, measure.available() and not options.own_load
    subjects = chosen_subjects(options, nginx=nginx)
    cores = machine.cores()
    raw: dict[str, Any] = {}
    tables = []
    for scenario in chosen_scenarios(options):
        rounds: report.Rounds = {subject.name: [] for subject in subjects}
        with ExitStack() as stack:
            upstream = stack.enter_context(scenario.upstream(cores[1], fast=nginx and not options.simulated))
            for number in range(options.rounds):
                for subject in subjects:
                    sys.stderr.write(f"bench: {scenario.name}, round {number + 1}: {subject.name}\n")
                    rounds[subject.name].append(measure.measure(scenario, subject, upstream, cores, wrk=wrk))
        figures = report.medians(rounds)
        raw[scenario.name] = {"rounds": rounds, "medians": figures, "ratios": report.ratios(figures)}
        generator = "wrk" if wrk and scenario.mode == "closed" else "own generator"
        simulated = options.simulated or not nginx or scenario.mode == "streams"
        tables.append((scenario, f"{generator}, {'simulated upstream' if simulated else 'nginx as upstream'}", figures))
    return {"machine": facts, "scenarios": raw}, tables


def repeatable(given: Sequence[str]) -> list[str]:
    """The arguments that decide what is measured, without those that only say where to write it."""
    kept, skip = [], False
    for argument in given:
        if skip or argument.startswith(("--json=", "--markdown=")):
            skip = False
        elif argument in ("--json", "--markdown"):
            skip = True
        else:
            kept.append(argument)
    return kept


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    try:
        everything, tables = run(options)
    except measure.MeasurementError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    command = shlex.join(["python", "-m", "bench", *repeatable(given if given is not None else sys.argv[1:])])
    text = report.markdown(everything["machine"], command, tables)
    sys.stdout.write(text)
    if options.markdown is not None:
        options.markdown.write_text(text)
    if options.json is not None:
        options.json.write_text(json.dumps({"command": command, **everything}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
