"""Labels for people: a target or provider is called healthy, degraded, unhealthy or unknown. They never remove it.

One place for the gateway's ``/health`` and the console, so that they cannot disagree. Pure; imports the vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from routes.engine.live import Observed
    from routes.engine.provider import Target
    from routes.engine.snapshot import Snapshot
    from routes.engine.types import CircuitState

#: Failures in a row from which a target is no longer listed as healthy, and from which it is not usable.
UNLISTED_FAILURES: Final = 3
UNUSABLE_FAILURES: Final = 5
#: Success rates below which a target is not usable, and below which it is degraded.
USABLE_RATE: Final = 0.8
GOOD_RATE: Final = 0.95
#: Traffic says something of a target for so many seconds.
HEARD_SECONDS: Final = 3600.0


def listed_healthy(consecutive_failures: int) -> bool:
    return consecutive_failures < UNLISTED_FAILURES


def usable(success_rate: float, consecutive_failures: int) -> bool:
    return success_rate >= USABLE_RATE and consecutive_failures < UNUSABLE_FAILURES


def of_target(
    observed: Observed, circuit: CircuitState, success_rate: float, consecutive_failures: int, *, heard: bool
) -> Observed:
    """``observed``: what checks found; ``heard``: there was traffic in the last hour, so that the figures mean
    something."""
    if observed == "unhealthy" or circuit == "open":
        return "unhealthy"
    failing = heard and not (listed_healthy(consecutive_failures) and success_rate >= GOOD_RATE)
    if observed == "degraded" or circuit == "half_open" or failing:
        return "degraded"
    return "healthy" if heard else observed


def of_provider(targets: Iterable[Observed]) -> Observed:
    """All targets unhealthy, some, none; unknown while nothing is known of any."""
    labels = set(targets)
    if labels == {"unhealthy"}:
        return "unhealthy"
    if labels & {"unhealthy", "degraded"}:
        return "degraded"
    return "healthy" if "healthy" in labels else "unknown"


def judged_by(snapshot: Snapshot, ever_used: Callable[[Target], bool]) -> dict[str, list[tuple[Target, list[str]]]]:
    """The targets that a provider is judged by, by its id, each once, with the slugs of the profiles that use it. The
    one for decisions that name no profile, which every endpoint has, counts where it is the only one, or was used."""
    found: dict[str, dict[str, tuple[Target, list[str]]]] = {}
    for provider in snapshot.providers.values():
        found[provider.id] = {}
    for profile in snapshot.profiles.values():
        for target in profile.targets:
            slugs = found[target.provider.id].setdefault(target.id, (target, []))[1]
            if profile.slug not in slugs:
                slugs.append(profile.slug)
    endpoints = {provider: {_head_id(target) for target, _ in each.values()} for provider, each in found.items()}
    for target in snapshot.unnamed.targets if snapshot.unnamed else ():
        others = found[target.provider.id]
        if target.id not in others and (_head_id(target) not in endpoints[target.provider.id] or ever_used(target)):
            others[target.id] = (target, [])
    return {provider: sorted(each.values(), key=lambda pair: pair[0].label) for provider, each in found.items()}


def _head_id(target: Target) -> str:
    return "" if target.head is None else target.head.id
