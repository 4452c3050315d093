"""What becomes an event for rules: of the timeline, of the audit trail, of the state of providers, of figures."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.urls import resolve

from health import events as timeline
from health.alerts import events, matching, outages, rates
from health.alerts.kinds import EVENTS, AlertEvent, Over
from health.heads import actions as heads
from health.heads import liveness
from health.heads.documents import HeadRegistration
from health.models import Alert, AlertDelivery, HealthEvent, ProviderOutage
from history import status
from routes import actions
from routes.engine.types import Outcome
from routes.models import Provider
from routes.snapshots import live_snapshot
from tests.alerts.conftest import ADA, NOON, after, channel, rule
from tests.control import samples as configuration
from tests.history import rows, samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from routes.live import SharedLiveState
    from routing_project.env import Env

pytestmark = pytest.mark.django_db
PROVIDER = UUID(int=7)
FAILED = {"at": 1.0, "ok": False, "error_class": "upstream_5xx", "http_status": 503, "source": "traffic"}
TWO = [samples.attempt(error_class="upstream_5xx", http_status=503), samples.attempt()]
REFUSED = {"at": 2.0, "ok": False, "error_class": "connect_refused", "http_status": None, "source": "probe"}


def event(kind: str, before: str, after_: str, reason: str = "consecutive_failures", **fields: Any) -> HealthEvent:
    values = {"subject": "acme / m", "provider": "acme", "provider_id": PROVIDER, "actor": "traffic", **fields}
    return HealthEvent(at=NOON, kind=kind, before=before, after=after_, reason=reason, **values)


@pytest.mark.parametrize(
    ("happened", "wanted"),
    [
        (event("circuit", "closed", "open"), ["circuit_opened"]),
        (event("circuit", "open", "half_open"), []),
        (event("circuit", "half_open", "open"), ["circuit_opened"]),
        (event("circuit", "half_open", "closed"), ["circuit_closed", "over circuit_opened"]),
        (event("circuit", "closed", "closed", "forced_closed"), ["over circuit_opened"]),
        (event("circuit", "open", "open", "forced_open"), []),
        (event("head", "", "registered", "registered"), ["over head_offline", "head_registered"]),
        (event("head", "offline", "registered", "registered_again"), ["over head_offline", "head_registered"]),
        (event("head", "online", "offline", "heartbeats_stopped"), ["head_offline"]),
        (event("head", "offline", "online", "heartbeat"), ["over head_offline"]),
        (event("head", "offline", "deregistered", "offline_too_long"), ["over head_offline"]),
        (event("head", "waiting", "approved", "approved"), []),
        (event("head", "active", "draining", "reported"), []),
        (event("budget", "", "80", "usd_day"), ["budget_warning"]),
        (event("budget", "80", "100", "usd_month"), ["budget_exceeded"]),
        (event("observed", "healthy", "unhealthy"), []),
        (event("admin", "active", "disabled"), []),
        (event("quarantine", "", "rate_limit"), []),
    ],
    ids=lambda value: f"{value.kind}-{value.before}-{value.after}" if isinstance(value, HealthEvent) else "",
)
def test_an_entry_of_the_timeline_is_the_event_that_people_know(happened: HealthEvent, wanted: list[str]) -> None:
    found = events.read_health(happened)
    assert [f"over {each.kind}" if isinstance(each, Over) else each.kind for each in found] == wanted
    for each in found:
        assert each.kind in EVENTS
        if isinstance(each, AlertEvent):
            assert resolve(each.path), "the link leads to a page"


def test_an_event_tells_the_outcomes_that_caused_it_and_who_acted() -> None:
    (found,) = events.read_health(event("circuit", "closed", "open", detail={"outcomes": [FAILED, REFUSED]}))
    assert isinstance(found, AlertEvent)
    assert found.title == "Circuit opened: acme / m"
    assert found.text == "Circuit opened: 2 consecutive failures: 1 × upstream_5xx, 1 × connect_refused."
    assert dict(found.fields)["Last outcomes"] == "503 upstream_5xx, connect_refused"
    assert dict(found.fields)["By"] == "traffic"


def test_two_budgets_of_a_key_are_two_matters() -> None:
    day, month = (events.read_health(event("budget", "", "100", f"usd_{name}"))[0] for name in ("day", "month"))
    assert day.key != month.key
    assert isinstance(day, AlertEvent)
    assert "its budget of the day" in day.text


@pytest.mark.django_db(transaction=True)
def test_what_is_recorded_is_told_after_the_commit_and_a_rolled_back_one_never() -> None:
    from django.db import transaction

    rule("all", channel(), events=("circuit_opened",))
    with transaction.atomic():
        _record("open")
        transaction.set_rollback(True)
    assert not AlertDelivery.objects.exists()
    _record("open")
    assert AlertDelivery.objects.get().message["title"] == "Circuit opened: acme / m"


def _record(after_: str) -> None:
    timeline.record(
        "circuit", subject="acme / m", before="closed", after=after_, reason="consecutive_failures", actor="traffic"
    )


@pytest.mark.django_db(transaction=True)
def test_publishing_and_a_change_of_the_policy_are_told() -> None:
    rule("all", channel(), events=("policy_updated", "config_published"))
    actions.create_provider(configuration.provider(), actor=ADA)
    actions.update_policy({"default_strategy": "weighted"}, actor=ADA)
    actions.publish(actor=ADA, message="first")
    actions.rollback(1, actor=ADA)
    texts = [row.message["text"] for row in AlertDelivery.objects.order_by("created_at")]
    assert texts == [
        "ada changed the routing policy of the draft: default_strategy.",
        "ada published revision 1: 2 changes.",
        "ada brought back an older configuration as revision 2: 0 changes.",
    ]


@pytest.mark.django_db(transaction=True)
def test_an_alert_that_cannot_be_queued_harms_neither_the_event_nor_the_next_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rule("all", channel())
    take = matching.take

    def broken(event: AlertEvent, *rest: Any) -> None:
        if event.subject == "bad":
            raise ZeroDivisionError
        take(event, *rest)

    monkeypatch.setattr(matching, "take", broken)
    happened = [event("circuit", "closed", "open", subject=name) for name in ("bad", "good")]
    with caplog.at_level(logging.ERROR):
        timeline.tell(happened)
    assert AlertDelivery.objects.get().message["subject"] == "good"


# -- providers -----------------------------------------------------------------------------------------
@pytest.fixture
def fail(gateway: SharedLiveState) -> Callable[..., None]:
    """Two published providers; opens the circuit of one's target, as failing requests do."""
    for slug in ("alpha", "beta"):
        actions.create_provider(configuration.provider(slug), actor=ADA)
    targets = [{"provider": "alpha", "model": "a"}, {"provider": "alpha", "model": "b"}, {"provider": "beta"}]
    actions.create_profile(configuration.profile("default", *targets), actor=ADA)
    actions.publish(actor=ADA)
    snapshot = live_snapshot()
    assert snapshot is not None
    gateway.published(snapshot)

    def open_circuit(model: str | None, provider: str = "alpha") -> None:
        (target,) = (
            each
            for each in snapshot.profiles["default"].targets
            if (each.provider.slug, each.model) == (provider, model)
        )
        for _ in range(5):
            now = time.monotonic()
            claim = gateway.claim(target, now)
            assert claim is not None
            gateway.settle(claim, target, Outcome("failure", error_class="upstream_5xx"), now)

    return open_circuit


