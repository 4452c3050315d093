"""Situations for property tests: any profile with rules, heads and limits, any state of its targets, any request."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st

from routes.engine import strategies
from routes.engine.local_live import LocalLiveState
from routes.engine.stages import affinity
from tests.documents import head, profile, provider, rule, snapshot, target
from tests.engine.drive import Bench

MODES = ["immediate", "immediate", "cost", {"threshold": {"failures": 1}}, {"success_rate": {"min": 0.95}}]
PARTITIONS = ["ag", "gh", "h", "cb"]
CONDITIONS = [
    {"fact": "tag", "op": "eq", "value": "gold"},
    {"fact": "stream", "op": "is", "value": True},
    {"fact": "model", "op": "prefix", "value": "gpt"},
    {"fact": "partition.ttft_ms_avg", "op": "lte", "value": 150},
    {"fact": "user_text", "op": "contains", "value": "zebra"},
]


class Watched(LocalLiveState):
    """A live state that knows what was done to it."""

    def __init__(self, rng: Random | None = None) -> None:
        super().__init__(rng)
        self.done: list[str] = []

    def rotate(self, pool: str) -> int:
        self.done.append(pool)
        return super().rotate(pool)

    def set_pin(self, *given: Any, **named: Any) -> None:
        self.done.append("pin")
        super().set_pin(*given, **named)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Bench, dict[str, Any]]:
    """A profile of up to six targets of its own and two rules, all in any state of admission and health, and a
    request to it, perhaps of a session that was there before."""
    own = "abcdef"[: draw(st.integers(0, 6))]
    providers = [
        provider(
            slug,
            wire=draw(st.sampled_from(["openai", "openai", "openai", "openai", "anthropic"])),
            models=draw(st.sampled_from([None, None, {"gpt-4o": "up"}, {"x": "y"}, {"gpt-*": "*"}])),
            prices=draw(st.sampled_from([{}, {"gpt-4o": {"input": 1, "output": 2}}])),
            tags=draw(st.sampled_from([[], ["gold"]])),
            max_concurrency=draw(st.sampled_from([0, 0, 0, 1])),
            heads=draw(st.sampled_from([[], [], [head("one"), head("two", model_type="llama")]])),
        )
        for slug in "abcdefgh"
    ]
    weights, tiers = st.sampled_from([None, 0, 1, 5.5]), st.integers(0, 2)
    places = [target(slug, weight=draw(weights), tier=draw(tiers)) for slug in own]
    rules = [
        rule(
            f"rule {number}",
            draw(st.sampled_from(CONDITIONS)),
            [
                target(slug, weight=draw(weights), tier=draw(tiers))
                for slug in draw(st.sampled_from(["ag", "gh", "h", "cb"]))
            ],
            enabled=draw(st.sampled_from([True, True, False])),
            fallback_to_profile=draw(st.booleans()),
            strategy=draw(st.sampled_from([None, *strategies.NAMES])),
        )
        for number in range(draw(st.integers(0, 2)))
    ]
    document = profile(
        targets=places,
        rules=rules,
        strategy=draw(st.sampled_from(strategies.NAMES)),
        failover={"when_all_unhealthy": draw(st.sampled_from(["try", "reject"])), "mode": draw(st.sampled_from(MODES))},
        affinity={"enabled": True, "scope": draw(st.sampled_from(["rule", "profile"]))},
        require_tags=draw(st.booleans()),
    )
    line = Bench(snapshot(providers, [document]), draw(st.integers(0, 1000)))
    line.live = Watched(Random(1))
    wishes: dict[str, Any] = {
        "route_id": f"{draw(st.integers(0, 2**64)):032x}",
        "stream": draw(st.booleans()),
        "only": draw(st.sampled_from([None, None, None, frozenset("abcg")])),
        "exclude": draw(st.sampled_from([frozenset(), frozenset(), frozenset("a")])),
        "strategy": draw(st.sampled_from([None, None, *strategies.NAMES])),
        "tags": draw(st.sampled_from([frozenset(), frozenset({"gold"})])),
        "session": draw(st.sampled_from([None, "s"])),
        "model_type": draw(st.sampled_from([None, "llama"])),
    }
    for _ in range(draw(st.integers(0, 2))):
        answer(line, wishes)
    states: dict[str, str] = {}
    for slug in sorted({t.provider.slug for t in line.profile().targets}):
        upset(line, slug, states, draw(st.sampled_from(["", "", "", *STATES])), draw)
    line.set_states(**states)
    return line, wishes


STATES = ["disabled", "draining", "open", "recovering", "limited", "measured", "failing", "unhealthy", "busy"]


def answer(line: Bench, wishes: dict[str, Any]) -> None:
    """One request of the kind is answered, and its session pinned."""
    decision = line.decide(**wishes)
    place = decision.place(0)
    if place is not None and decision.pin is not None:
        affinity.answered(decision.pin, line.live, place.target.id, line.now)


def upset(line: Bench, slug: str, states: dict[str, str], state: str, draw: st.DrawFn) -> None:
    match state:
        case "open":
            line.open(slug)
        case "recovering":
            line.open(slug)
            line.recover(slug)
        case "limited":
            told = draw(st.booleans())
            line.live.quarantine(line.target(slug), None, 30, "rate_limited", line.now, told=told)
        case "measured":
            for _ in range(12):
                line.attempt(
                    slug, latency=draw(st.sampled_from([0.1, 0.2, 1.0])), tokens=100, stream=draw(st.booleans())
                )
        case "failing":
            line.attempt(slug, "failure")
        case "unhealthy":
            line.live.set_observed(line.target(slug).id, "unhealthy", 1e12)
        case "busy":
            line.claim(slug)
        case "disabled" | "draining":
            states[slug] = state
