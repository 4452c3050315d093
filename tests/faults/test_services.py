"""Calls of other services (`/svc`): what may have done something already is not done twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateways import KEY, Answer

if TYPE_CHECKING:
    from tests.gateway.lab import Lab

pytestmark = pytest.mark.faults

IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
OTHERS = ("POST", "PATCH")


def call(lab: Lab, method: str) -> Answer:
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    return lab.gateway.request(method, "/svc/default/things", body, {"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize("method", IDEMPOTENT)
@pytest.mark.parametrize("fault", ["reset_before_headers", "status"])
def test_what_may_be_sent_twice_goes_to_the_next_target(lab: Lab, method: str, fault: str) -> None:
    bad, good = lab.provider("generic"), lab.provider("generic")
    lab.publish(bad, good)
    bad.fail(fault)

    assert call(lab, method).status == 200
    assert [slug for slug, _ in lab.attempts()] == [bad.slug, good.slug]


@pytest.mark.parametrize("method", OTHERS)
@pytest.mark.parametrize("fault", ["reset_before_headers", "status"])
def test_what_may_not_be_sent_twice_ends_with_its_attempt(lab: Lab, method: str, fault: str) -> None:
    bad, good = lab.provider("generic"), lab.provider("generic")
    lab.publish(bad, good)
    bad.fail(fault)

    assert call(lab, method).status == 502
    assert [slug for slug, _ in lab.attempts()] == [bad.slug]
    assert good.count == 0


@pytest.mark.parametrize("method", OTHERS)
def test_what_was_never_sent_goes_to_the_next_target_whatever_it_is(lab: Lab, method: str) -> None:
    bad, good = lab.provider("generic"), lab.provider("generic")
    lab.publish(bad, good)
    bad.stop()

    assert call(lab, method).status == 200
    assert lab.attempts() == [(bad.slug, "connect_refused"), (good.slug, None)]


@pytest.mark.parametrize("method", OTHERS)
def test_a_profile_may_allow_it(lab: Lab, method: str) -> None:
    bad, good = lab.provider("generic"), lab.provider("generic")
    lab.publish(bad, good, non_idempotent=True)
    bad.fail("status", status=500)

    assert call(lab, method).status == 200
    assert [slug for slug, _ in lab.attempts()] == [bad.slug, good.slug]
