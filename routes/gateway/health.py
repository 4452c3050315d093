"""``/healthz``, ``/readyz`` and ``/health``, answered from this process's memory. Counts only: no names of providers.

Never awaits and never touches the network: what is degraded is noted by whoever finds out (``GatewayState.degraded``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from routes.engine.snapshot import Provider, Snapshot, Target
    from routes.gateway.state import GatewayState

Answer = tuple[int, dict[str, Any]]


class HealthAnswers:
    """The three answers; ``find`` is the whole interface."""

    def __init__(self, state: GatewayState) -> None:
        self.state = state
        self._answers: dict[bytes, Callable[[], Answer]] = {
            b"/healthz": self.alive,
            b"/readyz": self.ready,
            b"/health": self.summary,
        }

    def find(self, raw_path: bytes) -> Callable[[], Answer] | None:
        return self._answers.get(raw_path)

    def alive(self) -> Answer:
        """The process is up."""
        return 200, {"status": "ok"}

    def ready(self) -> Answer:
        """Whether to send requests here: not before the first revision, not while shutting down."""
        state = self.state
        config = state.config
        if state.closing.is_set():
            return 503, {"status": "stopping"}
        if config is None:
            return 503, {"status": "starting", "reason": "no configuration has been published yet"}
        return 200, {
            "status": "degraded" if state.degraded else "ok",
            "degraded": sorted(state.degraded),
            "revision": config.snapshot.number,
            "overlay": config.overlay.version,
        }

    def summary(self) -> Answer:
        """How the providers are, as counts. Costs a look at every target of the revision."""
        config = self.state.config
        if config is None:
            return 503, {"status": "down", "reason": "no configuration has been published yet"}
        snapshot = config.snapshot
        now = self.state.clock()
        targets: dict[str, list[Target]] = {slug: [] for slug in snapshot.providers}
        for profile in snapshot.profiles.values():
            for target in profile.targets:
                targets[target.provider.slug].append(target)
        counts = dict.fromkeys(("healthy", "degraded", "unhealthy", "unknown"), 0)
        latencies: list[float] = []
        for slug, provider in snapshot.providers.items():
            counts[self._observed(provider, targets[slug], now)] += 1
            latencies += self._latencies(targets[slug], now)
        routable = self._routable(snapshot, now)
        status = "down" if not routable else "degraded" if counts["unhealthy"] or self.state.degraded else "ok"
        return 503 if status == "down" else 200, {
            "status": status,
            "total_providers": len(snapshot.providers),
            **{f"{name}_providers": count for name, count in counts.items()},
            "average_latency_ms": round(sum(latencies) / len(latencies) * 1000, 1) if latencies else None,
        }

    def _observed(self, provider: Provider, targets: list[Target], now: float) -> str:
        """What this process has seen of a provider: all circuits open, some, none, or no traffic at all."""
        live = self.state.live
        states = [live.circuit(target, now).state for target in {target.id: target for target in targets}.values()]
        if states and all(state == "open" for state in states):
            return "unhealthy"
        if any(state != "closed" for state in states):
            return "degraded"
        return "healthy" if self._latencies(targets, now) else "unknown"

    def _latencies(self, targets: list[Target], now: float) -> list[float]:
        found = []
        for target in {target.id: target for target in targets}.values():
            stats = self.state.live.stats(target.id)
            for stream in (False, True):
                mean, _ = stats.mean_latency_s(stream, now)
                if mean is not None:
                    found.append(mean)
        return found

    def _routable(self, snapshot: Snapshot, now: float) -> bool:
        """Whether any profile has a target that a request could be sent to."""
        live = self.state.live
        return any(
            live.admin_state(target, now) == "active"
            and live.circuit(target, now).state != "open"
            and live.quarantined_until(target, target.model or "", now) is None
            for profile in snapshot.profiles.values()
            for target in profile.targets
        )
