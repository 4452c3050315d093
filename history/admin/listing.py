"""The list of requests: rows with everything needed to see what went where, pages by cursor, no count unless asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.urls import reverse

from history import queries, search
from history.admin import frame
from history.admin.asked import BETWEEN, ORDER_WORDS
from history.models import RouteStatus
from routes.engine import troubles
from routing_project.console.templatetags.console import utc_words

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from django.http import HttpRequest

    from history.admin.asked import Asked
    from history.models import RouteHistory

#: What the pages before and behind, and the first one, are called in each order.
_PAGES = {
    "-created_at": ("Newest", "Newer", "Older"),
    "created_at": ("Oldest", "Older", "Newer"),
    "-latency_ms": ("Slowest", "Slower", "Faster"),
    "latency_ms": ("Fastest", "Faster", "Slower"),
}


GO_ON = "Go on searching"


class Line(NamedTuple):
    """A request as a row. ``sent`` is the provider, and the model where it got another name."""

    route: RouteHistory
    sent: str
    why: str  # what went wrong, "" = nothing
    message: str  # what else was said of it
    session: str  # address of the requests of its session


class Pager(NamedTuple):
    first: frame.Action | None
    before: frame.Action | None
    after: frame.Action | None
    order: str
    searched: str  # how far, where the search stopped early


def context(request: HttpRequest, asked: Asked, now: datetime) -> dict[str, Any]:
    """One or a few bounded queries, beside what every page here needs."""
    page, trouble = frame.ask(
        asked,
        lambda: search.search(asked.filters, asked.span, order=asked.order, limit=asked.limit, cursor=asked.cursor),
    )
    rows = page.rows if page else []
    span = page.span if page else asked.span
    notes = []
    if page and asked.range == "all" and page.span.start is not None:
        notes.append(
            "No index finds these rows, so only the last 24 hours were searched. A time of your choice is searched all "
            "the way."
        )
    count = frame.counted(asked) if asked.count else ""
    return {
        **frame.shared(request, asked, frame.LIST, now),
        "lines": lines(rows),
        "notes": notes,
        "instead": trouble or (None if rows else _empty(asked, page)),
        "pager": pager(asked, page) if page else None,
        "orders": [
            (asked.link(order="" if order == search.ORDERS[0] else order), word, order == asked.order)
            for order, word in ORDER_WORDS.items()
            if order != "latency_ms" or order == asked.order
        ],
        "count": count,
        "count_url": asked.link(count="estimate", cursor=asked.cursor or ""),
        "count_exact_url": asked.link(count="exact", cursor=asked.cursor or ""),
        "export": frame.export(asked, span, count, asked.link(count="estimate", part="count")),
    }


def lines(rows: Iterable[RouteHistory]) -> list[Line]:
    place = reverse(frame.LIST)
    return [
        Line(
            row,
            " / ".join(part for part in (row.provider, "" if row.model == row.requested_model else row.model) if part),
            why(row),
            row.message,
            f"{place}?range=all&session_id={row.session_id}" if row.session_id else "",
        )
        for row in rows
    ]


def why(row: RouteHistory) -> str:
    """What went wrong, as a clause that stands alone."""
    if row.status == RouteStatus.INTERRUPTED:
        return "The process that served it ended"
    if row.error_code is None:
        return ""
    told = troubles.of(row.error_code, row.provider).told
    return f"{row.provider} {told}" if row.provider else f"The request {told}"


def pager(asked: Asked, page: search.Page) -> Pager:
    first, before, after = _PAGES[asked.order]
    searched = ""
    if page.scanned_to is not None:
        way, rest = ("back", "older") if asked.order.startswith("-") == asked.forward else ("on", "newer")
        searched = f"Searched {way} to {utc_words(page.scanned_to)}; nothing {rest} was looked at yet."
        before, after = (before, GO_ON) if asked.forward else (GO_ON, after)
    return Pager(
        frame.Action(asked.link(), first) if asked.cursor else None,
        frame.Action(asked.link(cursor=page.previous), before) if page.previous else None,
        frame.Action(asked.link(cursor=page.next), after) if page.next else None,
        ORDER_WORDS[asked.order],
        searched,
    )


def _empty(asked: Asked, page: search.Page | None) -> frame.Notice:
    """Why there is nothing to show, and what to do next. One query where there are no filters either."""
    onward = page and (page.next if asked.forward else page.previous)
    if page and page.scanned_to is not None and onward:
        text = (
            f"No request between the begin of this search and {utc_words(page.scanned_to)} matches. There may be more."
        )
        action = frame.Action(asked.link(cursor=onward), GO_ON)
        return frame.Notice("search", "Nothing found so far", text, [action])
    if asked.cursor:
        text = "The rows of this page are gone, or there are no more."
        return frame.Notice("scroll-text", "Nothing here", text, [frame.Action(asked.link(), _PAGES[asked.order][0])])
    if not asked.conditions and asked.range != BETWEEN and not queries.any_route():
        text = "Send one with an access key; the dashboard shows how. It appears here within two seconds of its answer."
        return frame.Notice("scroll-text", "No request yet", text, [frame.Action(reverse("admin:index"), "Dashboard")])
    return frame.nothing(asked, "request")
