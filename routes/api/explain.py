"""``POST explain/``: where a request would go, or went, and why. Changes nothing, so ``read`` is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from routes import explain
from routes.api.explain_schema import EXAMPLES
from routes.api.openapi import json_body, reference
from routes.api.permissions import ReadScope
from routes.api.resources import body_of

if TYPE_CHECKING:
    from rest_framework.request import Request


class ExplainView(APIView):
    """What the pipeline makes of a request, as the gateway would decide it now, or of a recorded one again. No counter,
    slot or pin moves."""

    permission_classes = (ReadScope,)

    @extend_schema(
        operation_id="explain",
        tags=["explain"],
        request=json_body("ExplainRequest"),
        responses={200: reference("Explanation")},
        examples=[OpenApiExample(name, value, request_only=True) for name, value in EXAMPLES.items()],
    )
    def post(self, request: Request) -> Response:
        return Response(explain.explain(explain.parse(body_of(request))))
