"""The history over HTTP: list, one route in full, failures. Read only; needs the scope ``read``, for copies of payloads
``admin``.

Translates between query parameters and ``history.search`` / ``history.failures``; knows no rules of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from history import failures, payloads, render, search
from history.api import schema
from history.errors import BadQuery, HistoryError, PayloadNotKept, RangeTooLarge, RouteNotFound
from history.filters import from_parameters
from history.models import RouteHistory
from history.search import DEFAULT_LIMIT, MAX_LIMIT
from history.timerange import TimeRange
from routes.api import errors
from routes.api.auth import actor_of
from routes.api.openapi import reference
from routes.api.permissions import AdminReadScope, ReadScope, ScopePermission

if TYPE_CHECKING:
    from rest_framework.request import Request

    from history.filters import Filters
    from history.search import Page

STATUS_OF: Final[dict[type[HistoryError], int]] = {
    BadQuery: status.HTTP_400_BAD_REQUEST,
    RangeTooLarge: status.HTTP_400_BAD_REQUEST,
    RouteNotFound: status.HTTP_404_NOT_FOUND,
    PayloadNotKept: status.HTTP_404_NOT_FOUND,
}
PAGING: Final = frozenset({"cursor", "limit", "from", "to"})


class HistoryView(APIView):
    permission_classes: tuple[type[ScopePermission], ...] = (ReadScope,)
    #: Parameters that are not filters.
    reserved: ClassVar[frozenset[str]] = PAGING

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, HistoryError):
            fields = {exc.field: [exc.message]} if isinstance(exc, BadQuery) else {}
            code = next(code for kind, code in STATUS_OF.items() if isinstance(exc, kind))
            return Response(errors.document(exc.code, str(exc), fields), status=code)
        return super().handle_exception(exc)

    def filters(self) -> Filters:
        parameters = self.request.query_params
        return from_parameters({name: parameters[name] for name in parameters if name not in self.reserved})

    def span(self) -> TimeRange:
        parameters = self.request.query_params
        return TimeRange.parse(parameters.get("from"), parameters.get("to"))

    def limit(self) -> int:
        text = self.request.query_params.get("limit", str(DEFAULT_LIMIT))
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
            raise BadQuery("limit", f"must be a number from 1 to {MAX_LIMIT}")
        return int(text)

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self.request.query_params.get(name)
        if value is not None and value not in choices:
            raise BadQuery(name, f"must be one of {', '.join(choices)}")
        return value

    def links(self, page: Page) -> dict[str, str | None]:
        here = self.request.build_absolute_uri()
        return {
            name: None if cursor is None else replace_query_param(here, "cursor", cursor)
            for name, cursor in (("next", page.next), ("previous", page.previous))
        }


class HistoryListView(HistoryView):
    reserved = PAGING | {"order", "count"}

    @extend_schema(
        operation_id="history_list",
        tags=["history"],
        parameters=schema.LIST_PARAMETERS,
        responses={200: reference("HistoryPage")},
        description="Routes, newest first. Filters that no index narrows cover the last 24 hours, unless `from` says "
        "otherwise.",
    )
    def get(self, request: Request) -> Response:
        filters, span, limit = self.filters(), self.span(), self.limit()
        order = self.choice("order", search.ORDERS) or search.ORDERS[0]
        wanted = self.choice("count", ("exact", "estimate"))
        page = search.search(filters, span, order=order, limit=limit, cursor=request.query_params.get("cursor"))
        body: dict[str, Any] = {"results": [render.row(row) for row in page.rows], **self.links(page)}
        if wanted:
            body["count"] = (search.count if wanted == "exact" else search.estimate)(filters, span)
        if page.scanned_to is not None:
            body["scanned_to"] = render.moment(page.scanned_to)
        return Response(body)


class HistoryDetailView(HistoryView):
    @extend_schema(
        operation_id="history_retrieve",
        tags=["history"],
        responses={200: reference("HistoryDetail")},
        description="One route: what was asked, every candidate and why, every attempt, and the story in words.",
    )
    def get(self, request: Request, route: str) -> Response:
        try:
            found = RouteHistory.objects.filter(id=UUID(route)).first()
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
        responses={200: reference("HistoryPayload")},
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


class HistoryFailuresView(HistoryView):
    reserved = PAGING | {"include_recovered"}

    @extend_schema(
        operation_id="history_failures",
        tags=["history"],
        parameters=schema.FAILURE_PARAMETERS,
        responses={200: reference("HistoryFailures")},
        description="Failed, timed out, rejected and interrupted routes (the last 24 hours unless `from` is given), "
        "grouped by cause and provider.",
    )
    def get(self, request: Request) -> Response:
        recovered = self.choice("include_recovered", ("0", "1", "true", "false")) in {"1", "true"}
        report = failures.report(
            self.span(),
            self.filters(),
            include_recovered=recovered,
            limit=self.limit(),
            cursor=request.query_params.get("cursor"),
        )
        body = {
            "from": None if report.span.start is None else render.moment(report.span.start),
            "to": None if report.span.end is None else render.moment(report.span.end),
            "total": report.total,
            "recovered": report.recovered,
            "groups": [
                {
                    "error_code": group.error_code,
                    "provider": group.provider,
                    "count": group.count,
                    "recovered": group.recovered,
                    "first_seen": render.moment(group.first_seen),
                    "last_seen": render.moment(group.last_seen),
                    "sample_ids": [str(identifier) for identifier in group.sample_ids],
                }
                for group in report.groups
            ],
            "results": [render.row(row) for row in report.page.rows],
            **self.links(report.page),
        }
        if report.page.scanned_to is not None:
            body["scanned_to"] = render.moment(report.page.scanned_to)
        return Response(body)
