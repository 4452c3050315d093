"""Addresses of the decisions API, below ``/api/v1/``; each with and without a trailing slash."""

from django.urls import re_path

from routing_project.console.decisions.views import DecisionListView, DecisionOutcomeView

urlpatterns = [
    re_path(r"^decisions/?$", DecisionListView.as_view(), name="decisions"),
    re_path(r"^decisions/(?P<route>[^/]+)/?$", DecisionOutcomeView.as_view(), name="decision-outcome"),
]
