"""What people do is in the timeline: one line for each act, with who, why and what was before."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from health import acts, circuits, words
from health.events import happened
from health.models import HealthEvent
from routes import actions
from routes.actions import Actor
from routes.models import AuditEntry
from tests.control.conftest import actor
from tests.control.samples import provider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.health.conftest import Site

pytestmark = pytest.mark.django_db(transaction=True)
ADA = actor("operate")


def line() -> HealthEvent:
    return HealthEvent.objects.latest("pk")


def told(event: HealthEvent) -> tuple[str, ...]:
    return event.kind, event.subject, event.before, event.after, event.reason, event.actor


@pytest.fixture
def heard() -> Iterator[list[HealthEvent]]:
    found: list[HealthEvent] = []

    def receiver(events: list[HealthEvent], **_: Any) -> None:
        found.extend(events)

    happened.connect(receiver)
    yield found
    happened.disconnect(receiver)


def test_an_admin_state_of_a_provider(site: Site, heard: list[HealthEvent]) -> None:
    until = timezone.now() + timedelta(days=400)
    actions.set_admin_state(site.row("alpha"), "draining", actor=ADA, until=until, reason="new disks")
    event = line()
    assert told(event) == ("admin", "alpha", "active", "draining", "by_hand", "ada")
    assert (event.provider, event.provider_id, event.target_id) == ("alpha", site.row("alpha").pk, None)
    assert event.detail == {"note": "new disks", "until": until.timestamp()}
    assert words.event(event) == f"Drained by ada until {until:%Y-%m-%d %H:%M:%S} UTC (“new disks”)."
    assert heard == [event]


def test_an_admin_state_of_a_target_and_a_change_of_its_reason_alone(site: Site) -> None:
    target = site.target("alpha")
    for reason in ("first", "second"):
        actions.set_admin_state(site.row("alpha"), "disabled", actor=ADA, target=target.id, reason=reason)
    first, second = HealthEvent.objects.order_by("pk")
    assert told(first) == ("admin", "alpha", "active", "disabled", "by_hand", "ada")
    assert told(second) == ("admin", "alpha", "disabled", "disabled", "by_hand", "ada")
    assert [str(each.target_id) for each in (first, second)] == [target.id, target.id]
    assert words.event(second) == "Disabled by ada (“second”)."


def test_what_ends_by_the_clock_was_done_by_the_clock(site: Site) -> None:
    until = timezone.now() + timedelta(seconds=60)
    actions.set_admin_state(site.row("alpha"), "disabled", actor=ADA, until=until)
    assert actions.expire_admin_states(actor=Actor.system("reconcile"), now=until) == 1
    assert told(line()) == ("admin", "alpha", "disabled", "active", "expired", "clock")
    assert words.event(line()) == "Active again: the time set for it has passed."


def test_a_forced_circuit_and_its_reset_follow_what_traffic_did(site: Site) -> None:
    target = site.target("alpha")
    site.fail("alpha", times=5)
    actions.force_circuit(target.id, "closed", actor=ADA, reason="it is fine")
    actions.force_circuit(target.id, "open", actor=ADA)
    actions.reset_circuit(target.id, actor=ADA)
    events = HealthEvent.objects.filter(target_id=target.id).order_by("at", "pk")
    assert [told(event)[2:] for event in events] == [
        ("closed", "open", "consecutive_failures", "traffic"),
        ("open", "closed", "forced_closed", "ada"),
        ("closed", "open", "forced_open", "ada"),
        ("open", "closed", "reset", "ada"),
    ]
    assert [words.event(event) for event in events][1:] == [
        "Circuit closed: held closed by ada (“it is fine”).",
        "Circuit opened: held open by ada.",
        "Circuit closed: reset by ada.",
    ]


def test_the_end_of_a_hold_is_told_once_by_gateways_where_it_was_open_and_by_us_where_it_was_closed(site: Site) -> None:
    until = timezone.now() + timedelta(seconds=60)
    for label, state in (("alpha", "open"), ("beta", "closed")):
        actions.force_circuit(site.target(label).id, state, actor=ADA, until=until)
    assert actions.release_circuits(actor=Actor.system("reconcile"), now=until) == 2
    ended = HealthEvent.objects.filter(reason="force_ended")
    assert [told(event) for event in ended] == [("circuit", "beta", "closed", "closed", "force_ended", "clock")]


def test_a_lifted_quarantine(site: Site) -> None:
    site.state.quarantine(site.target("alpha"), None, 60, "auth_failed", time.monotonic())
    actions.clear_quarantine(site.row("alpha"), actor=ADA, reason="new key")
    event = line()
    assert told(event) == ("quarantine", "alpha", "auth_failed", "none", "cleared", "ada")
    assert words.event(event) == "Quarantine lifted by ada (“new key”)."


def test_a_new_credential_lifts_what_the_old_one_was_refused_for(site: Site) -> None:
    admin = actor("admin")
    for number in (1, 2):  # where nothing is quarantined there is nothing to tell
        actions.set_credential(site.row("alpha"), f"sk-new-credential-{number}", actor=admin)
        assert not HealthEvent.objects.exists()
    site.state.quarantine(site.target("alpha"), "gpt-4o", 60, "rate_limited", time.monotonic())
    actions.update_provider(site.row("alpha"), {"credential": {"value": "sk-new-credential-3"}}, actor=admin)
    assert told(line()) == ("quarantine", "alpha", "rate_limited", "none", "credential_changed", admin.name)
    assert words.event(line()) == f"Quarantine lifted by {admin.name}: its credential was changed."
    actions.set_credential(site.row("alpha"), None, actor=admin)
    assert HealthEvent.objects.count() == 2


def test_other_actions_are_none_of_healths_business(site: Site) -> None:
    before = HealthEvent.objects.count()
    actions.update_provider(site.row("alpha"), {"weight": 3}, actor=actor("admin"))
    assert HealthEvent.objects.count() == before


def test_an_act_whose_process_ended_before_it_was_told_is_told_later_and_once(
    site: Site, heard: list[HealthEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "_ACTS", {})
    actions.set_admin_state(site.row("alpha"), "draining", actor=ADA, reason="disks")
    assert not HealthEvent.objects.exists()
    monkeypatch.undo()
    entry = AuditEntry.objects.get(action="provider.admin_state")
    assert acts.catch_up(entry.at + timedelta(seconds=5)) == 0, "its own process may still do so"
    for _ in range(2):
        circuits.tend(entry.at + timedelta(seconds=15))
    assert told(line()) == ("admin", "alpha", "active", "draining", "by_hand", "ada")
    assert line().at == entry.at
    assert len(heard) == 1
    assert not acts.write(entry)
    assert HealthEvent.objects.count() == 1


def test_an_open_circuit_whose_time_has_come_moves_on_though_nobody_asks_for_it(site: Site) -> None:
    site.publish(provider("alpha", circuit={"recovery_timeout": 1e-6}))
    site.fail("alpha", times=5)
    circuits.tend()
    assert [told(event)[2:] for event in HealthEvent.objects.order_by("pk")] == [
        ("closed", "open", "consecutive_failures", "traffic"),
        ("open", "half_open", "recovery_timeout", "clock"),
    ]
