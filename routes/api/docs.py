"""``/api/schema/`` and ``/api/docs/``: the OpenAPI document and a page to read and try it. Both need ``read``.

The page brings Swagger UI from our own static files and holds no inline script, so it works under the console's
content security policy; only its icons are ``data:`` images, which its own policy allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.shortcuts import redirect, render
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.exceptions import NotAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.views import APIView

from routes.api.permissions import ReadScope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpResponseBase
    from rest_framework.request import Request

POLICY = "default-src 'self'; img-src 'self' data:; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"


class SchemaView(SpectacularAPIView):
    """The OpenAPI 3.1 document: YAML, or JSON with ``Accept: application/json`` or ``?format=json``."""

    permission_classes = [ReadScope]


class Page(BaseRenderer):
    """Lets DRF negotiate HTML; the view renders by itself."""

    media_type = "text/html"
    format = "html"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> Any:
        return data


@extend_schema(exclude=True)
class DocsView(APIView):
    """People who are not signed in are sent to the login page."""

    permission_classes = (ReadScope,)
    renderer_classes = (Page, JSONRenderer)

    def get(self, request: Request) -> HttpResponseBase:
        response = render(request._request, "routes/api_docs.html")
        response["Content-Security-Policy"] = POLICY
        return response

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, NotAuthenticated):
            return redirect(f"/admin/login/?next={self.request.path}")
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = "application/json"
        return super().handle_exception(exc)
