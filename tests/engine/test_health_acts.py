"""What people, probes and heads say to the live state, and what the host's log says of it."""

from __future__ import annotations

import json
from contextlib import closing
from math import inf
from typing import TYPE_CHECKING, Any

import pytest

from routes.engine.circuit import CircuitView
from routes.engine.explain import pack_decision, unpack_decision
from routes.engine.live import Forced
from routes.engine.snapshot import Heads, Snapshot
from routes.engine.tables.happenings import KEPT, LINE_SIZE
from routes.engine.tables.sharing import CircuitNews
from routes.live.state import SharedLiveState
from tests.documents import PINNED, document, profile, provider, snapshot, target
from tests.engine.drive import Bench, why

if TYPE_CHECKING:
    from pathlib import Path

WALL = 1_000_000_000.0
CIRCUIT = {"failure_threshold": 3, "recovery_timeout": 60, "slow_start": 0, "half_open_max_calls": 1}


def bench(names: str = "ab", **given: Any) -> Bench:
    line = Bench(snapshot([provider(name, circuit=CIRCUIT, **given) for name in names]))
    line.live.published(line.snapshot)
    return line


def force(line: Bench, slug: str, act: Any, seconds: float | None = None, at: float | None = None) -> None:
    moment = WALL + line.now if at is None else at
    until = None if seconds is None else WALL + line.now + seconds
    line.live.set_forced({line.target(slug).id: Forced(act, until, moment)}, line.now, WALL + line.now)


def noted(line: Bench, kind: str = "circuit") -> list[tuple[str, str, str, str]]:
    lines, _ = line.live.happenings(0)
    return [(each.before, each.after, each.reason, each.actor) for each in lines if each.kind == kind]


# -- circuits held by people -----------------------------------------------------------------------------
def test_a_circuit_held_open_takes_nothing_until_its_time_and_then_is_tried() -> None:
    line = bench()
    force(line, "a", "open", 120.0)
    decision = line.decide()
    assert why(decision) == {"a": "health.circuit_forced_open"}
    assert [each.target.provider.slug for each in decision.full_ranking()] == ["b"]
    assert line.claim("a") is None
    line.now += 119
    assert line.state("a") == "open"
    line.now += 1
    assert line.state("a") == "half_open"
    line.attempt("a")
    assert noted(line) == [("open", "half_open", "force_ended", "clock")]


def test_nobody_is_sent_to_a_circuit_held_open_although_nothing_else_is_left() -> None:
    line = bench("a")
    force(line, "a", "open")
    decision = line.decide()
    assert decision.strategy == "none"
    assert not decision.panic
    assert line.live.circuit(line.target("a"), line.now) == CircuitView("open", inf, 1.0, True)
    assert decision.excluded[0].value is None  # nobody knows until when


def test_a_circuit_held_closed_stays_closed_whatever_fails_and_counts_again_afterwards() -> None:
    line = bench()
    line.open("a")
    force(line, "a", "closed", 100.0)
    for _ in range(10):
        line.attempt("a", "failure")
    assert line.state("a") == "closed"
    assert line.first() == "a"
    line.now += 100
    for _ in range(2):
        line.attempt("a", "failure")
    assert line.state("a") == "closed"
    line.attempt("a", "failure")
    assert line.state("a") == "open"
    line.now += 80
    line.live.move_on(line.now)
    assert noted(line)[-1] == ("open", "half_open", "recovery_timeout", "clock"), "traffic opened it, not the hold"


def test_a_reset_lets_go_and_closes_and_an_act_is_done_once() -> None:
    line = bench()
    line.open("a")
    line.now += 1
    force(line, "a", "open")
    line.now += 1
    force(line, "a", "reset")
    assert line.state("a") == "closed"
    line.open("a")
    line.now += 1
    force(line, "a", "reset", at=WALL + line.now - 1.5)  # an older word than what happened since
    assert line.state("a") == "open"


def test_resetting_what_was_never_in_trouble_is_nothing() -> None:
    line = Bench(snapshot([provider("a")]))
    line.live.published(line.snapshot)
    force(line, "a", "reset")
    assert line.live.circuit(line.target("a"), line.now).admitted == 1.0


