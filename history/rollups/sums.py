"""The SQL that sums up: rows into sums, sums of short periods into those of longer ones, many dimensions into few.

A view is a choice of dimensions; ``FULL`` has all of them, the others are made of it and are short ways to the usual
questions. Everything in a sum adds up, so that sums may be summed, and a further row for the same period corrects what
is there. What is particular to a database is in its ``_Dialect``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from history.ids import first_id_of, same_moment
from history.models import FAILURE_STATUSES, SWITCHING_PROTOCOLS, RouteStatus
from history.rollups.buckets import DIGITS, EDGES
from history.rollups.fields import SAMPLES
from history.rollups.periods import DAY, HOUR, SLICE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

#: The first eight are columns of rows; the last two tell what a recovered request was saved from.
DIMENSIONS: Final = (
    *("profile", "provider", "model", "strategy", "rule", "status", "error_code", "recovered"),
    *("first_error", "first_provider"),
)
ADDED: Final = (
    *("requests", *(status.value for status in RouteStatus), "recoveries", "reached"),
    *("latency_count", "latency_sum", "ttfb_count", "ttfb_sum"),
    *("input_tokens", "output_tokens", "cached_tokens", "cost_micro_usd"),
)
HISTOGRAMS: Final = ("latency_histogram", "ttfb_histogram")
COLUMNS: Final = (*DIMENSIONS, *ADDED, *HISTOGRAMS, "first_at", "last_at", "samples")

_FAILED: Final = "status IN (" + ", ".join(f"'{status.value}'" for status in FAILURE_STATUSES) + ")"
#: How a dimension that a view does not have is written.
_BLANK: Final = dict.fromkeys(DIMENSIONS, "''") | {
    **dict.fromkeys(("rule", "error_code", "first_error", "first_provider"), "NULL"),
    "recovered": "FALSE",
}
_INSERT: Final = f"INSERT INTO history_rollups (grain, view, start, {', '.join(COLUMNS)})"


class View(NamedTuple):
    name: str
    dimensions: tuple[str, ...]
    grains: tuple[int, ...]  # periods that have it
    only: str = ""  # condition on the rows it is made of


FULL: Final = View("full", DIMENSIONS, (SLICE, HOUR, DAY))
#: How requests ended, whoever they went to: some ten rows for each period.
OUTCOMES: Final = View("outcomes", ("status", "error_code", "recovered"), (HOUR, DAY))
#: Who served what for whom, however it ended.
PLACES: Final = View("places", ("profile", "provider", "model", "strategy", "rule"), (DAY,))
#: What the failures report asks for.
FAILURES: Final = View(
    "failures",
    ("provider", "status", "error_code", "recovered", "first_error", "first_provider"),
    (DAY,),
    f"recovered OR {_FAILED}",
)
DERIVED: Final = (OUTCOMES, PLACES, FAILURES)
_NAMES: Final = ", ".join(f"'{view.name}'" for view in (FULL, *DERIVED))


class _Dialect(NamedTuple):
    """Expressions over a column ``{0}``, where the databases differ."""

    histogram: str  # of values
    histograms: str  # of histograms
    ids: str  # ids of rows, for ``newest``
    lists: str  # lists of ids, for ``newest``
    newest: str  # the last few of ``ids``
    cost: str


_EDGES: Final = "{{" + ",".join(map(str, EDGES)) + "}}"
_POSTGRESQL: Final = _Dialect(
    histogram=f"sum(('1e' || {DIGITS} * width_bucket({{0}}, '{_EDGES}'::int[]))::numeric)",
    histograms="sum({0})",
    ids="array_agg({0})",
    lists="string_to_array(string_agg({0}, ','), ',')::uuid[]",
    newest="(SELECT string_agg(newest.id::text, ',') FROM "  # noqa: S608 own text
    f"(SELECT id FROM unnest(ids) AS each (id) ORDER BY id DESC LIMIT {SAMPLES}) AS newest)",
    cost="coalesce(sum({0}), 0)::float8",
)
_SQLITE: Final = _Dialect(
    histogram="histogram({0})",
    histograms="histogram_sum({0})",
    ids="newest_ids({0})",
    lists="newest_ids({0})",
    newest="nullif(ids, '')",
    cost="total({0})",
)


def _dialect(vendor: str) -> _Dialect:
    return _POSTGRESQL if vendor == "postgresql" else _SQLITE


class Select(NamedTuple):
    """A SELECT of ``COLUMNS``."""

    sql: str
    parameters: tuple[Any, ...] = ()


def _of_rows(rows: str, attempts: str, parameters: Sequence[Any], vendor: str) -> Select:
    """Sums of rows by all dimensions. ``rows`` and ``attempts`` are conditions on ``r`` and ``a``, parameters those of
    ``attempts`` and then those of ``rows``."""
    dialect = _dialect(vendor)
    kept = f"r.recovered OR r.{_FAILED}"
    timed = "r.status <> 'decided'"
    quick = f"{timed} AND (r.http_status IS NULL OR r.http_status <> {SWITCHING_PROTOCOLS})"
    added = [
        "count(*)",
        *(f"count(*) FILTER (WHERE r.status = '{status.value}')" for status in RouteStatus),
        "count(*) FILTER (WHERE r.recovered)",
        "count(*) FILTER (WHERE r.provider <> '')",
        f"count(r.latency_ms) FILTER (WHERE {quick})",
        f"coalesce(sum(r.latency_ms) FILTER (WHERE {quick}), 0)",
        f"count(r.ttfb_ms) FILTER (WHERE {timed})",
        f"coalesce(sum(r.ttfb_ms) FILTER (WHERE {timed}), 0)",
        *(f"coalesce(sum(r.{name}), 0)" for name in ("input_tokens", "output_tokens", "cached_tokens")),
        dialect.cost.format("r.cost_micro_usd"),
        f"{dialect.histogram.format('r.latency_ms')} FILTER (WHERE {quick})",
        f"{dialect.histogram.format('r.ttfb_ms')} FILTER (WHERE {timed})",
        "min(r.created_at)",
        "max(r.created_at)",
        f"{dialect.ids.format('r.id')} FILTER (WHERE {kept})",
    ]
    dimensions = [
        *(f"r.{name}" for name in DIMENSIONS[:8]),
        "CASE WHEN r.recovered THEN a.error_class END",
        "CASE WHEN r.recovered THEN a.provider END",
    ]
    names = (*COLUMNS[:-1], "ids")
    summed = ", ".join(f"{text} AS {name}" for text, name in zip([*dimensions, *added], names, strict=True))
    return Select(
        f"SELECT {', '.join(COLUMNS[:-1])}, {dialect.newest} AS samples FROM (SELECT {summed} FROM route_history r "  # noqa: S608
        f"LEFT JOIN route_attempts a ON r.recovered AND a.history_id = r.id AND a.ordinal = 1 AND {attempts} "
        f"WHERE {rows} GROUP BY {', '.join(map(str, range(1, len(DIMENSIONS) + 1)))}) AS summed",
        tuple(parameters),
    )


def of_period(grain: int, start: int, vendor: str) -> Select:
    """Sums of a period by all dimensions: of a day from its hours, of others from rows."""
    if grain == DAY:
        return of_sums(FULL, _stored(HOUR, start, start + DAY), vendor)
    bounds = _ids(vendor, first_id_of(start * 1000), first_id_of((start + grain) * 1000))
    # An attempt's id begins with the time of its route's.
    return _of_rows("r.id >= %s AND r.id < %s", "a.id >= %s AND a.id < %s", bounds + bounds, vendor)


def of_routes(routes: Sequence[UUID], vendor: str) -> Select:
    """Sums of certain rows by all dimensions; the nearer they are in time, the less of attempts is read."""
    marks = ", ".join(["%s"] * len(routes))
    low, high = same_moment(min(routes))[0], same_moment(max(routes))[1]
    return _of_rows(f"r.id IN ({marks})", "a.id >= %s AND a.id < %s", _ids(vendor, low, high, *routes), vendor)


def of_sums(view: View, source: Select, vendor: str) -> Select:
    """Sums of sums by the dimensions of a view; ``source`` is what stands behind FROM."""
    dialect = _dialect(vendor)
    columns = [
        *(name if name in view.dimensions else f"{_BLANK[name]} AS {name}" for name in DIMENSIONS),
        *(f"sum({name}) AS {name}" for name in ADDED),
        *(f"{dialect.histograms.format(name)} AS {name}" for name in HISTOGRAMS),
        "min(first_at) AS first_at",
        "max(last_at) AS last_at",
        f"{dialect.lists.format('samples')} AS ids",
    ]
    only = f" WHERE {view.only}" if view.only else ""
    return Select(
        f"SELECT {', '.join(COLUMNS[:-1])}, {dialect.newest} AS samples FROM "  # noqa: S608 own text
        f"(SELECT {', '.join(columns)} FROM {source.sql}{only} GROUP BY {', '.join(view.dimensions)}) AS summed",
        source.parameters,
    )


def without(source: Select) -> Select:
    """What takes sums away again. For rows that have no times: a histogram is not taken from another."""
    columns = [
        *DIMENSIONS,
        *(f"-{name} AS {name}" for name in ADDED),
        *(f"CAST(NULL AS numeric) AS {name}" for name in HISTOGRAMS),
        *("first_at", "last_at", "NULL AS samples"),
    ]
    return Select(f"SELECT {', '.join(columns)} FROM ({source.sql}) AS taken", source.parameters)  # noqa: S608


def clear(cursor: Any, grain: int, start: int) -> None:
    """Remove the sums of a period."""
    # By view too: it is in the index.
    cursor.execute(
        f"DELETE FROM history_rollups WHERE grain = %s AND view IN ({_NAMES}) AND start = %s",  # noqa: S608 own names
        [grain, start],
    )


def add(cursor: Any, grain: int, start: int, source: Select) -> None:
    """Add sums by all dimensions to those of a period, and to its views."""
    _insert(cursor, grain, start, FULL, source)
    _derive(cursor, grain, start, Select(f"({source.sql}) AS source", source.parameters))


def fill(cursor: Any, grain: int, start: int, source: Select | Sequence[Sequence[Any]]) -> None:
    """Store the sums of a period that has none: by all dimensions as given, or as fetched, and its views."""
    if isinstance(source, Select):
        _insert(cursor, grain, start, FULL, source)
    else:
        marks = ", ".join(["%s"] * len(COLUMNS))
        cursor.executemany(f"{_INSERT} VALUES ({grain}, '{FULL.name}', {start}, {marks})", source)
    _derive(cursor, grain, start, _stored(grain, start, start + 1))


def _derive(cursor: Any, grain: int, start: int, source: Select) -> None:
    for view in DERIVED:
        if grain in view.grains:
            _insert(cursor, grain, start, view, of_sums(view, source, cursor.db.vendor))


def _insert(cursor: Any, grain: int, start: int, view: View, source: Select) -> None:
    # In order, so that what filters ask for lies together.
    cursor.execute(
        f"{_INSERT} SELECT {grain}, '{view.name}', {start}, {', '.join(COLUMNS)} FROM ({source.sql}) AS sums "  # noqa: S608
        "ORDER BY profile, provider, model",
        source.parameters,
    )


def _stored(grain: int, start: int, end: int) -> Select:
    return Select(
        "(SELECT * FROM history_rollups WHERE grain = %s AND view = %s AND start >= %s AND start < %s) AS stored",
        (grain, FULL.name, start, end),
    )


def _ids(vendor: str, *identifiers: UUID) -> tuple[Any, ...]:
    """Ids as the database has them."""
    return identifiers if vendor == "postgresql" else tuple(identifier.hex for identifier in identifiers)
