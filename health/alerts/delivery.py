"""The queue of messages: into it in the transaction of the event, out of it by whichever worker claims one first.

A claim is one UPDATE that moves ``next_try_at`` behind a lease and counts the attempt; it succeeds for one worker,
whatever the database, and what a worker says of an attempt counts only while that attempt is the last. A worker that
dies leaves its messages to the next when the lease is over, so a message may arrive twice, under the same id.
"""

from __future__ import annotations

import random
import threading
import time
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from health.alerts import formats, sending
from health.models import Alert, AlertChannel, AlertDelivery
from health.upkeep import kept_since
from routing_project.env import get_env
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

    from health.alerts.sending import Outcome

log = get_logger("alerts")

#: Tries, and seconds between them: five in about an hour.
WAITS: Final = (30, 120, 600, 2400)
TRIES: Final = len(WAITS) + 1
JITTER: Final = 0.2
#: No receiver may put us off for longer.
MAX_WAIT: Final = 3600
#: Seconds a claim holds; longer than an attempt may take (``sending.TIMEOUT``, or the steps of a mail server).
LEASE: Final = 120
#: A run begins no further round of messages after so many seconds: the worker has other work too.
RUN_SECONDS: Final = 15
HOUR: Final = timedelta(hours=1)
#: Kept so long at the least; else as long as the history. A rule keeps the same event silent for no longer.
KEEP: Final = timedelta(days=1)
ERROR_LENGTH: Final = 300

Status = AlertDelivery.Status


# -- in ------------------------------------------------------------------------------------------------
def enqueue(
    channel: AlertChannel, message: formats.Message, now: datetime, alert: Alert | None = None
) -> AlertDelivery:
    """A row in the open transaction; after the commit a worker is told. Beyond the channel's hourly limit the row says
    that the message was held back, and the next one that goes out says how many were."""
    recent = channel.deliveries.filter(created_at__gt=now - HOUR).exclude(status=Status.SUPPRESSED)
    row = AlertDelivery(alert=alert, channel=channel, channel_name=channel.name, event=message["event"], created_at=now)
    if alert is not None and channel.per_hour and recent.count() >= channel.per_hour:
        row.message, row.status, row.ended_at = message, Status.SUPPRESSED, now
        row.error = f"held back: more than {channel.per_hour} messages in an hour"
    else:
        held_back = 0 if alert is None else _held_back(channel)
        row.message, row.next_try_at = {**message, "held_back": held_back}, now
        transaction.on_commit(partial(kick))
    row.save(force_insert=True)
    return row


def _held_back(channel: AlertChannel) -> int:
    """How many messages the limit has kept from the channel since the last one that went out."""
    log_of = channel.deliveries.all()
    last = log_of.exclude(status=Status.SUPPRESSED).exclude(alert=None).order_by("-created_at").first()
    held = log_of.filter(status=Status.SUPPRESSED)
    return (held if last is None else held.filter(created_at__gt=last.created_at)).count()


def drop(channel: AlertChannel, reason: str) -> None:
    """Messages that wait for a channel are not sent any more."""
    channel.deliveries.filter(status=Status.PENDING).update(
        status=Status.FAILED, error=reason, next_try_at=None, ended_at=timezone.now()
    )


_kicking = threading.Lock()


def kick() -> None:
    """Have a worker look now instead of in some seconds. Neither waits nor fails, whatever the broker does: a thread
    tries once, and while it is at it no other is begun."""
    if _kicking.acquire(blocking=False):
        # With the context of whoever caused it: the task belongs to the same request.
        threading.Thread(target=copy_context().run, args=(_kick,), name="alerts-kick", daemon=True).start()


def _kick() -> None:
    try:
        from health.alerts.tasks import deliver

        deliver.apply_async(expires=30, retry=False, ignore_result=True)
    except Exception as error:  # the schedule comes by anyway
        log.info("alerts_kick_failed", error=type(error).__name__)
    finally:
        _kicking.release()


