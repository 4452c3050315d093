"""The front page: what needs attention first, then how the last hour went. A fresh install gets its first steps.

Composes routes, history and health, so it lives here and in none of them. At most 15 queries, whatever the size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from health import report
from history import queries
from history.admin.listing import lines
from history.timerange import TimeRange
from routes import draft
from routes.admin.audit import words_of
from routes.admin.snippets import example_model, snippets
from routes.models import AccessKey, AuditEntry, Provider
from routing_project import announce
from routing_project.console import attention
from routing_project.console.board import attention as health
from routing_project.env import get_env

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

    from routes.admin.pending import PublicationState

RECENT = 6
#: In the audit log, and nothing that anybody changed.
NO_CHANGES = (
    *("user.login", "user.logout", "user.login_failed", "user.login_throttled", "user.password_failed"),
    "head.status",
)


def dashboard(request: HttpRequest, site: AdminSite) -> TemplateResponse:
    """Draw it for ``request.user``; those without a role see the frame and a sentence."""
    context = {**site.each_context(request), "title": "Dashboard", "hide_banner": True}
    if not request.user.has_perm("routes.control_read"):
        return TemplateResponse(request, "console/no_role.html", context)
    now = timezone.now()
    publication: PublicationState = context["publication"]
    profiles = list(draft.profiles_with_own_targets())
    has_provider = any(list(profile.targets.all()) for profile in profiles) or Provider.objects.exists()
    keys = list(AccessKey.objects.all())
    traffic = queries.last_hour(now)
    changes = AuditEntry.objects.exclude(action__in=NO_CHANGES).exclude(category="export")
    any_route = bool(traffic.requests) or queries.any_route()
    curl = ""
    if profiles:
        targets = list(profiles[0].targets.all())
        model = example_model((target.model, target.provider.model_map) for target in targets)
        curl = snippets(request, profiles[0].slug, {target.provider.wire for target in targets}, model).curl
    steps = attention.first_steps(
        has_provider, profiles, keys, publication.live_number, publication.changes, any_route, curl
    )
    fresh = not all(step.done for step in steps) and not any_route
    items = [] if fresh else _attention(publication, profiles, keys, traffic, now)
    if context["can_publish"] and announce.demo(get_env()):
        items.append(_demo())
    context.update(
        steps=steps if fresh else [],
        steps_done=sum(step.done for step in steps),
        attention=items,
        traffic=traffic,
        shares=traffic.shares,
        failures=lines(queries.last_failures(now, RECENT)),
        recent_changes=[words_of(entry) for entry in changes.order_by("-id")[:RECENT]],
        history_url=reverse("admin:history_routehistory_changelist"),
        failures_url=reverse("admin:history_routehistory_failures"),
        audit_url=reverse("admin:routes_auditentry_changelist"),
    )
    return TemplateResponse(request, "console/dashboard.html", context)


def _attention(publication: PublicationState, profiles: Any, keys: Any, traffic: Any, now: Any) -> list[attention.Item]:
    found = report.read(brief=True)
    items = [*attention.profiles_without_target(profiles), *health.out_of_service(found)]
    if publication.live_number is None:
        items.append(
            attention.Item(
                "bad",
                "upload",
                "Nothing is published",
                "The draft has never been published, so every request is answered with 404.",
                reverse("admin:routes_configrevision_changelist"),
                "Review and publish",
            )
        )
    if traffic.requests >= attention.MIN_REQUESTS and traffic.failure_rate >= attention.FAILURE_RATE:
        items.append(
            attention.Item(
                "bad",
                "activity",
                f"{traffic.failure_rate:.0%} of requests failed in the last hour",
                f"{traffic.failures} of {traffic.requests} requests got no answer from a provider.",
                reverse("admin:history_routehistory_failures") + "?range=1h",
                "See failures",
            )
        )
    items += attention.circuits_that_opened(queries.circuit_openings(TimeRange.last(hours=1, now=now)), found)
    items += health.held_circuits(found)
    items += health.heads_waiting(found)
    items += attention.keys_that_expire(keys, now)
    items += health.set_aside(found)
    if publication.changes and publication.live_number is not None:
        one = publication.changes == 1
        items.append(
            attention.Item(
                "warn",
                "git-compare",
                f"{publication.changes} unpublished change{'' if one else 's'}",
                f"Traffic still follows revision {publication.live_number}.",
                reverse("admin:routes_configrevision_changelist"),
                "Review",
            )
        )
    order = {"bad": 0, "warn": 1}
    return sorted(items, key=lambda item: order[item.tone])


def _demo() -> attention.Item:
    return attention.Item(
        "info",
        "info",
        "The demo is loaded",
        "Its providers are simulated: they answer at once, cost nothing and know nothing.",
        reverse("admin:remove_demo"),
        "Remove the demo",
    )
