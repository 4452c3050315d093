"""Cursor pages: ``{"results", "next", "previous"}`` with ``cursor``, ``limit`` and ``count``; never an OFFSET.

``count`` is only there when asked for: ``exact`` counts, ``estimate`` may be overridden by who knows better.
A page costs one query whatever its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model, QuerySet
    from rest_framework.request import Request
    from rest_framework.views import APIView

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000


class CursorPages(CursorPagination):
    page_size = DEFAULT_LIMIT
    page_size_query_param = "limit"
    max_page_size = MAX_LIMIT
    cursor_query_param = "cursor"
    ordering = "-created_at"
    count: int | None = None

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        wanted = request.query_params.get("count")
        if wanted not in {None, "exact", "estimate"}:
            raise ValidationError({"count": ["must be exact or estimate"]})
        self.count = None
        if wanted:
            rows = cast("QuerySet[Any]", queryset)
            self.count = rows.count() if wanted == "exact" else self.estimate(rows)
        return super().paginate_queryset(queryset, request, view)

    def estimate(self, queryset: QuerySet[Model]) -> int:
        """Configuration tables are small: the exact number is as cheap as a guess."""
        return queryset.count()

    def get_page_size(self, request: Request) -> int:
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
            raise ValidationError({"limit": [f"must be a number from 1 to {MAX_LIMIT}"]})
        return int(text)

    def get_paginated_response(self, data: Any) -> Response:
        body = {"results": data, "next": self.get_next_link(), "previous": self.get_previous_link()}
        if self.count is not None:
            body["count"] = self.count
        return Response(body)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {
                "results": schema,
                "next": link,
                "previous": link,
                "count": {"type": "integer", "description": "With `count=exact` or `count=estimate`."},
            },
        }
