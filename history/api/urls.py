"""Addresses of the history API, below ``/api/v1/``; each with and without a trailing slash."""

from django.urls import re_path

from history.api.views import HistoryDetailView, HistoryFailuresView, HistoryListView, HistoryPayloadView

urlpatterns = [
    re_path(r"^history/?$", HistoryListView.as_view(), name="history"),
    re_path(r"^history/failures/?$", HistoryFailuresView.as_view(), name="history-failures"),
    re_path(r"^history/(?P<route>[0-9a-fA-F-]{32,36})/?$", HistoryDetailView.as_view(), name="history-detail"),
    re_path(
        r"^history/(?P<route>[0-9a-fA-F-]{32,36})/payload/?$", HistoryPayloadView.as_view(), name="history-payload"
    ),
]
