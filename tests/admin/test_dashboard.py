"""The front page: first steps on a fresh install, then what needs attention and how the last hour went."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from routes import actions
from routing_project import announce
from routing_project.env import get_env
from tests.admin.conftest import ADA, text
from tests.control import samples as configuration
from tests.history import rows, samples

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site


def steps(response: Any) -> list[tuple[str, bool, bool]]:
    return [(step.title, step.done, step.now) for step in response.context["steps"]]


def now_at(client: Client) -> str:
    """The step that is to be taken now."""
    return next(step.title for step in client.get("/admin/").context["steps"] if step.now)


def test_a_fresh_install_is_led_from_step_to_step_to_its_first_request(admin: Client) -> None:
    page = admin.get("/admin/")
    assert steps(page)[0] == ("Add a provider", False, True)
    assert "Last hour" not in text(page)
    actions.create_provider(configuration.provider(models={"gpt-4o": "x"}), actor=ADA)
    assert now_at(admin) == "Make a profile"
    actions.create_profile(configuration.profile("default", "alpha"), actor=ADA)
    assert now_at(admin) == "Publish"
    actions.publish(actor=ADA)
    assert now_at(admin) == "Create an access key"
    actions.create_access_key({"name": "app"}, actor=ADA)
    page = admin.get("/admin/")
    assert steps(page)[-1] == ("Send the first request", False, True)
    assert "http://testserver/p/default/v1/chat/completions" in text(page)
    rows.store(samples.finished())
    assert admin.get("/admin/").context["steps"] == []


def test_logins_and_exports_do_not_push_changes_off_the_front_page(viewer: Client, site: Site) -> None:
    for _ in range(9):
        viewer.post("/admin/login/", {"username": "nobody", "password": "wrong"})
        actions.export_configuration(actor=ADA)
    shown = viewer.get("/admin/").context["recent_changes"]
    assert shown[0].sentence == "Published revision 1"
    assert len(shown) == 6


def test_a_change_by_a_key_is_not_taken_for_one_by_a_person_of_its_name(viewer: Client, site: Site) -> None:
    actions.update_provider(site.alpha, {"weight": 7}, actor=ADA)
    actions.update_provider(site.beta, {"weight": 7}, actor=replace(ADA, kind="key"))
    rows.store(samples.finished())
    by = re.findall(r'<span class="quiet small">(.*?), ', text(viewer.get("/admin/")))
    assert by[:2] == ["access key ada", "ada"]


def test_the_numbers_are_those_of_the_last_hour(viewer: Client, site: Site) -> None:
    moment = timezone.now() - timedelta(minutes=10)
    rows.store(
        *(samples.finished(rows.at(moment, n), latency_us=(n + 1) * 10_000) for n in range(9)),
        samples.failed(rows.at(moment, 50)),
        samples.failed(rows.at(timezone.now() - timedelta(hours=2))),
    )
    response = viewer.get("/admin/")
    traffic = response.context["traffic"]
    assert (traffic.requests, traffic.failures, traffic.p50_ms) == (10, 1, 50)
    assert "10 %" in text(response)
    assert len(response.context["failures"]) == 2


def test_what_needs_attention_comes_worst_first(viewer: Client, site: Site) -> None:
    rows.store(samples.finished())
    assert [item.title for item in viewer.get("/admin/").context["attention"]] == []
    actions.update_provider(site.alpha, {"weight": 4}, actor=ADA)
    actions.set_admin_state(site.alpha, "draining", reason="new disks", actor=ADA)
    expires = (timezone.now() + timedelta(days=2)).isoformat()
    actions.update_access_key(site.key, {"expires": expires}, actor=ADA)
    response = viewer.get("/admin/")
    assert [item.title for item in response.context["attention"]] == [
        "Profile spare can serve nothing",
        "Access key app expires soon",
        "Provider alpha is draining",
        "1 unpublished change",
    ]
    assert "new disks" in text(response)


def test_circuits_that_opened_in_the_last_hour_are_named(viewer: Client, site: Site) -> None:
    failure = {"error_class": "upstream_5xx", "http_status": 503}
    opened = samples.attempt(**failure, transitions=[("closed", "open", "consecutive_failures")])
    again = samples.attempt(
        **failure, transitions=[("open", "half_open", "recovery_timeout"), ("half_open", "open", "half_open_failure")]
    )
    moment = timezone.now() - timedelta(minutes=5)
    rows.store(
        samples.failed(rows.at(moment, 1), attempts=[opened, samples.attempt(provider="acme-us")]),
        samples.failed(rows.at(moment, 2), attempts=[again]),
        samples.failed(rows.at(moment - timedelta(hours=3), 3), attempts=[again]),
    )
    (item,) = viewer.get("/admin/").context["attention"]
    assert item.title == "The circuit of acme-eu / acme-gpt-4o opened twice in the last hour"
    assert viewer.get(item.url).context["problems"] == []


def test_many_failures_are_pointed_out_only_when_there_are_enough_requests(viewer: Client, site: Site) -> None:
    def titles() -> str:
        return " ".join(item.title for item in viewer.get("/admin/").context["attention"])

    moment = timezone.now() - timedelta(minutes=1)
    rows.store(samples.failed(rows.at(moment, 1)))
    assert "failed in the last hour" not in titles()
    rows.store(*(samples.finished(rows.at(moment, n)) for n in range(2, 21)))
    assert "5% of requests failed in the last hour" in titles()


def test_the_banner_counts_on_every_page_but_the_dashboard_lists_it_itself(viewer: Client, site: Site) -> None:
    actions.update_provider(site.alpha, {"weight": 4, "region": "eu"}, actor=ADA)
    assert "2 unpublished changes." in text(viewer.get("/admin/routes/provider/"))
    assert "2 unpublished changes." in text(viewer.get("/admin/history/routehistory/"))
    actions.publish(actor=ADA)
    assert "unpublished" not in text(viewer.get("/admin/routes/provider/"))


def test_the_demo_is_offered_for_removal_to_admins_from_the_first_look(
    admin: Client, viewer: Client, site: Site
) -> None:
    def titles(client: Client) -> list[str]:
        return [item.title for item in client.get("/admin/").context["attention"]]

    announce.demo_path(get_env()).write_text('{"control_port": 1, "providers": []}')
    assert titles(admin) == ["The demo is loaded"]
    assert admin.get("/admin/").context["steps"]
    assert titles(viewer) == []
    rows.store(samples.finished())
    assert titles(admin) == ["The demo is loaded"]
    admin.post("/admin/demo/remove/")
    assert titles(admin) == []


def test_a_viewer_of_a_fresh_install_is_offered_no_step_to_take(viewer: Client) -> None:
    page = text(viewer.get("/admin/")).partition("<main")[2]
    assert "First steps" in page
    assert "/add/" not in page
