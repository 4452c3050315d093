"""Reading health over HTTP: the report, circuits, the timeline. Needs the scope ``read``.

Translates between query parameters and ``health.report`` / ``health.timeline``; knows no rules of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.utils.dateparse import parse_date
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.views import APIView

from health import report, timeline
from health.api import documents
from health.api.schema import EVENT_PARAMETERS, page_of
from health.models import HealthEvent
from routes.actions.errors import Invalid
from routes.api.openapi import reference
from routes.api.pagination import CursorPages, page_of_list
from routes.api.permissions import ReadScope
from routes.api.schema import PAGE_PARAMETERS
from routes.models import Provider

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request

    from health.report import ProviderHealth, TargetHealth

CIRCUIT_STATES: Final = ("closed", "open", "half_open")


class HealthView(APIView):
    permission_classes = (ReadScope,)

    @extend_schema(
        operation_id="health_retrieve",
        tags=["health"],
        responses={200: reference("Health")},
        description="How every provider of the live revision is, with its targets, as this host sees it.",
    )
    def get(self, request: Request) -> Response:
        return Response(documents.report(report.read()))


class ProviderView(APIView):
    permission_classes = (ReadScope,)

    @extend_schema(
        operation_id="health_provider",
        tags=["health"],
        responses={200: reference("ProviderHealth")},
        description="The same of one provider, by its slug or id.",
    )
    def get(self, request: Request, provider: str) -> Response:
        return Response(documents.provider(find_provider(provider)))


class CircuitListView(APIView):
    permission_classes = (ReadScope,)

    @extend_schema(
        operation_id="circuits_list",
        tags=["circuits"],
        parameters=[
            OpenApiParameter("provider", description="Only of this provider: its slug or id."),
            OpenApiParameter("state", enum=CIRCUIT_STATES, description="Only circuits in this state."),
            *PAGE_PARAMETERS[:2],
        ],
        responses={200: page_of("CircuitState")},
        description="The circuit of every target of the live revision, by provider and label.",
    )
    def get(self, request: Request) -> Response:
        provider, state = (request.query_params.get(name) for name in ("provider", "state"))
        if state is not None and state not in CIRCUIT_STATES:
            raise Invalid.from_errors([("state", f"must be one of {', '.join(CIRCUIT_STATES)}")])
        found = report.read()
        if provider is not None and found.provider(provider) is None:
            raise Invalid.from_errors([("provider", "the live revision has no such provider")])
        targets = found.targets if provider is None else getattr(found.provider(provider), "targets", ())
        rows = sorted((each for each in targets if state in (None, each.circuit.state)), key=_by_label)
        page, links = page_of_list(rows, request, _by_label, (str, str, str))
        return Response({"results": [documents.circuit(each) for each in page], **links})


class CircuitView(APIView):
    permission_classes = (ReadScope,)

    @extend_schema(
        operation_id="circuits_retrieve", tags=["circuits"], responses={200: reference("CircuitState")},
        description="The circuit of one target, by the target's id.",
    )  # fmt: skip
    def get(self, request: Request, target: str) -> Response:
        return Response(documents.circuit(find_target(target)))


class NewestEvents(CursorPages):
    ordering = ("-at", "-id")  # type: ignore[assignment]  # DRF takes both


class EventsView(APIView):
    permission_classes = (ReadScope,)

    def answer(self, request: Request, rows: QuerySet[HealthEvent]) -> Response:
        """A page of them, narrowed by the parameters that all timelines have."""
        pages = NewestEvents()
        page = pages.paginate_queryset(_narrowed(rows, request), request, view=self) or []
        return pages.get_paginated_response([documents.event(each) for each in page])


class EventListView(EventsView):
    @extend_schema(
        operation_id="health_events",
        tags=["health"],
        parameters=[
            *EVENT_PARAMETERS,
            OpenApiParameter("provider", description="Only of this provider and its targets: its slug or id."),
            OpenApiParameter("target", description="Only of this target: its id."),
            *PAGE_PARAMETERS,
        ],
        responses={200: page_of("HealthEvent")},
        description="What happened to targets, providers and heads, newest first.",
    )
    def get(self, request: Request) -> Response:
        rows = HealthEvent.objects.all()
        if (provider := request.query_params.get("provider")) is not None:
            rows = rows.filter(provider_id=_provider_id(provider))
        if (target := request.query_params.get("target")) is not None:
            try:
                rows = rows.filter(target_id=UUID(target))
            except ValueError:
                raise Invalid.from_errors([("target", "must be the id of a target")]) from None
        return self.answer(request, rows)


class TransitionListView(EventsView):
    @extend_schema(
        operation_id="circuits_transitions",
        tags=["circuits"],
        parameters=[*EVENT_PARAMETERS, *PAGE_PARAMETERS],
        responses={200: page_of("HealthEvent")},
        description="What happened to a target, newest first: its circuit, its observed state, quarantines, admin "
        "states (its provider's as well), its head.",
    )
    def get(self, request: Request, target: str) -> Response:
        found = report.read().target(_uuid(target))
        if found is not None:
            return self.answer(request, timeline.of_target(found))
        rows = HealthEvent.objects.filter(target_id=_uuid(target))
        if not rows.exists():
            raise NotFound("there is no target of this id")
        return self.answer(request, rows)


def find_provider(key: str) -> ProviderHealth:
    """By slug or id. Raises NotFound."""
    found = report.read().provider(key)
    if found is None:
        raise NotFound("the live revision has no provider of this name")
    return found


def find_target(key: str) -> TargetHealth:
    """By id. Raises NotFound."""
    found = report.read().target(_uuid(key))
    if found is None:
        raise NotFound("the live revision has no target of this id")
    return found


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound("there is no target of this id") from None


def _by_label(target: TargetHealth) -> tuple[str, str, str]:
    return target.provider, target.label, target.id


def _provider_id(key: str) -> UUID:
    """Of a provider that is or was there: the timeline outlives it."""
    try:
        return UUID(key)
    except ValueError:
        pass
    found = None if "\x00" in key else Provider.with_deleted.filter(slug=key).values_list("pk", flat=True).first()
    if found is None:
        raise Invalid.from_errors([("provider", "there is no such provider")])
    return found


def _narrowed(rows: QuerySet[HealthEvent], request: Request) -> QuerySet[HealthEvent]:
    """By ``kind``, ``from`` and ``to``. Raises Invalid."""
    errors = []
    kind = request.query_params.get("kind")
    if kind is not None:
        if kind not in HealthEvent.Kind.values:
            errors.append(("kind", f"must be one of {', '.join(HealthEvent.Kind.values)}"))
        rows = rows.filter(kind=kind)
    for name, lookup in (("from", "at__gte"), ("to", "at__lt")):
        text = request.query_params.get(name)
        if text is None:
            continue
        moment = _time_of(text)
        if moment is None:
            errors.append((name, "must be an ISO 8601 time such as 2026-11-20T08:00:00Z"))
        else:
            rows = rows.filter(**{lookup: moment})
    if errors:
        raise Invalid.from_errors(errors)
    return rows


def _time_of(text: str) -> datetime | None:
    """ISO 8601; without zone = UTC; a date alone is its midnight. None for anything else."""
    text = text.strip().replace(" ", "+") if "T" in text else text.strip()  # a "+" in a URL arrives as a space
    try:
        day = parse_date(text)
    except ValueError:
        return None
    return timeline.moment_of(text) if day is None else datetime.combine(day, time(), UTC)
