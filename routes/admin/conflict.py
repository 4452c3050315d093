"""The conflict page: somebody else saved the object while it was being edited. Both versions are shown, and what
was typed travels on in hidden fields, so that nothing is lost whichever way one goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from routes.actions.audit import difference
from routes.admin.words import said
from routes.models import AuditEntry
from routes.models.base import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

    from routes.admin.base import ConsoleModelAdmin
    from routes.models.base import Resource

#: Never sent back to the browser.
SECRET_FIELDS = frozenset({"credential", "secret", "url"})
#: Objects with fixed fields, of which a form may leave some out.
OBJECTS = frozenset({"affinity", "circuit", "failover", "quarantine", "scenario", "thresholds", "timeouts"})
#: What makes another version of an object. Logins, probes and acts on health are on record as about it too.
SAVING = ("created", "updated", "moved", "credential", "password")
#: Of the form around the values, or decided anew on the conflict page.
CONTROL_FIELDS = frozenset({"csrfmiddlewaretoken", "version", "_save", "_publish", "_edit"})


class Difference(NamedTuple):
    label: str
    theirs: str
    mine: str


def conflict_page(
    admin: ConsoleModelAdmin,
    request: HttpRequest,
    row: Resource | Section | User,
    saved: dict[str, Any],
    mine: dict[str, Any],
    version: int | None = None,
) -> HttpResponse:
    """``saved`` and ``mine`` are the same kind of tree: the object as it is now and as it was typed. ``version``: the
    present one, where the row has no column for it."""
    merged = {**saved, **mine}
    changes = difference(saved, _deep(saved, merged))
    last = AuditEntry.objects.filter(
        object_id="" if isinstance(row, Section) else str(row.pk),
        action__in=[f"{admin.object_type}.{verb}" for verb in SAVING],
    ).first()
    return admin.page(
        request,
        "routes/conflict.html",
        f"Conflict: {row}",
        status=409,
        name=str(row),
        changed_by=last.actor_name if last else "",
        changed_at=last.at if last else None,
        differences=[Difference(path, said(path, theirs), said(path, own)) for path, (theirs, own) in changes.items()],
        posted=list(_posted(request)),
        current_version=row.version if version is None else version,  # type: ignore[union-attr]  # rows of ours have it
        back_url=request.path,
        secret_typed=any(request.POST.get(name) for name in SECRET_FIELDS),
    )


def _deep(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` with what it leaves out of nested objects taken from ``base``."""
    return {
        name: _deep(base[name], value)
        if isinstance(value, dict) and isinstance(base.get(name), dict) and name in OBJECTS
        else value
        for name, value in {**base, **over}.items()
    }


def _posted(request: HttpRequest) -> Iterator[tuple[str, str]]:
    for name, values in request.POST.lists():
        if name not in SECRET_FIELDS and name not in CONTROL_FIELDS:
            for value in values:
                yield name, str(value)
