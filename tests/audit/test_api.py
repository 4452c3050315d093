"""``GET /api/v1/audit/``: everything an entry has, filtered, in order, page by page, for whoever may read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connections
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from routes.actions import Actor
from routes.audit.chain import hash_of
from routes.models import AuditEntry
from tests.audit.conftest import write
from tests.control.api import Api

DAY = datetime(2026, 11, 20, tzinfo=UTC)
BOB = Actor("key", "bob's key", "k-1", frozenset(), "2001:db8::1", "req-2")
pytestmark = [pytest.mark.django_db(databases=["default", "pg"]), pytest.mark.usefixtures("both_databases")]


@pytest.fixture
def api(both_databases: None) -> Api:
    """Four entries, an hour apart, after the one that made the key."""
    client = Api("read")
    write("alpha")
    write("beta", "head.registered", BOB, category="head", changes={"endpoint": [None, "http://10.0.0.1"]})
    write("alpha", "provider.deleted", BOB, reason="not needed")
    write("alpha", "history.exported", Actor.system("tests"), category="export", object_id="")
    for pk in range(1, 6):
        _all().filter(pk=pk).update(at=DAY + timedelta(hours=pk))  # times matter here, not the chain
    return client


def _all() -> QuerySet[AuditEntry]:
    """The rows, without what keeps our own code from changing them."""
    return QuerySet(AuditEntry)


def ids(answer: Any) -> list[int]:
    assert answer.status == 200, answer.body
    return [entry["id"] for entry in answer.body["results"]]


def test_an_entry_has_all_its_fields_and_its_hash_is_that_of_the_object(api: Api) -> None:
    write("gamma", "head.registered", BOB, category="head", changes={"endpoint": [None, "x"]}, reason="why")
    entry = api.get("audit/6/").body
    assert entry["hash"] == hash_of(entry)
    assert entry["previous"] == AuditEntry.objects.get(pk=5).hash
    assert {name: entry[name] for name in entry if name not in {"at", "hash", "previous"}} == {
        "id": 6,
        "category": "head",
        "action": "head.registered",
        "object_type": "head",
        "object_id": "id of gamma",
        "object_name": "gamma",
        "actor_kind": "key",
        "actor_id": "k-1",
        "actor_name": "bob's key",
        "client_ip": "2001:db8::1",
        "request_id": "req-2",
        "reason": "why",
        "changes": {"endpoint": [None, "x"]},
    }
    assert api.get("audit/?limit=1").body["results"] == [entry]


def test_lists_are_newest_first_or_oldest_first(api: Api) -> None:
    assert ids(api.get("audit/")) == ids(api.get("audit")) == [5, 4, 3, 2, 1]
    assert ids(api.get("audit/?order=at")) == [1, 2, 3, 4, 5]
    assert api.get("audit/?order=id").error["fields"] == {"order": ["must be one of -at, at"]}


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("category=head", [3]),
        ("category__in=head,export", [5, 3]),
        ("action=provider.updated", [2]),
        ("object_type=provider", [4, 2]),
        ("object_id=id%20of%20alpha", [4, 2]),
        ("object_name=alpha", [5, 4, 2]),
        ("object_name=alpha&actor_kind=key", [4]),
        ("actor_kind=system", [5]),
        ("actor_id=k-1", [4, 3]),
        ("actor_name=bob%27s%20key", [4, 3]),
        ("actor_name__in=ada,tests", [5, 2, 1]),
        ("client_ip=2001:DB8:0::1", [4, 3]),
        ("client_ip=192.0.2.7", [2]),
        ("client_ip=::ffff:192.0.2.7", [2]),
        ("client_ip__in=::ffff:c000:0207,192.0.2.8", [2]),
        ("request_id=req-2", [4, 3]),
        ("from=2026-11-20T02:00:00Z", [5, 4, 3, 2]),
        ("to=2026-11-20T02:00:00Z", [1]),
        ("from=2026-11-20T04:00:00%2B02:00&to=2026-11-20T04:00:00", [3, 2]),
        ("from=2026-11-20&to=2026-11-21", [5, 4, 3, 2, 1]),
        ("object_name=nobody", []),
    ],
)
def test_filters_find_what_they_say(api: Api, question: str, found: list[int]) -> None:
    assert ids(api.get(f"audit/?{question}")) == found


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ("category=other", "category"),
        ("category__in=head,other", "category__in"),
        ("actor_kind=", "actor_kind"),
        ("client_ip=here", "client_ip"),
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("object_name=%00", "object_name"),
        ("object_name__in=" + ",".join("x" * 60), "object_name__in"),
        ("object_name__contains=a", "object_name__contains"),
        ("hash=x", "hash"),
        ("actor=ada", "actor"),
        ("action=a&action=b", "action"),
        ("limit=0", "limit"),
        ("count=maybe", "count"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(api: Api, question: str, field: str) -> None:
    answer = api.get(f"audit/?{question}")
    assert answer.status == 400
    assert list(answer.error["fields"]) == [field]


def test_pages_follow_each_other_and_lead_back(api: Api) -> None:
    first = api.get("audit/?limit=2&count=exact")
    assert (ids(first), first.body["previous"], first.body["count"]) == ([5, 4], None, 5)
    second = api.get(_path(first.body["next"]))
    third = api.get(_path(second.body["next"]))
    assert (ids(second), ids(third), third.body["next"]) == ([3, 2], [1], None)
    assert ids(api.get(_path(second.body["previous"]))) == [5, 4]
    assert api.get("audit/?cursor=nonsense").status == 404


def test_an_estimate_of_all_entries_counts_none(api: Api) -> None:
    with CaptureQueriesContext(connections["default"]) as captured:
        for order in ("-at", "at"):
            assert api.get(f"audit/?count=estimate&limit=1&order={order}").body["count"] == 5
    asked = [query["sql"] for query in captured if "routes_auditentry" in query["sql"]]
    assert asked
    assert not any("COUNT(" in sql for sql in asked)
    assert api.get("audit/?count=estimate&category=head").body["count"] == 1


def _path(link: str) -> str:
    parts = urlsplit(link)
    assert "cursor" in parse_qs(parts.query)
    return f"audit/?{parts.query}"


def test_entries_of_one_moment_are_all_there_page_by_page(api: Api) -> None:
    _all().update(at=DAY)
    found, path = [], "audit/?limit=2"
    while True:
        answer = api.get(path)
        found += ids(answer)
        if answer.body["next"] is None:
            break
        path = _path(answer.body["next"])
    assert found == [5, 4, 3, 2, 1]


def test_what_is_not_there_is_404(api: Api) -> None:
    assert api.get("audit/99").status == api.get(f"audit/{'9' * 40}/").status == 404


def test_reading_needs_read_and_there_is_nothing_to_write(api: Api) -> None:
    assert Api().get("audit/").status == 401
    route = Api("route")
    assert route.get("audit/").status == route.get("audit/1/").status == 403
    before = AuditEntry.objects.count()
    admin = Api("admin")
    for path in ("audit/", "audit/1/"):
        for method in ("post", "patch", "delete", "put"):
            assert admin.call(method, path, {}).status == 405
    assert AuditEntry.objects.count() == before + 1, "the key"
