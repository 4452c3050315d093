"""A recount of statistics by hand, from the records themselves: what every answer is compared with."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

from history.ids import milliseconds, time_of
from history.models import FAILURE_STATUSES, RouteStatus
from history.rollups.buckets import bucket
from history.rollups.fields import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from history.failures import Group, Report
    from history.records import Finished, Update

Row = dict[str, Any]

DIMENSIONS = ("profile", "provider", "model", "strategy", "rule", "status", "error_code", "recovered")


def row_of(record: Finished) -> Row:
    """The columns that count, as the shipper writes them."""
    decided = record.status == "decided"
    return {
        **{name: getattr(record, name) for name in DIMENSIONS},
        "id": record.id,
        "at": time_of(record.id),
        "http_status": record.http_status,
        "latency_ms": None if decided else _ms(record.latency_us),
        "ttfb_ms": None if record.ttfb_us is None else _ms(record.ttfb_us),
        **{name: getattr(record, name) or 0 for name in ("input_tokens", "output_tokens", "cost_micro_usd")},
        "first": (record.attempts[0].error_class, record.attempts[0].provider) if record.attempts else None,
    }


def update_row(row: Row, update: Update) -> None:
    """As the shipper does: a decision gets an outcome once."""
    if row["status"] != "decided":
        return
    row["status"] = update.status
    for name in ("http_status", "error_code", "input_tokens", "output_tokens"):
        if getattr(update, name) is not None:
            row[name] = getattr(update, name)
    for name in ("latency", "ttfb"):
        if getattr(update, f"{name}_us") is not None:
            row[f"{name}_ms"] = _ms(getattr(update, f"{name}_us"))


def key_of(row: Row, group_by: str | None) -> Any:
    if group_by in ("hour", "day"):
        seconds = milliseconds(row["id"]) // 1000
        return seconds - seconds % {"hour": 3600, "day": 86400}[group_by]
    return None if group_by is None else row[group_by]


def assert_true(answer: dict[str, Any], rows: Iterable[Row], matches: Callable[[Row], bool], *, exact: bool) -> None:
    """Every number of ``answer`` is what ``rows`` say of the range it names; percentiles to the bucket, or exactly."""
    wanted = [
        row
        for row in rows
        if (answer["from"] is None or row["at"] >= answer["from"])
        and (answer["to"] is None or row["at"] < answer["to"])
        and matches(row)
    ]
    group_by = answer["group_by"]
    groups = defaultdict(list)
    for row in wanted:
        groups[key_of(row, group_by)].append(row)
    _same(answer["totals"], wanted, wanted, group_by, exact)
    if group_by is not None:
        assert {group["key"] for group in answer["groups"] if group["count"]} == set(groups)
    for group in answer["groups"]:
        _same(group, groups[group["key"]], wanted, group_by, exact)


def assert_report(
    report: Report, rows: Iterable[Row], matches: Callable[[Row], bool], gone: set[bytes], recovered: bool
) -> None:
    """Every number of the failures report is what ``rows`` say; its examples are the newest that are not ``gone``."""
    start, end = report.span
    assert start is not None
    wanted = [row for row in rows if start <= row["at"] and (end is None or row["at"] < end) and matches(row)]
    failed, saved = defaultdict(list), defaultdict(list)
    for row in wanted:
        if row["status"] in FAILURE_STATUSES:
            failed[row["error_code"], row["provider"]].append(row)
        if row["recovered"]:
            saved[row["first"]].append(row)
    expected = {}
    for key in failed.keys() | (saved.keys() if recovered else set()):
        both = failed[key] + (saved[key] if recovered else [])
        moments, newest = [row["at"] for row in both], sorted({row["id"] for row in both}, reverse=True)[:SAMPLES]
        samples = [UUID(bytes=route) for route in newest if route not in gone]
        expected[key] = (len(both), len(saved[key]), min(moments), max(moments), samples)
    told = {(group.error_code, group.provider): tuple(vars_of(group)) for group in report.groups}
    assert told == expected
    assert report.total == sum(len(some) for some in failed.values())
    assert report.recovered == sum(len(some) for some in saved.values())


def vars_of(group: Group) -> tuple[Any, ...]:
    return group.count, group.recovered, group.first_seen, group.last_seen, group.sample_ids


def _same(told: dict[str, Any], rows: list[Row], all_rows: list[Row], group_by: str | None, exact: bool) -> None:
    counts: dict[str, Any] = {status: sum(row["status"] == status for row in rows) for status in RouteStatus.values}
    counts |= {"count": len(rows), "recovered": sum(row["recovered"] for row in rows)}
    counts |= {name: sum(row[name] for row in rows) for name in ("input_tokens", "output_tokens")}
    assert {name: told[name] for name in counts} == counts
    assert round(told["cost_usd"] * 1e6) == sum(row["cost_micro_usd"] for row in rows)
    failures = sum(counts[status] for status in FAILURE_STATUSES)
    assert told["failure_rate"] == (failures / len(rows) if rows else 0)
    timed = [row for row in rows if row["status"] != "decided"]
    quick = [row["latency_ms"] for row in timed if row["http_status"] != 101 and row["latency_ms"] is not None]
    _same_times(told["latency_ms"], quick, exact)
    _same_times(told["ttfb_ms"], [row["ttfb_ms"] for row in timed if row["ttfb_ms"] is not None], exact)
    if group_by in ("provider", "model"):
        rows, all_rows = ([row for row in each if row["provider"]] for each in (rows, all_rows))
    assert told["share"] == (len(rows) / len(all_rows) if all_rows else 0)


def _same_times(told: dict[str, Any], values: list[int], exact: bool) -> None:
    if not values:
        assert told == {"avg": None, "p50": None, "p95": None, "p99": None}
        return
    assert told["avg"] == sum(values) / len(values)
    ordered = sorted(values)
    for name, percent in (("p50", 50), ("p95", 95), ("p99", 99)):
        value = ordered[-(-percent * len(ordered) // 100) - 1]
        assert bucket(told[name]) == bucket(value)
        assert not exact or told[name] == value


def _ms(microseconds: int) -> int:
    return (microseconds + 500) // 1000
