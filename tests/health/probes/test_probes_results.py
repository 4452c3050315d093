"""What is written down of a probe, what the live state is told, and what the timeline says of a change."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from health import circuits
from health.models import Check, CheckHour, HealthEvent, ProbeResult, TargetHour
from health.probes import claims, labels, results
from health.probes.claims import Job
from health.probes.questions import Finding
from health.probes.tick import stand_in
from routes import actions
from routes.engine.types import Outcome
from routes.models import Provider
from routes.snapshots import live_snapshot
from tests.health.probes.installation import entry, only, plan, publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from health.probes.plan import Subject
    from routes.actions import Actor
    from routes.engine.snapshot import Target
    from routes.live import SharedLiveState

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FINE = Finding("models", True, 12.5, 200)
BROKEN = Finding("models", False, 30.0, 503, "upstream_5xx", "HTTP 503")
REFUSED = Finding("models", False, 30.0, 401, "auth_failed", "HTTP 401")
LIMITED = Finding("models", False, 30.0, 429, "rate_limited", "HTTP 429")


class Line:
    """Results of one check, each 30 s after the one before, on the database's clock and on the engine's."""

    def __init__(self, subject: Subject, live: SharedLiveState) -> None:
        self.subject = subject
        self.live = live
        self.now = NOON
        self.clock = time.monotonic()

    def say(self, *findings: Finding | None) -> str | None:
        for finding in findings:
            self.wait(30)
            lease = self.now + timedelta(seconds=self.subject.pause)
            Check.objects.filter(pk=self.subject.id).update(next_probe_at=lease)
            job = Job(self.subject, "models", self.now, lease)
            said = results.record(job, finding, self.live, self.now, self.clock)
        return said

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.clock += seconds

    @property
    def target(self) -> Target:
        return self.subject.targets[0]

    @property
    def live_state(self) -> str:
        return self.live.observed(self.target.id, self.clock)

    @property
    def row(self) -> Check:
        return Check.objects.get(pk=self.subject.id)

    def next_in(self) -> float:
        return (self.row.next_probe_at - self.now).total_seconds()


@pytest.fixture
def line(admin: Actor, gateway: SharedLiveState) -> Line:
    return Line(only(admin), gateway)


def events() -> list[tuple[str, str, str]]:
    rows = HealthEvent.objects.filter(kind="observed").order_by("pk")
    return [(row.before, row.after, row.reason) for row in rows]


def test_results_change_the_check_the_live_state_and_the_timeline(line: Line) -> None:
    assert line.say(FINE) == line.live_state == "healthy"
    assert line.say(BROKEN, BROKEN) == line.live_state == "healthy"
    assert line.say(BROKEN) == line.live_state == "unhealthy"
    assert line.target.id in line.live.suspects(line.clock)
    assert line.say(FINE) == line.live_state == "unhealthy"
    assert line.say(FINE) == line.live_state == "healthy"
    assert line.target.id not in line.live.suspects(line.clock)
    assert events() == [
        ("unknown", "healthy", "first_check"),
        ("healthy", "unhealthy", "fall"),
        ("unhealthy", "healthy", "rise"),
    ]
    row = line.row
    assert (row.good, row.bad, row.observed, row.checked_at, row.observed_since) == (
        2,
        0,
        "healthy",
        line.now,
        line.now,
    )
    assert (row.kind, row.latency_ms, row.error_class, row.message) == ("models", 12.5, None, "")


def test_a_change_names_the_outcomes_that_caused_it(line: Line) -> None:
    line.say(FINE, BROKEN, REFUSED, BROKEN)
    event = HealthEvent.objects.get(reason="fall")
    assert (event.actor, event.provider, str(event.provider_id)) == ("probe", "acme", line.subject.provider.id)
    assert (event.subject, str(event.target_id)) == (line.target.label, line.target.id)
    assert event.detail["outcomes"] == [
        {
            "at": (NOON + timedelta(seconds=seconds)).timestamp(),
            "ok": False,
            "error_class": error_class,
            "http_status": status,
            "source": "probe",
        }
        for seconds, error_class, status in (
            (60, "upstream_5xx", 503),
            (90, "auth_failed", 401),
            (120, "upstream_5xx", 503),
        )
    ]


def test_one_result_speaks_for_every_target_of_the_endpoint(admin: Actor, gateway: SharedLiveState) -> None:
    targets = [{"provider": "acme", "model": model} for model in ("a", "b", None)]
    (subject,) = publish(admin, entry(), targets=targets).values()
    claims.agree(plan(), NOON)
    line = Line(subject, gateway)
    line.say(BROKEN, BROKEN, BROKEN)
    assert [gateway.observed(target.id, line.clock) for target in subject.targets] == ["unhealthy"] * 3
    event = HealthEvent.objects.get()
    assert (event.subject, str(event.target_id)) == ("acme", subject.id)


def test_the_circuit_hears_of_failures_but_not_of_refused_credentials(line: Line) -> None:
    line.say(*[REFUSED] * 8)
    assert line.live.circuit(line.target, line.clock).state == "closed"
    assert line.live_state == "unhealthy"
    line.say(*[BROKEN] * 5)
    assert line.live.circuit(line.target, line.clock).state == "open"
    line.say(LIMITED)
    assert line.live.circuit(line.target, line.clock).state in ("open", "half_open")
    assert line.live.quarantined_until(line.target, "m", line.clock) is None
    line.say(FINE)
    assert line.live.circuit(line.target, line.clock).state == "half_open", (
        "it may be tried: that is all a probe can do"
    )


def test_a_quarantine_outlives_every_probe(line: Line) -> None:
    line.live.quarantine(line.target, None, 1000, "auth_failed", line.clock)
    line.say(FINE, FINE, BROKEN, REFUSED, FINE)
    assert line.live.quarantined_until(line.target, "m", line.clock) is not None


def test_a_result_lasts_three_intervals_in_the_live_state(line: Line) -> None:
    line.say(BROKEN, BROKEN, BROKEN)
    line.wait(89)
    assert line.live_state == "unhealthy"
    line.wait(2)
    assert line.live_state == "unknown"
    line.say(LIMITED)
    assert line.live_state == "unhealthy", "every result keeps up what is known, one that counts for neither too"


def test_results_are_kept_and_summed_up_by_the_hour(line: Line) -> None:
    line.say(FINE, BROKEN, FINE, LIMITED)
    assert [(row.ok, row.http_status, row.error_class) for row in ProbeResult.objects.order_by("pk")] == [
        (True, 200, None),
        (False, 503, "upstream_5xx"),
        (True, 200, None),
        (False, 429, "rate_limited"),
    ]
    hour = CheckHour.objects.get()
    assert (hour.hour, hour.probes, hour.failures, hour.latency_ms_sum) == (NOON, 4, 2, 25.0)
    line.wait(3600)
    line.say(FINE)
    assert CheckHour.objects.count() == 2


def test_the_next_probe_follows_from_the_interval_and_comes_sooner_in_doubt(line: Line) -> None:
    line.say(FINE)
    assert 27 <= line.next_in() <= 33
    line.say(BROKEN)
    assert 5.4 <= line.next_in() <= 6.6
    line.say(BROKEN, BROKEN)
    assert 5.4 <= line.next_in() <= 33
    line.say(FINE)
    assert 5.4 <= line.next_in() <= 6.6


def test_who_was_asked_for_meanwhile_stays_first_in_line(line: Line) -> None:
    job = Job(line.subject, "models", line.now, line.now + timedelta(seconds=30))
    claims.ask_now([line.subject.id])
    results.record(job, FINE, line.live, line.now, line.clock)
    assert line.row.next_probe_at == claims.ASKED


def test_what_a_paid_probe_really_cost_replaces_what_was_reserved(line: Line) -> None:
    place = ProbeResult.objects.create(
        check_of_id=line.subject.id, at=NOON, kind="completion", ok=False, error_class=claims.PENDING, micro_usd=500
    )
    job = Job(line.subject, "completion", NOON, line.row.next_probe_at, reserved=place.pk)
    results.record(job, Finding("completion", True, 10.0, 200, micro_usd=7), line.live, NOON, line.clock)
    place.refresh_from_db()
    assert (place.ok, place.error_class, place.micro_usd) == (True, None, 7)
    ProbeResult.objects.update(micro_usd=500)
    lost = Finding("completion", False, None, None, "timeout_first_byte", "no answer")
    results.record(job, lost, line.live, NOON, line.clock)
    assert ProbeResult.objects.get().micro_usd == 500, "who knows whether it was charged"


# -- traffic in place of probes --------------------------------------------------------------------------------
def served(line: Line, outcome: Outcome) -> None:
    claim = line.live.claim(line.target, line.clock)
    assert claim is not None
    line.live.finish(claim, line.target, outcome, line.clock)


GOOD = Outcome("success", latency_s=0.1)
BAD = Outcome("failure", latency_s=0.1, timeout_s=1.0, error_class="upstream_5xx")


def test_an_answer_to_a_request_stands_in_for_a_probe(line: Line) -> None:
    assert stand_in(line.subject, line.live, line.clock) is None, "idle"
    served(line, GOOD)
    line.wait(29)
    assert stand_in(line.subject, line.live, line.clock) is not None
    line.wait(2)
    assert stand_in(line.subject, line.live, line.clock) is None, "idle for an interval"


def test_a_target_whose_last_request_failed_or_whose_circuit_is_open_is_asked(line: Line) -> None:
    served(line, GOOD)
    served(line, BAD)
    assert stand_in(line.subject, line.live, line.clock) is None
    served(line, GOOD)
    assert stand_in(line.subject, line.live, line.clock) is not None
    for _ in range(6):
        if line.live.circuit(line.target, line.clock).state == "closed":
            served(line, BAD)
    assert line.live.circuit(line.target, line.clock).state == "open"
    assert stand_in(line.subject, line.live, line.clock) is None


def test_a_probe_does_not_stand_in_for_a_probe(line: Line) -> None:
    line.say(FINE)
    assert stand_in(line.subject, line.live, line.clock) is None


def test_traffic_counts_as_a_check_and_is_no_probe(line: Line) -> None:
    line.say(BROKEN, BROKEN, BROKEN)
    line.say(None)
    row = line.row
    assert (row.observed, row.good, row.kind, row.checked_at, row.error_class) == (
        "unhealthy", 1, "traffic", line.now, None,
    )  # fmt: skip
    assert line.say(None) == line.live_state == "healthy"
    assert ProbeResult.objects.count() == CheckHour.objects.get().probes == 3


# -- forgetting ------------------------------------------------------------------------------------------------
def forget_old(line: Line) -> int:
    snapshot = live_snapshot()
    assert snapshot is not None
    return circuits.forget_old(snapshot, line.live, line.now, line.clock)


def test_what_nobody_asked_about_for_three_intervals_is_unknown(line: Line) -> None:
    line.say(FINE)
    line.wait(89)
    assert forget_old(line) == 0
    line.wait(2)
    assert [forget_old(line), forget_old(line)] == [1, 0]
    assert events()[-1] == ("healthy", "unknown", "stale")
    row = line.row
    assert (row.observed, row.good, row.bad, row.observed_since) == ("unknown", 0, 0, line.now)
    line.say(FINE)
    assert events()[-1] == ("unknown", "healthy", "first_check")


def test_a_clock_that_jumps_ahead_makes_nothing_stale(line: Line) -> None:
    line.say(BROKEN, BROKEN, BROKEN)
    line.now += timedelta(hours=1)
    assert forget_old(line) == 0
    assert (line.live_state, line.row.observed) == ("unhealthy", "unhealthy")


def test_a_target_that_is_not_probed_any_more_comes_back_at_once(admin: Actor, line: Line) -> None:
    line.say(BROKEN, BROKEN, BROKEN)
    publish(admin, entry(probe={"kind": "off"}))
    claims.agree(plan(), line.now)
    assert forget_old(line) == 1
    assert line.live_state == "unknown"
    assert events()[-1] == ("unhealthy", "unknown", "not_probed")


def test_a_new_credential_is_a_new_beginning(
    admin: Actor, line: Line, django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[Any]]
) -> None:
    line.say(REFUSED, REFUSED, REFUSED)
    acme = Provider.objects.get()
    with django_capture_on_commit_callbacks(execute=True):
        actions.update_provider(acme, {"name": "Other"}, actor=admin)
    assert line.row.observed == "unhealthy"
    with django_capture_on_commit_callbacks(execute=True):
        actions.update_provider(acme, {"credential": {"value": "sk-another-one"}}, actor=admin)
    assert (line.row.observed, line.row.next_probe_at) == ("unknown", claims.ASKED)
    assert line.live_state == "unknown"
    assert events()[-1] == ("unhealthy", "unknown", "credential_changed")
    assert line.say(FINE) == "healthy"


def test_a_new_credential_changes_nothing_for_who_is_down(
    admin: Actor, line: Line, django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[Any]]
) -> None:
    line.say(BROKEN, BROKEN, BROKEN)
    with django_capture_on_commit_callbacks(execute=True):
        actions.update_provider(Provider.objects.get(), {"credential": {"value": "sk-another-one"}}, actor=admin)
    assert (line.row.observed, line.live_state) == ("unhealthy", "unhealthy")


# -- degraded --------------------------------------------------------------------------------------------------
def served_in(line: Line, seconds: float, times: int) -> None:
    for _ in range(times):
        served(line, Outcome("success", latency_s=seconds))


def test_who_fails_now_and_then_is_degraded_and_stays_in_traffic(line: Line) -> None:
    line.say(FINE)
    served(line, BAD)
    assert line.say(FINE) == "degraded"
    assert line.target.id not in line.live.suspects(line.clock)
    served_in(line, 0.1, 10)
    assert line.say(FINE) == "healthy"
    assert events()[1:] == [("healthy", "degraded", "failing"), ("degraded", "healthy", "recovered")]


def test_failures_of_long_ago_are_no_complaint(line: Line) -> None:
    served(line, BAD)
    line.wait(3700)
    assert line.say(FINE) == "healthy"


def test_who_is_twice_as_slow_as_usual_is_degraded(line: Line) -> None:
    def hours_of(line: Line, *p95s: float, samples: int) -> None:
        TargetHour.objects.all().delete()
        for age, p95 in enumerate(p95s, start=1):
            hour = NOON - timedelta(hours=age)
            TargetHour.objects.create(target_id=line.target.id, hour=hour, p95_ms=p95, samples=samples)

    served_in(line, 0.5, 30)
    assert line.say(FINE) == "healthy", "nobody knows what is usual"
    hours_of(line, 200, 210, 900, samples=33)
    assert line.say(FINE) == "healthy", "99 samples are too few to know it"
    hours_of(line, 260, 260, 20, samples=50)
    assert line.say(FINE) == "healthy", "500 ms is not twice 260"
    hours_of(line, 200, 210, 900, samples=50)
    assert line.say(FINE) == "degraded"
    assert HealthEvent.objects.latest("pk").reason == "slow"
    hours_of(line, *[1000.0] * 30, samples=50)
    TargetHour.objects.filter(hour__gte=NOON - timedelta(hours=20)).delete()
    assert labels.baseline_ms(line.target.id, NOON) == 1000
    assert labels.baseline_ms(line.target.id, NOON + timedelta(hours=24)) is None


def test_the_p95_of_an_hour_is_written_once_by_whoever_comes_first(line: Line) -> None:
    served_in(line, 0.2, 19)
    served_in(line, 2.0, 1)
    snapshot = live_snapshot()
    assert snapshot is not None
    circuits._written = None
    later = NOON.replace(minute=3) + timedelta(hours=1)
    for moment in (later, later + timedelta(minutes=5)):
        circuits.write_hour(snapshot, line.live, moment, line.clock)
    circuits._written = None  # another worker
    circuits.write_hour(snapshot, line.live, later + timedelta(minutes=6), line.clock)
    assert TargetHour.objects.values_list("hour", "p95_ms", "samples").get() == (NOON, 200.0, 20)


def test_secrets_are_nowhere_in_what_is_kept(line: Line) -> None:
    line.say(FINE, BROKEN, REFUSED, REFUSED)
    kept: list[Any] = [*Check.objects.values(), *ProbeResult.objects.values(), *HealthEvent.objects.values()]
    assert "correct-horse" not in repr(kept)
