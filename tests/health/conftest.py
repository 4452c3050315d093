"""A published configuration, the host's live state as a gateway has it, and what traffic does to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from health import report
from routes import actions
from routes.engine.types import Outcome
from routes.models import Provider
from routes.snapshots import live_snapshot
from tests.control import samples
from tests.control.conftest import actor, env, gateway

if TYPE_CHECKING:
    from health.report import ProviderHealth, TargetHealth
    from routes.engine.provider import Target
    from routes.live import SharedLiveState

__all__ = ["env", "gateway"]


class Site:
    """An installation with one gateway, whose traffic the test makes up."""

    def __init__(self, state: SharedLiveState) -> None:
        self.state = state

    def publish(self, *providers: dict[str, Any], targets: list[Any] | None = None) -> None:
        entries = list(providers) or [samples.provider("alpha"), samples.provider("beta")]
        names = targets or [entry["slug"] for entry in entries]
        tree = {"providers": entries, "profiles": [samples.profile("default", *names)]}
        actions.import_configuration(tree, actor=actor("admin"), publish_now=True)
        snapshot = live_snapshot()
        assert snapshot is not None
        self.state.published(snapshot)

    def target(self, label: str) -> Target:
        """By its label, such as ``alpha`` or ``alpha / gpt-4o``."""
        snapshot = live_snapshot()
        assert snapshot is not None
        every = (target for profile in snapshot.profile_list for target in profile.targets)
        return next(target for target in every if target.label == label)

    def answer(self, label: str, times: int = 1, seconds: float = 0.5) -> None:
        self._attempts(label, times, Outcome("success", latency_s=seconds, http_status=200))

    def fail(self, label: str, error_class: str = "connect_refused", times: int = 1, status: int | None = None) -> None:
        self._attempts(label, times, Outcome("failure", error_class, latency_s=0.1, http_status=status))

    def _attempts(self, label: str, times: int, outcome: Outcome) -> None:
        target = self.target(label)
        for _ in range(times):
            now = time.monotonic()
            claim = self.state.claim(target, now)
            assert claim is not None
            self.state.finish(claim, target, outcome, now)

    def provider(self, slug: str) -> ProviderHealth:
        found = report.read().provider(slug)
        assert found is not None
        return found

    def health(self, label: str) -> TargetHealth:
        return next(target for target in report.read().targets if target.label == label)

    @staticmethod
    def row(slug: str) -> Provider:
        return Provider.objects.get(slug=slug)


@pytest.fixture
def site(gateway: SharedLiveState, db: None) -> Site:
    site = Site(gateway)
    site.publish()
    return site
