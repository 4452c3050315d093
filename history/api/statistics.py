"""Statistics over HTTP. Needs the scope ``read``; throttled, for it reads more than a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from history import reports
from history.api import parameters, schema
from history.api.base import TIMES, HistoryView
from history.statistics import GROUPINGS, statistics
from routes.api.throttling import CallerThrottle

if TYPE_CHECKING:
    from rest_framework.request import Request


class StatisticsThrottle(CallerThrottle):
    scope = "statistics"


class StatisticsView(HistoryView):
    reserved = TIMES | {"group_by"}
    filtered = True
    throttle_classes = (CallerThrottle, StatisticsThrottle)

    @extend_schema(
        operation_id="history_statistics",
        tags=["history"],
        parameters=[*parameters.STATISTICS, schema.RETRY_AFTER],
        responses=schema.one("HistoryStatistics"),
        description="Counts by outcome, failure rate, latencies, tokens, cost and shares of a range of time (the last "
        "24 hours unless `from` is given), as a whole and by group.",
    )
    def get(self, request: Request) -> Response:
        filters, group_by = self.filters(), self.choice("group_by", GROUPINGS)
        return Response(reports.statistics(statistics(self.span().recent, group_by, filters)))