# -- out -----------------------------------------------------------------------------------------------
class Claimed(NamedTuple):
    """One attempt that is this worker's to make; ``attempt`` counts from 1."""

    id: UUID
    attempt: int
    tries: int
    channel: AlertChannel
    message: formats.Message


def deliver(clock: Callable[[], datetime] = timezone.now) -> int:
    """Send what is due, in rounds of one message a channel, so that a slow receiver holds up only itself. How many
    attempts were made."""
    begun, made = time.monotonic(), 0
    while claimed := claim(clock()):
        outcomes = sending.send_all([(each.id, each.channel, each.message) for each in claimed])
        for each, outcome in zip(claimed, outcomes, strict=True):
            settle(each, outcome, clock())
        made += len(claimed)
        if time.monotonic() - begun > RUN_SECONDS:
            break
    return made


def claim(now: datetime) -> list[Claimed]:
    """Take one due message for each channel, the oldest first. A few queries for each channel that has any."""
    due = AlertDelivery.objects.filter(status=Status.PENDING, next_try_at__lte=now)
    waiting = AlertChannel.objects.filter(pk__in=due.values("channel")).order_by("pk")
    return [claimed for channel in waiting if (claimed := _claim(channel, due.filter(channel=channel), now))]


def _claim(channel: AlertChannel, due: QuerySet[AlertDelivery], now: datetime) -> Claimed | None:
    for row in due.order_by("created_at", "pk").iterator():
        tries = 1 if row.event == formats.TEST else TRIES
        as_read = due.filter(pk=row.pk, attempts=row.attempts, next_try_at=row.next_try_at)
        if row.attempts >= tries:
            _end(as_read, Status.FAILED, now, error="given up: whoever tried last did not come back")
        elif not channel.enabled and row.event != formats.TEST:
            _end(as_read, Status.SUPPRESSED, now, error="the channel was switched off")
        elif as_read.update(attempts=F("attempts") + 1, next_try_at=now + timedelta(seconds=LEASE)):
            return Claimed(row.pk, row.attempts + 1, tries, channel, row.message)
    return None


def settle(claimed: Claimed, outcome: Outcome, now: datetime) -> None:
    """Write down what came of an attempt, unless the lease ran out and another worker has begun the next."""
    row = AlertDelivery.objects.filter(pk=claimed.id, status=Status.PENDING, attempts=claimed.attempt)
    error = formats.cut(outcome.error, ERROR_LENGTH)
    if outcome.sent:
        _end(row, Status.SENT, now, http_status=outcome.http_status, error="")
        return
    log.warning("alert_not_delivered", channel=claimed.channel.name, attempt=claimed.attempt, error=error)
    if outcome.final or claimed.attempt >= claimed.tries:
        _end(row, Status.FAILED, now, http_status=outcome.http_status, error=error)
        return
    wait = WAITS[claimed.attempt - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    wait = max(wait, min(outcome.retry_after or 0, MAX_WAIT))
    row.update(next_try_at=now + timedelta(seconds=wait), http_status=outcome.http_status, error=error)


def _end(rows: QuerySet[AlertDelivery], status: str, now: datetime, **values: Any) -> None:
    rows.update(status=status, ended_at=now, next_try_at=None, **values)


# -- retention -----------------------------------------------------------------------------------------
def kept_days() -> float:
    """How long messages and alerts are kept."""
    return max(get_env().history_days, KEEP.days)


def prune(now: datetime | None = None) -> int:
    """Remove messages and alerts that are older than the history is kept; how many messages that were. What waits
    stays."""
    now = now or timezone.now()
    before = min(kept_since(now), now - KEEP)
    deleted, _ = AlertDelivery.objects.filter(created_at__lt=before).exclude(status=Status.PENDING).delete()
    Alert.objects.filter(last_at__lt=before, deliveries=None).delete()
    return deleted
