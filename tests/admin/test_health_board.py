"""The health board without scripts: how every target is, why, when it is tried again; acting on it; its timeline."""

from __future__ import annotations

import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from health.models import Head, HealthEvent
from routes import actions, live
from routes.engine.provider import target_id
from routes.models import AuditEntry, ConfigRevision, TargetOverride
from routing_project.console.board import acts
from routing_project.env import get_env
from tests.admin.conftest import ADA, person, text
from tests.admin.test_pages import INLINE
from tests.admin.test_roles import buttons
from tests.control import samples
from tests.control.conftest import env, gateway
from tests.health.conftest import Site, site
from tests.history import rows
from tests.history import samples as history

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["env", "gateway", "site"]
pytestmark = pytest.mark.django_db

BOARD = "/admin/health/"
MOST_QUERIES = 15
ACTS = {"probe", "enable", "drain", "disable", "open", "close", "reset", "clear"}


def page_of(site: Site, label: str) -> str:
    return reverse("admin:health_target", args=[site.target(label).id])


def row_of(page: str, target_id: str) -> str:
    """What the board's table says of a target."""
    found = re.search(rf'<tbody id="t-{target_id}".*?</tbody>', page, re.S)
    assert found
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", found[0].replace("<td", " <td").replace("<p", " <p")))


def act(client: Client, name: str, *, follow: bool = True, **fields: Any) -> Any:
    return client.post("/admin/health/act/", {"act": name, **fields}, follow=follow)


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


# -- how it is ---------------------------------------------------------------------------------------------------
def test_a_target_that_fails_is_first_with_its_state_the_reason_and_the_next_try(site: Site, viewer: Client) -> None:
    site.publish(
        *(samples.provider(slug) for slug in ("alpha", "beta")),
        targets=["alpha", {"provider": "beta", "model": "a"}, {"provider": "beta", "model": "b"}],
    )
    site.answer("alpha", 3)
    site.answer("beta / a", 2)
    site.fail("beta / b", "connect_refused", times=3)
    site.fail("beta / b", "timeout_first_byte", times=2)
    response = viewer.get(BOARD)
    page = text(response)
    assert [group.provider.slug for group in response.context["groups"]] == ["beta", "alpha"]
    assert [row.name for row in response.context["groups"][0].rows] == ["b", "a"]
    assert "Of 3 targets: 1 out of service." in page
    row = row_of(page, site.target("beta / b").id)
    for words in (
        "Active", "Unknown", "Open", "None",
        "5 consecutive failures: 3 × connect_refused, 2 × timeout_first_byte",
        "tried again at",
        "Tried again in",
        "Last failure just now: sent no answer in time",
        "5 outcomes, 5 failed. Last: sent no answer in time (traffic)",
    ):  # fmt: skip
        assert words in row, row
    well = row_of(page, site.target("alpha").id)
    assert "Closed" in well
    assert "3 outcomes, 0 failed. Last: answered 200 (traffic)" in well
    assert "500 ms · 500 ms · 500 ms" in well


def test_the_four_fields_never_mix(site: Site, viewer: Client) -> None:
    target = site.target("alpha")
    site.state.set_observed(target.id, "unhealthy", time.monotonic() + 60)
    site.state.quarantine(target, None, 60, "auth_failed", time.monotonic())
    actions.set_admin_state(site.row("alpha"), "draining", target=target.id, actor=ADA)
    actions.force_circuit(target.id, "closed", actor=ADA, reason="only known liar")
    fields = {field.name: field for field in viewer.get(page_of(site, "alpha")).context["fields"]}
    assert {name: field.state for name, field in fields.items()} == {
        "Admin state": "draining",
        "Observed": "unhealthy",
        "Circuit": "held_closed",
        "Quarantine": "quarantined",
    }
    assert "“only known liar”" in fields["Circuit"].lines
    actions.set_admin_state(site.row("alpha"), "active", target=target.id, actor=ADA)
    actions.clear_quarantine(site.row("alpha"), actor=ADA)
    states = [field.state for field in viewer.get(page_of(site, "alpha")).context["fields"]]
    assert states == ["active", "unhealthy", "held_closed", "not_quarantined"]


def test_what_is_so_for_a_whole_provider_is_said_once(site: Site, viewer: Client) -> None:
    site.publish(samples.provider("alpha"), targets=[{"provider": "alpha", "model": name} for name in "ab"])
    actions.set_admin_state(site.row("alpha"), "disabled", reason="unpaid bill", actor=ADA)
    (group,) = viewer.get(BOARD).context["groups"]
    assert "Disabled by ada for good (“unpaid bill”)." in group.why
    assert [row.needs for row in group.rows] == [False, False]
    assert text(viewer.get(BOARD)).count("unpaid bill") == 1


