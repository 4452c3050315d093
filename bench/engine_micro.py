"""Micro-benchmark of the engine: what a decision costs, by strategy and number of targets.

    .venv/bin/python -m bench.engine_micro [--quick] [--only NAME ...]

Prints Markdown tables of microseconds, p50 and p99 over batches on warm state (every target has samples, loads and
seats): each strategy's first choice alone, whole decisions, the same with one circuit open (the slow path through
health), a decision with all stages at work (10 targets, 5 rules, a session, pinned and not), and the costs around an
attempt. Figures move with the machine; compare only what one run printed.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from bench.micro import measure
from routes.engine import strategies
from routes.engine.candidates import NOBODY
from routes.engine.explain import pack_decision
from routes.engine.facts import Facts, KeyFacts
from routes.engine.local_live import LocalLiveState
from routes.engine.pipeline import decide
from routes.engine.snapshot import Snapshot
from routes.engine.stages import Run, affinity
from routes.engine.types import Outcome, Requirements, RouteRequest
from tests.documents import document, head, provider, rule, target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routes.engine.types import Decision

SIZES = (2, 10, 100, 1000)


ROUTE_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
PRICES = {"gpt-4o": {"input": 2.5, "output": 10.0, "cached": 1.25}}
REGIONS = ("eu-west", "eu-north", "us-east")


def an_upstream(index: int, **given: Any) -> dict[str, Any]:
    """A provider with one head."""
    own = head("head", region=REGIONS[index % 3], capacity=10, version="2", capabilities=["vision"])
    return provider(f"p{index}", weight=[50, 30, 20][index % 3], prices=PRICES, heads=[own], **given)


def compiled(size: int, strategy: str, **given: Any) -> Snapshot:
    return Snapshot.from_document(document([an_upstream(index) for index in range(size)], strategy=strategy, **given))


def warmed(snapshot: Snapshot) -> LocalLiveState:
    """A live state in which every target has 20 samples of both kinds and has reported its load."""
    live, rng = LocalLiveState(Random(1)), Random(2)
    for place in snapshot.profiles["default"].targets:
        for stream in (False, True):
            for step in range(20):
                claim = live.claim(place, step)
                assert claim is not None
                latency = rng.uniform(0.2, 2.0)
                live.settle(claim, place, Outcome("success", None, latency, latency / 3, 200, stream), step)
                live.release(claim, step + 1, 200)
        for step in range(5):
            live.hear_head(place.head_key or place.id, rng.uniform(0, 8), False, 1e12, 25.0 + step)
    return live


def a_request(**given: Any) -> RouteRequest:
    wanted = Requirements("2", None, frozenset({"vision"}))
    values: dict[str, Any] = {"region": "eu-west", "requirements": wanted, "estimate_tokens": lambda: 800}
    return RouteRequest(ROUTE_ID, "chat", "gpt-4o", **(values | given))


def table(title: str, names: Sequence[str], batches: int, call: Callable[[str, int], Callable[[], object]]) -> None:
    print(f"\n| {title}, µs p50 / p99 | " + " | ".join(f"{size} targets" for size in SIZES) + " |")
    print("|---" * (len(SIZES) + 1) + "|")
    for name in names:
        row = []
        for size in SIZES:
            # Ranking strategies look at every target: fewer rounds where one takes long.
            p50, p99 = measure(call(name, size), max(10, batches if size <= 100 else batches // 5))
            row.append(f"{p50:.1f} / {p99:.1f}")
        print(f"| {name} | {' | '.join(row)} |", flush=True)


def choosing(name: str, size: int) -> Callable[[], object]:
    """The strategy alone: its first choice among all."""
    snapshot = compiled(size, name)
    live, profile, rng, request = warmed(snapshot), snapshot.profiles["default"], Random(3), a_request()
    candidates = profile.candidates_for("chat", "gpt-4o")
    pool, strategy, params, _ = candidates.plan(None, None, NOBODY).steps[0]
    run = Run(snapshot, profile, request, live, live, 31.0, rng, candidates)

    def choose() -> None:
        run.inputs = {}
        strategy.rank(pool, run, params, False)

    return choose


def deciding(name: str, size: int, trouble: bool = False) -> Callable[[], object]:
    """A whole decision."""
    snapshot = compiled(size, name)
    live, profile, rng = warmed(snapshot), snapshot.profiles["default"], Random(3)
    if trouble:
        place = profile.targets[-1]
        for _ in range(5):
            claim = live.claim(place, 30.0)
            assert claim is not None
            live.settle(claim, place, Outcome("failure", "connect_refused"), 30.0)
            live.release(claim, 30.0)
    return partial(decide, snapshot, profile, a_request(), live, 31.0, rng)


BODY = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"' + b"a question " * 80 + b'"}]}'
#: None of the first four holds for the request, the fifth does.
RULES: tuple[dict[str, Any], ...] = (
    {"all": [{"fact": "model", "op": "prefix", "value": "claude"}, {"fact": "stream", "op": "is", "value": True}]},
    {"any": [{"fact": "tag", "op": "eq", "value": "batch"}, {"fact": "key.name", "op": "eq", "value": "night"}]},
    {"all": [{"fact": "tokens", "op": "gte", "value": 32000}, {"not": {"fact": "stream", "op": "is", "value": False}}]},
    {"fact": "latest_user_text", "op": "regex", "value": "(?i)refactor|rewrite"},
    {"all": [{"fact": "region", "op": "prefix", "value": "eu"}, {"fact": "tokens", "op": "lt", "value": 8000}]},
)


def all_stages(batches: int) -> None:
    """Ten targets, five rules, a session: what a request of every day costs when everything is switched on."""
    places = [target(f"p{index}") for index in range(10)]
    rules = [rule(f"rule {index}", when, places[index : index + 5]) for index, when in enumerate(RULES)]
    print("\n| decide() with all stages: 10 targets, 5 rules, a session | µs p50 / p99 |\n|---|---|")
    for strategy in ("weighted", "peak_ewma", "least_latency"):
        snapshot = compiled(10, strategy, rules=rules, affinity={"enabled": True})
        live, profile, rng = warmed(snapshot), snapshot.profiles["default"], Random(3)

        def facts() -> Facts:
            return Facts(
                operation="chat",
                model="gpt-4o",
                route_id=ROUTE_ID,
                wall=1.8e9,
                body=BODY,
                stream=True,
                session="a session",
                region="eu-west",
                headers={b"host": b"x"},
                key=KeyFacts("app", frozenset({"prod"})),
            )

        known = facts()

        def all_new() -> Decision:
            request = a_request(stream=True, session="a session", facts=facts())
            return decide(snapshot, profile, request, live, 31.0, rng)  # noqa: B023

        def facts_known() -> Decision:
            request = a_request(stream=True, session="a session", facts=known)  # noqa: B023
            return decide(snapshot, profile, request, live, 31.0, rng)  # noqa: B023

        decision = all_new()
        winner = decision.place(0)
        assert winner is not None
        assert decision.matched_rule == "rule 4"
        rows = [("", facts_known), (", facts read from a body of 1 KB", all_new)]
        for label, call in rows:
            p50, p99 = measure(call, batches)
            print(f"| {strategy}, no pin yet{label} | {p50:.1f} / {p99:.1f} |")
        assert decision.pin is not None
        affinity.answered(decision.pin, live, winner.target.id, 31.0)
        assert facts_known().source == "affinity"
        p50, p99 = measure(facts_known, batches)
        print(f"| {strategy}, pinned | {p50:.1f} / {p99:.1f} |")


def around(batches: int) -> None:
    snapshot = compiled(10, "weighted")
    live, profile, rng = warmed(snapshot), snapshot.profiles["default"], Random(3)
    place = profile.targets[0]
    request = RouteRequest("01890a5d-ac96-774b-bcce-b302099a8057", "chat", "gpt-4o")
    success = Outcome("success", None, 0.5, None, 200)

    def attempt() -> None:
        claim = live.claim(place, 31.0)
        assert claim is not None
        live.settle(claim, place, success, 31.0)
        live.release(claim, 31.0, 200)

    def unknown_model() -> None:
        profile.candidates_for("chat", f"model-{rng.random()}")

    decision = decide(snapshot, profile, request, live, 31.0, rng)
    heavy = compiled(10, "least_latency")
    slow = decide(heavy, heavy.profiles["default"], request, warmed(heavy), 31.0, rng)
    big = document([provider(f"p{index}") for index in range(1000)])
    rows: list[tuple[str, Callable[[], object], int]] = [
        ("claim + settle + release", attempt, batches),
        ("pack_decision, weighted, 10 targets", lambda: pack_decision(decision), batches),
        ("pack_decision, least_latency, 10 targets", lambda: pack_decision(slow), batches),
        ("candidates of a model never seen, 10 targets", unknown_model, batches),
    ]
    print("\n| µs p50 / p99 | |\n|---|---|")
    for label, call, rounds in rows:
        p50, p99 = measure(call, rounds)
        print(f"| {label} | {p50:.1f} / {p99:.1f} |")
    began = time.perf_counter()
    Snapshot.from_document(big)
    print(f"| compile a snapshot of 1,000 providers and targets | {(time.perf_counter() - began) * 1e6:,.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Micro-benchmark of the engine.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=strategies.NAMES, help="these strategies alone")
    given = parser.parse_args()
    rounds, names = 50 if given.quick else 500, given.only or strategies.NAMES
    table("first choice", names, rounds, choosing)
    table("decide()", names, rounds, deciding)
    table("decide(), one circuit open", names, rounds, partial(deciding, trouble=True))
    all_stages(rounds)
    around(rounds)
