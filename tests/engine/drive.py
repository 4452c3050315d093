"""What engine tests have in common: a bench that decides, sends and settles on a clock of its own."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from routes.engine.local_live import LocalLiveState
from routes.engine.pipeline import decide
from routes.engine.stages import affinity
from routes.engine.types import Decision, Outcome, RouteRequest, Transition
from tests.documents import an_id
from tests.engine.facts_of import facts_of

if TYPE_CHECKING:
    from routes.engine.snapshot import Profile, Snapshot, Target
    from routes.engine.tables.claims import TableClaim

ROUTE_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def request(headers: dict[str, str] | None = None, document: Any = None, **given: Any) -> RouteRequest:
    """A request with facts that agree with it; ``facts=None`` for one without."""
    given = {"route_id": ROUTE_ID, "operation": "chat", "model": "gpt-4o"} | given
    if "facts" not in given:
        same = {name: given[name] for name in ("operation", "model", "route_id", "stream", "session") if name in given}
        tags = tuple(given.get("tags", ()))
        given["facts"] = facts_of(document, headers=headers, tags=tags, region=given.get("region"), **same)
    return RouteRequest(**given)


class Bench:
    """One snapshot, one live state, one seeded random source and a clock that only the test moves."""

    def __init__(self, snapshot: Snapshot, seed: int = 1, now: float = 1000.0) -> None:
        self.snapshot = snapshot
        self.live = LocalLiveState(Random(seed))
        self.rng = Random(seed)
        self.now = now

    def profile(self, slug: str = "default") -> Profile:
        return self.snapshot.profiles[slug]

    def target(self, slug: str, profile: str = "default") -> Target:
        return next(t for t in self.profile(profile).targets if t.provider.slug == slug)

    def decide(self, profile: str = "default", dry: bool = False, **given: Any) -> Decision:
        return decide(self.snapshot, self.profile(profile), request(**given), self.live, self.now, self.rng, dry=dry)

    def first(self, profile: str = "default", **given: Any) -> str | None:
        """Slug of the provider that leads; None = no target."""
        place = self.decide(profile, **given).place(0)
        return None if place is None else place.target.provider.slug

    def firsts(self, count: int, profile: str = "default", **given: Any) -> Counter[str | None]:
        return Counter(self.first(profile, **given) for _ in range(count))

    def ranking(self, profile: str = "default", **given: Any) -> list[str]:
        return [entry.target.provider.slug for entry in self.decide(profile, **given).full_ranking()]

    def codes(self, profile: str = "default", **given: Any) -> list[str]:
        return [entry.code for entry in self.decide(profile, **given).full_ranking()]

    def visit(self, session: str, profile: str = "default", **given: Any) -> str | None:
        """A whole request of a session: decided, answered by who leads, pinned. The slug of who answered."""
        decision = self.decide(profile, session=session, **given)
        place = decision.place(0)
        if place is None:
            return None
        if decision.pin is not None:
            affinity.answered(decision.pin, self.live, place.target.id, self.now)
        return place.target.provider.slug

    # -- attempts ----------------------------------------------------------------------------------
    def claim(self, slug: str, panic: int = 0, **given: Any) -> TableClaim | None:
        return self.live.claim(self.target(slug), self.now, panic, **given)

    def attempt(
        self,
        slug: str,
        verdict: Literal["success", "failure", "neutral"] = "success",
        latency: float = 0.1,
        tokens: int | None = None,
        stream: bool = False,
        timeout: float = 0.0,
        panic: int = 0,
    ) -> list[Transition]:
        """One whole attempt; all the changes of state it caused."""
        claim = self.claim(slug, panic)
        assert claim is not None, f"{slug} takes no claim"
        first_event = latency if stream else None
        outcome = Outcome(verdict, None, latency, first_event, tokens, stream, timeout)
        self.live.settle(claim, self.target(slug), outcome, self.now)
        self.live.release(claim, self.now, tokens)
        return claim.transitions

    def open(self, slug: str) -> None:
        """Let it fail until its circuit opens."""
        for _ in range(self.target(slug).provider.circuit.failure_threshold):
            self.attempt(slug, "failure")
        assert self.state(slug) == "open"

    def recover(self, slug: str) -> None:
        """From open through half-open to closed, with the clock moved past the pause."""
        self.now = max(self.now, self.live.circuit(self.target(slug), self.now).until)
        for _ in range(self.target(slug).provider.circuit.success_threshold):
            self.attempt(slug)
        assert self.state(slug) == "closed"

    def state(self, slug: str) -> str:
        return self.live.circuit(self.target(slug), self.now).state

    def set_states(self, **states: Any) -> None:
        """Admin states by slug (underscores for hyphens): a state, or (state, until as Unix time)."""
        self.live.set_admin_states(
            {
                an_id("provider", slug.replace("_", "-")): state if isinstance(state, tuple) else (state, None)
                for slug, state in states.items()
            },
            now=self.now,
            wall=self.now + 1e9,
        )


def why(decision: Decision) -> dict[str, str]:
    """Slug -> ``stage.code`` of those left out."""
    return {entry.target.provider.slug: f"{entry.stage}.{entry.code}" for entry in decision.excluded}


def chi_squared(observed: list[int], shares: list[float]) -> float:
    total = sum(observed)
    return sum((seen - total * share) ** 2 / (total * share) for seen, share in zip(observed, shares, strict=True))


#: Upper 0.1 % points of chi squared by degrees of freedom: below it p > 0.001.
CHI_SQUARED_0_001 = {1: 10.828, 2: 13.816, 3: 16.266, 4: 18.467, 9: 27.877}
