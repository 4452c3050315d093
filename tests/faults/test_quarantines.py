"""Who is left alone after a refusal of our credential or a rate limit, for how long, and what ends it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.circuits import looking

if TYPE_CHECKING:
    from tests.gateway.lab import Lab

pytestmark = pytest.mark.faults

ACCOUNT: dict[str, tuple[str, dict[str, Any], str]] = {
    "401": ("status", {"status": 401}, "auth_failed"),
    "402": ("status", {"status": 402}, "quota_exhausted"),
    "400 about billing": ("billing", {}, "quota_exhausted"),
}
MODEL: dict[str, tuple[str, dict[str, Any], str]] = {
    "403": ("status", {"status": 403}, "auth_failed"),
    "429": ("rate_limited", {"retry_after": 200}, "rate_limited"),
}


def cases(*tables: dict[str, Any]) -> Any:
    return [pytest.param(*row, id=name) for table in tables for name, row in table.items()]


@pytest.mark.parametrize(("fault", "options", "error_class"), cases(ACCOUNT))
def test_the_second_refusal_of_a_credential_takes_out_every_model_of_its_provider(
    lab: Lab, fault: str, options: dict[str, Any], error_class: str
) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good)
    bad.fail(fault, model="gpt-4o", **options)

    refused = [lab.chat() for _ in range(2)]

    for answer in refused:
        assert lab.attempts(answer) == [(bad.slug, error_class), (good.slug, None)]
    assert lab.chat(model="gpt-4o-mini").headers["x-route-provider"] == good.slug
    assert bad.count == 2


@pytest.mark.parametrize(("fault", "options", "error_class"), cases(ACCOUNT))
def test_one_refusal_of_a_credential_is_not_enough(
    lab: Lab, fault: str, options: dict[str, Any], error_class: str
) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good)
    bad.fail(fault, times=1, **options)

    assert lab.attempts(lab.chat()) == [(bad.slug, error_class), (good.slug, None)]
    assert lab.chat().headers["x-route-provider"] == bad.slug


@pytest.mark.parametrize(("fault", "options", "error_class"), cases(ACCOUNT))
@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_credential_is_told_as_ours_where_the_profile_says_so(
    lab: Lab, fault: str, options: dict[str, Any], error_class: str, stream: bool
) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good, auth_errors="surface")
    bad.fail(fault, **options)

    answer = lab.chat(stream=stream)

    assert (answer.status, answer.json()["error"]["code"]) == (502, "auth_failed")
    assert lab.attempts() == [(bad.slug, error_class)]
    assert good.count == 0


@pytest.mark.parametrize(("fault", "options", "error_class"), cases(ACCOUNT, MODEL))
def test_a_changed_credential_lifts_every_quarantine_at_once(
    lab: Lab, fault: str, options: dict[str, Any], error_class: str
) -> None:
    bad, good = lab.provider(credential="sk-one"), lab.provider()
    lab.publish(bad, good)
    bad.fail(fault, **options)
    for _ in range(2):
        lab.chat()
    asked = bad.count
    bad.heal()
    assert [lab.chat().headers["x-route-provider"] for _ in range(2)] == [good.slug] * 2
    assert bad.count == asked

    lab.gateway.overlay(credentials={bad.slug: {"value": "sk-one", "generation": 2}})

    assert lab.chat().headers["x-route-provider"] == bad.slug


@pytest.mark.parametrize(("fault", "options", "error_class"), cases(MODEL))
def test_another_credential_at_the_same_upstream_is_not_affected(
    lab: Lab, fault: str, options: dict[str, Any], error_class: str
) -> None:
    one = lab.provider(credential="sk-one")
    other = lab.provider(base_url=one.handle.base_url)
    lab.publish(one, other)
    lab.gateway.overlay(credentials={one.slug: "sk-one", other.slug: "sk-one"})
    one.fail(fault, times=1, **options)

    assert lab.attempts(lab.chat()) == [(one.slug, error_class), (other.slug, None)]
    assert lab.chat().headers["x-route-provider"] == other.slug


def answered_by(lab: Lab, count: int = 10) -> set[str]:
    with ThreadPoolExecutor(count) as pool:
        return {answer.headers["x-route-provider"] for answer in pool.map(lambda _: lab.chat(), range(count))}


def test_what_asks_for_two_seconds_serves_again_in_both_processes_when_they_are_over(lab_of_two: Lab) -> None:
    lab = lab_of_two
    limited, other = lab.provider(), lab.provider()
    lab.publish(limited, other)
    limited.fail("rate_limited", retry_after=2, times=1)
    lab.gateway.forget()
    before = time.monotonic()

    assert lab.attempts(lab.chat()) == [(limited.slug, "rate_limited"), (other.slug, None)]

    after = time.monotonic()
    with looking(lab.gateway.data, lab.gateway.document) as look:
        found = look.quarantine(limited.slug)
        assert found is not None
        assert (found.cause, found.told) == ("rate_limited", True)
        assert before <= found.until - 2 <= after
        look.wait_until_free(limited.slug)
    assert answered_by(lab) == {limited.slug}
    assert len(lab.gateway.records_by_process()) == 2


def test_a_rate_limit_that_names_no_time_keeps_both_processes_away_for_a_minute(lab_of_two: Lab) -> None:
    lab = lab_of_two
    limited, other = lab.provider(), lab.provider()
    lab.publish(limited, other)
    limited.fail("rate_limited", retry_form="none", times=1)
    before = time.monotonic()

    assert lab.chat().headers["x-route-provider"] == other.slug

    after = time.monotonic()
    with looking(lab.gateway.data, lab.gateway.document) as look:
        found = look.quarantine(limited.slug)
        assert found is not None
        assert not found.told
        assert before <= found.until - 60 <= after
        assert look.quarantine(limited.slug, "gpt-4o-mini") is None
    assert answered_by(lab) == {other.slug}
    assert limited.count == 1
