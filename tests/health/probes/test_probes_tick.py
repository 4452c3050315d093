"""What Celery calls: from what is due to what is written down, with real providers, in the worker's own threads."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from health import tasks, upkeep
from health.models import Check, CheckHour, HealthEvent, ProbeResult, TargetHour
from health.probes import claims
from health.probes.tick import tick
from routes.models import HeadSet
from routing_project.celery import SCHEDULE
from tests.health.probes.installation import CREDENTIAL, all_due, entry, plan, publish
from tests.history import rows, samples

if TYPE_CHECKING:
    from datetime import datetime

    from routes.actions import Actor
    from routes.live import SharedLiveState
    from tests.simulators import ProviderHandle, Simulator

pytestmark = pytest.mark.django_db(transaction=True)


def probe(now: datetime | None = None) -> list[Any]:
    """One tick with every check due, and what came of its probes."""
    now = now or timezone.now()
    tick(now - timedelta(days=1))  # the rows are there
    all_due(now)
    return [begun.result(10) for begun in tick(now)]


def test_a_tick_asks_who_is_due_with_the_credential_of_the_moment(
    admin: Actor, gateway: SharedLiveState, openai: ProviderHandle, asking: None
) -> None:
    openai.behave(credential=CREDENTIAL)
    publish(admin, entry(base_url=openai.base_url))
    assert probe() == ["healthy"]
    row = Check.objects.get()
    assert (row.observed, row.kind, row.error_class) == ("healthy", "models", None)
    assert row.latency_ms is not None
    assert openai.count() == 1
    assert tick() == [], "it was asked a moment ago"
    openai.behave(credential="another")
    probe()
    assert Check.objects.get().error_class == "auth_failed"


def test_nothing_published_is_nothing_to_do(gateway: SharedLiveState, asking: None) -> None:
    assert tick() == []


def test_a_provider_that_hangs_holds_up_neither_the_tick_nor_the_others(
    admin: Actor, gateway: SharedLiveState, simulator: Simulator, asking: None
) -> None:
    slow, quick = simulator.add("slow"), simulator.add("quick")
    slow.fail("hang_before_headers")
    publish(admin, *(entry(each.name, each.base_url, probe={"timeout": 30}) for each in (slow, quick)))
    now = timezone.now()
    tick(now - timedelta(days=1))
    all_due(now)
    begun = tick(now)
    assert len(begun) == 2
    while not any(each.done() for each in begun):
        pass
    assert [each.result() for each in begun if each.done()] == ["healthy"]
    assert sorted(Check.objects.values_list("label", "observed")) == [("quick", "healthy"), ("slow", "unknown")]


def test_a_provider_with_traffic_is_not_asked(
    admin: Actor, gateway: SharedLiveState, openai: ProviderHandle, asking: None
) -> None:
    import time

    from routes.engine.types import Outcome

    publish(admin, entry(base_url=openai.base_url))
    (subject,) = plan().values()
    (target,) = subject.targets
    claim = gateway.claim(target, time.monotonic())
    assert claim is not None
    gateway.finish(claim, target, Outcome("success", latency_s=0.1), time.monotonic())
    assert probe() == []
    assert openai.count() == 0
    row = Check.objects.get()
    assert (row.observed, row.kind) == ("healthy", "traffic")
    assert HealthEvent.objects.get().detail["outcomes"][-1]["source"] == "traffic"


def test_a_head_that_is_offline_is_not_asked(admin: Actor, gateway: SharedLiveState, openai: ProviderHandle) -> None:
    from health.probes.plan import plan_of
    from health.probes.tick import away
    from tests.documents import head, provider, snapshot

    entries = [provider("acme", probe={"kind": "models"}, heads=[head("one")])]
    (subject,) = plan_of(snapshot(entries)).values()
    assert away(subject, gateway, 10.0)
    gateway.hear_head(subject.endpoint.head_key, None, False, 25.0, 10.0)
    assert not away(subject, gateway, 24.0)
    assert away(subject, gateway, 26.0)


def test_secrets_are_in_no_row_no_task_and_no_line(
    admin: Actor,
    gateway: SharedLiveState,
    openai: ProviderHandle,
    asking: None,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    openai.fail("status", status=401, message=f"the key {CREDENTIAL} is not known")
    publish(admin, entry(base_url=openai.base_url))
    assert probe() == ["unknown"]
    rows = [*Check.objects.values(), *ProbeResult.objects.values(), *HealthEvent.objects.values()]
    assert rows[0]["message"] == "HTTP 401: the key *** is not known"
    assert CREDENTIAL not in repr(rows) + caplog.text + "".join(capsys.readouterr())


def test_the_tasks_are_scheduled_and_expire_before_their_successors() -> None:
    for name, task in (
        ("probes", tasks.probe_what_is_due),
        ("circuits", tasks.tend_circuits),
        ("upkeep", tasks.remove_old),
    ):
        assert SCHEDULE[name]["task"] == task.name
        if isinstance(SCHEDULE[name]["schedule"], float):
            assert SCHEDULE[name]["options"]["expires"] <= SCHEDULE[name]["schedule"]
        assert "args" not in SCHEDULE[name]


def test_the_task_for_circuits_forgets_what_is_old(
    admin: Actor, gateway: SharedLiveState, openai: ProviderHandle, asking: None
) -> None:
    publish(admin, entry(base_url=openai.base_url))
    probe()
    tasks.tend_circuits()
    assert Check.objects.get().observed == "healthy"
    Check.objects.update(checked_at=timezone.now() - timedelta(seconds=91))
    tasks.tend_circuits()
    assert Check.objects.get().observed == "healthy", "only the wall clock moved"
    for subject in plan().values():
        for target in subject.targets:
            gateway.set_observed(target.id, "healthy", time.monotonic())
    tasks.tend_circuits()
    assert Check.objects.get().observed == "unknown"


def test_upkeep_removes_what_is_old_and_nothing_else(
    admin: Actor, gateway: SharedLiveState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "CHUNK", 2)
    now = timezone.now()
    publish(admin, entry("one"), entry("two"))
    claims.agree(plan(), now)
    one, two = Check.objects.order_by("label")
    for check in (one, two):
        for age in (23, 25, 26, 27):
            ProbeResult.objects.create(check_of=check, at=now - timedelta(hours=age), kind="tcp", ok=True)
        for days in (6, 8):
            CheckHour.objects.create(check_of=check, hour=now - timedelta(days=days))
            TargetHour.objects.create(target_id=check.pk, hour=now - timedelta(days=days), p95_ms=1, samples=1)
    for days in (29, 31, 32):
        HealthEvent.objects.create(
            at=now - timedelta(days=days), kind="head", subject="h", after="online", reason="registered", actor="x"
        )
    for days in (0, 29, 40, 50, 60):
        HeadSet.objects.create(digest=str(days), document_zlib=HeadSet.pack([]), used_at=now - timedelta(days=days))
    assert upkeep.remove_old(now) == {
        "results": 6, "check_hours": 2, "target_hours": 2, "events": 2, "head_sets": 2, "checks": 0,
    }  # fmt: skip
    assert sorted(HeadSet.objects.values_list("digest", flat=True)) == ["0", "29", "40"], (
        "40 was in force until 29 came"
    )

    for days in (50, 60):
        HeadSet.objects.create(digest=str(days), document_zlib=HeadSet.pack([]), used_at=now - timedelta(days=days))
    rows.store(samples.finished(rows.at(now - timedelta(days=45))))
    assert upkeep.remove_old(now)["head_sets"] == 1
    assert sorted(HeadSet.objects.values_list("digest", flat=True)) == ["0", "29", "40", "50"], (
        "a request of when 50 was in force is there still"
    )

    publish(admin, entry("one"))
    claims.agree(plan(), now)
    assert upkeep.remove_old(now)["checks"] == 0, "what it has spent today still counts"
    removed = upkeep.remove_old(now + timedelta(days=8))
    assert (removed["checks"], list(Check.objects.values_list("label", flat=True))) == (1, ["one"])
