"""``audit/``: who did what and when, newest first, and one entry by its id. Read only; needs the scope ``read``.

Entries are written by the actions themselves; nothing here changes or removes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.views import APIView

from routes.actions.errors import Invalid
from routes.api.audit_schema import FILTER_PARAMETERS, ORDERS
from routes.api.openapi import NUMBER, reference
from routes.api.pagination import CursorPages
from routes.api.permissions import ReadScope
from routes.api.schema import PAGE_PARAMETERS
from routes.audit.asked import narrowed
from routes.audit.chain import document_of
from routes.audit.reading import COLUMNS, head
from routes.models import AuditEntry

if TYPE_CHECKING:
    from django.db.models import Model, QuerySet
    from rest_framework.request import Request

PAGING: Final = frozenset({"cursor", "limit", "count", "order"})
#: No id has more digits.
MAX_DIGITS: Final = 18


class ByTime(CursorPages):
    ordering = ("-at", "-id")  # type: ignore[assignment]  # DRF takes both

    def estimate(self, queryset: QuerySet[Model]) -> int:
        """Of all entries the last id: there are no gaps between them, but maybe some from before there was a chain."""
        return super().estimate(queryset) if queryset.query.where else head().id


class OldestFirst(ByTime):
    ordering = ("at", "id")


class AuditListView(APIView):
    """The audit log."""

    permission_classes = (ReadScope,)

    @extend_schema(
        operation_id="audit_list",
        tags=["audit"],
        parameters=[*FILTER_PARAMETERS, *PAGE_PARAMETERS],
        responses={200: reference("AuditPage")},
        description="Entries, newest first. A filter that is not known, or given twice, is refused.",
    )
    def get(self, request: Request) -> Response:
        asked = request.query_params
        if twice := [(name, f"is given {len(values)} times") for name, values in asked.lists() if len(values) > 1]:
            raise Invalid.from_errors(twice)
        rows = narrowed({name: asked[name] for name in asked if name not in PAGING})
        order = asked.get("order", ORDERS[0])
        if order not in ORDERS:
            raise Invalid.from_errors([("order", f"must be one of {', '.join(ORDERS)}")])
        pages = ByTime() if order == ORDERS[0] else OldestFirst()
        page = pages.paginate_queryset(rows.values(*COLUMNS), request, view=self) or []
        return pages.get_paginated_response([document_of(row) for row in page])


class AuditDetailView(APIView):
    permission_classes = (ReadScope,)

    @extend_schema(
        operation_id="audit_retrieve",
        tags=["audit"],
        parameters=[OpenApiParameter("id", {**NUMBER, "minimum": 1}, OpenApiParameter.PATH)],
        responses={200: reference("AuditEntry")},
        description="One entry.",
    )
    def get(self, request: Request, id: str) -> Response:  # noqa: A002 - as the address calls it
        row = AuditEntry.objects.filter(pk=int(id)).values(*COLUMNS).first() if len(id) <= MAX_DIGITS else None
        if row is None:
            raise NotFound("there is no entry of this id")
        return Response(document_of(row))
