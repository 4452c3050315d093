"""Sums of what happened: always those of the rows, whatever comes late, twice, changed, or after the rows are gone."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.db import connections

from history import failures, rollups
from history.filters import from_parameters
from history.ids import first_id
from history.rollups import plan as planning
from history.rollups import work
from history.rollups.periods import DAY
from history.rows import Rows
from history.shipper.store import Batch, KeyedUpdate, Store
from history.statistics import GROUPINGS, statistics
from history.timerange import TimeRange
from tests.history import recount, samples
from tests.history.rows import at

if TYPE_CHECKING:
    from collections.abc import Callable

    from history.records import Finished

pytestmark = pytest.mark.django_db(databases=["default", "pg"])

STATUSES = (*["routed"] * 12, "failed", "timeout", "rejected", "cancelled", "interrupted", "decided", "decided")
TREE = '{"any": [{"field": "status", "value": "timeout"}, {"not": {"field": "profile", "value": "default"}}]}'
#: Parameters, and the same as Python.
FILTERS: list[tuple[dict[str, str], Callable[[recount.Row], bool]]] = [
    ({}, lambda row: True),
    ({"status": "failed"}, lambda row: row["status"] == "failed"),
    ({"status__ne": "routed"}, lambda row: row["status"] != "routed"),
    ({"recovered": "1"}, lambda row: row["recovered"]),
    ({"profile": "default"}, lambda row: row["profile"] == "default"),
    ({"provider__in": "acme-eu,acme-us"}, lambda row: row["provider"] in ("acme-eu", "acme-us")),
    ({"provider__ne": "acme-eu"}, lambda row: row["provider"] != "acme-eu"),
    ({"rule": "Größe"}, lambda row: row["rule"] == "Größe"),
    ({"rule__ne": "Größe"}, lambda row: row["rule"] != "Größe"),
    ({"error_code__startswith": "upstream"}, lambda row: (row["error_code"] or "").startswith("upstream")),
    ({"model__contains": "gpt", "profile": "other"}, lambda row: "gpt" in row["model"] and row["profile"] == "other"),
    ({"filter": TREE}, lambda row: row["status"] == "timeout" or row["profile"] != "default"),
]


class Life:
    """A history that goes on in a database, and what it should come to, kept beside it."""

    def __init__(self, alias: str, seed: int) -> None:
        self.alias = alias
        self.chance = random.Random(seed)
        self.store = Store(UUID(int=1), "failures", alias)
        self.begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=4)
        self.now = self.begin
        self.rows: dict[bytes, recount.Row] = {}
        self.batches: list[list[Finished]] = []
        self.gone: set[bytes] = set()  # rows that were removed
        self.read: set[str] = set()  # what answers were made of

    def ship(self, records: list[Finished], updates: tuple[Any, ...] = ()) -> None:
        rows = Rows("failures")
        for record in records:
            rows.add_finished(record)
        keyed = [KeyedUpdate(f"seg:{len(self.rows)}:{n}", update, b"") for n, update in enumerate(updates)]
        self.store.apply(Batch(rows, keyed))
        if self.alias == "pg":
            with connections["pg"].cursor() as cursor:  # a commit would do that, but the test never commits
                cursor.execute(
                    "DROP TABLE IF EXISTS ship_route_history, ship_route_attempts, ship_route_history_metrics"
                )
        for record in records:
            self.rows.setdefault(record.id, recount.row_of(record))
        for update in updates:
            recount.update_row(self.rows[update.id], update)

    def go_on(self) -> None:
        """Some requests of the last hour, some of long ago, some of both again; and decisions get outcomes."""
        self.now += timedelta(minutes=self.chance.randrange(20, 400))
        latest = min(self.now, self.begin + timedelta(hours=59))
        moments = [latest - timedelta(minutes=self.chance.random() * 90) for _ in range(self.chance.randrange(12))]
        if self.chance.random() < 0.4:
            age = (latest - self.begin).total_seconds()
            moments += [latest - timedelta(seconds=self.chance.random() * age) for _ in range(3)]
        records = [self.request(moment) for moment in moments]
        self.batches.append(records)
        if self.chance.random() < 0.3:
            again = self.chance.choice(self.batches)
            records = records + [record for record in again if record.id not in self.gone]
        known = [route for route in self.rows if route not in self.gone] + [record.id for record in records]
        updates = [self.outcome(route) for route in known if self.chance.random() < 0.2]
        self.ship(records, tuple(updates))

    def request(self, moment: datetime) -> Finished:
        chance = self.chance
        status = chance.choice(STATUSES)
        recovered = status == "routed" and chance.random() < 0.2
        provider = "" if status == "rejected" else chance.choice(("acme-eu", "acme-us"))
        attempts = [samples.attempt(provider="acme-us", error_class="upstream_5xx"), samples.attempt(provider=provider)]
        return samples.finished(
            at(moment, chance.getrandbits(60)),
            status=status,
            recovered=recovered,
            attempts=attempts if recovered else [],
            attempt_count=2 if recovered else 1,
            profile=chance.choice(("default", "other")),
            provider=provider,
            model=chance.choice(("gpt-4o", "claude")),
            strategy=chance.choice(("weighted", "failover")),
            rule=chance.choice((None, None, "Größe")),
            error_code=None if status in ("routed", "decided") else chance.choice(("upstream_5xx", "internal")),
            http_status=chance.choice((200, 200, 101, None)),
            latency_us=int(chance.lognormvariate(13, 2)),
            ttfb_us=chance.choice((None, int(chance.lognormvariate(11, 2)))),
            input_tokens=chance.choice((None, 100)),
            cost_micro_usd=chance.choice((None, chance.randrange(10**6))),
        )

    def outcome(self, route: bytes) -> Any:
        return samples.update(
            route,
            status=self.chance.choice(("routed", "failed")),
            error_code=self.chance.choice((None, "internal")),
            latency_us=self.chance.randrange(10**7),
            output_tokens=7,
        )

    def remove(self, before: datetime, share: float) -> None:
        """Rows from before then are gone, or some of them: retention was killed while it removed them."""
        end = first_id(self.begin + (before - self.begin) * share)
        self.gone |= {route for route in self.rows if route < end.bytes}
        with connections[self.alias].cursor() as cursor:
            for table in ("route_history", "route_attempts"):
                wanted = end if self.alias == "pg" else end.hex
                cursor.execute(f"DELETE FROM {table} WHERE id < %s", [wanted])

    def ask(self) -> None:
        """Some question, and whether the answer is true."""
        chance = self.chance
        hours = sorted(chance.sample(range(-2, 63), 2))
        offset = timedelta(minutes=chance.choice((0, 0, 17, 59.9999)))
        start, end = (chance.choice((None, self.begin + timedelta(hours=hour) + offset)) for hour in hours)
        parameters, matches = chance.choice(FILTERS)
        group_by, span = chance.choice((None, *GROUPINGS)), TimeRange(start, end)
        answer = statistics(span, group_by, from_parameters(parameters), self.alias)
        plan = planning.make(span, self.alias)
        recount.assert_true(answer, self.rows.values(), matches, exact=not any(plan.sums.values()))
        self.read |= {f"sums of {grain}" for grain, stretches in plan.sums.items() if stretches}
        self.read |= {"rows" for _ in plan.rows}
        if start is not None:
            recovered = chance.random() < 0.5
            filters = from_parameters(parameters)
            report = failures.report(span, filters, include_recovered=recovered, limit=1, alias=self.alias)
            recount.assert_report(report, self.rows.values(), matches, self.gone, recovered)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_statistics_are_those_of_a_recount_whatever_happens(
    alias: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests come in and late and twice, decisions get outcomes, hours are summed up or not yet, rows are removed."""
    monkeypatch.setattr(work, "WORTHWHILE", 1)
    monkeypatch.setattr(planning, "READ_SLICES", 5 * DAY)  # all that is here is days ago, so that no hour is special
    life = Life(alias, seed)
    for number in range(16):
        life.go_on()
        if life.chance.random() < 0.7:
            work.run(alias, life.now)
        if number in (7, 9, 12):
            before = life.begin + (life.now - life.begin) * 0.4
            before = before.replace(minute=0, second=0, microsecond=0)
            rollups.seal(before, alias)
            life.remove(before, (0.5, 0.0, 1.0)[number % 3])
        for _ in range(2):
            life.ask()
    assert life.read >= {"sums of 86400", "sums of 3600", "sums of 300", "rows"}
