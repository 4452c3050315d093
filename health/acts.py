"""What people did to targets and providers, as lines of the timeline: one for each entry of the audit trail that is an
act on health, exactly once.

``listen`` hears of an entry after its commit; ``catch_up`` finds those whose process ended in between. Imports the
models beside it and ``routes``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.utils import timezone

from health import events
from health.models import HealthEvent
from routes import live
from routes.live import SharedLiveState
from routes.models import AuditEntry, Provider, TargetOverride
from routing_project.env import get_env

if TYPE_CHECKING:
    from collections.abc import Callable

#: How far back ``catch_up`` looks.
LOOK_BACK: Final = timedelta(hours=1)
#: An entry is left to whoever made it for so long.
GRACE: Final = timedelta(seconds=10)
#: A quarantine that is over.
LIFTED: Final = "none"
#: Quarantines of a provider that are looked at, to see whether one is in force.
NEWEST: Final = 100


class Change(NamedTuple):
    before: str
    after: str
    reason: str


def listen(*, entry: AuditEntry, **_: Any) -> None:
    """Receiver of ``routes.events.acted``."""
    if _reading(entry) is not None:
        write(entry)


def catch_up(now: datetime | None = None) -> int:
    """Write the lines that are missing; how many. Two queries when none is."""
    now = now or timezone.now()
    entries = AuditEntry.objects.filter(action__in=_ACTS, at__gte=now - LOOK_BACK, at__lt=now - GRACE)
    known = set(
        HealthEvent.objects.filter(at__gte=now - LOOK_BACK, origin__startswith="audit:").values_list(
            "origin", flat=True
        )
    )
    return sum(write(entry) for entry in entries.order_by("pk") if _origin(entry) not in known)


def write(entry: AuditEntry) -> bool:
    """The line of one entry; False where there is one already, or where nothing changed."""
    provider, target = _subject(entry)
    reading = _reading(entry)
    change = None if reading is None else reading(entry)
    if change is None:
        return False
    event, new = HealthEvent.objects.get_or_create(
        origin=_origin(entry),
        defaults={
            "at": entry.at,
            "kind": _KINDS.get(entry.action, HealthEvent.Kind.QUARANTINE),
            "provider_id": provider.pk if provider else None,
            "provider": provider.slug if provider else "",
            "target_id": target.pk if target else None,
            "subject": target.label if target else entry.object_name,
            "before": change.before,
            "after": change.after,
            "reason": change.reason,
            "detail": _detail(entry),
            "actor": "clock" if entry.actor_kind == "system" else entry.actor_name,
        },
    )
    if new:
        events.tell([event])
    return new


def _reading(entry: AuditEntry) -> Callable[[AuditEntry], Change | None] | None:
    """How an entry is read; None where it is no act on health. Credentials come with other changes too, and are not
    caught up with: what they do to health, health says itself."""
    if entry.action in {"provider.credential", "provider.updated"} and "credential" in entry.changes:
        return _renewed
    return _ACTS.get(entry.action)


def _origin(entry: AuditEntry) -> str:
    return f"audit:{entry.pk}"


def _subject(entry: AuditEntry) -> tuple[Provider | None, TargetOverride | None]:
    if entry.object_type == "target":
        target = TargetOverride.objects.select_related("provider").filter(pk=entry.object_id).first()
        return (target.provider, target) if target else (None, None)
    return Provider.with_deleted.filter(pk=entry.object_id).first(), None


def _detail(entry: AuditEntry) -> dict[str, Any]:
    until = entry.changes.get("until", [None, None])[1]
    found: dict[str, Any] = {"note": entry.reason} if entry.reason and entry.actor_kind != "system" else {}
    if until:
        found["until"] = datetime.fromisoformat(until).timestamp()
    return found


def _admin(entry: AuditEntry) -> Change:
    """Only the end or the reason may have changed."""
    before, after = entry.changes.get("admin_state") or _same(entry)
    return Change(before, after, "expired" if entry.actor_kind == "system" else "by_hand")


def _same(entry: AuditEntry) -> tuple[str, str]:
    """The state that an act left as it was."""
    rows: Any = TargetOverride.objects if entry.object_type == "target" else Provider.with_deleted
    state = rows.filter(pk=entry.object_id).values_list("admin_state", flat=True).first() or ""
    return state, state


def _forced(entry: AuditEntry) -> Change:
    state = (entry.changes.get("forced") or ["", ""])[1]
    if not state:
        state = TargetOverride.objects.filter(pk=entry.object_id).values_list("forced", flat=True).first() or "open"
    return Change(_circuit_before(entry), state, f"forced_{state}")


def _reset(entry: AuditEntry) -> Change:
    return Change(_circuit_before(entry), "closed", "reset")


def _released(entry: AuditEntry) -> Change | None:
    """Where it was held open, the gateways tell that it went half-open."""
    held = (entry.changes.get("forced") or ["", ""])[0]
    return Change("closed", "closed", "force_ended") if held == "closed" else None


def _cleared(entry: AuditEntry) -> Change:
    _collect()
    before = HealthEvent.objects.filter(kind="quarantine", provider_id=entry.object_id).values_list("after", flat=True)
    return Change(before.first() or LIFTED, LIFTED, "cleared")


def _renewed(entry: AuditEntry) -> Change | None:
    """What the old credential was refused for is over, if it was not already."""
    _collect()
    told = HealthEvent.objects.filter(kind="quarantine", provider_id=entry.object_id, at__lte=entry.at)
    for after, detail in told.values_list("after", "detail")[:NEWEST]:
        if after == LIFTED:
            return None
        if detail.get("until", 0.0) > entry.at.timestamp():
            return Change(after, LIFTED, "credential_changed")
    return None


def _circuit_before(entry: AuditEntry) -> str:
    """What the timeline says the circuit was."""
    _collect()
    told = HealthEvent.objects.filter(kind="circuit", target_id=entry.object_id, at__lte=entry.at)
    return told.values_list("after", flat=True).first() or "closed"


def _collect() -> None:
    """So that the timeline has what the gateways of this host have noted by now."""
    if get_env().live_path.exists() and isinstance(state := live.current(), SharedLiveState):
        events.collect(state)


_ACTS: Final[dict[str, Callable[[AuditEntry], Change | None]]] = {
    "provider.admin_state": _admin,
    "target.admin_state": _admin,
    "circuit.forced": _forced,
    "circuit.reset": _reset,
    "circuit.released": _released,
    "quarantine.cleared": _cleared,
}
_KINDS: Final = {
    "provider.admin_state": "admin",
    "target.admin_state": "admin",
    "circuit.forced": "circuit",
    "circuit.reset": "circuit",
    "circuit.released": "circuit",
    "quarantine.cleared": "quarantine",
}
