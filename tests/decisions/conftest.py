"""The decisions API over a live state, a journal and a shipper of each test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from history import repository as repository_module
from history.journal import JournalWriter
from history.models import RouteHistory
from history.repository import RouteHistoryRepository
from history.shipper.folder import JournalFolder
from history.shipper.shipper import Shipper
from history.shipper.store import Store
from routes import actions
from routes.engine.local_live import LocalLiveState
from routing_project.console.decisions import views
from routing_project.console.decisions.service import Decisions
from routing_project.env import get_env
from tests.control import samples
from tests.control.api import Api
from tests.control.conftest import actor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    """Seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """The API, and what stands behind it."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.live = LocalLiveState()
        self.folder = folder
        self.writer = JournalWriter(folder, 1 << 30)
        self.decisions = self.fresh()
        self.api = Api("operate")

    def fresh(self) -> Decisions:
        """As after a restart of the console."""
        return Decisions(lambda: self.live, RouteHistoryRepository(self.writer), self.clock)

    def publish(self, *providers: dict[str, Any], **profile: Any) -> None:
        entries = list(providers) or [samples.provider("alpha"), samples.provider("beta")]
        profile.setdefault("strategy", "round_robin")
        document = {
            "version": 1,
            "providers": entries,
            "profiles": [samples.profile("default", *(entry["slug"] for entry in entries), **profile)],
        }
        actions.import_configuration(document, actor=actor("admin"), publish_now=True)

    def decide(self, api: Api | None = None, **fields: Any) -> dict[str, Any]:
        """A decision that was made."""
        answer = (api or self.api).post("decisions/", {"route_type": "inference", "profile": "default", **fields})
        assert answer.status == 201, answer.body
        body: dict[str, Any] = answer.body
        return body

    def report(self, route: str, status: str = "routed", **fields: Any) -> int:
        return self.api.patch(f"decisions/{route}/", {"status": status, "latency_ms": 10, **fields}).status

    def row(self, route: str) -> RouteHistory:
        """The history row, once everything recorded so far is in the database."""
        folder = JournalFolder(self.folder)
        try:
            shipper = Shipper(folder, Store(UUID(int=1), "failures", "default"))
            while shipper.round():
                pass
        finally:
            folder.close()
        return RouteHistory.objects.get(id=route)

    def in_flight(self, decision: dict[str, Any]) -> int:
        return self.live.stats(decision["ranking"][0]["target"]).in_flight


@pytest.fixture
def desk(data_dir: Path, monkeypatch: pytest.MonkeyPatch, db: None) -> Iterator[Desk]:
    monkeypatch.setenv("SIGNALBOX_DATA_DIR", str(data_dir))
    get_env.cache_clear()
    desk = Desk(data_dir / "journal")
    monkeypatch.setattr(views, "decisions", lambda: desk.decisions)
    monkeypatch.setattr(repository_module, "PATIENCE_SECONDS", 0.2)
    yield desk
    desk.writer.close()
    get_env.cache_clear()
