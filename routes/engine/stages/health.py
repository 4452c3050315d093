"""Health: drops targets whose circuit is open or that are quarantined, gates those in slow start, and decides
what happens when nothing healthy is left. Imports the engine only.

``reject``: the decision stays empty. ``try``: targets with an open circuit come back by soonest next try, one
attempt, with a cap on what is in flight per target (``run.panic``). Quarantined targets stay out until their
time; only when all are quarantined and no upstream said until when, the one soonest due may be tried alone.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from routes.engine.types import Exclusion

if TYPE_CHECKING:
    from routes.engine.candidates import Candidate
    from routes.engine.live import Quarantine
    from routes.engine.stages import Run

NAME = "health"


def apply(run: Run) -> None:
    live, now = run.live, run.now
    if live.all_healthy(now):
        return
    kept: list[Candidate] = []
    gated: list[tuple[Candidate, float]] = []
    opened: list[tuple[float, Candidate]] = []
    quarantined: list[tuple[Quarantine, Candidate]] = []
    for candidate in run.candidates:
        target = candidate.target
        quarantine = live.quarantined_until(target, candidate.model, now)
        if quarantine is not None:
            quarantined.append((quarantine, candidate))
            continue
        view = live.circuit(target, now)
        if view.state == "open":
            opened.append((view.until, candidate))
        elif view.admitted < 1.0 and fraction(run.request.route_id, target.id) >= view.admitted:
            gated.append((candidate, view.admitted))
        else:
            kept.append(candidate)
    if len(kept) == len(run.candidates):
        return
    soonest = [quarantine.until for quarantine, _ in quarantined]
    soonest += [until for until, _ in opened]
    run.retry_at = min(soonest, default=None)
    if kept:
        run.excluded += [Exclusion(c.target, NAME, "slow_start", 100.0 * admitted) for c, admitted in gated]
    elif gated:
        kept = [candidate for candidate, _ in gated]
    else:
        run.all_rate_limited = (
            bool(quarantined)
            and not opened
            and all(quarantine.cause == "rate_limited" for quarantine, _ in quarantined)
        )
        if run.profile.failover.when_all_unhealthy == "try":
            kept = _readmit(run, opened, quarantined)
    run.excluded += [
        Exclusion(c.target, NAME, "circuit_open", max(0.0, until - now)) for until, c in opened if c not in kept
    ]
    run.excluded += [
        Exclusion(c.target, NAME, "quarantined_" + quarantine.cause, quarantine.until - now)
        for quarantine, c in quarantined
        if c not in kept
    ]
    run.candidates = kept


def _readmit(
    run: Run, opened: list[tuple[float, Candidate]], quarantined: list[tuple[Quarantine, Candidate]]
) -> list[Candidate]:
    """Who may be tried although nothing is healthy, in the order to try them; sets ``run.panic``."""
    if opened:
        run.panic = run.profile.failover.panic_concurrency
        return [candidate for _, candidate in sorted(opened, key=lambda entry: entry[0])]
    if quarantined and not any(quarantine.told for quarantine, _ in quarantined):
        run.panic = 1
        return [min(quarantined, key=lambda entry: entry[0].until)[1]]
    return []


def fraction(route_id: str, target_id: str) -> float:
    """A stable number in [0, 1) for this request and target; independent between targets."""
    digest = hashlib.blake2b(f"{route_id}:{target_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / (1 << 64)
