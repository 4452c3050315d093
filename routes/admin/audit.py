"""The audit log, read-only: filters in the address, newest first, paged by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpResponseRedirect

from routes.admin.base import LogAdmin
from routes.admin.words import said
from routes.models import AuditEntry

if TYPE_CHECKING:
    from datetime import datetime

    from django.http import HttpRequest, HttpResponse

PAGE = 50
#: Lines of changes shown per entry; the API has them all.
LINES = 8
SHOWN = 120
EMPTY: tuple[Any, ...] = ("", [], {})
OBJECT_TYPES = (
    *("provider", "target", "profile", "rule", "access_key", "revision", "policy", "prices", "draft"),
    *("head", "alert_rule", "alert_channel", "payload", "history", "document", "user", "role"),
)
VERBS = {
    "created": "created",
    "updated": "changed",
    "moved": "moved",
    "deleted": "deleted",
    "revoked": "deleted",
    "credential": "changed the credential of",
    "admin_state": "set the admin state of",
    "published": "published",
    "rolled_back": "rolled back to",
    "discarded": "discarded",
    "registered": "registered",
    "approved": "approved",
    "deregistered": "removed",
    "status": "heard a new status from",
    "tested": "sent a test to",
    "read": "read the",
    "exported": "exported the",
    "imported": "imported a",
    "pruned": "removed what is old of the",
    "login": "logged in as",
    "logout": "logged out",
    "login_failed": "failed to log in as",
    "login_throttled": "has to wait before trying again to log in as",
    "password": "changed the password of",
}


class Line(NamedTuple):
    """An entry in words."""

    at: datetime
    actor_name: str
    client_ip: str | None
    sentence: str
    reason: str
    change_lines: list[str]


def words_of(entry: AuditEntry) -> Line:
    noun, _, verb = entry.action.partition(".")
    what = " ".join(part for part in (noun.replace("_", " "), entry.object_name) if part)
    if noun == "revision":
        what = entry.object_name
    sentence = f"{VERBS.get(verb, verb.replace('_', ' '))} {what}"
    return Line(
        entry.at,
        entry.actor_name,
        entry.client_ip,
        sentence[:1].upper() + sentence[1:],
        entry.reason,
        _change_lines(entry.changes),
    )


def _change_lines(changes: Any) -> list[str]:
    if not isinstance(changes, dict):
        return []
    lines: list[str] = []
    for field, value in changes.items():
        match value:
            case [None, after] if field != "changes":
                # Of something new only what was said is worth a line, not every default.
                lines += [] if after in EMPTY or _is_default(field, after) else [f"{field}: {_short(field, after)}"]
            case [before, None] if field != "changes" and before in EMPTY:
                pass
            case [before, after] if field != "changes":
                lines.append(f"{field}: {_short(field, before)} → {_short(field, after)}")
            case list():
                lines += [str(item) for item in value]
            case _:
                lines.append(f"{field}: {_short(field, value)}")
    return [*lines[:LINES], f"and {len(lines) - LINES} more"] if len(lines) > LINES else lines


def _is_default(field: str, value: Any) -> bool:
    """Objects of something new that are mostly defaults; a condition or a whole rule was said."""
    return isinstance(value, dict) and field.rpartition(".")[2] != "when" and "when" not in value


def _short(field: str, value: Any) -> str:
    text = said(field, value) or "none"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


@admin.register(AuditEntry)
class AuditAdmin(LogAdmin):
    word = "audit entry"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        chosen = {
            name: request.GET.get(name, "").replace("\x00", "").strip() for name in ("object_type", "actor", "object")
        }
        rows = AuditEntry.objects.order_by("-id")
        if chosen["object_type"]:
            rows = rows.filter(object_type=chosen["object_type"])
        if chosen["actor"]:
            rows = rows.filter(actor_name__icontains=chosen["actor"])
        if chosen["object"]:
            rows = rows.filter(Q(object_name__icontains=chosen["object"]) | Q(object_id=chosen["object"]))
        before = request.GET.get("before", "")
        if before.isascii() and before.isdecimal() and len(before) < 19:
            rows = rows.filter(pk__lt=int(before))
        entries = list(rows[: PAGE + 1])
        query = {name: value for name, value in chosen.items() if value}
        older = f"?{urlencode({**query, 'before': entries[PAGE - 1].pk})}" if len(entries) > PAGE else ""
        return self.page(
            request,
            "routes/audit_list.html",
            "Audit log",
            entries=[words_of(entry) for entry in entries[:PAGE]],
            object_types=[(value, value.replace("_", " ").capitalize()) for value in OBJECT_TYPES],
            chosen=chosen,
            filtered=bool(query),
            older=older,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        entry: AuditEntry | None = self.get_object_or_none(object_id)
        if entry is None:
            raise Http404
        return HttpResponseRedirect(f"{self.url('changelist')}?object={entry.object_id}")
