"""Entries in the order of the chain, as sinks and verification read them: pages by id, whatever their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from routes.audit.chain import FIELDS, START, Link, document_of
from routes.models import AuditEntry

if TYPE_CHECKING:
    from datetime import datetime

COLUMNS: Final = (*FIELDS, "hash")


class Place(NamedTuple):
    """The last entry a sink has had; ``at`` None = none yet."""

    link: Link = START
    at: datetime | None = None


class Following(NamedTuple):
    """``parted``: the table has another entry at the place, or none: it was cut, rewritten or restored."""

    documents: list[dict[str, Any]]
    parted: bool


def head() -> Link:
    """The end of the chain. One query."""
    newest = AuditEntry.objects.order_by("-id").values_list("id", "hash").first()
    return START if newest is None else Link(*newest)


def page(after: int | None, limit: int) -> list[dict[str, Any]]:
    """The next entries by id; None = from the very first, whatever id somebody gave it."""
    rows = AuditEntry.objects.all() if after is None else AuditEntry.objects.filter(id__gt=after)
    return [document_of(row) for row in rows.order_by("id").values(*COLUMNS)[:limit]]


def following(place: Place, limit: int) -> Following:
    """What comes after ``place``. Where the table does not know that place any more, a sink goes on with what was
    written at a later time: it repeats nothing, and what it has had stays in it as the evidence. One query, two then.
    """
    if place.at is None:
        return Following(page(None, limit), False)
    rows = page(place.link.id - 1, limit + 1)
    if rows and (rows[0]["id"], rows[0]["hash"]) == place.link:
        return Following(rows[1:], False)
    later = AuditEntry.objects.filter(at__gt=place.at).order_by("id").values(*COLUMNS)[:limit]
    return Following([document_of(row) for row in later], True)
