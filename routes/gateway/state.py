"""What one gateway process knows and uses, shared by all its requests. No request data lives here.

``config`` is one immutable pair of revision and overlay, replaced by a single assignment: a request takes it
once and never sees half of a publish. Everything is made by ``__main__`` (or a test) and handed in.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from routes.engine.facts import Calibration
from routes.engine.retry import RetryBudget
from routes.gateway.deadlines import Sweeper
from routes.gateway.limits import Queues

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    from routes.engine.live import LiveState
    from routes.engine.snapshot import Snapshot
    from routes.gateway.geo import Geo
    from routes.gateway.metrics import Metrics
    from routes.gateway.overlay import Credential, Overlay
    from routes.gateway.recorder import Recorder
    from routes.gateway.tracing import Tracing
    from routes.gateway.upstream import Upstream


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The settings a request needs, resolved once. Sizes in bytes, durations in seconds."""

    max_body_bytes: int
    upstream_networks: frozenset[str]  # ceiling for every provider's ``network``
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    console_socket: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """One published revision and one version of the overlay, as they are right now."""

    snapshot: Snapshot
    overlay: Overlay
    regions: frozenset[str]  # configured anywhere: the only ones that may become a metric label


@dataclass(slots=True)
class GatewayState:
    settings: GatewaySettings
    live: LiveState
    recorder: Recorder
    metrics: Metrics
    rng: random.Random
    clock: Callable[[], float]  # monotonic seconds: the engine's ``now``
    upstream: Upstream
    geo: Geo | None = None  # without a database nobody's region is guessed
    tracing: Tracing | None = None  # without it the headers of traces are none of ours, and pass
    config: Config | None = None
    #: set when the process was told to stop: readiness is off, watcher streams end
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    #: time limits of all requests under way, and how many attempts beyond the first may start
    sweeper: Sweeper = field(default_factory=Sweeper)
    retry_budget: RetryBudget = field(default_factory=RetryBudget)
    #: who waits for a seat on which profile
    queues: Queues = field(default_factory=Queues)
    #: how far the estimate of input tokens is off, by the model asked for; bounded
    calibration: Calibration = field(default_factory=Calibration)
    #: what works only partly, by name ("redis": "since 12:00"); shown by /readyz
    degraded: dict[str, str] = field(default_factory=dict)

    def credential(self, provider_id: str) -> Credential | None:
        """The provider's credential as of now (an edit acts at once, also on requests under way)."""
        config = self.config
        return config.overlay.credentials.get(provider_id) if config is not None else None