def told() -> list[tuple[str, str]]:
    return list(Alert.objects.order_by("id").values_list("kind", "subject"))


def test_a_provider_is_down_when_every_target_is_out_and_up_when_one_works_again(
    fail: Callable[..., None], gateway: SharedLiveState
) -> None:
    rule("all", channel(), events=("provider_down", "provider_up"))
    fail("a")
    outages.look(now=NOON)
    assert told() == []
    fail("b")
    outages.look({"beta"}, now=NOON)
    assert told() == [], "only whoever is named is looked at"
    outages.look({"alpha"}, now=NOON)
    outages.look(now=after(minutes=1))
    assert told() == [("provider_down", "alpha")]
    assert ProviderOutage.objects.get().since == NOON
    assert "All 2 targets of it are out" in Alert.objects.get().text
    snapshot = live_snapshot()
    assert snapshot is not None
    target = snapshot.profiles["default"].targets[0]
    actions.reset_circuit(target.id, actor=ADA)
    outages.look(now=after(minutes=5))
    outages.look(now=after(minutes=6))
    assert told() == [("provider_down", "alpha"), ("provider_up", "alpha")]
    assert Alert.objects.get(kind="provider_down").over_at == after(minutes=5)
    assert "after about 5 min" in Alert.objects.get(kind="provider_up").text
    assert not ProviderOutage.objects.exists()


def test_targets_that_probes_found_unhealthy_are_out_too(fail: Callable[..., None], gateway: SharedLiveState) -> None:
    rule("all", channel(), events=("provider_down",))
    snapshot = live_snapshot()
    assert snapshot is not None
    fail("a")
    gateway.set_observed(snapshot.profiles["default"].targets[1].id, "unhealthy", time.monotonic() + 60)
    events.heard(None, [event("observed", "healthy", "unhealthy", provider="alpha")])
    assert told() == [("provider_down", "alpha")]


