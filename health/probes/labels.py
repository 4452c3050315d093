"""Why a target that answers its probes may still not be quite well: it fails now and then, or is slower than usual.

"Usual" is its own: the median of the p95 it had in each hour of the last day. Streams and other requests have windows
of their own (first event, latency), and a target is judged by the kind it has more of. Labels for people: no decision
reads them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Final

from health.models import TargetHour

if TYPE_CHECKING:
    from collections.abc import Iterable

    from health.probes.plan import Subject
    from health.probes.states import Complaint
    from routes.engine.live import LiveState
    from routes.engine.snapshot import Target

#: Percent of requests answered, below which a target is failing.
SUCCESS_RATE: Final = 0.95
#: So many times its usual p95 is slow.
SLOWER: Final = 2.0
#: Fewer samples in the hours before make no usual p95, and fewer of late no p95 to compare with it.
BASELINE_SAMPLES: Final = 100
FEWEST: Final = 20
BASELINE_HOURS: Final = 24


def complaint_of(subject: Subject, live: LiveState, now: datetime, clock: float) -> Complaint | None:
    """The worst of the targets that the check speaks for. A query for each of them that has traffic."""
    slow: Complaint | None = None
    for target in subject.targets:
        stats = live.stats(target.id)
        p95, samples = _p95(live, target, clock)
        heard = any(stats.means_s(stream, clock).samples for stream in (False, True))
        if heard and stats.success_rate < SUCCESS_RATE:
            return "failing"
        if p95 is not None and samples >= FEWEST:
            usual = baseline_ms(target.id, now)
            if usual is not None and p95 > SLOWER * usual:
                slow = "slow"
    return slow


def baseline_ms(target_id: str, now: datetime) -> float | None:
    """What p95 is usual for the target; None while too little is known."""
    since = now - timedelta(hours=BASELINE_HOURS)
    hours = list(TargetHour.objects.filter(target_id=target_id, hour__gte=since).values_list("p95_ms", "samples"))
    if sum(samples for _, samples in hours) < BASELINE_SAMPLES:
        return None
    return median(p95 for p95, _ in hours)


def write_hours(targets: Iterable[Target], live: LiveState, now: datetime, clock: float) -> int:
    """Keep the p95 of the hour that has just ended, for targets with traffic in it on this host; how many rows that
    made. The host that comes first writes it."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    rows = []
    for target in targets:
        p95, samples = _p95(live, target, clock)
        if p95 is not None:
            rows.append(TargetHour(target_id=target.id, hour=hour, p95_ms=round(p95, 1), samples=samples))
    return len(TargetHour.objects.bulk_create(rows, ignore_conflicts=True))


def _p95(live: LiveState, target: Target, clock: float) -> tuple[float | None, int]:
    """(milliseconds, samples) of the last hour's answers, of the kind there are more of."""
    stats = live.stats(target.id)
    (seconds,), samples = max(
        (stats.answers_s(stream, (95,), clock) for stream in (False, True)), key=lambda each: each[1]
    )
    return (None if seconds is None else seconds * 1000), samples
