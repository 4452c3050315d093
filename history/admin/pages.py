"""Addresses and permissions of the history in the console. Everybody with ``control_read`` may see all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone

from history import search
from history.admin import copies, detail, failed, figures, frame, listing
from history.admin.asked import Asked
from history.models import RouteHistory
from routes.admin.base import LogAdmin

if TYPE_CHECKING:
    from django.http import HttpRequest


@admin.register(RouteHistory)
class RouteHistoryAdmin(LogAdmin):
    word = "request"
    object_type = "payload"

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("failures/", view(self.failures_view), name="history_routehistory_failures"),
            path("statistics/", view(self.statistics_view), name="history_routehistory_statistics"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        asked = self._asked(request)
        if request.GET.get("part") == "count":
            return HttpResponse(frame.counted(asked), content_type="text/plain; charset=utf-8")
        return self.page(request, "history/list.html", "History", **listing.context(request, asked, asked.now))

    def failures_view(self, request: HttpRequest) -> HttpResponse:
        asked = self._asked(request)
        context = failed.context(request, asked, asked.now)
        return self.page(request, "history/failures.html", "Failed routes", **context)

    def statistics_view(self, request: HttpRequest) -> HttpResponse:
        asked = self._asked(request)
        context = figures.context(request, asked, asked.now)
        return self.page(request, "history/statistics.html", "Statistics", **context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self._demand(request)
        try:
            identifier = UUID(unquote(object_id))
        except ValueError:
            identifier = None
        route = search.find(identifier) if identifier else None
        if route is None:
            why = detail.missing(identifier)
            return self.page(request, "history/missing.html", why.title, status=404, missing=why, identifier=identifier)
        title = f"Request {str(route.id)[-12:]}"
        payload = copies.of(request, route)
        return self.page(request, "history/detail.html", title, payload=payload, **detail.context(route))

    def _asked(self, request: HttpRequest) -> Asked:
        self._demand(request)
        return Asked.read(request.GET, timezone.now())

    def _demand(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied
