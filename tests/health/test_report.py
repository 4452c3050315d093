"""How providers and targets are right now: what the report says, and that its sentences say why."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from health import events, report
from health.models import Check
from health.probes.plan import plan_of
from routes import actions, live
from routes.models import Provider
from routes.snapshots import live_snapshot
from tests.control.conftest import actor
from tests.control.samples import provider

if TYPE_CHECKING:
    from tests.health.conftest import Site

pytestmark = pytest.mark.django_db
ADA = actor("operate")
CLOCK = r"\d\d:\d\d:\d\d UTC"


def test_before_anything_is_published_there_is_nothing(db: None) -> None:
    found = report.read()
    assert (found.live, found.revision, found.providers) == (False, None, ())


def test_where_no_gateway_has_run_everything_is_unknown_and_no_state_is_made(site: Site) -> None:
    site.state.file.path.unlink()
    found = report.read()
    assert not found.live
    assert [(each.slug, each.status) for each in found.providers] == [("alpha", "unknown"), ("beta", "unknown")]
    assert not site.state.file.path.exists()


def test_a_target_nobody_asked_is_unknown_and_usable(site: Site) -> None:
    found = site.health("alpha")
    assert (found.status, found.eligible, found.usable, found.listed_healthy) == ("unknown", True, True, True)
    assert (found.success_rate, found.consecutive_failures, found.average_latency_ms) == (1.0, 0, None)
    assert (found.circuit.state, found.circuit.since, found.next_try) == ("closed", None, None)
    assert found.why == "Nothing has been heard of it: no request in the last hour, no check yet."
    assert found.profiles == ("default",)


def test_the_latency_is_the_first_sample_then_a_fifth_of_each_new_one(site: Site) -> None:
    site.answer("alpha", seconds=1.0)
    assert site.health("alpha").average_latency_ms == 1000
    site.answer("alpha", seconds=2.0)
    found = site.health("alpha")
    assert found.average_latency_ms == 1200
    assert (found.p50_ms, found.p99_ms, found.samples, found.measured) == (1000, 2000, 2, "latency")
    assert report.read().average_latency_ms == 1200
    assert found.why == "Well: answers requests, success rate 100%."


def test_listed_healthy_ends_at_three_failures_in_a_row_and_usable_below_80_percent(site: Site) -> None:
    site.fail("alpha", times=2)
    found = site.health("alpha")
    assert (found.success_rate, found.consecutive_failures, found.usable, found.listed_healthy) == (0.81, 2, True, True)
    site.fail("alpha", "timeout_idle")
    found = site.health("alpha")
    assert (found.success_rate, found.consecutive_failures, found.usable, found.listed_healthy) == (
        0.729, 3, False, False,
    )  # fmt: skip
    assert (found.status, found.eligible) == ("degraded", True), "labels never remove a target"
    assert found.why == "3 failures in a row, last timeout_idle; success rate 73%."


def test_an_open_circuit_says_since_when_why_and_when_it_is_tried_again(site: Site) -> None:
    site.answer("alpha")
    site.fail("alpha", "connect_refused", times=3)
    site.fail("alpha", "timeout_first_byte", times=2)
    found = site.health("alpha")
    assert (found.status, found.circuit.state, found.eligible) == ("unhealthy", "open", False)
    assert found.circuit.until == found.next_try
    assert found.next_try is not None
    assert timedelta(seconds=45) < found.next_try - datetime.now(UTC) < timedelta(seconds=75)
    causes = "3 × connect_refused, 2 × timeout_first_byte"
    assert re.fullmatch(
        rf"Circuit open since {CLOCK}: 5 consecutive failures: {causes}; tried again at {CLOCK}\.", found.why
    )
    assert found.last_error is not None
    assert (found.last_error.error_class, found.last_error.source) == ("timeout_first_byte", "traffic")
    assert [each.error_class for each in found.recent] == [None, *["connect_refused"] * 3, *["timeout_first_byte"] * 2]
    assert site.provider("alpha").status == "unhealthy"


def test_the_outcomes_that_opened_a_circuit_outlast_the_probes_that_follow(site: Site) -> None:
    site.fail("alpha", "upstream_5xx", times=5, status=503)
    state = live.current()
    assert isinstance(state, live.SharedLiveState)
    events.collect(state)
    for _ in range(10):
        site.state.probed(site.target("alpha"), False, "connect_refused", time.monotonic())
    found = site.health("alpha")
    assert {each.source for each in found.recent} == {"probe"}
    assert "5 consecutive failures: 5 × upstream_5xx;" in found.why


def test_an_open_circuit_whose_time_has_come_is_half_open_for_everybody(site: Site) -> None:
    site.publish(provider("alpha", circuit={"recovery_timeout": 1e-6}), provider("beta"))
    site.fail("alpha", times=5)
    found = site.health("alpha")
    assert (found.circuit.state, found.circuit.reason, found.status) == ("half_open", "recovery_timeout", "degraded")
    assert (found.next_try, found.eligible) == (None, True)
    assert found.why.endswith(": its pause is over, it is being tried carefully.")


def test_a_forced_circuit_says_by_whom_until_when_and_why(site: Site) -> None:
    until = timezone.now() + timedelta(days=400)
    actions.force_circuit(site.target("alpha").id, "open", actor=ADA, until=until, reason="wrong answers")
    found = site.health("alpha")
    assert (found.circuit.state, found.circuit.forced, found.circuit.by) == ("open", True, "ada")
    assert (found.circuit.forced_until, found.circuit.reason, found.eligible) == (until, "forced_open", False)
    assert found.next_try is not None
    assert abs(found.next_try - until) < timedelta(seconds=2)
    assert re.fullmatch(
        rf"Circuit held open by ada since {CLOCK} until 20\d\d-\d\d-\d\d {CLOCK} \(“wrong answers”\)\.", found.why
    )
    actions.force_circuit(site.target("alpha").id, "closed", actor=ADA)
    assert site.health("alpha").circuit.state == "closed", "whoever reads has heard of it"
    site.fail("alpha", times=9)
    found = site.health("alpha")
    assert (found.circuit.state, found.circuit.forced, found.eligible) == ("closed", True, True)
    assert "Circuit held closed by ada" in found.why
    assert "until somebody resets it" in found.why
    actions.reset_circuit(site.target("alpha").id, actor=ADA)
    found = site.health("alpha")
    assert (found.circuit.state, found.circuit.forced) == ("closed", False)


def test_a_quarantine_of_a_model_is_that_targets_and_one_of_the_credential_is_everybodys(site: Site) -> None:
    site.publish(
        provider("alpha", models={"a": "up-a", "b": "up-b"}),
        targets=[{"provider": "alpha", "model": "a"}, {"provider": "alpha", "model": "b"}],
    )
    target, now = site.target("alpha / a"), time.monotonic()
    site.state.quarantine(target, "up-a", 30, "rate_limited", now, told=True)
    a, b = site.health("alpha / a"), site.health("alpha / b")
    assert a.quarantine is not None
    assert (a.quarantine.model, a.quarantine.cause, a.quarantine.told) == ("up-a", "rate_limited", True)
    assert (a.next_try, a.eligible, b.quarantine, b.eligible) == (a.quarantine.until, False, None, True)
    said = rf"Quarantined for model up-a until {CLOCK}, as it says itself: "
    assert re.fullmatch(said + r"it answers that it is asked too often \(429\)\.", a.why)
    site.state.quarantine(target, None, 600, "auth_failed", now)
    found = site.provider("alpha")
    assert [each.model for each in found.quarantines] == [None, "up-a"]
    assert found.eligible_targets == 0
    assert "Quarantined for this credential until" in found.why
    assert "it refuses access (401 or 403)" in found.why
    actions.clear_quarantine(site.row("alpha"), actor=ADA)
    assert site.provider("alpha").quarantines == ()
    assert site.provider("alpha").eligible_targets == 2


def test_admin_states_of_provider_and_target_are_told_apart(site: Site) -> None:
    actions.set_admin_state(site.row("alpha"), "draining", actor=ADA, target=site.target("alpha").id, reason="slow")
    found = site.health("alpha")
    assert (found.admin.state, found.admin_in_force, found.eligible, found.next_try) == (
        "draining", "draining", False, None,
    )  # fmt: skip
    assert found.why == "Drained by ada for good (“slow”)."
    assert site.provider("alpha").admin.state == "active"
    until = timezone.now() + timedelta(seconds=90)
    actions.set_admin_state(site.row("alpha"), "disabled", actor=ADA, until=until)
    found = site.health("alpha")
    assert (found.admin.state, found.admin_in_force, found.next_try) == ("draining", "disabled", until)
    assert re.match(rf"Disabled with its provider by ada until (20\d\d-\d\d-\d\d )?{CLOCK}\.", found.why)
    assert site.provider("alpha").why.startswith("Disabled by ada until ")


def test_what_is_over_by_the_clock_is_over_though_nobody_wrote_it_down(site: Site) -> None:
    actions.set_admin_state(site.row("alpha"), "disabled", actor=ADA, until=timezone.now() + timedelta(hours=1))
    Provider.objects.filter(slug="alpha").update(admin_until=timezone.now())
    assert site.provider("alpha").admin.state == "active"
    assert site.health("alpha").eligible


def observe(site: Site, label: str, state: str, **fields: object) -> None:
    """What the probes would write and tell."""
    snapshot, target = live_snapshot(), site.target(label)
    assert snapshot is not None
    [subject] = [each for each in plan_of(snapshot).values() if target.id in {one.id for one in each.targets}]
    now = timezone.now()
    values = {"observed": state, "observed_since": now, "checked_at": now, "kind": "models", **fields}
    values["next_probe_at"] = now + timedelta(seconds=30)
    values |= {"provider_id": target.provider.id, "label": subject.label, "model": subject.model}
    Check.objects.update_or_create(pk=subject.id, defaults=values)
    site.state.set_observed(target.id, state, time.monotonic() + 90)  # type: ignore[arg-type]


def test_a_target_that_checks_found_unhealthy_says_what_they_found_and_when_they_look_again(site: Site) -> None:
    observe(site, "alpha", "unhealthy", error_class="upstream_5xx", message="HTTP 503")
    found = site.health("alpha")
    assert (found.status, found.circuit.state, found.eligible) == ("unhealthy", "closed", False)
    assert found.next_try == found.observed.next_check_at
    assert re.fullmatch(
        rf"Found unhealthy since {CLOCK} by checking its list of models: it failed with a server error \(HTTP 503\); "
        rf"checked again at {CLOCK}\.",
        found.why,
    )
    assert site.provider("alpha").last_check == found.observed.checked_at
    assert site.provider("alpha").why == found.why


def test_a_target_that_checks_found_degraded_says_by_what_figures(site: Site) -> None:
    site.answer("alpha", seconds=0.5)
    site.fail("alpha")
    observe(site, "alpha", "degraded")
    found = site.health("alpha")
    assert (found.status, found.eligible) == ("degraded", True)
    assert re.fullmatch(
        rf"Found degraded since {CLOCK} by checking its list of models: success rate 90%, p95 500 ms\.", found.why
    )


def test_a_check_that_is_asked_for_is_due_now(site: Site) -> None:
    observe(site, "alpha", "healthy")
    Check.objects.update(next_probe_at=datetime(1970, 1, 1, tzinfo=UTC))
    found = report.read()
    [alpha, _] = found.targets
    assert alpha.observed.next_check_at == found.at
    assert re.fullmatch(rf"Well: checked at {CLOCK} by its list of models\.", alpha.why)


def test_a_finding_that_is_too_old_is_unknown_again(site: Site) -> None:
    observe(site, "alpha", "unhealthy")
    site.state.set_observed(site.target("alpha").id, "unhealthy", time.monotonic())
    found = site.health("alpha")
    assert (found.observed.state, found.observed.since, found.status, found.eligible) == (
        "unknown", None, "unknown", True,
    )  # fmt: skip


def test_a_providers_figures_are_of_the_target_that_does_worst(site: Site) -> None:
    both = [{"provider": "alpha", "model": "a"}, {"provider": "alpha", "model": "b"}]
    site.publish(provider("alpha"), targets=both)
    site.answer("alpha / a", seconds=1.0)
    site.answer("alpha / b", seconds=2.0)
    site.fail("alpha / b", times=5)
    found = site.provider("alpha")
    assert (found.consecutive_failures, found.usable, found.listed_healthy) == (5, False, False)
    assert found.success_rate == round(0.9**5, 4)
    assert (found.average_latency_ms, found.status, found.eligible_targets) == (1500, "degraded", 1)
    assert found.why == "1 of 2 targets unhealthy: alpha / b."


def test_the_target_for_decisions_without_a_profile_is_there_once_it_was_used(site: Site) -> None:
    site.publish(provider("alpha"), targets=[{"provider": "alpha", "model": "a"}])
    assert [each.label for each in site.provider("alpha").targets] == ["alpha / a"]
    site.answer("alpha")
    assert [each.label for each in site.provider("alpha").targets] == ["alpha", "alpha / a"]


def test_the_number_of_queries_does_not_grow(site: Site) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            report.read()
        return len(captured)

    site.fail("alpha", times=5)
    report.read()
    few = queries()
    models = [f"m{number}" for number in range(20)]
    site.publish(
        provider("alpha"), provider("beta"), provider("gamma"),
        targets=[{"provider": slug, "model": model} for slug in ("alpha", "beta", "gamma") for model in models],
    )  # fmt: skip
    for model in models:
        site.fail(f"alpha / {model}", times=5)
        observe(site, f"beta / {model}", "healthy")
        actions.set_admin_state(site.row("gamma"), "draining", actor=ADA, target=site.target(f"gamma / {model}").id)
    report.read()
    assert queries() == few
