"""Reports as documents: what the API and the commands answer as JSON for failures, statistics and sessions.

Plain values that ``json`` takes, times as ``render`` writes them; knows nothing of HTTP, and asks the database nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from history.render import moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from history.failures import Report
    from history.sessions import Session, Sighting
    from history.timerange import TimeRange

#: Groups of statistics whose key is a time.
BY_TIME: Final = ("hour", "day")


def failures(report: Report) -> dict[str, Any]:
    """The failures report without its page of routes."""
    return {
        **_span(report.span),
        "total": report.total,
        "recovered": report.recovered,
        "groups": [
            {
                "error_code": group.error_code,
                "provider": group.provider,
                "count": group.count,
                "recovered": group.recovered,
                "first_seen": moment(group.first_seen),
                "last_seen": moment(group.last_seen),
                "sample_ids": [str(identifier) for identifier in group.sample_ids],
            }
            for group in report.groups
        ],
    }


def statistics(found: Mapping[str, Any]) -> dict[str, Any]:
    """What ``history.statistics`` found. Hours and days are told by the moment they begin at."""
    by_time = found["group_by"] in BY_TIME
    return {
        "from": _maybe(found["from"]),
        "to": _maybe(found["to"]),
        "group_by": found["group_by"],
        "totals": found["totals"],
        "groups": [
            {**group, "key": moment(datetime.fromtimestamp(group["key"], UTC)) if by_time else group["key"]}
            for group in found["groups"]
        ],
    }


def session(told: Session) -> dict[str, Any]:
    return {
        "session_id": str(told.id),
        "session_key": told.session_key,
        "access_key": told.access_key,
        "first_at": _maybe(told.first),
        "last_at": _maybe(told.last),
        "count": told.count,
        "recovered": told.recovered,
        "statuses": dict(told.statuses),
        "profiles": [{"profile": name, "count": count} for name, count in told.profiles.most_common()],
        "providers": [{"provider": name, "count": count} for name, count in told.providers.most_common()],
        "targets": [
            {"endpoint_id": _id(target.endpoint_id), "provider": target.provider, "model": target.model, "count": count}
            for target, count in told.targets.most_common()
        ],
        "input_tokens": told.input_tokens,
        "output_tokens": told.output_tokens,
        "cached_tokens": told.cached_tokens,
        "cost_usd": told.cost_micro_usd / 1e6,
    }


def sighting(seen: Sighting) -> dict[str, Any]:
    return {
        "session_id": str(seen.id),
        "access_key": seen.access_key,
        "first_at": moment(seen.first),
        "last_at": moment(seen.last),
        "count": seen.count,
    }


def _span(span: TimeRange) -> dict[str, str | None]:
    return {"from": _maybe(span.start), "to": _maybe(span.end)}


def _maybe(value: datetime | None) -> str | None:
    return None if value is None else moment(value)


def _id(value: UUID | None) -> str | None:
    return None if value is None else str(value)
