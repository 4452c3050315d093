"""Bytes on disk for each request: the heap of a table, what lies beside it, and each index.

Children are counted to the request they belong to: a table's bytes are divided by the requests, whatever its own rows
are, and once more by those that were answered at the first try, which have no children.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.history.database import query
from bench.report import table

if TYPE_CHECKING:
    import argparse

#: A table with its partitions: heap with its maps, and TOAST with its index.
TABLES = """
WITH RECURSIVE tree AS (
    SELECT oid AS root, oid FROM pg_class WHERE relname = ANY(%s) AND relkind IN ('r', 'p')
    UNION ALL SELECT tree.root, inhrelid FROM tree JOIN pg_inherits ON inhparent = tree.oid
)
SELECT root::regclass::text, sum(pg_table_size(tree.oid) - beside), sum(beside)
FROM tree JOIN pg_class ON pg_class.oid = tree.oid,
     LATERAL (SELECT coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0) AS beside) AS toast
GROUP BY root ORDER BY 1
"""
INDEXES = """
WITH RECURSIVE tree AS (
    SELECT c.oid AS root, c.oid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
    JOIN pg_class t ON t.oid = i.indrelid WHERE t.relname = ANY(%s)
    UNION ALL SELECT tree.root, inhrelid FROM tree JOIN pg_inherits ON inhparent = tree.oid
)
SELECT root::regclass::text, sum(pg_relation_size(tree.oid)) FROM tree GROUP BY root ORDER BY 2 DESC
"""
NAMES = ["route_history", "route_attempts", "route_history_metrics"]


def run(options: argparse.Namespace) -> int:
    print("\n".join(report()))
    return 0


def report() -> list[str]:
    """Bytes a request by table and index; the last line is all of it."""
    from django.db import connection

    (rows,) = query("SELECT count(*) FROM route_history")[0]
    if connection.vendor != "postgresql":
        page, count = (query(f"PRAGMA {name}")[0][0] for name in ("page_size", "page_count"))
        return [f"{rows:,} requests: {page * count / rows:,.0f} bytes each, indexes included"]
    lines: list[list[Any]] = []
    total = 0
    for name, heap, toast in query(TABLES, NAMES):
        lines.append([f"{name}: rows", f"{heap / rows:,.1f}"])
        lines.append([f"{name}: TOAST", f"{toast / rows:,.1f}"])
        total += heap + toast
    for name, size in query(INDEXES, NAMES):
        lines.append([name, f"{size / rows:,.1f}"])
        total += size
    lines.append([f"**all of {rows:,} requests**", f"**{total / rows:,.1f}**"])
    return table(["", "bytes a request"], lines)
