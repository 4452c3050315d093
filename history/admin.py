"""The history in the console: the list with filters in the address, and one route told in words.

Reads only, through ``history.search`` (pages by cursor, never counts) and ``history.render``. Whatever the API's
list filters by works in the address here too; the form offers the four that are asked for most.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from history import render, search
from history.errors import BadQuery, RangeTooLarge
from history.filters import NOTHING, from_parameters
from history.models import FAILURE_STATUSES, RouteHistory, RouteStatus
from history.timerange import TimeRange
from routes.engine import words
from routes.models import Profile, Provider

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse

    BaseAdmin = ModelAdmin[RouteHistory]
else:
    BaseAdmin = ModelAdmin  # generic for the type checker only

READ = "routes.control_read"
MILLISECOND = timedelta(milliseconds=1)
RANGES: dict[str, tuple[str, float | None]] = {
    "1h": ("Last hour", 1),
    "24h": ("Last 24 hours", 24),
    "7d": ("Last 7 days", 7 * 24),
    "30d": ("Last 30 days", 30 * 24),
    "all": ("Any time", None),
}
DEFAULT_RANGE = "24h"
FAILURES = "failures"
STATUSES = (
    (FAILURES, "Any failure"),
    *((value, label[:1].upper() + label[1:]) for value, label in RouteStatus.choices),
)
#: Parameters that are not conditions on a row.
FRAME = frozenset({"range", "from", "to", "cursor", "status"})


class Query(NamedTuple):
    """What the address asks for; ``given`` repeats it without the cursor."""

    given: dict[str, str]
    span: TimeRange
    page: search.Page | None
    problem: str = ""

    @classmethod
    def run(cls, request: HttpRequest) -> Query:
        """One or a few bounded queries. What is not understood is told, not guessed."""
        given = {name: str(value).strip() for name, value in request.GET.items() if name != "cursor"}
        given = {name: value for name, value in given.items() if value}
        try:
            span = _span(given)
            conditions = {name: value for name, value in given.items() if name not in FRAME}
            status = given.get("status", "")
            if status == FAILURES:
                conditions["status__in"] = ",".join(FAILURE_STATUSES)
            elif status:
                conditions["status"] = status
            filters = from_parameters(conditions) if conditions else NOTHING
            page = search.search(filters, span, cursor=request.GET.get("cursor") or None)
        except (BadQuery, RangeTooLarge) as error:
            return cls(given, TimeRange(), None, str(error))
        return cls(given, span, page)

    def link(self, cursor: str | None = None) -> str:
        return f"?{urlencode({**self.given, 'cursor': cursor} if cursor else self.given)}"


def _span(given: Mapping[str, str]) -> TimeRange:
    if "from" in given or "to" in given:
        return TimeRange.parse(given.get("from"), given.get("to"))
    hours = RANGES.get(given.get("range", DEFAULT_RANGE), RANGES[DEFAULT_RANGE])[1]
    return TimeRange() if hours is None else TimeRange.last(hours=hours, now=timezone.now())


class Attempt(NamedTuple):
    """An attempt as the timeline draws it; ``left`` and ``width`` are percent of the whole request."""

    ordinal: int
    name: str
    answered: bool
    outcome: str
    http_status: int | None
    error_class: str | None
    message: str
    endpoint: str
    started: datetime | None
    offset_ms: int
    latency_ms: int | None
    ttfb_ms: int | None
    left: str
    width: str
    transitions: list[str]


@admin.register(RouteHistory)
class RouteHistoryAdmin(BaseAdmin):
    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(READ)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def _page(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        everything = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, **context}
        return TemplateResponse(request, template, everything)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        query = Query.run(request)
        given, page = query.given, query.page
        return self._page(
            request,
            "history/list.html",
            "History",
            rows=page.rows if page else [],
            scanned_to=page.scanned_to if page else None,
            given=given,
            chosen_range="" if {"from", "to"} & given.keys() else given.get("range", DEFAULT_RANGE),
            extra=[(n, v) for n, v in given.items() if n not in ("range", "status", "profile", "provider")],
            filtered=bool(given),
            problem=query.problem,
            ranges=[(value, word) for value, (word, _hours) in RANGES.items()],
            statuses=STATUSES,
            profiles=_with(Profile.objects.order_by("slug").values_list("slug", flat=True), given.get("profile")),
            providers=_with(Provider.objects.order_by("slug").values_list("slug", flat=True), given.get("provider")),
            newest=query.link() if request.GET.get("cursor") else "",
            older=query.link(page.next) if page and page.next else "",
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            route = RouteHistory.objects.filter(pk=UUID(unquote(object_id))).first()
        except ValueError:
            route = None
        if route is None:
            raise Http404("There is no such request in the history.")
        told = render.detail(route)
        return self._page(
            request,
            "history/detail.html",
            f"Request {str(route.id)[-12:]}",
            route=route,
            told=told,
            decision=told["routing_decision"],
            attempts=_attempts(route, told["attempts"]),
            metrics=told["metrics"],
            source=told["source_info"],
            profile_pk=Profile.objects.filter(slug=route.profile).values_list("pk", flat=True).first(),
        )


def _attempts(route: RouteHistory, attempts: list[dict[str, Any]]) -> list[Attempt]:
    """Attempts laid out over the time of the whole request."""
    starts = [parse_datetime(entry["started_at"]) for entry in attempts]
    offsets = [
        max(0, round((start - route.created_at) / timedelta(milliseconds=1))) if start else 0 for start in starts
    ]
    ends = [offset + (entry["latency_ms"] or 0) for offset, entry in zip(offsets, attempts, strict=True)]
    whole = max(1, route.latency_ms or 0, *ends, 1)
    return [
        Attempt(
            entry["ordinal"],
            f"{entry['provider']} / {entry['model']}" if entry["model"] else entry["provider"],
            entry["error_class"] is None,
            words.outcome(entry["error_class"], entry["http_status"]),
            entry["http_status"],
            entry["error_class"],
            entry["message"],
            entry["endpoint"],
            start,
            offset,
            entry["latency_ms"],
            entry["ttfb_ms"],
            f"{100 * offset / whole:.2f}",
            f"{max(0.6, 100 * (entry['latency_ms'] or 0) / whole):.2f}",
            [words.transition(*change) for change in entry["transitions"]],
        )
        for entry, start, offset in zip(attempts, starts, offsets, strict=True)
    ]


def _with(slugs: Any, chosen: str | None) -> list[str]:
    """Names to choose from: what is configured, and the chosen one even if it is gone."""
    names = list(slugs)
    return names if not chosen or chosen in names else [*names, chosen]
