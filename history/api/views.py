"""The history over HTTP: list, one route in full, failures. Read only; needs the scope ``read``, for copies of payloads
``admin``.

Translates between query parameters and ``history.search`` / ``history.failures``; knows no rules of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from history import failures, payloads, render, reports, search
from history.api import parameters, schema
from history.api.base import TIMES, HistoryView, PageView
from history.errors import RouteNotFound
from routes.api.auth import actor_of
from routes.api.permissions import AdminReadScope

if TYPE_CHECKING:
    from rest_framework.request import Request


class HistoryListView(PageView):
    reserved = PageView.reserved | TIMES | {"order", "count"}
    filtered = True

    @extend_schema(
        operation_id="history_list",
        tags=["history"],
        parameters=[*parameters.LIST, *schema.HEADERS],
        responses=schema.page("HistoryPage"),
        description="Requests, newest first. Filters that no index narrows cover the last 24 hours, unless `from` says "
        "otherwise; a page that had to stop early says in `scanned_to` how far it got, and `next` goes on there. CSV "
        "and NDJSON have the rows of the page; their links are in the header `Link`.",
    )
    def get(self, request: Request) -> Response:
        filters, span, limit = self.filters(), self.span(), self.limit()
        order = self.choice("order", search.ORDERS) or search.ORDERS[0]
        wanted = self.choice("count", ("exact", "estimate"))
        page = search.search(filters, span, order=order, limit=limit, cursor=request.query_params.get("cursor"))
        beside: dict[str, Any] = {}
        if wanted:
            beside["count"] = (search.count if wanted == "exact" else search.estimate)(filters, span)
        return self.page(page, **beside)


class HistoryDetailView(HistoryView):
    @extend_schema(
        operation_id="history_retrieve",
        tags=["history"],
        parameters=[parameters.ROUTE, schema.RETRY_AFTER],
        responses=schema.one("HistoryDetail", missing="route_not_found"),
        description="One request: what was asked, every candidate and why, every attempt, and the story in words.",
    )
    def get(self, request: Request, route: str) -> Response:
        try:
            found = search.find(UUID(route))
        except ValueError:
            found = None
        if found is None:
            raise RouteNotFound("there is no route with this id")
        return Response(render.detail(found))


class HistoryPayloadView(HistoryView):
    permission_classes = (AdminReadScope,)

    @extend_schema(
        operation_id="history_payload",
        tags=["history"],
        parameters=[parameters.ROUTE, schema.RETRY_AFTER],
        responses=schema.one("HistoryPayload", missing="payload_not_kept", scope="admin"),
        description="Copies of what the client sent and was answered, if `SIGNALBOX_HISTORY_PAYLOADS` had them kept: "
        "redacted, cut if long. Needs the scope `admin`; every reading is in the audit log. 404 `payload_not_kept` "
        "where there is none.",
    )
    def get(self, request: Request, route: str) -> Response:
        try:
            identifier = UUID(route)
        except ValueError:
            raise RouteNotFound("there is no route with this id") from None
        payload = payloads.read(identifier, actor=actor_of(request))
        return Response(payloads.render(payload), headers={"Cache-Control": "no-store"})


class HistoryFailuresView(PageView):
    reserved = PageView.reserved | TIMES | {"include_recovered"}
    filtered = True

    @extend_schema(
        operation_id="history_failures",
        tags=["history"],
        parameters=[*parameters.FAILURES, *schema.HEADERS],
        responses=schema.page("HistoryFailures"),
        description="Failed, timed out, rejected and interrupted requests (the last 24 hours unless `from` is given), "
        "grouped by cause and provider, and page by page, newest first. CSV and NDJSON have the rows of the page.",
    )
    def get(self, request: Request) -> Response:
        report = failures.report(
            self.span(),
            self.filters(),
            include_recovered=self.flag("include_recovered"),
            limit=self.limit(),
            cursor=request.query_params.get("cursor"),
        )
        return self.page(report.page, **reports.failures(report))
