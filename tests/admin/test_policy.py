"""The routing policy in the console: one form, draft until published, and what it does to strategies is said there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes import actions, draft
from routes.models import ConfigRevision, Policy
from tests.admin.conftest import ADA, filled, page_of, text

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site

PAGE = "/admin/routes/policy/"


def test_every_field_of_the_policy_is_stored_as_typed_and_published(admin: Client, site: Site) -> None:
    data = filled(
        admin.get(PAGE),
        default_strategy="least_cost",
        enable_predictive=None,
        region_priority="eu-west, us-east",
        prediction_window="7.5",
        load_growth_factor="1.3",
        capacity_threshold="70",
        _publish="",
        **{"geo-place": ["de", "*", ""], "geo-region": ["eu-west", "us-east", ""]},
    )
    response = admin.post(PAGE, data)
    assert response.status_code == 302, response.context["form"].errors
    tree = draft.policy_tree(Policy.get())
    assert tree == {
        "default_strategy": "least_cost",
        "enable_geo_routing": True,
        "enable_load_balancing": True,
        "enable_model_specific": True,
        "enable_predictive": False,
        "enable_adaptive": True,
        "region_priority": ["eu-west", "us-east"],
        "prediction_window": 7.5,
        "load_growth_factor": 1.3,
        "capacity_threshold": 70,
        "geo": {"*": "us-east", "DE": "eu-west"},
    }
    newest = ConfigRevision.objects.first()
    assert newest is not None
    assert newest.document["policy"] == tree


def test_saving_the_policy_as_it_was_shown_changes_nothing(admin: Client, site: Site) -> None:
    actions.update_policy({"geo": {"DE": "eu"}, "region_priority": ["eu"]}, actor=ADA)
    before = Policy.get().version
    assert admin.post(PAGE, filled(admin.get(PAGE))).status_code == 302
    assert Policy.get().version == before


def test_what_the_policy_refuses_stands_at_its_field(admin: Client, site: Site) -> None:
    response = admin.post(PAGE, filled(admin.get(PAGE), capacity_threshold="101", **{"geo-place": ["Germany"]}))
    assert response.status_code == 200
    assert "Nothing was saved" in text(response)
    assert "capacity_threshold" in response.context["form"].errors


def test_a_stale_save_of_the_policy_is_a_conflict(admin: Client, site: Site) -> None:
    mine = filled(admin.get(PAGE), prediction_window="5")
    actions.update_policy({"default_strategy": "random"}, actor=ADA)
    response = admin.post(PAGE, mine)
    assert response.status_code == 409
    assert "ada saved it" in text(response)
    shown = {item.label: (item.theirs, item.mine) for item in response.context["differences"]}
    assert shown == {"default_strategy": ("random", "failover"), "prediction_window": ("15", "5")}


def test_a_strategy_that_the_policy_switched_off_says_what_ranks_instead(viewer: Client, site: Site) -> None:
    assert "Switched off in the routing policy" not in text(viewer.get(page_of(site.default)))
    actions.update_policy({"enable_load_balancing": False, "default_strategy": "least_cost"}, actor=ADA)
    page = viewer.get(page_of(site.default))
    assert "Switched off in the routing policy; Least cost ranks instead." in text(page)
    assert "The policy switched weighted off: least_cost ranks instead." in page.context["shares"].note


def test_a_new_profile_begins_with_the_default_strategy(admin: Client, site: Site) -> None:
    actions.update_policy({"default_strategy": "peak_ewma"}, actor=ADA)
    assert admin.get("/admin/routes/profile/add/").context["form"]["strategy"].value() == "peak_ewma"
