"""The pages of the health board: all targets, one target, and acting on them.

A page is read from one health report and one page of the timeline, in at most 15 queries however many targets there
are. ``?part=1`` answers with what changes alone, for scripts that keep a page fresh.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from health import report
from health.models import HealthEvent, ProbeResult
from routes.actions.errors import ActionError
from routes.admin.base import ADMIN, OPERATE, READ, demand, tell_refusal
from routes.models import Provider
from routing_project.console.board import acts, rows, timeline
from routing_project.env import get_env

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from health.report import HealthReport, TargetHealth

PROBES_SHOWN = 20
#: Without a sign of Celery for so long, probes do not run.
HEARTBEAT_SECONDS = 20.0


class Notice(NamedTuple):
    """Something that makes the page say less than it could, and what to do about it."""

    tone: str
    icon: str
    title: str
    text: str
    url: str = ""
    button: str = ""


def board_page(request: HttpRequest, site: AdminSite) -> TemplateResponse:
    """All providers, or ``?provider=``."""
    _may_read(request)
    found = report.read()
    known = dict(Provider.objects.order_by("slug").values_list("slug", "pk"))
    slug = _asked(request, "provider")
    groups = rows.groups(found, slug)
    scope = timeline.Scope(
        reverse("admin:health_board"),
        provider=slug,
        provider_id=known.get(slug),
        kind=_asked(request, "kind"),
        live=frozenset(target.id for target in found.targets),
    )
    context = {
        "groups": groups,
        "summary": rows.summary(groups),
        "empty": None if groups else _empty(found, known, slug, may_change=request.user.has_perm(ADMIN)),
        "provider": slug,
        "providers": list(known) if not slug or slug in known else [*known, slug],
    }
    return _page(request, site, "board.html", "Health board", found, scope, context)


def target_page(request: HttpRequest, site: AdminSite, target_id: UUID) -> TemplateResponse:
    """One target: how it is, what it answered last, its own timeline. One that is gone has its timeline left."""
    _may_read(request)
    found = report.read()
    target = found.target(str(target_id))
    if target is not None:
        slug, label = target.provider, target.label
    else:
        slug, label = _past(target_id)
    scope = timeline.Scope(
        reverse("admin:health_target", args=[target_id]),
        provider=slug,
        target_id=target_id,
        target=target,
        kind=_asked(request, "kind"),
    )
    row = rows.row_of(target, found.at) if target else None
    context = {
        "row": row,
        "target": target,
        "fields": rows.fields(target, found.provider(target.provider)) if target else [],
        "outcomes": [(each, rows.came_of(each)) for each in reversed(target.recent)] if target else [],
        "probes": _probes(target) if target else [],
        "provider": slug,
    }
    return _page(request, site, "target.html", label, found, scope, context)


def act_page(request: HttpRequest) -> HttpResponse:
    """Do what a form of these pages asks for, then back to the page it was on."""
    actor = demand(request, OPERATE)
    back = _back(request)
    try:
        wanted = _wanted(request)
        done = acts.perform(request.POST.get("act", ""), wanted, actor)
    except ActionError as error:
        tell_refusal(request, error)
    else:
        messages.add_message(request, messages.SUCCESS if done.well else messages.WARNING, done.text)
    return HttpResponseRedirect(back)


# -- parts --------------------------------------------------------------------------------------------------------
def _page(
    request: HttpRequest,
    site: AdminSite,
    template: str,
    title: str,
    found: HealthReport,
    scope: timeline.Scope,
    context: dict[str, Any],
) -> TemplateResponse:
    part = "part" in request.GET
    story = timeline.read(scope, request.GET)
    parameters = request.GET.copy()
    parameters["part"] = "1"
    everything = {
        **({} if part else site.each_context(request)),
        "title": title,
        "report": found,
        "notices": _notices(found),
        "can_operate": request.user.has_perm(OPERATE),
        "durations": acts.DURATIONS,
        "next": scope.query(),
        "timeline": story,
        "kinds": timeline.KINDS,
        "kind": scope.kind,
        "at": request.GET.get("at", ""),
        "path": scope.path,
        "filtered": bool(scope.kind or (scope.provider and not scope.target_id)),
        "part_url": f"{scope.path}?{parameters.urlencode()}",
        **context,
    }
    return TemplateResponse(request, "console/health/part.html" if part else f"console/health/{template}", everything)


def _may_read(request: HttpRequest) -> None:
    if not request.user.has_perm(READ):
        raise PermissionDenied


def _asked(request: HttpRequest, name: str) -> str:
    """A parameter of the address, without what no database takes."""
    return request.GET.get(name, "").replace("\x00", "").strip()


def _wanted(request: HttpRequest) -> acts.Wanted:
    """Whom a form is about. Six queries for a target, one for a provider. Raises Invalid, Http404."""
    form = request.POST
    until, reason = acts.until_of(form), form.get("reason", "").strip()
    if key := form.get("target", ""):
        target = report.read().target(key)
        if target is None:
            raise Http404("There is no such target.")
        # Also one that was deleted since: what cannot be done to it any more, the act itself refuses.
        provider = Provider.with_deleted.get(pk=target.provider_id)
        return acts.Wanted(provider, target.id, target.label, until, reason)
    try:
        provider = Provider.objects.get(pk=UUID(form.get("provider", "")))
    except (ValueError, Provider.DoesNotExist):
        raise Http404("There is no such provider.") from None
    return acts.Wanted(provider, None, f"Provider {provider.slug}", until, reason)


def _back(request: HttpRequest) -> str:
    """The board's page that the form was on, and nothing outside it."""
    board = reverse("admin:health_board")
    wanted = request.POST.get("next", "")
    return wanted if wanted.startswith(board) and "\\" not in wanted else board


