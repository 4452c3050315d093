"""What the three pages of many requests share: tabs, form, chips, export, and how a question that takes too long or a
database that does not answer is told. A page asks its own question through ``ask``, so that neither is ever a 500."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from django.db import OperationalError
from django.urls import reverse

from history import search
from history.admin import form, words
from history.admin.asked import BETWEEN, DEFAULT_RANGE, RANGES, TIME, Asked, of_range
from history.errors import RangeTooLarge
from routing_project.console.templatetags.console import grouped

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.http import HttpRequest

    from history.timerange import TimeRange

T = TypeVar("T")
LIST, FAILED, STATISTICS = (f"admin:history_routehistory_{name}" for name in ("changelist", "failures", "statistics"))
_TABS: Final = (
    (LIST, "Requests", "scroll-text"),
    (FAILED, "Failed routes", "circle-x"),
    (STATISTICS, "Statistics", "activity"),
)
#: Ranges offered where the chosen one was too long.
_SHORTER: Final = ("15m", "1h", "24h")


class Action(NamedTuple):
    url: str
    word: str


class Notice(NamedTuple):
    """Something to say in place of rows, or above them, and what can be done about it."""

    icon: str
    title: str
    text: str
    actions: list[Action] = []


class Tab(NamedTuple):
    url: str
    word: str
    icon: str
    current: bool


class Export(NamedTuple):
    """``count_url`` answers in words how many rows it has about; asked only when somebody wants to know."""

    csv: str
    ndjson: str
    rows: str
    count_url: str = ""


def shared(request: HttpRequest, asked: Asked, page: str, now: datetime) -> dict[str, Any]:
    """Four queries, for what there is to choose from."""
    offered = form.read(asked, now)
    return {
        "asked": asked,
        "form": offered,
        "chips": words.chips(asked),
        "filtered": bool(asked.conditions),
        "cleared": asked.link(without=[*asked.conditions, *TIME]),
        "problems": asked.problems,
        "tabs": [Tab(asked.link(reverse(name)), word, icon, name == page) for name, word, icon in _TABS],
        "live_url": asked.live(),
        "profiles": offered.profiles,
        "providers": offered.providers,
    }


def ask(asked: Asked, question: Callable[[], T]) -> tuple[T | None, Notice | None]:
    """What ``question`` answers, or why it does not."""
    try:
        return question(), None
    except RangeTooLarge:
        return None, _too_large(asked)
    except OperationalError:
        text = (
            "Requests are routed all the same, and what they do is kept in the journal until the database is back. "
            "The live page does not need it."
        )
        again = Action(asked.link(), "Try again")
        return None, Notice("unplug", "The database did not answer", text, [again, Action(asked.live(), "Watch live")])


def _too_large(asked: Asked) -> Notice:
    actions = [] if "latency" not in asked.order else [Action(asked.link(order=""), "Newest first instead")]
    now = asked.now
    start = asked.span.start
    for name in _SHORTER:
        shorter = of_range(name, now).start
        if asked.range == BETWEEN or start is None or (shorter is not None and shorter > start):
            actions.append(Action(asked.link(without=TIME, range=name), RANGES[name][0]))
    seconds = f"{search.SCAN_SECONDS:.0f} seconds"
    text = (
        f"It was stopped after {seconds}, so that it holds nothing up. A shorter time makes it quick, and so does a "
        "filter on profile, provider, access key, error or session."
    )
    return Notice("clock", "This takes too long", text, actions)


def export(asked: Asked, span: TimeRange, rows: str, count_url: str = "", tree: Any = None) -> Export:
    csv = asked.api("export/", span, tree, format="csv", bom="1")  # for Excel, which would not know it for UTF-8
    return Export(csv, asked.api("export/", span, tree, format="ndjson"), rows, count_url)


def counted(asked: Asked) -> str:
    """How many requests there are, in words; one query of two seconds at most."""
    how = search.count if asked.count == "exact" else search.estimate
    number, problem = ask(asked, lambda: how(asked.filters, asked.span))
    if number is None:
        seconds = f"{search.SCAN_SECONDS:.0f} seconds"
        return "The database did not answer" if problem else f"More than can be counted in {seconds}"
    noun = "request" if number == 1 else "requests"
    return f"{'Exactly' if asked.count == 'exact' else 'About'} {grouped(number)} {noun}"


def wider(asked: Asked) -> list[Action]:
    """The next longer time, for pages that found nothing."""
    names = list(RANGES)
    place = names.index(asked.range) + 1 if asked.range != BETWEEN else names.index(DEFAULT_RANGE)
    longer = names[place:] if asked.range != BETWEEN else ["all"]
    return [Action(asked.link(without=TIME, range=name), RANGES[name][0]) for name in longer[:2]]


def nothing(asked: Asked, what: str) -> Notice:
    """Nothing matches; ``what`` there is none of."""
    actions = wider(asked)
    if asked.conditions:
        actions.append(Action(asked.link(without=asked.conditions), "Without the filters"))
        return Notice("search", f"No {what} matches", "There is none in this time with these filters.", actions)
    return Notice(
        "scroll-text", f"No {what} in this time", "Look at a longer time, or watch what comes in now.", actions
    )
