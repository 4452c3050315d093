"""How far the draft is ahead of what is live. Asked on every page, so it must cost one query.

Comparing two configurations costs eight queries and their parsing; its result only changes with some row's version,
so it is kept per process under a fingerprint of all versions, which the database answers in one query.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db.models import Count, Max, Sum, Value

from routes.actions.revisions import pending_changes
from routes.document import DocumentError
from routes.models import ConfigRevision, Policy, PriceTable, Profile, Provider


class PublicationState(NamedTuple):
    live_number: int | None
    changes: int


_known: tuple[list[Any], PublicationState] | None = None


def publication_state() -> PublicationState:
    """The live revision's number and how many changes wait. One query while nothing was edited."""
    global _known
    fingerprint = _fingerprint()
    if _known is not None and _known[0] == fingerprint:
        return _known[1]
    live = next((row["total"] for row in fingerprint if row["kind"] == "revision"), None)
    try:
        changes = len(pending_changes())
    except DocumentError:
        changes = 1  # the draft cannot be published as it is; the revisions page says why
    _known = fingerprint, PublicationState(live, changes)
    return _known[1]


def _fingerprint() -> list[Any]:
    """Rows, sum of versions and last change of every table a revision is made of, and the newest revision."""
    tables = (Profile, Policy, PriceTable)
    parts = [
        Provider.objects.order_by()
        .values(kind=Value("provider"))
        .annotate(rows=Count("pk"), total=Sum("version"), at=Max("updated_at")),
        *(
            table._default_manager.order_by()
            .values(kind=Value(table._meta.model_name))
            .annotate(rows=Count("pk"), total=Sum("version"), at=Max("updated_at"))
            for table in tables
        ),
    ]
    newest = (
        ConfigRevision.objects.order_by()
        .values(kind=Value("revision"))
        .annotate(rows=Count("pk"), total=Max("number"), at=Max("created_at"))
    )
    return sorted(newest.union(*parts, all=True), key=lambda row: str(row["kind"]))
