"""The Heads page: what it shows, to whom, and its two acts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from health.heads import liveness
from health.models import Head
from routes.models import AuditEntry
from tests.admin.conftest import admin, operator, page_of, text, viewer
from tests.admin.test_pages import INLINE
from tests.heads.conftest import committed, register, silence

if TYPE_CHECKING:
    from django.test import Client

    from routes.live import SharedLiveState

__all__ = ["admin", "operator", "viewer"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("provider")]

LIST = "/admin/health/head/"
OUTSIDE = "http://10.99.0.1:8000/v1"


def test_the_list_says_how_each_head_is(viewer: Client, host: SharedLiveState) -> None:
    one = register("one", capacity=64, region="eu")
    liveness.hear(str(one.provider_id), "one", 12, True)
    register("two", endpoint=OUTSIDE)
    silence(host, register("gone"))
    page = text(viewer.get(LIST))
    rows = {name: page.partition(f">{name}</a>")[2].partition("</tr>")[0] for name in ("one", "two", "gone")}
    assert "Draining" in rows["one"]
    assert "12 of 64" in rows["one"]
    assert "Waiting" in rows["two"]
    assert OUTSIDE in rows["two"]
    assert "Offline" in rows["gone"]
    assert "approve/" not in page
    assert "Remove" not in page.partition("<tbody>")[2]
    assert 'href="/admin/health/head/"' in page.partition("<main")[0]  # in the rail


def test_it_can_be_narrowed_down_and_pages_go_on(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from health.admin import heads

    monkeypatch.setattr(heads, "PAGE", 2)
    for name in ("a", "b", "c"):
        register(name, endpoint=OUTSIDE)
    register("d")
    assert [f">{name}</a>" in text(viewer.get(f"{LIST}?approved=yes")) for name in "abcd"] == [False] * 3 + [True]
    first = text(viewer.get(f"{LIST}?approved=no"))
    assert [f">{name}</a>" in first for name in "abcd"] == [True, True, False, False]
    assert "?approved=no&amp;after=b" in first
    following = text(viewer.get(f"{LIST}?approved=no&after=b"))
    assert [f">{name}</a>" in following for name in "abcd"] == [False, False, True, False]
    assert "Nothing matches" in text(viewer.get(f"{LIST}?provider=nobody%00"))


def test_a_head_shows_what_it_said_and_text_stays_text(viewer: Client) -> None:
    row = register("one", capacity=100, version="<b>1</b>", metadata={"note": "<script>alert(1)</script>"})
    for load in (40, 50):
        liveness.hear(str(row.provider_id), "one", load, False)
    page = text(viewer.get(page_of(row)))
    assert page.index("50 %") < page.index("40 %")
    assert "inside the head networks" in page
    assert "<script>alert" not in page
    assert "<b>1</b>" not in page


def test_an_operator_approves_and_removes(operator: Client) -> None:
    row = register("one", endpoint=OUTSIDE)
    with committed():
        answer = operator.post(page_of(row, "approve"), {"next": "list"})
    assert (answer.status_code, answer["Location"]) == (302, LIST)
    assert Head.objects.get().approved_by == "operator"
    assert "approved" in text(operator.get(page_of(row)))
    assert "Remove head one" in text(operator.get(page_of(row, "delete")))
    assert Head.objects.count() == 1
    with committed():
        assert operator.post(page_of(row, "delete"))["Location"] == LIST
    assert Head.objects.count() == 0
    acts = AuditEntry.objects.filter(category="head").exclude(action="head.registered").order_by("id")
    assert [(entry.action, entry.actor_name) for entry in acts] == [
        ("head.approved", "operator"),
        ("head.deregistered", "operator"),
    ]


def test_a_viewer_acts_on_nothing(viewer: Client) -> None:
    row = register("one", endpoint=OUTSIDE)
    assert viewer.post(page_of(row, "approve")).status_code == 403
    assert viewer.post(page_of(row, "delete")).status_code == 403
    assert not Head.objects.get().approved


def test_pages_need_few_queries_however_many_heads_there_are_and_hold_nothing_inline(admin: Client) -> None:
    row = register("head-0", endpoint=OUTSIDE)
    addresses = [LIST, page_of(row), page_of(row, "delete")]

    def queries() -> list[int]:
        counts = []
        for address in addresses:
            admin.get(address)
            with CaptureQueriesContext(connection) as captured:
                page = admin.get(address)
            assert page.status_code == 200
            assert INLINE.findall(text(page)) == []
            counts.append(len(captured))
        return counts

    before = queries()
    for number in range(1, 30):
        register(f"head-{number}")
    assert queries() == before
    assert max(before) <= 15


def test_nobody_adds_a_head_by_hand(admin: Client) -> None:
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.get(f"{LIST}5a2f8f8e-0000-4000-8000-000000000000/change/").status_code == 404


def test_without_heads_the_page_says_how_one_comes(viewer: Client) -> None:
    assert "POST /api/v1/heads/" in text(viewer.get(LIST))
