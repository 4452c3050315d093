"""What the pages of the configuration share: who may open them, how they are drawn, how refusals are shown.

Django's ModelAdmin gives each model its addresses, permission hooks and place in the site; the views themselves are
ours, because every write goes through ``routes.actions`` and never through ``Model.save``. Must not import history
or health: what their figures add comes in through ``routes.ports``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.template.response import TemplateResponse
from django.urls import reverse

from routes.actions.actor import Actor
from routes.actions.errors import ActionError, Forbidden

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse

if TYPE_CHECKING:
    BaseAdmin = ModelAdmin[Any]
else:
    BaseAdmin = ModelAdmin  # generic for the type checker only

#: What publishing promises.
FOLLOWS = "Traffic follows within 2 seconds."
READ, OPERATE, ADMIN = "routes.control_read", "routes.control_operate", "routes.control_admin"


class ConsoleModelAdmin(BaseAdmin):
    """A model whose pages are the console's own. ``word`` is what people call one."""

    word = ""

    @property
    def object_type(self) -> str:
        """What the audit log calls one."""
        return self.word.replace(" ", "_")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(READ)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(ADMIN)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(ADMIN)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(ADMIN)

    def url(self, page: str, *args: Any) -> str:
        """Address of one of this model's pages (``changelist``, ``change``, …)."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)

    def page(
        self, request: HttpRequest, template: str, title: str, status: int = 200, **context: Any
    ) -> TemplateResponse:
        """A page with everything the frame needs."""
        everything = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "can_change": request.user.has_perm(ADMIN),
            "can_operate": request.user.has_perm(OPERATE),
            **context,
        }
        return TemplateResponse(request, template, everything, status=status)

    def rows(self) -> Any:
        """The rows that pages are about, with whatever they will need."""
        return self.model._default_manager.all()

    def find(self, object_id: str) -> Any:
        """The object of an address, or 404."""
        found = self.get_object_or_none(object_id)
        if found is None:
            raise Http404(f"There is no {self.word} {object_id}.")
        return found

    def get_object_or_none(self, object_id: str) -> Any:
        from django.core.exceptions import ValidationError

        try:
            return self.rows().filter(pk=object_id).first()
        except (ValueError, ValidationError):
            return None

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What happened to an object is told by the audit log."""
        from django.shortcuts import redirect

        about = urlencode({"object_type": self.object_type, "object_id": unquote(object_id)})
        return redirect(f"{reverse('admin:routes_auditentry_changelist')}?{about}")


class LogAdmin(ConsoleModelAdmin):
    """Of rows that are written by what happens, and only ever read by people."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        raise PermissionDenied

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        raise PermissionDenied


def demand(request: HttpRequest, permission: str) -> Actor:
    """The acting person, or 403. Actions check the same again."""
    if not request.user.has_perm(permission):
        raise PermissionDenied
    return Actor.user(request.user, request)


def posted_version(request: HttpRequest) -> int:
    """The version that the page was about; 0, which nothing has, where none was sent."""
    text = request.POST.get("version", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def tell_refusal(request: HttpRequest, error: ActionError) -> None:
    """Say why an action was refused, on the next page."""
    if isinstance(error, Forbidden):
        raise PermissionDenied from error
    messages.error(request, error.message)
