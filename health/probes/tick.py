"""What happens every two seconds: see what is due, let traffic stand in where there was any, ask the rest.

Credentials come from the database, where they are sealed, and go to the runner of this process only: never into the
arguments of a task, a result or a log.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.utils import timezone

from health.probes import claims, results
from health.probes.plan import plan_of
from health.probes.runner import runner
from routes import crypto, live
from routes.gateway.overlay import Credential
from routes.models import Provider
from routes.snapshots import live_snapshot
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from datetime import datetime

    from health.probes.plan import Subject
    from routes.engine.live import LiveState, Observed, RecentOutcome

log = get_logger("health")


def tick(now: datetime | None = None) -> list[Future[Observed | None]]:
    """Begin what is due; the probes that were begun. A handful of queries when there is nothing to do."""
    snapshot = live_snapshot()
    if snapshot is None:
        return []
    now = now or timezone.now()
    plan = plan_of(snapshot)
    claims.agree(plan, now)
    asking = runner()
    state, clock = live.current(), time.monotonic()
    jobs = claims.claim(plan, now, asking.room, lambda subject: stand_in(subject, state, clock))
    for job in jobs:
        if job.traffic is not None:
            results.record(job, None, state, now, clock)
    to_ask = [job for job in jobs if job.traffic is None and not away(job.subject, state, clock)]
    credentials = _credentials({job.subject.provider.id for job in to_ask})
    return [asking.start(job, credentials.get(job.subject.provider.id)) for job in to_ask]


def stand_in(subject: Subject, state: LiveState, clock: float) -> RecentOutcome | None:
    """An answer to a request within the last interval, by a target that traffic may go to: it says more than a probe.
    The newest word of each target counts: one whose last request failed is asked."""
    found = None
    for target in subject.targets:
        if state.circuit(target, clock).state != "closed":
            continue
        last = next((each for each in reversed(state.recent(target.id)) if each.source == "traffic"), None)
        if last is None or last.at < clock - subject.probe.interval:
            continue
        if last.error_class is not None:
            return None
        found = last if found is None or last.at > found.at else found
    return found


def away(subject: Subject, state: LiveState, clock: float) -> bool:
    """A head that is offline says so by its silence: nobody asks it."""
    head_key = subject.endpoint.head_key
    return bool(head_key) and not state.head_state(head_key, clock).online


def _credentials(providers: Iterable[str]) -> dict[str, Credential]:
    """As they are now. One query."""
    found = {}
    for row in Provider.with_deleted.filter(pk__in=list(providers)).exclude(credential=None):
        try:
            value = crypto.unseal(bytes(row.credential or b""), row.credential_context).decode()
        except crypto.SealError as error:
            log.error("credential_unreadable", provider=row.slug, error=str(error))
            continue
        found[str(row.pk)] = Credential(value, row.credential_generation)
    return found
