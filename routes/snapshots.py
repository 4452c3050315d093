"""Snapshots of published revisions and of the draft, for whatever in the console asks the engine. Reads only.

A revision never changes, so its snapshot is kept; a draft does, so its snapshot is compiled anew each time. Must not
import actions: publishing is theirs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from django.utils import timezone

from routes import draft
from routes.compile import compile_configuration
from routes.engine.errors import EngineError
from routes.engine.snapshot import Snapshot
from routes.models import ConfigRevision, Installation, Profile, Provider

if TYPE_CHECKING:
    from datetime import datetime

#: The number that a snapshot of the draft has: no revision does.
DRAFT = 0


def snapshot_of(number: int) -> Snapshot | None:
    """The revision's snapshot, the last few kept in memory; None when it is gone or cannot be read. One small query."""
    published = ConfigRevision.objects.filter(number=number).values_list("created_at", flat=True).first()
    try:
        return None if published is None else _snapshot(number, published)
    except EngineError:
        return None


def live_snapshot() -> Snapshot | None:
    """The newest revision's; None before the first publish. Two small queries."""
    number = ConfigRevision.objects.order_by("-number").values_list("number", flat=True).first()
    return None if number is None else snapshot_of(number)


def draft_snapshot() -> Snapshot:
    """The draft as it would be published now. Raises DocumentError. Costs nine queries and a compilation."""
    compiled = compile_configuration(
        draft.configuration(),
        installation=str(Installation.get().uuid),
        number=DRAFT,
        published_at=timezone.now(),
        provider_ids={slug: str(pk) for slug, pk in Provider.objects.values_list("slug", "pk")},
        profile_ids={slug: str(pk) for slug, pk in Profile.objects.values_list("slug", "pk")},
    )
    return Snapshot.from_document(compiled)


@lru_cache(maxsize=16)
def _snapshot(number: int, published: datetime) -> Snapshot:
    # ``published`` is part of the key because another database may have another revision of that number.
    return Snapshot.from_document(ConfigRevision.objects.get(number=number).compiled)
