"""Which checks are due, and taking them so that nobody else asks the same: across workers, whatever their host.

A claim moves ``next_probe_at`` on, to where it stays if whoever claimed it dies. Many rows are claimed in one
transaction, which PostgreSQL lets workers do side by side (SKIP LOCKED) and SQLite one after the other (it begins with
the write lock). A check that is overdue is asked once, however long nobody asked. Paid probes reserve their place under
the day's cap in the same transaction: a ``ProbeResult`` that says "asked" until the answer is written into it.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import transaction
from django.db.models import Count, Sum

from health.models import Check, ProbeResult
from health.probes.questions import reserved
from routes.models import Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from health.probes.plan import Plan, Subject
    from routes.engine.live import RecentOutcome

#: Somebody asked for it: first in line, and traffic does not stand in.
ASKED: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Nothing to ask about any more; kept while its results are.
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
#: Clocks of hosts may differ. What is due later than that, and than two intervals, was not put there by this schedule.
FARTHEST: Final = timedelta(minutes=5)
#: A check that is new is asked within its interval, and within this.
FIRST_SECONDS: Final = 30.0


class Job(NamedTuple):
    """A claimed check. ``lease``: the ``next_probe_at`` it was claimed with; ``traffic``: the outcome that stands in
    for asking; ``reserved``: the row that holds its place under the cap."""

    subject: Subject
    kind: str
    at: datetime
    lease: datetime
    traffic: RecentOutcome | None = None
    reserved: int | None = None


def agree(plan: Plan, now: datetime) -> None:
    """Make the table hold a row for each check of the plan. One query when nothing has changed."""
    known = {str(key): at for key, at in Check.objects.values_list("pk", "next_probe_at")}
    missing = [subject for ident, subject in plan.items() if ident not in known]
    if missing:
        present = set(map(str, Provider.with_deleted.values_list("pk", flat=True)))
        rows = [_row(subject, now) for subject in missing if subject.provider.id in present]
        Check.objects.bulk_create(rows, ignore_conflicts=True)  # another worker may be at it too
    for ident, at in known.items():
        # Whoever comes second finds that it is done: a moment that was claimed is never set back.
        if ident not in plan and at != NEVER:
            Check.objects.filter(pk=ident).update(next_probe_at=NEVER)
        elif ident in plan and at > now + timedelta(seconds=2 * plan[ident].pause) + FARTHEST:
            # New again; or the clock was set back, or its interval was a longer one until now.
            again = _row(plan[ident], now).next_probe_at
            Check.objects.filter(pk=ident, next_probe_at=at).update(next_probe_at=again)


def _row(subject: Subject, now: datetime) -> Check:
    first = min(subject.probe.interval, FIRST_SECONDS) * random.random()
    return Check(
        id=subject.id,
        provider_id=subject.provider.id,
        label=subject.label[:500],
        model=subject.model,
        head_id=subject.head_id,
        next_probe_at=now + timedelta(seconds=first),
    )


def ask_now(ids: Iterable[str]) -> int:
    """Have these checks asked with the next tick, whatever traffic says; how many there are of them."""
    return Check.objects.filter(pk__in=list(ids)).exclude(next_probe_at=NEVER).update(next_probe_at=ASKED)


def claim(plan: Plan, now: datetime, limit: int, stands_in: Callable[[Subject], RecentOutcome | None]) -> list[Job]:
    """At most ``limit`` checks that are due, moved on. ``stands_in``: traffic that makes asking unnecessary."""
    with transaction.atomic():
        due = Check.objects.select_for_update(skip_locked=True).filter(next_probe_at__lte=now)
        rows = list(due.only("pk", "next_probe_at").order_by("next_probe_at")[:limit])
        jobs = []
        for row in rows:
            subject = plan.get(str(row.pk))
            if subject is None:  # of a revision that another host runs already
                row.next_probe_at = now + timedelta(seconds=FIRST_SECONDS)
                continue
            traffic = None if row.next_probe_at == ASKED else stands_in(subject)
            row.next_probe_at = now + timedelta(seconds=subject.pause)
            jobs.append(Job(subject, subject.kind, now, row.next_probe_at, traffic))
        Check.objects.bulk_update(rows, ["next_probe_at"], batch_size=200)
        return _within_caps(jobs, now)


def _within_caps(jobs: Sequence[Job], now: datetime) -> list[Job]:
    """Paid ones become probes of the list of models where the day's cap is reached."""
    paid = {job.subject.provider.id for job in jobs if job.kind == "completion" and job.traffic is None}
    if not paid:
        return list(jobs)
    # Another worker may be counting the same provider's; who is disabled is not worth money.
    locked = Provider.with_deleted.select_for_update(no_key=True).filter(pk__in=paid).order_by("pk")
    rows = list(locked.only("pk", "admin_state"))
    states = {str(row.pk): row.admin_state for row in rows}
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    spent = {
        str(provider): (count, money or 0)
        for provider, count, money in ProbeResult.objects.filter(
            kind="completion", at__gte=today, check_of__provider__in=[row.pk for row in rows]
        )
        .values_list("check_of__provider")
        .annotate(Count("pk"), Sum("micro_usd"))
        .order_by()
    }
    found = []
    for job in jobs:
        provider = job.subject.provider.id
        if job.kind != "completion" or job.traffic is not None:
            found.append(job)
            continue
        count, money = spent.get(provider, (0, 0))
        cost = reserved(job.subject.price)
        if states.get(provider) == Provider.AdminState.DISABLED or not _fits(job.subject, count, money, cost):
            found.append(job._replace(kind="models"))
            continue
        spent[provider] = count + 1, money + cost
        place = ProbeResult.objects.create(
            check_of_id=job.subject.id,
            at=now,
            kind="completion",
            ok=False,
            error_class=PENDING,
            message="asked, and not answered yet",
            micro_usd=cost,
        )
        found.append(job._replace(reserved=place.pk))
    return found


#: The error class of a paid probe while it waits for its answer, and for good if whoever asked died over it.
PENDING: Final = "cancelled"


def _fits(subject: Subject, count: int, money: int, cost: int) -> bool:
    """Whether one more may be asked today. A cap on money needs a price to count with."""
    probe = subject.probe
    if probe.daily_requests and count >= probe.daily_requests:
        return False
    return not probe.daily_usd or (subject.price is not None and money + cost <= probe.daily_usd * 1_000_000)
