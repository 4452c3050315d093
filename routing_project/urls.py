"""Addresses of the control plane. The data plane (``/v1``, ``/p``, ``/svc``) never reaches Django."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from routes.api.docs import DocsView, SchemaView
from routes.api.errors import not_found
from routing_project.console.decisions.views import DecisionWebhook
from routing_project.console.head_webhook import HeadWebhook
from routing_project.console.metrics.view import metrics

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/", permanent=False)),
    path("admin/", admin.site.urls),
    path("metrics", metrics),
    path("api/v1/", include("routes.api.urls")),
    path("api/v1/", include("history.api.urls")),
    path("api/v1/", include("health.heads.urls")),
    path("api/v1/", include("health.api.urls")),
    path("api/v1/", include("health.api.alerts_urls")),
    path("api/v1/", include("routing_project.console.decisions.urls")),
    re_path(r"^webhook/head-status/?$", HeadWebhook.as_view()),
    re_path(r"^webhook/routing-decision/?$", DecisionWebhook.as_view()),
    re_path(r"^api/schema/?$", SchemaView.as_view(), name="schema"),
    re_path(r"^api/docs/?$", DocsView.as_view(), name="docs"),
    re_path(r"^(?:api|events|webhook)/", not_found),
]
