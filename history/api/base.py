"""What the views of the history share: parameters read strictly, errors in the API's shape, pages as JSON or as lines.

A parameter that is not known, or is given twice, is refused by name: a filter with a spelling mistake would otherwise
answer more than was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from rest_framework import status
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from history import export, render, reports
from history.api.negotiation import FORMAT, ByParameterOrAccept, CSVLines, NDJSONLines
from history.errors import (
    BadQuery,
    HistoryError,
    PayloadNotKept,
    RangeTooLarge,
    RouteNotFound,
    SessionAmbiguous,
    SessionNotFound,
)
from history.filters import from_parameters
from history.lines import FORMATS
from history.search import DEFAULT_LIMIT, limit_of
from history.timerange import TimeRange
from routes.api import errors
from routes.api.auth import actor_of
from routes.api.permissions import ReadScope, ScopePermission

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rest_framework.request import Request

    from history.filters import Filters
    from history.search import Page

STATUS_OF: Final[dict[type[HistoryError], int]] = {
    BadQuery: status.HTTP_400_BAD_REQUEST,
    RangeTooLarge: status.HTTP_400_BAD_REQUEST,
    RouteNotFound: status.HTTP_404_NOT_FOUND,
    PayloadNotKept: status.HTTP_404_NOT_FOUND,
    SessionNotFound: status.HTTP_404_NOT_FOUND,
    SessionAmbiguous: status.HTTP_409_CONFLICT,
}
PAGING: Final = frozenset({"cursor", "limit"})
TIMES: Final = frozenset({"from", "to"})


class HistoryView(APIView):
    permission_classes: tuple[type[ScopePermission], ...] = (ReadScope,)
    content_negotiation_class = ByParameterOrAccept
    #: Parameters that are not filters.
    reserved: ClassVar[frozenset[str]] = frozenset()
    #: Whether every other parameter is a filter; else there may be none.
    filtered: ClassVar[bool] = False

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        for name, values in request.query_params.lists():
            if name not in self.reserved and not self.filtered:
                raise BadQuery(name, "there is no such parameter")
            if len(values) > 1:
                raise BadQuery(name, f"is given {len(values)} times")

    def handle_exception(self, exc: Exception) -> Response:
        # Whatever was asked for, an error is JSON.
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = JSONRenderer.media_type
        if isinstance(exc, HistoryError):
            fields = {exc.field: [exc.message]} if isinstance(exc, BadQuery) else {}
            code = next(code for kind, code in STATUS_OF.items() if isinstance(exc, kind))
            more: dict[str, Any] = {}
            if isinstance(exc, SessionAmbiguous):
                more["sessions"] = [reports.sighting(sighting) for sighting in exc.sessions]
            return Response(errors.document(exc.code, str(exc), fields, **more), status=code)
        return super().handle_exception(exc)

    def filters(self) -> Filters:
        parameters = self.request.query_params
        return from_parameters({name: parameters[name] for name in parameters if name not in self.reserved})

    def span(self) -> TimeRange:
        parameters = self.request.query_params
        return TimeRange.parse(parameters.get("from"), parameters.get("to"))

    def limit(self) -> int:
        return limit_of(self.request.query_params.get("limit", str(DEFAULT_LIMIT)))

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        value = self.request.query_params.get(name)
        if value is not None and value not in choices:
            raise BadQuery(name, f"must be one of {', '.join(choices)}")
        return value

    def flag(self, name: str) -> bool:
        return self.choice(name, ("0", "1", "false", "true")) in {"1", "true"}


class PageView(HistoryView):
    """A view that answers rows: as a JSON document with links, or with ``Accept`` or ``format`` as lines of CSV or
    NDJSON, whose links are in the header ``Link``."""

    renderer_classes = (JSONRenderer, CSVLines, NDJSONLines)
    reserved = PAGING | {FORMAT}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.choice(FORMAT, [renderer.format for renderer in self.renderer_classes])

    def page(self, page: Page, **beside: Any) -> Response:
        """The answer with this page, and with what else a JSON document has ``beside`` it."""
        here = self.request.build_absolute_uri()
        links = {
            name: None if cursor is None else replace_query_param(here, "cursor", cursor)
            for name, cursor in (("next", page.next), ("previous", page.previous))
        }
        self._audit(len(page.rows))
        told = {**beside, "results": [render.row(row) for row in page.rows], **links}
        if page.scanned_to is not None:
            told["scanned_to"] = render.moment(page.scanned_to)
        response = Response(told)
        response.add_post_render_callback(self._typed)
        if linked := ", ".join(f'<{link}>; rel="{_REL[name]}"' for name, link in links.items() if link):
            response["Link"] = linked
        return response

    def _audit(self, rows: int) -> None:
        """Rows that are taken away as a file are an export, also one page of them."""
        form = self.request.accepted_renderer.format
        if form in FORMATS and self.request.method != "HEAD":
            asked = {name: str(value) for name, value in self.request.query_params.items() if name != FORMAT}
            export.audited(actor_of(self.request), asked, form)(rows, export.COMPLETE)

    def _typed(self, response: Response) -> None:
        """DRF takes the type from an answer that is empty, as one of no lines may be."""
        renderer = response.accepted_renderer
        response.headers.setdefault("Content-Type", f"{renderer.media_type}; charset={renderer.charset}")


_REL: Final = {"next": "next", "previous": "prev"}
