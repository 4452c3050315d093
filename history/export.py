"""Exports: every row that a search finds, as lines, however many they are, and an entry in the audit log for each.

Pages of the search are read and given out one after the other: memory stays flat, no transaction and no cursor of the
database is held while a client reads slowly, and rows may arrive meanwhile. An export has the rows that were there when
it began, each once; a page that cannot be read raises, so that nobody takes a part for the whole.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError

from history import lines, render
from history.ids import time_of
from history.models import RouteHistory
from history.rows import ROW_FIELDS
from history.search import ORDERS, effective, search
from routes.actions import audit
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from history.filters import Filters
    from history.lines import Format
    from history.timerange import TimeRange
    from routes.actions import Actor

COMPLETE: Final = "complete"
BROKEN_OFF: Final = "broken off by the reader"
FAILED: Final = "failed"
PAGE_ROWS: Final = 1000
#: By latency, which no index has in order, each page is a sort of all the rows that are left.
SORTED_PAGE_ROWS: Final = 5000

log = get_logger(__name__)


def stream(
    filters: Filters,
    span: TimeRange,
    format: Format,  # noqa: A002 - the parameter's name
    alias: str = "default",
    *,
    order: str = ORDERS[0],
    bom: bool = False,
    ended: Callable[[int, str], None] | None = None,
) -> Generator[bytes]:
    """The rows that ``search`` finds, a few hundred kilobytes at a time. Whoever stops early closes it.

    The first page is read before the first piece is given out: what ``search`` refuses (BadQuery, RangeTooLarge) is
    raised there. ``ended`` is called once when it is over that began: with the rows given out, and how it ended.
    """
    span = _until_now(effective(filters, span, order), alias)
    limit = SORTED_PAGE_ROWS if "latency" in order else PAGE_ROWS
    page = search(filters, span, order=order, limit=limit, alias=alias)
    rows, outcome = 0, FAILED
    try:
        yield lines.head(ROW_FIELDS, format, bom=bom)
        while True:
            rows += len(page.rows)
            # Of a stretch in which nothing was found too: whoever gave up waiting is noticed here.
            yield lines.body(map(render.row, page.rows), ROW_FIELDS, format)
            if page.next is None:
                break
            page = search(filters, span, order=order, limit=limit, cursor=page.next, alias=alias)
        outcome = COMPLETE
    except GeneratorExit:
        outcome = BROKEN_OFF
        raise
    finally:
        if ended is not None:
            ended(rows, outcome)


def _until_now(span: TimeRange, alias: str) -> TimeRange:
    """``span`` up to the newest row there is: oldest first, an export would run after the rows that arrive."""
    newest = RouteHistory.objects.using(alias).order_by("-id").values_list("id", flat=True).first()
    if newest is None:
        return span
    end = time_of(newest) + timedelta(milliseconds=1)
    return span._replace(end=end if span.end is None else min(span.end, end))


def audited(actor: Actor, asked: Mapping[str, str], format: Format) -> Callable[[int, str], None]:  # noqa: A002
    """For ``ended``: writes who exported what into the audit log. ``asked`` is the question, by parameter."""

    def ended(rows: int, outcome: str) -> None:
        if outcome == BROKEN_OFF and not rows:
            return  # nobody got anything
        told = {**asked, "format": format, "rows": rows, "outcome": outcome}
        try:
            audit.record(actor, "history.exported", category="export", object_type="history", changes=told)
        except DatabaseError:
            log.error("an export is not in the audit log", actor=actor.name, export=told)
            if outcome == COMPLETE:
                raise  # nobody gets a whole one that nobody can find

    return ended
