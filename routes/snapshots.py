"""Snapshots of published revisions and of the draft, for whatever in the console asks the engine. Reads only.

A revision never changes, so its snapshot is kept; a draft does, so its snapshot is compiled anew each time. Must not
import actions: publishing is theirs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from routes import draft, ports
from routes.compile import compile_configuration
from routes.engine.errors import EngineError
from routes.engine.snapshot import NO_HEADS, Heads, Snapshot
from routes.models import ConfigRevision, HeadSet, Installation, Profile, Provider

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

#: The number that a snapshot of the draft has: no revision does.
DRAFT = 0


def snapshot_of(number: int, heads_digest: str = "") -> Snapshot | None:
    """The revision's snapshot with the heads of a moment (``routing_decision["h"]`` of what was decided by it), the
    last few kept in memory; None when either is gone or cannot be read. One small query, another for heads."""
    heads = NO_HEADS
    if heads_digest:
        kept = HeadSet.objects.filter(pk=heads_digest).first()
        if kept is None:
            return None
        heads = Heads.of(kept.heads)
    published = ConfigRevision.objects.filter(number=number).values_list("created_at", flat=True).first()
    return None if published is None else _with_heads(number, published, heads)


def live_snapshot(heads: Sequence[dict[str, Any]] | None = None) -> Snapshot | None:
    """The newest revision's with the heads that are registered now; None before the first publish. One small query,
    another unless ``heads`` (what ``ports.heads`` answers) have been read."""
    newest = ConfigRevision.objects.order_by("-number").values_list("number", "created_at").first()
    return None if newest is None else _with_heads(*newest, Heads.of(ports.heads() if heads is None else heads))


def _with_heads(number: int, published: datetime, heads: Heads) -> Snapshot | None:
    try:
        return _snapshot(number, published, _Held(heads))
    except EngineError:
        return None


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
    return Snapshot.from_document(compiled, Heads.of(ports.heads()))


class _Held:
    """Heads as part of a cache's key: equal when a decision could not tell them apart."""

    def __init__(self, heads: Heads) -> None:
        self.heads = heads

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.heads.digest == self.heads.digest

    def __hash__(self) -> int:
        return hash(self.heads.digest)


@lru_cache(maxsize=16)
def _snapshot(number: int, published: datetime, held: _Held) -> Snapshot:
    # ``published`` is part of the key because another database may have another revision of that number.
    return Snapshot.from_document(ConfigRevision.objects.get(number=number).compiled, held.heads)
