"""The document's single sections over REST: ``GET`` and ``PATCH`` of prices and policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from routes import actions, draft
from routes.api.auth import actor_of
from routes.api.openapi import json_body, reference
from routes.api.permissions import AdminScope
from routes.api.resources import changes_of, etag, expected_version, meta
from routes.api.schema import IF_MATCH
from routes.models import Policy, PriceTable

if TYPE_CHECKING:
    from rest_framework.request import Request

READ_ONLY = frozenset({"id", "version", "created_at", "updated_at"})


class PolicyView(APIView):
    """The policy of the draft."""

    permission_classes = (AdminScope,)

    @extend_schema(operation_id="policy_retrieve", tags=["policy"], responses={200: reference("PolicyResource")})
    def get(self, request: Request) -> Response:
        row = Policy.get()
        return Response(self._represent(row), headers=etag(row))

    @extend_schema(
        operation_id="policy_update",
        tags=["policy"],
        parameters=[IF_MATCH],
        request=json_body("PolicyPatch"),
        responses={200: reference("PolicyResource")},
    )
    def patch(self, request: Request) -> Response:
        row = Policy.get()
        version = expected_version(request, row, "the policy")
        changes = changes_of(request, self._represent(row), READ_ONLY)
        row = actions.update_policy(changes, actor=actor_of(request), version=version)
        return Response(self._represent(row), headers=etag(row))

    def _represent(self, row: Policy) -> dict[str, Any]:
        return {**meta(row), **draft.policy_tree(row)}


class PricesView(APIView):
    """The price table of the draft: USD per million tokens by model, where a provider has none of its own."""

    permission_classes = (AdminScope,)

    @extend_schema(operation_id="prices_retrieve", tags=["prices"], responses={200: reference("PricesResource")})
    def get(self, request: Request) -> Response:
        row = PriceTable.get()
        return Response(self._represent(row), headers=etag(row))

    @extend_schema(
        operation_id="prices_update",
        tags=["prices"],
        parameters=[IF_MATCH],
        request=json_body("PricesPatch"),
        responses={200: reference("PricesResource")},
        description="Replaces the whole table.",
    )
    def patch(self, request: Request) -> Response:
        row = PriceTable.get()
        version = expected_version(request, row, "the price table")
        changes = changes_of(request, self._represent(row), READ_ONLY)
        if changes:
            row = actions.replace_prices(changes, actor=actor_of(request), version=version)
        return Response(self._represent(row), headers=etag(row))

    def _represent(self, row: PriceTable) -> dict[str, Any]:
        return {**meta(row), "prices": row.prices}
