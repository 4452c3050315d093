"""Admin states of providers: active, draining, disabled. Live, for operators; they end by themselves at ``until``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.db import transaction
from django.utils import timezone

from routes.actions import _rows, audit, overlay
from routes.actions.errors import Invalid
from routes.models import Provider

if TYPE_CHECKING:
    from datetime import datetime

    from routes.actions.actor import Actor
    from routes.engine.types import AdminState

COLUMNS = ("admin_state", "admin_until", "admin_reason", "admin_by")
REASON_LENGTH = 500


@transaction.atomic
def set_admin_state(
    provider: Provider, state: str, *, actor: Actor, until: datetime | None = None, reason: str = ""
) -> Provider:
    """Acts at once. ``until`` (aware) None = for good; not with ``active``. Saying what is already so changes
    nothing. The provider's version stays: acting on health never makes an editor's form stale."""
    actor.require("operate")
    errors = []
    if state not in Provider.AdminState.values:
        errors.append(("state", f"must be {', '.join(Provider.AdminState.values)}"))
    if until is not None and state == Provider.AdminState.ACTIVE:
        errors.append(("until", "an active provider has no end"))
    elif until is not None and until <= timezone.now():
        errors.append(("until", "must be in the future"))
    if len(reason) > REASON_LENGTH or not (reason.isprintable()):
        errors.append(("reason", f"one line of at most {REASON_LENGTH} characters"))
    if errors:
        raise Invalid.from_errors(errors)
    row = _rows.lock(Provider.objects, provider.pk, f"provider {provider.slug}", None)
    return _apply(row, cast("AdminState", state), until, reason, actor)


def _apply(row: Provider, state: AdminState, until: datetime | None, reason: str, actor: Actor) -> Provider:
    if (row.admin_state, row.admin_until, row.admin_reason) == (state, until, reason):
        return row
    changes = audit.difference(
        {"admin_state": row.admin_state, "until": _text(row.admin_until)},
        {"admin_state": state, "until": _text(until)},
    )
    row.admin_state, row.admin_until, row.admin_reason, row.admin_by = state, until, reason, actor.name[:200]
    row.save(update_fields=COLUMNS)
    audit.record(
        actor,
        "provider.admin_state",
        category="routing",
        object_type="provider",
        object_id=row.pk,
        object_name=row.slug,
        changes=changes,
        reason=reason,
    )
    overlay.touch()
    return row


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


@transaction.atomic
def expire_admin_states(*, actor: Actor, now: datetime | None = None) -> int:
    """Make active again what was set aside until a time now past; gateways do so by their own clocks already."""
    rows = Provider.objects.select_for_update().filter(admin_until__lte=now or timezone.now())
    for row in rows:
        _apply(row, "active", None, "the time set for it has passed", actor)
    return len(rows)
