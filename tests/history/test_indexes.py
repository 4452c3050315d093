"""Every index serves the query that its comment in ``history.models`` names, and no index serves none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from history import failures, queries, search
from history.filters import from_parameters
from history.models import RouteAttempt, RouteHistory, RouteHistoryMetric
from tests.history import rows, samples

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime.now(UTC)
DAY = search.TimeRange.last(now=NOW)


def listed(**parameters: str) -> Callable[[str], Any]:
    return lambda alias: search.search(from_parameters(parameters), alias=alias)


SERVED: dict[str, list[Callable[[str], Any]]] = {
    "history_not_routed": [
        listed(status="failed"),
        listed(status__in="failed,timeout"),
        lambda alias: failures.report(DAY, alias=alias),
        lambda alias: queries.last_failures(NOW, alias=alias),
    ],
    "history_recovered": [
        listed(recovered="true"),
        lambda alias: failures.report(DAY, include_recovered=True, alias=alias),
    ],
    "history_profile": [listed(profile="profile-3")],
    "history_provider": [listed(provider="provider-3")],
    "history_access_key": [listed(access_key="key-3")],
    "history_spent": [lambda alias: queries.spent(UUID(int=4), NOW - timedelta(days=1), alias)],
    "history_session": [listed(session_id=str(UUID(int=3)))],
    "history_error_code": [listed(error_code="code-3")],
    "history_rule": [lambda alias: queries.rule_traffic(alias)],
}


@pytest.fixture
def alias(own_postgres: str) -> str:
    """Two thousand requests, of which about one in fifty has any one value."""
    records = []
    for n in range(2000):
        values: dict[str, Any] = {
            "profile": f"profile-{n % 50}",
            "provider": f"provider-{n % 47}",
            "key_name": f"key-{n % 43}",
            "key_id": UUID(int=n % 43 + 1).bytes,
            "session_key": f"session-{n % 53}" if n % 3 else None,
            "rule": None if n % 20 else "rule",
        }
        at = rows.at(NOW - timedelta(seconds=n), n)
        if n % 40 == 0:
            record = samples.failed(at, **{**values, "error_code": f"code-{n % 7}"})
        elif n % 41 == 0:
            tried = [samples.attempt(error_class="upstream_5xx"), samples.attempt()]
            record = samples.finished(at, recovered=True, attempts=tried, attempt_count=2, **values)
        else:
            record = samples.finished(at, **values)
        records.append(record)
    rows.store(*records, alias=own_postgres)
    with connections[own_postgres].cursor() as cursor:
        cursor.execute("VACUUM ANALYZE route_history")
        cursor.execute("SET enable_seqscan = off")  # other partitions are empty, this one is small
    return own_postgres


def test_every_index_has_a_query() -> None:
    assert set(SERVED) == {index.name for index in RouteHistory._meta.indexes}
    assert not RouteAttempt._meta.indexes
    assert not RouteHistoryMetric._meta.indexes


def test_every_query_is_served_by_its_index(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT child.relname, parent.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
            "JOIN pg_class parent ON parent.oid = inhparent WHERE parent.relkind = 'I'"
        )
        parents = dict(cursor.fetchall())
        for index, asked in SERVED.items():
            for ask in asked:
                with CaptureQueriesContext(connections[alias]) as captured:
                    ask(alias)
                used = set()
                for query in captured:
                    if query["sql"].startswith("SELECT") and "FROM" in query["sql"]:
                        cursor.execute(f"EXPLAIN {query['sql']}")
                        plan = " ".join(line for (line,) in cursor.fetchall())
                        used |= {parents[word] for word in plan.split() if word in parents}
                assert index in used, (index, used)
