"""``POST health/{provider}/state/``: set a provider's admin state. Live, for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from routes import actions
from routes.api.auth import actor_of
from routes.api.configuration import ProviderViewSet, admin_state
from routes.api.permissions import OperateScope
from routes.api.resources import parse_body
from routes.api.schema import json_body, reference
from routes.document.acts import AdminStateRequest

if TYPE_CHECKING:
    from rest_framework.request import Request


class AdminStateView(APIView):
    """Drain, disable or activate a provider or one of its targets; every gateway follows within two seconds."""

    permission_classes = (OperateScope,)

    @extend_schema(
        operation_id="health_set_state",
        tags=["health"],
        request=json_body("AdminStateRequest"),
        responses={200: reference("AdminState")},
    )
    def post(self, request: Request, provider: str) -> Response:
        wanted = parse_body(AdminStateRequest, request)
        of = ProviderViewSet().find(provider)
        row = actions.set_admin_state(
            of,
            wanted.state,
            actor=actor_of(request),
            until=wanted.until,
            reason=wanted.reason,
            target=wanted.target,
        )
        return Response({"provider": of.slug, "target": wanted.target, **admin_state(row)})
