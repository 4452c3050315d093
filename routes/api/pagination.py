"""Cursor pages: ``{"results", "next", "previous"}`` with ``cursor``, ``limit`` and ``count``; never an OFFSET.

``count`` is only there when asked for: ``exact`` counts, ``estimate`` may be overridden by who knows better.
A page costs one query whatever its place.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlencode

import orjson
from django.core import exceptions
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response

from routes.actions.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import Field, Model, QuerySet
    from rest_framework.pagination import Cursor
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
        self._rows = queryset
        return super().paginate_queryset(queryset, request, view)

    def decode_cursor(self, request: Request) -> Cursor | None:
        cursor: Cursor | None = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None and not _is_value(self._column(), str(cursor.position)):
            raise NotFound(self.invalid_cursor_message)
        return cursor

    def _column(self) -> Field[Any, Any]:
        """What rows are sorted by: a column, or an annotation."""
        rows: Any = self._rows
        name = (self.ordering if isinstance(self.ordering, str) else self.ordering[0]).lstrip("-")
        annotation = rows.query.annotations.get(name)
        field: Field[Any, Any] = annotation.output_field if annotation else rows.model._meta.get_field(name)
        return field

    def estimate(self, queryset: QuerySet[Model]) -> int:
        """Configuration tables are small: the exact number is as cheap as a guess."""
        return queryset.count()

    def get_page_size(self, request: Request) -> int:
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_LIMIT):
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


def _is_value(column: Field[Any, Any], text: str) -> bool:
    """Whether a cursor of ours could name this: a value that such a column has, in the one way in which we write it."""
    try:
        value = column.to_python(text)
        return "\x00" not in text and str(value.astimezone(UTC) if isinstance(value, datetime) else value) == text
    except (exceptions.ValidationError, ValueError, OverflowError):
        return False


Row = TypeVar("Row")
#: What rows are sorted by; no two rows have the same.
Key = tuple[Any, ...]


def page_of_list(
    rows: Sequence[Row], request: Request, key: Callable[[Row], Key], shape: Sequence[type]
) -> tuple[Sequence[Row], dict[str, str | None]]:
    """The page that a request asks for of rows that live in memory and not in a table, sorted by ``key``, and the links
    to those beside it. A cursor names the last row seen. ``shape``: the types of a key's parts. Raises Invalid."""
    limit = CursorPages().get_page_size(request)
    after = _read_cursor(request.query_params.get("cursor"), shape)
    start = 0 if after is None else next((n for n, row in enumerate(rows) if key(row) > after), len(rows))
    page = rows[start : start + limit]

    def link(last: Row | None) -> str:
        """The page after ``last``; None = the first one."""
        query = {name: value for name, value in request.query_params.items() if name != "cursor"}
        if last is not None:
            query["cursor"] = base64.urlsafe_b64encode(orjson.dumps(key(last))).decode()
        return request.build_absolute_uri(f"{request.path}?{urlencode(query)}" if query else request.path)

    return page, {
        "next": link(page[-1]) if start + limit < len(rows) else None,
        "previous": link(rows[start - limit - 1] if start > limit else None) if start else None,
    }


def _read_cursor(text: str | None, shape: Sequence[type]) -> Key | None:
    if text is None:
        return None
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(text))
        return tuple(kind(part) for kind, part in zip(shape, parts, strict=True))
    except (ValueError, TypeError):
        raise Invalid.from_errors([("cursor", "is not one of ours")]) from None
