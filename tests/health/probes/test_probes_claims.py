"""Whose turn it is to be asked, and that nobody is asked twice: workers on both databases, gaps, caps."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.utils import timezone

from health.models import Check, ProbeResult
from health.probes import claims
from health.probes.questions import TOKENS
from routes import actions
from routes.models import Provider
from tests.health.probes.installation import all_due, entry, only, plan, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from health.probes.claims import Job
    from routes.actions import Actor

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def nobody(_subject: Any) -> None:
    """No traffic."""


def claim(now: datetime, limit: int = 100) -> list[Job]:
    return claims.claim(plan(), now, limit, nobody)


def side_by_side(count: int, work: Callable[[], Any]) -> list[Any]:
    """``work`` in threads that begin together, each with a connection of its own to the database of this test."""
    together = threading.Barrier(count)
    alias = connections["default"].alias

    def run(_: int) -> Any:
        connections["default"] = connections[alias]
        try:
            together.wait(10)
            return work()
        finally:
            connections[alias].close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.django_db(databases=["default", "pg"], transaction=True)
def test_workers_that_claim_at_once_share_what_is_due_and_ask_nobody_twice(both_databases: None, admin: Actor) -> None:
    publish(admin, *(entry(f"p{number}") for number in range(40)))
    now = timezone.now()
    assert side_by_side(3, lambda: claims.agree(plan(), now)) == [None] * 3
    assert Check.objects.count() == 40
    all_due(now)

    claimed = [job.subject.id for jobs in side_by_side(4, lambda: claim(now, limit=15)) for job in jobs]
    while jobs := claim(now, limit=15):  # who met another's locks left some
        claimed += [job.subject.id for job in jobs]

    assert sorted(claimed) == sorted(plan())
    soon = now + timedelta(seconds=29)
    assert [jobs for jobs in side_by_side(4, lambda: claim(soon)) if jobs] == []


@pytest.mark.django_db(databases=["default", "pg"], transaction=True)
def test_a_cap_holds_for_workers_that_claim_at_once(both_databases: None, admin: Actor) -> None:
    models = {f"m{number}": f"m{number}" for number in range(12)}
    probe = {"kind": "completion", "daily_requests": 5}
    targets = [{"provider": "acme", "model": model} for model in models]
    publish(admin, entry(models=models, probe=probe), targets=targets)
    claims.agree(plan(), NOON)
    all_due(NOON)

    kinds = [job.kind for jobs in side_by_side(4, lambda: claim(NOON, limit=3)) for job in jobs]
    kinds += [job.kind for job in claim(NOON)]

    assert (kinds.count("completion"), kinds.count("models")) == (5, 7)
    assert ProbeResult.objects.filter(kind="completion", error_class=claims.PENDING).count() == 5


def test_a_new_check_is_due_within_its_interval_and_half_a_minute(admin: Actor) -> None:
    plan_ = publish(
        admin, *(entry(f"p{number}", probe={"interval": 10 if number % 2 else 3600}) for number in range(30))
    )
    claims.agree(plan_, NOON)
    after = {
        row.provider.slug: (row.next_probe_at - NOON).total_seconds()
        for row in Check.objects.select_related("provider")
    }
    assert len(set(after.values())) == 30, "spread, so that they do not go on together"
    assert all(0 <= seconds <= 30 for seconds in after.values())
    assert all(seconds <= 10 for slug, seconds in after.items() if int(slug[1:]) % 2)


def test_nobody_is_asked_before_its_time(admin: Actor) -> None:
    only(admin)
    Check.objects.update(next_probe_at=NOON)
    assert claim(NOON - timedelta(seconds=1)) == []
    assert len(claim(NOON)) == 1
    assert claim(NOON) == []


def test_after_a_gap_everybody_is_asked_once_however_long_it_was(admin: Actor) -> None:
    publish(admin, *(entry(f"p{number}") for number in range(10)))
    claims.agree(plan(), NOON)
    later = NOON + timedelta(hours=5)
    assert len(claim(later)) == 10
    for seconds in range(0, 30, 2):
        assert claim(later + timedelta(seconds=seconds)) == []
    assert len(claim(later + timedelta(seconds=30))) == 10


def test_a_claim_whose_owner_died_lapses(admin: Actor) -> None:
    only(admin, probe={"interval": 1, "timeout": 10})
    all_due(NOON)
    assert len(claim(NOON)) == 1
    assert claim(NOON + timedelta(seconds=14)) == [], "it may still be waiting for its answer"
    assert len(claim(NOON + timedelta(seconds=15))) == 1


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1)])
def test_neither_a_clock_that_was_set_back_nor_an_interval_that_was_longer_keeps_anybody_waiting(
    admin: Actor, ahead: timedelta
) -> None:
    subject = only(admin)
    all_due(NOON + ahead)
    claims.agree(plan(), NOON)
    assert claim(NOON + timedelta(seconds=30)) != []
    Check.objects.update(next_probe_at=NOON + timedelta(seconds=subject.pause) + claims.FARTHEST)
    claims.agree(plan(), NOON)
    assert claim(NOON + timedelta(seconds=30)) == [], "another host's clock may be ahead"


def test_what_left_the_configuration_is_never_due_and_comes_back_with_it(admin: Actor) -> None:
    publish(admin, entry("one"), entry("two"))
    claims.agree(plan(), NOON)
    publish(admin, entry("one"), entry("two", probe={"kind": "off"}))
    claims.agree(plan(), NOON)
    later = NOON + timedelta(days=1)
    assert [job.subject.provider.slug for job in claim(later)] == ["one"]
    publish(admin, entry("one"), entry("two"))
    claims.agree(plan(), later)
    assert [job.subject.provider.slug for job in claim(later + timedelta(seconds=30))] == ["two", "one"]
    assert Check.objects.count() == 2


def test_somebody_who_asks_goes_first_and_is_not_answered_by_traffic(admin: Actor) -> None:
    publish(admin, entry("one"), entry("two"))
    claims.agree(plan(), NOON)
    all_due(NOON)
    assert claims.ask_now(each.id for each in plan().values() if each.provider.slug == "two") == 1
    asked: list[str] = []

    def stands_in(subject: Any) -> None:
        asked.append(subject.provider.slug)

    (job,) = claims.claim(plan(), NOON, 1, stands_in)
    assert job.subject.provider.slug == "two"
    assert asked == [], "traffic was not even looked at"
    publish(admin, entry("one"))
    claims.agree(plan(), NOON)
    assert claims.ask_now([job.subject.id]) == 0, "there is nothing to ask about any more"


# -- caps ------------------------------------------------------------------------------------------------------
PRICE = {"input": 1000, "output": 1000}
COST = sum(TOKENS) * 1000  # in millionths of a dollar


def paid(admin: Actor, **probe: Any) -> Callable[[datetime], str]:
    """Asks for the kind of the next probe of a provider with completions."""
    only(admin, models={"m": "m"}, prices={"m": PRICE}, probe={"kind": "completion", **probe})

    def kind(now: datetime) -> str:
        all_due(now)
        (job,) = claim(now)
        return job.kind

    return kind


def test_a_cap_in_requests_holds_until_the_day_ends(admin: Actor) -> None:
    kind = paid(admin, daily_requests=2)
    assert [kind(NOON) for _ in range(4)] == ["completion", "completion", "models", "models"]
    assert kind(NOON + timedelta(hours=11, minutes=59)) == "models"
    assert kind(NOON + timedelta(hours=12)) == "completion", "the UTC day is over"


def test_a_cap_in_money_holds_before_the_money_is_spent(admin: Actor) -> None:
    kind = paid(admin, daily_usd=COST * 2.5 / 1_000_000)
    assert [kind(NOON) for _ in range(3)] == ["completion", "completion", "models"]


def test_without_a_price_a_cap_in_money_lets_nothing_through(admin: Actor) -> None:
    only(admin, models={"m": "m"}, probe={"kind": "completion", "daily_usd": 100})
    all_due(NOON)
    assert [job.kind for job in claim(NOON)] == ["models"]


def test_without_caps_every_probe_is_a_request_and_a_disabled_provider_is_not_worth_one(admin: Actor) -> None:
    kind = paid(admin)
    assert [kind(NOON) for _ in range(5)] == ["completion"] * 5
    actions.set_admin_state(Provider.objects.get(), "disabled", actor=admin)
    assert kind(NOON) == "models"
