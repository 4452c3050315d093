"""Acts on single targets: finding them, and the row that keeps what people decided. Private to actions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from routes.actions.errors import Missing
from routes.models import Provider, TargetOverride
from routes.snapshots import live_snapshot

if TYPE_CHECKING:
    from routes.engine.provider import Target

REASON_LENGTH = 500


def find_target(target_id: UUID | str) -> Target:
    """A target of the live revision, with the heads of now. Three small queries. Raises Missing."""
    snapshot = live_snapshot()
    for profile in snapshot.profile_list if snapshot else ():
        for target in profile.targets:
            if target.id == str(target_id):
                return target
    raise Missing("the live revision has no such target", {"target": ["the live revision has no such target"]})


def override_of(target_id: UUID | str, provider: Provider | None = None) -> TargetOverride:
    """The target's row, locked, made if need be; ``provider``: the one it must belong to. Inside a transaction. Raises
    Missing."""
    row = TargetOverride.objects.select_for_update().filter(pk=target_id).first()
    if row is None or provider is not None:
        target = find_target(target_id)
        if provider is not None and target.provider.id != str(provider.pk):
            message = f"provider {provider.slug} has no such target"
            raise Missing(message, {"target": [message]})
        if row is None:
            values = {"provider_id": UUID(target.provider.id), "label": target.label[:500]}
            TargetOverride.objects.get_or_create(pk=target_id, defaults=values)
            row = TargetOverride.objects.select_for_update().get(pk=target_id)
    return row


def reason_errors(reason: str) -> list[tuple[str, str]]:
    if len(reason) > REASON_LENGTH or not reason.isprintable():
        return [("reason", f"one line of at most {REASON_LENGTH} characters")]
    return []
