"""Calls of other services (`/svc`): what may have done something already is not done twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.gateways import KEY, Answer

if TYPE_CHECKING:
    from tests.gateway.lab import Lab, Provider

pytestmark = pytest.mark.faults

IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
OTHERS = ("POST", "PATCH")


def call(lab: Lab, method: str) -> Answer:
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    return lab.gateway.request(method, "/svc/default/things", body, {"Authorization": f"Bearer {KEY}"})


def pair(lab: Lab, **failover: Any) -> tuple[Provider, Provider]:
    """A provider to fail and one that answers, for as many calls as a test makes."""
    bad, good = lab.provider("generic", circuit={"failure_threshold": 100}), lab.provider("generic")
    lab.publish(bad, good, **failover)
    return bad, good


@pytest.mark.parametrize("fault", ["reset_before_headers", "status"])
def test_what_may_be_sent_twice_goes_to_the_next_target(lab: Lab, fault: str) -> None:
    bad, good = pair(lab)
    bad.fail(fault)

    for method in IDEMPOTENT:
        answer = call(lab, method)
        assert answer.status == 200
        assert [slug for slug, _ in lab.attempts(answer)] == [bad.slug, good.slug]


@pytest.mark.parametrize("fault", ["reset_before_headers", "status"])
def test_what_may_not_be_sent_twice_ends_with_its_attempt(lab: Lab, fault: str) -> None:
    bad, good = pair(lab)
    bad.fail(fault)

    for method in OTHERS:
        answer = call(lab, method)
        assert answer.status == 502
        assert [slug for slug, _ in lab.attempts(answer)] == [bad.slug]
    assert good.count == 0


def test_what_was_never_sent_goes_to_the_next_target_whatever_it_is(lab: Lab) -> None:
    bad, good = pair(lab)
    bad.stop()

    for method in OTHERS:
        answer = call(lab, method)
        assert answer.status == 200
        assert lab.attempts(answer) == [(bad.slug, "connect_refused"), (good.slug, None)]


def test_a_profile_may_allow_it(lab: Lab) -> None:
    bad, good = pair(lab, non_idempotent=True)
    bad.fail("status", status=500)

    for method in OTHERS:
        answer = call(lab, method)
        assert answer.status == 200
        assert [slug for slug, _ in lab.attempts(answer)] == [bad.slug, good.slug]
