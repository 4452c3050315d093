"""Addresses of the control plane. The data plane (``/v1``, ``/p``, ``/svc``) never reaches Django."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from routing_project.console.metrics import metrics

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/", permanent=False)),
    path("admin/", admin.site.urls),
    path("metrics", metrics),
]
