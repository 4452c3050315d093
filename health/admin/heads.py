"""Heads in the console: who is registered, how each is by the live state, and the two acts on them: approve, remove.

Everything is decided by ``health.heads.actions``; nothing here writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.urls import path
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST

from health.heads import actions, liveness, render
from health.models import Head
from routes.actions.errors import ActionError
from routes.admin.base import OPERATE, ConsoleModelAdmin, demand, tell_refusal
from routes.models import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

PAGE = 100
#: A capacity that says: loads are percent.
PERCENT = 100


class Report(NamedTuple):
    at: datetime | None
    load: str
    share: float | None  # of the capacity


class Row(NamedTuple):
    """A head, its document, and what of it needs words."""

    head: Head
    told: Mapping[str, Any]
    load: str
    last_seen: datetime | None


def row_of(head: Head) -> Row:
    told = render.document(head)
    return Row(head, told, load_words(told["load"], head.capacity), parse_datetime(told["last_seen"]))


def load_words(load: float | None, capacity: float | None) -> str:
    """``12 of 64``, ``40 %`` where the capacity says percent, ``12`` where it is not known."""
    if load is None:
        return ""
    if capacity == PERCENT:
        return f"{load:g}\u202f%"
    return f"{load:g}" if capacity is None else f"{load:g} of {capacity:g}"


@admin.register(Head)
class HeadAdmin(ConsoleModelAdmin):
    word = "head"

    def get_urls(self) -> list[URLPattern]:
        approve = self.admin_site.admin_view(require_POST(self.approve_view))
        return [path("<uuid:pk>/approve/", approve, name="health_head_approve"), *super().get_urls()]

    def rows(self) -> Any:
        return Head.objects.select_related("provider")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(OPERATE)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        chosen = {name: request.GET.get(name, "").replace("\x00", "") for name in ("provider", "approved")}
        heads = self.rows().order_by("head_id")
        if chosen["provider"]:
            heads = heads.filter(provider__slug=chosen["provider"])
        if chosen["approved"] in {"yes", "no"}:
            heads = heads.filter(approved=chosen["approved"] == "yes")
        if after := request.GET.get("after", "").replace("\x00", ""):
            heads = heads.filter(head_id__gt=after)
        found = list(heads[: PAGE + 1])
        query = {name: value for name, value in chosen.items() if value}
        more = f"?{urlencode({**query, 'after': found[PAGE - 1].head_id})}" if len(found) > PAGE else ""
        return self.page(
            request,
            "health/head_list.html",
            "Heads",
            rows=[row_of(head) for head in found[:PAGE]],
            providers=list(Provider.objects.filter(heads__isnull=False).distinct().values_list("slug", flat=True)),
            chosen=chosen,
            filtered=bool(query),
            first=f"?{urlencode(query)}" if after else "",
            more=more,
            ttl=liveness.ttl(),
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        head: Head = self.find(unquote(object_id))
        row = row_of(head)
        more = {name: value for name, value in head.metadata.items() if name not in {"max_model_size", "capabilities"}}
        return self.page(
            request,
            "health/head_detail.html",
            head.head_id,
            row=row,
            head=head,
            reports=[_report(each, head.capacity) for each in reversed(row.told["load_history"])],
            more=more,
            ttl=liveness.ttl(),
        )

    def approve_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Let it take traffic, now."""
        actor = demand(request, OPERATE)
        head: Head = self.find(str(pk))
        try:
            actions.approve(head.head_id, actor=actor)
        except ActionError as error:
            tell_refusal(request, error)
        else:
            messages.success(request, f"Head {head.head_id} is approved and takes traffic within 2 seconds.")
        return HttpResponseRedirect(
            self.url("changelist") if request.POST.get("next") == "list" else self.url("change", pk)
        )

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, OPERATE)
        head: Head = self.find(unquote(object_id))
        if request.method == "POST":
            try:
                actions.deregister(head.head_id, actor=actor)
            except ActionError as error:
                tell_refusal(request, error)
                return HttpResponseRedirect(self.url("delete", head.pk))
            messages.success(request, f"Head {head.head_id} was removed and takes no new requests.")
            return HttpResponseRedirect(self.url("changelist"))
        return self.page(
            request,
            "routes/delete.html",
            f"Remove head {head.head_id}",
            verb="Remove",
            name=head.head_id,
            version=head.generation,
            consequence="It takes no new requests from now on; what it is answering is finished. If it is still "
            "running it may register again: to keep it out, stop it or drain it there.",
            back_url=self.url("change", head.pk),
            list_url=self.url("changelist"),
            list_word="Heads",
        )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        raise PermissionDenied  # heads register themselves


def _report(entry: Mapping[str, Any], capacity: float | None) -> Report:
    share = entry["load"] / capacity if capacity else None
    return Report(parse_datetime(entry["at"]), load_words(entry["load"], capacity), share)
