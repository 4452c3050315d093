"""Revisions over REST: publish, read, compare, roll back."""

from __future__ import annotations

import pytest

from routes import actions
from routes.models import ConfigRevision, Profile
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import document, provider

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Api:
    actions.import_configuration(document(), actor=actor("admin"), publish_now=True, message="first")
    return Api("admin")


def test_publishing_answers_the_new_revision(api: Api) -> None:
    answer = api.post("revisions/", {"message": "second"})
    assert answer.status == 201
    assert answer.body == {
        "number": 2,
        "author": "key with admin",
        "message": "second",
        "created_at": answer.body["created_at"],
        "rolled_back_to": None,
        "findings": [],
    }
    assert api.post("revisions/").body["number"] == 3, "the body may be left out"
    assert [row["number"] for row in api.get("revisions/").body["results"]] == [3, 2, 1]


def test_one_revision_has_its_document_without_secrets(api: Api) -> None:
    answer = api.get("revisions/1/")
    assert [entry["slug"] for entry in answer.body["document"]["providers"]] == ["alpha", "beta"]
    assert "access_keys" not in answer.body["document"]
    assert all("credential" not in entry for entry in answer.body["document"]["providers"])


@pytest.mark.parametrize("body", [{"message": 3}, {"massage": "x"}, {"message": "x" * 3000}])
def test_a_publish_that_says_nonsense_publishes_nothing(api: Api, body: object) -> None:
    assert api.post("revisions/", body).status == 400
    assert ConfigRevision.objects.count() == 1


def test_an_invalid_draft_is_400_with_the_path_and_the_live_one_stays(api: Api) -> None:
    Profile.objects.filter(slug="default").update(strategy="from_the_future")
    answer = api.post("revisions/", {})
    assert answer.status == 400
    assert set(answer.error["fields"]) == {"profiles[0].strategy"}
    assert ConfigRevision.objects.count() == 1
    assert api.get("profiles/default/").status == 200, "what is invalid can still be read"
    assert api.patch("profiles/default/", {"strategy": "weighted"}).status == 200


def test_a_diff_is_against_the_draft_or_another_revision(api: Api) -> None:
    api.patch("providers/alpha/", {"weight": 5})
    answer = api.get("revisions/1/diff/")
    assert (answer.body["from"], answer.body["to"]) == (1, "draft")
    assert answer.body["changes"] == [
        {"path": "providers[alpha].weight", "sentence": "provider alpha: weight 1 → 5", "before": 1, "after": 5}
    ]
    api.post("revisions/", {})
    assert api.get("revisions/2/diff/?against=1").body["changes"][0]["sentence"] == "provider alpha: weight 5 → 1"
    assert api.get("revisions/2/diff/?against=draft").body["changes"] == []
    for wrong in ("against=9", "against=live", "against=", "against=%00"):
        assert api.get(f"revisions/1/diff/?{wrong}").status == 404


def test_a_rollback_is_a_new_revision(api: Api) -> None:
    api.post("providers/", provider("gamma"))
    api.post("revisions/", {})
    answer = api.post("revisions/1/rollback/", {"message": "gamma was wrong"})
    assert answer.status == 201
    assert (answer.body["number"], answer.body["rolled_back_to"], answer.body["message"]) == (3, 1, "gamma was wrong")
    assert api.get("providers/gamma/").status == 404
    assert api.post("revisions/9/rollback/", {}).status == 404
    assert api.post(f"revisions/{10**30}/rollback/", {}).status == 404


def test_revisions_are_not_changed_or_deleted_over_the_api(api: Api) -> None:
    assert api.patch("revisions/1/", {"message": "x"}).status == 405
    assert api.delete("revisions/1/").status == 405
