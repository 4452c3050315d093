"""Which rules an event concerns, and whether it is told now or only counted.

The first time a rule hears of an event about something, it tells its channels at once. The same again within the
rule's ``repeat`` is only counted; when that time is over, what was counted is told in one message (``tell_counted``)
and the time begins anew. So a target that flaps costs at most one message in ``repeat``, and the last word is never
lost. Decisions about a rule are made under a lock on its row. Writes rows only, no network.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from health.alerts import delivery, formats
from health.models import Alert, AlertChannel, AlertRule

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from health.alerts.kinds import AlertEvent

TITLE_LENGTH = 300
SUBJECT_LENGTH = 500


def take(event: AlertEvent, rules: Iterable[AlertRule] | None = None, now: datetime | None = None) -> None:
    """Tell or count an event for every rule that wants it (of ``rules``, if given). One query where none does."""
    now = now or timezone.now()
    for rule in AlertRule.objects.filter(enabled=True) if rules is None else rules:
        if wants(rule, event):
            _take(event, rule, now)


def wants(rule: AlertRule, event: AlertEvent) -> bool:
    """A rule's providers narrow only what is about a provider."""
    return event.kind in rule.events and (not rule.providers or not event.provider or event.provider in rule.providers)


@transaction.atomic
def _take(event: AlertEvent, rule: AlertRule, now: datetime) -> None:
    locked = AlertRule.objects.select_for_update().filter(pk=rule.pk, enabled=True).first()
    if locked is None:
        return
    alert = Alert.objects.filter(rule=locked, kind=event.kind, key=event.key).order_by("-id").first()
    silent = alert is not None and now < alert.told_at + timedelta(seconds=locked.repeat)
    if alert is not None and (silent or alert.count > alert.told_count):
        alert.count += 1
    else:
        alert = Alert(rule=locked, kind=event.kind, key=event.key, first_at=event.at, told_at=now)
        silent = False
    alert.rule_name, alert.severity = locked.name, locked.severity
    alert.subject, alert.provider = event.subject[:SUBJECT_LENGTH], event.provider
    alert.title, alert.text = formats.cut(event.title, TITLE_LENGTH), event.text
    alert.path, alert.fields = event.path, [list(pair) for pair in event.fields]
    alert.last_at, alert.over_at = event.at, None
    alert.save()
    if not silent:
        _tell(alert, locked, now)


def over(kind: str, key: str, at: datetime, rule: AlertRule | None = None) -> None:
    """What was going on has ended (for one rule, or for all). One query."""
    under_way = Alert.objects.filter(kind=kind, key=key, over_at=None)
    (under_way if rule is None else under_way.filter(rule=rule)).update(over_at=at)


def tell_counted(now: datetime | None = None) -> int:
    """Tell what was only counted and whose time is over; how many alerts that were. One query when there is nothing."""
    now = now or timezone.now()
    told = 0
    counted = Alert.objects.filter(count__gt=F("told_count")).select_related("rule")
    for alert in counted:
        if alert.rule is None or alert.told_at + timedelta(seconds=alert.rule.repeat) <= now:
            told += _tell_counted(alert, now)
    return told


@transaction.atomic
def _tell_counted(alert: Alert, now: datetime) -> int:
    rule = AlertRule.objects.select_for_update(of=("self",)).filter(alerts=alert.pk).first()
    alert = Alert.objects.get(pk=alert.pk)
    if alert.count <= alert.told_count:
        return 0  # another worker was first
    if rule is None or not rule.enabled:
        # Nobody wants to hear of it any more.
        alert.told_count = alert.count
        alert.save(update_fields=["told_count"])
        return 0
    if now < alert.told_at + timedelta(seconds=rule.repeat):
        return 0
    _tell(alert, rule, now)
    return 1


def _tell(alert: Alert, rule: AlertRule, now: datetime) -> None:
    """Queue a message for every channel of the rule that is switched on. Under the rule's lock."""
    message = formats.message_of(alert)
    # Locked in one order, so that two rules with the same channels never wait for each other.
    channels = AlertChannel.objects.select_for_update(of=("self",)).filter(rules=rule, enabled=True).order_by("pk")
    for channel in channels:
        delivery.enqueue(channel, message, now, alert)
    alert.told_count, alert.told_at = alert.count, now
    alert.save(update_fields=["told_count", "told_at"])
