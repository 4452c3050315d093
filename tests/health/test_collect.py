"""What gateways noted is written into the timeline, whatever clients put into it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from health import events
from health.models import HealthEvent
from tests.control.conftest import both_databases
from tests.health.conftest import Site

if TYPE_CHECKING:
    from routes.live import SharedLiveState

__all__ = ["both_databases"]


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_a_model_that_no_database_can_hold_keeps_nothing_out_of_the_timeline(gateway: SharedLiveState) -> None:
    site = Site(gateway)
    site.publish()
    gateway.quarantine(site.target("alpha"), "gpt\x00-4o", 60.0, "rate_limited", time.monotonic())
    site.fail("beta", times=5)
    events.collect(gateway)
    first, second = HealthEvent.objects.order_by("pk")
    assert (first.kind, first.detail["model"]) == ("quarantine", "gpt\ufffd-4o")
    assert (second.kind, second.after) == ("circuit", "open")
