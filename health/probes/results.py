"""Writing down what probes found: the row, the hour's sums, the check's state, the event if that changed; and telling
the live state of this host, which is what decisions read (other hosts hear of it from there).

The database is written first: an event without its effect on traffic would be the smaller harm, and the next result
makes good for it.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F

from health import events
from health.models import Check, CheckHour, ProbeResult
from health.probes import claims, labels, states
from health.probes.states import Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from health.probes.claims import Job
    from health.probes.questions import Finding
    from routes.engine.live import LiveState, Observed
    from routes.engine.snapshot import Target

#: Of the check's ``kind``: the last word was an answer to a request.
TRAFFIC = "traffic"


def record(job: Job, finding: Finding | None, live: LiveState, now: datetime, clock: float) -> Observed | None:
    """``finding`` None: traffic stood in. ``clock``: the engine's clock at ``now``. The observed state from now on;
    None when there is nothing to ask about any more."""
    subject = job.subject
    complaint = labels.complaint_of(subject, live, now, clock) if finding is None or finding.ok else None
    with transaction.atomic():
        row = Check.objects.select_for_update().filter(pk=subject.id).first()
        if row is None:
            return None
        before = Standing(row.observed, row.good, row.bad)  # type: ignore[arg-type]  # the model's choices
        verdict = "success" if finding is None else finding.verdict
        standing, reason = states.after(before, verdict, subject.probe, complaint)
        if finding is not None:
            _keep(row, job, finding, now)
        row.observed, row.good, row.bad = standing
        row.checked_at = now
        row.kind = TRAFFIC if finding is None else finding.kind
        row.latency_ms = None if finding is None else finding.latency_ms
        row.error_class = None if finding is None else finding.error_class
        row.message = "" if finding is None else finding.message
        fields = ["observed", "good", "bad", "checked_at", "kind", "latency_ms", "error_class", "message"]
        if reason is not None:
            row.observed_since = now
            fields.append("observed_since")
            _tell(row, job, before, reason, now)
        row.save(update_fields=fields)
        _next(job, standing, now)
    if finding is not None and finding.verdict != "neutral":
        for target in subject.targets:
            if finding.ok or finding.counts:
                live.probed(target, finding.ok, finding.error_class, clock, finding.http_status)
    for target in subject.targets:
        live.set_observed(target.id, standing.observed, clock + subject.lasts, clock)
    return standing.observed


def _keep(row: Check, job: Job, finding: Finding, now: datetime) -> None:
    """The row, and the sums of its hour."""
    values: dict[str, Any] = {
        "at": now,
        "kind": finding.kind,
        "ok": finding.ok,
        "latency_ms": finding.latency_ms,
        "http_status": finding.http_status,
        "error_class": finding.error_class,
        "message": finding.message,
    }
    if job.reserved is None:
        ProbeResult.objects.create(check_of=row, **values)
    else:
        # What was reserved stays spent when nobody knows better: the request went out.
        paid = finding.micro_usd if finding.ok else None
        values |= {} if paid is None else {"micro_usd": paid}
        ProbeResult.objects.filter(pk=job.reserved).update(**values)
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    sums, _ = CheckHour.objects.get_or_create(check_of=row, hour=hour)
    CheckHour.objects.filter(pk=sums.pk).update(
        probes=F("probes") + 1,
        failures=F("failures") + (not finding.ok),
        latency_ms_sum=F("latency_ms_sum") + ((finding.latency_ms or 0.0) if finding.ok else 0.0),
    )


def _next(job: Job, standing: Standing, now: datetime) -> None:
    """When it is asked again, unless somebody has asked for it meanwhile. Counted from when it was asked; what is
    overdue by then is due at once, and once."""
    seconds = states.interval(standing, job.subject.probe, random.random())
    following = max(job.at + timedelta(seconds=seconds), now)
    Check.objects.filter(pk=job.subject.id, next_probe_at=job.lease).update(next_probe_at=following)


def _tell(row: Check, job: Job, before: Standing, reason: str, now: datetime) -> None:
    """Write the event, with the outcomes that caused it."""
    subject = job.subject
    count = subject.probe.fall if row.observed == Check.Observed.UNHEALTHY else max(1, row.good)
    outcomes = _outcomes(row, min(count, 10))
    if job.traffic is not None:
        outcomes.append(
            {"at": now.timestamp(), "ok": True, "error_class": None, "http_status": None, "source": "traffic"}
        )
    _event(row, subject.targets, before.observed, reason, now, {"outcomes": outcomes})


def _outcomes(row: Check, count: int) -> list[dict[str, Any]]:
    """The last of its results, oldest first."""
    results: Sequence[ProbeResult] = list(
        row.results.exclude(error_class=claims.PENDING).order_by("-at", "-pk")[:count]
    )
    return [
        {
            "at": result.at.timestamp(),
            "ok": result.ok,
            "error_class": result.error_class,
            "http_status": result.http_status,
            "source": "probe",
        }
        for result in reversed(results)
    ]


def forget(row: Check, targets: Sequence[Target], reason: str, live: LiveState, now: datetime, clock: float) -> bool:
    """Nothing is known of this check any more, unless it was checked again meanwhile. Whether that is news."""
    with transaction.atomic():
        before = row.observed
        fresh = Check.objects.filter(pk=row.pk, checked_at=row.checked_at, observed=before)
        if not fresh.update(observed=Check.Observed.UNKNOWN, observed_since=now, good=0, bad=0):
            return False
        row.observed = Check.Observed.UNKNOWN
        at = row.checked_at.timestamp() if row.checked_at is not None else None
        _event(row, targets, before, reason, now, {"outcomes": [], "checked_at": at})
    for target in targets:
        live.set_observed(target.id, "unknown", clock, clock)
    return True


def _event(
    row: Check, targets: Sequence[Target], before: str, reason: str, now: datetime, detail: dict[str, Any]
) -> None:
    """A change that ``row`` shows already. A check of one target is named by that."""
    single = targets[0] if len(targets) == 1 else None
    events.record(
        "observed",
        subject=single.label if single is not None else row.label,
        before=before,
        after=row.observed,
        reason=reason,
        actor="probe",
        provider=row.provider.slug,
        provider_id=row.provider_id,
        target_id=single.id if single is not None else row.pk,
        detail={**detail, **({"model": row.model} if row.model else {})},
        at=now,
    )
