"""The share of requests that weights ask for, beside the share that was: by provider or by model.

Asked of the live revision, for the requests that reached a provider: each that was ranked by ``weighted`` or
``smooth_weighted`` (also within ``tiered`` and its like) counts as its profile or rule divides requests for that model
among the targets of its first tier. Every other request counts where it went, so that both shares have the same
denominator and differ by weighted requests alone: by pins, by failover, by weights that were changed. No writing, no
tables of our own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from routes.engine.types import SERVICE, SERVICE_WIRE
from routes.snapshots import live_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routes.engine.candidates import Pool
    from routes.engine.profile import Profile, Rule
    from routes.engine.provider import Provider
    from routes.engine.snapshot import Snapshot

#: Strategies under which a target's share of requests is its share of weight.
WEIGHTED: Final = frozenset({"weighted", "smooth_weighted"})
#: Groupings whose shares are of the requests that reached a provider.
SHARED: Final = ("provider", "model")


class Route(NamedTuple):
    """What requests have in common that weights divide alike, and where they went."""

    profile: str
    rule: str | None
    strategy: str
    provider: str
    model: str


def expected_shares(group_by: str, reached: Iterable[tuple[Route, int]]) -> dict[str, float]:
    """By provider or model; without those that no weights speak of. One small query."""
    counts: Counter[Route] = Counter()
    for route, number in reached:
        counts[route] += number
    snapshot = live_snapshot()
    total = counts.total()
    if snapshot is None or not total:
        return {}
    asked: defaultdict[str, float] = defaultdict(float)
    went: defaultdict[str, float] = defaultdict(float)
    for route, number in counts.items():
        key = str(getattr(route, group_by))
        pool = _pool(snapshot, route)
        if pool is None:
            went[key] += number
            continue
        asked[key] += 0.0  # a backup is asked for nothing
        for candidate, weight in zip(pool.candidates, pool.weights, strict=True):
            name = candidate.model if group_by == "model" else candidate.target.provider.slug
            asked[name] += number * weight / pool.cumulative[-1]
    return {key: (share + went[key]) / total for key, share in asked.items()}


def _pool(snapshot: Snapshot, route: Route) -> Pool | None:
    """The targets that such requests are divided among by weight; None if something else decides."""
    profile = snapshot.profiles.get(route.profile)
    if profile is None:
        return None
    rule = _rule(profile, route.rule)
    if rule is None and route.rule is not None:
        return None
    provider = snapshot.providers.get(route.provider)
    service = provider is not None and provider.wire == SERVICE_WIRE
    candidates = profile.candidates_for(SERVICE if service else "chat", _asked(provider, route.model))
    # Base URLs of providers with heads are for when none of these is there.
    plan = candidates.plan(rule, None, frozenset(candidate.position for candidate in candidates.fallbacks))
    if not plan.steps or plan.choice.strategy.name != route.strategy:
        return None
    leaf = plan.choice.strategy.leaf(plan.choice.params)
    return plan.steps[0].pool if leaf.name in WEIGHTED else None


def _rule(profile: Profile, name: str | None) -> Rule | None:
    return next((rule for rule in profile.rules if rule.name == name), None)


def _asked(provider: Provider | None, upstream: str) -> str:
    """A model that clients can have asked for to get this one."""
    if provider is None or provider.models is None:
        return upstream
    named = (name for name in provider.models.names if provider.models.upstream(name) == upstream)
    return next(named, upstream)
