"""The audit log, read-only: filters in the address, newest first, and a page for each entry with all it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q
from django.http import Http404
from django.urls import NoReverseMatch, reverse

from routes.actions.actor import STRANGER
from routes.actions.errors import Invalid
from routes.admin.base import LogAdmin
from routes.admin.words import said
from routes.audit import veil
from routes.audit.asked import narrowed
from routes.audit.chain import NOTHING, document_of, hash_of
from routes.audit.reading import COLUMNS, head
from routes.models import AccessKey, AuditEntry, Profile, Provider

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse, QueryDict

PAGE = 50
#: Lines of changes shown per entry; its page has them all.
LINES = 8
SHOWN = 120
EMPTY: tuple[Any, ...] = ("", [], {})
OBJECT_TYPES = (
    *("provider", "target", "profile", "rule", "access_key", "revision", "policy", "prices", "draft"),
    *("head", "alert_rule", "alert_channel", "payload", "history", "document", "affinity", "user", "role"),
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
    "login_throttled": "has to wait before another attempt at the password of",
    "password": "changed the password of",
    "password_failed": "failed to change the password of",
}
KIND_WORDS: Final = {"key": "access key", "command": "command", "system": "Signalbox"}
#: What is a sentence of its own, and the field of it that says which revision.
ROLLED_BACK: Final = "revision.rolled_back"
BACK_TO: Final = "rolled_back_to"
ACTOR_KINDS: Final = (("user", "Person"), ("key", "Access key"), ("command", "Command"), ("system", "Signalbox"))
#: Parameters of the address that are filters of the API, and two that search by a part of a name.
EXACT: Final = (
    *("category", "action", "object_type", "object_id", "actor_kind", "client_ip", "request_id"),
    *("from", "to"),
)
SEARCHES: Final = ("object", "actor")
#: The parameter that turns pages: the entry that all shown are older than.
OLDER: Final = "before"
#: Those that are folded away until one is set.
FOLDED: Final = ("action", "object_id", "actor_kind", "client_ip", "request_id", "from", "to")
#: In the place of what an entry does not tell.
HIDDEN: Final = "(not shown)"
#: No index helps to find a part of a name: a page looks at so many entries, and says how far it came.
SEARCHED: Final = 100_000


class Line(NamedTuple):
    """An entry in words. ``actor_kind``: before the name of whoever is no person, which a person may have too."""

    id: int
    at: datetime
    actor_kind: str
    actor_name: str
    client_ip: str | None
    sentence: str
    reason: str
    change_lines: list[str]


class FieldChange(NamedTuple):
    """One field of an entry; ``told`` where there is no before and after to it."""

    field: str
    before: str = ""
    after: str = ""
    told: str = ""


def words_of(entry: AuditEntry) -> Line:
    sentence = _sentence(entry)
    return Line(
        entry.pk,
        entry.at,
        kind_of(entry),
        entry.actor_name,
        entry.client_ip,
        sentence[:1].upper() + sentence[1:],
        entry.reason,
        _change_lines(entry.changes),
    )


def kind_of(entry: AuditEntry) -> str:
    """What acted, where a name alone would be taken for a person's; "" for a person, and for somebody unknown."""
    if entry.actor_kind == "user" or (entry.actor_kind == "system" and entry.actor_name == STRANGER):
        return ""
    return KIND_WORDS.get(entry.actor_kind, entry.actor_kind)


def _sentence(entry: AuditEntry) -> str:
    noun, _, verb = entry.action.partition(".")
    if entry.action == ROLLED_BACK:
        # Entries of earlier releases do not say where to.
        number = entry.changes.get(BACK_TO) if isinstance(entry.changes, dict) else None
        return f"rolled back{'' if number is None else f' to revision {number}'}, as {entry.object_name}"
    what = " ".join(part for part in (noun.replace("_", " "), entry.object_name) if part)
    if noun == "revision":
        what = entry.object_name
    return f"{VERBS.get(verb, verb.replace('_', ' '))} {what}"


def _change_lines(changes: Any) -> list[str]:
    if not isinstance(changes, dict):
        return []
    lines: list[str] = []
    for field, stored in changes.items():
        match value := _unveiled(field, stored):
            case _ if field == BACK_TO:
                pass  # the sentence says it
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


def _unveiled(field: str, value: Any) -> Any:
    """``value`` with the text that stands for what an entry must not tell (``routes.audit.veil``) in words that nobody
    takes for the value itself."""
    match value:
        case [None, veil.CHANGED] if _is_veiled(field):
            return f"set {HIDDEN}"
        case [veil.CHANGED, None] if _is_veiled(field):
            return "removed"
        case [before, after] if field in veil.OPEN_MAPS:
            return [_members(field, before), _members(field, after)]
        case _:
            return value


