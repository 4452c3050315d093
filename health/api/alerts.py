"""Alerts over REST: overview, channels, rules, the delivery log, a test message. Everything is decided by
``health.alerts.actions``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from health.alerts import actions
from health.alerts.kinds import EVENTS
from health.alerts.overview import delivery_tree, overview
from health.api.alerts_schema import FILTERS
from health.models import AlertChannel, AlertDelivery, AlertRule
from routes.actions.errors import Invalid
from routes.api.auth import actor_of
from routes.api.openapi import reference
from routes.api.pagination import CursorPages
from routes.api.permissions import OperateScope, ReadScope
from routes.api.resources import ByName, ResourceViewSet, meta
from routes.api.schema import describes

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request


class AlertOverviewView(APIView):
    """What is set up, what fired last, how deliveries go."""

    permission_classes = (ReadScope,)

    @extend_schema(
        operation_id="alerts_overview",
        tags=["alerts"],
        responses={200: reference("AlertOverview")},
        description="Counts of rules, channels and deliveries, providers that are down, and the last alerts.",
    )
    def get(self, request: Request) -> Response:
        return Response(overview())


@extend_schema_view(**describes("AlertChannel", "alert channel"))
@extend_schema(tags=["alerts"])
class AlertChannelViewSet(ResourceViewSet):
    """Where alerts are told. Every change acts at once."""

    noun = "alert channel"
    key_field = "name"
    pagination_class = ByName
    read_only = ResourceViewSet.read_only | {"host"}

    def rows(self) -> QuerySet[AlertChannel]:
        return AlertChannel.objects.all()

    def represent(self, row: AlertChannel) -> dict[str, Any]:
        return {**meta(row), **actions.channel_tree(row), "host": row.host}

    def perform_create(self, data: dict[str, Any], request: Request) -> tuple[AlertChannel, dict[str, Any]]:
        return actions.create_channel(data, actor=actor_of(request)), {}

    def perform_update(
        self, row: AlertChannel, changes: dict[str, Any], version: int | None, request: Request
    ) -> AlertChannel:
        return actions.update_channel(row, changes, actor=actor_of(request), version=version)

    def perform_delete(self, row: AlertChannel, version: int | None, request: Request) -> None:
        actions.delete_channel(row, actor=actor_of(request), version=version)

    @extend_schema(
        operation_id="alerts_channels_test",
        parameters=[OpenApiParameter("id", str, OpenApiParameter.PATH, description="The id or the name.")],
        request=None,
        responses={202: reference("AlertDelivery")},
        description="Queue a test message. A worker sends it, once; its result is at `alerts/deliveries/{id}/`.",
    )
    @action(detail=True, methods=["post"], permission_classes=[OperateScope])
    def test(self, request: Request, pk: str) -> Response:
        made = actions.send_test(self.find(pk), actor=actor_of(request))
        return Response(delivery_tree(made), status=status.HTTP_202_ACCEPTED)


@extend_schema_view(**describes("AlertRule", "alert rule"))
@extend_schema(tags=["alerts"])
class AlertRuleViewSet(ResourceViewSet):
    """Which events are told to which channels. Every change acts at once."""

    noun = "alert rule"
    key_field = "name"
    pagination_class = ByName

    def rows(self) -> QuerySet[AlertRule]:
        return AlertRule.objects.prefetch_related("channels")

    def represent(self, row: AlertRule) -> dict[str, Any]:
        return {**meta(row), **actions.rule_tree(row)}

    def perform_create(self, data: dict[str, Any], request: Request) -> tuple[AlertRule, dict[str, Any]]:
        return actions.create_rule(data, actor=actor_of(request)), {}

    def perform_update(
        self, row: AlertRule, changes: dict[str, Any], version: int | None, request: Request
    ) -> AlertRule:
        return actions.update_rule(row, changes, actor=actor_of(request), version=version)

    def perform_delete(self, row: AlertRule, version: int | None, request: Request) -> None:
        actions.delete_rule(row, actor=actor_of(request), version=version)


class Newest(CursorPages):
    ordering = "-created_at"


@extend_schema(tags=["alerts"])
class AlertDeliveryViewSet(ViewSet):
    """The delivery log: every message and what became of it, as long as the history is kept."""

    permission_classes = (ReadScope,)
    pagination_class = Newest
    lookup_value_regex = r"[0-9a-fA-F-]{32,36}"

    @extend_schema(parameters=FILTERS, responses={200: reference("AlertDelivery")})
    def list(self, request: Request) -> Response:
        pages = self.pagination_class()
        rows = pages.paginate_queryset(_filtered(request), request, view=self) or []
        return pages.get_paginated_response([delivery_tree(row) for row in rows])

    @extend_schema(
        parameters=[OpenApiParameter("id", str, OpenApiParameter.PATH)], responses={200: reference("AlertDelivery")}
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        row = None
        with suppress(ValueError):
            row = AlertDelivery.objects.filter(pk=UUID(pk)).first()
        if row is None:
            raise NotFound("there is no delivery of this id")
        return Response(delivery_tree(row))


def _filtered(request: Request) -> QuerySet[AlertDelivery]:
    rows = AlertDelivery.objects.all()
    for name, choices in (("status", AlertDelivery.Status.values), ("event", [*EVENTS, "test"])):
        wanted = request.query_params.get(name)
        if wanted is None:
            continue
        if wanted not in choices:
            raise Invalid.from_errors([(name, f"must be one of {', '.join(choices)}")])
        rows = rows.filter(**{name: wanted})
    channel = request.query_params.get("channel")
    return rows if channel is None else rows.filter(channel=AlertChannelViewSet().find(channel))