def _past(target_id: UUID) -> tuple[str, str]:
    """Provider and name of a target that is not live any more. One query. Raises Http404."""
    found = HealthEvent.objects.filter(target_id=target_id).order_by("-at").first()
    if found is None:
        raise Http404("There is no such target, and there never was.")
    return found.provider, found.subject


def _probes(target: TargetHealth) -> list[Any]:
    """The last results of the checks that speak for it. One query."""
    of_it = Q(check_of__provider_id=target.provider_id, check_of__head_id=target.head.head_id if target.head else "")
    if target.model is not None:
        of_it &= Q(check_of__model=None) | Q(check_of__model=target.upstream_model)
    return list(ProbeResult.objects.filter(of_it).order_by("-id")[:PROBES_SHOWN])


# -- what is missing ----------------------------------------------------------------------------------------------
def _empty(found: HealthReport, known: dict[str, Any], slug: str, *, may_change: bool) -> Notice:
    """Why there is no target to show, and the next thing to do, for whoever may do it."""
    if slug:
        return Notice(
            "quiet", "server", "No such provider is live", f"The live configuration has no provider {slug}.",
            reverse("admin:health_board"), "Show all",
        )  # fmt: skip
    notice = _first_step(found, known)
    return notice if may_change else notice._replace(url="")


def _first_step(found: HealthReport, known: dict[str, Any]) -> Notice:
    if not known:
        return Notice(
            "quiet", "server", "No provider yet",
            "Add a provider and a profile that uses it, then publish: every target is watched from then on.",
            reverse("admin:routes_provider_add"), "Add provider",
        )  # fmt: skip
    if found.revision is None:
        return Notice(
            "quiet", "upload", "Nothing is published yet",
            "What is watched is what is live. Publish the draft, and its targets appear here.",
            reverse("admin:routes_configrevision_changelist"), "Review and publish",
        )  # fmt: skip
    return Notice(
        "quiet", "route", "The live configuration has no provider",
        "Put a provider into a profile and publish.",
        reverse("admin:routes_profile_changelist"), "Profiles",
    )  # fmt: skip


def _notices(found: HealthReport) -> list[Notice]:
    notices = []
    if found.revision is not None and _celery_is_away():
        notices.append(
            Notice(
                "warn", "triangle-alert", "No probes are sent: the Celery worker or its beat is away.",
                "Observed states stay as they are until they are too old and read unknown. Routing and circuits go on. "
                "“manage.py serve” starts both; its log says why they stopped.",
            )
        )  # fmt: skip
    if found.revision is not None and not found.live:
        notices.append(
            Notice(
                "warn", "triangle-alert", "No gateway has run on this host yet.",
                "Circuits, quarantines and figures are kept by gateways: start them with “manage.py serve”, or look at "
                "the host they run on. What people decided and what checks found is shown all the same.",
            )
        )  # fmt: skip
    return notices


def _celery_is_away() -> bool:
    """By the heartbeat that it leaves on this host."""
    try:
        age: float = time.time() - get_env().heartbeat_path.stat().st_mtime
    except OSError:
        return True
    return age > HEARTBEAT_SECONDS
