"""Addresses of the history API, below ``/api/v1/``; each with and without a trailing slash."""

from django.urls import re_path

from history.api.export import ExportView
from history.api.sessions import SessionByNameView, SessionView
from history.api.statistics import StatisticsView
from history.api.views import HistoryDetailView, HistoryFailuresView, HistoryListView, HistoryPayloadView

urlpatterns = [
    re_path(r"^history/?$", HistoryListView.as_view(), name="history"),
    re_path(r"^history/failures/?$", HistoryFailuresView.as_view(), name="history-failures"),
    re_path(r"^history/statistics/?$", StatisticsView.as_view(), name="history-statistics"),
    re_path(r"^history/export/?$", ExportView.as_view(), name="history-export"),
    re_path(r"^history/sessions/?$", SessionByNameView.as_view(), name="history-session-by-key"),
    re_path(r"^history/sessions/(?P<session>[0-9a-fA-F-]{32,36})/?$", SessionView.as_view(), name="history-session"),
    re_path(r"^history/(?P<route>[0-9a-fA-F-]{32,36})/?$", HistoryDetailView.as_view(), name="history-detail"),
    re_path(
        r"^history/(?P<route>[0-9a-fA-F-]{32,36})/payload/?$", HistoryPayloadView.as_view(), name="history-payload"
    ),
]
