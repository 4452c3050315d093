"""Acts on health over HTTP: admin states, forced circuits, quarantines, probing now. Needs the scope ``operate``.

Everything is decided by ``routes.actions`` and audited there; every gateway follows within two seconds. An answer says
how the thing is after the act.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from health import asking
from health.api import documents
from health.api.views import find_provider, find_target
from routes import actions
from routes.api.auth import actor_of
from routes.api.configuration import ProviderViewSet, admin_state
from routes.api.openapi import json_body, reference
from routes.api.permissions import OperateScope
from routes.api.resources import parse_body
from routes.document.acts import AdminStateRequest, ForceRequest, ReasonRequest

if TYPE_CHECKING:
    from rest_framework.request import Request

    from routes.models import Provider


class ActView(APIView):
    permission_classes = (OperateScope,)

    @staticmethod
    def provider(key: str) -> Provider:
        """By slug or id, published or not. Raises NotFound."""
        row: Provider = ProviderViewSet().find(key)
        return row


class AdminStateView(ActView):
    @extend_schema(
        operation_id="health_set_state",
        tags=["health"],
        request=json_body(
            "AdminStateRequest", {"state": "draining", "until": "2031-01-01T06:00:00Z", "reason": "new disks"}
        ),
        responses={200: reference("AdminState")},
        description="Drain, disable or activate a provider, or one of its targets; gateways follow within two seconds.",
    )
    def post(self, request: Request, provider: str) -> Response:
        wanted = parse_body(AdminStateRequest, request)
        found = self.provider(provider)
        row = actions.set_admin_state(
            found,
            wanted.state,
            actor=actor_of(request),
            until=wanted.until,
            reason=wanted.reason,
            target=wanted.target,
        )
        return Response({"provider": found.slug, "target": wanted.target, **admin_state(row)})


class ProbeView(ActView):
    @extend_schema(
        operation_id="health_probe",
        tags=["health"],
        request=None,
        responses={200: reference("Probed"), 202: reference("Probed")},
        description="Have the checks of a provider made now, whatever their interval. 200: all of them are made. 202: "
        "not yet; `message` says why, and `GET health/{provider}/` shows results as they come. 409: probes are off.",
    )
    def post(self, request: Request, provider: str) -> Response:
        row = self.provider(provider)
        asked = asking.ask(row, actor=actor_of(request))
        return Response(
            {
                "provider": row.slug,
                "done": asked.done,
                "message": asked.message,
                "checks": [documents.check(each) for each in asked.checks],
            },
            status=status.HTTP_200_OK if asked.done else status.HTTP_202_ACCEPTED,
        )


class ClearQuarantineView(ActView):
    @extend_schema(
        operation_id="health_clear_quarantine",
        tags=["health"],
        request=json_body("ReasonRequest", {"reason": "the limit was raised"}, required=False),
        responses={200: reference("ProviderHealth")},
        description="Lift every quarantine of a provider, of its credential and of its models.",
    )
    def post(self, request: Request, provider: str) -> Response:
        wanted = parse_body(ReasonRequest, request)
        found = find_provider(provider)
        actions.clear_quarantine(self.provider(found.id), actor=actor_of(request), reason=wanted.reason)
        return Response(documents.provider(find_provider(found.id)))


class ForceView(ActView):
    @extend_schema(
        operation_id="circuits_force",
        tags=["circuits"],
        request=json_body(
            "ForceRequest", {"state": "open", "until": "2031-01-01T06:00:00Z", "reason": "wrong answers"}
        ),
        responses={200: reference("CircuitState")},
        description="Hold a circuit open (the target gets nothing) or closed (failures do not open it), until a time "
        "or until it is reset.",
    )
    def post(self, request: Request, target: str) -> Response:
        wanted = parse_body(ForceRequest, request)
        found = find_target(target)
        actions.force_circuit(found.id, wanted.state, actor=actor_of(request), until=wanted.until, reason=wanted.reason)
        return Response(documents.circuit(find_target(found.id)))


class ResetView(ActView):
    @extend_schema(
        operation_id="circuits_reset",
        tags=["circuits"],
        request=json_body("ReasonRequest", {"reason": "repaired"}, required=False),
        responses={200: reference("CircuitState")},
        description="Let go of a circuit and close it, with nothing counted; slow start follows.",
    )
    def post(self, request: Request, target: str) -> Response:
        wanted = parse_body(ReasonRequest, request)
        found = find_target(target)
        actions.reset_circuit(found.id, actor=actor_of(request), reason=wanted.reason)
        return Response(documents.circuit(find_target(found.id)))
