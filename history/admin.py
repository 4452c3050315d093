"""The history in the console: the list with filters in the address, and one route told in words.

Reads only. The list is paged by id, which is time-ordered, and never counts; time filters become id bounds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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

from history.ids import first_id
from history.models import FAILURE_STATUSES, RouteHistory, RouteStatus
from routes.models import Profile, Provider

if TYPE_CHECKING:
    from django.db.models import Model, QuerySet
    from django.http import HttpRequest, HttpResponse

if TYPE_CHECKING:
    BaseAdmin = ModelAdmin[RouteHistory]
else:
    BaseAdmin = ModelAdmin  # generic for the type checker only

READ = "routes.control_read"
PAGE = 50
RANGES = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
    "all": ("Any time", None),
}
DEFAULT_RANGE = "24h"
FAILURES = "failures"
STATUSES = (
    (FAILURES, "Any failure"),
    *((value, label[:1].upper() + label[1:]) for value, label in RouteStatus.choices),
)
#: What the list shows; the packed decision stays in the database.
LIST_FIELDS = (
    *("id", "created_at", "status", "recovered", "degraded", "error_code", "profile", "requested_model", "model"),
    *("provider", "attempt_count", "latency_ms"),
)


class Filters(NamedTuple):
    """What the address asks for; anything not understood is the default and named in ``problem``."""

    range: str = DEFAULT_RANGE
    since: datetime | None = None
    until: datetime | None = None
    status: str = ""
    profile: str = ""
    provider: str = ""
    session: str = ""
    before: UUID | None = None
    problem: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> Filters:
        get = {
            name: request.GET.get(name, "").strip() for name in ("range", "status", "profile", "provider", "session")
        }
        problems: list[str] = []
        since, until = (_moment(request.GET.get(name, ""), name, problems) for name in ("from", "to"))
        if get["range"] not in RANGES:
            get["range"] = DEFAULT_RANGE
        if get["status"] not in dict(STATUSES):
            if get["status"]:
                problems.append("There is no such status.")
            get["status"] = ""
        before = None
        if text := request.GET.get("before", ""):
            try:
                before = UUID(text)
            except ValueError:
                problems.append("The page mark is damaged; this is the newest page.")
        return cls(**get, since=since, until=until, before=before, problem=" ".join(problems))

    def query(self) -> dict[str, str]:
        """The address without the page mark."""
        given = {"status": self.status, "profile": self.profile, "provider": self.provider, "session": self.session}
        if self.since:
            given["from"] = self.since.isoformat()
        if self.until:
            given["to"] = self.until.isoformat()
        if self.range != DEFAULT_RANGE:
            given["range"] = self.range
        return {name: value for name, value in given.items() if value}

    def rows(self, now: datetime) -> QuerySet[RouteHistory]:
        rows = RouteHistory.objects.order_by("-id").only(*LIST_FIELDS)
        length = RANGES[self.range][1]
        since = self.since or (None if length is None or self.until else now - length)
        if since:
            rows = rows.filter(id__gte=first_id(since))
        if self.until:
            rows = rows.filter(id__lt=first_id(self.until))
        if self.before:
            rows = rows.filter(id__lt=self.before)
        if self.status == FAILURES:
            rows = rows.exclude(status=RouteStatus.ROUTED).filter(status__in=FAILURE_STATUSES)
        elif self.status:
            rows = rows.filter(status=self.status)
        if self.profile:
            rows = rows.filter(profile=self.profile)
        if self.provider:
            rows = rows.filter(provider=self.provider)
        if self.session:
            rows = rows.filter(session_key=self.session)
        return rows


def _moment(text: str, name: str, problems: list[str]) -> datetime | None:
    if not text.strip():
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        problems.append(f"“{name}” must be a time like 2027-01-31T08:00:00Z.")
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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
        if not self.has_view_permission(request):
            raise PermissionDenied
        everything = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, **context}
        return TemplateResponse(request, template, everything)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        filters = Filters.of(request)
        rows = list(filters.rows(timezone.now())[: PAGE + 1])
        query = filters.query()
        older = f"?{urlencode({**query, 'before': str(rows[PAGE - 1].id)})}" if len(rows) > PAGE else ""
        return self._page(
            request,
            "history/list.html",
            "History",
            rows=rows[:PAGE],
            chosen=filters,
            filtered=bool(query),
            problem=filters.problem,
            ranges=[(value, word) for value, (word, _length) in RANGES.items()],
            statuses=STATUSES,
            profiles=_with(Profile.objects.order_by("slug").values_list("slug", flat=True), filters.profile),
            providers=_with(Provider.objects.order_by("slug").values_list("slug", flat=True), filters.provider),
            newer=f"?{urlencode(query)}" if filters.before else "",
            older=older,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        raise Http404(unquote(object_id))


def _with(slugs: Any, chosen: str) -> list[str]:
    """Names to choose from: what is configured, and the chosen one even if it is gone."""
    names = list(slugs)
    return names if not chosen or chosen in names else [*names, chosen]
