"""What the engine would do with a profile that nobody has published: compiled as it stands, asked many times.

Runs ``pipeline.decide`` on a private copy of the host's live state: what gateways have measured and whom they leave
out counts as it does for a request now, counters and budgets advance as they would, and nobody else sees any of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid5

from django.db.models import Count, OuterRef, Subquery
from django.utils import timezone

from routes import document, draft, ports
from routes.compile import compile_configuration
from routes.engine import pipeline, words
from routes.engine.facts import Facts
from routes.engine.snapshot import NO_HEADS, Heads, Snapshot
from routes.engine.types import RouteRequest
from routes.explain.draws import EvenRandom
from routes.models import Policy, PriceTable, Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from routes.document import Configuration
    from routes.engine.live import LiveState
    from routes.engine.profile import Profile

DRAWS = 1000
#: A profile without an id of its own yet.
NEW = UUID(int=0)
#: Every request is in this many percent, so a rule that asks for it takes them all.
ALWAYS = {"fact": "percent", "op": "gte", "value": 0}
#: Tokens of a request that nobody has described; strategies that count tokens need some number.
INPUT_TOKENS, OUTPUT_TOKENS = 500, 200


class Draws(NamedTuple):
    """``won``: share per target id. ``reasons``: why the others were left out of the first decision."""

    won: dict[str, float]
    reasons: dict[str, str]
    measured: bool  # whether anything is known of how fast any target is


class Sections(NamedTuple):
    """What of the draft counts for every profile, read once per page."""

    policy: dict[str, Any]
    prices: dict[str, Any]


def sections() -> Sections:
    """One query, once both rows are there."""
    prices = PriceTable.objects.filter(pk=OuterRef("pk")).values("prices")
    policy = Policy.objects.annotate(prices=Subquery(prices)).first()
    if policy is None or policy.prices is None:
        return Sections(draft.policy_tree(Policy.get()), PriceTable.get().prices)
    return Sections(draft.policy_tree(policy), policy.prices)


def configuration(profiles: Sequence[dict[str, Any]], providers: Iterable[Provider], around: Sections) -> Configuration:
    """These profiles as a document of their own. No query. Raises DocumentError."""
    return document.Configuration.parse(
        {
            "version": 1,
            "policy": around.policy,
            "prices": around.prices,
            "providers": [draft.provider_tree(provider) for provider in providers],
            "profiles": profiles,
        }
    )


def all_providers() -> list[Provider]:
    """All of them by slug, each with the number of its heads (``Provider.heads`` is the other end of health's key)."""
    return list(Provider.objects.annotate(head_count=Count("heads")).order_by("slug"))


def snapshot(wanted: Configuration, providers: Sequence[Provider], profile_id: UUID = NEW) -> Snapshot:
    """The document as gateways would load it, with the heads of now. Its first profile has the given id; the others are
    previews beside it. One query where a provider has heads. Raises DocumentError."""
    slugs = [profile.slug for profile in wanted.profiles]
    ids = {slug: str(uuid5(profile_id, slug) if place else profile_id) for place, slug in enumerate(slugs)}
    compiled = compile_configuration(
        wanted,
        installation="",
        number=0,
        published_at=timezone.now(),
        provider_ids={provider.slug: str(provider.id) for provider in providers},
        profile_ids=ids,
    )
    registered = any(getattr(provider, "head_count", True) for provider in providers)
    return Snapshot.from_document(compiled, Heads.of(ports.heads()) if registered else NO_HEADS)


def draw(snapshot: Snapshot, profile: Profile, operation: str, model: str, host: LiveState, now: float) -> Draws:
    """``DRAWS`` requests through the engine, each claimed and released before the next. ``host`` is only copied;
    ``now`` is its clock."""
    live, wall = host.fork(), time.time()
    rng = EvenRandom(DRAWS)
    counts: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for number in range(DRAWS):
        rng.begin(number)
        route_id = str(UUID(int=rng.getrandbits(128)))
        facts = Facts(operation=operation, model=model, route_id=route_id, wall=wall, scenario=profile.scenario)
        request = RouteRequest(route_id, operation, model, facts=facts, estimate_tokens=lambda: INPUT_TOKENS)
        decision = pipeline.decide(snapshot, profile, request, live, now, rng)
        place = 0
        while (ranked := decision.place(place)) is not None:
            claim = live.claim(ranked.target, now, panic=decision.panic)
            if claim is not None:
                output = live.stats(ranked.target.id).mean_output_tokens
                live.release(claim, now, round(OUTPUT_TOKENS if output is None else output), INPUT_TOKENS)
                counts[ranked.target.id] = counts.get(ranked.target.id, 0) + 1
                break
            place += 1
        if number == 0:
            for excluded in decision.excluded:
                reasons[excluded.target.id] = words.excluded(excluded.code, excluded.value)
    stats = live.stats_of([target.id for target in profile.targets])
    measured = any(one.mean_latency_s(stream, now)[1] for one in stats for stream in (True, False))
    return Draws({target: count / DRAWS for target, count in counts.items()}, reasons, measured)