def test_a_hold_that_is_over_when_it_is_heard_of_does_nothing_but_end_the_one_before_it() -> None:
    line = bench()
    force(line, "a", "open", -10.0, at=WALL + line.now - 60)
    assert line.state("a") == "closed"
    assert line.live.circuit_period(line.target("a").id).since is None
    force(line, "b", "open", at=WALL + line.now - 50)
    force(line, "b", "open", -10.0, at=WALL + line.now - 40)
    assert line.state("b") == "half_open"
    line.attempt("b")
    assert noted(line) == [("open", "half_open", "force_ended", "clock")]


def test_a_reset_lets_go_of_a_hold_although_the_clock_of_its_host_is_behind() -> None:
    line = bench()
    force(line, "a", "open", at=WALL + line.now - 30)
    force(line, "a", "reset", at=WALL + line.now - 29)
    assert line.state("a") == "closed"


def test_a_reset_that_was_void_stays_so_when_the_clock_is_set_back() -> None:
    line = bench()
    line.open("a")
    force(line, "a", "reset", at=WALL + line.now - 1)
    target = line.target("a").id
    line.live.set_forced({target: Forced("reset", None, WALL + line.now - 1)}, line.now, WALL + line.now - 3600)
    assert line.state("a") == "open"


def test_a_reset_makes_no_record_for_a_target_that_is_gone() -> None:
    line = bench()
    gone = snapshot([provider("gone")]).profile_list[0].targets[0].id
    before = len(list(line.live._records.everywhere()))
    line.live.set_forced({gone: Forced("reset", None, WALL)}, line.now, WALL + line.now)
    assert len(list(line.live._records.everywhere())) == before


def test_a_hold_on_a_closed_circuit_is_not_undone_by_a_host_that_does_not_know_of_it() -> None:
    line = bench()
    force(line, "a", "closed", 100.0)
    line.now += 1
    news = CircuitNews(line.target("a").id, "open", line.now, line.now + 60, 0)
    assert line.live.sharing().take_circuit(news, line.now)
    assert line.claim("a") is not None
    line.now += 100
    assert line.live.sharing().take_circuit(news._replace(since=line.now, until=line.now + 60), line.now)
    assert line.claim("a") is None


def test_a_hold_outlives_a_restart_and_a_reboot(tmp_path: Path) -> None:
    line = bench("a")
    (a,) = line.profile().targets
    with closing(SharedLiveState(tmp_path / "x", "t", clock=lambda: 50.0, wall=lambda: WALL, boot=b"1" * 16)) as state:
        state.published(line.snapshot)
        state.set_forced({a.id: Forced("open", WALL + 100.0, WALL)}, 50.0, WALL)
        state.note("budget", a.id, "", "80", "usd_day", "traffic", {}, 49.0)
    later = WALL + 40.0
    with closing(SharedLiveState(tmp_path / "x", "t", clock=lambda: 5.0, wall=lambda: later, boot=b"2" * 16)) as state:
        state.published(line.snapshot)
        view = state.circuit(a, 5.0)
        assert (view.state, view.forced, view.until) == ("open", True, pytest.approx(65.0))
        lines, lost = state.happenings(0)
        assert [(each.kind, each.at) for each in lines] == [("budget", pytest.approx(-36.0))]
        assert lost == 0


# -- probes ----------------------------------------------------------------------------------------------
def test_a_failed_probe_counts_as_a_failure_and_a_good_one_only_ends_the_pause() -> None:
    line = bench()
    a = line.target("a")
    line.attempt("a", "failure")
    line.live.probed(a, False, "connect_refused", line.now)
    assert not line.live.probed(a, True, None, line.now)  # nothing to end, and no success that counts
    (opened,) = line.live.probed(a, False, "upstream_5xx", line.now, 503)
    assert (opened.after, opened.reason) == ("open", "consecutive_failures")
    assert line.live.probed(a, False, "upstream_5xx", line.now) == []
    (ended,) = line.live.probed(a, True, None, line.now)
    assert (ended.after, ended.reason) == ("half_open", "probe_success")
    assert not line.live.probed(a, True, None, line.now)  # only answers to requests close it
    assert line.state("a") == "half_open"
    assert [(o.error_class, o.http_status, o.source) for o in line.live.recent(a.id)][:4] == [
        (None, None, "traffic"),
        ("connect_refused", None, "probe"),
        (None, None, "probe"),
        ("upstream_5xx", 503, "probe"),
    ]
    assert noted(line) == [
        ("closed", "open", "consecutive_failures", "probe"),
        ("open", "half_open", "probe_success", "probe"),
    ]


