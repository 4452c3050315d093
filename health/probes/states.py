"""The observed state of a check: what follows from one more result. Pure.

The first success is believed at once: a target nobody knows anything about is asked for the first time, and there is
nothing to recover from. An unhealthy one needs ``rise`` successes in a row; ``fall`` failures in a row make any other
one unhealthy. ``degraded`` is a label for what works and is slow or fails now and then: it removes nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from health.probes.questions import Verdict
    from routes.engine.live import Observed
    from routes.engine.settings import ProbeSettings

#: Why a state changed, as the timeline has it.
Reason = Literal["first_check", "rise", "fall", "slow", "failing", "recovered"]
#: Why a target that answers is not quite well.
Complaint = Literal["slow", "failing"]


class Standing(NamedTuple):
    observed: Observed
    good: int = 0  # successes in a row
    bad: int = 0  # failures in a row

    @property
    def moving(self) -> bool:
        """Whether it may be on the way to another state: worth asking sooner."""
        return self.good > 0 if self.observed == "unhealthy" else self.bad > 0


def after(
    standing: Standing, verdict: Verdict, settings: ProbeSettings, complaint: Complaint | None
) -> tuple[Standing, Reason | None]:
    """The standing after one more result, and why the state changed if it did. ``complaint`` counts while the last
    result was fine."""
    observed, good, bad = standing
    if verdict == "neutral":
        return standing, None
    if verdict == "failure":
        bad += 1
        if observed != "unhealthy" and bad >= settings.fall:
            return Standing("unhealthy", 0, bad), "fall"
        return Standing(observed, 0, bad), None
    good += 1
    if observed == "unhealthy" and good < settings.rise:
        return Standing(observed, good), None
    now: Observed = "healthy" if complaint is None else "degraded"
    if now == observed:
        return Standing(now, good), None
    reason: Reason
    if observed == "unhealthy":
        reason = "rise"
    elif observed == "unknown":
        reason = "first_check"
    else:
        reason = "recovered" if complaint is None else complaint
    return Standing(now, good), reason


def interval(standing: Standing, settings: ProbeSettings, draw: float) -> float:
    """Seconds until the next probe, give or take 10 %. ``draw``: between 0 and 1."""
    seconds = settings.interval
    if standing.moving:
        seconds = min(seconds, max(1.0, seconds / 5))
    return seconds * (0.9 + 0.2 * draw)
