"""An explanation as lines for a terminal: the story, who would be tried in which order and why, and the rules. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STAGES = {
    "admission": "admission",
    "health": "health",
    "smart_routing": "smart rules",
    "affinity": "affinity",
    "load_balancer": "strategy",
}
MARKS = {True: "yes", False: "no", None: "?"}


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Top to bottom; ``told`` is what ``service.explain`` answers."""
    yield from told["sentences"]
    if (recorded := told.get("recorded")) is not None:
        if recorded["provider"] is None:
            yield "Recorded: nothing could take it."
        else:
            verdict = "the same choice" if recorded["same"] else "another choice now"
            yield f"Recorded: {_name(recorded)}; {verdict}."
    if told["undecidable"]:
        yield f"Undecidable: {told['undecidable']} (the record does not tell)."
    if told["ranking"]:
        yield ""
        yield from _table(
            ("", "target", "share", "why"),
            [(str(line["rank"]), _name(line), _share(told, line), line["reason"]) for line in told["ranking"]],
        )
    if told["excluded"]:
        yield ""
        yield from _table(
            ("left out", "stage", "why"),
            [(_name(line), STAGES.get(line["stage"], line["stage"]), line["reason"]) for line in told["excluded"]],
        )
    if told["rules"]:
        yield ""
        yield from _table(
            ("rule", "matched", "why"),
            [
                (rule["name"] if not number else "", MARKS[rule["matched"]] if not number else "", why)
                for rule in told["rules"]
                for number, why in enumerate(_whys(rule))
            ],
        )


def review(told: Mapping[str, Any]) -> Iterator[str]:
    """A recorded request in a few lines: what was chosen, whether it still would be, and why each other was not."""
    recorded, ranking = told["recorded"], told["ranking"]
    then = "nothing" if recorded["provider"] is None else _name(recorded)
    now = _name(ranking[0]) if ranking else "nothing"
    verdict = "the same" if recorded["same"] else f"now {now}"
    why = f" because: {ranking[0]['reason']}" if ranking else ""
    yield f"{recorded['id']}  chose {then}{why} ({verdict})"
    for line in ranking[1:]:
        yield f"    not {_name(line)}: number {line['rank']}, {line['reason']}"
    for line in told["excluded"]:
        yield f"    not {_name(line)}: {STAGES.get(line['stage'], line['stage'])}, {line['reason']}"
    if told["undecidable"]:
        yield f"    {told['undecidable']} undecidable: the record does not tell"


def _whys(rule: Mapping[str, Any]) -> list[str]:
    if rule["note"]:
        return [rule["note"]]
    return [clause["sentence"] for clause in rule["clauses"]] or [rule["sentence"]]


def _share(told: Mapping[str, Any], line: Mapping[str, Any]) -> str:
    return f"{100 * told['shares'][line['target']]:.1f} %"


def _name(line: Mapping[str, Any]) -> str:
    name = f"{line['provider']} / {line['model']}" if line.get("model") else str(line["provider"])
    return f"{name} ({line['head_id']})" if line.get("head_id") else name


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they need to be; the last one as it is."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head) - 1)]
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join((*cells, row[-1])).rstrip()
