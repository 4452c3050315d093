"""Filters find what a person would: whatever the tree of conditions, the rows for which it holds, and no others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from history import render
from history.filters import FIELDS, from_parameters
from history.models import RouteHistory
from history.search import search
from history.timerange import TimeRange
from tests.history import rows, samples
from tests.history.rows import NOON, at, minutes

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db(databases=["default", "pg"])
SPAN = TimeRange(NOON - minutes(1), NOON + minutes(1))
#: Fields, some of which may have no value, and values that some of the rows have.
VALUES: dict[str, list[Any]] = {
    "provider": ["acme-eu", "acme-us", "", "a"],
    "rule": ["long", "lo", "x"],
    "error_code": ["connect_refused", "c"],
    "session_key": ["chat", "c"],
    "status": ["routed", "failed", "decided"],
    "latency_ms": [1, 2, 3, 500],
    "output_tokens": [34, 0],
    "recovered": [True, False],
}
MEANS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda has, asked: bool(has == asked),
    "ne": lambda has, asked: bool(has != asked),
    "in": lambda has, asked: has in asked,
    "contains": lambda has, asked: has is not None and asked in has,
    "startswith": lambda has, asked: has is not None and has.startswith(asked),
    "gt": lambda has, asked: has is not None and has > asked,
    "lt": lambda has, asked: has is not None and has < asked,
}


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    field = draw(st.sampled_from(sorted(VALUES)))
    operator = draw(st.sampled_from(sorted(FIELDS[field].operators)))
    value = st.sampled_from(VALUES[field])
    return {"field": field, "op": operator, "value": draw(st.lists(value, min_size=1) if operator == "in" else value)}


trees: st.SearchStrategy[dict[str, Any]] = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)


def holds(tree: dict[str, Any], row: dict[str, Any]) -> bool:
    match tree:
        case {"all": parts}:
            return all(holds(part, row) for part in parts)
        case {"any": parts}:
            return any(holds(part, row) for part in parts)
        case {"not": part}:
            return not holds(part, row)
    return MEANS[tree["op"]](row[tree["field"]], tree["value"])


def test_a_tree_finds_the_rows_for_which_it_holds(alias: str) -> None:
    rows.store(
        samples.finished(at(NOON, 1), latency_us=1000),
        samples.finished(at(NOON, 2), latency_us=2000, rule="long", session_key="chat"),
        samples.finished(at(NOON, 3), latency_us=3000, provider="acme-us", recovered=True),
        samples.failed(at(NOON, 4), latency_us=500_000, rule="long"),
        samples.failed(at(NOON, 5), error_code=None, session_key="c"),
        samples.decided(at(NOON, 6), output_tokens=0),
        samples.finished(at(NOON, 7), status="rejected", provider="", output_tokens=None),
        alias=alias,
    )
    everything = [render.row(row) for row in RouteHistory.objects.using(alias).order_by("id")]
    sizes: set[int] = set()

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(tree=trees, order=st.sampled_from(["created_at", "latency_ms"]))
    def check(tree: dict[str, Any], order: str) -> None:
        page = search(from_parameters({"filter": json.dumps(tree)}), SPAN, order=order, alias=alias)
        # By latency, only what has one.
        there = [row for row in everything if order == "created_at" or row["latency_ms"] is not None]
        assert {str(row.id) for row in page.rows} == {row["id"] for row in there if holds(tree, row)}
        sizes.add(len(page.rows))

    check()
    assert len(sizes) > 4