def test_the_board_can_be_of_one_provider(site: Site, viewer: Client) -> None:
    page = text(viewer.get(f"{BOARD}?provider=beta"))
    assert f"t-{site.target('beta').id}" in page
    assert f"t-{site.target('alpha').id}" not in page
    assert "The live configuration has no provider nobody." in text(viewer.get(f"{BOARD}?provider=nobody"))


def test_a_targets_page_has_its_outcomes_and_probes(site: Site, viewer: Client) -> None:
    from health.models import Check, ProbeResult

    target = site.target("alpha")
    site.fail("alpha", "upstream_5xx", status=503)
    check = Check.objects.create(pk=target.id, provider=site.row("alpha"), label="alpha", next_probe_at=timezone.now())
    ProbeResult.objects.create(check_of=check, at=timezone.now(), kind="models", ok=False, error_class="tls")
    page = text(viewer.get(page_of(site, "alpha")))
    assert "failed with a server error (503) (traffic)" in page
    assert re.search(r"models\s*<span class=\"break\">tls", page)


# -- who may what --------------------------------------------------------------------------------------------------
def test_a_viewer_sees_everything_and_finds_nothing_to_press(site: Site, viewer: Client, operator: Client) -> None:
    site.fail("alpha", times=5)
    for address in (BOARD, f"{BOARD}?provider=alpha", page_of(site, "alpha")):
        assert buttons(viewer.get(address)) == []
        assert len(buttons(operator.get(address))) > 4
    assert act(viewer, "drain", provider=site.row("alpha").pk, follow=False).status_code == 403
    assert site.row("alpha").admin_state == "active"
    assert person(None).get(BOARD).status_code == 403
    assert Client().get(BOARD)["Location"].startswith("/admin/login/")


def test_acting_needs_the_token_of_the_page(site: Site, operator: Client) -> None:
    guarded = Client(enforce_csrf_checks=True)
    guarded.force_login(operator.get(BOARD).wsgi_request.user)
    assert act(guarded, "drain", provider=site.row("alpha").pk, follow=False).status_code == 403


# -- acting ----------------------------------------------------------------------------------------------------------
def test_every_act_says_what_it_will_do_and_only_acts_that_change_something_are_offered(
    site: Site, operator: Client
) -> None:
    target = site.target("alpha")

    def offered() -> set[str]:
        panel = operator.get(page_of(site, "alpha")).context["row"].panel
        assert all(offer.text for offer in panel.offered)
        return {offer.name for offer in panel.offered}

    assert offered() == ACTS - {"enable", "clear"}
    actions.set_admin_state(site.row("alpha"), "draining", target=target.id, actor=ADA)
    actions.force_circuit(target.id, "open", actor=ADA)
    site.state.quarantine(target, None, 60, "auth_failed", time.monotonic())
    assert offered() == ACTS - {"drain", "open"}


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("drain", "admin_state", "draining"),
        ("disable", "admin_state", "disabled"),
        ("open", "forced", "open"),
        ("close", "forced", "closed"),
    ],
)
def test_an_act_on_a_target_is_in_force_audited_and_ends_when_it_was_told_to(
    name: str, column: str, value: str, site: Site, operator: Client
) -> None:
    target = site.target("alpha")
    fields = {"target": target.id, "for": "1h", "reason": "new disks", "next": page_of(site, "alpha")}
    response = act(operator, name, **fields)
    assert response.redirect_chain[0][0] == page_of(site, "alpha")
    assert acts.IN_FORCE in said(response)[0]
    row = TargetOverride.objects.get(pk=target.id)
    assert getattr(row, column) == value
    until = row.admin_until or row.forced_until
    assert until is not None
    assert timedelta(minutes=59) < until - timezone.now() <= timedelta(hours=1)
    entry = AuditEntry.objects.latest("id")
    assert (entry.actor_name, entry.object_name, entry.reason) == ("operator", "alpha", "new disks")
    assert site.row("alpha").admin_state == "active"


