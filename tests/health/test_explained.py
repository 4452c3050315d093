"""What is explained and previewed goes by what the gateways of the host know, also in a process that was started a
moment ago and has shown nothing yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from health.heads import actions as heads
from health.heads import liveness
from health.heads.documents import HeadRegistration
from routes import draft
from routes.admin import preview
from routes.admin.shares import effective_shares
from routes.explain.documents import ExplainRequest
from routes.explain.service import explain
from routes.models import Profile, Provider
from tests.control.conftest import actor

if TYPE_CHECKING:
    from tests.health.conftest import Site

pytestmark = pytest.mark.django_db
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def left_out() -> dict[str, str]:
    """Code by provider."""
    request = {"path": "/v1/chat/completions", "body": BODY}
    told: dict[str, Any] = explain(ExplainRequest.model_validate({"request": request}))
    return {each["provider"]: each["code"] for each in told["excluded"]}


def shares() -> list[float | None]:
    tree = draft.profile_tree(Profile.objects.get())
    return [row.share for row in effective_shares(tree, Provider.objects.all(), preview.sections()).rows]


def test_targets_that_gateways_leave_out_are_left_out(site: Site) -> None:
    beta, now = site.target("beta").id, time.monotonic()
    site.state.set_observed(beta, "unhealthy", now + 60)
    assert (left_out(), shares()) == ({"beta": "unhealthy"}, [1.0, 0.0])
    site.state.set_observed(beta, "healthy", now + 60)
    site.fail("alpha", times=5)
    assert (left_out(), shares()) == ({"alpha": "circuit_open"}, [0.0, 1.0])


def test_heads_that_are_offline_take_nothing(site: Site) -> None:
    wanted = {"head_id": "one", "provider": "alpha", "endpoint": "https://one.example/v1"}
    heads.register(HeadRegistration.model_validate(wanted), actor=actor("operate"))
    heads.approve("one", actor=actor("operate"))
    assert (left_out(), shares()) == ({}, [1.0, 0.0])
    liveness.forget(str(site.row("alpha").pk), "one")
    assert (left_out(), shares()) == ({"alpha": "head_offline"}, [0.0, 1.0])
