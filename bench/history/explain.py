"""Write docs/history_queries.md: every query that pages make, the plan PostgreSQL takes for it, and what it took.

Of each kind of page the first value (a common one) and the last (one that nobody has). Partitions that are read alike
are told as one line, with their rows, buffers and times added up.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.history.database import query
from bench.machine import ROOT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from bench.history.cases import Case

TARGET: Final = ROOT / "docs" / "history_queries.md"
#: Queries of one page that are told: those that take longest.
TOLD: Final = 2
_CONDITIONS: Final = ("Index Cond", "Recheck Cond", "Filter", "Hash Cond", "Sort Key", "Group Key")
_UUID: Final = re.compile(r"'([0-9a-f]{8})-[0-9a-f-]{27}'(::uuid)?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, default=TARGET, help="file to write (default docs/history_queries.md)")
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds whose name contains this")


def run(options: argparse.Namespace) -> int:
    from django.db import connection

    from bench.history.cases import Data, every

    if connection.vendor != "postgresql":
        raise SystemExit("bench: plans are PostgreSQL's")
    names = _names()
    lines = _heading()
    for case in every(Data.read()):
        if options.only in case.name:
            lines += _section(case, names)
            sys.stderr.write(f"{case.name}\n")
    options.to.write_text("\n".join(lines) + "\n")
    return 0


def _heading() -> list[str]:
    (rows,) = query("SELECT count(*) FROM route_history")[0]
    (server,) = query("SHOW server_version")[0]
    shared, work = (query(f"SHOW {name}")[0][0] for name in ("shared_buffers", "work_mem"))
    return [
        "# Queries of the history",
        "",
        "What pages and reports ask of PostgreSQL, the plan it takes and the index that serves it. Written by",
        "`python -m bench.history explain`; do not edit. `bench/history/cases.py` lists what is asked,",
        "`history/models.py` the indexes, `history/search.py` why a search by index goes back in stretches.",
        "",
        f"Measured {datetime.now(UTC):%Y-%m-%d}: {rows:,} routes of 30 days as `python -m bench.history fill` makes",
        f"them, PostgreSQL {server.split()[0]} with its defaults (`shared_buffers` {shared}, `work_mem` {work}),",
        f"{os.cpu_count()} cores. *Page* is what the function took as a whole, queries, planning and rows as Python",
        "objects included; plans are measured apart from it, each query by `EXPLAIN (ANALYZE, BUFFERS)`. A line",
        "`of N partitions` adds them up. Buffers are of 8 KB.",
        "",
    ]


def _section(case: Case, names: dict[str, str]) -> list[str]:
    calls = {"a value in common use": case.calls[0]}
    if len(case.calls) > 1:
        calls["the last of the list, which nobody or hardly anybody has"] = case.calls[-1]
    lines = [f"## {case.name}", ""]
    for title, call in calls.items():
        if len(calls) > 1:
            lines += [f"### {title.capitalize()}", ""]
        lines += _page(call, names)
    return lines


def _page(call: Callable[[], Any], names: dict[str, str]) -> list[str]:
    call()
    begun = time.perf_counter()
    result = call()
    took = (time.perf_counter() - begun) * 1000
    statements = _captured(call)
    plans = [(_explained(sql), sql) for sql in statements]
    scanned = getattr(result, "scanned_to", None)
    told = f"Page: {took:.1f} ms, {len(statements)} {'query' if len(statements) == 1 else 'queries'}"
    lines = [told + (f"; stopped at `scanned_to` {scanned:%Y-%m-%d %H:%M}." if scanned else "."), ""]
    longest = sorted(range(len(plans)), key=lambda number: -plans[number][0]["Execution Time"])[:TOLD]
    for number in sorted(longest):
        plan, sql = plans[number]
        which = f"Query {number + 1} of {len(plans)}: " if len(plans) > 1 else ""
        lines += ["```sql", _shortened(sql), "```", ""]
        lines += [f"{which}planned in {plan['Planning Time']:.1f}, executed in {plan['Execution Time']:.1f} ms.", ""]
        lines += ["```", *_tree(plan["Plan"], names, 0), "```", ""]
    return lines


def _captured(call: Callable[[], Any]) -> list[str]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as caught:
        call()
    return [each["sql"] for each in caught.captured_queries if "route_" in each["sql"]]


def _explained(sql: str) -> dict[str, Any]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}")  # no parameters: a percent sign is itself
        (found,) = cursor.fetchone()
    plans: list[dict[str, Any]] = found if isinstance(found, list) else json.loads(found)
    return plans[0]


def _names() -> dict[str, str]:
    """Partition or index of one -> what it is a part of."""
    return dict(query("SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits"))


def _shortened(sql: str) -> str:
    """Readable: without quotes and table names that say nothing, long lists of columns as an ellipsis."""
    sql = sql.replace('"route_history".', "").replace('"', "")
    columns, source, rest = sql.removeprefix("SELECT ").partition(" FROM ")
    if columns.count(",") > 6:
        columns = "id, created_at, … access_key"
    sql = f"SELECT {columns}{source}{rest}"
    for word in (" FROM ", " WHERE ", " GROUP BY ", " ORDER BY ", " LIMIT "):
        sql = sql.replace(word, f"\n{word[1:]}", 1)
    return sql


def _tree(node: dict[str, Any], names: dict[str, str], depth: int) -> list[str]:
    """The plan, a line for each node and its conditions; siblings that are alike become one."""
    lines = _told(node, depth)
    groups: dict[str, list[dict[str, Any]]] = {}
    for child in (_plain(each, names) for each in node.get("Plans", ())):
        groups.setdefault(_kind(child), []).append(child)
    for alike in groups.values():
        lines += _tree(_added(alike), {}, depth + 1)
    return lines


def _plain(node: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """With partitions called by the name of their table, and their indexes by the index they are parts of."""
    node = {**node, "Plans": [_plain(each, names) for each in node.get("Plans", ())]}
    for name in ("Relation Name", "Index Name"):
        if name in node:
            node[name] = names.get(node[name], node[name])
    for name in _CONDITIONS:
        if name in node:
            text = ", ".join(node[name]) if isinstance(node[name], list) else node[name]
            node[name] = re.sub(r"\b\w+_\d+\.|\broute_history\.|::(text|bpchar|uuid)(\[\])?", "", text)
    node["of"] = 1
    return node


def _kind(node: dict[str, Any]) -> str:
    own = {
        name: node.get(name) for name in ("Node Type", "Relation Name", "Index Name", "Scan Direction", *_CONDITIONS)
    }
    return json.dumps([own, [_kind(each) for each in node["Plans"]]])


def _added(alike: list[dict[str, Any]]) -> dict[str, Any]:
    first = {**alike[0], "of": len(alike)}
    for name in (
        "Actual Rows",
        "Actual Total Time",
        "Shared Hit Blocks",
        "Shared Read Blocks",
        "Rows Removed by Filter",
    ):
        first[name] = sum(
            each.get(name, 0) * (each["Actual Loops"] if name.startswith("Actual") else 1) for each in alike
        )
    first["Actual Loops"] = 1
    first["Plans"] = [_added(list(same)) for same in zip(*(each["Plans"] for each in alike), strict=True)]
    return first


def _told(node: dict[str, Any], depth: int) -> list[str]:
    text = node["Node Type"] + (" backward" if node.get("Scan Direction") == "Backward" else "")
    if "Index Name" in node:
        text += f" using {node['Index Name']}"
    if "Relation Name" in node:
        text += f" on {node['Relation Name']}"
    if node.get("of", 1) > 1:
        text += f", of {node['of']} partitions"
    rows = node["Actual Rows"] * node["Actual Loops"]
    blocks = node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0)
    removed = node.get("Rows Removed by Filter")
    figures = f"rows {rows:,.0f}" + (f" of {rows + removed:,.0f}" if removed else "")
    took = node["Actual Total Time"] * node["Actual Loops"]
    indent = "  " * depth
    line = f"{indent}{text}  ({figures}, {took:.1f} ms, {blocks:,} buffers)"
    told = [name for name in _CONDITIONS if node.get(name) and name != "Recheck Cond"]
    return [line, *(f"{indent}    {name}: {_brief(node[name])}" for name in told)]


def _brief(condition: Any) -> str:
    text = ", ".join(condition) if isinstance(condition, list) else str(condition)
    return _UUID.sub(r"'\1…'", text)[:200]
