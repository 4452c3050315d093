"""Affinity: a session goes back to the target that answered it. Reads pins, never writes them: ``answered`` does,
for the attempt loop, when a target has answered. Imports the engine only.

Pins belong to (profile, matched rule, access key, session), so one can never hide a rule that matches now. A pin is
honoured while its target is still among those to be ranked and its circuit is closed, unless a lower tier is
available again; for ``promotion_hold`` seconds after it came back the session stays where it is.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from routes.engine.stages.smart_routing import rule_of
from routes.engine.types import PinPlan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routes.engine.candidates import Candidate, Step
    from routes.engine.live import LiveState
    from routes.engine.stages import Run

NAME = "affinity"


def apply(run: Run) -> None:
    pin = pin_of(run)
    if pin is None or pin.target_id is None or run.readmitted:
        return
    plan = run.plan
    assert plan is not None  # smart_routing made it
    found = plan.find(pin.target_id)
    if found is None:
        pin.keep = pin.target_id in run.gated
        return
    index, candidate = found
    pin.honoured = _closed(run, candidate) and not (index and _available(run, plan.steps[:index]))


def pin_of(run: Run) -> PinPlan | None:
    """What there is to know of the session's pin; looked up at most once per decision. None = not to be pinned."""
    request, settings = run.request, run.profile.affinity
    if run.pin is not None or not settings.enabled or not request.session or request.origin is not None:
        return run.pin
    rule = rule_of(run) if settings.scope == "rule" else None
    key = pin_key(run.profile.id, None if rule is None else rule.id, request.key_id, request.session)
    pin = run.pin = PinPlan(key, run.profile.id, request.session, settings.ttl, settings.sliding)
    found = run.live.pin(key, run.now)
    if found is not None:
        pin.target_id, pin.pinned_at = found.target_id, found.pinned_at
    return pin


def pinned_to(run: Run, candidate: Candidate) -> bool:
    """Whether the request's session is pinned to this candidate."""
    pin = pin_of(run)
    return pin is not None and pin.target_id == candidate.id


def _closed(run: Run, candidate: Candidate) -> bool:
    """Whether its circuit is simply closed: a half-open one is for trials, not for sessions."""
    return candidate.id not in run.suspects or run.live.circuit(candidate.target, run.now).state == "closed"


def _available(run: Run, lower: Iterable[Step]) -> bool:
    """Whether a lower tier has somebody with a closed circuit, and had so for longer than ``promotion_hold``."""
    hold, live, now = run.profile.affinity.promotion_hold, run.live, run.now
    for step in lower:
        for candidate in step.pool.candidates:
            if _closed(run, candidate):
                recovered = live.recovered_at(candidate.target, candidate.model, now)
                if recovered is None or now - recovered >= hold:
                    return True
    return False


def pin_key(profile_id: str, rule_id: str | None, key_id: str, session: str) -> bytes:
    """The 16 bytes under which a session's pin is kept. ``rule_id``: None = no rule, or pins of the whole profile."""
    return blake2b(f"{profile_id}/{rule_id}/{key_id}/{session}".encode(), digest_size=16).digest()


def answered(pin: PinPlan, live: LiveState, target_id: str, now: float) -> None:
    """A target answered a request of the session: remember it, extend the pin where use does that, or leave it.

    The life of a pin begins when it is set; only ``sliding`` ones live on by use. While slow start alone keeps a
    session off its target, whoever answers in its stead changes nothing.
    """
    if pin.keep:
        return
    if pin.target_id != target_id:
        live.set_pin(pin.key, target_id, now, pin.ttl, profile_id=pin.profile_id, session=pin.session)
    elif pin.sliding:
        live.set_pin(
            pin.key,
            target_id,
            now,
            pin.ttl,
            profile_id=pin.profile_id,
            session=pin.session,
            pinned_at=pin.pinned_at,
        )
