"""Medians, ratios inside the run, Markdown and JSON. Prints no ratio whose reference did not run in the same call."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.scenarios import Scenario

Rounds = dict[str, list[dict[str, Any]]]  # by subject

# Below this share of its core a proxy was waiting for the load, not the load for it.
SATURATED = 0.9
_TITLES = {
    "direct": "no proxy",
    "nginx": "nginx",
    "bare": "uvicorn + aiohttp, bare",
    "signalbox": "**signalbox**",
    "payloads": "signalbox, keeping copies of all payloads",
}


def medians(rounds: Rounds) -> dict[str, dict[str, Any]]:
    """For each subject the median of each figure over its rounds, with the span of the rate."""
    found = {}
    for subject, results in rounds.items():
        figures: dict[str, Any] = {"rounds": len(results)}
        for key, value in results[0].items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                values = [one[key] for one in results if one.get(key) is not None]
                figures[key] = median(values)
                if key in ("rate", "event_rate"):
                    figures["lowest"], figures["highest"] = min(values), max(values)
            else:
                figures[key] = value
        found[subject] = figures
    return found


def ratios(figures: dict[str, dict[str, Any]]) -> dict[str, float]:
    """What is promised relative to a reference; a figure is there only if its reference is."""
    ours, found = figures.get("signalbox"), {}
    if ours is None:
        return {}
    for reference in ("nginx", "bare", "direct"):
        theirs = figures.get(reference)
        if theirs is None:
            continue
        for key, name in (("rate", "rate"), ("cpu_us", "cpu")):
            if ours.get(key) and theirs.get(key):
                found[f"{name}_over_{reference}"] = ours[key] / theirs[key]
        for key in ("p50_ms", "p99_ms"):
            if ours.get(key) is not None and theirs.get(key) is not None:
                found[f"added_{key}_over_{reference}"] = ours[key] - theirs[key]
    return found


def heading(facts: dict[str, Any], command: str) -> list[str]:
    """How it was measured and on what, as the first lines of a report."""
    libraries = ", ".join(f"{name} {number}" for name, number in facts["libraries"].items())
    others = facts["busy_before"]
    quiet = "" if others is None else f"; before the run {others:.0%} of the machine was busy with something else"
    pinned = "gateway on one core, load and upstream on another" if facts["pinned"] else "not pinned"
    return [
        f"`{command}` · {facts['date']} · commit {facts['commit']}",
        "",
        f"{facts['cpu']}, {facts['cores']} cores ({pinned}{quiet}), {facts['system']}",
        "",
        f"Python {facts['python']}, {libraries}"
        + "".join(f", {facts[program]}" for program in ("nginx", "wrk") if facts[program]),
    ]


def markdown(facts: dict[str, Any], command: str, tables: list[tuple[Scenario, str, dict[str, dict[str, Any]]]]) -> str:
    """The whole report."""
    lines = heading(facts, command)
    for scenario, generator, figures in tables:
        lines += [
            "",
            f"### {scenario.title}",
            "",
            *_table(scenario, figures),
            "",
            f"Load: {generator}. {_words(scenario, figures)}",
        ]
    return "\n".join(lines) + "\n"


def _table(scenario: Scenario, figures: dict[str, dict[str, Any]]) -> list[str]:
    if scenario.mode == "streams":
        header = ["", "events/s", "CPU µs per event", "its core busy", "late p50 / p99 ms", "memory MB"]
        rows = [
            [
                _TITLES[subject],
                f"{one['event_rate']:,.0f}",
                _number(one.get("cpu_us"), ".1f"),
                _number(one.get("busy"), ".0%"),
                f"{one['late_p50_ms']:.1f} / {one['late_p99_ms']:.1f}",
                _number(one.get("memory_mb"), ".0f"),
            ]
            for subject, one in figures.items()
        ]
    else:
        header = [
            "",
            "requests/s",
            "lowest to highest",
            "CPU µs per request",
            "its core busy",
            "p50 / p99 ms",
            "memory MB",
        ]
        rows = [
            [
                _TITLES[subject],
                f"{one['rate']:,.0f}",
                f"{one['lowest']:,.0f} to {one['highest']:,.0f}",
                _number(one.get("cpu_us"), ".0f"),
                _number(one.get("busy"), ".0%"),
                f"{one['p50_ms']:.3f} / {one['p99_ms']:.3f}",
                _number(one.get("memory_mb"), ".0f"),
            ]
            for subject, one in figures.items()
        ]
    return table(header, rows)


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table; all columns but the first are right-aligned."""
    return [_row(header), "|---" + "|---:" * (len(header) - 1) + "|", *map(_row, rows)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _words(scenario: Scenario, figures: dict[str, dict[str, Any]]) -> str:
    found = ratios(figures)
    rounds = max((one["rounds"] for one in figures.values()), default=0)
    said = [f"Medians of {rounds} interleaved rounds."]
    for reference in ("nginx", "bare"):
        parts = []
        if f"rate_over_{reference}" in found:
            parts.append(f"{found[f'rate_over_{reference}']:.2f} of its requests/s")
        if f"cpu_over_{reference}" in found:
            parts.append(f"{found[f'cpu_over_{reference}']:.1f} × its CPU")
        if f"added_p50_ms_over_{reference}" in found:
            p50, p99 = found[f"added_p50_ms_over_{reference}"], found[f"added_p99_ms_over_{reference}"]
            parts.append(f"{p50:+.3f} ms at p50, {p99:+.3f} ms at p99")
        if scenario.saturating and figures.get(reference, {}).get("busy", 1) < SATURATED:
            parts.append("and the load could not saturate it: its CPU is the truer measure")
        if parts:
            said.append(f"Against {_TITLES[reference]}: {', '.join(parts)}.")
    digests = [one["digests"] for one in figures.values() if one.get("digests")]
    if digests:
        same = all(one == digests[0] and len(one) == 1 for one in digests)
        said.append("Every stream came byte for byte alike." if same else "**STREAMS DIFFER IN THEIR BYTES.**")
    return " ".join(said)
