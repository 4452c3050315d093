"""What follows from a change of the registered heads: they are part of the overlay, and of what recorded decisions need
to be told again. Called by ``health``, which owns them, inside the transaction of the change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from routes.actions import overlay
from routes.engine.provider import approved, heads_digest
from routes.models import HeadSet

if TYPE_CHECKING:
    from collections.abc import Sequence


def heads_changed(entries: Sequence[dict[str, Any]]) -> None:
    """``entries``: all heads now, as ``ports.heads`` gives them. Two queries and a write."""
    digest = heads_digest(entries)
    if digest:
        document = HeadSet.pack([dict(entry) for entry in approved(entries)])
        HeadSet.objects.update_or_create(pk=digest, defaults={"document_zlib": document, "used_at": timezone.now()})
    overlay.touch()
