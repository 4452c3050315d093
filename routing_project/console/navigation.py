"""The rail: what the console offers, in which order, and to whom.

Links appear when the user may view what stands behind them; the pages check again by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from django.urls import reverse

if TYPE_CHECKING:
    from django.http import HttpRequest


class Entry(NamedTuple):
    word: str
    icon: str
    url_name: str
    permission: str  # "" = everybody who may log in
    counts_changes: bool = False
    also: tuple[str, ...] = ()  # names of other addresses below which it is the current one


@dataclass(frozen=True, slots=True)
class Link:
    word: str
    icon: str
    url: str
    current: bool
    count: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    heading: str
    links: list[Link] = field(default_factory=list)


ENTRIES: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "",
        (
            Entry("Dashboard", "layout-dashboard", "admin:index", ""),
            Entry("Health board", "heart-pulse", "admin:health_board", "routes.control_read"),
            Entry("Live", "activity", "admin:live", "routes.control_read"),
            Entry("History", "scroll-text", "admin:history_routehistory_changelist", "history.view_routehistory"),
        ),
    ),
    (
        "Routing",
        (
            Entry("Profiles", "route", "admin:routes_profile_changelist", "routes.view_profile"),
            Entry("Providers", "server", "admin:routes_provider_changelist", "routes.view_provider"),
            Entry("Heads", "hard-drive", "admin:health_head_changelist", "health.view_head"),
            Entry("Explain", "search", "admin:explain", "routes.control_read"),
            Entry("Routing policy", "sliders-horizontal", "admin:routes_policy_changelist", "routes.view_policy"),
            Entry(
                "Revisions",
                "git-commit-horizontal",
                "admin:routes_configrevision_changelist",
                "routes.view_configrevision",
                counts_changes=True,
            ),
        ),
    ),
    (
        "Access",
        (
            Entry("Access keys", "key-round", "admin:routes_accesskey_changelist", "routes.view_accesskey"),
            Entry("Users", "users", "admin:auth_user_changelist", "auth.view_user"),
            Entry("Roles", "shield-check", "admin:auth_group_changelist", "auth.view_group"),
            Entry(
                "Alerts",
                "bell",
                "admin:health_alertrule_changelist",
                "health.view_alertrule",
                also=("admin:health_alertchannel_changelist", "admin:health_alertdelivery_changelist"),
            ),
            Entry("Audit log", "clipboard-list", "admin:routes_auditentry_changelist", "routes.view_auditentry"),
        ),
    ),
)


def navigation(request: HttpRequest, changes: int) -> list[Group]:
    """The groups this user sees. No query beyond the permission cache of the user object."""
    # The page's own entry is the one whose address reaches furthest: one may lie below another's.
    home = {
        reverse(name): reverse(entry.url_name)
        for _, entries in ENTRIES
        for entry in entries
        for name in (entry.url_name, *entry.also)
    }
    here = home.get(max((url for url in home if request.path.startswith(url)), key=len, default=""), "")
    here = "" if here == reverse("admin:index") != request.path else here  # everything lies below that one
    groups = []
    for heading, entries in ENTRIES:
        links = []
        for entry in entries:
            if entry.permission and not request.user.has_perm(entry.permission):
                continue
            url = reverse(entry.url_name)
            links.append(Link(entry.word, entry.icon, url, url == here, changes if entry.counts_changes else 0))
        if links:
            groups.append(Group(heading, links))
    return groups
