"""What every configuration resource does over HTTP: lists, one, create, change, delete; versions as ETags.

A subclass names its table and the actions; this class translates between HTTP and them and knows no rules of its
own. ``If-Match`` is optional; when it names another version the answer is 412. Must not write rows itself.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar
from uuid import UUID

from pydantic import ValidationError
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from routes.actions.errors import Invalid, StaleVersion
from routes.api.pagination import CursorPages
from routes.api.permissions import AdminScope
from routes.document import DocumentError
from routes.document.base import Strict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet
    from rest_framework.request import Request

    from routes.models.base import Versioned

Body = TypeVar("Body", bound=Strict)
ETAG = re.compile(r'(?:W/)?"([^"]*)"')


class BySlug(CursorPages):
    ordering = "slug"


class ByName(CursorPages):
    ordering = "name"


class Numbered(Protocol):
    """What has a version: a row of ours, or what stands for one of Django's."""

    @property
    def version(self) -> int: ...


def etag(row: Numbered) -> dict[str, str]:
    return {"ETag": f'"{row.version}"'}


def expected_version(request: Request, row: Numbered, name: str) -> int | None:
    """The version that ``If-Match`` asks for, None without one. Raises StaleVersion when it cannot match."""
    header = request.headers.get("if-match")
    if header is None or header.strip() == "*":
        return None
    tags = ETAG.findall(header) or [header.strip()]
    if str(row.version) in tags:
        return row.version
    first = tags[0]
    raise StaleVersion(name, int(first[:9]) if first.isascii() and first.isdigit() else 0, row.version)


def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object. Raises Invalid for anything else."""
    data = request.data
    if not isinstance(data, dict):
        raise Invalid("the body must be a JSON object")
    return data


def parse_body(model: type[Body], request: Request) -> Body:
    """The body as ``model``. Raises Invalid with the path of every error."""
    return parse_tree(model, body_of(request))


def parse_tree(model: type[Body], tree: dict[str, Any]) -> Body:
    """JSON that was read already as ``model``. Raises Invalid with the path of every error."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise Invalid.from_errors(DocumentError.from_pydantic(error).errors) from None


def meta(row: Versioned) -> dict[str, Any]:
    """The fields that every resource has beside the document's."""
    return {
        "id": str(row.pk),
        "version": row.version,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
    }


def changes_of(
    request: Request, current: Mapping[str, Any], read_only: frozenset[str], moving: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The body of a PATCH. What was read may be sent back whole: read-only fields are taken when they say what is
    so already, and refused otherwise; ``moving`` ones, which are others by the time they come back, are left out."""
    data = {name: value for name, value in body_of(request).items() if name not in moving}
    if errors := [(name, "is read-only") for name in data if name in read_only and data[name] != current[name]]:
        raise Invalid.from_errors(errors)
    return {name: value for name, value in data.items() if name not in read_only}


class ResourceViewSet(ViewSet):
    """Subclasses implement the hooks below; ``key_field`` is the name that addresses may use instead of the id."""

    permission_classes = (AdminScope,)
    pagination_class: ClassVar[type[CursorPages]] = BySlug
    lookup_value_regex = r"[^/]+"
    noun: ClassVar[str]
    key_field: ClassVar[str] = "slug"
    read_only: ClassVar[frozenset[str]] = frozenset({"id", "version", "created_at", "updated_at"})
    moving: ClassVar[frozenset[str]] = frozenset()

    # -- hooks ------------------------------------------------------------------------------------
    def rows(self) -> QuerySet[Any]:
        """All rows, with what ``represent`` needs prefetched."""
        raise NotImplementedError

    def represent(self, row: Any) -> dict[str, Any]:
        raise NotImplementedError

    def numbered(self, row: Any) -> Numbered:
        """What holds the row's version; the row itself, unless its table has none."""
        numbered: Numbered = row
        return numbered

    def perform_create(self, data: dict[str, Any], request: Request) -> tuple[Any, dict[str, Any]]:
        """(row, fields shown only in this answer)."""
        raise NotImplementedError

    def perform_update(self, row: Any, changes: dict[str, Any], version: int | None, request: Request) -> Any:
        raise NotImplementedError

    def perform_delete(self, row: Any, version: int | None, request: Request) -> None:
        raise NotImplementedError

    # -- HTTP -------------------------------------------------------------------------------------
    def list(self, request: Request) -> Response:
        pages = self.pagination_class()
        rows = pages.paginate_queryset(self.rows(), request, view=self) or []
        return pages.get_paginated_response([self.represent(row) for row in rows])

    def retrieve(self, request: Request, pk: str) -> Response:
        row = self.find(pk)
        return Response(self.represent(row), headers=etag(self.numbered(row)))

    def create(self, request: Request) -> Response:
        row, once = self.perform_create(body_of(request), request)
        return Response(
            {**self.represent(row), **once}, status=status.HTTP_201_CREATED, headers=etag(self.numbered(row))
        )

    def partial_update(self, request: Request, pk: str) -> Response:
        row = self.find(pk)
        version = expected_version(request, self.numbered(row), f"{self.noun} {row}")
        changes = changes_of(request, self.represent(row), self.read_only, self.moving)
        row = self.perform_update(row, changes, version, request)
        return Response(self.represent(row), headers=etag(self.numbered(row)))

    def destroy(self, request: Request, pk: str) -> Response:
        row = self.find(pk)
        version = expected_version(request, self.numbered(row), f"{self.noun} {row}")
        self.perform_delete(row, version, request)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def find(self, key: str) -> Any:
        """By id, else by name. Raises NotFound."""
        row = None
        if "\x00" not in key:
            with suppress(ValueError):
                row = self.rows().filter(pk=UUID(key)).first()
            row = row or self.rows().filter(**{self.key_field: key}).first()
        if row is None:
            raise NotFound(f"there is no {self.noun} of this name")
        return row