def test_a_provider_is_set_aside_and_enabled_again(site: Site, operator: Client) -> None:
    alpha = site.row("alpha")
    assert "Provider alpha is disabled" in said(act(operator, "disable", provider=alpha.pk, **{"for": "today"}))[0]
    row = site.row("alpha")
    assert row.admin_until is not None
    assert row.admin_until.astimezone(UTC).strftime("%H:%M:%S") == "00:00:00"
    assert 0 < (row.admin_until - timezone.now()).total_seconds() <= 24 * 3600
    assert "Provider alpha takes requests again" in said(act(operator, "enable", provider=alpha.pk, **{"for": "1h"}))[0]
    assert site.row("alpha").admin_state == "active"


def test_a_circuit_is_reset_and_a_quarantine_ended(site: Site, operator: Client) -> None:
    target = site.target("alpha")
    site.fail("alpha", times=5)
    site.state.quarantine(target, None, 600, "auth_failed", time.monotonic())
    assert (site.health("alpha").circuit.state, site.health("alpha").quarantine is None) == ("open", False)
    assert "was reset" in said(act(operator, "reset", target=target.id))[0]
    assert "The quarantines of alpha were ended" in said(act(operator, "clear", target=target.id))[0]
    assert (site.health("alpha").circuit.state, site.health("alpha").quarantine) == ("closed", None)


def test_a_time_of_ones_own_is_utc_and_must_be_told(site: Site, operator: Client) -> None:
    target = site.target("alpha")
    soon = (timezone.now() + timedelta(days=3)).replace(second=0, microsecond=0)
    act(operator, "drain", target=target.id, **{"for": "at", "until": f"{soon:%Y-%m-%dT%H:%M}"})
    assert TargetOverride.objects.get(pk=target.id).admin_until == soon
    for until, words in (("", "Until when?"), ("tomorrow", "Until when?"), ("2020-01-01T00:00", "in the future")):
        assert words in said(act(operator, "disable", target=target.id, **{"for": "at", "until": until}))[0]
    assert TargetOverride.objects.get(pk=target.id).admin_state == "draining"


def test_what_people_hold_is_set_aside_and_not_out_of_service(site: Site, viewer: Client) -> None:
    rows.store(history.finished())
    actions.force_circuit(site.target("alpha").id, "open", actor=ADA, reason="loses tool calls")
    page = text(viewer.get(BOARD))
    assert "Of 2 targets: 1 set aside by people." in page
    assert "Held open" in row_of(page, site.target("alpha").id)
    (item,) = viewer.get("/admin/").context["attention"]
    assert (item.tone, item.title) == ("warn", "The circuit of alpha is held open")
    assert "“loses tool calls”" in item.text


@pytest.mark.parametrize("fields", [{"act": "melt"}, {"act": "open"}, {"act": "drain", "reason": "a\nb"}])
def test_what_cannot_be_done_is_refused_in_words(fields: dict[str, str], site: Site, operator: Client) -> None:
    before = AuditEntry.objects.count()
    response = act(operator, fields.pop("act"), provider=site.row("alpha").pk, **fields)
    assert response.context["messages"]
    assert [message.level_tag for message in response.context["messages"]] == ["error"]
    assert AuditEntry.objects.count() == before


def test_an_act_on_something_that_is_not_there_is_not_found(site: Site, operator: Client) -> None:
    for fields in ({"target": str(uuid.uuid4())}, {"provider": str(uuid.uuid4())}, {"provider": "alpha"}, {}):
        assert act(operator, "drain", follow=False, **fields).status_code == 404


@pytest.mark.parametrize("foreign", ["https://evil.example/", "//evil.example", "/admin/logout/", "/admin/health/\\x"])
def test_after_an_act_the_way_leads_back_to_the_board_and_nowhere_else(
    foreign: str, site: Site, operator: Client
) -> None:
    fields = {"provider": str(site.row("alpha").pk)}
    assert act(operator, "drain", follow=False, next=foreign, **fields)["Location"] == BOARD
    kept = f"{BOARD}?provider=alpha&kind=circuit"
    assert act(operator, "enable", follow=False, next=kept, **fields)["Location"] == kept


def test_probing_now_is_audited_and_says_when_no_worker_is_there(site: Site, operator: Client) -> None:
    response = act(operator, "probe", target=site.target("alpha").id)
    assert "No worker is at work" in said(response)[0]
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.object_name) == ("provider.probed", "alpha")
    assert [message.level_tag for message in response.context["messages"]] == ["warning"]


# -- timeline --------------------------------------------------------------------------------------------------------
def happen(at: datetime, subject: str, kind: str = "circuit", **fields: Any) -> HealthEvent:
    values = {"before": "closed", "after": "open", "reason": "failure_rate", "actor": "traffic", **fields}
    return HealthEvent.objects.create(at=at, kind=kind, subject=subject, **values)


