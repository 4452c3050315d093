"""What a row keeps of a decision, and the decision put together again from all of the row."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from history.ids import milliseconds
from history.models import RouteHistory
from history.packing import decision_of, kept
from tests.history import rows, samples

ROUTE = rows.at(rows.NOON)
#: As a gateway packs it, of a request that the record beside it tells the same of.
DECISION: dict[str, Any] = {
    "v": 2,
    "p": 0,
    "o": "chat",
    "m": "gpt-4o",
    "c": "smart_routing",
    "t": [[4, 4, 2.1]],
    "f": {
        "key.name": "app",
        "stream": True,
        "client_ip": "127.0.0.1",
        "time": milliseconds(ROUTE) / 1000,
        "percent": 7.5,
        "usual": 1,
    },
}


def through_a_row(**values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(What was stored, what is told of it) of a record with these values."""
    record = samples.finished(ROUTE, **{"source": "smart_routing", "stream": True, **values})
    rows.store(record)
    row = RouteHistory.objects.get(id=UUID(bytes=ROUTE))
    return row.routing_decision, decision_of(row)


@pytest.mark.django_db
def test_a_row_keeps_nothing_of_a_decision_twice_and_tells_all_of_it() -> None:
    stored, told = through_a_row(decision=DECISION)
    assert stored == {"v": 2, "p": 0, "t": [[4, 4, 2.1]], "f": {"percent": 7.5, "usual": 1}, "w": "omckist"}
    assert told == DECISION


@pytest.mark.django_db
@pytest.mark.parametrize(
    "values",
    [
        {"requested_model": "another", "source": "load_balancer", "operation": "messages", "stream": False},
        {"key_name": "another", "client_ip": "10.0.0.1"},
        {"requested_model": "", "key_name": "", "client_ip": "", "operation": ""},
    ],
)
def test_what_a_column_says_otherwise_is_kept(values: dict[str, Any]) -> None:
    assert through_a_row(decision=DECISION, **values)[1] == DECISION


@pytest.mark.django_db
def test_what_a_column_holds_cut_or_cleaned_is_kept() -> None:
    long, odd = "m" * 300, "a\x00b"
    decision = DECISION | {"m": long[:256], "f": DECISION["f"] | {"key.name": odd}}
    _, told = through_a_row(decision=decision, requested_model=long, key_name=odd)
    assert told == decision | {"f": decision["f"] | {"key.name": "a\ufffdb"}}


@pytest.mark.django_db
def test_decisions_without_facts_and_of_earlier_rows_are_told_as_they_are() -> None:
    earlier = {"v": 1, "p": 0, "o": "chat", "m": "gpt-4o", "t": [[1, 1, 2.0]], "i": {"draw": 0.5}}
    assert decision_of(RouteHistory(id=UUID(bytes=ROUTE), routing_decision=earlier)) == earlier
    assert through_a_row(decision=earlier)[1] == earlier
    assert kept(samples.finished(ROUTE, decision=None)) == {}
