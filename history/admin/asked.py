"""What the address of a history page asks for, and addresses that ask for a little more or less.

Whatever the API's list filters by works in the address of every page here, and so do the API's ``order``, ``limit``,
``group_by`` and ``include_recovered``; beside them a page knows ``range`` (a time up to now) and ``status=failures``.
What is not understood is told and left out; the rest holds. No query.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from django.urls import reverse

from history.errors import BadQuery
from history.filters import NOTHING, Filters, from_parameters
from history.models import FAILURE_STATUSES
from history.render import moment
from history.search import DEFAULT_LIMIT, ORDERS, Cursor, limit_of
from history.statistics import GROUPINGS
from history.timerange import TimeRange
from routing_project.feed.where import ROUTE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

RANGES: Final[dict[str, tuple[str, float | None]]] = {
    "15m": ("Last 15 minutes", 0.25),
    "1h": ("Last hour", 1),
    "6h": ("Last 6 hours", 6),
    "24h": ("Last 24 hours", 24),
    "7d": ("Last 7 days", 7 * 24),
    "30d": ("Last 30 days", 30 * 24),
    "all": ("Any time", None),
}
DEFAULT_RANGE: Final = "24h"
#: The range that ``from`` and ``to`` name.
BETWEEN: Final = "between"
FAILURES: Final = "failures"
ORDER_WORDS: Final = {
    "-created_at": "Newest first",
    "created_at": "Oldest first",
    "-latency_ms": "Slowest first",
    "latency_ms": "Fastest first",
}
#: What is not a condition on a row: these are read one by one.
TIME: Final = ("range", "from", "to")
_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "order": ORDERS,
    "group_by": GROUPINGS,
    "count": ("exact", "estimate"),
    "include_recovered": ("0", "1", "true", "false"),
}
#: Rows of a page, at most: the API gives more at a time, but nobody reads so many.
MOST_ROWS: Final = 200
_FRAME: Final = frozenset({*_CHOICES, "limit", "cursor", "part"})
#: What the live page knows by the same name.
_LIVE: Final = frozenset({*ROUTE_FIELDS, *(f"{name}__in" for name, field in ROUTE_FIELDS.items() if field.listed)})


class Problem(NamedTuple):
    """A parameter that was left out, and why."""

    name: str
    value: str
    message: str


@dataclass(frozen=True)
class Asked:
    now: datetime
    typed: dict[str, str]  # as it came, for the form
    given: dict[str, str]  # what of it was understood: what links repeat
    span: TimeRange
    filters: Filters
    cursor: str | None
    count: str  # exact | estimate | ""
    problems: list[Problem]

    @classmethod
    def read(cls, parameters: Mapping[str, Any], now: datetime) -> Asked:
        typed = {name: str(value).strip() for name, value in parameters.items()}
        typed = {name: value for name, value in typed.items() if value}
        problems: list[Problem] = []
        given, span = _time(typed, now, problems)
        for name, choices in _CHOICES.items():
            if name in typed and typed[name] not in choices:
                problems.append(Problem(name, typed[name], f"must be one of {', '.join(choices)}"))
            elif name in typed:
                given[name] = typed[name]
        given |= _limit(typed.get("limit", ""), problems)
        filters = NOTHING
        for name, value in typed.items():
            if name in TIME or name in _FRAME:
                continue
            try:
                filters &= from_parameters(_condition(name, value))
            except BadQuery as error:
                problems.append(Problem(name, value, error.message))
            else:
                given[name] = value
        count = given.pop("count", "")
        cursor = _cursor(typed.get("cursor", ""), given.get("order", ORDERS[0]), problems)
        return cls(now, typed, given, span, filters, cursor, count, problems)

    @property
    def range(self) -> str:
        """The chosen one of ``RANGES``, or BETWEEN."""
        return BETWEEN if {"from", "to"} & self.given.keys() else self.given.get("range", DEFAULT_RANGE)

    @property
    def order(self) -> str:
        return self.given.get("order", ORDERS[0])

    @property
    def include_recovered(self) -> bool:
        return self.given.get("include_recovered") in ("1", "true")

    @property
    def forward(self) -> bool:
        """Whether the page is read in its order, or back from the one that was shown."""
        return self.cursor is None or Cursor.decode(self.cursor).forward

    @property
    def limit(self) -> int:
        return int(self.given.get("limit", DEFAULT_LIMIT))

    @property
    def conditions(self) -> dict[str, str]:
        """The filters, by their names in the address."""
        return {name: value for name, value in self.given.items() if name not in TIME and name not in _FRAME}

    # -- addresses ------------------------------------------------------------------------------------------------
    def link(self, path: str = "", *, without: Iterable[str] = (), **more: str) -> str:
        """The same of this page or another, without some parameters, with others; empty ones are left out."""
        left_out = frozenset(without)
        wanted = {name: value for name, value in self.given.items() if name not in left_out} | more
        return f"{path}?{urlencode({name: value for name, value in wanted.items() if value})}"

    def narrowed(self, path: str, values: Mapping[str, str | None], **more: str) -> str:
        """Also with these values of fields; None and "" are values like any other."""
        wanted = {name: text for name, text in self.given.items() if name not in values} | more
        for field, value in values.items():
            if value:
                wanted[field] = value
            else:
                wanted["filter"] = _joined(wanted.get("filter"), _absent(field) if value is None else _empty(field))
        return f"{path}?{urlencode(wanted)}"

    def between(self, path: str, start: datetime, end: datetime) -> str:
        return self.link(path, without=TIME, **{"from": moment(start), "to": moment(end)})

    def api(self, place: str, span: TimeRange, tree: Any = None, **more: str) -> str:
        """The same of the API, which knows no ``range``: with the bounds that held here. ``tree`` must hold too."""
        wanted = {
            **({"from": moment(span.start)} if span.start else {}),
            **({"to": moment(span.end)} if span.end else {}),
        }
        for name, value in self.conditions.items():
            wanted |= _condition(name, value)
        trees = [] if tree is None else [tree]
        if self.given.get("status") == FAILURES and "status__in" in self.given:
            trees.append(failure_tree(include_recovered=False))  # the same name twice would be one of them
            wanted["status__in"] = self.given["status__in"]
        for each in trees:
            wanted["filter"] = _joined(wanted.get("filter"), each)
        return f"{reverse('history')}/{place}?{urlencode(wanted | more)}"

    def live(self) -> str:
        """The live page with those of the filters that it knows."""
        known = {name: value for name, value in self.conditions.items() if name in _LIVE}
        place = f"{reverse('admin:index')}live/"
        return f"{place}?{urlencode(known)}" if known else place


def _time(typed: Mapping[str, str], now: datetime, problems: list[Problem]) -> tuple[dict[str, str], TimeRange]:
    """What of the three was understood, and the range they mean. A chosen range counts for more than bounds, which a
    form may send along without showing them."""
    chosen = typed.get("range", "")
    if chosen not in RANGES and (typed.get("from") or typed.get("to")):
        try:
            # Times are copied from our own pages, which end them so.
            bounds = [typed.get(name, "").removesuffix("UTC").strip() for name in ("from", "to")]
            span = TimeRange.parse(*bounds)
        except BadQuery as error:
            problems.append(Problem(error.field, typed[error.field], error.message))
        else:
            return {name: moment(at) for name, at in (("from", span.start), ("to", span.end)) if at}, span
    elif chosen in RANGES:
        return {"range": chosen}, of_range(chosen, now)
    elif chosen not in ("", BETWEEN):
        problems.append(Problem("range", chosen, f"must be one of {', '.join(RANGES)}"))
    return {}, of_range(DEFAULT_RANGE, now)


def _limit(text: str, problems: list[Problem]) -> dict[str, str]:
    if not text:
        return {}
    try:
        return {"limit": str(limit_of(text, MOST_ROWS))}
    except BadQuery as error:
        problems.append(Problem(error.field, text, error.message))
        return {}


def _cursor(text: str, order: str, problems: list[Problem]) -> str | None:
    if not text:
        return None
    try:
        if Cursor.decode(text).order == order:
            return text
        message = "belongs to another order"
    except BadQuery as error:
        message = error.message
    problems.append(Problem("cursor", text, message))
    return None


def of_range(name: str, now: datetime) -> TimeRange:
    hours = RANGES[name][1]
    return TimeRange() if hours is None else TimeRange.last(hours=hours, now=now)


def _condition(name: str, value: str) -> dict[str, str]:
    """As the API names it."""
    if name == "status" and value == FAILURES:
        return {"status__in": ",".join(FAILURE_STATUSES)}
    return {name: value}


# -- trees ------------------------------------------------------------------------------------------------------------
def failure_tree(*, include_recovered: bool) -> dict[str, Any]:
    """The rows of the failures report as a filter."""
    failed = {"field": "status", "op": "in", "value": [str(status) for status in FAILURE_STATUSES]}
    return {"any": [failed, {"field": "recovered", "value": True}]} if include_recovered else failed


def _absent(field: str) -> dict[str, Any]:
    """Rows without a value of it: whatever begins with nothing has one."""
    return {"not": {"field": field, "op": "startswith", "value": ""}}


def _empty(field: str) -> dict[str, Any]:
    return {"field": field, "value": ""}


def _joined(text: str | None, tree: Any) -> str:
    return json.dumps({"all": [json.loads(text), tree]} if text else tree, separators=(",", ":"))
