"""Statistics of a time as a table: one row per profile, provider, …, hour or day, each a link to its requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.urls import reverse

from history.admin import frame
from history.models import RouteStatus
from history.search import effective
from history.statistics import statistics
from routes.engine import troubles

if TYPE_CHECKING:
    from django.http import HttpRequest

    from history.admin.asked import Asked

DEFAULT: Final = "provider"
WORDS: Final = {
    "profile": "Profile",
    "provider": "Provider",
    "model": "Model",
    "strategy": "Strategy",
    "status": "Status",
    "rule": "Rule",
    "error_code": "Error",
    "hour": "Hour",
    "day": "Day",
}
_LENGTHS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
#: Rows of a page; the API has them all.
MOST: Final = 200


class Row(NamedTuple):
    """``figures`` is G of the contract."""

    name: str
    note: str
    state: str  # where the name is one that is drawn as a state
    url: str  # of its requests
    figures: dict[str, Any]


def context(request: HttpRequest, asked: Asked, now: datetime) -> dict[str, Any]:
    """Few queries, from rollups where they are; beside what every page here needs."""
    by = asked.given.get("group_by", DEFAULT)
    span = effective(asked.filters, asked.span, "latency_ms")  # never without a begin
    found, trouble = frame.ask(asked, lambda: statistics(span, by, asked.filters))
    groups = found["groups"] if found else []
    totals = found["totals"] if found else None
    rows = [_row(asked, by, group) for group in _ordered(by, groups)[:MOST]]
    return {
        **frame.shared(request, asked, frame.STATISTICS, now),
        "by": by,
        "by_word": WORDS[by],
        "groupings": [(asked.link(group_by=name), word, name == by) for name, word in WORDS.items()],
        "rows": rows,
        "more": len(groups) - len(rows),
        "totals": totals,
        "expects": any(group.get("expected_share") is not None for group in groups),
        "notes": ["Only the last 24 hours: statistics need a time."] if span != asked.span else [],
        "instead": trouble or (None if totals and totals["count"] else frame.nothing(asked, "request")),
        "json_url": asked.api("statistics/", span, group_by=by),
    }


def _ordered(by: str, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Times newest first, else what there is most of."""
    return groups[::-1] if by in _LENGTHS else sorted(groups, key=lambda group: -group["count"])


def _row(asked: Asked, by: str, group: dict[str, Any]) -> Row:
    key, place = group["key"], reverse(frame.LIST)
    if by in _LENGTHS:
        start = key if isinstance(key, datetime) else datetime.fromtimestamp(key, UTC)
        end = start + _LENGTHS[by]
        name = f"{start:%Y-%m-%d %H:%M}–{end:%H:%M} UTC" if by == "hour" else f"{start:%Y-%m-%d} UTC"
        bounds = [max(start, asked.span.start or start), min(end, asked.span.end or end)]
        return Row(name, "", "", asked.between(place, *bounds), group)
    url = asked.narrowed(place, {by: key})
    if by == "status":
        return Row(RouteStatus(key).label, "", key, url, group)
    if by == "error_code" and key is not None:
        return Row(key, _told(key), "", url, group)
    return Row(key or _missing(by), "", "", url, group)


def _told(code: str) -> str:
    """What an error means, of a target and as a refusal of ours: here both count as one."""
    target, ours = troubles.ERRORS.get(code), troubles.REFUSALS.get(code)
    return "; or the request ".join(known.told for known in (target, ours) if known)


def _missing(by: str) -> str:
    """What rows without a value of it are."""
    return {
        "provider": "No provider was asked",
        "model": "No model was sent",
        "rule": "No rule matched",
        "error_code": "No error",
        "strategy": "Refused before a strategy",
    }.get(by, "None")
