"""``/healthz``, ``/readyz`` and ``/health``, answered from this process's memory. Counts only: no names of providers.

Never awaits and never touches the network: what is degraded is noted by whoever finds out (``GatewayState.degraded``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.engine import labels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from routes.engine.live import Observed
    from routes.engine.snapshot import Target
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
            return 503, {"status": "starting", "reason": self._missing()}
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
            return 503, {"status": "down", "reason": self._missing()}
        snapshot = config.snapshot
        now = self.state.clock()
        live = self.state.live
        counts = dict.fromkeys(("healthy", "degraded", "unhealthy", "unknown"), 0)
        latencies: list[float] = []
        away = live.heads_away(now)

        def ever_used(target: Target) -> bool:
            return bool(live.recent(target.id)) or live.circuit(target, now).state != "closed"

        for each in labels.judged_by(snapshot, ever_used).values():
            counts[labels.of_provider(self._label(target, away, now) for target, _ in each)] += 1
            known = [ema for target, _ in each if (ema := live.stats(target.id).latency_ema_s) is not None]
            latencies += [sum(known) / len(known)] if known else []
        eligible = [
            any(self._eligible(target, away, now) for target in profile.targets)
            for profile in snapshot.profiles.values()
        ]
        status = "ok" if all(eligible) and not counts["unhealthy"] and not self.state.degraded else "degraded"
        if not any(eligible):
            status = "down"
        return 503 if status == "down" else 200, {
            "status": status,
            "total_providers": len(snapshot.providers),
            **{f"{name}_providers": count for name, count in counts.items()},
            "average_latency_ms": round(sum(latencies) / len(latencies) * 1000, 1) if latencies else None,
            "total_profiles": len(eligible),
            "available_profiles": sum(eligible),
        }

    def _missing(self) -> str:
        return self.state.degraded.get("overlay") or "no configuration has been published yet"

    def _label(self, target: Target, away: Mapping[str, str], now: float) -> Observed:
        """As the console calls it, by what this host has seen."""
        if away.get(target.id) == "head_offline":
            return "unhealthy"
        live, stats = self.state.live, self.state.live.stats(target.id)
        last = next((each.at for each in reversed(live.recent(target.id)) if each.source == "traffic"), None)
        return labels.of_target(
            live.observed(target.id, now),
            live.circuit(target, now).state,
            stats.success_rate,
            stats.consecutive_failures,
            heard=last is not None and last > now - labels.HEARD_SECONDS,
        )

    def _eligible(self, target: Target, away: Mapping[str, str], now: float) -> bool:
        """Whether a request could be sent to it."""
        live = self.state.live
        names = target.models("") if target.model else None
        return (
            live.admin_state(target, now) == "active"
            and target.id not in away
            and live.circuit(target, now).state != "open"
            and live.observed(target.id, now) != "unhealthy"
            and live.quarantined_until(target, names[1] if names else "", now) is None
        )
