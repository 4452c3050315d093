"""Providers that are down: every target of theirs is out. Found from the host's live state, kept until they are up.

A target is out while its circuit is open, it was found unhealthy, or its head is offline; it works when its circuit is
closed and none of that is so. In between (half-open) nothing is proven, and what was last said stays. Targets that
people set aside are not looked at: that is no outage. A few queries for each look; no network.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.utils import timezone

from health.alerts import matching
from health.alerts.kinds import AlertEvent
from health.models import HealthEvent, ProviderOutage
from routes import host, live
from routes.snapshots import live_snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from routes.engine.live import LiveState
    from routes.engine.provider import Provider, Target

CAUSES: Final = frozenset({HealthEvent.Kind.CIRCUIT, HealthEvent.Kind.OBSERVED})
LIVENESS: Final = frozenset({"online", "offline"})


def concerns(event: HealthEvent) -> bool:
    """Whether its provider may be down or up after it. Heads that register are left to the next look at all."""
    return event.kind in CAUSES or (event.kind == HealthEvent.Kind.HEAD and event.after in LIVENESS)


def look(slugs: Collection[str] | None = None, now: datetime | None = None) -> None:
    """Compare how the named providers (None = all) are with what was last said, and tell what has changed."""
    clock = time.monotonic()
    snapshot = live_snapshot()
    state = None if snapshot is None else host.told(snapshot, clock)
    # Where no gateway has ever run, or its state cannot be read, nobody knows how anything is.
    if snapshot is None or not isinstance(state, live.SharedLiveState):
        return
    now = now or timezone.now()
    targets: dict[str, dict[str, Target]] = {slug: {} for slug in snapshot.providers if slugs is None or slug in slugs}
    for profile in snapshot.profiles.values():
        for target in profile.targets:
            if target.provider.slug in targets:
                targets[target.provider.slug][target.id] = target
    down = {str(pk) for pk in ProviderOutage.objects.values_list("pk", flat=True)}
    for slug, found in targets.items():
        provider = snapshot.providers[slug]
        verdict = _verdict(state, found.values(), clock)
        if verdict == "down" and provider.id not in down:
            _went_down(provider, len(found), now)
        elif verdict == "up" and provider.id in down:
            _came_up(provider, now)
    if slugs is None:
        # Of providers that left the configuration nobody will ever say that they are up.
        ProviderOutage.objects.exclude(pk__in=[each.id for each in snapshot.providers.values()]).delete()


def _verdict(state: LiveState, targets: Iterable[Target], now: float) -> str | None:
    """``down``, ``up`` or None: nothing is proven."""
    found = []
    away = state.heads_away(now)
    for target in targets:
        if state.admin_state(target, now) != "active":
            continue
        out = state.observed(target.id, now) == "unhealthy" or away.get(target.id) == "head_offline"
        circuit = state.circuit(target, now).state
        found.append("down" if out or circuit == "open" else "up" if circuit == "closed" else None)
    if not found:
        return None
    return "up" if "up" in found else "down" if None not in found else None


@transaction.atomic
def _went_down(provider: Provider, targets: int, now: datetime) -> None:
    """Told by whoever writes the row first."""
    _row, created = ProviderOutage.objects.get_or_create(
        pk=provider.id, defaults={"provider": provider.slug, "since": now}
    )
    if created:
        how = "Its only target is" if targets == 1 else f"All {targets} targets of it are"
        text = f"{how} out: the circuit is open, probes found it unhealthy, or its head is offline."
        matching.take(_event("provider_down", provider, text, now))


@transaction.atomic
def _came_up(provider: Provider, now: datetime) -> None:
    """Told by whoever removes the row."""
    row = ProviderOutage.objects.select_for_update().filter(pk=provider.id).first()
    if row is None:
        return
    row.delete()
    minutes = max(1, round((now - row.since).total_seconds() / 60))
    text = f"At least one of its targets works again, after about {minutes} min."
    matching.take(_event("provider_up", provider, text, now))
    matching.over("provider_down", f"provider:{provider.id}", now)


def _event(kind: str, provider: Provider, text: str, now: datetime) -> AlertEvent:
    return AlertEvent(
        kind,
        f"provider:{provider.id}",
        provider.slug,
        text,
        now,
        provider.slug,
        f"/admin/routes/provider/{provider.id}/change/",
        (("Provider", provider.slug),),
    )
