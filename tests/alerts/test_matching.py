"""What is told, what is only counted, and what is told later."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from django.db import connections

from health.alerts import actions, matching
from health.models import Alert, AlertDelivery
from tests.alerts.conftest import ADA, NOON, after, channel, opened, rule

pytestmark = pytest.mark.django_db


def titles() -> list[str]:
    """Titles of messages, oldest first."""
    return [row.message["title"] for row in AlertDelivery.objects.order_by("created_at", "pk")]


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_the_first_time_is_told_the_next_are_counted_and_told_together_when_the_time_is_over() -> None:
    rule("all", channel(), repeat=900)
    for minute in (0, 1, 5, 14):
        matching.take(opened(at=after(minutes=minute)), now=after(minutes=minute))
    assert titles() == ["Circuit opened: acme-eu / gpt-4o"]
    assert matching.tell_counted(after(minutes=14.9)) == 0
    assert matching.tell_counted(after(minutes=15)) == 1
    assert matching.tell_counted(after(minutes=15)) == 0, "once"
    assert titles()[1:] == ["Circuit opened: acme-eu / gpt-4o (again: 3 more)"]
    message = AlertDelivery.objects.get(message__title=titles()[1]).message
    assert message["text"].endswith(
        "It happened 3 more times since 2026-11-20 12:00:00 UTC, last at 2026-11-20 12:14:00 UTC."
    )
    assert (message["count"], message["first_at"]) == (4, NOON.isoformat())
    # From there on the time runs anew, and when it was quiet for as long the next one is a new alert.
    matching.take(opened(at=after(minutes=20)), now=after(minutes=20))
    assert len(titles()) == 2
    assert matching.tell_counted(after(minutes=30)) == 1
    matching.take(opened(at=after(minutes=46)), now=after(minutes=46))
    assert titles()[3:] == ["Circuit opened: acme-eu / gpt-4o"]
    assert list(Alert.objects.order_by("id").values_list("count", "told_count")) == [(5, 5), (1, 1)]


def test_what_was_counted_is_not_lost_when_the_next_one_comes_before_anybody_told_it() -> None:
    rule("all", channel(), repeat=60)
    for minute in (0, 0.5, 2):
        matching.take(opened(at=after(minutes=minute)), now=after(minutes=minute))
    assert titles() == ["Circuit opened: acme-eu / gpt-4o", "Circuit opened: acme-eu / gpt-4o (again: 2 more)"]


def test_another_target_and_another_event_are_another_matter() -> None:
    rule("all", channel(), events=("circuit_opened", "circuit_closed"))
    matching.take(opened("a / x"), now=NOON)
    matching.take(opened("b / x"), now=NOON)
    matching.take(opened("a / x", kind="circuit_closed"), now=NOON)
    assert len(titles()) == 3


def test_what_is_told_later_says_whether_it_is_over() -> None:
    rule("all", channel(), repeat=60)
    for second in (0, 10):
        matching.take(opened(at=after(seconds=second)), now=after(seconds=second))
    matching.over("circuit_opened", "target:acme-eu / gpt-4o", after(seconds=20))
    matching.tell_counted(after(seconds=60))
    text = AlertDelivery.objects.order_by("-created_at")[0].message["text"]
    assert text.endswith(
        "It happened once more since 2026-11-20 12:00:00 UTC, last at 2026-11-20 12:00:10 UTC. "
        "It is over since 2026-11-20 12:00:20 UTC."
    )
    matching.take(opened(at=after(seconds=130)), now=after(seconds=130))
    assert Alert.objects.order_by("-id")[0].over_at is None, "it happens again"


def test_without_a_repeat_time_everything_is_told() -> None:
    rule("all", channel(), repeat=0)
    for _ in range(3):
        matching.take(opened(), now=NOON)
    assert len(titles()) == 3


def test_a_rule_hears_of_its_events_and_providers_only_and_of_what_is_about_no_provider() -> None:
    to = channel()
    rule("eu", to, events=("circuit_opened", "config_published"), providers=[])
    eu = rule("only us", to, events=("circuit_opened", "config_published"))
    eu.providers = ["acme-us"]
    eu.save()
    matching.take(opened("acme-eu / x"), now=NOON)
    matching.take(opened("acme-us / x"), now=NOON)
    matching.take(opened("acme-us / x", kind="circuit_closed"), now=NOON)
    published = opened("", kind="config_published")
    matching.take(published, now=NOON)
    told = [
        (row.alert.rule_name, row.event, row.alert.provider) for row in AlertDelivery.objects.select_related("alert")
    ]
    assert sorted(told) == [
        ("eu", "circuit_opened", "acme-eu"),
        ("eu", "circuit_opened", "acme-us"),
        ("eu", "config_published", ""),
        ("only us", "circuit_opened", "acme-us"),
        ("only us", "config_published", ""),
    ]


def test_rules_and_channels_that_are_switched_off_tell_nothing() -> None:
    off, on = channel("off", enabled=False), channel("on")
    rule("silent", on, enabled=False)
    loud = rule("loud", on, off)
    for _ in range(2):
        matching.take(opened(), now=NOON)
    assert list(AlertDelivery.objects.values_list("channel_name", flat=True)) == ["on"]
    actions.update_rule(loud, {"enabled": False}, actor=ADA)
    assert matching.tell_counted(after(hours=1)) == 0
    actions.update_rule(loud, {"enabled": True}, actor=ADA)
    assert matching.tell_counted(after(hours=2)) == 0, "what was counted while it was on is of yesterday"


def test_a_channel_gets_no_more_in_an_hour_than_it_may_and_hears_how_many_were_held_back() -> None:
    rule("all", channel(per_hour=3))
    for number in range(5):
        matching.take(opened(f"acme / {number}"), now=after(minutes=number))
    rows = AlertDelivery.objects.order_by("created_at")
    assert [row.status for row in rows] == ["pending"] * 3 + ["suppressed"] * 2
    assert rows[4].error == "held back: more than 3 messages in an hour"
    matching.take(opened("acme / 9"), now=after(minutes=61))
    last = AlertDelivery.objects.order_by("-created_at")[0]
    assert (last.status, last.message["held_back"]) == ("pending", 2)
    matching.take(opened("acme / 10"), now=after(minutes=62))
    assert AlertDelivery.objects.order_by("-created_at")[0].message["held_back"] == 0


@pytest.mark.django_db(databases=["default", "pg"], transaction=True)
@pytest.mark.usefixtures("both_databases")
def test_what_many_processes_hear_at_once_is_told_once_and_counted_whole() -> None:
    rule("all", channel())
    usual = connections["default"]
    barrier = threading.Barrier(4)

    def hear() -> None:
        # Threads have connections of their own; both_databases changes only the main thread's.
        if usual.vendor == "postgresql":
            connections["default"] = connections["pg"]
        barrier.wait(10)
        with closing(connections["default"]):
            matching.take(opened(), now=NOON)

    threads = [threading.Thread(target=hear) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(titles()) == 1
    alert = Alert.objects.get()
    assert (alert.count, alert.told_count) == (4, 1)