def test_a_provider_that_people_set_aside_is_not_down(fail: Callable[..., None]) -> None:
    rule("all", channel(), events=("provider_down",))
    fail(None, "beta")
    actions.set_admin_state(Provider.objects.get(slug="beta"), "disabled", actor=ADA)
    outages.look(now=NOON)
    assert told() == []


def test_an_outage_of_a_provider_that_left_the_configuration_ends_in_silence(fail: Callable[..., None]) -> None:
    rule("all", channel(), events=("provider_up",))
    ProviderOutage.objects.create(pk=UUID(int=9), provider="gone", since=NOON)
    outages.look(now=NOON)
    assert told() == []
    assert not ProviderOutage.objects.exists()


@pytest.mark.usefixtures("fail")
def test_a_provider_is_down_while_all_of_its_heads_are_offline_and_nothing_stands_in_for_them() -> None:
    rule("all", channel(), events=("provider_down", "provider_up"))
    beta = str(Provider.objects.get(slug="beta").pk)
    wanted = {"head_id": "one", "provider": "beta", "endpoint": "https://one.example/v1"}
    heads.register(HeadRegistration.model_validate(wanted), actor=ADA)
    heads.approve("one", actor=ADA)
    outages.look(now=NOON)
    assert told() == []
    liveness.forget(beta, "one")
    outages.look(now=NOON)
    assert told() == [("provider_down", "beta")]
    liveness.hear(beta, "one", None, False)
    outages.look(now=after(minutes=5))
    assert told() == [("provider_down", "beta"), ("provider_up", "beta")]


def test_where_no_gateway_has_ever_run_nobody_is_down(env: Env) -> None:
    outages.look()
    assert not env.live_path.exists()


# -- figures -------------------------------------------------------------------------------------------
@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_failovers_and_refusals_of_the_window_are_measured_against_the_rules_thresholds() -> None:
    events_ = ("failover_rate", "no_target")
    rule(
        "all",
        channel(),
        events=events_,
        window=300,
        thresholds={"failover_rate": 25, "min_requests": 8, "no_target": 2},
    )
    rule(
        "patient", channel("other"), events=events_, thresholds={"failover_rate": 90, "min_requests": 1, "no_target": 9}
    )
    start = after(minutes=-4)
    bad = {"status": "rejected", "error_code": "no_target_available", "attempts": []}
    rows.store(
        *(samples.finished(rows.at(start, n)) for n in range(4)),
        *(samples.finished(rows.at(start, 10 + n), attempts=TWO, attempt_count=2) for n in range(2)),
        samples.finished(rows.at(start, 20), **bad),
        samples.finished(rows.at(after(minutes=-6), 30), **bad),
    )
    rates.look(NOON)
    assert told() == [], "seven requests prove nothing, and one refusal in the window is not two"
    rows.store(samples.finished(rows.at(start, 21), **bad))
    rates.look(NOON)
    assert sorted(told()) == [("failover_rate", "25.0 % of requests"), ("no_target", "")]
    text = Alert.objects.get(kind="failover_rate").text
    assert text == "2 of 8 requests of the last 5 min needed more than one attempt: 25.0 %, and 25 % is the threshold."
    assert Alert.objects.get(kind="no_target").text.startswith("2 requests were refused in the last 5 min")
    rates.look(after(minutes=0.5))
    assert set(Alert.objects.values_list("count", "told_count", "over_at")) == {(2, 1, None)}
    rates.look(after(minutes=10))
    assert set(Alert.objects.values_list("count", "over_at")) == {(2, after(minutes=10))}


def test_a_backlog_of_the_journal_is_what_the_shipper_says(env: Env) -> None:
    rule("all", channel(), events=("journal_backlog",), thresholds={"journal_backlog": 2})
    env.make_folders()
    status.write(env.journal_dir, status.ShipperStatus(backlog_bytes=2 * 1024 * 1024 - 1))
    rates.look(NOON)
    assert told() == []
    status.write(env.journal_dir, status.ShipperStatus(backlog_bytes=5 * 1024 * 1024))
    rates.look(NOON)
    assert told() == [("journal_backlog", "5 MiB")]


def test_figures_that_nobody_knows_are_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    from routes import ports

    monkeypatch.setattr(ports, "_tally", None)
    monkeypatch.setattr(ports, "_backlog", None)
    rule("all", channel(), events=("failover_rate", "no_target", "journal_backlog"))
    rates.look(NOON)
    assert told() == []
