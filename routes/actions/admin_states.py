"""Admin states of providers and of single targets: active, draining, disabled. Live, for operators; they end by
themselves at ``until``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.utils import timezone

from routes.actions import _rows, audit, overlay
from routes.actions.errors import Invalid
from routes.actions.targets import override_of, reason_errors
from routes.models import Provider, TargetOverride

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from routes.actions.actor import Actor
    from routes.engine.types import AdminState

COLUMNS = ("admin_state", "admin_until", "admin_reason", "admin_by")


@audit.in_turn()
def set_admin_state(
    provider: Provider,
    state: str,
    *,
    actor: Actor,
    until: datetime | None = None,
    reason: str = "",
    target: UUID | str | None = None,
) -> Provider | TargetOverride:
    """Acts at once, on all of the provider's targets or on one of them (its id). ``until`` (aware) None = for good; not
    with ``active``. Saying what is already so changes nothing. The provider's version stays: acting on health never
    makes an editor's form stale. Raises Invalid, Missing."""
    actor.require("operate")
    errors = reason_errors(reason)
    if state not in Provider.AdminState.values:
        errors.append(("state", f"must be {', '.join(Provider.AdminState.values)}"))
    if until is not None and state == Provider.AdminState.ACTIVE:
        errors.append(("until", "what is active has no end"))
    elif until is not None and until <= timezone.now():
        errors.append(("until", "must be in the future"))
    if errors:
        raise Invalid.from_errors(errors)
    row = _rows.lock(Provider.objects, provider.pk, f"provider {provider.slug}", None)
    if target is None:
        return _apply(row, cast("AdminState", state), until, reason, actor)
    return _apply(override_of(target, row), cast("AdminState", state), until, reason, actor)


def _apply(
    row: Provider | TargetOverride, state: AdminState, until: datetime | None, reason: str, actor: Actor
) -> Provider | TargetOverride:
    if (row.admin_state, row.admin_until, row.admin_reason) == (state, until, reason):
        return row
    changes = audit.difference(
        {"admin_state": row.admin_state, "until": _text(row.admin_until)},
        {"admin_state": state, "until": _text(until)},
    )
    row.admin_state, row.admin_until, row.admin_reason, row.admin_by = state, until, reason, actor.name[:200]
    row.save(update_fields=COLUMNS)
    kind = "provider" if isinstance(row, Provider) else "target"
    audit.record(
        actor,
        f"{kind}.admin_state",
        category="routing",
        object_type=kind,
        object_id=row.pk,
        object_name=str(row),
        changes=changes,
        reason=reason,
    )
    overlay.touch()
    return row


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


@audit.in_turn()
def expire_admin_states(*, actor: Actor, now: datetime | None = None) -> int:
    """Make active again what was set aside until a time now past; gateways do so by their own clocks already."""
    moment, count = now or timezone.now(), 0
    for rows in (Provider.objects.all(), TargetOverride.objects.all()):
        for row in rows.select_for_update().filter(admin_until__lte=moment):
            _apply(row, "active", None, "the time set for it has passed", actor)
            count += 1
    return count
