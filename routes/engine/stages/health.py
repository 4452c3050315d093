"""Health: drops targets whose circuit is open, that are quarantined or that probes found unhealthy, gates those in
slow start, and decides what happens when nothing healthy is left. Imports the engine only.

Nothing left is judged on the targets this request may reach: its rule's, or the profile's own, or both. ``reject``:
the decision stays empty. ``try``: targets that are unhealthy or have an open circuit come back by soonest next try,
one attempt, with a cap on what is in flight per target (``run.panic``). Quarantined targets stay out until their
time; only when all are quarantined and no upstream said until when, the one soonest due may be tried alone.
Half-open targets are candidates like others: their slots are claimed when an attempt is about to be sent.
"""

from __future__ import annotations

import hashlib
from math import inf
from typing import TYPE_CHECKING

from routes.engine.stages.smart_routing import reach_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from routes.engine.candidates import Candidate
    from routes.engine.live import Quarantine
    from routes.engine.stages import Run

NAME = "health"


def apply(run: Run) -> None:
    live, now = run.live, run.now
    run.suspects = suspects = live.suspects(now)
    found = _suspected(run, suspects) if suspects else ()
    if not found:
        return
    reach = reach_of(run)
    out: list[tuple[Candidate, str, float | None]] = []
    opened: list[tuple[Candidate, float]] = []  # as ``run.readmitted``, of those within reach
    quarantined: list[tuple[Candidate, Quarantine]] = []
    gated: list[tuple[Candidate, float]] = []
    held = 0
    for candidate in found:
        target, within = candidate.target, candidate.position in reach
        quarantine = live.quarantined_until(target, candidate.model, now)
        if quarantine is not None:
            out.append((candidate, "quarantined_" + quarantine.cause, quarantine.until - now))
            if within:
                quarantined.append((candidate, quarantine))
            continue
        view = live.circuit(target, now)
        if view.state == "open":
            left_s = max(0.0, view.until - now)
            if view.forced:  # people want nobody there, whatever else is left
                out.append((candidate, "circuit_forced_open", left_s if left_s < inf else None))
                held += within
                continue
            out.append((candidate, "circuit_open", left_s))
            if within:
                opened.append((candidate, view.until))
        elif live.observed(target.id, now) == "unhealthy":
            out.append((candidate, "unhealthy", None))
            if within:
                opened.append((candidate, now))
        elif within and view.admitted < 1.0 and fraction(run.request.route_id, target.id) >= view.admitted:
            gated.append((candidate, view.admitted))
    left = len(reach - run.dropped) - len(opened) - len(quarantined) - held
    due = [until for _, until in opened if until > now] + [quarantine.until for _, quarantine in quarantined]
    run.retry_at = min(due, default=None)
    if not left and (opened or quarantined):
        _nothing_left(run, opened, quarantined)
    readmitted = {candidate.position for candidate, _ in run.readmitted}
    for candidate, code, value in out:
        if candidate.position not in readmitted:
            run.drop(candidate, NAME, code, value)
    if gated and _others_left(run, gated):  # slow start gives way when nothing else is left
        for candidate, admitted in gated:
            run.gated.add(candidate.id)
            run.drop(candidate, NAME, "slow_start", 100.0 * admitted)


def _suspected(run: Run, suspects: Collection[str]) -> list[Candidate]:
    """Candidates still in whose target or provider is among the suspects, in configured order."""
    base = run.base
    found: dict[int, Candidate] = {}
    for key in suspects:
        candidate = base.by_id.get(key)
        if candidate is not None:
            found[candidate.position] = candidate
        else:
            for candidate in base.by_provider.get(key, ()):
                found[candidate.position] = candidate
    return [found[position] for position in sorted(found.keys() - run.dropped)]


def _others_left(run: Run, gated: list[tuple[Candidate, float]]) -> bool:
    """Whether the strategies have anybody to rank without those that slow start would leave out. ``single`` has
    nobody but its first, and a response's origin is the only one that has it."""
    if run.request.origin is not None:
        return False
    without = frozenset(run.dropped.union(candidate.position for candidate, _ in gated))
    return bool(run.base.plan(run.rule, run.request.strategy, without).steps)


def _nothing_left(
    run: Run, opened: list[tuple[Candidate, float]], quarantined: list[tuple[Candidate, Quarantine]]
) -> None:
    """Nothing healthy is left: say whether it is all for rate limits, and who may be tried all the same."""
    run.all_rate_limited = not opened and all(quarantine.cause == "rate_limited" for _, quarantine in quarantined)
    failover = run.profile.failover
    if failover.when_all_unhealthy != "try":
        return
    if opened:
        run.readmitted = sorted((entry for entry in opened if _rankable(run, entry[0])), key=lambda entry: entry[1])
        run.panic = failover.panic_concurrency
    elif not any(quarantine.told for _, quarantine in quarantined):
        due = [(candidate, quarantine.until) for candidate, quarantine in quarantined if _rankable(run, candidate)]
        run.readmitted = sorted(due, key=lambda entry: entry[1])[:1]
        run.panic = 1


def _rankable(run: Run, candidate: Candidate) -> bool:
    """Whether the strategies would rank it: ``single`` leaves all but the first alone, in trouble too."""
    if run.request.origin is not None:
        return True
    plan = run.base.plan(run.rule, run.request.strategy, frozenset(run.dropped))
    return plan.find(candidate.id) is not None


def fraction(route_id: str, target_id: str) -> float:
    """A stable number in [0, 1) for this request and target; independent between targets."""
    digest = hashlib.blake2b(f"{route_id}:{target_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / (1 << 64)
