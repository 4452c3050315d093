"""Benches for tests of strategies: providers ``a``, ``b``, ``c``… under one strategy, and providers with one head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.documents import head, provider, snapshot
from tests.engine.drive import Bench

if TYPE_CHECKING:
    from routes.engine.types import Decision

SLUGS = "abcdefghijklmnopqrst"


def bench(strategy: str, weights: dict[str, float] | int = 3, seed: int = 1, **given: Any) -> Bench:
    """So many providers, or those of ``weights``."""
    if isinstance(weights, int):
        weights = dict.fromkeys(SLUGS[:weights], 1.0)
    return Bench(
        snapshot([provider(slug, weight=weight) for slug, weight in weights.items()], strategy=strategy, **given), seed
    )


def heads(strategy: str, fields: dict[str, dict[str, Any]], **given: Any) -> Bench:
    """A provider with one head of the same name for each of ``fields``."""
    providers = [provider(slug, heads=[head(slug, **own)]) for slug, own in fields.items()]
    return Bench(snapshot(providers, strategy=strategy, **given))


def feed(line: Bench, slug: str, latency: float, count: int = 10, **given: Any) -> None:
    """So many attempts."""
    for _ in range(count):
        line.attempt(slug, latency=latency, **given)


def hold(line: Bench, **counts: int) -> None:
    """Leave so many requests in flight."""
    for slug, count in counts.items():
        for _ in range(count):
            assert line.claim(slug) is not None


def report(line: Bench, **loads: float) -> None:
    """Heads say how loaded they are, one clock tick later each time."""
    line.now += 1
    for slug, load in loads.items():
        target = line.target(slug)
        line.live.hear_head(target.head_key or target.id, load, False, 1e12, line.now)


def told(line: Bench, **given: Any) -> list[tuple[str, str, Any]]:
    """(slug, code, value) of the whole ranking."""
    return told_of(line.decide(**given))


def told_of(decision: Decision) -> list[tuple[str, str, Any]]:
    return [(e.target.provider.slug, e.code, e.value) for e in decision.full_ranking()]