def test_a_probe_changes_nothing_about_a_quarantine_or_a_circuit_held_open() -> None:
    line = bench()
    a = line.target("a")
    line.live.quarantine(a, None, 60.0, "rate_limited", line.now)
    force(line, "a", "open")
    assert line.live.probed(a, True, None, line.now) == []
    assert line.live.quarantined_until(a, "m", line.now) is not None
    assert line.state("a") == "open"


def test_an_observed_state_that_nobody_renews_reads_as_unknown_by_the_clock_alone() -> None:
    line = bench()
    a = line.target("a")
    line.live.set_observed(a.id, "unhealthy", line.now + 90)
    assert why(line.decide()) == {"a": "health.unhealthy"}
    line.now += 90
    assert line.live.observed(a.id, line.now) == "unknown"
    assert line.first() == "a"
    assert line.live.suspects(line.now) == ()


# -- the log ---------------------------------------------------------------------------------------------
def test_the_log_tells_of_every_change_with_the_outcomes_that_led_to_it() -> None:
    line = bench()
    line.open("a")
    lines, _ = line.live.happenings(0)
    (opened,) = lines
    assert (opened.number, opened.about, opened.at) == (0, line.target("a").id, line.now)
    assert [outcome["source"] for outcome in opened.detail["outcomes"]] == ["traffic"] * 3
    assert 48 <= opened.detail["seconds"] <= 72
    line.now += 80
    line.live.move_on(line.now)
    assert noted(line)[1:] == [("open", "half_open", "recovery_timeout", "clock")]
    assert line.live.happenings(2) == ([], 0)


def test_a_quarantine_is_told_when_it_begins_and_not_again_while_it_lasts() -> None:
    line = bench()
    a = line.target("a")
    for _ in range(3):
        line.live.quarantine(a, "m", 60.0, "rate_limited", line.now)
    line.now += 61
    line.live.quarantine(a, "m", 60.0, "rate_limited", line.now, told=True)
    assert noted(line, "quarantine") == [("", "rate_limited", "refused", "traffic")] * 2


def test_a_reader_that_stayed_away_too_long_is_told_how_much_it_missed() -> None:
    line = bench("a")
    for number in range(KEPT + 5):
        line.live.note("budget", "k", "", "80", "usd_day", "traffic", {"n": number}, 1.0)
    lines, lost = line.live.happenings(2)
    assert (lost, len(lines), lines[0].detail) == (3, KEPT, {"n": 5})


def test_a_line_that_is_too_long_loses_its_detail_and_one_that_is_no_line_is_left_out() -> None:
    line = bench("a")
    line.live.note("budget", "k", "", "80", "usd_day", "traffic", {"text": "x" * LINE_SIZE}, 1.0)
    line.live.note("budget", "k", "", "100", "usd_day", "traffic", {}, 1.0)
    section = line.live._memory.layout.happenings
    line.live._memory.raw[section.offset(1) + 20] = 0
    (left,), _ = line.live.happenings(0)
    assert (left.after, left.detail) == ("80", {})
    assert json.dumps(left.detail) == "{}"


# -- heads -----------------------------------------------------------------------------------------------
def entries(*names: str, **given: Any) -> list[dict[str, Any]]:
    owner = provider("a")["id"]
    bare = {"region": None, "model_type": "", "version": "", "capacity": None, "max_model_size": None}
    return [
        {"id": name, "provider": owner, "endpoint": f"http://127.0.0.1:1/{name}", "approved": True, **bare, **given}
        for name in names
    ]


def with_heads(*names: str, fallback: bool = False, others: str = "", **given: Any) -> Bench:
    providers = [provider("a", fallback_to_base_url=fallback), *(provider(name) for name in others)]
    models = [target(each["slug"], model) for each in providers for model in ("m", "n")]
    tree = document(providers, [profile("default", models, affinity=PINNED)])
    line = Bench(Snapshot.from_document(tree, Heads.of(entries(*names, **given))))
    line.live.published(line.snapshot)
    return line


