"""Rise and fall: what follows from one more result."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from health.probes.states import Standing, after, interval
from routes.engine.settings import ProbeSettings

SETTINGS = ProbeSettings(kind="models", rise=2, fall=3)


UNKNOWN = Standing("unknown")


def told(results: str, start: Standing = UNKNOWN, complaint: str | None = None) -> list[str]:
    """``+`` success, ``-`` failure, ``0`` neither; the reasons of all changes, as ``reason:state``."""
    verdicts = {"+": "success", "-": "failure", "0": "neutral"}
    found, standing = [], start
    for result in results:
        standing, reason = after(standing, verdicts[result], SETTINGS, complaint)  # type: ignore[arg-type]
        if reason is not None:
            found.append(f"{reason}:{standing.observed}")
    return found


def test_the_first_success_is_believed() -> None:
    assert told("+") == ["first_check:healthy"]
    assert told("--+") == ["first_check:healthy"]


def test_fall_failures_in_a_row_make_unhealthy_and_fewer_do_not() -> None:
    assert told("+--+--+") == ["first_check:healthy"]
    assert told("+---") == ["first_check:healthy", "fall:unhealthy"]
    assert told("---") == ["fall:unhealthy"]
    assert told("+-------") == ["first_check:healthy", "fall:unhealthy"]


def test_rise_successes_in_a_row_make_healthy_again_and_fewer_do_not() -> None:
    assert told("---+-+-+") == ["fall:unhealthy"]
    assert told("---++") == ["fall:unhealthy", "rise:healthy"]


def test_an_answer_about_the_question_counts_for_neither() -> None:
    assert told("+-0-0-") == ["first_check:healthy", "fall:unhealthy"]
    assert told("0000") == []
    assert told("---+0+") == ["fall:unhealthy", "rise:healthy"]


def test_degraded_is_a_label_of_what_works() -> None:
    healthy, degraded = Standing("healthy", 5), Standing("degraded", 5)
    assert told("+", healthy, "slow") == ["slow:degraded"]
    assert told("+", degraded, "failing") == []
    assert told("+", degraded) == ["recovered:healthy"]
    assert told("---", degraded) == ["fall:unhealthy"]
    assert told("-", healthy, "failing") == []
    assert told("++", Standing("unhealthy", 0, 3), "slow") == ["rise:degraded"]


def test_a_target_on_its_way_to_another_state_is_asked_sooner() -> None:
    def seconds(standing: Standing, every: float = 30) -> float:
        return interval(standing, ProbeSettings(interval=every), 0.5)

    assert seconds(Standing("healthy", 9)) == 30
    assert seconds(Standing("healthy", 0, 1)) == 6
    assert seconds(Standing("unknown", 0, 2)) == 6
    assert seconds(Standing("unhealthy", 0, 9)) == 30
    assert seconds(Standing("unhealthy", 1)) == 6
    assert seconds(Standing("unhealthy", 1), every=3) == 1
    assert seconds(Standing("unhealthy", 1), every=1) == 1


@given(st.floats(0, 1), st.floats(1, 86_400))
def test_intervals_are_jittered_by_a_tenth(draw: float, every: float) -> None:
    seconds = interval(Standing("healthy", 1), ProbeSettings(interval=every), draw)
    assert every * 0.899 < seconds < every * 1.101


@given(st.text("+-0", max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_a_state_changes_only_for_as_many_results_in_a_row_as_it_takes(results: str, rise: int, fall: int) -> None:
    settings = ProbeSettings(kind="models", rise=rise, fall=fall)
    standing, seen = Standing("unknown"), ""
    for result in results:
        before = standing
        verdict = {"+": "success", "-": "failure", "0": "neutral"}[result]
        standing, reason = after(standing, verdict, settings, None)  # type: ignore[arg-type]
        seen += result.replace("0", "")
        assert (reason is not None) == (standing.observed != before.observed)
        if standing.observed == "unhealthy" != before.observed:
            assert seen.endswith("-" * fall)
        if before.observed == "unhealthy" != standing.observed:
            assert seen.endswith("+" * rise)
        assert not (standing.good and standing.bad)
