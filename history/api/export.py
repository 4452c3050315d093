"""Exports over HTTP: everything that the list finds, as CSV or NDJSON, however much it is. Needs the scope ``read``.

Throttled, few at a time, and each in the audit log. What is refused is refused before the answer begins; if something
fails later, the connection is cut, and no client takes a part for the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import Throttled

from history import export, lines, search
from history.api import parameters, schema
from history.api.base import TIMES, HistoryView
from history.api.download import Download, Slots, headers
from history.api.negotiation import FORMAT, CSVLines, NDJSONLines
from routes.api.auth import actor_of
from routes.api.throttling import CallerThrottle

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase
    from rest_framework.request import Request

#: How long somebody waits to be told to try again whose other exports are still under way.
BUSY_SECONDS = 10

slots = Slots(of_caller=2, of_all=8)


class ExportThrottle(CallerThrottle):
    scope = "export"


class ExportView(HistoryView):
    reserved = TIMES | {FORMAT, "order", "bom"}
    filtered = True
    throttle_classes = (CallerThrottle, ExportThrottle)
    renderer_classes = (CSVLines, NDJSONLines)

    @extend_schema(
        operation_id="history_export",
        tags=["history"],
        parameters=[*parameters.EXPORT, schema.RETRY_AFTER],
        responses=schema.EXPORT_RESPONSES,
        description="Every row that the list finds with the same filters and order, and that was there when the export "
        "began, each once. A connection that is cut before the end means that the export failed. CSV (by default, or "
        "`format`, or `Accept`) is RFC 4180 in UTF-8 with a line of names; text that a spreadsheet could take for a "
        "formula has an apostrophe before it.",
    )
    def get(self, request: Request) -> HttpResponseBase:
        self.choice(FORMAT, lines.FORMATS)
        filters, span = self.filters(), self.span()
        order = self.choice("order", search.ORDERS) or search.ORDERS[0]
        wanted = cast("lines.Format", request.accepted_renderer.format)
        bom = self.flag("bom")
        if request.method == "HEAD":
            return HttpResponse(headers=headers(wanted))
        caller = str(request.user.pk)
        if not slots.take(caller):
            raise Throttled(BUSY_SECONDS, "others of your exports, or of everybody's, are still under way")
        told = {name: str(value) for name, value in request.query_params.items() if name not in {FORMAT, "bom"}}
        audited = export.audited(actor_of(request), told, wanted)

        def ended(rows: int, outcome: str) -> None:
            slots.give_back(caller)
            audited(rows, outcome)

        pieces = export.stream(filters, span, wanted, order=order, bom=bom, ended=ended)
        try:
            first = next(pieces)
        except BaseException:
            slots.give_back(caller)
            raise
        return Download(first, pieces, wanted)
