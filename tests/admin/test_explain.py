"""The explain page without scripts: asked by form or by link, by everybody who may read, and what it shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from routes import actions
from tests.admin.conftest import ADA, Site, page_of, person, text
from tests.control.samples import provider
from tests.control.test_explain_recorded import Gateway

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Response

pytestmark = pytest.mark.django_db

PAGE = "/admin/explain/"
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "say please"}]}
PLEASE = {"fact": "user_text", "op": "contains", "value": "please"}
RULES: list[dict[str, Any]] = [
    {
        "name": "please",
        "when": {"all": [PLEASE, {"fact": "stream", "op": "is", "value": False}]},
        "targets": [{"provider": "gamma"}],
    }
]


def ask(client: Client, **fields: Any) -> Response:
    data = {"path": "/v1/chat/completions", "body": json.dumps(BODY), "draws": 100, "revision": "live", **fields}
    return client.post(PAGE, {name: value for name, value in data.items() if value is not None})


def test_every_role_may_use_it_and_nobody_else(site: Site, admin: Client, operator: Client, viewer: Client) -> None:
    for client in (admin, operator, viewer):
        assert client.get(PAGE).status_code == 200
        assert ask(client).status_code == 200
        assert 'href="/admin/explain/"' in text(client.get("/admin/"))
    nobody = person(None)
    assert nobody.get(PAGE).status_code == 403
    assert Client().get(PAGE).status_code == 302
    guarded = Client(enforce_csrf_checks=True)
    guarded.force_login(viewer.get(PAGE).wsgi_request.user)
    assert guarded.post(PAGE, {"body": "{}"}).status_code == 403


def test_a_pasted_request_is_explained_with_shares_stages_targets_and_conditions(site: Site, viewer: Client) -> None:
    actions.update_profile(site.default, {"rules": RULES}, actor=ADA)
    response = ask(viewer, revision="draft", headers="x-route-region: eu-west\n\n")
    page = text(response)
    assert response.status_code == 200
    for words in ("Decided by the draft.", "Rule “please” matched", "Stage by stage", "no traffic", "Admission"):
        assert words in page
    assert 'user_text</code> <span class="quiet">contains' in page
    told = response.context["told"]
    assert response.context["lines"][0].name == "gamma / gamma-4o"
    assert told["facts"]["region"] == "eu-west"


def test_what_is_imagined_stays_chosen_and_changes_the_answer(site: Site, viewer: Client) -> None:
    response = ask(viewer, **{"trouble-alpha": "down", "trouble-beta": "429", "at": "2026-11-20T22:30"})
    page = text(response)
    assert "As if alpha were down." in page
    assert "As if it were 2026-11-20 22:30:00+00:00." in page
    assert response.context["lines"][0].name.startswith("gamma")
    assert '<details class="card" open>' in page
    assert response.context["form"]["trouble-alpha"].value() == "down"


def test_an_access_key_and_a_profile_may_be_chosen(site: Site, viewer: Client) -> None:
    told = ask(viewer, key="app", profile="spare").context["told"]
    assert (told["profile"], told["request"]["key"]) == ("spare", "app")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"body": "{nonsense"}, "body"),
    ({"body": ""}, "body"),
    ({"body": '{"model": 3}'}, "body"),
    ({"path": "/nowhere"}, "path"),
    ({"headers": "no colon"}, "headers"),
    ({"headers": "x-route-strategy: magic"}, "headers"),
    ({"revision": "77"}, "revision"),
    ({"draws": 0}, "draws"),
    ({"draws": ""}, "draws"),
    ({"id": "7"}, "id"),
    ({"id": "01890a5d-ac96-774b-bcce-b302099a8057"}, "id"),
    ({"key": "nobody"}, "key"),
    ({"at": "tomorrow"}, "at"),
    ({"trouble-alpha": "gone"}, "trouble-alpha"),
]


def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(site: Site, viewer: Client) -> None:
    for fields, field in WRONG:
        response = ask(viewer, **fields)
        assert response.status_code == 400, fields
        assert response.context["form"].errors.get(field), (fields, response.context["form"].errors)
        assert response.context["told"] is None
        assert "This could not be explained." in text(response)
        assert ("body" in fields) or "say please" in text(response)


def test_a_provider_of_the_draft_that_is_not_live_yet_is_named_above_the_form(site: Site, viewer: Client) -> None:
    actions.create_provider(provider("delta"), actor=ADA)
    response = ask(viewer, **{"trouble-delta": "down"})
    assert response.status_code == 400
    assert "delta: there is no such provider in this revision" in text(response)


def test_a_recorded_request_is_explained_by_link_from_its_page_and_compared(site: Site, viewer: Client) -> None:
    actions.update_profile(site.default, {"rules": RULES, "affinity": {"enabled": True}}, actor=ADA)
    actions.publish(actor=ADA)
    route, _ = Gateway().decide(text="say please", session="s1")
    page = text(viewer.get(f"/admin/history/routehistory/{route}/change/"))
    link = f"/admin/explain/?id={route}&amp;revision=live"
    assert link in page
    assert "What each rule found" in page
    assert "Matched" in page
    assert "say please" not in page
    response = viewer.get(link.replace("&amp;", "&"))
    assert response.status_code == 200
    assert "As recorded" in text(response)
    actions.update_profile(site.default, {"rules": [], "targets": [{"provider": "beta"}]}, actor=ADA)
    page = text(viewer.get(f"{PAGE}?id={route}&revision=draft"))
    assert "Another choice than recorded" in page
    assert "Recorded: gamma / gamma-4o, by revision 2." in page


def test_a_profile_page_leads_to_it_with_its_draft(site: Site, viewer: Client) -> None:
    page = text(viewer.get(page_of(site.default)))
    assert "/admin/explain/?profile=default&amp;revision=draft" in page
    form = viewer.get(f"{PAGE}?profile=spare&revision=draft").context["form"]
    assert (form["profile"].value(), form["revision"].value()) == ("spare", "draft")


def test_it_costs_few_queries_however_much_is_configured(
    site: Site, viewer: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(5):
        actions.create_provider(provider(f"more-{number}"), actor=ADA)
    viewer.get(PAGE)
    with django_assert_max_num_queries(15):
        viewer.get(PAGE)
    with django_assert_max_num_queries(20):
        assert ask(viewer).status_code == 200


def test_text_of_requests_and_rules_stays_text(site: Site, viewer: Client) -> None:
    evil = "<script>alert(1)</script>"
    rules = [
        {"name": f"r {evil}", "when": {"fact": "model", "op": "eq", "value": evil}, "targets": [{"provider": "gamma"}]}
    ]
    actions.update_profile(site.default, {"rules": rules}, actor=ADA)
    response = ask(viewer, revision="draft", body=json.dumps({**BODY, "model": evil}), headers=f"x-evil: {evil}")
    assert evil not in text(response)
    assert "&lt;script&gt;" in text(response)
