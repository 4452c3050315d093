"""The failed-routes report: causes with what to do about each, then the routes. Prints, and exports what it shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.urls import reverse

from history import failures
from history.admin import frame, places
from history.admin.asked import FAILURES, failure_tree
from history.admin.listing import lines, pager
from history.ids import time_of
from routes.engine import troubles
from routing_project.console.templatetags.console import grouped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from django.http import HttpRequest

    from history.admin.asked import Asked


class Cause(NamedTuple):
    """A group of the report in words. ``failed`` are those of it that no other target saved."""

    group: failures.Group
    told: str
    advice: str
    see: frame.Action | None  # where to act
    provider_url: str
    failed: int
    share: float  # of everything in the report
    routes_url: str  # the list with these alone
    samples: list[frame.Action]


def context(request: HttpRequest, asked: Asked, now: datetime) -> dict[str, Any]:
    """At most eight bounded queries, beside what every page here needs."""
    report, trouble = frame.ask(
        asked,
        lambda: failures.report(
            asked.span,
            asked.filters,
            include_recovered=asked.include_recovered,
            limit=asked.limit,
            cursor=asked.cursor,
        ),
    )
    shared = frame.shared(request, asked, frame.FAILED, now)
    count = 0 if report is None else report.total + (report.recovered if asked.include_recovered else 0)
    noun = "row" if count == 1 else "rows"
    tree = failure_tree(include_recovered=asked.include_recovered)
    return {
        **shared,
        "report": report,
        "with_recovered_url": asked.link(include_recovered="1"),
        "without_recovered_url": asked.link(include_recovered=""),
        "causes": _causes(asked, report.groups, shared["profiles"], shared["providers"]) if report else [],
        "lines": lines(report.page.rows) if report else [],
        "instead": trouble or (None if report and (count or asked.cursor) else _empty(asked)),
        "pager": pager(asked, report.page) if report else None,
        "export": frame.export(asked, report.span if report else asked.span, f"{grouped(count)} {noun}", tree=tree),
    }


def _causes(
    asked: Asked, groups: list[failures.Group], profiles: Mapping[str, Any], providers: Mapping[str, Any]
) -> list[Cause]:
    whole = sum(group.count for group in groups)
    place = reverse(frame.LIST)
    found = []
    for group in groups:
        trouble = troubles.of(group.error_code, group.provider)
        provider = providers.get(group.provider)
        values = {"error_code": group.error_code, "provider": group.provider}
        found.append(
            Cause(
                group,
                f"{group.provider} {trouble.told}" if group.provider else f"The request {trouble.told}",
                trouble.advice,
                places.of(trouble.see, group.provider, provider, profiles.get(asked.given.get("profile", ""))),
                reverse("admin:routes_provider_change", args=[provider]) if provider else "",
                group.count - group.recovered if asked.include_recovered else group.count,
                group.count / whole,
                asked.narrowed(place, values, status=asked.given.get("status", FAILURES)),
                [
                    frame.Action(reverse("admin:history_routehistory_change", args=[each]), _clock(each, asked.now))
                    for each in group.sample_ids
                ],
            )
        )
    return found


def _clock(route: UUID, now: datetime) -> str:
    """When it came in; the day too, where it was another."""
    at = time_of(route)
    return f"{at:%H:%M:%S}" if at.date() == now.astimezone(UTC).date() else f"{at:%m-%d %H:%M}"


def _empty(asked: Asked) -> frame.Notice:
    if asked.conditions:
        return frame.nothing(asked, "failed route")
    text = "Every request of this time was answered by a provider, or given up by its client."
    return frame.Notice("circle-check", "No failed route", text, frame.wider(asked))
