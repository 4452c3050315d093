"""Revisions in the console: what waits in sentences, publishing, comparing, rolling back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes import actions
from routes.models import ConfigRevision, Provider
from tests.admin.conftest import ADA, list_of, text

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site

LIST = list_of(ConfigRevision)


def test_what_waits_is_told_in_sentences_and_published_with_a_reason(admin: Client, site: Site) -> None:
    targets = [{"provider": "alpha", "weight": 70}, {"provider": "beta", "weight": 30}]
    actions.update_profile(site.default, {"targets": targets}, actor=ADA)
    page = text(admin.get(LIST))
    assert "Profile default: weight of alpha 50 → 70" in page
    assert "Profile default: target gamma removed" in page
    answer = admin.post(f"{LIST}publish/", {"message": "More to alpha"}, follow=True)
    newest = ConfigRevision.objects.first()
    assert newest is not None
    assert (newest.number, newest.message, newest.author) == (2, "More to alpha", "admin")
    assert "Published as revision 2" in text(answer)
    assert "Same as live" in text(answer)


def test_a_publish_that_is_refused_keeps_the_reason_that_was_typed(admin: Client, site: Site) -> None:
    actions.update_provider(site.alpha, {"name": "Other"}, actor=ADA)
    response = admin.post(f"{LIST}publish/", {"message": "y" * 2001})
    assert response.status_code == 400
    assert "message: at most 2000 characters" in text(response)
    assert "y" * 2001 in text(response)
    assert ConfigRevision.objects.count() == 1


def test_any_two_can_be_compared_also_with_the_draft(viewer: Client, site: Site) -> None:
    actions.update_provider(site.alpha, {"weight": 2}, actor=ADA)
    actions.publish(actor=ADA)
    actions.update_provider(site.alpha, {"weight": 3}, actor=ADA)
    assert "weight 1 → 2" in text(viewer.get(f"{LIST}compare/?from=1&to=2"))
    assert "weight 2 → 1" in text(viewer.get(f"{LIST}compare/?from=2&to=1"))
    assert "weight 1 → 3" in text(viewer.get(f"{LIST}compare/?from=1&to=draft"))
    assert "No difference" in text(viewer.get(f"{LIST}compare/?from=1&to=1"))
    assert viewer.get(f"{LIST}compare/?from=1&to=99").status_code == 404
    assert viewer.get(f"{LIST}compare/?from=x").status_code == 404


def test_rolling_back_is_a_new_revision_and_the_draft_follows(admin: Client, site: Site) -> None:
    actions.update_provider(site.alpha, {"weight": 2}, actor=ADA)
    actions.publish(actor=ADA)
    page = text(admin.get(f"{LIST}1/change/"))
    assert "weight 2 → 1" in page
    answer = admin.post(f"{LIST}1/rollback/", {"message": "Too slow"}, follow=True)
    newest = ConfigRevision.objects.first()
    assert newest is not None
    assert (newest.number, newest.rolled_back_to, newest.message) == (3, 1, "Too slow")
    assert Provider.objects.get(slug="alpha").weight == 1
    assert "Rolled back to revision 1" in text(answer)


def test_a_revision_says_what_it_changed_and_the_live_one_offers_no_way_back(admin: Client, site: Site) -> None:
    actions.update_provider(site.alpha, {"weight": 2}, actor=ADA)
    actions.publish(actor=ADA, message="Heavier")
    page = text(admin.get(f"{LIST}2/change/"))
    assert "Provider alpha: weight 1 → 2" in page
    assert "Heavier" in page
    assert "rollback/" not in page


def test_the_list_is_paged(viewer: Client, site: Site) -> None:
    for number in range(2, 55):
        ConfigRevision.objects.bulk_create(
            [
                ConfigRevision(
                    number=number, author="x", created_at=site.alpha.created_at, document_text="{}", compiled_zlib=b""
                )
            ]
        )
    first = viewer.get(LIST)
    assert [row.number for row in first.context["revisions"]] == list(range(54, 4, -1))
    second = viewer.get(f"{LIST}?before={first.context['older']}")
    assert [row.number for row in second.context["revisions"]] == [4, 3, 2, 1]
