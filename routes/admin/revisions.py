"""Revisions: what waits to be published, in sentences; publishing; the list; comparing any two; rolling back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.urls import path
from django.views.decorators.http import require_POST

from routes import diff, draft
from routes.actions import revisions as actions
from routes.actions.errors import ActionError, Invalid
from routes.admin.base import ADMIN, FOLLOWS, ConsoleModelAdmin, demand, tell_refusal
from routes.document import DocumentError
from routes.models import ConfigRevision

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

PAGE = 50


@admin.register(ConfigRevision)
class RevisionAdmin(ConsoleModelAdmin):
    word = "revision"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("publish/", wrap(require_POST(self.publish_view)), name="routes_configrevision_publish"),
            path("compare/", wrap(self.compare_view), name="routes_configrevision_compare"),
            path(
                "<int:number>/rollback/", wrap(require_POST(self.rollback_view)), name="routes_configrevision_rollback"
            ),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self._list_page(request)

    def _list_page(self, request: HttpRequest, problems: list[str] | None = None, message: str = "") -> HttpResponse:
        live = actions.live_revision()
        try:
            changes = [_capital(change.sentence) for change in actions.pending_changes()]
        except DocumentError as error:
            changes, problems = [], [f"{path}: {text}" for path, text in error.errors]
        rows = _rows()
        before = request.GET.get("before", "")
        if before.isascii() and before.isdecimal() and len(before) < 19:
            rows = rows.filter(number__lt=int(before))
        revisions = list(rows[: PAGE + 1])
        return self.page(
            request,
            "routes/revision_list.html",
            "Revisions",
            status=400 if problems else 200,
            hide_banner=True,
            live=live,
            changes=changes,
            unpublished_word=f"{len(changes)} unpublished",
            problems=problems,
            message=message,
            revisions=revisions[:PAGE],
            older=revisions[PAGE - 1].number if len(revisions) > PAGE else None,
        )

    def publish_view(self, request: HttpRequest) -> HttpResponse:
        actor = demand(request, ADMIN)
        message = request.POST.get("message", "").strip()
        try:
            revision = actions.publish(message=message, actor=actor)
        except Invalid as error:
            return self._list_page(request, error.lines(), message)
        except ActionError as error:
            tell_refusal(request, error)
        else:
            messages.success(request, f"Published as revision {revision.number}. {FOLLOWS}")
        return HttpResponseRedirect(self.url("changelist"))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One revision: what it changed, and the way back to it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        revision = _revision(unquote(object_id))
        previous = _rows().filter(number__lt=revision.number).first()
        live = actions.live_revision()
        document = actions.document_of(revision)
        is_live = live is not None and live.number == revision.number
        undo = [] if is_live else diff.compare(actions.document_of(live), document)
        return self.page(
            request,
            "routes/revision_detail.html",
            f"Revision {revision.number}",
            revision=revision,
            previous=previous and previous.number,
            live=live,
            is_live=is_live,
            changes=_sentences(diff.compare(actions.document_of(previous), document)),
            undo=_sentences(undo),
            counts={name: len(document[name]) for name in ("providers", "profiles")},
        )

    def rollback_view(self, request: HttpRequest, number: int) -> HttpResponse:
        actor = demand(request, ADMIN)
        try:
            revision = actions.rollback(number, message=request.POST.get("message", "").strip(), actor=actor)
        except ActionError as error:
            tell_refusal(request, error)
            return HttpResponseRedirect(self.url("change", number))
        messages.success(
            request,
            f"Rolled back to revision {number}: published as revision {revision.number}. {FOLLOWS}",
        )
        return HttpResponseRedirect(self.url("changelist"))

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """Any two revisions, or a revision and the draft."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        ends = [request.GET.get(name, "") for name in ("from", "to")]
        changes = diff.compare(*(_document(end) for end in ends))
        words = ["draft" if end == "draft" else f"revision {end}" for end in ends]
        return self.page(
            request,
            "routes/revision_compare.html",
            f"{_capital(words[0])} compared with {words[1]}",
            changes=_sentences(changes),
        )


def _rows() -> Any:
    return ConfigRevision.objects.defer("compiled_zlib").order_by("-number")


def _revision(number: str) -> ConfigRevision:
    found: ConfigRevision | None = _rows().filter(number=int(number)).first() if number.isdecimal() else None
    if found is None:
        raise Http404(f"There is no revision {number}.")
    return found


def _document(end: str) -> dict[str, Any]:
    if end != "draft":
        return actions.document_of(_revision(end))
    try:
        return draft.configuration().canonical()
    except DocumentError as error:
        raise Http404(f"The draft cannot be compared: {error}") from error


def _sentences(changes: list[diff.Change]) -> list[str]:
    return [_capital(change.sentence) for change in changes]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
