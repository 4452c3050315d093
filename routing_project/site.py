"""The admin site of the product: its name, its frame and its front page.

Owns what every page carries (navigation, the live revision, how much waits to be published, the user's role).
Imports of the product happen inside methods: this module is loaded while Django's registry is still empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.template.response import TemplateResponse

if TYPE_CHECKING:
    from uuid import UUID

    from django.contrib.auth.models import AnonymousUser, User
    from django.http import HttpRequest, HttpResponse


class ConsoleSite(AdminSite):
    site_header = "Signalbox"
    site_title = "Signalbox"
    index_title = "Dashboard"
    enable_nav_sidebar = False

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Django's context and the frame's. Two queries for those who are logged in, none for others."""
        context = super().each_context(request)
        if not self.has_permission(request):
            return context
        from routes.admin.pending import publication_state
        from routing_project.console.navigation import navigation

        publication = publication_state()
        context.update(
            publication=publication,
            navigation=navigation(request, publication.changes),
            live_revision=publication.live_number,
            unpublished_count=publication.changes,
            can_publish=request.user.has_perm("routes.control_admin"),
            user_role=role_of(request.user),
        )
        return context

    def get_urls(self) -> list[Any]:
        from django.urls import path
        from django.views.decorators.http import require_POST

        def remove_demo(request: HttpRequest) -> HttpResponse:
            from routing_project.console.demo_page import remove_page

            return remove_page(request, self)

        def explain(request: HttpRequest) -> HttpResponse:
            from routes.admin.explain import explain_page

            return explain_page(request, self)

        def board(request: HttpRequest) -> HttpResponse:
            from routing_project.console.board.pages import board_page

            return board_page(request, self)

        def target(request: HttpRequest, target_id: UUID) -> HttpResponse:
            from routing_project.console.board.pages import target_page

            return target_page(request, self, target_id)

        def live(request: HttpRequest) -> HttpResponse:
            from routing_project.console.live_page import live_page

            return live_page(request, self)

        def act(request: HttpRequest) -> HttpResponse:
            from routing_project.console.board.pages import act_page

            return act_page(request)

        return [
            path("health/", self.admin_view(board), name="health_board"),
            path("health/act/", self.admin_view(require_POST(act)), name="health_act"),
            path("health/<uuid:target_id>/", self.admin_view(target), name="health_target"),
            path("live/", self.admin_view(live), name="live"),
            path("demo/remove/", self.admin_view(remove_demo), name="remove_demo"),
            path("explain/", self.admin_view(explain), name="explain"),
            *super().get_urls(),
        ]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        from routing_project.console import logins

        self.login_form = logins.LoginForm
        response = super().login(request, extra_context)
        return logins.told(response) if isinstance(response, TemplateResponse) else response

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        from routing_project.console.password_page import password_page

        return password_page(request, self)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from routing_project.console.dashboard import dashboard

        return dashboard(request, self)


def role_of(user: User | AnonymousUser) -> str:
    """The role in one word, from the permissions that bind (not from group names)."""
    for permission, word in (
        ("routes.control_admin", "Admin"),
        ("routes.control_operate", "Operator"),
        ("routes.control_read", "Viewer"),
    ):
        if user.has_perm(permission):
            return word
    return "No role yet"


class ConsoleAdminConfig(AdminConfig):
    default_site = "routing_project.site.ConsoleSite"
