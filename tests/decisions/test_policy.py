"""Every field of the routing policy: changed over REST, published as a revision, and what decisions make of it.

Loads are fed to the live state as heads report them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from history.render import detail
from routes.models import ConfigRevision
from tests import mmdb
from tests.control import samples
from tests.control.api import Api
from tests.gateway.conftest import start_gateways
from tests.simulators import simulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.decisions.conftest import Desk
    from tests.gateways import Gateways
    from tests.simulators import Simulator

__all__ = ["simulator", "start_gateways"]

pytestmark = pytest.mark.django_db(transaction=True)

EAST, WEST = samples.provider("alpha", region="us-east"), samples.provider("beta", region="eu-west")


@pytest.fixture
def api(desk: Desk) -> Api:
    return Api("admin")


def change(api: Api, **fields: Any) -> int:
    """Change the policy against what was read, and publish it; the number of the revision."""
    read = api.get("policy/")
    changed = api.patch("policy/", fields, if_match=read.headers["ETag"])
    assert changed.status == 200, changed.body
    assert {name: changed.body[name] for name in fields} == fields
    assert changed.headers["ETag"] != read.headers["ETag"]
    published = api.post("revisions/", {"message": "policy"})
    assert published.status == 201, published.body
    number: int = published.body["number"]
    assert api.get(f"revisions/{number}/").status == 200
    return number


def places(decision: dict[str, Any]) -> list[str]:
    return [line["provider"] for line in decision["ranking"]]


def loads(desk: Desk, **reported: float) -> None:
    """What heads say of their load, now, by provider."""
    ranking = {line["provider"]: line["target"] for line in desk.decide()["ranking"]}
    for slug, load in reported.items():
        desk.live.report_load(ranking[slug], load, desk.clock.now)


def test_what_was_changed_acts_when_it_is_published_and_goes_back_with_a_rollback(desk: Desk, api: Api) -> None:
    desk.publish(strategy="round_robin")
    assert api.patch("policy/", {"enable_load_balancing": False}).status == 200
    before = desk.decide()
    assert (before["strategy_used"], before["revision"]) == ("round_robin", 1)

    assert api.post("revisions/", {}).body["number"] == 2

    after = desk.decide()
    assert (after["strategy_used"], after["revision"]) == ("failover", 2)
    (changed,) = api.get("revisions/1/diff/?against=2").body["changes"]
    assert (changed["path"], changed["before"], changed["after"]) == ("policy.enable_load_balancing", True, False)
    assert api.post("revisions/1/rollback/").status == 201
    back = desk.decide()
    assert (back["strategy_used"], back["revision"]) == ("round_robin", 3)


def test_a_stale_change_of_the_policy_is_refused_and_changes_nothing(desk: Desk, api: Api) -> None:
    desk.publish()
    stale = api.get("policy/").headers["ETag"]
    assert api.patch("policy/", {"default_strategy": "random"}, if_match=stale).status == 200

    refused = api.patch("policy/", {"default_strategy": "weighted"}, if_match=stale)

    assert refused.status == 412
    assert api.get("policy/").body["default_strategy"] == "random"


def test_default_strategy_decides_where_no_profile_is_named_and_is_a_new_profiles(desk: Desk, api: Api) -> None:
    desk.publish()
    assert desk.decide(profile=None)["strategy_used"] == "failover"

    number = change(api, default_strategy="least_used")

    decision = desk.decide(profile=None)
    assert (decision["strategy_used"], decision["revision"]) == ("least_used", number)
    assert api.post("profiles/", samples.profile("new", "alpha")).body["strategy"] == "least_used"


FAMILIES = {
    "enable_load_balancing": ("peak_ewma", {}),
    "enable_geo_routing": ("geo_preferred", {"region": "eu-west"}),
    "enable_model_specific": ("model_specific", {"requirements": {"version": "2"}}),
    "enable_predictive": ("predictive", {}),
    "enable_adaptive": ("adaptive", {"region": "eu-west"}),
}


@pytest.mark.parametrize("field", FAMILIES)
def test_a_family_that_is_switched_off_is_replaced_by_the_default_strategy_and_the_record_says_so(
    desk: Desk, api: Api, field: str
) -> None:
    strategy, wanted = FAMILIES[field]
    desk.publish(EAST, WEST, strategy=strategy)
    assert desk.decide(**wanted)["strategy_used"] == strategy

    number = change(api, **{field: False, "default_strategy": "single"})

    decision = desk.decide(**wanted)
    assert (decision["strategy_used"], decision["revision"]) == ("single", number)
    assert decision["provider"] == "alpha"
    record = detail(desk.row(decision["id"]))["routing_decision"]
    assert (record["strategy"], record["replaced_strategy"]) == ("single", strategy)
    assert desk.decide(strategy=strategy)["strategy_used"] == "single"  # asked for, too

    change(api, **{field: True})

    assert desk.decide(**wanted)["strategy_used"] == strategy


def test_a_default_strategy_that_is_itself_switched_off_gives_way_to_failover(desk: Desk, api: Api) -> None:
    desk.publish(EAST, WEST, strategy="weighted")

    change(api, enable_load_balancing=False, default_strategy="round_robin")

    assert [desk.decide()["strategy_used"] for _ in range(2)] == ["failover"] * 2


def test_geo_routing_that_is_switched_off_no_longer_looks_at_regions(desk: Desk, api: Api) -> None:
    desk.publish(EAST, WEST, strategy="geo_preferred")
    assert desk.decide(region="eu-west")["provider"] == "beta"

    change(api, enable_geo_routing=False)

    assert desk.decide(region="eu-west")["provider"] == "alpha"


def test_region_priority_is_the_order_of_regions_for_requests_that_have_none(desk: Desk, api: Api) -> None:
    desk.publish(EAST, WEST, strategy="geo_preferred")
    assert places(desk.decide()) == ["alpha", "beta"]

    change(api, region_priority=["eu-west", "us-east"])

    assert places(desk.decide()) == ["beta", "alpha"]
    assert places(desk.decide(region="us-east")) == ["alpha", "beta"]


def test_prediction_window_is_how_far_back_reports_of_load_count(desk: Desk, api: Api) -> None:
    desk.publish(*(samples.provider(slug, capacity=100) for slug in ("alpha", "beta")), strategy="predictive")
    loads(desk, alpha=90)
    desk.clock.now += 5 * 60
    loads(desk, alpha=10, beta=20)
    assert places(desk.decide()) == ["beta", "alpha"]  # 15 minutes: 55 and 22 %

    change(api, prediction_window=4)

    assert places(desk.decide()) == ["alpha", "beta"]  # the last alone: 11 and 22 %


def test_load_growth_factor_is_how_much_loads_are_expected_to_grow(desk: Desk, api: Api) -> None:
    desk.publish(*(samples.provider(slug, capacity=100) for slug in ("alpha", "beta")), strategy="predictive")
    loads(desk, alpha=30, beta=10)
    desk.clock.now += 60
    loads(desk, alpha=30, beta=36)
    assert places(desk.decide()) == ["alpha", "beta"]  # 33 %, and as it is 36 %

    change(api, load_growth_factor=2)

    assert places(desk.decide()) == ["beta", "alpha"]  # 60 and 46 %


def test_capacity_threshold_is_the_load_above_which_nothing_more_is_taken(desk: Desk, api: Api) -> None:
    desk.publish(*({**each, "capacity": 10} for each in (EAST, WEST)), strategy="hybrid")
    loads(desk, alpha=1, beta=5)
    assert desk.decide(region="eu-west")["provider"] == "beta"  # half full

    change(api, capacity_threshold=40)

    assert desk.decide(region="eu-west")["provider"] == "alpha"


@pytest.mark.thorough
def test_geo_says_which_region_a_clients_country_is(
    desk: Desk, api: Api, start_gateways: Callable[..., Gateways], simulator: Simulator, tmp_path: Path
) -> None:
    """Only gateways see addresses of clients: one runs the revisions as the API published them."""
    database = tmp_path / "countries.mmdb"
    mmdb.write(database, {"192.0.2.0/24": {"country": {"iso_code": "DE"}, "continent": {"code": "EU"}}})
    desk.publish(
        *({**each, "base_url": simulator.add(each["slug"]).base_url, "network": "loopback"} for each in (EAST, WEST)),
        strategy="geo_preferred",
    )
    gateway = start_gateways(SIGNALBOX_GEOIP_DB=str(database), SIGNALBOX_TRUSTED_PROXIES="127.0.0.0/8")

    def answered_by(number: int) -> str:
        gateway.publish(ConfigRevision.objects.get(number=number).compiled)
        return gateway.chat(x_forwarded_for="192.0.2.7").headers["x-route-provider"]

    assert answered_by(1) == "alpha"
    assert answered_by(change(api, geo={"DE": "eu-west"})) == "beta"
    assert answered_by(change(api, geo={"DE": "us-east", "EU": "eu-west"})) == "alpha"
