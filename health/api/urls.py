"""Addresses of the health API, below ``/api/v1/``; each with and without a trailing slash."""

from django.urls import re_path

from health.api.acts import AdminStateView, ClearQuarantineView, ForceView, ProbeView, ResetView
from health.api.views import CircuitListView, CircuitView, EventListView, HealthView, ProviderView, TransitionListView

PROVIDER = r"^health/(?P<provider>[^/]+)"
TARGET = r"^circuits/(?P<target>[0-9a-fA-F-]{32,36})"

urlpatterns = [
    re_path(r"^health/?$", HealthView.as_view(), name="health"),
    # A provider of that name is found by its id.
    re_path(r"^health/events/?$", EventListView.as_view(), name="health-events"),
    re_path(rf"{PROVIDER}/?$", ProviderView.as_view(), name="health-provider"),
    re_path(rf"{PROVIDER}/state/?$", AdminStateView.as_view(), name="admin-state"),
    re_path(rf"{PROVIDER}/probe/?$", ProbeView.as_view(), name="probe"),
    re_path(rf"{PROVIDER}/clear-quarantine/?$", ClearQuarantineView.as_view(), name="clear-quarantine"),
    re_path(r"^circuits/?$", CircuitListView.as_view(), name="circuits"),
    re_path(rf"{TARGET}/?$", CircuitView.as_view(), name="circuit"),
    re_path(rf"{TARGET}/transitions/?$", TransitionListView.as_view(), name="transitions"),
    re_path(rf"{TARGET}/force/?$", ForceView.as_view(), name="force-circuit"),
    re_path(rf"{TARGET}/reset/?$", ResetView.as_view(), name="reset-circuit"),
]
