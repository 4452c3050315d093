"""What happens every five seconds: the database learns what gateways noted, and forgets what has become too old.

Gateways act on their own clocks without it: an open circuit is tried again, an unhealthy target comes back, a claim on
a half-open slot lapses although no task ever ran.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from health import acts, events
from health.models import Check
from health.probes import claims, labels, results
from health.probes.plan import endpoints, plan_of
from routes import host, live
from routes.live import SharedLiveState
from routes.snapshots import live_snapshot

if TYPE_CHECKING:
    from datetime import datetime

    from routes.engine.live import LiveState
    from routes.engine.snapshot import Snapshot

#: The hour whose p95 this process has written last, so that the table is asked once an hour.
_written: datetime | None = None


def tend(now: datetime | None = None) -> None:
    """Some ten queries when nothing has happened."""
    now = now or timezone.now()
    state, clock = live.current(), time.monotonic()
    snapshot = live_snapshot()
    if snapshot is not None:
        host.publish(state, snapshot)  # or targets that this process never asked would stay as they are
    state.move_on(clock)
    if isinstance(state, SharedLiveState):
        events.collect(state)
    acts.catch_up(now)
    if snapshot is not None:
        write_hour(snapshot, state, now, clock)
        forget_old(snapshot, state, now, clock)


def forget_old(snapshot: Snapshot, state: LiveState, now: datetime, clock: float) -> int:
    """Write ``unknown`` for checks whose last word is older than three intervals, and for those that the live
    configuration does not have any more; how many there were."""
    plan = plan_of(snapshot)
    places = endpoints(snapshot)
    heard = {target.id for subject in plan.values() for target in subject.targets}
    forgotten = 0
    for row in Check.objects.exclude(observed=Check.Observed.UNKNOWN).select_related("provider"):
        subject = plan.get(str(row.pk))
        if subject is not None and row.next_probe_at != claims.NEVER:
            old = row.checked_at is None or row.checked_at < now - timedelta(seconds=subject.lasts)
            # Also by the clock that no jump moves, which is what decisions go by.
            if old and all(state.observed(target.id, clock) == "unknown" for target in subject.targets):
                forgotten += results.forget(row, subject.targets, "stale", state, now, clock)
        elif subject is None:
            left = [target for target in places.get((str(row.provider_id), row.head_id), ()) if target.id not in heard]
            forgotten += results.forget(row, left, "not_probed", state, now, clock)
    return forgotten


def write_hour(snapshot: Snapshot, state: LiveState, now: datetime, clock: float) -> None:
    """Once an hour and process: what the last one was like."""
    global _written
    hour = now.replace(minute=0, second=0, microsecond=0)
    if _written != hour:
        targets = {target.id: target for found in endpoints(snapshot).values() for target in found}
        labels.write_hours(targets.values(), state, now, clock)
        _written = hour
