"""The live state of one process: claims, quarantines, overlay changes, publishing, threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from routes.engine.local_live import LocalLiveState
from routes.engine.quarantine import rate_limit_seconds
from routes.engine.settings import QuarantineSettings
from routes.engine.tables.layout import Layout
from routes.engine.types import Outcome
from tests.documents import QUARANTINE, an_id, profile, provider, snapshot, target
from tests.engine.drive import Bench

SETTINGS = QuarantineSettings(**QUARANTINE)


def bench(slugs: str = "ab") -> Bench:
    return Bench(snapshot([provider(slug) for slug in slugs]))


# -- claims ----------------------------------------------------------------------------------------


def test_an_attempt_is_in_flight_from_claim_to_release() -> None:
    line = bench()
    stats = line.live.stats(line.target("a").id)
    claim = line.claim("a")
    assert claim is not None
    assert stats.in_flight == 1
    line.live.settle(claim, line.target("a"), Outcome("success"), line.now)
    assert stats.in_flight == 1
    line.live.release(claim, line.now)
    line.live.release(claim, line.now)
    assert stats.in_flight == 0


def test_a_second_success_or_a_late_neutral_is_not_counted() -> None:
    line = bench()
    claim = line.claim("a")
    assert claim is not None
    for verdict in ("success", "success", "neutral"):
        line.live.settle(claim, line.target("a"), Outcome(verdict, latency_s=1.0), line.now)
    assert line.live.stats(line.target("a").id).mean_latency_s(False, line.now) == (1.0, 1)


def test_consecutive_failures_are_counted_for_people_too() -> None:
    line = bench()
    for verdict in ("failure", "failure", "neutral"):
        line.attempt("a", verdict)
    stats = line.live.stats(line.target("a").id)
    assert stats.consecutive_failures == 2
    line.attempt("a")
    assert stats.consecutive_failures == 0


def test_a_target_that_recovered_is_measured_anew() -> None:
    line = bench()
    line.attempt("a")
    line.open("a")
    stats = line.live.stats(line.target("a").id)
    assert stats.mean_latency_s(False, line.now)[1] > 0
    line.recover("a")
    assert stats.mean_latency_s(False, line.now) == (None, 0)
    line.attempt("a")
    assert stats.mean_latency_s(False, line.now)[1] == 1


def test_claims_from_many_threads_keep_the_books_straight() -> None:
    line = bench()

    def client() -> None:
        for _ in range(200):
            line.attempt("a", tokens=3)

    threads = [threading.Thread(target=client) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = line.live.stats(line.target("a").id)
    assert stats.in_flight == 0
    assert stats.mean_latency_s(False, line.now)[1] == 100
    assert stats.mean_output_tokens == 3


def test_half_open_slots_from_many_threads_are_exact() -> None:
    line = bench()
    line.open("a")
    line.now += 73
    granted = []

    def client() -> None:
        claim = line.claim("a")
        if claim is not None:
            granted.append(claim)

    threads = [threading.Thread(target=client) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 3


# -- quarantines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("retry_after", "seconds"), [(None, 60), (0, 1), (0.2, 1), (2, 2), (299, 299), (3600, 300)])
def test_a_retry_after_is_believed_within_bounds(retry_after: float | None, seconds: float) -> None:
    assert rate_limit_seconds(SETTINGS, retry_after) == seconds


def test_the_default_never_exceeds_the_maximum() -> None:
    assert rate_limit_seconds(QuarantineSettings(60, 10, 1, 1), None) == 10


def test_the_second_refused_credential_in_a_minute_quarantines_it_doubling() -> None:
    line = bench()
    target_a = line.target("a")

    def refused(wait: float = 0.0) -> float | None:
        line.now += wait
        return line.live.auth_failure(target_a, "auth_failed", line.now)

    assert refused() is None
    assert refused(61) is None, "more than a minute apart"
    assert refused(60) == 1800
    assert line.first() == "b"
    assert [refused(1) for _ in range(8)] == [None, 3600, None, 7200, None, 7200, None, 7200]


def test_an_answer_ends_the_doubling() -> None:
    line = bench()
    for _ in range(2):
        line.live.auth_failure(line.target("a"), "auth_failed", line.now)
    line.now += 1800
    line.attempt("a")
    assert [line.live.auth_failure(line.target("a"), "auth_failed", line.now) for _ in range(2)] == [None, 1800]


def test_a_credential_edit_lifts_its_providers_quarantines_at_once() -> None:
    line = bench("abc")
    line.live.set_credentials({an_id("provider", slug): 1 for slug in "abc"})
    for slug in "ab":
        line.live.auth_failure(line.target(slug), "auth_failed", line.now)
        line.live.auth_failure(line.target(slug), "auth_failed", line.now)
        line.live.quarantine(line.target(slug), "gpt-4o", 60, "rate_limited", line.now)
    assert line.ranking() == ["c"]
    line.live.set_credentials({an_id("provider", slug): 2 if slug == "a" else 1 for slug in "abc"})
    assert line.ranking() == ["a", "c"]
    assert line.live.auth_failure(line.target("a"), "auth_failed", line.now) is None, "counting starts anew"
    line.live.set_credentials({an_id("provider", "a"): 2})
    assert line.ranking() == ["a", "b", "c"], "a credential taken away is a change as well"


def test_the_same_generations_again_lift_nothing() -> None:
    line = bench()
    for _ in range(2):
        line.live.set_credentials({an_id("provider", "a"): 1})
        line.live.quarantine(line.target("a"), None, 60, "rate_limited", line.now)
    line.live.set_credentials({an_id("provider", "a"): 1})
    assert line.first() == "b"


def test_quarantines_are_bounded_and_the_soonest_due_goes_first() -> None:
    line = bench()
    line.live = LocalLiveState(layout=Layout(quarantined=50))

    def put(model: str, until: float) -> None:
        line.live.quarantine(line.target("a"), model, until - line.now, "rate_limited", line.now)

    def kept(model: str) -> bool:
        return line.live.quarantined_until(line.target("a"), model, line.now) is not None

    for number in range(50):
        put(f"m{number}", 2000.0 + number)
    put("one more", 1500.0)
    assert not kept("m0")
    assert all(kept(model) for model in ["one more", *(f"m{number}" for number in range(1, 50))])
    put("later", 9000.0)
    assert not kept("one more")
    assert kept("m1")


def test_a_quarantine_over_leaves_nothing_to_ask_about() -> None:
    line = bench()
    line.live.quarantine(line.target("a"), "gpt-4o", 30, "rate_limited", line.now)
    assert list(line.live.suspects(line.now)) == [an_id("provider", "a")]
    line.now += 30
    assert list(line.live.suspects(line.now)) == []
    assert line.live.suspects(line.now) == ()


# -- publishing ------------------------------------------------------------------------------------


def test_publishing_keeps_every_circuit_counter_and_sample_of_targets_that_still_exist() -> None:
    line = Bench(snapshot([provider(slug) for slug in "abc"], strategy="round_robin"))
    line.open("a")
    line.attempt("b", latency=0.7)
    assert [line.first(), line.first()] == ["b", "c"]
    line.snapshot = snapshot([provider(slug, name="renamed") for slug in "abcd"], strategy="round_robin", number=2)
    line.live.published(line.snapshot)
    assert line.state("a") == "open"
    assert line.live.stats(line.target("b").id).mean_latency_s(False, line.now) == (0.7, 1)
    assert [line.first(), line.first()] == ["d", "b"]


def test_publishing_forgets_what_is_gone() -> None:
    line = Bench(snapshot([provider(slug) for slug in "abc"], strategy="smooth_weighted"))
    line.open("a")
    line.first()
    line.first(strategy="round_robin")
    held = line.claim("b")
    assert held is not None
    gone = line.target("b")
    line.live.published(snapshot([provider("c")], [profile("other", [target("c")])]))
    assert list(line.live.suspects(line.now)) == []
    for _ in range(5):  # an attempt under way when its target went still ends well
        line.live.settle(held, gone, Outcome("failure"), line.now)
    line.live.release(held, line.now)
    assert list(line.live.suspects(line.now)) == []


def test_a_circuit_of_a_target_that_is_gone_troubles_nobody() -> None:
    line = Bench(snapshot([provider("a", circuit={"failure_threshold": 1}), provider("b")]))
    claim, gone = line.claim("a"), line.target("a")
    assert claim is not None
    line.live.published(snapshot([provider("b")]))
    (opened,) = line.live.settle(claim, gone, Outcome("failure"), line.now)
    assert opened.after == "open"
    assert list(line.live.suspects(line.now)) == []


def test_new_circuit_settings_act_on_a_circuit_that_is_open() -> None:
    line = Bench(snapshot([provider("a", circuit={"success_threshold": 5}), provider("b")]))
    line.open("a")
    line.snapshot = snapshot([provider("a", circuit={"success_threshold": 1}), provider("b")])
    line.live.published(line.snapshot)
    line.recover("a")
    assert line.state("a") == "closed"


@pytest.mark.parametrize("verdict", ["success", "failure", "neutral"])
def test_finishing_an_attempt_is_settling_and_releasing_it(verdict: Any) -> None:
    def after(at_once: bool) -> tuple[Any, ...]:
        bench = Bench(snapshot([provider("a", circuit={"failure_threshold": 1})]))
        target, stats = bench.target("a"), bench.live.stats(bench.target("a").id)
        claim = bench.claim("a")
        assert claim is not None
        outcome = Outcome(verdict, None, 0.5, None, 20)
        if at_once:
            caused = bench.live.finish(claim, target, outcome, bench.now, 20, 30)
        else:
            caused = bench.live.settle(claim, target, outcome, bench.now)
            bench.live.release(claim, bench.now, 20, 30)
        bench.live.release(claim, bench.now, 20, 30)  # idempotent either way
        used = stats.tokens_in(60, bench.now), stats.requests_in(60, bench.now)
        return stats.in_flight, used, stats.means_s(False, bench.now), bench.state("a"), [each.after for each in caused]

    assert after(at_once=True) == after(at_once=False)
