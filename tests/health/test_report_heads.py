"""Heads in the report: who is online, who counts, and when the provider's own address serves."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from routes import ports
from routes.engine.provider import head_key
from tests.control.samples import provider

if TYPE_CHECKING:
    from tests.health.conftest import Site

pytestmark = pytest.mark.django_db


class Heads:
    """Three registered heads of alpha, one of them not approved."""

    def __init__(self, site: Site) -> None:
        self.site, self.provider = site, str(site.row("alpha").pk)

    def documents(self) -> list[dict[str, Any]]:
        return [
            {"id": name, "provider": self.provider, "endpoint": f"https://{name}.example/v1", "region": None,
             "model_type": "", "version": "", "capacity": 8.0, "max_model_size": None, "capabilities": [],
             "generation": 1, "approved": name != "h3"}
            for name in ("h1", "h2", "h3")
        ]  # fmt: skip

    def beat(self, name: str, *, draining: bool = False, ttl: float = 15) -> None:
        now = time.monotonic()
        self.site.state.hear_head(head_key(self.provider, name), 3.0, draining, now + ttl, now)


@pytest.fixture
def heads(site: Site, monkeypatch: pytest.MonkeyPatch) -> Heads:
    heads = Heads(site)
    monkeypatch.setattr(ports, "_heads", heads.documents)
    site.publish(provider("alpha", fallback_to_base_url=True), provider("beta"))
    return heads


def eligible(site: Site) -> dict[str, bool]:
    return {target.label: target.eligible for target in site.provider("alpha").targets}


def test_heads_that_are_heard_of_serve_and_the_providers_address_stands_by(site: Site, heads: Heads) -> None:
    for name in ("h1", "h2", "h3"):
        heads.beat(name)
    assert eligible(site) == {"alpha": False, "alpha / h1": True, "alpha / h2": True}
    counts = site.provider("alpha").heads
    assert (counts.registered, counts.approved, counts.online, counts.active) == (3, 2, 3, 2)
    h1 = site.health("alpha / h1")
    assert h1.head is not None
    assert (h1.head.head_id, h1.head.status, h1.head.load, h1.head.capacity) == ("h1", "active", 3.0, 8.0)
    assert h1.endpoint == "https://h1.example/v1"
    own = site.health("alpha")
    assert (own.stands_by, own.next_try, own.why) == (True, None, "Stands by: the provider's heads serve.")


def test_a_head_that_is_silent_or_draining_gets_nothing_new_and_says_so(site: Site, heads: Heads) -> None:
    heads.beat("h1", draining=True)
    heads.beat("h2", ttl=0)
    assert eligible(site) == {"alpha": True, "alpha / h1": False, "alpha / h2": False}
    counts = site.provider("alpha").heads
    assert (counts.registered, counts.approved, counts.online, counts.active) == (3, 2, 1, 0)
    assert site.health("alpha / h1").why == "Head h1 says that it takes no new sessions."
    h2 = site.health("alpha / h2")
    assert (h2.status, h2.next_try) == ("unhealthy", None)
    assert re.fullmatch(r"Head h2 is offline: nothing was heard of it since \d\d:\d\d:\d\d UTC\.", h2.why)
    assert not site.health("alpha").stands_by


def test_a_head_that_was_never_heard_of_is_offline(site: Site, heads: Heads) -> None:
    assert site.health("alpha / h1").why == "Head h1 is offline: nothing was heard of it yet."
    assert site.provider("alpha").status == "degraded"
    assert site.provider("alpha").why == "2 of 3 targets unhealthy: alpha / h1, alpha / h2."