def _members(field: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    hidden = {name for name, inner in value.items() if inner == veil.CHANGED and _is_veiled(f"{field}.{name}")}
    return {name: HIDDEN if name in hidden else inner for name, inner in value.items()}


def _is_veiled(field: str) -> bool:
    """Whether of this field only that it changed is told, whatever it is."""
    return veil.veiled({field: "x"}) == {field: veil.CHANGED}


def _is_default(field: str, value: Any) -> bool:
    """Objects of something new that are mostly defaults; a condition or a whole rule was said."""
    return isinstance(value, dict) and field.rpartition(".")[2] != "when" and "when" not in value


def _short(field: str, value: Any) -> str:
    text = said(field, value) or "none"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def changes_of(entry: AuditEntry) -> list[FieldChange]:
    """Every field, whole."""
    changes = entry.changes if isinstance(entry.changes, dict) else {"changes": entry.changes}
    found: list[FieldChange] = []
    for field, stored in changes.items():
        match value := _unveiled(field, stored):
            case [before, after] if field != "changes":
                found.append(FieldChange(field, said(field, before) or "none", said(field, after) or "none"))
            case list():
                found += [FieldChange(field, told=str(item)) for item in value]
            case _:
                found.append(FieldChange(field, told=said(field, value) or "none"))
    return found


def found_by(asked: dict[str, str]) -> QuerySet[AuditEntry]:
    """What the filters of the address find. Raises Invalid."""
    rows = narrowed({name: asked[name] for name in EXACT if asked[name]})
    if asked["actor"]:
        rows = rows.filter(actor_name__icontains=asked["actor"])
    if asked["object"]:
        named = Q(object_id=asked["object"])
        rows = rows.filter(named if _is_id(asked["object"]) else named | Q(object_name__icontains=asked["object"]))
    return rows


def _impossible(asked: QueryDict) -> dict[str, list[str]]:
    """What is wrong with an address whatever its filters say. One that was left out would show more than was asked for
    as if it were the answer."""
    problems: dict[str, list[str]] = {}
    for name, values in asked.lists():
        if name not in (*EXACT, *SEARCHES, OLDER):
            problems[name] = ["there is no such filter"]
        elif len(values) > 1:
            problems[name] = [f"is given {len(values)} times"]
    return problems


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _object_url(entry: AuditEntry) -> str:
    """Its page, where it has one and is still there; else "". One query."""
    known = {"provider": Provider, "profile": Profile, "access_key": AccessKey}
    try:
        if entry.object_type == "revision":
            return reverse("admin:routes_configrevision_change", args=[int(entry.object_id)])
        if (model := known.get(entry.object_type)) and model._default_manager.filter(pk=entry.object_id).exists():
            return reverse(f"admin:routes_{model._meta.model_name}_change", args=[entry.object_id])
    except (ValueError, ValidationError, NoReverseMatch):
        pass
    return ""


@admin.register(AuditEntry)
class AuditAdmin(LogAdmin):
    word = "audit entry"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = {name: request.GET.get(name, "").replace("\x00", "").strip() for name in (*EXACT, *SEARCHES)}
        problems = _impossible(request.GET)
        try:
            rows = found_by(asked)
        except Invalid as error:
            problems |= error.fields
        if problems:
            rows = AuditEntry.objects.none()
        upper = self._upper(request.GET.get(OLDER, ""))
        if upper is not None:
            rows = rows.filter(at__lte=upper.at).filter(Q(at__lt=upper.at) | Q(pk__lt=upper.pk))
        oldest = None
        if asked["actor"] or (asked["object"] and not _is_id(asked["object"])):
            oldest = self._far_enough(upper)
            if oldest is not None:
                rows = rows.filter(at__gte=oldest.at)
        entries = list(rows.order_by("-at", "-id")[: PAGE + 1])
        query = {name: value for name, value in asked.items() if value}
        older = further = ""
        if len(entries) > PAGE:
            older = f"?{urlencode({**query, OLDER: entries[PAGE - 1].pk})}"
        elif oldest is not None and not problems:
            further = f"?{urlencode({**query, OLDER: oldest.pk})}"
        return self.page(
            request,
            "routes/audit_list.html",
            "Audit log",
            entries=[words_of(entry) for entry in entries[:PAGE]],
            categories=AuditEntry.Category.choices,
            object_types=[(value, value.replace("_", " ").capitalize()) for value in OBJECT_TYPES],
            actor_kinds=ACTOR_KINDS,
            asked=asked,
            more_set=sum(bool(asked[name]) for name in FOLDED),
            problems=[f"{name}: {text}" for name, texts in problems.items() for text in texts],
            filtered=bool(query or problems),
            older=older,
            further=further,
            searched_to=oldest.at if oldest else None,
            head=head(),
        )

    @staticmethod
    def _upper(text: str) -> AuditEntry | None:
        """The entry that a page is older than."""
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            return None
        return AuditEntry.objects.filter(pk=int(text)).only("at").first()

    @staticmethod
    def _far_enough(upper: AuditEntry | None) -> AuditEntry | None:
        """The last entry that a search looks at; None when it reaches the first."""
        end = upper.pk if upper is not None else head().id
        return AuditEntry.objects.filter(pk__lte=end - SEARCHED).order_by("-pk").only("at").first()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        entry: AuditEntry | None = self.get_object_or_none(object_id)
        if entry is None:
            raise Http404
        before = AuditEntry.objects.filter(pk__lt=entry.pk).order_by("-pk").only("hash").first()
        line = words_of(entry)
        return self.page(
            request,
            "routes/audit_detail.html",
            line.sentence,
            entry=entry,
            changes=changes_of(entry),
            kind=line.actor_kind or ("person" if entry.actor_kind == "user" else ""),
            line=line,
            object_url=_object_url(entry),
            before=before,
            after=AuditEntry.objects.filter(pk__gt=entry.pk).order_by("pk").only("pk").first(),
            whole=_is_whole(entry),
            follows=entry.previous == (before.hash if before else NOTHING),
        )


def _is_whole(entry: AuditEntry) -> bool:
    try:
        return hash_of(document_of({name: getattr(entry, name) for name in COLUMNS})) == entry.hash
    except (ValueError, TypeError, OverflowError):
        return False