def subjects(response: Any) -> list[str]:
    return [line.subject for line in response.context["timeline"].lines]


def test_events_and_publishes_are_in_one_order_newest_first(site: Site, viewer: Client) -> None:
    published = ConfigRevision.objects.get().created_at
    happen(published - timedelta(seconds=5), "before")
    happen(published, "at once")
    happen(
        published + timedelta(seconds=5), "after", actor="ada",
        detail={"outcomes": [{"at": published.timestamp(), "error_class": "tls", "source": "probe"}]},
    )  # fmt: skip
    response = viewer.get(BOARD)
    assert subjects(response) == ["after", "at once", "Revision 1", "before"]
    page = text(response)
    assert "failed the TLS handshake" in page
    assert f"{published.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" in page
    assert [line.actor for line in response.context["timeline"].lines] == ["ada", "traffic", "ada", "traffic"]


def test_older_pages_leave_nothing_out_and_repeat_nothing(site: Site, viewer: Client) -> None:
    now = timezone.now()
    for number in range(70):  # seven at one moment, so that pages end within one
        happen(now + timedelta(seconds=number // 7), str(number))
    seen, address = [], BOARD
    while address:
        response = viewer.get(address)
        seen += subjects(response)
        address = response.context["timeline"].older
    assert seen == [*(str(number) for number in reversed(range(70))), "Revision 1"]
    assert response.context["timeline"].newest == BOARD


def test_a_moment_has_a_link_that_shows_what_came_before_and_after(site: Site, viewer: Client) -> None:
    now = timezone.now() + timedelta(minutes=1)
    for number in range(30):
        happen(now + timedelta(seconds=number), str(number))
    link = next(line.link for line in viewer.get(BOARD).context["timeline"].lines if line.subject == "12")
    story = viewer.get(link).context["timeline"]
    assert [line.subject for line in story.later] == [str(number) for number in range(22, 12, -1)]
    assert [line.subject for line in story.lines][:2] == ["12", "11"]
    assert story.moment == now + timedelta(seconds=12)
    further = viewer.get(story.newer).context["timeline"]
    assert [line.subject for line in (*further.later, *further.lines)][:3] == ["29", "28", "27"]
    assert 'id="moment"' in text(viewer.get(link))


def test_the_timeline_is_filtered_in_the_address(site: Site, viewer: Client) -> None:
    now = timezone.now()
    happen(now, "mine", provider="alpha", provider_id=site.row("alpha").pk)
    happen(now, "other", provider="beta", provider_id=site.row("beta").pk)
    happen(now, "gone", provider="gone", provider_id=uuid.uuid4())
    happen(now, "head", kind="head", after="offline", provider="alpha", provider_id=site.row("alpha").pk)
    assert set(subjects(viewer.get(f"{BOARD}?provider=alpha"))) == {"mine", "head", "Revision 1"}
    assert subjects(viewer.get(f"{BOARD}?provider=alpha&kind=circuit")) == ["mine"]
    assert subjects(viewer.get(f"{BOARD}?provider=gone&kind=circuit")) == ["gone"]
    assert subjects(viewer.get(f"{BOARD}?kind=publish")) == ["Revision 1"]
    assert "Nothing matches" in text(viewer.get(f"{BOARD}?kind=budget"))


def test_a_line_leads_to_where_there_is_more_of_it(site: Site, viewer: Client) -> None:
    site.publish(samples.provider("alpha"), targets=[{"provider": "alpha", "model": "a"}])
    target, endpoint = site.target("alpha / a"), target_id(str(site.row("alpha").pk), None)
    now = timezone.now()
    happen(now, "its circuit", target_id=target.id, provider="alpha")
    happen(now, "a check of its endpoint", kind="observed", after="unhealthy", target_id=endpoint, provider="alpha")
    happen(now, "a key", kind="budget", after="100")
    lines = {line.subject: line for line in viewer.get(BOARD).context["timeline"].lines}
    assert lines["its circuit"].url == page_of(site, "alpha / a")
    assert lines["a check of its endpoint"].url == f"{BOARD}?provider=alpha"
    assert lines["a key"].url == ""
    assert lines["Revision 2"].url == "/admin/routes/configrevision/2/change/"
    assert {line.tone for name, line in lines.items() if "Revision" not in name} == {"bad"}


@pytest.mark.parametrize("query", ["at=yesterday", "at=2026-13-40T00:00", "before=abc", "before=1.2", "before=9.9.٣"])
def test_an_address_that_cannot_be_read_says_so(query: str, site: Site, viewer: Client) -> None:
    assert "This address is not understood" in text(viewer.get(f"{BOARD}?{query}"))


@pytest.mark.parametrize(
    "written", ["2026-11-30T03:12:00Z", "2026-11-30 03:12", "2026-11-30T04:12+01:00", "2026-11-30T04:12:00 01:00"]
)
def test_a_moment_may_be_written_in_several_ways(written: str, site: Site, viewer: Client) -> None:
    story = viewer.get(BOARD, {"at": written}).context["timeline"]
    assert story.moment == datetime(2026, 11, 30, 3, 12, tzinfo=UTC)


def test_a_targets_own_timeline_has_what_its_provider_went_through(site: Site, viewer: Client) -> None:
    now, alpha, beta = timezone.now(), site.target("alpha"), site.target("beta")
    happen(now, "mine", target_id=alpha.id, provider_id=alpha.provider.id)
    happen(now, "other", target_id=beta.id, provider_id=beta.provider.id)
    happen(now, "all", kind="admin", after="draining", provider_id=alpha.provider.id)
    assert set(subjects(viewer.get(page_of(site, "alpha")))) == {"mine", "all", "Revision 1"}


def test_a_target_that_left_the_configuration_keeps_its_timeline(site: Site, viewer: Client, operator: Client) -> None:
    gone = uuid.uuid4()
    happen(timezone.now(), "alpha / gone", target_id=gone, provider="alpha")
    address = reverse("admin:health_target", args=[gone])
    page = text(viewer.get(address))
    assert "not in the live configuration any more" in page
    assert subjects(viewer.get(address))[0] == "alpha / gone"
    assert buttons(operator.get(address)) == []
    assert viewer.get(reverse("admin:health_target", args=[uuid.uuid4()])).status_code == 404


# -- what is missing ---------------------------------------------------------------------------------------------
def test_empty_places_say_what_to_do(viewer: Client, env: Any) -> None:
    page = text(viewer.get(BOARD))
    assert "No provider yet" in page
    assert "/admin/routes/provider/add/" not in page
    assert "/admin/routes/provider/add/" in text(person("Admin").get(BOARD))
    assert "Nothing has happened yet" in page
    actions.create_provider(samples.provider("alpha"), actor=ADA)
    actions.create_profile(samples.profile("default", "alpha"), actor=ADA)
    assert "Nothing is published yet" in text(viewer.get(BOARD))
    actions.publish(actor=ADA)
    page = text(viewer.get(BOARD))
    assert "No gateway has run on this host yet." in page
    assert "No probes are sent" in page


def test_what_is_there_is_not_said_to_be_missing(site: Site, viewer: Client) -> None:
    heartbeat = get_env().heartbeat_path
    heartbeat.parent.mkdir(parents=True, exist_ok=True)
    heartbeat.touch()
    assert viewer.get(BOARD).context["notices"] == []


# -- around it -----------------------------------------------------------------------------------------------------
def test_the_part_that_refreshes_is_what_changes_and_no_more(site: Site, operator: Client) -> None:
    for address in (BOARD, page_of(site, "alpha")):
        whole = operator.get(address)
        part = operator.get(whole.context["part_url"])
        assert 'id="board" data-part' in text(part)
        assert 'id="events" data-part' in text(part)
        assert "<html" not in text(part)
        assert whole.context["part_url"] in text(whole).replace("&amp;", "&")
    story = operator.get(f"{BOARD}?before=1.1.1&part=1")
    assert 'id="events" data-part' not in text(story)


def test_no_page_carries_inline_script_or_style(site: Site, operator: Client) -> None:
    site.fail("alpha", times=5)
    happen(timezone.now(), "alpha", detail={"outcomes": [{"at": 1.0, "error_class": "tls"}]})
    for address in (BOARD, f"{BOARD}?at=2026-11-30T03:12:00Z", page_of(site, "alpha")):
        assert INLINE.findall(text(operator.get(address))) == [], address


def test_text_from_outside_stays_text(site: Site, viewer: Client) -> None:
    script = "<script>alert(1)</script>"
    happen(timezone.now(), script, actor=script, detail={"note": script})
    actions.set_admin_state(site.row("alpha"), "draining", reason=script, actor=ADA)
    for address in (BOARD, page_of(site, "alpha"), f"{BOARD}?provider={script}&kind={script}&at={script}"):
        assert script not in text(viewer.get(address)), address


def test_the_board_is_in_the_navigation(site: Site, viewer: Client) -> None:
    for address in (BOARD, page_of(site, "alpha")):
        links = [link for group in viewer.get(address).context["navigation"] for link in group.links]
        assert [link.word for link in links if link.current] == ["Health board"]


def test_the_dashboard_leads_to_what_is_out_of_service(site: Site, viewer: Client) -> None:
    rows.store(history.finished())
    site.fail("alpha", times=5)
    beta = site.target("beta")
    actions.force_circuit(beta.id, "closed", actor=ADA)
    actions.set_admin_state(site.row("beta"), "draining", target=beta.id, reason="old", actor=ADA)
    items = {item.title: item for item in viewer.get("/admin/").context["attention"]}
    assert list(items) == ["alpha is out of service", "The circuit of beta is held closed", "beta is draining"]
    address = items["alpha is out of service"].url
    assert address == f"{BOARD}?provider=alpha#t-{site.target('alpha').id}"
    assert f'id="t-{site.target("alpha").id}"' in text(viewer.get(address.partition("#")[0]))
    site.state.quarantine(beta, None, 60, "quota_exhausted", time.monotonic())
    assert "Provider beta is quarantined" in [item.title for item in viewer.get("/admin/").context["attention"]]


def test_heads_that_wait_for_approval_are_pointed_out_with_the_way_to_them(site: Site, viewer: Client) -> None:
    rows.store(history.finished())
    values = {"provider": site.row("alpha"), "registered_at": timezone.now(), "seen_at": timezone.now()}
    for name in ("gpu-1", "gpu-2"):
        Head.objects.create(head_id=name, endpoint=f"https://{name}.example/v1", **values)
    (item,) = viewer.get("/admin/").context["attention"]
    assert item.title == "2 heads wait for approval"
    assert "gpu-1" in text(viewer.get(item.url))
    assert "0 of 2 heads active, 2 waiting for approval" in text(viewer.get(BOARD))


def test_the_list_of_providers_says_how_each_is(site: Site, viewer: Client) -> None:
    actions.create_provider(samples.provider("draft"), actor=ADA)
    site.fail("alpha", times=5)
    site.answer("beta")
    found = {row.provider.slug: row.health for row in viewer.get("/admin/routes/provider/").context["rows"]}
    assert {slug: health and health.state for slug, health in found.items()} == {
        "alpha": "unhealthy",
        "beta": "healthy",
        "draft": None,
    }
    assert "5 consecutive failures" not in found["beta"].why
    assert f'href="{BOARD}?provider=alpha"' in text(viewer.get("/admin/routes/provider/"))


def many(slugs: Mapping[str, str], profiles: int) -> dict[str, Any]:
    return {
        "providers": [samples.provider(slug) for slug in slugs],
        "profiles": [
            samples.profile("default", *slugs),
            *(samples.profile(f"p{number}", *list(slugs)[:3]) for number in range(profiles - 1)),
        ],
    }


@pytest.mark.thorough
def test_pages_need_few_queries_and_no_more_with_200_providers_and_100_profiles(site: Site, operator: Client) -> None:
    def queries(address: str) -> int:
        operator.get(address)
        with CaptureQueriesContext(connection) as captured:
            assert operator.get(address).status_code == 200
        return len(captured)

    def counts() -> dict[str, int]:
        named = {"board": BOARD, "part": f"{BOARD}?part=1", "moment": f"{BOARD}?at=2026-11-30T03:12:00Z"}
        named |= {"target": page_of(site, "alpha"), "dashboard": "/admin/", "providers": "/admin/routes/provider/"}
        return {name: queries(address) for name, address in named.items()}

    rows.store(history.finished())
    site.fail("alpha", times=5)
    happen(timezone.now(), "alpha")
    few = counts()
    assert {name: count for name, count in few.items() if count > MOST_QUERIES} == {}
    slugs = dict.fromkeys(["alpha", "beta", *(f"more-{number}" for number in range(198))], "")
    actions.import_configuration(many(slugs, 100), actor=ADA, publish_now=True)
    live.current().published(_snapshot())
    site.state.published(_snapshot())
    assert counts() == few
    page = text(operator.get(BOARD))
    # Those who need nobody are one line each, with the way to their targets.
    assert page.count("board-line") == 199
    assert f"t-{site.target('alpha').id}" in page
    assert f"t-{site.target('beta').id}" in text(operator.get(f"{BOARD}?provider=beta"))


def _snapshot() -> Any:
    from routes.snapshots import live_snapshot

    return live_snapshot()