def heads_of(line: Bench, **given: Any) -> list[str]:
    ranking = line.decide(**given).full_ranking()
    return list(dict.fromkeys(each.target.head.id if each.target.head else "-" for each in ranking))


def beat(line: Bench, *names: str, load: float | None = None, draining: bool = False) -> None:
    keys = {each.head.id: each.head_key for each in line.profile().targets if each.head}
    for name in names:
        line.live.hear_head(keys[name], load, draining, line.now + 15, line.now)


def test_a_head_is_a_candidate_while_it_is_heard_of() -> None:
    line = with_heads("one", "two")
    assert heads_of(line) == []
    assert {each.code for each in line.decide().excluded} == {"head_offline"}
    beat(line, "one", "two")
    assert heads_of(line) == ["one", "two"]
    line.now += 10
    beat(line, "two")
    line.now += 5
    assert heads_of(line) == ["two"]
    line.live.forget_head(line.profile().targets[1].head_key)
    assert heads_of(line) == []


def test_a_draining_head_keeps_its_sessions_and_takes_no_new_ones() -> None:
    line = with_heads("one", "two")
    beat(line, "one", "two")
    assert line.visit("s") == "a"
    beat(line, "one", draining=True)
    assert heads_of(line) == ["two"]
    assert heads_of(line, session="s")[0] == "one"
    state = line.live.head_state(line.profile().targets[0].head_key, line.now)
    assert (state.online, state.draining, state.heard_at) == (True, True, line.now)


def test_the_base_url_serves_while_no_head_does_if_it_may() -> None:
    line = with_heads("one", fallback=True)
    assert heads_of(line) == ["-"]
    beat(line, "one")
    decision = line.decide()
    assert [each.target.head and each.target.head.id for each in decision.full_ranking()] == ["one", "one"]
    assert {each.code for each in decision.excluded} == {"heads_serve"}
    beat(line, "one", draining=True)
    assert heads_of(line) == ["-"]
    assert heads_of(with_heads("one")) == []


def test_what_a_head_reports_holds_for_each_of_its_models() -> None:
    line = with_heads("one", capacity=10.0)
    beat(line, "one", load=4.0)
    m, n = line.profile().targets
    claims = [line.live.claim(each, line.now) for each in (m, n, n)]
    assert all(claims)
    load = line.live.stats(n.id).load
    assert load is not None
    assert (load.load, load.sent_since) == (4.0, 3)
    twin = line.live.fork()
    assert twin.stats(m.id).load == load


def test_a_recorded_decision_names_the_heads_it_needs_to_be_told_again() -> None:
    line = with_heads("one", "two", others="b")
    beat(line, "two")
    decision = line.decide()
    packed = json.loads(json.dumps(pack_decision(decision)))
    assert packed["h"] == line.snapshot.heads_digest
    again = unpack_decision(packed, line.snapshot)
    assert [each.target.id for each in again.full_ranking()] == [each.target.id for each in decision.full_ranking()]
    assert {each.code for each in again.excluded} == {"head_offline"}


def test_the_same_heads_have_the_same_digest_whoever_came_first() -> None:
    assert Heads.of(entries("one", "two")).digest == Heads.of(entries("two", "one")).digest
    waiting = entries("three", approved=False)
    assert Heads.of(entries("one") + waiting).digest == Heads.of(entries("one")).digest
    assert Heads.of(waiting).digest == ""
    assert Heads.of(entries("one", endpoint="http://x")).digest != Heads.of(entries("one")).digest


# -- admin states of single targets ----------------------------------------------------------------------
def test_one_target_of_a_provider_may_be_set_aside() -> None:
    tree = document([provider("a")], [profile("default", [target("a", "m"), target("a", "n")])])
    line = Bench(Snapshot.from_document(tree))
    m, n = line.profile().targets
    line.live.set_admin_states({m.id: ("disabled", None)}, line.now, WALL)
    decision = line.decide()
    assert [each.target.id for each in decision.full_ranking()] == [n.id]
    assert (line.live.admin_state(m, line.now), line.live.admin_state(n, line.now)) == ("disabled", "active")
    line.live.set_admin_states({n.provider.id: ("draining", None), n.id: ("disabled", None)}, line.now, WALL)
    assert (line.live.admin_state(m, line.now), line.live.admin_state(n, line.now)) == ("draining", "disabled")
