"""Circuits held open or closed by people, reset, and quarantines lifted by hand. Live, for operators.

The rows say what was done; gateways do it, each host once, as soon as the overlay brings them the act.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from routes.actions import _rows, audit, overlay
from routes.actions.errors import Invalid
from routes.actions.targets import override_of, reason_errors
from routes.models import Provider, TargetOverride

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from routes.actions.actor import Actor

COLUMNS = ("forced", "forced_until", "forced_reason", "forced_by", "circuit_acted_at")
#: Two acts on one circuit are at least so far apart.
TICK: Final = timedelta(milliseconds=1)
STATES = (TargetOverride.Forced.OPEN.value, TargetOverride.Forced.CLOSED.value)


@audit.in_turn()
def force_circuit(
    target: UUID | str, state: str, *, actor: Actor, until: datetime | None = None, reason: str = ""
) -> TargetOverride:
    """Hold a target's circuit ``open`` (it gets nothing) or ``closed`` (failures do not open it). ``until`` (aware)
    None = until it is reset. Raises Invalid, Missing."""
    actor.require("operate")
    errors = reason_errors(reason)
    if state not in STATES:
        errors.append(("state", f"must be {' or '.join(STATES)}"))
    if until is not None and until <= timezone.now():
        errors.append(("until", "must be in the future"))
    if errors:
        raise Invalid.from_errors(errors)
    return _act(override_of(target), "circuit.forced", state, until, reason, actor)


@audit.in_turn()
def reset_circuit(target: UUID | str, *, actor: Actor, reason: str = "") -> TargetOverride:
    """Let go of a circuit and close it, with nothing counted; slow start follows. Raises Invalid, Missing."""
    actor.require("operate")
    if errors := reason_errors(reason):
        raise Invalid.from_errors(errors)
    return _act(override_of(target), "circuit.reset", "", None, reason, actor)


def _act(
    row: TargetOverride, action: str, state: str, until: datetime | None, reason: str, actor: Actor
) -> TargetOverride:
    changes = audit.difference(
        {"forced": row.forced, "until": row.forced_until and row.forced_until.isoformat()},
        {"forced": state, "until": until and until.isoformat()},
    )
    row.forced, row.forced_until, row.forced_reason, row.forced_by = state, until, reason, actor.name[:200]
    # Gateways do what is later than the act before, also where that was done by a clock that is ahead.
    moment = timezone.now()
    row.circuit_acted_at = max(moment, row.circuit_acted_at + TICK) if row.circuit_acted_at else moment
    row.save(update_fields=COLUMNS)
    audit.record(
        actor,
        action,
        category="routing",
        object_type="target",
        object_id=row.pk,
        object_name=row.label,
        changes=changes,
        reason=reason,
    )
    overlay.touch()
    return row


@audit.in_turn()
def clear_quarantine(provider: Provider, *, actor: Actor, reason: str = "") -> Provider:
    """Lift every quarantine of a provider, of its credential and of its models; what it refuses next begins anew.
    Raises Invalid, Missing."""
    actor.require("operate")
    if errors := reason_errors(reason):
        raise Invalid.from_errors(errors)
    row = _rows.lock(Provider.objects, provider.pk, f"provider {provider.slug}", None)
    row.quarantines_cleared += 1
    row.save(update_fields=["quarantines_cleared"])
    audit.record(
        actor,
        "quarantine.cleared",
        category="routing",
        object_type="provider",
        object_id=row.pk,
        object_name=row.slug,
        reason=reason,
    )
    overlay.touch()
    return row


@audit.in_turn()
def release_circuits(*, actor: Actor, now: datetime | None = None) -> int:
    """Take note that the time for which circuits were held has passed; gateways went on by their own clocks."""
    rows = TargetOverride.objects.select_for_update().filter(forced_until__lte=now or timezone.now()).exclude(forced="")
    for row in rows:
        changes = audit.difference({"forced": row.forced}, {"forced": ""})
        row.forced, row.forced_until = "", None
        row.save(update_fields=["forced", "forced_until"])
        audit.record(
            actor,
            "circuit.released",
            category="routing",
            object_type="target",
            object_id=row.pk,
            object_name=row.label,
            changes=changes,
            reason="the time set for it has passed",
        )
    return len(rows)
