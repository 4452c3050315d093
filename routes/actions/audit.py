"""The audit trail: one entry per action, in the transaction of the change; listeners hear of it on commit.

Secrets never come here: callers pass document trees, which hold none, and write ``changed`` for a credential.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from routes.events import acted
from routes.models import AuditEntry
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.actions.actor import Actor

log = get_logger("audit")

#: Objects that are one value: a part of a condition or of a failover mode says nothing by itself.
WHOLE = frozenset({"when", "mode"})


def record(
    actor: Actor,
    action: str,
    *,
    category: str,
    object_type: str,
    object_id: object = "",
    object_name: str = "",
    changes: Mapping[str, Any] | None = None,
    reason: str = "",
) -> AuditEntry:
    """Write an entry. ``action`` is ``<object>.<verb>``; ``changes`` maps fields to ``[before, after]``."""
    entry = AuditEntry.objects.create(
        at=timezone.now(),
        category=category,
        action=action,
        object_type=object_type,
        object_id=str(object_id),
        object_name=object_name[:200],
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_name=actor.name[:200],
        client_ip=actor.client_ip,
        request_id=actor.request_id,
        reason=reason,
        changes=dict(changes or {}),
    )
    transaction.on_commit(partial(_tell, entry))
    return entry


def _tell(entry: AuditEntry) -> None:
    log.info(
        entry.action,
        object_type=entry.object_type,
        object_name=entry.object_name,
        actor=entry.actor_name,
        audit=entry.pk,
    )
    for _receiver, outcome in acted.send_robust(sender=AuditEntry, entry=entry):
        if isinstance(outcome, Exception):
            log.error("listener_failed", action=entry.action, error=repr(outcome))


def difference(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    """Fields that differ, nested objects by dotted path, as ``[before, after]``. Lists are compared whole."""
    changes: dict[str, list[Any]] = {}
    for name in {**before, **after}:
        path = f"{prefix}{name}"
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and name not in WHOLE:
            changes.update(difference(old, new, f"{path}."))
        else:
            changes[path] = [old, new]
    return changes
