"""Every field of the routing policy: changed over REST, published as a revision, and what decisions make of it.

Strategies about heads decide between the two heads of one provider, whose loads the live state hears as they are told.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction

from history.render import detail
from routes import actions, ports
from routes.engine.provider import head_key
from routes.models import ConfigRevision, Provider
from routing_project.console.decisions import service
from routing_project.console.metrics import counting
from routing_project.metrics.instruments import Few
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
    return [line["head_id"] or line["provider"] for line in decision["ranking"]]


class Fleet:
    """Provider ``fleet`` under one strategy, and its two heads of ten seats each."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.heads: list[dict[str, Any]] = []
        self._provider = ""

    def publish(self, strategy: str) -> None:
        self._desk.publish(samples.provider("fleet"), strategy=strategy)
        self._provider = str(Provider.objects.get(slug="fleet").pk)
        self.heads += [
            {
                "id": name,
                "provider": self._provider,
                "endpoint": f"https://{name}.example/v1",
                "region": region,
                "model_type": "",
                "version": version,
                "capacity": 10,
                "max_model_size": None,
                "capabilities": [],
                "generation": 1,
                "approved": True,
            }
            for name, region, version in (("east", "us-east", "1"), ("west", "eu-west", "2"))
        ]
        with transaction.atomic():
            actions.heads_changed(self.heads)
        self.hear(east=0, west=0)

    def hear(self, **loads: float) -> None:
        """Heads say how loaded they are, now."""
        for name, load in loads.items():
            self._desk.live.hear_head(head_key(self._provider, name), load, False, inf, self._desk.clock.now)


@pytest.fixture
def fleet(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    made = Fleet(desk)
    monkeypatch.setattr(ports, "_heads", lambda: made.heads)
    return made


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


OF_PROVIDERS = {
    "enable_load_balancing": ("peak_ewma", {}),
    "enable_geo_routing": ("geo_preferred", {"region": "eu-west"}),
}
OF_HEADS = {
    "enable_model_specific": ("model_specific", {"requirements": {"version": "2"}}, "west"),
    "enable_predictive": ("predictive", {}, "west"),
    "enable_adaptive": ("adaptive", {"region": "eu-west"}, "west"),
}


@pytest.mark.parametrize("field", OF_PROVIDERS)
def test_a_family_that_is_switched_off_is_replaced_by_the_default_strategy(desk: Desk, api: Api, field: str) -> None:
    strategy, wanted = OF_PROVIDERS[field]
    desk.publish(EAST, WEST, strategy=strategy)
    assert desk.decide(**wanted)["strategy_used"] == strategy

    number = change(api, **{field: False, "default_strategy": "single"})

    decision = desk.decide(**wanted)
    assert (decision["strategy_used"], decision["revision"]) == ("single", number)
    assert decision["provider"] == "alpha"
    assert_recorded(desk, decision, strategy)
    assert desk.decide(strategy=strategy)["strategy_used"] == "single"  # asked for, too
    change(api, **{field: True})
    assert desk.decide(**wanted)["strategy_used"] == strategy


@pytest.mark.parametrize("field", OF_HEADS)
def test_a_family_about_heads_that_is_switched_off_is_replaced_by_the_default_strategy(
    desk: Desk, api: Api, fleet: Fleet, field: str
) -> None:
    strategy, wanted, best = OF_HEADS[field]
    fleet.publish(strategy)
    fleet.hear(east=5, west=1)
    before = desk.decide(**wanted)
    assert (before["strategy_used"], before["head_id"]) == (strategy, best)

    number = change(api, **{field: False, "default_strategy": "failover"})

    decision = desk.decide(**wanted)
    assert (decision["strategy_used"], decision["revision"], decision["head_id"]) == ("failover", number, "east")
    assert_recorded(desk, decision, strategy)


def assert_recorded(desk: Desk, decision: dict[str, Any], replaced: str) -> None:
    record = detail(desk.row(decision["id"]))["routing_decision"]
    assert (record["strategy"], record["replaced_strategy"]) == (decision["strategy_used"], replaced)


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


def test_prediction_window_is_how_far_back_reports_of_load_count(desk: Desk, api: Api, fleet: Fleet) -> None:
    fleet.publish("predictive")
    desk.clock.now += 60 * 60
    fleet.hear(east=9)
    desk.clock.now += 5 * 60
    fleet.hear(east=1, west=2)
    assert places(desk.decide()) == ["west", "east"]  # 15 minutes: 55 and 22 %

    change(api, prediction_window=4)

    fleet.hear(east=1, west=2)
    assert places(desk.decide()) == ["east", "west"]  # the last alone: 11 and 22 %


def test_load_growth_factor_is_how_much_loads_are_expected_to_grow(desk: Desk, api: Api, fleet: Fleet) -> None:
    fleet.publish("predictive")
    desk.clock.now += 60 * 60
    fleet.hear(east=4, west=1)
    desk.clock.now += 60
    fleet.hear(east=4, west=5)
    assert places(desk.decide()) == ["east", "west"]  # 44 %, and as it is 50 %

    change(api, load_growth_factor=2)

    fleet.hear(east=4, west=5)
    assert places(desk.decide()) == ["west", "east"]  # 80 and 73 %


def test_capacity_threshold_is_the_load_above_which_nothing_more_is_taken(desk: Desk, api: Api, fleet: Fleet) -> None:
    fleet.publish("hybrid")
    fleet.hear(east=1, west=5)
    assert desk.decide(region="eu-west")["head_id"] == "west"  # half full

    change(api, capacity_threshold=40)

    assert desk.decide(region="eu-west")["head_id"] == "east"


def test_regions_of_heads_and_of_the_policy_are_labels_and_what_clients_make_up_is_none(
    desk: Desk, api: Api, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Any] = []
    monkeypatch.setattr(service, "count_decision", lambda _, **told: counted.append(told["region"]))
    fleet.publish("hybrid")
    fleet.hear(east=1, west=5)
    change(api, region_priority=["ap-south"])
    for region in ("eu-west", "ap-south", "made-up"):
        desk.decide(region=region)
    assert counted == ["eu-west", "ap-south", None]


def test_types_of_heads_are_labels_and_what_clients_make_up_is_other(
    desk: Desk, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Any] = []

    def count(_: Any, **told: Any) -> None:
        counted.append(counting.kind_of(told["model_type"], told["known"]))

    monkeypatch.setattr(service, "count_decision", count)
    fleet.publish("hybrid")
    fleet.heads[0]["model_type"] = "llama"
    with transaction.atomic():
        actions.heads_changed(fleet.heads)
    for kind in ("llama", "chat", "made-up"):
        desk.decide(model_type=kind)
    desk.decide()
    assert counted == ["llama", "chat", "other", "other"]


def test_a_process_counts_so_many_types_and_all_others_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "few_types", Few(2, "other"))
    types = ["one", "chat", "two", "three", "one", "image", "four", None]
    assert [counting.kind_of(each, {"one", "two", "three", "four"}) for each in types] == [
        *("one", "chat", "two", "other", "one", "image", "other", "other")
    ]


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
