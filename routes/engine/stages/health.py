"""Health: drops targets whose circuit is open or that are quarantined, gates those in slow start, and decides
what happens when nothing healthy is left. Imports the engine only.

``reject``: the decision stays empty. ``try``: targets with an open circuit come back by soonest next try, one
attempt, with a cap on what is in flight per target (``run.panic``). Quarantined targets stay out until their
time; only when all are quarantined and no upstream said until when, the one soonest due may be tried alone.
Half-open targets are candidates like others: their slots are claimed when an attempt is about to be sent.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from routes.engine.candidates import Candidate
    from routes.engine.live import Quarantine
    from routes.engine.stages import Run

NAME = "health"


def apply(run: Run) -> None:
    live, now = run.live, run.now
    suspects = live.suspects(now)
    if not suspects:
        return
    gated: list[tuple[Candidate, float]] = []
    opened: list[tuple[Candidate, float]] = []
    quarantined: list[tuple[Candidate, Quarantine]] = []
    for candidate in _suspected(run, suspects):
        target = candidate.target
        quarantine = live.quarantined_until(target, candidate.model, now)
        if quarantine is not None:
            quarantined.append((candidate, quarantine))
            continue
        view = live.circuit(target, now)
        if view.state == "open":
            opened.append((candidate, view.until))
        elif view.admitted < 1.0 and fraction(run.request.route_id, target.id) >= view.admitted:
            gated.append((candidate, view.admitted))
    out = len(opened) + len(quarantined)
    left = run.left - out
    if out:
        run.retry_at = min([until for _, until in opened] + [quarantine.until for _, quarantine in quarantined])
        if not left:
            _nothing_left(run, opened, quarantined)
    readmitted = {candidate.position for candidate, _ in run.readmitted}
    for candidate, until in opened:
        if candidate.position not in readmitted:
            run.drop(candidate, NAME, "circuit_open", max(0.0, until - now))
    for candidate, quarantine in quarantined:
        if candidate.position not in readmitted:
            run.drop(candidate, NAME, "quarantined_" + quarantine.cause, quarantine.until - now)
    if len(gated) < left:  # slow start gives way when nothing else is left
        for candidate, admitted in gated:
            run.drop(candidate, NAME, "slow_start", 100.0 * admitted)


def _suspected(run: Run, suspects: Collection[str]) -> list[Candidate]:
    """Candidates still in whose target or provider is among the suspects, in configured order."""
    base, dropped = run.base, run.dropped
    found: dict[int, Candidate] = {}
    for key in suspects:
        candidate = base.by_id.get(key)
        if candidate is not None:
            found[candidate.position] = candidate
        else:
            for candidate in base.by_provider.get(key, ()):
                found[candidate.position] = candidate
    return [found[position] for position in sorted(found.keys() - dropped)]


def _nothing_left(
    run: Run, opened: list[tuple[Candidate, float]], quarantined: list[tuple[Candidate, Quarantine]]
) -> None:
    """Nothing healthy is left: say whether it is all for rate limits, and who may be tried all the same."""
    run.all_rate_limited = not opened and all(quarantine.cause == "rate_limited" for _, quarantine in quarantined)
    failover = run.profile.failover
    if failover.when_all_unhealthy != "try":
        return
    if opened:
        run.readmitted = sorted(opened, key=lambda entry: entry[1])
        run.panic = failover.panic_concurrency
    elif not any(quarantine.told for _, quarantine in quarantined):
        candidate, quarantine = min(quarantined, key=lambda entry: entry[1].until)
        run.readmitted = [(candidate, quarantine.until)]
        run.panic = 1


def fraction(route_id: str, target_id: str) -> float:
    """A stable number in [0, 1) for this request and target; independent between targets."""
    digest = hashlib.blake2b(f"{route_id}:{target_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / (1 << 64)
