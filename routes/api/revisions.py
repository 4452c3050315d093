"""Revisions over REST: list, read, publish, compare, roll back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from routes import actions, diff, draft, lint
from routes.actions.errors import Invalid
from routes.api.auth import actor_of
from routes.api.openapi import json_body, reference
from routes.api.pagination import CursorPages
from routes.api.permissions import AdminScope
from routes.api.resources import parse_body
from routes.api.schema import PAGE_PARAMETERS
from routes.document import Configuration, DocumentError
from routes.document.acts import PublishRequest
from routes.models import ConfigRevision

if TYPE_CHECKING:
    from rest_framework.request import Request

MAX_NUMBER = 2**63 - 1


class Newest(CursorPages):
    ordering = "-number"


@extend_schema(tags=["revisions"])
class RevisionViewSet(ViewSet):
    """What was published. Revisions never change; rolling back publishes an old one as a new one."""

    permission_classes = (AdminScope,)
    pagination_class = Newest
    lookup_value_regex = r"[^/]+"

    @extend_schema(parameters=PAGE_PARAMETERS, responses={200: reference("Revision")})
    def list(self, request: Request) -> Response:
        pages = self.pagination_class()
        rows = pages.paginate_queryset(
            ConfigRevision.objects.defer("compiled_zlib", "document_text"), request, view=self
        )
        return pages.get_paginated_response([summary(row) for row in rows or ()])

    @extend_schema(responses={200: reference("RevisionDetail")})
    def retrieve(self, request: Request, pk: str) -> Response:
        row = find(pk)
        return Response({**summary(row), "document": row.document})

    @extend_schema(
        operation_id="revisions_publish",
        description="Publish the draft.",
        request=json_body("PublishRequest", required=False),
        responses={201: reference("PublishedRevision")},
    )
    def create(self, request: Request) -> Response:
        row = actions.publish(actor=actor_of(request), message=parse_body(PublishRequest, request).message)
        found = lint.findings(Configuration.parse(row.document))
        answer = {**summary(row), "findings": [finding.as_dict() for finding in found]}
        return Response(answer, status=status.HTTP_201_CREATED)

    @extend_schema(
        operation_id="revisions_rollback",
        description="Publish this revision's configuration again, as a new revision. The draft becomes it too; "
        "credentials, keys and admin states stay.",
        request=json_body("PublishRequest", required=False),
        responses={201: reference("Revision")},
    )
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, pk: str) -> Response:
        row = actions.rollback(
            find(pk).number, actor=actor_of(request), message=parse_body(PublishRequest, request).message
        )
        return Response(summary(row), status=status.HTTP_201_CREATED)

    @extend_schema(
        operation_id="revisions_diff",
        description="What would change when going from this revision to `against`.",
        parameters=[OpenApiParameter("against", str, description="A revision's number, or `draft` (the default).")],
        responses={200: reference("RevisionDiff")},
    )
    @action(detail=True, methods=["get"])
    def diff(self, request: Request, pk: str) -> Response:
        row = find(pk)
        against = request.query_params.get("against", "draft")
        if against == "draft":
            try:
                other = draft.configuration().canonical()
            except DocumentError as error:
                raise Invalid.from_errors(error.errors) from None
        else:
            other = actions.document_of(find(against))
        changes = [change.as_dict() for change in diff.compare(actions.document_of(row), other)]
        to = against if against == "draft" else int(against)
        return Response({"from": row.number, "to": to, "changes": changes})


def find(text: str) -> ConfigRevision:
    """A revision without its compiled document. Raises NotFound."""
    row = None
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_NUMBER:
        row = ConfigRevision.objects.defer("compiled_zlib").filter(number=int(text)).first()
    if row is None:
        raise NotFound("there is no revision of this number")
    return row


def summary(row: ConfigRevision) -> dict[str, Any]:
    return {
        "number": row.number,
        "author": row.author,
        "message": row.message,
        "created_at": row.created_at.isoformat(),
        "rolled_back_to": row.rolled_back_to,
    }
