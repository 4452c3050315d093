"""Sums and rows of a plan as querysets with the same fields, so that one question can be put to both."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from history.models import Rollup, RouteHistory
from history.rollups.sums import DERIVED, DIMENSIONS, FULL, View

if TYPE_CHECKING:
    from collections.abc import Iterable

    from history.rollups.plan import Plan

#: Those that rows have as columns: what can be filtered and grouped by.
COMMON = frozenset(DIMENSIONS[:8])


def dimensions_of(condition: Q) -> frozenset[str] | None:
    """What a condition on rows asks of them; None if sums do not know it."""
    found: frozenset[str] = frozenset()
    for child in condition.children:
        if isinstance(child, Q):
            names = dimensions_of(child)
            if names is None:
                return None
        elif isinstance(child, tuple):
            names = frozenset({child[0].partition("__")[0]})
        else:
            return None
        found |= names
    return found if found <= COMMON else None


def sums(plan: Plan, needed: frozenset[str], condition: Q, alias: str) -> list[Any]:
    """Querysets over the sums of the plan, one for each grain, of the smallest view that has what is needed."""
    return [
        sums_of_view(plan, smallest(grain, needed), grain, condition, alias)
        for grain, stretches in plan.sums.items()
        if stretches
    ]


def together(questions: Iterable[Any]) -> Any:
    """What querysets of the same columns find, each with a plan of its own, in one query. None asked, none found."""
    asked = [*questions]
    if len(asked) > 1:
        return asked[0].union(*asked[1:], all=True)
    return asked[0] if asked else ()


def sums_of_view(plan: Plan, view: View, grain: int, condition: Q, alias: str) -> Any:
    times = reduce(or_, (Q(start__gte=low, start__lt=high) for low, high in plan.sums[grain]))
    rows = Rollup.objects.using(alias).filter(times, grain=grain, view=view.name)
    return rows.filter(condition).order_by()


def rows(plan: Plan, condition: Q, alias: str) -> Any:
    """The rows of the plan."""
    return RouteHistory.objects.using(alias).filter(plan.rows_condition()).filter(condition).order_by()


def smallest(grain: int, needed: frozenset[str]) -> View:
    for view in DERIVED:
        if grain in view.grains and not view.only and needed <= frozenset(view.dimensions):
            return view
    return FULL
