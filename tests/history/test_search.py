"""Searching the history: filters, time ranges, cursors that stay put, and an end in bounded time."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import time_machine
from django.db import connections
from django.utils import timezone

from history import search as search_module
from history.errors import BadQuery, RangeTooLarge
from history.filters import from_parameters
from history.ids import session_id, time_of
from history.models import RouteHistory
from history.search import Cursor, Page, count, estimate, limit_of, search, time_limit
from history.timerange import TimeRange
from tests.history import rows, samples
from tests.history.rows import NOON, at, minutes

if TYPE_CHECKING:
    from history.records import Finished

pytestmark = pytest.mark.django_db(databases=["default", "pg"])
DAY = TimeRange(NOON - timedelta(hours=12), NOON + timedelta(hours=12))


def found(page: Page) -> list[UUID]:
    return [row.id for row in page.rows]


def matching(alias: str, **parameters: str) -> set[UUID]:
    return set(found(search(from_parameters(parameters), DAY, limit=1000, alias=alias)))


# -- filters -----------------------------------------------------------------------------------------------


def test_every_operator_finds_what_it_says(alias: str) -> None:
    records = {
        "plain": samples.finished(at(NOON, 1), latency_us=10_000),
        "other": samples.finished(at(NOON, 2), latency_us=90_000, profile="batch", requested_model="claude-x"),
        "failed": samples.failed(at(NOON, 3), provider="acme-us", requested_model="claude-y"),
        "session": samples.finished(at(NOON, 4), session_key="chat-7", degraded=True, route_type="session"),
        "saved": samples.failed(at(NOON, 5), status="routed", error_code=None, recovered=True, provider="acme-us"),
    }
    identifiers = dict(zip(records, rows.store(*records.values(), alias=alias), strict=True))

    def names(**parameters: str) -> set[str]:
        wanted = matching(alias, **parameters)
        return {name for name, identifier in identifiers.items() if identifier in wanted}

    session = session_id(samples.KEY, "chat-7")
    assert names() == set(records)
    assert names(profile="batch") == {"other"}
    assert names(profile__ne="batch") == {"plain", "failed", "session", "saved"}
    assert names(provider="acme-us") == {"failed", "saved"}
    assert names(provider__in="acme-us,nobody") == {"failed", "saved"}
    assert names(requested_model__startswith="claude-") == {"other", "failed"}
    assert names(requested_model__contains="ude-y") == {"failed"}
    assert names(status="failed") == {"failed"}
    assert names(status__in="failed,routed") == set(records)
    assert names(status__ne="routed") == {"failed"}
    assert names(error_code="connect_refused") == {"failed"}
    assert names(error_code__ne="connect_refused") == {"plain", "other", "session", "saved"}
    assert names(latency_ms__gt="50", profile="batch") == {"other"}
    assert names(latency_ms__lt="50") == {"plain"}
    assert names(recovered="true") == {"saved"}
    assert names(degraded="1") == {"session"}
    assert names(route_type="session") == {"session"}
    assert names(session="chat-7") == names(session_key="chat-7") == {"session"}
    assert names(session=str(session)) == names(session_id=str(session)) == {"session"}
    assert names(id=str(identifiers["saved"])) == {"saved"}
    assert names(attempt_count="2") == {"failed", "saved"}
    tree = {
        "any": [
            {"field": "profile", "op": "eq", "value": "batch"},
            {
                "all": [
                    {"field": "provider", "value": "acme-us"},
                    {"not": {"field": "status", "op": "in", "value": ["failed"]}},
                ]
            },
        ]
    }
    assert names(filter=json.dumps(tree)) == {"other", "saved"}


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"colour": "blue"}, "colour"),
        ({"profile__like": "x"}, "profile__like"),
        ({"latency_ms__contains": "1"}, "latency_ms__contains"),
        ({"latency_ms": "fast"}, "latency_ms"),
        ({"latency_ms": "9" * 30}, "latency_ms"),
        ({"status": "fine"}, "status"),
        ({"status__in": ""}, "status__in"),
        ({"provider__in": ""}, "provider__in"),
        ({"provider__in": "a,,b"}, "provider__in"),
        ({"provider__in": ",".join(["a"] * 101)}, "provider__in"),
        ({"message__contains": "x" * 2001}, "message__contains"),
        ({"id": "12"}, "id"),
        ({"recovered": "maybe"}, "recovered"),
        ({"profile": "a\x00b"}, "profile"),
        ({"filter": "{"}, "filter"),
        ({"filter": "[]"}, "filter"),
        ({"filter": '{"all": []}'}, "filter"),
        ({"filter": '{"field": "profile"}'}, "filter"),
        ({"filter": '{"field": "profile", "value": 3}'}, "filter"),
        ({"filter": '{"field": "profile", "value": "\\ud800"}'}, "filter"),
        ({"filter": '{"field": "profile", "op": "in", "value": []}'}, "filter"),
        ({"filter": '{"field": ["profile"], "op": {}, "value": "x"}'}, "filter"),
        ({"filter": '{"all": [], "any": []}'}, "filter"),
        ({"filter": "[" * 5000}, "filter"),
        ({"filter": '{"field": "profile", "op": "in", "value": "a,b"}'}, "filter"),
        ({"filter": '{"not": ' * 12 + '{"field": "profile", "value": "x"}' + "}" * 12}, "filter"),
        ({"filter": '{"all": [' + ",".join(['{"field": "profile", "value": "x"}'] * 51) + "]}"}, "filter"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(parameters: dict[str, str], field: str) -> None:
    with pytest.raises(BadQuery) as caught:
        from_parameters(parameters)
    assert caught.value.field == field


# -- time ---------------------------------------------------------------------------------------------------


def test_a_time_range_includes_its_start_and_not_its_end(alias: str) -> None:
    first, second, third = rows.store(*(samples.finished(at(NOON + minutes(n))) for n in range(3)), alias=alias)
    page = search(span=TimeRange(NOON, NOON + minutes(2)), alias=alias)
    assert found(page) == [second, first]
    just_after = TimeRange(NOON + timedelta(microseconds=1), None)
    assert found(search(span=just_after, alias=alias)) == [third, second]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2026-11-20T12:00:00Z", NOON),
        ("2026-11-20T12:00:00", NOON),
        ("2026-11-20T14:00:00+02:00", NOON),
        ("2026-11-20T14:00:00 02:00", NOON),  # a plus sign that nobody encoded
        ("2026-11-20", NOON - timedelta(hours=12)),
    ],
)
def test_times_are_read_as_people_write_them(start: str, expected: Any) -> None:
    assert TimeRange.parse(start, None).start == expected


@pytest.mark.parametrize("moment", ["0001-01-01", "9999-12-31T23:59:59.999Z", "1969-12-31T23:59:59Z"])
def test_times_that_no_row_can_have_are_the_nearest_that_one_can(alias: str, moment: str) -> None:
    rows.store(*records(1), alias=alias)
    everything = from_parameters({"requested_model": "gpt-4o"})
    after, before = (
        search(everything, TimeRange.parse(*bounds), alias=alias) for bounds in ((moment, None), (None, moment))
    )
    assert len(after.rows) == (not moment.startswith("9"))
    assert before.rows == []  # the last 24 hours before it


@pytest.mark.parametrize(("start", "end"), [("yesterday", None), ("2026-13-01", None), ("2026-11-20", "2026-11-19")])
def test_times_that_make_no_sense_are_refused(start: str, end: str | None) -> None:
    with pytest.raises(BadQuery):
        TimeRange.parse(start, end)


def test_without_an_index_the_last_24_hours_are_searched_and_with_one_everything(alias: str) -> None:
    old = samples.finished(at(NOON - timedelta(days=400)), requested_model="rare", session_key="s")
    (identifier,) = rows.store(old, alias=alias)
    assert found(search(alias=alias)) == [identifier]
    assert found(search(from_parameters({"profile": "default"}), alias=alias)) == [identifier]
    assert found(search(from_parameters({"requested_model": "rare"}), alias=alias)) == []
    wide = TimeRange(NOON - timedelta(days=500), None)
    assert found(search(from_parameters({"requested_model": "rare"}), wide, alias=alias)) == [identifier]


# -- pages --------------------------------------------------------------------------------------------------


def walk(alias: str, limit: int, **options: Any) -> list[list[UUID]]:
    pages, cursor = [], None
    while True:
        page = search(limit=limit, cursor=cursor, alias=alias, **options)
        pages.append(found(page))
        cursor = page.next
        if cursor is None:
            return pages


def records(number: int) -> list[Finished]:
    return [samples.finished(at(NOON, n), latency_us=(n * 37 % 5) * 1000) for n in range(number)]


@pytest.mark.parametrize("order", ["-created_at", "created_at", "-latency_ms", "latency_ms"])
def test_pages_together_are_the_whole_in_order_and_lead_back_again(alias: str, order: str) -> None:
    identifiers = rows.store(*records(23), alias=alias)
    everything = RouteHistory.objects.using(alias)
    sign = "-" if order.startswith("-") else ""
    keys = [f"{sign}latency_ms", f"{sign}id"] if "latency" in order else [f"{sign}id"]
    expected = list(everything.order_by(*keys).values_list("id", flat=True))
    options = {"order": order, "span": DAY}
    pages = walk(alias, 5, **options)
    assert [len(page) for page in pages] == [5, 5, 5, 5, 3]
    assert [identifier for page in pages for identifier in page] == expected
    assert set(expected) == set(identifiers)

    cursor, back = None, []
    page = search(limit=5, alias=alias, **options)
    while page.next:
        page = search(limit=5, cursor=page.next, alias=alias, **options)
    while True:
        back.append(found(page))
        cursor = page.previous
        if cursor is None:
            break
        page = search(limit=5, cursor=cursor, alias=alias, **options)
    assert [identifier for part in reversed(back) for identifier in part] == expected


def test_pages_stay_put_while_rows_arrive(alias: str) -> None:
    identifiers = rows.store(*records(12), alias=alias)
    first = search(limit=5, alias=alias)
    rows.store(*(samples.finished(at(NOON + minutes(1), n)) for n in range(7)), alias=alias)
    second = search(limit=5, cursor=first.next, alias=alias)
    third = search(limit=5, cursor=second.next, alias=alias)
    assert found(first) + found(second) + found(third) == identifiers[::-1]
    assert third.next is None
    # And the way back from the second page leads to the first as it was, with what is new before it.
    again = search(limit=5, cursor=second.previous, alias=alias)
    assert found(again) == found(first)
    assert again.previous is not None


@pytest.mark.parametrize("order", ["-created_at", "created_at"])
@pytest.mark.parametrize("limit", [1, 2, 50])
def test_a_value_is_found_however_long_ago_it_was_used_and_whatever_lies_between(
    alias: str, order: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SCAN_ROWS", 3)  # read in the key's order; all behind them in stretches of days
    ages = [0, 0, 0.5, 1, 1.5, 2, 3, 7, 20, 20, 33, 100, 100.5, 4000]
    moments = [NOON - timedelta(days=age) for age in ages]
    wanted = rows.store(*(samples.finished(at(m, 10 + n), profile="rare") for n, m in enumerate(moments)), alias=alias)
    rows.store(*(samples.finished(at(moment, 90 + n)) for n, moment in enumerate(moments)), alias=alias)
    expected = sorted(wanted, reverse=order.startswith("-"))
    filters = from_parameters({"profile": "rare"})
    pages = walk(alias, limit, filters=filters, order=order)
    assert [identifier for page in pages for identifier in page] == expected

    back, page = [], search(filters, order=order, limit=limit, alias=alias)
    while page.next:
        page = search(filters, order=order, limit=limit, cursor=page.next, alias=alias)
    while page.previous:
        page = search(filters, order=order, limit=limit, cursor=page.previous, alias=alias)
        back.append(found(page))
    assert [identifier for part in reversed(back) for identifier in part] == expected[: sum(map(len, back))]
    month = TimeRange(NOON - timedelta(days=20), NOON - timedelta(days=1))
    assert set(found(search(filters, month, order=order, alias=alias))) == set(wanted[4:10])
    assert found(search(from_parameters({"profile": "rare", "provider": "nobody"}), order=order, alias=alias)) == []


@pytest.mark.parametrize("edge", [UUID(int=0), UUID(int=2**128 - 1)])
@pytest.mark.parametrize("order", ["-created_at", "created_at"])
def test_a_cursor_from_the_end_of_time_is_one_like_any_other(alias: str, order: str, edge: UUID) -> None:
    stored = rows.store(*records(3), alias=alias)
    page = search(
        from_parameters({"profile": "default"}), order=order, cursor=Cursor(order, True, edge).encode(), alias=alias
    )
    assert set(found(page)) == (set(stored) if (edge.int == 0) == (order == "created_at") else set())


@pytest.mark.parametrize("cursor", ["x", "e30", "WzFd", "\u20ac", "W251bGxd"])
def test_a_damaged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadQuery, match="cursor"):
        search(cursor=cursor)


def test_a_cursor_of_another_order_is_refused(alias: str) -> None:
    rows.store(*records(3), alias=alias)
    page = search(limit=1, alias=alias)
    with pytest.raises(BadQuery, match="another order"):
        search(limit=1, order="created_at", cursor=page.next, alias=alias)


# -- bounded time ---------------------------------------------------------------------------------------------


def test_a_search_without_index_stops_in_time_says_how_far_it_got_and_goes_on_there(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = {0, 11, 12, 29}
    stored = rows.store(
        *(samples.finished(at(NOON, n), requested_model="rare" if n in rare else "usual") for n in range(30)),
        alias=alias,
    )
    expected = [stored[n] for n in sorted(rare, reverse=True)]
    filters = from_parameters({"requested_model": "rare"})
    monkeypatch.setattr(search_module, "SCAN_ROWS", 4)
    assert found(search(filters, DAY, alias=alias)) == expected
    monkeypatch.setattr(search_module, "SCAN_SECONDS", -1.0)  # out of time after one stretch
    collected, cursor, seen = [], None, []
    while True:
        page = search(filters, DAY, cursor=cursor, alias=alias)
        collected += found(page)
        seen.append(page.scanned_to)
        cursor = page.next
        if cursor is None:
            break
    assert collected == expected
    assert len(seen) > 5
    assert seen[0] == time_of(stored[29])
    assert seen[-1] is None


@pytest.mark.parametrize("order", ["-created_at", "created_at"])
def test_a_search_whose_indexes_narrow_too_little_goes_on_without_them(
    alias: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = rows.store(*(samples.finished(at(NOON + timedelta(days=n), n)) for n in range(9)), alias=alias)
    expected = sorted(stored, reverse=order.startswith("-"))
    filters = from_parameters({"profile": "default"})
    monkeypatch.setattr(search_module, "INDEX_SECONDS", 0)  # out of time after one stretch
    monkeypatch.setattr(search_module, "SCAN_ROWS", 2)
    page = search(filters, order=order, alias=alias)
    assert (found(page), page.scanned_to) == (expected, None)
    monkeypatch.setattr(search_module, "SCAN_SECONDS", -1.0)
    page = search(filters, order=order, alias=alias)
    assert 1 < len(found(page)) < 9
    assert found(page) == expected[: len(found(page))]
    assert page.scanned_to is not None
    assert [each for part in walk(alias, 50, filters=filters, order=order) for each in part] == expected


def test_a_statement_that_takes_too_long_is_stopped(alias: str) -> None:
    endless = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
        "postgresql": "SELECT pg_sleep(60)",
    }
    connection = connections[alias]
    with pytest.raises(RangeTooLarge), time_limit(alias, 0.1), connection.cursor() as cursor:
        cursor.execute(endless[connection.vendor])
    with connection.cursor() as cursor:  # and the connection is as it was
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_counts_count_what_the_search_finds(alias: str) -> None:
    rows.store(*records(7), samples.failed(at(NOON, 100)), alias=alias)
    assert count(from_parameters({}), DAY, alias) == 8
    assert count(from_parameters({"status": "failed"}), DAY, alias) == 1
    assert estimate(from_parameters({"status": "failed"}), DAY, alias) == 1
    assert estimate(from_parameters({}), TimeRange(), alias) is not None


# -- cursors ------------------------------------------------------------------------------------------------------


def test_a_range_of_24_hours_stays_the_one_that_the_walk_began_with(alias: str) -> None:
    now = timezone.now()
    old = samples.finished(at(now - timedelta(hours=24) + timedelta(seconds=60)))
    newer = samples.finished(at(now - timedelta(hours=1)))
    rows.store(old, newer, alias=alias)
    filters = from_parameters({"requested_model": "gpt-4o"})
    page = search(filters, limit=1, alias=alias)
    assert found(page) == [UUID(bytes=newer.id)]
    with time_machine.travel(now + timedelta(minutes=5), tick=False):
        assert found(search(filters, limit=1, cursor=page.next, alias=alias)) == [UUID(bytes=old.id)]
        assert found(search(filters, alias=alias)) == [UUID(bytes=newer.id)]


def test_a_page_that_found_nothing_leads_back_to_where_it_came_from(alias: str) -> None:
    identifiers = rows.store(*records(4), alias=alias)
    for order, forth in (("-created_at", identifiers[::-1]), ("created_at", identifiers)):
        first = search(span=DAY, order=order, limit=2, alias=alias)
        second = search(span=DAY, order=order, limit=2, cursor=first.next, alias=alias)
        RouteHistory.objects.using(alias).filter(id__in=forth[:2]).delete()
        gone = search(span=DAY, order=order, limit=2, cursor=second.previous, alias=alias)
        assert (found(gone), gone.previous) == ([], None)
        again = search(span=DAY, order=order, limit=2, cursor=gone.next, alias=alias)
        assert found(again) == forth[2:]
        RouteHistory.objects.using(alias).filter(id__in=forth[2:]).delete()
        behind = search(span=DAY, order=order, limit=2, cursor=first.next, alias=alias)
        assert (found(behind), behind.next) == ([], None)
        assert behind.previous is not None
        rows.store(*records(4), alias=alias)


def test_a_search_that_stops_early_on_the_way_back_goes_on_there(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rare = {0, 28}
    stored = rows.store(
        *(samples.finished(at(NOON, n), requested_model="rare" if n in rare else "usual") for n in range(30)),
        alias=alias,
    )
    filters = from_parameters({"requested_model": "rare"})
    last = search(filters, DAY, order="created_at", limit=1, alias=alias)
    cursor = search(filters, DAY, order="created_at", limit=1, cursor=last.next, alias=alias).previous
    assert cursor is not None
    monkeypatch.setattr(search_module, "SCAN_ROWS", 4)
    monkeypatch.setattr(search_module, "SCAN_SECONDS", -1.0)
    collected, stops = [], 0
    while cursor is not None:
        page = search(filters, DAY, order="created_at", limit=1, cursor=cursor, alias=alias)
        collected += found(page)
        stops += page.scanned_to is not None
        cursor = page.previous
    assert collected == [stored[0]]
    assert stops > 3


@pytest.mark.parametrize(
    "parts",
    [
        ["-created_at", 1, "0" * 32, 5, None],
        ["latency_ms", 1, "0" * 32, None, None],
        ["latency_ms", 1, "0" * 32, 1e400, None],
        ["latency_ms", 1, "0" * 32, 2**40, None],
        ["latency_ms", 1, "0" * 32, True, None],
        ["-created_at", 1, "0" * 32, None, 2**60],
        ["-created_at", 1, "0" * 32, None, -1],
        ["-created_at", 1, 7, None, None],
        [["-created_at"], 1, "0" * 32, None, None],
    ],
)
def test_a_cursor_that_was_never_ours_is_refused(parts: list[Any]) -> None:
    forged = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
    with pytest.raises(BadQuery, match="cursor"):
        search(cursor=forged)


@pytest.mark.parametrize("end", ["f" * 32, "0" * 32])
def test_a_cursor_at_the_end_of_all_ids_is_an_empty_page_that_leads_back(alias: str, end: str) -> None:
    rows.store(*records(2), alias=alias)
    for order in ("-created_at", "created_at"):
        for forward in (0, 1):
            text = json.dumps([order, forward, end, None, None])
            page = search(order=order, cursor=base64.urlsafe_b64encode(text.encode()).decode(), alias=alias)
            assert len(page.rows) in (0, 2)
            for cursor in (page.next, page.previous):
                if cursor is not None:
                    search(order=order, cursor=cursor, alias=alias)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1001", "00000000150000", "9" * 5000, "²"])
def test_a_page_has_at_most_so_many_rows_however_the_number_is_written(text: str) -> None:
    with pytest.raises(BadQuery):
        limit_of(text)
    assert limit_of("0050") == 50
