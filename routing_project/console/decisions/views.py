"""``/api/v1/decisions/`` over HTTP: POST decides and records without forwarding, PATCH reports the outcome;
``/webhook/routing-decision`` decides for whoever can sign.

Translates between HTTP and ``service``; knows no rules of its own but who is asking.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.views import APIView

from history.errors import HistoryError, JournalFull, RouteNotFound, StatusConflict
from routes import live
from routes.api import errors
from routes.api.auth import scopes_of
from routes.api.openapi import json_body, reference
from routes.api.resources import parse_body
from routes.models import AccessKey
from routing_project.console.decisions import schema
from routing_project.console.decisions.documents import DecisionRequest, OutcomeReport
from routing_project.console.decisions.service import Caller, Decisions
from routing_project.console.webhooks import WebhookView

if TYPE_CHECKING:
    from rest_framework.request import Request

STATUS_OF: Final[dict[type[HistoryError], int]] = {
    RouteNotFound: status.HTTP_404_NOT_FOUND,
    StatusConflict: status.HTTP_409_CONFLICT,
    JournalFull: status.HTTP_503_SERVICE_UNAVAILABLE,
}


@cache
def decisions() -> Decisions:
    """The one of this process."""
    return Decisions(live.current)


class RouteOrOperate(BasePermission):
    """A key that routes may decide and report its own decisions, an operator any."""

    message = "this needs the scope 'route' or 'operate'"

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(scopes_of(request) & {"route", "operate"})


def caller_of(request: Request) -> Caller:
    """Who asks."""
    key: object = request.auth
    return Caller.of(key if isinstance(key, AccessKey) else None, request.user.get_username(), scopes_of(request))


def _history_problem(exc: Exception) -> Response | None:
    if isinstance(exc, HistoryError) and type(exc) in STATUS_OF:
        return Response(errors.document(exc.code, str(exc)), status=STATUS_OF[type(exc)])
    return None


class DecisionView(APIView):
    permission_classes = (RouteOrOperate,)

    def handle_exception(self, exc: Exception) -> Response:
        return _history_problem(exc) or super().handle_exception(exc)


class DecisionListView(DecisionView):
    @extend_schema(
        operation_id="decisions_create",
        tags=["decisions"],
        request=json_body("DecisionRequest", schema.REQUEST_EXAMPLE),
        responses={201: reference("Decision")},
        description="Choose a target and record the decision; the caller sends the request itself. What is chosen "
        "counts as in flight until its outcome is reported or the profile's total time-out is over. Nothing available "
        "is an ordinary answer: `status` is `rejected`, `strategy_used` is `none`.",
    )
    def post(self, request: Request) -> Response:
        wanted = parse_body(DecisionRequest, request)
        return Response(decisions().decide(wanted, caller_of(request)), status=status.HTTP_201_CREATED)


class DecisionWebhook(WebhookView):
    """Whoever knows the secret may ask for any profile, as an operator may, but chooses no strategy: that is for
    people and for keys that are allowed to. Operators report the outcome."""

    def handle_exception(self, exc: Exception) -> Response:
        return _history_problem(exc) or super().handle_exception(exc)

    def post(self, request: Request) -> Response:
        wanted = parse_body(DecisionRequest, request)
        return Response(decisions().decide(wanted, Caller(name="webhook")), status=status.HTTP_201_CREATED)


class DecisionOutcomeView(DecisionView):
    @extend_schema(
        operation_id="decisions_report",
        tags=["decisions"],
        request=json_body("OutcomeReport", schema.OUTCOME_EXAMPLE),
        responses={200: reference("DecisionOutcome")},
        description="Report what became of a decision. The same report again changes nothing; another status than the "
        "one recorded gives 409.",
    )
    def patch(self, request: Request, route: str) -> Response:
        outcome: Any = parse_body(OutcomeReport, request)
        try:
            identifier = UUID(route)
        except ValueError:
            raise RouteNotFound("there is no decision with this id") from None
        return Response(decisions().report(identifier, outcome, caller_of(request)))
