"""Which form an answer has: ``format=`` says it, else ``Accept``; and rows as lines where that is CSV or NDJSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer

from history import lines
from history.rows import ROW_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rest_framework.request import Request

    from history.lines import Format

FORMAT: Final = "format"


class ByParameterOrAccept(DefaultContentNegotiation):
    def select_renderer(
        self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        """Raises NotAcceptable. A form that does not exist is left to the view, which knows who may ask at all."""
        wanted = request.query_params.get(FORMAT)
        for renderer in renderers:
            if renderer.format == wanted:
                return renderer, renderer.media_type
        found: tuple[Any, str] = super().select_renderer(request, renderers, format_suffix)
        return found

    def filter_renderers(self, renderers: Iterable[Any], format: str) -> list[Any]:  # noqa: A002 - DRF's name
        return list(renderers)


class Lines(BaseRenderer):
    """The rows of a page. Of anything else there are no lines: an error is always JSON."""

    lines: ClassVar[Format]
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return lines.head(ROW_FIELDS, self.lines) + lines.body(data["results"], ROW_FIELDS, self.lines)


class CSVLines(Lines):
    media_type = "text/csv"
    format = "csv"
    lines = "csv"


class NDJSONLines(Lines):
    media_type = "application/x-ndjson"
    format = "ndjson"
    lines = "ndjson"
